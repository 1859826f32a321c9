package udp

import "golang.org/x/sys/unix"

// dontFragment forbids fragments, as RFC 9000 §14 demands, for the families
// that the socket speaks, and reports whether that worked. PROBE, unlike DO,
// leaves the kernel's path MTU cache out of it: what ICMP messages claim, forged
// ones too, must not limit what MTU discovery may try (RFC 9000 §14.2.1).
func dontFragment(fd int, v6, v4 bool) bool {
	ok := true
	if v6 {
		ok = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE) == nil
	}
	if v4 {
		ok = ok && unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE) == nil
	}
	return ok
}
