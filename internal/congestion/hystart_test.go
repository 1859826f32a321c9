package congestion

import (
	"math"
	"testing"
	"time"
)

// conservative reports whether the controller is in conservative slow start.
func conservative(c *Reno) bool { return c.slow.css() && c.SlowStart() }

// RFC 9406 §4.2: slow start becomes conservative when the delay of a round
// rises by an eighth, but at least 4 ms and at most 16 ms.
func TestHystartThreshold(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		base, rise time.Duration
		css        bool
	}{
		{50 * time.Microsecond, 3999 * time.Microsecond, false},
		{50 * time.Microsecond, 4 * ms, true},
		{30 * ms, 4*ms - 1, false}, // an eighth would be 3.75 ms
		{30 * ms, 4 * ms, true},
		{80 * ms, 10*ms - 1, false},
		{80 * ms, 10 * ms, true},
		{400 * ms, 16*ms - 1, false}, // an eighth would be 50 ms
		{400 * ms, 16 * ms, true},
		{80 * ms, -40 * ms, false},
	} {
		c := NewReno(size)
		p := newPeer(t, c, tc.base)
		p.rounds(2)
		p.rtt += tc.rise
		p.round()
		if conservative(c) != tc.css {
			t.Errorf("from %v by %v: conservative %v, want %v", tc.base, tc.rise, !tc.css, tc.css)
		}
		if c.Threshold() != math.MaxInt {
			t.Errorf("from %v by %v: slow start ended at once", tc.base, tc.rise)
		}
	}
}

// RFC 9406 §4.2: CSS begins with the eighth sample, grows by a quarter and
// ends slow start after five rounds, the one it began in included.
func TestHystartEndsSlowStart(t *testing.T) {
	c := NewReno(size)
	p := newPeer(t, c, 80*time.Millisecond)
	p.rounds(2) // 10, 20, 40
	p.rtt = 100 * time.Millisecond
	// Eight datagrams acknowledged in full, 32 for a quarter of their bytes;
	// then four rounds by a quarter each.
	segments := 40
	p.round()
	segments += 8 + 32/4
	want := segments * size
	if c.Window() != want || !conservative(c) {
		t.Fatalf("the first round of CSS leads to %d, want %d", c.Window(), want)
	}
	for i := range 4 {
		want += c.Window() / size * size / 4
		p.round()
		if c.Window() != want || !conservative(c) {
			t.Fatalf("round %d of CSS leads to %d, want %d", i+2, c.Window(), want)
		}
	}
	p.round()
	if c.SlowStart() || c.Threshold() != want {
		t.Fatalf("after five rounds: slow start %v, threshold %d, want %d", c.SlowStart(), c.Threshold(), want)
	}
	near(t, "window of the first round of congestion avoidance", p.segments(), float64(want)/size, 1)
}

// RFC 9406 §4.2: when the delay falls below what it was when CSS began, that
// was jitter, and slow start goes on.
func TestHystartResumesSlowStart(t *testing.T) {
	c := NewReno(size)
	p := newPeer(t, c, 80*time.Millisecond)
	p.rounds(2)
	p.rtt = 100 * time.Millisecond
	p.rounds(3)
	if !conservative(c) {
		t.Fatal("no CSS")
	}
	p.rtt = 99 * time.Millisecond
	p.round()
	if conservative(c) || c.Threshold() != math.MaxInt {
		t.Fatalf("still in CSS, threshold %d", c.Threshold())
	}
	before := c.Window()
	p.round()
	if c.Window() < 2*before-2*size {
		t.Errorf("window went from %d to %d in a round of slow start", before, c.Window())
	}
	// The five rounds count from the start again.
	p.rtt = 150 * time.Millisecond
	p.rounds(5)
	if !conservative(c) {
		t.Error("CSS ended before five rounds")
	}
	p.round()
	if c.SlowStart() {
		t.Error("CSS did not end after five rounds")
	}
}

// RFC 9406 §4.2: a round with fewer than eight samples proves nothing.
func TestHystartNeedsSamples(t *testing.T) {
	h := newHystart()
	pn := int64(0)
	for round := range 20 {
		for range 7 {
			h.ack(Ack{Bytes: size, LargestPN: pn, NextPN: pn/7*7 + 7, RTT: time.Duration(round+1) * 20 * time.Millisecond})
			h.ack(Ack{Bytes: size, LargestPN: pn, NextPN: pn/7*7 + 7}) // no sample
			pn++
		}
		if h.css() {
			t.Fatalf("CSS in round %d", round)
		}
	}
}

// Delay that rises while the application has nothing to send is not ours.
func TestHystartIgnoresAppLimitedRounds(t *testing.T) {
	c := NewReno(size)
	p := newPeer(t, c, 80*time.Millisecond)
	p.rounds(2)
	p.rtt, p.limited = 120*time.Millisecond, true
	p.rounds(10)
	if c.slow.css() || c.Threshold() != math.MaxInt {
		t.Error("left slow start")
	}
}

// RFC 9406 §4.2: a loss ends slow start in CSS too, and §4.3: a later slow
// start is the plain one.
func TestHystartOnlyOnce(t *testing.T) {
	c := NewReno(size)
	p := newPeer(t, c, 80*time.Millisecond)
	p.rounds(4)
	p.rtt = 100 * time.Millisecond
	p.rounds(2)
	if !conservative(c) {
		t.Fatal("no CSS")
	}
	p.lose()
	c.OnPersistent(p.now)
	for _, want := range []int{4, 8, 16} {
		p.rtt += 30 * time.Millisecond
		p.round()
		if c.Window() != want*size {
			t.Fatalf("window %d, want %d datagrams", c.Window(), want)
		}
	}
}
