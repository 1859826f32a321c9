package recovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9002 §6.1.1: a packet is lost when one sent three later has arrived.
func TestPacketThreshold(t *testing.T) {
	s := newScript(t)
	s.sendN(6, App)
	s.at(10 * ms)
	s.ack(App, "2")
	s.want("2 acked")
	s.ack(App, "2-3")
	s.want("0 lost, 3 acked")
	s.ack(App, "2-3 5")
	s.want("1 lost, 5 acked")
	s.wantInFlight(1)
	s.ack(App, "2-5")
	s.want("4 acked")
	s.wantInFlight(0)
	s.wantNoDeadline()
}

// RFC 9002 §A.10 assumes that numbers have no gaps. Where we leave them, they
// do not count towards the threshold.
func TestPacketThresholdIgnoresSkippedNumbers(t *testing.T) {
	s := newScript(t)
	s.send(App) // 0
	s.l.Skip(App)
	s.l.Skip(App)
	s.sendN(3, App) // 3 to 5
	s.at(10 * ms)
	s.ack(App, "3")
	s.want("3 acked")
	s.ack(App, "3-4")
	s.want("4 acked")
	s.ack(App, "3-5")
	s.want("0 lost, 5 acked")
}

// RFC 9002 §6.1.2: a packet is lost when a later one has arrived and 9/8 of a
// round trip has passed; the timer is set for that moment, not the probe timer.
func TestTimeThreshold(t *testing.T) {
	s := newScript(t)
	s.measured(80 * ms) // packet 0
	s.at(100 * ms)
	s.send(App)
	s.at(105 * ms)
	s.send(App)
	s.at(106 * ms)
	s.send(App)
	s.at(186 * ms)
	s.ack(App, "3") // sample of 80 ms: loss delay 90 ms
	s.want("3 acked")
	s.wantDeadline(190 * ms)
	equal(t, "a probe timeout", s.expire(), false)
	s.want("1 lost")
	s.wantDeadline(195 * ms)
	s.expire()
	s.want("2 lost")
	s.wantNoDeadline()
	s.wantInFlight(0)
	equal(t, "probe timeouts", s.l.Stats().PTOs, 0)
}

// The time threshold takes the larger of smoothed and latest round trip, and at
// least the granularity (RFC 9002 §6.1.2).
func TestTimeThresholdBasis(t *testing.T) {
	for _, tc := range []struct {
		name             string
		smoothed, latest time.Duration
		delay            time.Duration
	}{
		{"latest is larger", 80 * ms, 800 * ms, 900 * ms},
		{"smoothed is larger", 800 * ms, 8 * ms, (7*800*ms + 8*ms) / 8 * 9 / 8},
		{"granularity", 0, 0, ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript(t)
			s.measured(tc.smoothed)
			sent := s.now.Sub(start)
			s.sendN(2, App)
			s.now = s.now.Add(tc.latest)
			s.ack(App, "2")
			s.want("2 acked")
			s.wantDeadline(sent + tc.delay)
			s.expire()
			s.want("1 lost")
		})
	}
}

// An ACK that comes after the threshold finds the loss by itself.
func TestTimeThresholdWithoutTimer(t *testing.T) {
	s := newScript(t)
	s.measured(80 * ms)
	s.send(App)
	s.at(300 * ms)
	s.send(App)
	s.at(380 * ms)
	s.ack(App, "2")
	s.want("1 lost, 2 acked")
}

// RFC 9002 §6: loss detection is separate for each space.
func TestSpacesAreSeparate(t *testing.T) {
	s := newHandshake(t, Config{})
	s.l.HasKeys(Handshake, true)
	s.send(Initial)
	s.sendN(9, Handshake)
	s.at(10 * ms)
	s.ack(Handshake, "3-8")
	s.want("H0-2 lost, H3-8 acked")
	s.wantInFlight(1)
	equal(t, "largest Initial", s.l.LargestAcked(Initial), -1)
	equal(t, "largest Handshake", s.l.LargestAcked(Handshake), 8)
}

// Quiet packets get their fate too, but say nothing about congestion.
func TestLossOfQuietPackets(t *testing.T) {
	s := newScript(t)
	s.sendN(3, App, quiet)
	s.wantInFlight(0)
	s.wantNoDeadline()
	s.sendN(3, App)
	s.ack(App, "5")
	s.want("0-2 lost, 5 acked")
	equal(t, "reductions", s.cc.reductions, 0)
	s.ack(App, "0-5")
	s.want("3-4 acked") // quiet ones carry nothing that a late ACK could release
	equal(t, "spurious", s.l.Stats().Spurious, 0)
}

// RFC 9000 §14.4: the loss of an MTU probe is no sign of congestion.
func TestLossOfMTUProbe(t *testing.T) {
	s := newScript(t)
	s.measured(50 * ms)
	s.send(App, probe)
	s.sendN(3, App)
	s.wantInFlight(4)
	s.at(100 * ms)
	s.ack(App, "2-4")
	s.want("1 lost, 2-4 acked")
	s.wantInFlight(0)
	equal(t, "reductions", s.cc.reductions, 0)
	equal(t, "lost", s.l.Stats().Lost, 0)
	equal(t, "lost probes", s.l.Stats().ProbesLost, 1)
	if _, ok := s.l.Unacked(App, 0); ok {
		t.Error("something is unacknowledged")
	}
}

// RFC 9000 §13.3: what a packet carried is released by an acknowledgment that
// comes after the packet was declared lost.
func TestSpuriousLoss(t *testing.T) {
	s := newScript(t)
	s.sendN(6, App)
	s.at(10 * ms)
	s.ack(App, "4-5")
	s.want("0-2 lost, 4-5 acked")
	s.ack(App, "0 2 4-5")
	s.want("0 acked, 2 acked")
	equal(t, "spurious", s.l.Stats().Spurious, 2)
	s.ack(App, "0-2 4-5")
	s.want("1 acked")
	s.ack(App, "0-5")
	s.want("3 acked")
	s.ack(App, "0-5") // never a third fate
	s.wantInFlight(0)
	equal(t, "spurious", s.l.Stats().Spurious, 3)
	equal(t, "lost", s.l.Stats().Lost, 3)
	equal(t, "acked", s.l.Stats().Acked, 3)
}

// A lost packet is remembered for some PTOs, and only so many of them.
func TestSpuriousLossIsForgotten(t *testing.T) {
	most := limits.Bound(t, "late-packets")
	t.Run("time", func(t *testing.T) {
		s := newScript(t)
		s.measured(50 * ms)
		s.sendN(4, App)
		s.now = s.now.Add(50 * ms)
		s.ack(App, "4")
		s.want("1 lost, 4 acked")
		s.now = s.now.Add(3 * s.l.PTO(App))
		s.ack(App, "1-4")
		s.want("2-3 acked")
		equal(t, "spurious", s.l.Stats().Spurious, 0)
	})
	t.Run("number", func(t *testing.T) {
		s := newScript(t)
		s.sendN(most+13, App)
		s.ack(App, fmt.Sprint(most+12))
		s.want(fmt.Sprintf("0-%d lost, %d acked", most+9, most+12))
		s.ack(App, fmt.Sprintf("0-%d", most+12))
		s.want(fmt.Sprintf("10-%d acked", most+11))
		equal(t, "spurious", s.l.Stats().Spurious, uint64(most))
	})
}

// Two ACK frames in one datagram may come before the first fate is pulled.
func TestAckTwiceBeforePulling(t *testing.T) {
	s := newScript(t)
	s.sendN(8, App)
	ack := func(numbers string) {
		if !s.l.Ack(s.now, App, wire.MakeAck(parse(numbers), 0, nil), 0) {
			t.Errorf("ACK of %s is refused", numbers)
		}
	}
	ack("3-4")
	ack("0-1 3-5")
	s.want("0-1 lost, 3-4 acked, 0-1 acked, 2 lost, 5 acked")
	ack("6")
	ack("2 6-7")
	s.want("6 acked, 2 acked, 7 acked")
	equal(t, "spurious", s.l.Stats().Spurious, 3)
}

// What is queued to be told stays what it is, while other lost packets are
// being remembered.
func TestLateFatesAreStable(t *testing.T) {
	s := newScript(t)
	s.sendN(firstPackets+3, App)
	s.ack(App, "6")
	s.want("0-3 lost, 6 acked") // exactly as many as there is room for
	s.sendN(1, App)
	ack := func(numbers string) { s.l.Ack(s.now, App, wire.MakeAck(parse(numbers), 0, nil), 0) }
	ack("7")
	ack("0 2 3")
	s.want("4 lost, 7 acked, 0 acked, 2-3 acked")
	equal(t, "remembered", len(s.l.spaces[App].late.live()), firstPackets)
	ack("1 4-6")
	s.want("1 acked, 4-5 acked")
}

// RFC 9002 §4.2: a packet with a higher number was sent later. That holds here
// even when the clock goes back, or losses would not come in order.
func TestSendTimesNeverFall(t *testing.T) {
	s := newScript(t)
	s.at(50 * ms)
	s.send(App)
	s.at(0)
	s.send(App)
	s.at(60 * ms)
	s.ack(App, "0-1")
	for _, p, _, _, ok := s.l.NextFate(); ok; _, p, _, _, ok = s.l.NextFate() {
		equal(t, "send time", p.Sent, start.Add(50*ms))
	}
	equal(t, "latest", s.l.RTT().Latest, 10*ms)
}

// RFC 9000 §13.1, §21.4: nobody in good faith acknowledges what was not sent.
func TestOptimisticAck(t *testing.T) {
	s := newScript(t)
	s.wantRefused(App, "0")
	s.sendN(2, App)
	s.wantRefused(App, "2")
	s.wantRefused(App, "0-2")
	s.wantRefused(App, "4611686018427387902")
	s.wantRefused(Handshake, "0")
	s.wantInFlight(2)
	s.ack(App, "0-1")
	s.want("0-1 acked")
}

func TestAckOfSkippedNumber(t *testing.T) {
	most := limits.Bound(t, "skipped-numbers")
	s := newScript(t)
	s.sendN(2, App)
	s.l.Skip(App) // 2
	equal(t, "next number", s.l.Next(App), 3)
	s.sendN(2, App)
	s.wantRefused(App, "2")
	s.wantRefused(App, "1-3")
	s.wantRefused(App, "0-4")
	s.ack(App, "0-1 3-4")
	s.want("0-1 acked, 3-4 acked")

	// Long after everything around it was settled, it is still a trap.
	s.sendN(20, App)
	s.ack(App, "0-1 3-24")
	s.want("5-24 acked")
	s.wantRefused(App, "0-24")
	s.wantRefused(App, "2 23-24")

	// The last sixteen traps are kept.
	for range most {
		s.send(App)
		s.l.Skip(App)
	}
	s.ack(App, "2 25")
	s.want("25 acked")
	s.wantRefused(App, "26")
	s.wantRefused(App, fmt.Sprint(s.l.Next(App)-1))
}

// The controller learns of a loss and of a mark how long round trips take: the smoothed one or the latest, whichever is longer,
// and the latest as it was measured, whatever delay the peer says it had.
func TestCongestionEvent(t *testing.T) {
	s := newScript(t)
	s.measured(50 * ms)
	last := func() congestion.Event { return s.cc.events[len(s.cc.events)-1] }
	s.l.SetPeerAckDelay(500 * ms)
	s.at(100 * ms)
	s.sendN(10, App) // 1-10
	s.at(180 * ms)
	s.delayedAck(App, "4", 30*ms)
	s.want("1 lost, 4 acked")
	equal(t, "smoothed", s.l.SmoothedRTT(), 50*ms)
	equal(t, "a loss", last(), congestion.Event{Now: start.Add(180 * ms), Sent: start.Add(100 * ms), NextPN: s.l.order, RTT: 80 * ms, MinRTT: 50 * ms})

	s.at(200 * ms)
	s.mark(5) // 11-15
	s.at(240 * ms)
	s.reports(4, 0, 1)
	s.ack(App, "11-15")
	s.want("2-3 lost, 5-10 lost, 11-15 acked")
	equal(t, "shortest", s.l.RTT().Min, 40*ms)
	if e := last(); e.RTT != s.l.SmoothedRTT() || e.RTT <= 40*ms || e.MinRTT != 40*ms || e.Now != start.Add(240*ms) || e.NextPN != s.l.order {
		t.Errorf("%+v", e)
	}
	if n := len(s.cc.events); n != 3 { // with the rest of the first flight
		t.Errorf("%d events: %+v", n, s.cc.events)
	}
}

// RFC 9002 §7.3.2: one reduction in a recovery period, however many losses.
func TestOneReductionPerPeriod(t *testing.T) {
	s := newScript(t)
	s.measured(50 * ms)
	s.at(100 * ms)
	s.sendN(10, App) // 1-10
	s.at(150 * ms)
	s.ack(App, "4")
	s.want("1 lost, 4 acked")
	equal(t, "reductions", s.cc.reductions, 1)
	window := s.l.Window()
	s.ack(App, "4-6")
	s.want("2-3 lost, 5-6 acked")
	s.ack(App, "4-6 10")
	s.want("7 lost, 10 acked")
	equal(t, "reductions", s.cc.reductions, 1)
	equal(t, "window", s.l.Window(), window)

	s.at(160 * ms)
	s.sendN(4, App) // 11-14, in recovery
	s.at(210 * ms)
	s.ack(App, "14")
	s.want("8-9 lost, 11 lost, 14 acked")
	equal(t, "reductions", s.cc.reductions, 2)
	equal(t, "congestion events", s.l.Stats().CongestionEvents, 2)
	s.ack(App, "12-14")
	s.want("12-13 acked")
}

// RFC 9002 §7.6.3: the example, with a first round trip that makes a PTO of two
// seconds.
func TestPersistentCongestionExample(t *testing.T) {
	s := newScript(t)
	s.l.SetPeerAckDelay(500 * ms)
	s.measured(500 * ms) // #1, here 0
	equal(t, "PTO", s.l.PTO(App), 2*time.Second)
	for _, at := range []int{1, 2, 3, 4, 5, 6, 8, 12} {
		s.at(time.Duration(at) * time.Second)
		s.send(App)
	}
	s.at(12200 * ms)
	s.ack(App, "8")
	s.want("1-7 lost, 8 acked")
	equal(t, "persistent congestion", s.cc.persistent, 1)
	equal(t, "persistent congestion", s.l.Stats().PersistentCongestion, 1)
	equal(t, "window", s.l.Window(), 2*size+size) // the minimum, and what has just arrived
	equal(t, "minimum RTT", s.l.RTT().Min, 200*ms)
}

// lossStory measures a PTO of two seconds, sends packets at these seconds and
// returns the script.
func lossStory(t *testing.T, seconds ...float64) *script {
	s := newScript(t)
	s.l.SetPeerAckDelay(500 * ms)
	s.measured(500 * ms)
	for _, at := range seconds {
		s.at(time.Duration(at * float64(time.Second)))
		s.send(App)
	}
	return s
}

// RFC 9002 §7.6.2: it is no persistent congestion if something arrived in between.
func TestNoPersistentCongestionAfterArrival(t *testing.T) {
	t.Run("one in between arrived in the same ACK", func(t *testing.T) {
		s := lossStory(t, 1, 3, 5, 7, 9, 12)
		s.at(12500 * ms)
		s.ack(App, "3 6")
		s.want("1-2 lost, 3 acked, 4-5 lost, 6 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
	t.Run("one in between arrived before", func(t *testing.T) {
		s := lossStory(t, 1, 1.1, 8, 9, 12)
		s.at(1200 * ms)
		s.ack(App, "2")
		s.want("2 acked") // 1 waits for its time
		s.at(12500 * ms)
		s.ack(App, "2 5")
		s.want("1 lost, 3-4 lost, 5 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
	t.Run("one in between arrived late", func(t *testing.T) {
		s := lossStory(t, 1, 2, 3, 4, 5, 10, 11)
		s.at(5100 * ms)
		s.ack(App, "5")
		s.want("1-4 lost, 5 acked")
		s.at(11100 * ms)
		s.ack(App, "5 7")
		s.want("6 lost, 7 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
	t.Run("one in between arrived late, before the next was sent", func(t *testing.T) {
		s := lossStory(t, 1, 2, 3, 4, 5)
		s.at(5100 * ms)
		s.ack(App, "5")
		s.want("1-4 lost, 5 acked")
		s.at(10 * time.Second)
		s.send(App)
		s.at(11 * time.Second)
		s.send(App)
		s.at(11100 * ms)
		s.ack(App, "5 7")
		s.want("6 lost, 7 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
	t.Run("one in between arrived after it was declared lost", func(t *testing.T) {
		for want, ack := range []string{"3 5", "5"} {
			s := lossStory(t, 1, 2, 4, 7.7, 7.8)
			s.at(7900 * ms)
			s.ack(App, "5")
			s.want("1-3 lost, 5 acked")
			s.delayedAck(App, ack, 0)
			if ack == "3 5" {
				s.want("3 acked")
			}
			s.expire()
			s.want("4 lost")
			equal(t, "persistent congestion", s.cc.persistent, want)
		}
	})
	t.Run("another space got through", func(t *testing.T) {
		s := lossStory(t, 1)
		s.l.HasKeys(Handshake, true)
		s.at(4 * time.Second)
		s.send(Handshake)
		s.at(4500 * ms)
		s.ack(Handshake, "0")
		s.want("H0 acked")
		s.at(8 * time.Second)
		s.send(App)
		s.at(12 * time.Second)
		s.send(App)
		s.at(12500 * ms)
		s.ack(App, "3")
		s.want("1-2 lost, 3 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
}

// RFC 9002 §7.6.2: nor if the losses span too little, or are of packets that do
// not count.
func TestNoPersistentCongestion(t *testing.T) {
	t.Run("too short", func(t *testing.T) {
		for want, last := range []float64{6.2, 6.3} { // three PTOs are 5.25 s by then
			s := lossStory(t, 1, 3, 5.5, 6, last, 7)
			s.at(7500 * ms)
			s.ack(App, "6")
			s.want("1-5 lost, 6 acked")
			equal(t, "persistent congestion", s.cc.persistent, want)
		}
	})
	t.Run("not ack-eliciting", func(t *testing.T) {
		s := lossStory(t)
		for _, at := range []int{1, 9} {
			s.at(time.Duration(at) * time.Second)
			s.send(App, padded)
		}
		s.at(12 * time.Second)
		s.send(App)
		s.at(12500 * ms)
		s.ack(App, "3")
		s.want("1-2 lost, 3 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
	t.Run("no sample before", func(t *testing.T) {
		s := newScript(t)
		for _, at := range []int{1, 9, 10, 11, 12} {
			s.at(time.Duration(at) * time.Second)
			s.send(App)
		}
		s.at(12100 * ms)
		s.ack(App, "4")
		s.want("0-3 lost, 4 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
	t.Run("MTU probes", func(t *testing.T) {
		s := lossStory(t)
		for _, at := range []int{1, 9} {
			s.at(time.Duration(at) * time.Second)
			s.send(App, probe)
		}
		s.at(12 * time.Second)
		s.send(App)
		s.at(12500 * ms)
		s.ack(App, "3")
		s.want("1-2 lost, 3 acked")
		equal(t, "persistent congestion", s.cc.persistent, 0)
	})
}

// RFC 9002 §5.2: after persistent congestion the smallest round trip starts over.
func TestPersistentCongestionResetsMinRTT(t *testing.T) {
	s := lossStory(t, 1, 2, 3, 8, 9)
	s.at(10 * time.Second)
	s.ack(App, "5")
	s.want("1-4 lost, 5 acked")
	equal(t, "persistent congestion", s.cc.persistent, 1)
	equal(t, "minimum RTT", s.l.RTT().Min, time.Second)
}

// The losses of one run may be found in several calls: the last ones wait for
// the loss timer.
func TestPersistentCongestionAcrossCalls(t *testing.T) {
	s := lossStory(t, 1, 2, 8, 8.1, 8.2)
	s.at(8300 * ms)
	s.ack(App, "5") // 100 ms: smoothed 450 ms
	s.want("1-2 lost, 5 acked")
	equal(t, "persistent congestion", s.cc.persistent, 0)
	s.expire()
	s.want("3 lost")
	equal(t, "persistent congestion", s.cc.persistent, 1)
	s.expire()
	s.want("4 lost")
	equal(t, "persistent congestion", s.cc.persistent, 1)
}
