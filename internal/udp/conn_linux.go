package udp

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// udpConn is a kernel socket with all that Linux can do for it. The runtime's
// poller waits for it; the system calls are our own, on buffers that live as
// long as the conn, so that nothing is allocated per call.
type udpConn struct {
	udp      *net.UDPConn
	raw      syscall.RawConn
	options  Options
	local    netip.AddrPort
	v6       bool     // the socket is AF_INET6: it takes IPv4 addresses only as IPv4-in-IPv6
	bound    bool     // to one address, not to a wildcard
	features Features // as set up; GSO and ECN are below
	gso      gso
	ecn      atomic.Bool
	rx       receiver

	counters
}

// newUDP sets the socket up. Everything but its address may fail to be had.
func newUDP(u *net.UDPConn, o Options) (Conn, error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &udpConn{udp: u, raw: raw, options: o}
	c.local, _ = addrPort(u.LocalAddr())
	c.bound = c.local.IsValid() && !c.local.Addr().IsUnspecified()
	c.rx.init(c)
	ctl := raw.Control(func(fd uintptr) { err = c.setUp(int(fd)) })
	if ctl != nil {
		return nil, closed(ctl)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *udpConn) setUp(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	c.v6 = domain == unix.AF_INET6
	v6, v4 := c.v6, !c.v6
	if v6 {
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		v4 = err == nil && only == 0 // dual stack: needs the options of both families
	}
	c.features.DF = dontFragment(fd, v6, v4)
	ownGroupsOnly(fd, v6, v4)
	c.features.PktInfo = c.bound || receivePktInfo(fd, v6, v4)
	if !c.options.DisableGRO {
		c.features.GRO = receiveGRO(fd)
	}
	if !c.options.DisableGSO {
		c.gso.on.Store(probeGSO(fd))
	}
	if !c.options.DisableECN {
		c.ecn.Store(receiveECN(fd, v6, v4))
	}
	c.enlargeBuffers(fd)
	return nil
}

func (c *udpConn) LocalAddr() netip.AddrPort { return c.local }

func (c *udpConn) Features() Features {
	f := c.features
	f.GSO = c.gso.on.Load()
	f.ECN = c.ecn.Load()
	return f
}

// Close wakes a blocked Receive through the poller, which fails all that wait.
func (c *udpConn) Close() error { return closed(c.udp.Close()) }

func (c *udpConn) packetConn() net.PacketConn { return c.udp }
