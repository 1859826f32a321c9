package udp

import "golang.org/x/sys/windows"

const (
	ipDontFragment = 14
	ipv6DontFrag   = 14
)

// dontFragment forbids fragments, as RFC 9000 §14 demands, for the families
// that the socket speaks, and reports whether that worked.
func dontFragment(fd uintptr, v6, v4 bool) bool {
	ok := true
	if v6 {
		ok = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, ipv6DontFrag, 1) == nil
	}
	if v4 {
		ok = ok && windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, ipDontFragment, 1) == nil
	}
	return ok
}
