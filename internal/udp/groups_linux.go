package udp

import "golang.org/x/sys/unix"

// ownGroupsOnly keeps the kernel from giving the socket datagrams for multicast groups
// that only other sockets have joined, as Linux does by itself. Kernels before 4.20 know
// it for IPv4 only.
func ownGroupsOnly(fd int, v6, v4 bool) {
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
	if v4 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	}
}
