package stream

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// comb packs frames of size bytes, as many as given.
func (s *sender) comb(frames, size int) (sent []frame) {
	s.t.Helper()
	s.write(frames * size)
	for range frames {
		sent = append(sent, s.must(size))
	}
	return sent
}

// must packs a frame of at most n bytes, which there must be.
func (s *sender) must(n int) frame {
	s.t.Helper()
	f, ok := s.take(n, plenty)
	if !ok {
		s.t.Fatal("nothing is sent")
	}
	return f
}

// checkHoles says that what is acknowledged and what is lost are disjoint, in order, and no more than may be.
func (s *sender) checkHoles(most int) {
	s.t.Helper()
	if a, l := len(s.acked), len(s.lost); a > most || l > most+1 {
		s.t.Fatalf("%d ranges are acknowledged and %d lost, of %d", a, l, most)
	}
	at, k := s.prefix, len(s.lost)-1
	for _, r := range s.acked {
		for ; k >= 0 && -s.lost[k].End < r.Start; k-- {
			if -s.lost[k].End < at {
				s.t.Fatalf("%v is lost, and %d acknowledged", s.lost[k], at)
			}
			at = -s.lost[k].Start
		}
		if r.Start < at {
			s.t.Fatalf("%v is acknowledged, and %d as well or lost", r, at)
		}
		at = r.End
	}
	if k >= 0 && -s.lost[k].End < at || max(at, s.prefix) > s.sent || k >= 0 && -s.lost[0].Start > s.sent {
		s.t.Fatalf("%d is acknowledged or lost, behind %d, or before the next one", at, s.sent)
	}
}

// arrives lets all that is sent from now on be acknowledged, and wants that to be the end.
func (s *sender) arrives(flying []frame) {
	s.t.Helper()
	s.Finish()
	for !s.Done() {
		for {
			f, ok := s.take(packet, plenty)
			if !ok {
				break
			}
			flying = append(flying, f)
		}
		if len(flying) == 0 {
			s.t.Fatalf("%d of %d bytes acknowledged, and nothing is sent", s.prefix, s.sent)
		}
		for _, f := range flying {
			s.ack(f)
			s.checkHoles(maxHoles)
		}
		flying = flying[:0]
	}
	wantChunks(s.t, "everything acknowledged", &s.list, 0)
}

// A peer that acknowledges every second of many tiny frames, and no copy of the others, makes a half hold no more ranges
// than the bound, and send no more frames in each round, however often all are lost.
func TestSendHoles(t *testing.T) {
	most := limits.Bound(t, "send-holes")
	for name, order := range map[string]func(i, n int) int{
		"ascending":  func(i, n int) int { return i },
		"descending": func(i, n int) int { return n - 1 - i },
		"mixed":      func(i, n int) int { return i * 7919 % n },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSender(t, plenty)
			sent := s.comb(6*most, 1)
			again := 0
			for i := range 3 * most {
				if s.ack(sent[2*order(i, 3*most)+1]) {
					again++
				}
			}
			s.checkHoles(most)
			if again != 2*most {
				t.Errorf("%d ranges of %d are forgotten, with a bound of %d", again, 3*most, most)
			}
			for i := range 3 * most {
				s.lose(sent[2*order(i, 3*most)])
			}
			s.checkHoles(most)
			var flying []frame
			for range 5 {
				for _, f := range flying {
					s.lose(f)
					s.checkHoles(most)
				}
				flying = flying[:0]
				for s.Pending(0) {
					flying = append(flying, s.must(packet))
				}
				if n := len(flying); n > most+1+6*most/packet {
					t.Fatalf("%d frames in a round", n)
				}
			}
			if s.AckedTop() != int64(6*most) || s.AckedPrefix() != 0 || s.Buffered() != int64(6*most) {
				t.Errorf("acknowledged up to %d, from the start %d, %d retained", s.AckedTop(), s.AckedPrefix(), s.Buffered())
			}
			s.arrives(flying)
		})
	}
}

// What is in flight between lost frames does not make them more than the bound either.
func TestSendHolesInFlight(t *testing.T) {
	most := limits.Bound(t, "send-holes")
	for _, acked := range []int{0, most / 2, most, 2 * most} {
		s := newSender(t, plenty)
		sent := s.comb(8*most, 1)
		for i := range acked {
			s.ack(sent[4*i+1])
		}
		var flying []frame
		for i := 0; i < len(sent); i += 2 {
			s.lose(sent[i])
			s.checkHoles(most)
			flying = append(flying, sent[i+1])
		}
		if acked == 0 && len(s.lost) != most+1 {
			t.Errorf("%d ranges are lost", len(s.lost))
		}
		s.ack(sent[3]) // in the middle of one of them, or not
		s.checkHoles(most)
		s.ack(frame{off: int64(len(sent)) - 100, n: 3})
		s.checkHoles(most)
		s.arrives(flying)
	}
}

// If every second packet of 2,000 is lost, nothing goes again that has arrived.
func TestSendHolesHonest(t *testing.T) {
	s := newSender(t, plenty)
	sent := s.comb(2000, packet)
	for i, f := range sent {
		if i%2 == 0 {
			s.lose(f)
		} else if s.ack(f) {
			t.Fatalf("packet %d goes again", i)
		}
	}
	for _, f := range sent {
		if f.off/packet%2 == 0 {
			s.want("what was lost", f.off, f.n, false)
		}
	}
	s.wantIdle("all in flight")
	s.arrives(sent)
}

// What is forgotten is the smallest, and goes again in one frame with what was lost around it. An end that has arrived does not go again.
func TestSendHolesForgotten(t *testing.T) {
	s := newSender(t, plenty)
	sent := s.comb(2*maxHoles, 10)
	small := s.comb(2, 5)
	big := s.comb(2, 20)
	s.Finish()
	fin := s.want("the end", int64(len(s.data)), 0, true)
	for i := 0; i < len(sent); i += 2 {
		s.lose(sent[i])
		if s.ack(sent[i+1]) {
			t.Fatal("forgotten before the bound")
		}
	}
	s.lose(small[0])
	s.lose(big[0])
	s.ack(fin)
	if !s.ack(small[1]) { // which, being the last, is spared
		t.Fatal("not forgotten at the bound")
	}
	if !s.ack(big[1]) {
		t.Fatal("not forgotten at the bound")
	}
	if s.acked.Contains(small[1].off) || !s.acked.Contains(big[1].off) || s.acked.Size() != 10*(maxHoles-1)+20 {
		t.Fatalf("what is remembered: %v", s.acked)
	}
	for i := 0; i < len(sent)-2; i += 2 {
		s.want("between what was acknowledged", sent[i].off, 10, false)
	}
	s.want("what was lost and forgotten at the end", sent[len(sent)-2].off, 10+10+5+5+20, false)
	s.wantIdle("the end has arrived")
	s.ack(frame{0, len(s.data), false})
	s.wantState("acknowledged", SendDataRecvd)
}

// A reset half forgets all of it.
func TestSendHolesReset(t *testing.T) {
	s := newSender(t, plenty)
	sent := s.comb(3*maxHoles, 1)
	for i := 1; i < len(sent); i += 2 {
		s.ack(sent[i])
	}
	s.Reset(7)
	if s.ack(sent[0]) || s.Retained() != 0 || s.acked != nil || s.lost != nil {
		t.Errorf("%d retained, %d and %d ranges", s.Retained(), len(s.acked), len(s.lost))
	}
	s.lose(sent[2])
	if len(s.lost) != 0 {
		t.Error("something is lost after a reset")
	}
}

// BenchmarkSendHoles sends lost frames of one byte again and again, as many as fit in a datagram, with as many ranges as may be.
func BenchmarkSendHoles(b *testing.B) {
	var list List
	var s Send
	s.Init(&list, plenty)
	s.Write(make([]byte, 2*maxHoles))
	one := make([]byte, 1)
	for i := range int64(2 * maxHoles) {
		s.Take(one, i, 1, false)
	}
	for i := int64(0); i < 2*maxHoles; i += 2 {
		s.Acked(i+1, 1, false)
		s.Lost(i, 1, false)
	}
	sent := make([]int64, 380)
	for b.Loop() {
		for i := range sent {
			off, n, fin, _, _ := s.Next(1, plenty)
			s.Take(one, off, n, fin)
			sent[i] = off
		}
		for _, off := range sent {
			s.Lost(off, 1, false)
		}
	}
	s.Release()
}
