package wire

// PacketNumberLen returns how many bytes, 1 to 4, the packet number pn needs when
// largestAcked, or -1 if none, is the largest one that the peer has acknowledged:
// enough to span more than twice the distance (RFC 9000 §17.1).
func PacketNumberLen(pn, largestAcked int64) int {
	switch d := pn - largestAcked; {
	case d < 1<<7:
		return 1
	case d < 1<<15:
		return 2
	case d < 1<<23:
		return 3
	}
	return 4
}

// AppendPacketNumber appends the low pnLen bytes, 1 to 4, of pn.
func AppendPacketNumber(b []byte, pn int64, pnLen int) []byte {
	switch pnLen {
	case 1:
		return append(b, byte(pn))
	case 2:
		return append(b, byte(pn>>8), byte(pn))
	case 3:
		return append(b, byte(pn>>16), byte(pn>>8), byte(pn))
	case 4:
		return append(b, byte(pn>>24), byte(pn>>16), byte(pn>>8), byte(pn))
	}
	panic("BUG: packet number length not 1 to 4")
}

// DecodePacketNumber returns the packet number whose low pnLen bytes, 1 to 4, are
// truncated and which lies nearest to the one after largest: the largest received
// in its space, or -1 if none (RFC 9000 §17.1, §A.3). The result is at least 0
// and below 1<<62.
func DecodePacketNumber(largest int64, truncated uint32, pnLen int) int64 {
	window := int64(1) << (8 * uint(pnLen))
	next := largest + 1
	pn := next&^(window-1) | int64(truncated)
	switch {
	case pn <= next-window/2 && pn < 1<<62-window:
		return pn + window
	case (pn > next+window/2 || pn >= 1<<62) && pn >= window:
		return pn - window
	}
	return pn
}

// pnLenBits returns the two low bits of the first byte that say pnLen, 1 to 4.
func pnLenBits(pnLen int) byte {
	if pnLen < 1 || pnLen > 4 {
		panic("BUG: packet number length not 1 to 4")
	}
	return byte(pnLen - 1)
}
