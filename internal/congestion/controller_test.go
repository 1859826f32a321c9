package congestion

import (
	"math"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

const size = 1200 // of every datagram, unless a test says otherwise

var both = []struct {
	name   string
	factor float64
	make   func(int) Controller
}{
	{"reno", 0.5, func(n int) Controller { return NewReno(n) }},
	{"cubic", 0.7, func(n int) Controller { return NewCubic(n) }},
}

func eachController(t *testing.T, f func(t *testing.T, c Controller, factor float64)) {
	for _, tc := range both {
		t.Run(tc.name, func(t *testing.T) {
			c := tc.make(size)
			if c.Name() != tc.name {
				t.Errorf("name is %q", c.Name())
			}
			f(t, c, tc.factor)
		})
	}
}

// peer acknowledges what a sender that always fills its window has sent, one
// datagram an acknowledgment, spread over the round trip.
type peer struct {
	t       *testing.T
	c       Controller
	now     mono.Time
	rtt     time.Duration
	next    int64 // packet number
	limited bool
}

func newPeer(t *testing.T, c Controller, rtt time.Duration) *peer {
	return &peer{t: t, c: c, now: mono.Time(time.Second), rtt: rtt}
}

// round plays one round trip.
func (p *peer) round() {
	p.t.Helper()
	flight := p.c.Window() / size
	first := p.next
	p.next += int64(flight)
	start := p.now
	for i := range flight {
		p.now = start.Add(p.rtt * time.Duration(i+1) / time.Duration(flight))
		before := p.c.Window()
		p.c.OnAck(Ack{
			Now: p.now, Bytes: size, LargestSent: p.now.Add(-p.rtt), LargestPN: first + int64(i),
			NextPN: p.next, RTT: p.rtt, SmoothedRTT: p.rtt, MinRTT: p.rtt,
			InFlight: before, AppLimited: p.limited,
		})
		if p.c.Window() < before {
			p.t.Fatalf("an acknowledgment shrank the window from %d to %d", before, p.c.Window())
		}
	}
}

func (p *peer) rounds(n int) {
	p.t.Helper()
	for range n {
		p.round()
	}
}

// queued is a loss out of a queue that takes as long as the path itself.
func queued(now, sent mono.Time, nextPN int64) Event {
	return Event{Now: now, Sent: sent, NextPN: nextPN, RTT: 2 * time.Second, MinRTT: time.Second}
}

// lose reports the loss of a packet that was sent just now and lets a round
// trip pass, so that what follows was sent after the recovery period began.
func (p *peer) lose() {
	p.t.Helper()
	if !p.c.OnCongestion(queued(p.now, p.now, p.next)) {
		p.t.Fatal("no reduction")
	}
	p.now = p.now.Add(p.rtt)
}

func (p *peer) segments() float64 { return float64(p.c.Window()) / size }

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within {
		t.Errorf("%s is %.3f, want %.3f within %g", what, got, want, within)
	}
}

// RFC 9002 §7.2: ten datagrams, but no more than 14,720 bytes unless two
// datagrams are larger.
func TestInitialWindow(t *testing.T) {
	for _, tc := range []struct{ datagram, window int }{
		{1200, 12_000}, {1452, 14_520}, {1472, 14_720}, {1500, 14_720},
		{7360, 14_720}, {9000, 18_000}, {65_527, 131_054},
	} {
		for _, b := range both {
			if got := b.make(tc.datagram).Window(); got != tc.window {
				t.Errorf("%s: %d for datagrams of %d, want %d", b.name, got, tc.datagram, tc.window)
			}
		}
	}
}

// RFC 9002 §7.3.1: the window grows by what is acknowledged, without end.
func TestSlowStartDoubles(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, _ float64) {
		p := newPeer(t, c, 50*time.Millisecond)
		for i := range 8 {
			if want := 12_000 << i; c.Window() != want || !c.SlowStart() || c.Threshold() != math.MaxInt {
				t.Fatalf("round %d: window %d, want %d; slow start %v", i, c.Window(), want, c.SlowStart())
			}
			p.round()
		}
	})
}

// RFC 9002 §7.3.1, §7.3.2: slow start ends, and the window is reduced once in a recovery period, whatever
// else of that flight is lost, and does not grow before it is over.
func TestOneReductionPerRecoveryPeriod(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, factor float64) {
		p := newPeer(t, c, 40*time.Millisecond)
		p.rounds(3)
		sent, before := p.now, c.Window()
		lossAt := sent.Add(p.rtt)
		if !c.OnCongestion(queued(lossAt, sent, p.next)) {
			t.Fatal("the first loss did not reduce")
		}
		reduced := int(float64(before) * factor)
		if c.Window() != reduced || c.Threshold() != reduced || c.SlowStart() {
			t.Fatalf("window %d, threshold %d, want %d", c.Window(), c.Threshold(), reduced)
		}
		for i := range 5 {
			late := time.Duration(i) * p.rtt / 4
			if c.OnCongestion(queued(lossAt.Add(p.rtt), sent.Add(late), p.next+10)) {
				t.Errorf("loss of a packet sent %v after the first lost one reduced again", late)
			}
		}
		ack := Ack{Now: lossAt.Add(time.Millisecond), Bytes: 20 * size, LargestSent: lossAt,
			LargestPN: p.next - 1, NextPN: p.next + 5, RTT: p.rtt, SmoothedRTT: p.rtt}
		c.OnAck(ack)
		if c.Window() != reduced {
			t.Error("an old packet's acknowledgment grew the window")
		}
		ack.Bytes, ack.LargestPN, ack.Now = reduced, p.next, lossAt.Add(p.rtt)
		for range 8 {
			c.OnAck(ack)
		}
		if c.Window() <= reduced {
			t.Error("the acknowledgment of a packet sent at the reduction, but after it, did not end the recovery period")
		}
		if !c.OnCongestion(queued(lossAt.Add(2*p.rtt), lossAt.Add(1), p.next+20)) {
			t.Error("loss in the next flight did not reduce")
		}
	})
}

// RFC 9002 §7.2: no loss takes the window below two datagrams.
func TestMinimumWindow(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, _ float64) {
		p := newPeer(t, c, 40*time.Millisecond)
		for range 30 {
			p.lose()
		}
		if c.Window() != 2*size || c.Threshold() != 2*size {
			t.Errorf("window %d, threshold %d", c.Window(), c.Threshold())
		}
	})
}

// RFC 9002 §7.6.2, §B.8: persistent congestion leaves two datagrams, keeps the
// threshold of the loss and ends the recovery period.
func TestPersistentCongestion(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, factor float64) {
		p := newPeer(t, c, 40*time.Millisecond)
		p.rounds(4)
		threshold := int(float64(c.Window()) * factor)
		p.lose()
		c.OnPersistent(p.now)
		if c.Window() != 2*size || !c.SlowStart() || c.Threshold() != threshold {
			t.Fatalf("window %d, threshold %d, want %d and %d", c.Window(), c.Threshold(), 2*size, threshold)
		}
		for _, want := range []int{4, 8, 16, 32} {
			p.round()
			if c.Window() != want*size {
				t.Fatalf("window %d in slow start, want %d", c.Window(), want*size)
			}
		}
		for c.SlowStart() {
			p.round()
		}
		// Congestion avoidance adds a datagram or so in what is left of the round.
		if c.Window() > threshold+2*size {
			t.Errorf("window %d jumped over the threshold %d", c.Window(), threshold)
		}
	})
	eachController(t, func(t *testing.T, c Controller, factor float64) {
		before := c.Window()
		c.OnPersistent(0)
		if c.Window() != 2*size || c.Threshold() != int(float64(before)*factor) {
			t.Errorf("without a loss: window %d, threshold %d", c.Window(), c.Threshold())
		}
	})
}

// RFC 9002 §7.8: a window that is not used does not grow, in any state.
func TestAppLimited(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, _ float64) {
		p := newPeer(t, c, 40*time.Millisecond)
		p.limited = true
		p.rounds(5)
		if c.Window() != InitialWindow(size) {
			t.Errorf("slow start grew to %d", c.Window())
		}
		p.lose()
		before := c.Window()
		p.rounds(100)
		if c.Window() != before {
			t.Errorf("congestion avoidance grew from %d to %d", before, c.Window())
		}
		p.limited = false
		p.rounds(3)
		if c.Window() <= before || c.Window() > before+6*size {
			t.Errorf("window went from %d to %d once it was used", before, c.Window())
		}
	})
}

// RFC 9002 §7.2: a new datagram size renews the initial window, as long as
// nothing has been learned about the path, and the minimum always.
func TestSetMaxDatagram(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, _ float64) {
		c.SetMaxDatagram(1452)
		if c.Window() != 14_520 {
			t.Errorf("grown datagrams: window %d", c.Window())
		}
		c.SetMaxDatagram(1200)
		if c.Window() != 12_000 {
			t.Errorf("shrunk datagrams: window %d", c.Window())
		}
		newPeer(t, c, time.Millisecond).rounds(2)
		c.SetMaxDatagram(1452)
		if c.Window() != 48_000 {
			t.Errorf("a window of 48000 became %d", c.Window())
		}
		c.OnPersistent(0)
		c.SetMaxDatagram(9000)
		if c.Window() != 18_000 {
			t.Errorf("minimum window is %d", c.Window())
		}
	})
}

// Nothing a peer makes us measure may overflow or shrink a window that grows.
func TestControllerSaturates(t *testing.T) {
	most := limits.Bound(t, "congestion-window")
	eachController(t, func(t *testing.T, c Controller, _ float64) {
		times := []mono.Time{0, 1, mono.Time(time.Hour), mono.Never - 1, mono.Never, 5}
		largest := 0
		rtts := []time.Duration{0, 1, time.Hour, math.MaxInt64, -5}
		for i, now := range times {
			for j, rtt := range rtts {
				before := c.Window()
				for k := range 40 {
					c.OnAck(Ack{Now: now, Bytes: math.MaxInt, LargestSent: now, LargestPN: int64(1000*i + 100*j + k),
						NextPN: math.MaxInt64, RTT: rtt, SmoothedRTT: rtt, MinRTT: rtt, InFlight: math.MaxInt})
					largest = max(largest, c.Window())
					if c.Window() < before || c.Window() > most {
						t.Fatalf("now %d, RTT %d: window %d after %d", now, rtt, c.Window(), before)
					}
				}
			}
			c.OnCongestion(Event{Now: now, Sent: now, NextPN: math.MaxInt64, RTT: rtts[i%len(rtts)], MinRTT: rtts[(i+1)%len(rtts)]})
			if w := c.Window(); w < 2*size || w > most {
				t.Fatalf("window %d after a loss", w)
			}
		}
		if largest != most {
			t.Errorf("the window grew to %d", largest)
		}
		c.OnAck(Ack{Bytes: -1})
	})
}

func TestControllerDoesNotAllocate(t *testing.T) {
	eachController(t, func(t *testing.T, c Controller, _ float64) {
		a := Ack{Bytes: size, RTT: 1000, SmoothedRTT: 1000}
		n := testing.AllocsPerRun(1000, func() {
			a.Now, a.LargestSent, a.LargestPN, a.NextPN = a.Now+1000, a.LargestSent+1000, a.LargestPN+1, a.NextPN+1
			c.OnAck(a)
			if a.NextPN%100 == 0 {
				c.OnCongestion(queued(a.Now, a.Now, a.NextPN))
			}
		})
		if n != 0 {
			t.Errorf("%v allocations per acknowledgment", n)
		}
	})
}

// RFC 9002 §7.3.3: one datagram for each window acknowledged, however the
// acknowledgments cut it up.
func TestRenoAddsOneDatagramAWindow(t *testing.T) {
	for _, bytes := range []int{1, 700, size, 7 * size, 45 * size} {
		r := NewReno(size)
		newPeer(t, r, 20*time.Millisecond).rounds(3)
		r.OnCongestion(Event{})
		window := r.Window()
		for round := range 10 {
			for acked := 0; acked < window; acked += bytes {
				r.OnAck(Ack{Now: 1, LargestSent: 1, Bytes: min(bytes, window-acked)})
			}
			window += size
			if r.Window() != window {
				t.Fatalf("acknowledging %d at a time: window %d after %d rounds, want %d", bytes, r.Window(), round+1, window)
			}
		}
	}
}
