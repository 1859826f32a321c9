package congestion

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

func newPacer(now mono.Time, window int, srtt time.Duration, slowStart bool) *Pacer {
	p := new(Pacer)
	p.Init(now, size)
	p.Update(window, srtt, slowStart)
	return p
}

// drain sends all that may leave now and returns how many bytes that was.
func drain(p *Pacer, now mono.Time) int {
	n := p.Budget(now)
	p.Sent(now, n)
	return n
}

// RFC 9002 §7.7: 1.25 windows a round trip, 2 in slow start.
func TestPacerRate(t *testing.T) {
	for _, tc := range []struct {
		window int
		srtt   time.Duration
		slow   bool
		rate   int64
	}{
		{12_000, 100 * time.Millisecond, false, 150_000},
		{12_000, 100 * time.Millisecond, true, 240_000},
		{1_000_000, 10 * time.Millisecond, false, 125_000_000},
		{62_500, 50 * time.Microsecond, false, 1_562_500_000},
		{0, time.Hour, false, 1},
		{2400, math.MaxInt64, false, 1},
		{12_000, 0, true, maxRate},
		{math.MaxInt, -1, true, maxRate},
	} {
		if p := newPacer(0, tc.window, tc.srtt, tc.slow); p.Rate() != tc.rate {
			t.Errorf("window %d, RTT %v, slow start %v: rate %d, want %d", tc.window, tc.srtt, tc.slow, p.Rate(), tc.rate)
		}
	}
}

// RFC 9002 §7.7: the first flight is the initial window, and nothing follows at
// the same instant.
func TestPacerFirstFlight(t *testing.T) {
	var p Pacer
	p.Init(5, 1472)
	if n := p.Budget(5); n != 14_720 {
		t.Errorf("first budget %d", n)
	}
	p.Sent(5, 14_720)
	if n := p.Budget(5); n != 0 {
		t.Errorf("%d more at the same instant", n)
	}
	if next := p.Next(5); next <= 5 || next > mono.Time(time.Second) {
		t.Errorf("next at %d", next)
	}
}

// A burst is at most the initial window or 1.25 ms of the rate, after however
// long an idle time; and it is that much, because timers are late.
func TestPacerBurst(t *testing.T) {
	for _, tc := range []struct {
		window int
		srtt   time.Duration
		burst  int
	}{
		{120_000, 100 * time.Millisecond, 12_000},      // 1.25 ms are 1875 bytes
		{12_500_000, 10 * time.Millisecond, 1_952_400}, // 12.5 Gbit/s: 1,953,125 in whole datagrams
		{1_000_000, 100 * time.Millisecond, 15_600},    // 100 Mbit/s
		{MaxWindow, time.Nanosecond, 1_374_388_800},    // the largest rate
		{2400, time.Hour, 12_000},                      // the smallest
		{250_000, 50 * time.Microsecond, 7_812_000},    // a loopback: more than a window
	} {
		p := newPacer(0, tc.window, tc.srtt, false)
		now := mono.Time(10 * time.Second)
		drain(p, now)
		for _, idle := range []time.Duration{24 * time.Hour, 1_000_000 * time.Hour} {
			now = now.Add(idle)
			if n := drain(p, now); n != tc.burst {
				t.Errorf("window %d, RTT %v: burst %d after %v, want %d", tc.window, tc.srtt, n, idle, tc.burst)
			}
		}
	}
}

// Over any time the pacer lets go what the rate is worth and one burst: no
// more, and no less even if one looks every few nanoseconds, or if every timer
// is a millisecond late.
func TestPacerKeepsTheRate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		window int
		srtt   time.Duration
		late   time.Duration
	}{
		{"1 kbit/s", 2400, 24 * time.Second, 0},
		{"10 Mbit/s", 31_250, 25 * time.Millisecond, 0},
		{"10 Mbit/s, late timers", 31_250, 25 * time.Millisecond, time.Millisecond},
		{"100 Mbit/s, late timers", 250_000, 20 * time.Millisecond, time.Millisecond},
		{"1 Gbit/s, late timers", 2_500_000, 20 * time.Millisecond, time.Millisecond},
		{"10 Gbit/s, late timers", 25_000_000, 20 * time.Millisecond, time.Millisecond},
	} {
		p := newPacer(0, tc.window, tc.srtt, false)
		now, sent := mono.Time(0), 0
		steps := 2000
		for range steps {
			sent += drain(p, now)
			next := p.Next(now)
			if next <= now {
				t.Fatalf("%s: after %d bytes, next is %d at %d", tc.name, sent, next, now)
			}
			now = next.Add(tc.late)
			if n := p.Budget(now); n < size {
				t.Fatalf("%s: budget %d at the time of Next", tc.name, n)
			}
		}
		want := float64(p.Rate()) * time.Duration(now).Seconds()
		if got := float64(sent); got < 0.99*want-size || got > want+float64(p.burst) {
			t.Errorf("%s: %.0f bytes, the rate is worth %.0f", tc.name, got, want)
		}
	}
	p := newPacer(0, 31_250, 25*time.Millisecond, false)
	sent := -drain(p, 0)
	for now := mono.Time(0); now < mono.Time(20*time.Millisecond); now += 7 {
		sent += drain(p, now)
	}
	// 1,562,500 bytes a second, the first burst aside
	near(t, "bytes in 20 ms", float64(sent+12_000), 31_250, size)
}

// A loopback of 10 Gbit/s with a round trip of 50 us, acknowledged 45 datagrams
// at a time: whenever the window lets packets go, so does the pacer.
func TestPacerDoesNotThrottleLoopback(t *testing.T) {
	const datagram, batch, window = 1452, 45 * 1452, 8 * 45 * 1452
	var p Pacer
	p.Init(0, datagram)
	p.Update(window, 50*time.Microsecond, false)
	now := mono.Time(0)
	now = now.Add(time.Millisecond) // the handshake
	if n := p.Budget(now); n < window {
		t.Fatalf("budget %d for a window of %d", n, window)
	}
	p.Sent(now, window)
	wire := time.Duration(batch * 8 / 10) // ns at 10 Gbit/s
	for range 10_000 {
		now = now.Add(wire)
		if n := p.Budget(now); n < batch {
			t.Fatalf("budget %d at %v when 45 datagrams were acknowledged", n, time.Duration(now))
		}
		p.Sent(now, batch)
		p.Update(window, 50*time.Microsecond, false)
	}
}

// RFC 9002 §7.5: probes are not held back, but paid for; the debt is small and
// nobody starves of it.
func TestPacerCredit(t *testing.T) {
	p := newPacer(0, 12_000, 100*time.Millisecond, false)
	drain(p, 0)
	for range 100 {
		p.Sent(0, 2*size)
	}
	if n := p.Budget(0); n != 0 {
		t.Errorf("budget %d in debt", n)
	}
	// Two datagrams of debt and one to be sent, at 150,000 bytes a second.
	if next := p.Next(0); next != mono.Time(24*time.Millisecond) {
		t.Errorf("next after %v", time.Duration(next))
	}
	p.Sent(0, math.MaxInt)
	p.Sent(0, -5)
	if next := p.Next(0); next > mono.Time(24*time.Millisecond) {
		t.Errorf("next after %v", time.Duration(next))
	}
}

// A change of rate or datagram size keeps the bucket within its new bounds.
func TestPacerUpdate(t *testing.T) {
	p := newPacer(0, 25_000_000, 20*time.Millisecond, false)
	if n := p.Budget(mono.Time(time.Second)); n < 1_900_000 {
		t.Fatalf("budget %d", n)
	}
	p.Update(2400, 20*time.Millisecond, false)
	if n := p.Budget(mono.Time(time.Second)); n != 12_000 {
		t.Errorf("budget %d after the window collapsed", n)
	}
	p.SetMaxDatagram(1452)
	if n := p.Budget(mono.Time(2 * time.Second)); n != 14_520 {
		t.Errorf("budget %d with larger datagrams", n)
	}
}

// Whatever the inputs: a budget is whole datagrams and at most a burst, Next is
// never in the past, and at Next there is something to send.
func TestPacerSaturates(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var p Pacer
	p.Init(0, size)
	now := mono.Time(0)
	for range 100_000 {
		switch r.IntN(8) {
		case 0:
			p.Update(int(r.Uint64()>>r.UintN(64)), time.Duration(r.Uint64()>>r.UintN(64)), r.IntN(2) == 0)
		case 1:
			p.Sent(now, int(r.Uint64()>>r.UintN(64)))
		case 2:
			now = now.Add(time.Duration(r.Uint64() >> (1 + r.UintN(63))))
		case 3:
			now = mono.Time(r.Uint64() >> 1) // the clock jumps, back too
		case 4:
			p.SetMaxDatagram(1 + r.IntN(65_527))
		}
		n := p.Budget(now)
		if n < 0 || n > p.burst || n%p.datagram != 0 {
			t.Fatalf("budget %d, burst %d", n, p.burst)
		}
		next := p.Next(now)
		if next < now {
			t.Fatalf("next %d at %d", next, now)
		}
		if next == now && now != mono.Never && n < p.datagram {
			t.Fatalf("next is now, but the budget is %d", n)
		}
	}
}

func TestPacerDoesNotAllocate(t *testing.T) {
	p := newPacer(0, 100_000, time.Millisecond, false)
	now := mono.Time(0)
	if n := testing.AllocsPerRun(1000, func() {
		p.Update(100_000, time.Millisecond, false)
		drain(p, now)
		now = p.Next(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
