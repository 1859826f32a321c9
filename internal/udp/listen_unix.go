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
	return func(_, _ string, rc syscall.RawConn) (err error) {
		ctl := rc.Control(func(fd uintptr) { err = o.prepare(int(fd), wildcard6) })
		if ctl != nil {
			return ctl
		}
		return err
	}
}

func (o *Options) prepare(fd int, wildcard6 bool) error {
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
	return set(unix.SOL_SOCKET, unix.SO_BROADCAST, 0) // package net sets it, and nobody has asked
}

func setBroadcast(fd uintptr, on bool) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, flag(on)))
}

func setMulticastAddr(fd uintptr, ip [4]byte) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInet4Addr(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, ip))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
