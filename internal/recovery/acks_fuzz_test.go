package recovery

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// ackStory is one Acks, and lists of everything that happened to it.
type ackStory struct {
	t       *testing.T
	a       Acks
	space   Space
	now     mono.Time
	got     map[int64]bool
	largest int64
	ecn     wire.ECNCounts
	since   mono.Time // the first ack-eliciting packet without an ACK came; Never: none
	longest time.Duration
	sent    []int64 // largest numbers of the ACK frames sent
	fresh   []int64 // ack-eliciting packets that were in no frame yet
	said    []int64 // and others
	heard   int64   // the largest number that the peer knows to be acknowledged
}

// FuzzAcks: in whatever order packets come and ACK frames arrive, no packet is taken twice,
// nothing is acknowledged that did not come, a frame with room for it says all that asks for it
// and that the peer may not know yet, and every ack-eliciting packet has its answer within the delay that was promised.
func FuzzAcks(f *testing.F) {
	f.Add(byte(2), []byte{0, 1, 0, 1, 2, 255, 0, 3, 1, 1, 2, 30, 3, 0, 4, 20, 0, 1, 2, 255, 3, 1})
	f.Add(byte(0), []byte{0, 1, 2, 255, 5, 9, 0, 5, 0, 1, 2, 12, 3, 0, 0, 129, 0, 65, 2, 255})
	f.Add(byte(2), []byte{6, 10, 0, 1, 0, 1, 0, 1, 0, 1, 7, 0, 0, 1, 4, 200, 2, 255, 0, 200, 1, 100, 1, 200, 2, 9})
	f.Fuzz(func(t *testing.T, space byte, ops []byte) {
		s := &ackStory{t: t, space: Space(space) % Spaces, now: start, got: map[int64]bool{}, largest: -1, since: mono.Never, longest: 25 * ms, heard: -1}
		s.a.Init(s.space, 25*ms)
		for i := 0; i+1 < min(len(ops), 2000); i += 2 {
			s.op(ops[i]%8, int64(ops[i+1]))
			s.check()
		}
	})
}

func (s *ackStory) op(op byte, n int64) {
	switch op {
	case 0: // a packet with a number above all others
		s.receive(s.largest+1+n%64, dgram.ECN(n>>6), true)
	case 1: // or below
		s.receive(max(s.largest-n, 0), dgram.NotECT, n%3 != 0)
	case 2:
		s.send(int(n) * 5)
	case 3: // a frame arrives
		if len(s.sent) > 0 {
			largest := s.sent[int(n)%len(s.sent)]
			s.a.Acked(largest)
			s.heard = max(s.heard, largest)
		}
	case 4:
		s.now = s.now.Add(time.Duration(n) * ms)
	case 5:
		s.a.AnswerAtOnce()
	case 6:
		if s.space == App {
			delay := time.Duration(1+n) * ms
			s.a.SetFrequency(Frequency{Threshold: n % 20, MaxDelay: delay, Reorder: n % 5})
			s.longest = max(s.longest, delay)
		}
	case 7: // a train
		first := s.largest + 1 + n%2
		for pn := first; pn < first+5; pn++ {
			s.take(pn, dgram.ECT0, true)
		}
		s.a.ReceivedRun(s.now, first, 5, dgram.ECT0)
	}
}

func (s *ackStory) receive(pn int64, ecn dgram.ECN, eliciting bool) {
	if s.a.Seen(pn) {
		return
	}
	if s.got[pn] {
		s.t.Fatalf("packet %d is taken twice", pn)
	}
	s.take(pn, ecn, eliciting)
	s.a.Taking(pn)
	s.a.Received(s.now, pn, eliciting, ecn)
}

func (s *ackStory) take(pn int64, ecn dgram.ECN, eliciting bool) {
	s.got[pn] = true
	s.largest = max(s.largest, pn)
	switch ecn {
	case dgram.ECT0:
		s.ecn.ECT0++
	case dgram.ECT1:
		s.ecn.ECT1++
	case dgram.CE:
		s.ecn.CE++
	}
	if eliciting {
		s.since = min(s.since, s.now)
		s.fresh = append(s.fresh, pn)
	}
}

// send sends an ACK frame, if there is one and room for it.
func (s *ackStory) send(room int) {
	b, ok := s.a.Append(nil, room, s.now, 3)
	if !ok {
		if s.a.Wanted() && room > 64 {
			s.t.Fatal("no frame for a packet that waits for one")
		}
		return
	}
	c := varint.NewCursor(b)
	typ, _ := wire.ParseType(&c)
	frame := wire.ParseAck(&c, typ)
	if c.Failed() || c.Len() != 0 || len(b) > room {
		s.t.Fatalf("a frame of %d bytes in room for %d: %x", len(b), room, b)
	}
	set := frame.Set()
	s.judge(frame, set, room)
	s.sent = append(s.sent, s.a.Sent())
	s.said, s.fresh = append(s.said, s.fresh...), nil
	s.since = mono.Never
}

func (s *ackStory) judge(frame wire.Ack, set ranges.Set, room int) {
	if set.Max() != s.largest {
		s.t.Fatalf("%v begins at %d, want %d", frame, set.Max(), s.largest)
	}
	for _, r := range set {
		for pn := r.Start; pn < r.End; pn++ {
			if !s.got[pn] {
				s.t.Fatalf("%v acknowledges %d, which did not come", frame, pn)
			}
		}
	}
	if counts := (wire.ECNCounts{ECT0: frame.ECT0, ECT1: frame.ECT1, CE: frame.CE}); counts != s.ecn {
		s.t.Fatalf("%v counts marks, want %+v", frame, s.ecn)
	}
	if room < 800 || len(set) >= MaxAckRanges {
		return
	}
	for _, pn := range s.fresh {
		if !set.Contains(pn) && pn >= s.a.floor {
			s.t.Fatalf("%v leaves out %d, which no other had", frame, pn)
		}
	}
	for _, pn := range s.said {
		if !set.Contains(pn) && pn > s.heard && pn >= s.a.floor {
			s.t.Fatalf("%v leaves out %d, which the peer may not know of", frame, pn)
		}
	}
}

func (s *ackStory) check() {
	a := &s.a
	if (s.since == mono.Never) != (a.Deadline() == mono.Never) || a.Wanted() != (s.since != mono.Never) {
		s.t.Fatalf("an ack-eliciting packet came at %d, the ACK goes at %d, wanted: %v", s.since, a.Deadline(), a.Wanted())
	}
	if s.since != mono.Never && a.Deadline() > s.since.Add(s.longest) {
		s.t.Fatalf("a packet of %d has its ACK at %d, later than in %v", s.since, a.Deadline(), s.longest)
	}
	if a.Due(s.now) != (a.Deadline() <= s.now) || a.Largest() != s.largest || a.Ranges() > MaxAckRanges || len(a.set) > MaxAckRanges {
		s.t.Fatalf("due %v at %d of %d, largest %d of %d, %d ranges", a.Due(s.now), s.now, a.Deadline(), a.Largest(), s.largest, len(a.set))
	}
	for pn := range s.got {
		if !a.Seen(pn) {
			s.t.Fatalf("packet %d would be taken again", pn)
		}
	}
}
