package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// tunnel is a net.PacketConn with addresses of its own type, that reads from a list.
type tunnel struct {
	net.PacketConn
	reads []tunnelRead
	to    net.Addr
}

type tunnelRead struct {
	data string
	from net.Addr
	err  error
}

type tunnelAddr string

func (a tunnelAddr) Network() string { return "tunnel" }
func (a tunnelAddr) String() string  { return string(a) }

func (p *tunnel) LocalAddr() net.Addr { return tunnelAddr("192.0.2.1:443") }

func (p *tunnel) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(p.reads) == 0 {
		return 0, nil, fmt.Errorf("tunnel: %w", net.ErrClosed)
	}
	r := p.reads[0]
	p.reads = p.reads[1:]
	return copy(b, r.data), r.from, r.err
}

func (p *tunnel) WriteTo(b []byte, to net.Addr) (int, error) {
	p.to = to
	switch {
	case len(b) > 1280:
		return 0, &net.OpError{Op: "write", Err: syscall.EMSGSIZE}
	case len(b) == 13:
		return 0, errors.New("unlucky")
	}
	return len(b), nil
}

func TestForeignAddresses(t *testing.T) {
	p := &tunnel{reads: []tunnelRead{
		{data: "who?", from: tunnelAddr("somebody")},
		{data: "nobody"},
		{err: syscall.ECONNREFUSED},
		{err: syscall.EMSGSIZE},
		{data: "hello", from: tunnelAddr("[::ffff:192.0.2.2]:7")},
	}}
	c, err := FromPacketConn(p)
	if err != nil {
		t.Fatal(err)
	}
	if c.LocalAddr() != netip.MustParseAddrPort("192.0.2.1:443") || !c.Features().PktInfo || c.Features().GSO {
		t.Errorf("%v %+v", c.LocalAddr(), c.Features())
	}
	slabs, dst := newPool(), make([]dgram.Datagram, 2)
	n, slab, err := c.Receive(slabs, dst)
	want := dgram.Path{Local: c.LocalAddr(), Remote: netip.MustParseAddrPort("192.0.2.2:7")}
	if n != 1 || err != nil || string(dst[0].Data) != "hello" || dst[0].Path != want {
		t.Errorf("%d %v %+v", n, err, dst[0])
	}
	slabs.Put(slab)
	if s := c.Stats(); s.Truncated != 3 || s.Received != 1 {
		t.Errorf("%+v, want 3 dropped reads", s)
	}
	if _, _, err := c.Receive(slabs, dst); err != net.ErrClosed || slabs.lent() != 0 {
		t.Errorf("%v, %d slabs out", err, slabs.lent())
	}

	send(t, c, batch(t, want.Remote, 1200, 1200))
	if p.to.String() != "192.0.2.2:7" {
		t.Errorf("written to %v", p.to)
	}
	if e := wantSendError(t, c.Send(batch(t, want.Remote, 1281))); !e.TooBig || e.Sent != 0 {
		t.Errorf("%+v, want it too big", e)
	}
	if e := wantSendError(t, c.Send(batch(t, want.Remote, 20, 13))); e.TooBig || e.Sent != 1 || e.Error() != "udp: send: unlucky" {
		t.Errorf("%+v", e)
	}
}

// An error that never ends is one, whatever its name; so is it when nothing has a source. An address of which we can make nothing is
// a peer's: he does not end the socket.
func TestForeverRefused(t *testing.T) {
	for _, tc := range []struct {
		read tunnelRead
		want error
	}{
		{tunnelRead{err: syscall.ECONNREFUSED}, syscall.ECONNREFUSED},
		{tunnelRead{err: syscall.EMSGSIZE}, syscall.EMSGSIZE},
		{tunnelRead{}, errNoSource},
		{tunnelRead{data: "nobody"}, errNoSource},
		{tunnelRead{from: tunnelAddr("somebody")}, net.ErrClosed},
	} {
		p := &tunnel{}
		for range 2 * maxSoftErrors {
			p.reads = append(p.reads, tc.read)
		}
		c, err := FromPacketConn(p)
		if err != nil {
			t.Fatal(err)
		}
		slabs := newPool()
		if _, _, err := c.Receive(slabs, make([]dgram.Datagram, 1)); err != tc.want || slabs.lent() != 0 {
			t.Errorf("%+v for ever: %v, %d slabs out", tc.read, err, slabs.lent())
		}
		if read := 2*maxSoftErrors - len(p.reads); read != maxSoftErrors+1 && tc.want != net.ErrClosed {
			t.Errorf("%+v for ever: read %d times, want %d", tc.read, read, maxSoftErrors+1)
		}
	}
}

// What an ICMP message makes of the next call, whoever sent it, does not end the socket.
func TestSoftErrors(t *testing.T) {
	errnos := []syscall.Errno{
		syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENOPROTOOPT,
		syscall.EPROTO, syscall.EMSGSIZE, syscall.EACCES, syscall.EPERM, syscall.EOPNOTSUPP, errGone,
	}
	for _, errno := range errnos {
		patience := patience(maxSoftErrors)
		if !patience.with(errno) {
			t.Errorf("%v ends the socket", errno)
		}
	}
	p := &tunnel{}
	for _, errno := range errnos {
		p.reads = append(p.reads, tunnelRead{err: &net.OpError{Op: "read", Err: errno}})
	}
	p.reads = append(p.reads, tunnelRead{data: "hello", from: tunnelAddr("192.0.2.2:7")})
	c, err := FromPacketConn(p)
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := c.Receive(newPool(), make([]dgram.Datagram, 1)); n != 1 || err != nil {
		t.Errorf("%d datagrams, %v", n, err)
	}
}

// The kernel's socket forgets an ICMP message once it is told; what a filter forbids it may go on to forbid.
func TestPatience(t *testing.T) {
	kernel, filter := patience(maxSoftErrors), patience(maxSoftErrors)
	for range maxSoftErrors {
		if !kernel.with(syscall.ECONNREFUSED) || !filter.with(syscall.EPERM) {
			t.Fatal("out of patience too early")
		}
	}
	if !kernel.with(syscall.ECONNREFUSED) || filter.with(syscall.EPERM) || kernel.with(syscall.EBADF) {
		t.Error("an error that passes ends the socket, or one that stays does not")
	}
}
