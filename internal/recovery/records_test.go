package recovery

import (
	"fmt"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// crowd sends a packet of so many bytes with so many frames.
func (s *script) crowd(bytes int32, frames int) {
	s.l.Sent(s.now, App, Packet{Number: s.l.Next(App), Size: bytes, AckEliciting: true, Epoch: s.l.Epoch()}, make([]Frame, frames))
}

// drain takes the fates of all that was sent, once the peer has acknowledged it, or some of it.
func (s *script) drain(numbers string) {
	s.t.Helper()
	if !s.l.Ack(s.now, App, wire.MakeAck(parse(numbers), 0, nil), 0) {
		s.t.Errorf("ACK of %s is refused", numbers)
	}
	for _, _, _, _, ok := s.l.NextFate(); ok; _, _, _, _, ok = s.l.NextFate() {
	}
}

// records returns the bytes of records that there are of packets in flight.
func (s *script) records() (sum int) {
	for _, space := range s.l.spaces {
		if space == nil {
			continue
		}
		for _, p := range space.sent.live() {
			if p.state == outstanding && p.active() {
				sum += packetRecord + frameRecord*len(space.sent.framesOf(&p))
			}
		}
	}
	return sum
}

// What is remembered of packets in flight is bounded, whatever their size and their frames, by half of the
// window, and in small windows by so many bytes. Full packets are bounded by the window alone.
func TestRecordsAreBounded(t *testing.T) {
	most := limits.Bound(t, "sent-records")
	for name, small := range map[string]struct {
		bytes  int32
		frames int
	}{"many frames": {size, 400}, "small packets": {20, 1}} {
		t.Run(name, func(t *testing.T) {
			for _, wide := range []bool{false, true} {
				s := newScript(t)
				for wide && s.l.Window() < 4*most {
					for s.l.CanSend() >= size {
						s.crowd(size, 1)
					}
					if free := s.l.Window() - s.l.InFlight(); free >= size {
						t.Fatalf("%d bytes of the window are free, with full packets", free)
					}
					s.now = s.now.Add(10 * ms)
					s.drain(numbered(0, s.l.Next(App)))
				}
				bound, before := max(most, s.l.Window()/2), 0
				for s.l.CanSend() >= size {
					before = s.records()
					s.crowd(small.bytes, small.frames)
				}
				if before >= bound || (wide || small.frames > 1) && s.records() < bound {
					t.Errorf("%d bytes of records, then %d, with a bound of %d", before, s.records(), bound)
				}
				store := &s.l.app.sent
				if n := packetRecord*cap(store.packets) + frameRecord*cap(store.frames); n > 4*(bound+packetRecord+frameRecord*small.frames) {
					t.Errorf("a store of %d bytes for records of %d", n, s.records())
				}
				s.l.SetAppLimited(false)
				if free := s.l.Window() - s.l.InFlight(); s.l.appLimited != (free >= size) {
					t.Errorf("%d bytes of the window are free; not used: %v", free, s.l.appLimited)
				}
				if s.now = s.l.Deadline(); !s.l.Advance(s.now) || s.l.Probes(App) == 0 {
					t.Error("no probe is owed")
				}
				s.crowd(size, 1) // which goes all the same
				s.drain(numbered(0, s.l.Next(App)))
				if s.l.records != 0 || s.l.CanSend() != s.l.Window() {
					t.Errorf("%d bytes of records when all is acknowledged, %d of %d bytes may be sent", s.l.records, s.l.CanSend(), s.l.Window())
				}
			}
		})
	}
}

// Records are counted as long as their packets are in flight, however that ends, and what was sent on a
// path that was left does not keep the new one from being used.
func TestRecordsAreCounted(t *testing.T) {
	s := newScript(t)
	check := func(when string) {
		t.Helper()
		if got, want := int(s.l.records), s.records(); got != want {
			t.Errorf("%s: %d bytes of records are counted, want %d", when, got, want)
		}
	}
	for n := range 8 {
		s.crowd(size, 3*n)
	}
	s.send(App, otherPath)
	s.send(App, quiet)
	check("sent")
	s.l.Unsent(s.now, App, 7)
	check("not sent after all")
	s.drain("2")
	check("acknowledged")
	s.drain("6")
	check("lost")
	s.l.SentRun(s.now, App, Packet{Number: s.l.Next(App), Size: size, AckEliciting: true, Epoch: s.l.Epoch()}, make([]Frame, 5))
	check("a run")
	for s.l.CanSend() >= size {
		s.crowd(size, 400)
	}
	s.l.ResetPath(s.now, newSpy())
	check("moved")
	for range 3 {
		if s.l.CanSend() < size {
			t.Error("nothing may be sent on a new path")
		}
		s.crowd(size, 1)
	}
	s.l.EarlyRejected()
	check("forgotten")
	s.crowd(size, 4)
	s.l.RetryRestart(s.now)
	check("after Retry")
	for _, _, _, _, ok := s.l.NextFate(); ok; _, _, _, _, ok = s.l.NextFate() {
	}
}

// Of the lost packets that are remembered so many frames are, at most.
func TestLateFramesAreBounded(t *testing.T) {
	most := limits.Bound(t, "late-frames")
	const each = 100
	s := newScript(t)
	for range 3 * most / each {
		s.crowd(size, each)
	}
	s.crowd(size, most+1) // more than are remembered at all
	for range 4 {
		s.crowd(size, 1)
	}
	last := s.l.Next(App) - 1
	s.drain(numbered(last, last+1))
	sum := 0
	for _, p := range s.l.app.late.live() {
		sum += int(p.frames)
	}
	if sum > most || sum < most-each {
		t.Errorf("%d frames of lost packets are remembered, want %d at most", sum, most)
	}
	if n := cap(s.l.app.late.frames); n > 4*(most+each) {
		t.Errorf("room for %d frames", n)
	}
	s.drain(numbered(0, last+1))
	if got, want := s.l.Stats().Spurious, uint64(2+most/each); got < want-1 || got > want+1 {
		t.Errorf("%d lost packets are acknowledged late, want %d", got, want)
	}
}

// numbered writes the numbers from first to the one before end.
func numbered(first, end int64) string { return fmt.Sprintf("%d-%d", first, end-1) }
