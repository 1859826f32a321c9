package udp

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// Network joins Mem sockets: datagrams go from one to the other in memory,
// in order, and are lost only where the options say so. It starts no goroutine and waits
// on channels and timers only, so that in a testing/synctest bubble, where it must
// then be made, a waiting Receive is durably blocked.
type Network struct {
	options NetworkOptions

	mu      sync.Mutex // held for every change below and in the sockets
	sockets map[netip.AddrPort]*Mem
	port    uint16 // the last one given to a socket that asked for any
	free    [][]byte

	filterMu sync.Mutex // held while the filter runs
	filter   func(*dgram.Datagram) bool
}

// NetworkOptions are the properties of a Network. The zero value loses nothing
// until a queue is full.
type NetworkOptions struct {
	MTU   int           // largest UDP payload in bytes, 0 for 65,507; Send refuses larger ones
	Queue int           // datagrams that wait at a socket before more are dropped, 0 for 4096
	Delay time.Duration // from Send until Receive

	// Filter, if not nil, sees every datagram as its receiver will, Remote
	// being the sender, and drops it by returning true. It may change all of it,
	// which is how to corrupt, mark, redirect or rewrite addresses, and is
	// called for one datagram at a time. It must not send, nor keep Data.
	Filter func(d *dgram.Datagram) bool
}

const (
	maxPayload       = 65_507 // no limit: of UDP
	defaultQueue     = 4096
	firstDynamicPort = 49_152
)

// NewNetwork returns a network without sockets.
func NewNetwork(o NetworkOptions) *Network {
	if o.MTU == 0 {
		o.MTU = maxPayload
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	return &Network{options: o, sockets: map[netip.AddrPort]*Mem{}, port: firstDynamicPort - 1, filter: o.Filter}
}

// SetDelay changes NetworkOptions.Delay for what is sent from now on. It should only grow:
// what is under way is not overtaken.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	n.options.Delay = d
	n.mu.Unlock()
}

// SetFilter replaces the filter, nil for none.
func (n *Network) SetFilter(drop func(d *dgram.Datagram) bool) {
	n.filterMu.Lock()
	n.filter = drop
	n.filterMu.Unlock()
}

// Listen binds a socket to addr. Port 0 picks one. An unspecified address takes
// what is sent to that port of any address that no other socket is bound to, in
// both families if it is :: or the zero Addr.
func (n *Network) Listen(addr netip.AddrPort) (*Mem, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ip := addr.Addr().Unmap()
	if !ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	local := netip.AddrPortFrom(ip, addr.Port())
	for tries := 0; addr.Port() == 0 && tries <= 65_535-firstDynamicPort; tries++ {
		if n.port++; n.port < firstDynamicPort {
			n.port = firstDynamicPort
		}
		local = netip.AddrPortFrom(ip, n.port)
		if n.sockets[local] == nil {
			break
		}
	}
	if n.sockets[local] != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(local), Err: syscall.EADDRINUSE}
	}
	m := &Mem{network: n, local: local, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	n.sockets[local] = m
	return m, nil
}

// Mem is a socket of a Network.
type Mem struct {
	network *Network
	local   netip.AddrPort
	queue   []parcel // due times never decrease
	head    int      // of queue
	wake    chan struct{}
	closed  chan struct{}
	once    sync.Once

	counters
}

// parcel is a datagram on its way.
type parcel struct {
	dgram.Datagram
	due time.Time // zero without a delay
}

// Receive implements Conn. As many datagrams are received as are due and fit.
func (m *Mem) Receive(slabs Slabs, dst []dgram.Datagram) (n int, slab []byte, err error) {
	if len(dst) == 0 {
		return 0, nil, errNoRoom
	}
	for {
		wait, err := m.poll()
		if err != nil {
			return 0, nil, err
		}
		if wait == 0 {
			slab = slabs.Get()
			if n = m.take(slab, dst); n > 0 {
				return n, slab, nil
			}
			slabs.Put(slab) // another Receive was faster, or a datagram was too large
			continue
		}
		m.sleep(wait)
	}
}

// poll returns how long until a datagram is due, forever if none is on its way.
func (m *Mem) poll() (time.Duration, error) {
	m.network.mu.Lock()
	defer m.network.mu.Unlock()
	select {
	case <-m.closed:
		return 0, net.ErrClosed
	default:
	}
	if m.head == len(m.queue) {
		return forever, nil
	}
	if due := m.queue[m.head].due; !due.IsZero() {
		return max(0, time.Until(due)), nil
	}
	return 0, nil
}

const forever = time.Duration(1<<63 - 1)

func (m *Mem) sleep(d time.Duration) {
	if d == forever {
		select {
		case <-m.wake:
		case <-m.closed:
		}
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-m.closed:
	}
}

// take moves what is due into slab and dst. A datagram larger than a whole slab is dropped.
func (m *Mem) take(slab []byte, dst []dgram.Datagram) (n int) {
	w := m.network
	w.mu.Lock()
	defer w.mu.Unlock()
	used := 0
	for m.head < len(m.queue) && n < len(dst) {
		p := &m.queue[m.head]
		if !p.due.IsZero() && time.Now().Before(p.due) {
			break
		}
		if len(p.Data) > len(slab)-used && n > 0 {
			break
		}
		if len(p.Data) > len(slab) {
			m.truncated.Add(1)
		} else {
			size := copy(slab[used:], p.Data)
			dst[n] = p.Datagram
			dst[n].Data = slab[used : used+size : used+size]
			used += size
			n++
		}
		w.free = append(w.free, p.Data[:0])
		*p = parcel{}
		m.head++
	}
	if m.head == len(m.queue) {
		m.queue, m.head = m.queue[:0], 0
	} else {
		m.notify()
	}
	m.receiveCalls.Add(1)
	m.received.Add(uint64(n))
	m.receivedBytes.Add(uint64(used))
	return n
}

// Send implements Conn. A datagram to an address that nobody has is lost, and so
// is one that finds the queue full: senders are not told.
func (m *Mem) Send(b *dgram.Batch) error {
	select {
	case <-m.closed:
		return net.ErrClosed
	default:
	}
	if b.Empty() {
		return nil
	}
	if !b.Path.Remote.IsValid() {
		m.sendErrors.Add(1)
		return &SendError{Err: syscall.EAFNOSUPPORT}
	}
	source := m.source(b.Path)
	m.sendCalls.Add(1)
	for i := range b.Count() {
		data := b.Segment(i)
		if len(data) > m.network.options.MTU {
			m.sendErrors.Add(1)
			return &SendError{Err: syscall.EMSGSIZE, Sent: i, TooBig: true}
		}
		m.network.carry(data, dgram.Path{Local: b.Path.Remote, Remote: source}, b.ECN)
		m.sent.Add(1)
		m.sentBytes.Add(uint64(len(data)))
	}
	return nil
}

// source returns the address that a batch leaves from: that of its path, or the socket's, or
// for a socket without one the loopback address.
func (m *Mem) source(p dgram.Path) netip.AddrPort {
	ip := m.local.Addr()
	if l := p.Local.Addr(); l.IsValid() && !l.IsUnspecified() {
		ip = l
	}
	switch {
	case !ip.IsUnspecified():
	case p.Remote.Addr().Unmap().Is4():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		ip = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(ip, m.local.Port())
}

// carry copies data and puts it where path.Local, its destination, leads.
func (n *Network) carry(data []byte, path dgram.Path, ecn dgram.ECN) {
	n.mu.Lock()
	var buf []byte
	if k := len(n.free); k > 0 {
		buf, n.free = n.free[k-1], n.free[:k-1]
	}
	n.mu.Unlock()

	p := parcel{Datagram: dgram.Datagram{Data: append(buf[:0], data...), Path: path, ECN: ecn}}
	var drop bool
	if p.Datagram, drop = n.filtered(p.Datagram); !drop {
		n.deliver(p)
	}
}

// Inject makes a datagram arrive now where d.Path.Local leads, past the filter: the work of a
// network that stands between the sockets, whose filter takes all that they send. It copies
// Data, and is for a Network without a delay.
func (n *Network) Inject(d dgram.Datagram) {
	d.Data = append([]byte(nil), d.Data...)
	n.deliver(parcel{Datagram: d})
}

// deliver puts a parcel where its destination leads, if there is anybody.
func (n *Network) deliver(p parcel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.options.Delay > 0 {
		p.due = time.Now().Add(n.options.Delay)
	}
	m := n.lookup(p.Path.Local)
	if m == nil {
		return
	}
	if len(m.queue)-m.head >= n.options.Queue {
		m.dropped.Add(1)
		return
	}
	if m.head > 0 && len(m.queue) == cap(m.queue) {
		k := copy(m.queue, m.queue[m.head:])
		clear(m.queue[k:])
		m.queue, m.head = m.queue[:k], 0
	}
	m.queue = append(m.queue, p)
	m.notify()
}

// filtered returns what the filter makes of d, and whether that is nothing.
func (n *Network) filtered(d dgram.Datagram) (_ dgram.Datagram, drop bool) {
	n.filterMu.Lock()
	defer n.filterMu.Unlock()
	if n.filter == nil {
		return d, false
	}
	changed := d // what a filter sees lives on the heap: allocated only here
	drop = n.filter(&changed)
	return changed, drop
}

// lookup finds the socket for a destination: the one bound to it, else a wildcard.
func (n *Network) lookup(to netip.AddrPort) *Mem {
	if m := n.sockets[unmap(to)]; m != nil {
		return m
	}
	if to.Addr().Unmap().Is4() {
		if m := n.sockets[netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())]; m != nil {
			return m
		}
	}
	return n.sockets[netip.AddrPortFrom(netip.IPv6Unspecified(), to.Port())]
}

func (m *Mem) notify() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// LocalAddr implements Conn.
func (m *Mem) LocalAddr() netip.AddrPort { return m.local }

// Features implements Conn: all but offload, which would have nobody to save work for.
func (m *Mem) Features() Features { return Features{ECN: true, PktInfo: true, DF: true} }

// Close implements Conn. What is on its way to the socket is lost.
func (m *Mem) Close() error {
	err := net.ErrClosed
	m.once.Do(func() {
		m.network.mu.Lock()
		defer m.network.mu.Unlock()
		close(m.closed)
		delete(m.network.sockets, m.local)
		m.queue, m.head = nil, 0
		err = nil
	})
	return err
}
