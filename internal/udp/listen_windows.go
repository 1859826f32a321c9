package udp

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// control returns the function that sets what must be set before bind.
// wildcard6 says that the address is ::, the only one where IPv6Only matters.
func (o *Options) control(wildcard6 bool) func(network, address string, rc syscall.RawConn) error {
	return func(_, _ string, rc syscall.RawConn) (err error) {
		ctl := rc.Control(func(fd uintptr) { err = o.prepare(windows.Handle(fd), wildcard6) })
		if ctl != nil {
			return ctl
		}
		return err
	}
}

func (o *Options) prepare(fd windows.Handle, wildcard6 bool) error {
	set := func(level, name, value int) error {
		return os.NewSyscallError("setsockopt", windows.SetsockoptInt(fd, level, name, value))
	}
	if wildcard6 {
		if err := set(windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, flag(o.IPv6Only)); err != nil {
			return err
		}
	}
	if o.ReuseAddr {
		if err := set(windows.SOL_SOCKET, windows.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	return set(windows.SOL_SOCKET, windows.SO_BROADCAST, 0) // package net sets it, and nobody has asked
}

func setBroadcast(fd uintptr, on bool) error {
	return os.NewSyscallError("setsockopt", windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_BROADCAST, flag(on)))
}

func setMulticastAddr(fd uintptr, ip [4]byte) error {
	return os.NewSyscallError("setsockopt", windows.SetsockoptInet4Addr(windows.Handle(fd), windows.IPPROTO_IP, windows.IP_MULTICAST_IF, ip))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
