package stream

// What a peer acknowledges, and what is lost, are ranges between holes, and each takes a search, a place in a slice
// and a frame. A peer can make as many of them as it likes: by credit of one byte at a time, so that each byte has
// a packet of its own, and by acknowledging every second packet. What was lost between them cannot join then, and goes again
// as often as its packets are lost.
//
// So a half remembers maxHoles ranges. One more, and the smallest range that is acknowledged is forgotten: it goes again, as
// if it were lost, together with what is lost on either side of it. That costs honest peers some bytes, and only if
// every second packet of more than 2,000 is lost, as may be where slow start overruns a
// short queue; a link that loses one in a hundred has 86 holes in a window of 8,600 packets (1 Gbit/s and 100 ms).
const maxHoles = 1024

// boundAcked forgets a range that is acknowledged if there are too many, and reports whether it has. It spares the
// last one, which grows while the peer gets everything behind the holes.
func (s *Send) boundAcked() bool {
	last := len(s.acked) - 1
	if last < maxHoles {
		return false
	}
	least := last - 1
	for i := least; i >= 0; i-- {
		if s.acked[i].Len() < s.acked[least].Len() {
			least = i
		}
	}
	r := s.acked[least]
	s.acked = append(s.acked[:least], s.acked[least+1:]...)
	s.lose(r.Start, r.End)
	return true
}

// lose notes that bytes are to be sent again.
func (s *Send) lose(off, end int64) {
	s.lost.Add(-end, -off)
	s.boundLost()
}

// boundLost joins two lost ranges if there are too many. There is one more of them than of acknowledged ranges at most, if nothing is in
// flight between them. So there are two without an acknowledged one between them, and what is in flight there
// goes again with them. The highest two do, because they have to wait longest.
func (s *Send) boundLost() {
	if len(s.lost) <= maxHoles+1 {
		return
	}
	below := len(s.acked) // of the ranges from here on none is below the higher one of the two
	for i := 1; i < len(s.lost); i++ {
		lower, higher := s.lost[i], &s.lost[i-1]
		for below > 0 && s.acked[below-1].Start >= -higher.End {
			below--
		}
		if below == 0 || s.acked[below-1].Start < -lower.End {
			higher.End = lower.End
			s.lost = append(s.lost[:i], s.lost[i+1:]...)
			return
		}
	}
}
