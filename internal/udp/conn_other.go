//go:build !linux

package udp

import "net"

// newUDP takes the plain path: one datagram a system call.
func newUDP(u *net.UDPConn, o Options) (Conn, error) {
	c := newPacketConn(u, o)
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	v4 := c.local.Addr().Is4()
	err = raw.Control(func(fd uintptr) { c.features.DF = dontFragment(fd, !v4, v4) })
	if err != nil {
		return nil, closed(err)
	}
	return c, nil
}
