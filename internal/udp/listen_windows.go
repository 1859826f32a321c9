package udp

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

const (
	ipTTL           = 4
	ipv6UnicastHops = 4
)

// control returns the function that sets what must be set before bind.
// wildcard6 says that the address is ::, the only one where IPv6Only matters.
func (o *Options) control(wildcard6 bool) func(network, address string, rc syscall.RawConn) error {
	return func(network, _ string, rc syscall.RawConn) (err error) {
		ctl := rc.Control(func(fd uintptr) { err = o.prepare(windows.Handle(fd), network == "udp6", wildcard6) })
		if ctl != nil {
			return ctl
		}
		return err
	}
}

// prepare has no SO_REUSEPORT to set: ReusePort asks for a sharing of load that
// Windows does not do.
func (o *Options) prepare(fd windows.Handle, v6, wildcard6 bool) error {
	set := func(level, name, value int) error {
		return os.NewSyscallError("setsockopt", windows.SetsockoptInt(fd, level, name, value))
	}
	if wildcard6 {
		only := 0
		if o.IPv6Only {
			only = 1
		}
		if err := set(windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	if o.ReuseAddr {
		if err := set(windows.SOL_SOCKET, windows.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	switch {
	case o.TTL != 0 && v6:
		return set(windows.IPPROTO_IPV6, ipv6UnicastHops, o.TTL)
	case o.TTL != 0:
		return set(windows.IPPROTO_IP, ipTTL, o.TTL)
	}
	return nil
}
