package recovery

import (
	"math"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// RFC 9002 §5.2, §5.3: before the first sample the estimate is the assumed one; the
// first sample replaces it; later ones are averaged in.
func TestRTTEvolution(t *testing.T) {
	s := newScript(t)
	equal(t, "smoothed", s.l.RTT().Smoothed, 333*ms)
	equal(t, "deviation", s.l.RTT().Var, 333*ms/2)
	equal(t, "samples", s.l.RTT().Samples, 0)

	s.measured(100 * ms)
	equal(t, "estimate", s.l.RTT(), RTT{Latest: 100 * ms, Smoothed: 100 * ms, Var: 50 * ms, Min: 100 * ms, First: s.now, Samples: 1})

	s.measured(180 * ms)
	r := s.l.RTT()
	equal(t, "deviation", r.Var, (3*50*ms+80*ms)/4)
	equal(t, "smoothed", r.Smoothed, (7*100*ms+180*ms)/8)
	equal(t, "minimum", r.Min, 100*ms)
	equal(t, "latest", r.Latest, 180*ms)

	s.measured(60 * ms)
	equal(t, "minimum", s.l.RTT().Min, 60*ms)
}

// RFC 9002 §5.1: a sample is taken only if the largest acknowledged packet is
// new and something that was ack-eliciting is new as well.
func TestRTTSampleConditions(t *testing.T) {
	t.Run("largest is not new", func(t *testing.T) {
		s := newScript(t)
		s.sendN(3, App)
		s.at(50 * ms)
		s.ack(App, "2")
		s.want("2 acked")
		s.at(55 * ms)
		s.ack(App, "1-2")
		s.want("1 acked")
		equal(t, "samples", s.l.RTT().Samples, 1)
		equal(t, "latest", s.l.RTT().Latest, 50*ms)
		s.ack(App, "0-2")
		s.want("0 acked")
	})
	t.Run("nothing ack-eliciting", func(t *testing.T) {
		s := newScript(t)
		s.send(App, quiet)
		s.send(App, padded)
		s.at(50 * ms)
		s.ack(App, "0-1")
		s.want("0-1 acked")
		equal(t, "samples", s.l.RTT().Samples, 0)
	})
	t.Run("largest is quiet, another is ack-eliciting", func(t *testing.T) {
		s := newScript(t)
		s.send(App)
		s.at(20 * ms)
		s.send(App, quiet)
		s.at(50 * ms)
		s.ack(App, "0-1")
		s.want("0-1 acked")
		equal(t, "latest", s.l.RTT().Latest, 30*ms)
	})
	t.Run("the same ACK twice", func(t *testing.T) {
		s := newScript(t)
		s.measured(50 * ms)
		s.ack(App, "0")
		s.ack(App, "0")
		equal(t, "samples", s.l.RTT().Samples, 1)
	})
	t.Run("late for a lost packet", func(t *testing.T) {
		s := newScript(t)
		s.sendN(4, App)
		s.at(50 * ms)
		s.ack(App, "3")
		s.want("0 lost, 3 acked")
		s.at(51 * ms)
		s.ack(App, "0")
		s.want("0 acked")
		equal(t, "samples", s.l.RTT().Samples, 1)
		s.ack(App, "0-3")
		s.want("1-2 acked")
	})
}

// RFC 9002 §5.3: the peer's delay is subtracted, but never below the smallest
// round trip, capped by max_ack_delay once confirmed and not before, and not
// at all for Initial packets.
func TestRTTAckDelay(t *testing.T) {
	second := func(s *script, space Space, rtt, delay time.Duration) time.Duration {
		s.send(space)
		s.now = s.now.Add(100 * ms)
		s.ack(space, "0")
		s.pull()
		s.send(space)
		s.now = s.now.Add(rtt)
		s.delayedAck(space, "1", delay)
		s.pull()
		return 8*s.l.SmoothedRTT() - 7*100*ms // the sample that was averaged in
	}
	for _, tc := range []struct {
		name                   string
		space                  Space
		confirmed              bool
		rtt, delay, adjustedTo time.Duration
	}{
		{"honest", App, true, 120 * ms, 20 * ms, 100 * ms},
		{"would go below the minimum", App, true, 110 * ms, 20 * ms, 110 * ms},
		{"above max_ack_delay", App, true, 200 * ms, 90 * ms, 175 * ms},
		{"above max_ack_delay, not confirmed", App, false, 200 * ms, 90 * ms, 110 * ms},
		{"handshake", Handshake, false, 200 * ms, 90 * ms, 110 * ms},
		{"initial", Initial, false, 200 * ms, 90 * ms, 200 * ms},
		{"absurd", App, false, 200 * ms, math.MaxInt64, 200 * ms},
		{"absurd, confirmed", App, true, 200 * ms, 1 << 62, 175 * ms},
		{"negative", App, true, 200 * ms, -time.Hour, 200 * ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newHandshake(t, Config{})
			if tc.confirmed {
				s.l.Confirmed()
			}
			equal(t, "adjusted sample", second(s, tc.space, tc.rtt, tc.delay), tc.adjustedTo)
		})
	}
}

// RFC 9002 §6.2.2: an earlier connection or a path validation may tell the
// initial RTT, which is no sample.
func TestInitialRTT(t *testing.T) {
	s := newHandshake(t, Config{InitialRTT: 20 * ms})
	equal(t, "PTO", s.l.PTO(Initial), 60*ms)
	s.l.SetInitialRTT(10 * ms)
	equal(t, "PTO", s.l.PTO(Initial), 30*ms)
	s.l.HasKeys(App, true)
	s.measured(100 * ms)
	s.l.SetInitialRTT(10 * ms)
	equal(t, "smoothed", s.l.SmoothedRTT(), 100*ms)
}

// A peer that acknowledges hours later makes round trips no longer than a minute, so that what is
// counted in probe timeouts, as the end of closing and of idleness is, comes within minutes.
func TestRTTIsBounded(t *testing.T) {
	longest := time.Duration(limits.Bound(t, "rtt-sample"))
	s := newScript(t)
	for range 50 {
		s.measured(10 * longest)
		if r := s.l.RTT(); r.Latest != longest || r.Min != longest || r.Smoothed != longest || s.l.PTO(App) > 3*longest+25*ms {
			t.Fatalf("%+v, a probe timeout of %v", r, s.l.PTO(App))
		}
	}
	for range 50 {
		s.measured(ms)
		s.measured(24 * time.Hour)
		if at := s.l.PTO(App); at > 5*longest+25*ms {
			t.Fatalf("a probe timeout of %v", at)
		}
	}
}

// Nothing a clock or a peer does makes the arithmetic wrap or the probe timeout
// fall below the granularity (RFC 9002 §6.2.1).
func TestRTTEnds(t *testing.T) {
	s := newScript(t)
	for range 50 { // a clock that stands still
		s.measured(0)
	}
	equal(t, "smoothed", s.l.SmoothedRTT(), 0)
	equal(t, "PTO", s.l.PTO(Handshake), ms)
	equal(t, "PTO", s.l.PTO(App), 26*ms)

	s.now -= mono.Time(time.Minute) // one that jumps back
	s.measured(0)
	equal(t, "latest", s.l.RTT().Latest, 0)

	s.l.SetPeerAckDelay(math.MaxInt64)
	for range 50 { // and one that leaps by centuries
		s.measured(200 * 365 * 24 * time.Hour)
		s.now = start
		if d := s.l.PTO(App); d < ms || s.l.SmoothedRTT() < 0 || s.l.RTT().Var < 0 || s.l.rtt.lossDelay() < ms {
			t.Fatalf("PTO %v, %+v", d, s.l.RTT())
		}
	}
	for count := range 200 {
		if d := backoff(s.l.PTO(App), count); d <= 0 || backoff(ms, count) < ms || backoff(0, count) != 0 {
			t.Fatalf("backoff %d: %v %v", count, d, backoff(ms, count))
		}
	}
}
