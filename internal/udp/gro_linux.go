package udp

import "golang.org/x/sys/unix"

// receiveGRO asks the kernel to join runs of datagrams of one flow, of equal
// size but the last, into one read, and reports whether it will.
func receiveGRO(fd int) bool {
	return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
}

// parseGRO reads the size at which a read is to be cut into datagrams.
func parseGRO(data []byte) (int, bool) {
	switch {
	case len(data) >= 4:
		return int(int32(native.Uint32(data))), true
	case len(data) >= 2:
		return int(native.Uint16(data)), true
	}
	return 0, false
}
