//go:build darwin || freebsd

package udp

import "golang.org/x/sys/unix"

// dontFragment forbids fragments, as RFC 9000 §14 demands, for the families
// that the socket speaks, and reports whether that worked.
func dontFragment(fd uintptr, v6, v4 bool) bool {
	ok := true
	if v6 {
		ok = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1) == nil
	}
	if v4 {
		ok = ok && unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_DONTFRAG, 1) == nil
	}
	return ok
}
