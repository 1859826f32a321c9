package udp

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receivePktInfo asks for the local address of every datagram, for the families
// that the socket speaks, and reports whether that worked. A server on a
// wildcard address must answer from where it was asked (RFC 9000 §5.2, §9).
func receivePktInfo(fd int, v6, v4 bool) bool {
	ok := true
	if v6 {
		ok = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) == nil
	}
	if v4 {
		ok = ok && unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1) == nil
	}
	return ok
}

// addPktInfo makes a the source of what is sent. The interface is left to the
// routing table, but for link-local addresses, which mean nothing without one.
func (m *control) addPktInfo(a netip.Addr) {
	if a.Is4() {
		info := (*unix.Inet4Pktinfo)(m.add(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo))
		*info = unix.Inet4Pktinfo{Spec_dst: a.As4()}
		return
	}
	info := (*unix.Inet6Pktinfo)(m.add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo))
	*info = unix.Inet6Pktinfo{Addr: a.As16(), Ifindex: zones.index(a.Zone())}
}

// parsePktInfo reads the local address. For IPv4 that is not the destination in
// the header, which may be a broadcast address and as such no source.
func parsePktInfo(level int32, data []byte) (netip.Addr, bool) {
	switch {
	case level == unix.IPPROTO_IP && len(data) >= unix.SizeofInet4Pktinfo:
		info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
		return netip.AddrFrom4(info.Spec_dst), true
	case level == unix.IPPROTO_IPV6 && len(data) >= unix.SizeofInet6Pktinfo:
		info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
		a := netip.AddrFrom16(info.Addr).Unmap()
		if a.IsMulticast() { // here it is the destination, and no source either
			return netip.Addr{}, false
		}
		if a.IsLinkLocalUnicast() && a.Is6() {
			a = a.WithZone(zones.name(info.Ifindex))
		}
		return a, true
	}
	return netip.Addr{}, false
}
