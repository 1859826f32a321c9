package udp

import "golang.org/x/sys/unix"

// enlargeBuffers asks for the socket buffers of the options and records what
// the kernel gave. A short buffer means loss at high rates, hence the log line.
func (c *udpConn) enlargeBuffers(fd int) {
	receive, send := c.options.wanted()
	c.features.Wanted = max(receive, send)
	c.features.ReceiveBuffer = enlarge(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receive)
	c.features.SendBuffer = enlarge(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, send)
	if c.features.ReceiveBuffer < receive || c.features.SendBuffer < send {
		c.options.logf("udp: %v: socket buffers are %d KiB (receive) and %d KiB (send), wanted %d and %d: raise net.core.rmem_max and net.core.wmem_max",
			c.local, c.features.ReceiveBuffer>>10, c.features.SendBuffer>>10, receive>>10, send>>10)
	}
}

// enlarge makes one buffer at least want bytes large, if it may, and returns how
// large it is. Only the force option, a privilege, passes the system's limit.
// The kernel doubles what it is told to allow for its overhead, and says so.
func enlarge(fd, force, plain, want int) int {
	have := func() int {
		n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, plain)
		return n / 2
	}
	if n := have(); n >= want {
		return n
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, want) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, want) // takes what the limit allows
	}
	return have()
}
