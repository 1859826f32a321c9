package udp

import (
	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// receiveECN asks for the codepoint of every datagram (RFC 9000 §13.4), for the
// families that the socket speaks, and reports whether that worked.
func receiveECN(fd int, v6, v4 bool) bool {
	ok := true
	if v6 {
		ok = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1) == nil
	}
	if v4 {
		ok = ok && unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1) == nil
	}
	return ok
}

// addECN sets the traffic class of what is sent to an address of the given
// family, which on a dual-stack socket need not be the socket's.
func (m *control) addECN(e dgram.ECN, v4 bool) {
	if v4 {
		*(*int32)(m.add(unix.IPPROTO_IP, unix.IP_TOS, 4)) = int32(e)
	} else {
		*(*int32)(m.add(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)) = int32(e)
	}
}

// parseECN reads the codepoint: one byte for IPv4, an int for IPv6.
func parseECN(level int32, data []byte) (dgram.ECN, bool) {
	switch {
	case level == unix.IPPROTO_IP && len(data) >= 1 && len(data) < 4:
		return dgram.ECN(data[0] & 3), true
	case len(data) >= 4:
		return dgram.ECN(native.Uint32(data) & 3), true
	}
	return 0, false
}
