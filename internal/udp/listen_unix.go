//go:build !windows

package udp

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// control returns the function that sets what must be set before bind.
// wildcard6 says that the address is ::, the only one where IPv6Only matters.
func (o *Options) control(wildcard6 bool) func(network, address string, rc syscall.RawConn) error {
	return func(network, _ string, rc syscall.RawConn) (err error) {
		ctl := rc.Control(func(fd uintptr) { err = o.prepare(int(fd), network == "udp6", wildcard6) })
		if ctl != nil {
			return ctl
		}
		return err
	}
}

func (o *Options) prepare(fd int, v6, wildcard6 bool) error {
	set := func(level, name, value int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, name, value))
	}
	if wildcard6 {
		if err := set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, flag(o.IPv6Only)); err != nil {
			return err
		}
	}
	if o.ReuseAddr {
		if err := set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if o.ReusePort {
		if err := set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
	}
	if o.TTL == 0 {
		return nil
	}
	if !v6 {
		return set(unix.IPPROTO_IP, unix.IP_TTL, o.TTL)
	}
	_ = set(unix.IPPROTO_IP, unix.IP_TTL, o.TTL) // for IPv4 on a dual-stack socket, where the system has it
	return set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, o.TTL)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
