package congestion

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// reduced returns a controller that has just come from a window of peak
// datagrams to 0.7 of it, and its peer.
func reduced(t *testing.T, peak int, rtt time.Duration) (*Cubic, *peer) {
	c := NewCubic(size)
	c.window = peak * size
	p := newPeer(t, c, rtt)
	p.lose()
	return c, p
}

// RFC 9438 §4.2: the window follows C(t-K)^3 + W_max. The figures were computed
// apart from this code, with K = cbrt(300/0.4) = 9.0856.
func TestCubicCurve(t *testing.T) {
	curve := []struct {
		seconds  int
		segments float64
	}{
		{0, 700}, {1, 788.555}, {2, 857.705}, {4, 947.388}, {6, 988.249},
		{10, 1000.306}, {12, 1009.902}, {15, 1082.754}, {18, 1283.358},
	}
	c, p := reduced(t, 1000, 100*time.Millisecond)
	start := p.now
	for _, point := range curve {
		for p.now.Sub(start) < time.Duration(point.seconds)*time.Second {
			p.round()
		}
		near(t, "window", p.segments(), point.segments, 2)
		if point.seconds > 0 {
			near(t, "curve", c.curve(float64(point.seconds))/size, point.segments, 0.001)
		}
	}
	near(t, "K", c.k, 9.0856, 0.0001)
}

// The same curve in real time, whatever the round trip (RFC 9438 §3, principle 2).
func TestCubicDoesNotDependOnRTT(t *testing.T) {
	for _, rtt := range []time.Duration{40 * time.Millisecond, 250 * time.Millisecond, time.Second} {
		_, p := reduced(t, 1000, rtt)
		for start := p.now; p.now.Sub(start) < 6*time.Second; {
			p.round()
		}
		near(t, "window with RTT "+rtt.String(), p.segments(), 988.249, 6)
	}
}

// RFC 9438 §4.3: where Reno would have more, the window is Reno's: with 0.7 it
// adds 3*0.3/1.7 = 0.529 datagrams a round until it is back at the window before
// the loss, and 1 from there.
func TestCubicRenoFriendlyRegion(t *testing.T) {
	_, p := reduced(t, 100, 10*time.Millisecond)
	p.rounds(10)
	near(t, "window after 10 rounds", p.segments(), 70+10*0.5294, 0.15)
	p.rounds(40)
	near(t, "window after 50 rounds", p.segments(), 70+50*0.5294, 0.6)
	for p.segments() < 100 {
		p.round()
	}
	before := p.segments()
	p.rounds(10)
	near(t, "growth in 10 rounds beyond", p.segments()-before, 10, 0.3)
}

// RFC 9438 §4.7: a window that is reduced before it is back at its peak aims
// lower than where it was.
func TestCubicFastConvergence(t *testing.T) {
	c, p := reduced(t, 100, 50*time.Millisecond)
	near(t, "W_max", c.peak/size, 100, 0.001)
	p.lose() // at 70, below the peak
	near(t, "W_max after an early loss", c.peak/size, 70*0.85, 0.001)
	near(t, "window", p.segments(), 49, 0.001)
	p.rounds(1)
	near(t, "K", c.k, 2.9719, 0.001) // cbrt((59.5-49)/0.4)
	for p.segments() < 65 {
		p.round()
	}
	at := p.segments()
	p.lose() // above the peak
	near(t, "W_max after a late loss", c.peak/size, at, 0.001)
}

// The window goes to 0.85 where that leaves nothing of the queue that round trips show, and to the 0.7 of RFC 9438 §4.6
// where there is a longer one, where nobody has measured, and at the end of the first slow start. The peak of fast
// convergence (§4.7) is as far below it.
func TestCubicWithoutQueue(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name   string
		e      Event
		first  bool
		factor float64
	}{
		{"no queue", Event{RTT: 40 * ms, MinRTT: 40 * ms}, false, 0.85},
		{"one that drains", Event{RTT: 40 * ms, MinRTT: 34 * ms}, false, 0.85},
		{"a longer one", Event{RTT: 40 * ms, MinRTT: 34*ms - 1}, false, 0.7},
		{"a full one", Event{RTT: 80 * ms, MinRTT: 40 * ms}, false, 0.7},
		{"16 ms", Event{RTT: 416 * ms, MinRTT: 400 * ms}, false, 0.85},
		{"more than that", Event{RTT: 416*ms + 1, MinRTT: 400 * ms}, false, 0.7},
		{"no sample", Event{RTT: 333 * ms}, false, 0.7},
		{"nothing", Event{}, false, 0.7},
		{"first slow start", Event{RTT: 40 * ms, MinRTT: 40 * ms}, true, 0.7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewCubic(size)
			c.window = 1000 * size
			if !tc.first {
				c.threshold = size
			}
			if !c.OnCongestion(tc.e) {
				t.Fatal("no reduction")
			}
			near(t, "window", float64(c.Window())/size, 1000*tc.factor, 0.01)
			near(t, "W_max", c.peak/size, 1000, 0.01)
			if tc.first {
				return
			}
			tc.e.Now, tc.e.Sent = tc.e.Now+1, tc.e.Sent+1
			if !c.OnCongestion(tc.e) {
				t.Fatal("no second reduction")
			}
			near(t, "window", float64(c.Window())/size, 1000*tc.factor*tc.factor, 0.01)
			near(t, "W_max", c.peak/size, 1000*tc.factor*(1+tc.factor)/2, 0.01)
		})
	}
}

// RFC 9438 §4.4-§4.5: one acknowledgment takes no more than its share of the
// way to the target, and the target is at most half a window away.
func TestCubicStep(t *testing.T) {
	c, p := reduced(t, 1000, 100*time.Millisecond)
	p.round()
	before := c.window
	c.OnAck(Ack{Now: p.now.Add(time.Hour), Bytes: 10 * before, LargestSent: p.now, LargestPN: p.next, SmoothedRTT: time.Hour})
	if c.window > before*3/2 {
		t.Errorf("one acknowledgment took the window from %d to %d", before, c.window)
	}
}

// RFC 9438 §4.8, §4.10: with no peak to return to, the curve starts at its
// plateau: after slow start without a loss, and after persistent congestion.
func TestCubicWithoutPeak(t *testing.T) {
	c := NewCubic(size)
	c.window, c.threshold = 500*size, 500*size // as HyStart++ leaves it
	p := newPeer(t, c, 200*time.Millisecond)
	for p.now < mono.Time(6*time.Second) {
		p.round()
	}
	near(t, "window after 5 s", p.segments(), 500+0.4*125, 3)

	c = NewCubic(size)
	c.window = 1000 * size
	p = newPeer(t, c, 200*time.Millisecond)
	p.lose()
	c.OnPersistent(p.now)
	for c.SlowStart() {
		p.round()
	}
	p.round()
	near(t, "K", c.k, 0, 0)
	near(t, "W_max", c.peak/size, 700, 0.01)
}

// RFC 9438 §5.8: time in which nothing was sent does not count.
func TestCubicIdleTime(t *testing.T) {
	c, p := reduced(t, 1000, 50*time.Millisecond)
	p.rounds(20)
	busy := c.elapsed

	p.limited = true // a trickle
	p.rounds(100)
	if c.elapsed != busy {
		t.Errorf("%v of app-limited time counted", c.elapsed-busy)
	}
	p.limited = false
	p.now = p.now.Add(time.Hour) // silence
	before := p.segments()
	p.round()
	if counted := c.elapsed - busy; counted > 3*p.rtt {
		t.Errorf("%v counted for a round trip after an hour of silence", counted)
	}
	if p.segments() > before+10 {
		t.Errorf("window leapt from %.1f to %.1f", before, p.segments())
	}
}

// A larger datagram in the middle of an epoch neither loses the window nor the
// way to the plateau.
func TestCubicDatagramGrows(t *testing.T) {
	c, p := reduced(t, 1000, 100*time.Millisecond)
	p.rounds(20)
	before := c.Window()
	c.SetMaxDatagram(1452)
	p.round()
	if c.Window() < before || c.Window() > before+50*size {
		t.Errorf("window went from %d to %d", before, c.Window())
	}
	p.rounds(200)
	if c.Window() < 1000*size {
		t.Errorf("window %d did not reach the plateau", c.Window())
	}
}

// Steps of less than a byte add up. With 45,000 acknowledgments in a round trip
// of a second, w' = W(t+1) - w has the solution 0.4(s^3-3s^2+6s-6) + 0.8e^(1-s)
// for s = t+1, counted from the plateau.
func TestCubicKeepsFractions(t *testing.T) {
	c := NewCubic(size)
	c.window, c.threshold = 45_000*size, 45_000*size
	p := newPeer(t, c, time.Second)
	p.rounds(1)
	near(t, "window after 1 s", p.segments(), 45_000+0.4*(8-12+12-6)+0.8*0.3679, 0.1)
	p.rounds(3)
	near(t, "window after 4 s", p.segments(), 45_000+29.61, 0.2)
}
