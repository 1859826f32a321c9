package udp

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// packetConn is a net.PacketConn as a Conn: one datagram a call, no codepoints,
// no choice of source. It is also the whole of UDP where there is no fast path.
type packetConn struct {
	pc       net.PacketConn
	udp      *net.UDPConn // pc, if that is what it is: its methods need no net.Addr
	linked   bool         // pc has one peer and takes no address
	local    netip.AddrPort
	features Features
	rmu      sync.Mutex
	last     atomic.Pointer[lastAddr]

	counters
}

// lastAddr remembers the net.Addr made for the last destination: mostly the
// next batch goes there too.
type lastAddr struct {
	addrPort netip.AddrPort
	addr     *net.UDPAddr
}

func newPacketConn(pc net.PacketConn, o Options) *packetConn {
	c := &packetConn{pc: pc}
	c.local, _ = addrPort(pc.LocalAddr())
	if u, ok := pc.(*net.UDPConn); ok {
		c.udp = u
		c.linked = u.RemoteAddr() != nil
		receive, send := o.wanted()
		c.features.Wanted = max(receive, send)
		// Best effort: how much was given cannot be asked portably.
		_ = u.SetReadBuffer(receive)
		_ = u.SetWriteBuffer(send)
	}
	c.features.PktInfo = c.local.IsValid() && !c.local.Addr().IsUnspecified()
	return c
}

// Receive takes its slab before it waits: a net.PacketConn cannot be asked
// whether it is readable.
func (c *packetConn) Receive(slabs Slabs, dst []dgram.Datagram) (n int, slab []byte, err error) {
	if len(dst) == 0 {
		return 0, nil, errNoRoom
	}
	c.rmu.Lock()
	defer c.rmu.Unlock()
	slab = slabs.Get()
	for patience := patience(maxSoftErrors); ; {
		size, from, err := c.readFrom(slab)
		c.receiveCalls.Add(1)
		switch {
		case err == nil && from.IsValid():
			c.received.Add(1)
			c.receivedBytes.Add(uint64(size))
			dst[0] = dgram.Datagram{Data: slab[:size:size], Path: dgram.Path{Local: c.local, Remote: unmap(from)}}
			return 1, slab, nil
		case err == nil, err == errNoSource, tooBig(err): // Windows says the last when the buffer is too small
			c.truncated.Add(1)
		}
		if err != nil && !c.again(&patience, err) {
			slabs.Put(slab)
			return 0, nil, closed(err)
		}
	}
}

// again reports whether a read that failed with err is to be repeated.
func (c *packetConn) again(p *patience, err error) bool {
	if c.udp != nil {
		return tooBig(err) || p.with(err)
	}
	return p.foreign(err)
}

func (c *packetConn) readFrom(p []byte) (int, netip.AddrPort, error) {
	if c.udp != nil {
		return c.udp.ReadFromUDPAddrPort(p)
	}
	n, addr, err := c.pc.ReadFrom(p)
	if err == nil && addr == nil {
		err = errNoSource
	}
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	from, _ := addrPort(addr) // one that is no IP address is a peer's, who must not end the socket
	return n, from, nil
}

func (c *packetConn) Send(b *dgram.Batch) error {
	for i := range b.Count() {
		c.sendCalls.Add(1)
		err := c.writeTo(b.Segment(i), b.Path.Remote)
		if c.udp != nil && tooBig(err) {
			err = c.writeTo(b.Segment(i), b.Path.Remote) // it may have been an ICMP message's
		}
		if err != nil {
			c.sendErrors.Add(1)
			if closed(err) == net.ErrClosed {
				return net.ErrClosed
			}
			return &SendError{Err: err, Sent: i, TooBig: tooBig(err)}
		}
		c.sent.Add(1)
		c.sentBytes.Add(uint64(len(b.Segment(i))))
	}
	return nil
}

func (c *packetConn) writeTo(p []byte, to netip.AddrPort) (err error) {
	switch {
	case c.linked:
		_, err = c.udp.Write(p)
	case c.udp != nil:
		_, err = c.udp.WriteToUDPAddrPort(p, to)
	default:
		last := c.last.Load()
		if last == nil || last.addrPort != to {
			last = &lastAddr{to, net.UDPAddrFromAddrPort(to)}
			c.last.Store(last)
		}
		_, err = c.pc.WriteTo(p, last.addr)
	}
	return err
}

func (c *packetConn) LocalAddr() netip.AddrPort { return c.local }

func (c *packetConn) Features() Features { return c.features }

func (c *packetConn) Close() error { return closed(c.pc.Close()) }

func (c *packetConn) packetConn() net.PacketConn { return c.pc }

// addrPort returns the IP and port of a, whatever its type.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	if a == nil {
		return netip.AddrPort{}, false
	}
	if u, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		p := unmap(u.AddrPort())
		return p, p.IsValid()
	}
	p, err := netip.ParseAddrPort(a.String())
	return unmap(p), err == nil
}
