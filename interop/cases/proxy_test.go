package cases

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// proxy is a network of package sim in real time, between sockets. Clients send to its fronts,
// one for each address of the server; the server hears from its backs, one for each address
// that a client seems to have.
type proxy struct {
	up, down func() []sim.Node // of each way
	start    time.Time
	wake     chan struct{}
	done     chan struct{}
	wait     sync.WaitGroup

	mu             sync.Mutex // held for all below
	sim            *sim.Network
	fronts         []*front
	servers        []netip.AddrPort            // all that the server has
	backs          map[netip.AddrPort]udp.Conn // by the address that the client has on the far side
	linked         map[dgram.Path]bool
	client, server []trace.Datagram
	closed         bool
	lastUp         mono.Time // when the newest datagram of a client came
	short          int       // datagrams of clients that begin with a short header
	settled        mono.Time // when there were settledAfter of them
	strays         int       // datagrams to a back from others than the server
}

// settledAfter is how many 1-RTT packets of a client say that its handshake is long over, at both
// ends.
const settledAfter = 10

// front is where clients send to in place of one address of the server.
type front struct {
	conn   udp.Conn
	server netip.AddrPort
}

// newProxy returns a proxy for a case with so many fronts on a loopback address. No server is
// behind them yet.
func newProxy(seed uint64, c *testcase, fronts int) (*proxy, error) {
	p := &proxy{
		start: time.Now(), settled: mono.Never, wake: make(chan struct{}, 1), done: make(chan struct{}),
		sim: sim.New(seed), backs: map[netip.AddrPort]udp.Conn{}, linked: map[dgram.Path]bool{},
	}
	p.up, p.down = c.ways(p)
	for range fronts {
		conn, err := listen(c.ip())
		if err != nil {
			p.Close()
			return nil, err
		}
		p.fronts = append(p.fronts, &front{conn: conn})
	}
	return p, nil
}

func listen(ip netip.Addr) (udp.Conn, error) {
	network := "udp4"
	if ip.Is6() {
		network = "udp6"
	}
	return udp.Listen(network, netip.AddrPortFrom(ip, 0), udp.Options{})
}

// serve puts the server's addresses behind the fronts, and starts the clock.
func (p *proxy) serve(servers []netip.AddrPort) {
	p.start, p.servers = time.Now(), servers
	for i, f := range p.fronts {
		f.server = servers[min(i, len(servers)-1)]
		p.wait.Add(1)
		go p.read(f.conn, func(d *dgram.Datagram) { p.fromClient(f, d) })
	}
	p.wait.Add(1)
	go p.pump()
}

// Close ends the proxy.
func (p *proxy) Close() {
	p.mu.Lock()
	p.closed = true
	close(p.done)
	for _, f := range p.fronts {
		f.conn.Close()
	}
	for _, b := range p.backs {
		b.Close()
	}
	p.mu.Unlock()
	p.wait.Wait()
}

type slabs struct{}

func (slabs) Get() []byte { return make([]byte, udp.SlabSize) }
func (slabs) Put([]byte)  {}

// read takes datagrams from a socket until it is closed.
func (p *proxy) read(c udp.Conn, take func(*dgram.Datagram)) {
	defer p.wait.Done()
	list := make([]dgram.Datagram, 2*dgram.MaxSegments)
	for {
		n, _, err := c.Receive(slabs{}, list)
		if err != nil {
			return
		}
		p.mu.Lock()
		for i := range list[:n] {
			take(&list[i])
		}
		p.mu.Unlock()
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (p *proxy) now() mono.Time { return mono.Time(time.Since(p.start)) }

// fromClient takes a datagram that has come to a front.
func (p *proxy) fromClient(f *front, d *dgram.Datagram) {
	path := dgram.Path{Local: d.Path.Remote, Remote: f.server}
	if !p.linked[path] {
		p.linked[path] = true
		p.sim.Link(path.Local, path.Remote, p.up(), p.down())
	}
	p.record(&p.client, true, path.Local, path.Remote, d)
	p.lastUp = p.now()
	if len(d.Data) > 0 && d.Data[0]&0x80 == 0 {
		if p.short++; p.short == settledAfter {
			p.settled = p.lastUp
		}
	}
	p.sim.Send(p.now(), path, d.ECN, d.Data)
}

// fromServer takes a datagram that has come to a back.
//
// A back may have got the port of a client that is gone, of this case or another: what a server
// still repeats to that one then comes here, through a front, and is no doing of the server's at
// this address. From any of its own addresses everything counts.
func (p *proxy) fromServer(client netip.AddrPort, d *dgram.Datagram) {
	if !slices.Contains(p.servers, d.Path.Remote) {
		p.strays++
		return
	}
	p.record(&p.server, false, d.Path.Remote, client, d)
	p.sim.Send(p.now(), dgram.Path{Local: d.Path.Remote, Remote: client}, d.ECN, d.Data)
}

// rebinds returns when a NAT forgets: first so long after the handshake, then ever again.
//
// The runner's NAT goes by the clock alone, which presumes that a handshake takes less than the
// first second, as it does on a machine that has nothing else to do, and that the client is just
// sending. Until a handshake is over addresses may not change at all (RFC 9000 §9), and
// one who only listens when he is forgotten waits for ever, whoever serves. So a datagram of the
// client must be on its way here.
func (p *proxy) rebinds(first, every time.Duration) func(now mono.Time) bool {
	wait, last := first, mono.Never
	return func(now mono.Time) bool {
		if last == mono.Never {
			last = p.settled
		}
		if last == mono.Never || now < last.Add(wait) || now >= p.lastUp.Add(oneWay) {
			return false
		}
		last, wait = now, every
		return true
	}
}

func (p *proxy) record(list *[]trace.Datagram, fromClient bool, from, to netip.AddrPort, d *dgram.Datagram) {
	*list = append(*list, trace.Datagram{
		At: time.Since(p.start), From: from, To: to, FromClient: fromClient, ECN: uint8(d.ECN), Data: bytes.Clone(d.Data),
	})
}

// pump sends on what has arrived, at its time.
func (p *proxy) pump() {
	defer p.wait.Done()
	batch := dgram.NewBatch(make([]byte, 0, udp.SlabSize))
	for {
		p.mu.Lock()
		for !p.closed {
			to, d, ok := p.sim.Deliver(p.now())
			if !ok {
				break
			}
			p.deliver(batch, to, &d)
		}
		wait := min(p.sim.Next().Sub(p.now()), time.Minute)
		p.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.wake:
			timer.Stop()
		case <-p.done:
			timer.Stop()
			return
		}
	}
}

// deliver sends a datagram on by the socket that the receiver knows its sender by.
func (p *proxy) deliver(b *dgram.Batch, to netip.AddrPort, d *dgram.Datagram) {
	from := d.Path.Remote
	var conn udp.Conn
	for _, f := range p.fronts {
		if f.server == from {
			conn = f.conn
			p.record(&p.client, false, from, to, d)
		}
	}
	if conn == nil {
		conn = p.back(from)
		p.record(&p.server, true, from, to, d)
	}
	if conn == nil {
		return
	}
	b.Reset()
	b.Path, b.ECN = dgram.Path{Remote: to}, d.ECN
	b.Commit(copy(b.Next(len(d.Data))[:len(d.Data)], d.Data))
	_ = conn.Send(b) // what a kernel drops is lost
}

// back returns the socket by which the server hears from an address of a client.
func (p *proxy) back(client netip.AddrPort) udp.Conn {
	if c := p.backs[client]; c != nil || p.closed {
		return c
	}
	c, err := listen(client.Addr())
	if err != nil {
		return nil
	}
	p.backs[client] = c
	p.wait.Add(1)
	go p.read(c, func(d *dgram.Datagram) { p.fromServer(client, d) })
	return c
}

// String says what the network has done.
func (p *proxy) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("strays %d, %v", p.strays, p.sim)
}

// run returns what was seen.
func (p *proxy) run(keyLog []byte) *trace.Run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &trace.Run{Client: trace.Decode(p.client, keyLog), Server: trace.Decode(p.server, keyLog)}
}
