package congestion

import (
	"math/big"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// sender drives a controller as recovery does, and knows what each call may change.
type sender struct {
	t       *testing.T
	c       Controller
	reno    bool
	size    int
	now     mono.Time
	next    int64
	flying  []flight
	minRTT  time.Duration
	reduced mono.Time // begin of the recovery period
	before  int64     // the number that was next then
}

type flight struct {
	pn   int64
	sent mono.Time
	size int
}

// FuzzController: whatever is acknowledged, lost or marked, and whenever, the window stays
// between its bounds, grows by no more than RFC 9002 §7.3 and RFC 9438 §4 allow, not at all for
// what was sent before the last reduction or without use of it, and shrinks once in a recovery period.
func FuzzController(f *testing.F) {
	f.Add(true, []byte{1, 255, 0, 30, 2, 9, 3, 1, 0, 40, 2, 255, 1, 255, 0, 9, 2, 255, 4, 0, 1, 9, 0, 9, 2, 255})
	f.Add(false, []byte{1, 255, 0, 30, 2, 255, 1, 255, 0, 50, 2, 255, 1, 255, 0, 90, 3, 2, 2, 255, 1, 255, 6, 255, 2, 255, 5, 9, 1, 255, 2, 20})
	f.Fuzz(func(t *testing.T, reno bool, ops []byte) {
		s := &sender{t: t, reno: reno, size: size, now: mono.Time(time.Second), minRTT: time.Hour, reduced: longAgo}
		if s.c = NewCubic(size); reno {
			s.c = NewReno(size)
		}
		for i := 0; i+1 < min(len(ops), 2000); i += 2 {
			s.op(ops[i]%7, int(ops[i+1]))
			s.check()
		}
	})
}

func (s *sender) op(op byte, n int) {
	was := s.c.Window()
	switch op {
	case 0:
		s.now = s.now.Add(time.Duration(n) * time.Millisecond)
	case 6:
		s.now = s.now.Add(time.Duration(n) * time.Minute)
	case 1:
		for ; n >= 0 && s.inFlight()+s.size <= was && len(s.flying) < 1000; n-- {
			s.flying = append(s.flying, flight{s.next, s.now, s.size})
			s.next++
		}
	case 2:
		s.ack(n)
	case 3:
		if len(s.flying) > 0 {
			s.lose(n)
		}
	case 4:
		s.c.OnPersistent(s.now)
		s.reduced, s.before = longAgo, 0
		if s.c.Window() != MinimumWindow(s.size) {
			s.t.Fatalf("%d bytes in persistent congestion", s.c.Window())
		}
	case 5:
		s.size = 1200 + 251*n
		s.c.SetMaxDatagram(s.size)
	}
}

func (s *sender) inFlight() (n int) {
	for _, f := range s.flying {
		n += f.size
	}
	return n
}

// ack acknowledges the oldest packets. An odd number says that the window was not in use.
func (s *sender) ack(n int) {
	if len(s.flying) == 0 {
		return
	}
	a := Ack{Now: s.now, NextPN: s.next, InFlight: s.inFlight(), AppLimited: n&1 != 0}
	for _, f := range s.flying[:min(len(s.flying), 1+n)] {
		a.Bytes += f.size
		a.LargestSent, a.LargestPN = f.sent, f.pn
	}
	s.flying = s.flying[min(len(s.flying), 1+n):]
	if n&2 == 0 {
		a.RTT = max(s.now.Sub(a.LargestSent), 1)
		s.minRTT = min(s.minRTT, a.RTT)
	}
	a.SmoothedRTT, a.MinRTT = max(s.now.Sub(a.LargestSent), 1), s.minRTT
	was, slow := s.c.Window(), s.c.SlowStart()
	s.c.OnAck(a)
	most := min(a.Bytes, was)/2 + 2*s.size
	switch {
	case a.AppLimited, a.LargestSent < s.reduced, a.LargestSent == s.reduced && a.LargestPN < s.before:
		most = 0
	case slow:
		most = a.Bytes
	case s.reno:
		most = s.size
	}
	if got := s.c.Window() - was; got < 0 || got > most {
		s.t.Fatalf("the window grows from %d by %d for %+v, at most %d; slow start: %v", was, got, a, most, slow)
	}
}

// lose loses one of the packets in flight.
func (s *sender) lose(n int) {
	i := n % len(s.flying)
	sent := s.flying[i].sent
	s.flying = append(s.flying[:i], s.flying[i+1:]...)
	was := s.c.Window()
	e := Event{Now: s.now, Sent: sent, NextPN: s.next, MinRTT: 20 * time.Millisecond, RTT: time.Duration(20+n%8) * time.Millisecond}
	first := s.c.Threshold() == infinite
	did := s.c.OnCongestion(e)
	if did != (sent > s.reduced) {
		s.t.Fatalf("a loss of %d reduces: %v, although the last one was at %d", sent, did, s.reduced)
	}
	want := was
	if did {
		s.reduced, s.before = s.now, s.next
		factor := 0.7
		switch {
		case s.reno:
			factor = 0.5
		case !first && e.RTT < 24*time.Millisecond:
			factor = 0.85
		}
		want = max(int(float64(was)*factor), MinimumWindow(s.size))
		if s.c.Threshold() != want {
			s.t.Fatalf("threshold %d, want %d", s.c.Threshold(), want)
		}
	}
	if s.c.Window() != want {
		s.t.Fatalf("a loss leads from %d to %d, want %d", was, s.c.Window(), want)
	}
}

func (s *sender) check() {
	w := s.c.Window()
	if w < MinimumWindow(s.size) || w > MaxWindow || s.c.SlowStart() != (w < s.c.Threshold()) {
		s.t.Fatalf("window %d of datagrams of %d, threshold %d, slow start %v", w, s.size, s.c.Threshold(), s.c.SlowStart())
	}
}

// FuzzPacer: whatever is sent, a pacer gives no more than a burst and what its rate has earned
// since, says a time when more may leave, means it, and has nothing worth a batch before.
func FuzzPacer(f *testing.F) {
	f.Add([]byte{0, 10, 1, 255, 0, 1, 1, 255, 2, 0, 1, 255, 3, 90, 1, 200, 2, 0, 4, 40, 1, 255, 2, 0, 1, 9})
	f.Add([]byte{3, 1, 1, 255, 5, 255, 2, 0, 1, 255, 2, 0, 6, 9, 1, 255, 4, 255, 2, 0, 1, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		p, now := new(Pacer), mono.Time(time.Second)
		p.Init(now, size)
		since, spent, credit := now, int64(0), int64(0) // with the present rate and datagrams
		burst := int64(p.burst)
		anew := func() { since, spent, credit, burst = now, 0, 0, int64(p.burst) }
		for i := 0; i+1 < min(len(ops), 2000); i += 2 {
			n := int(ops[i+1])
			switch ops[i] % 7 {
			case 0:
				now = now.Add(time.Duration(n) * 50 * time.Microsecond)
			case 1:
				sent := part(p.Budget(now), n)
				p.Sent(now, sent)
				spent += int64(sent)
			case 2:
				now = p.Next(now)
				if p.Budget(now) < p.datagram || p.Next(now) != now {
					t.Fatalf("at its own time there are %d bytes", p.Budget(now))
				}
			case 3:
				p.Update(n*n*n, time.Duration(n)*time.Millisecond, n&1 != 0)
				anew()
			case 4:
				p.SetMaxDatagram(1200 + 251*n)
				anew()
			case 5: // probes go without a budget
				p.Sent(now, n*100)
				credit += int64(n) * 100
			case 6:
				now = now.Add(time.Duration(n) * time.Hour)
			}
			checkPacer(t, p, now)
			earned := new(big.Int).Mul(big.NewInt(int64(now.Sub(since))), big.NewInt(p.rate))
			earned.Div(earned, big.NewInt(tokensPerByte))
			if most := earned.Add(earned, big.NewInt(burst+1)); credit == 0 && most.Cmp(big.NewInt(spent)) < 0 {
				t.Fatalf("%d bytes in %v, at most %v", spent, now.Sub(since), most)
			}
		}
	})
}

func part(all, n int) int { return int(int64(all) * int64(n) / 255) }

// checkPacer looks at a pacer without changing it.
func checkPacer(t *testing.T, is *Pacer, now mono.Time) {
	p := *is
	budget := p.Budget(now)
	if budget < 0 || budget > p.burst || budget%p.datagram != 0 {
		t.Fatalf("%d bytes may leave, of a burst of %d, in datagrams of %d", budget, p.burst, p.datagram)
	}
	next := p.Next(now)
	longest := time.Duration((int64(p.debt+p.batch())*tokensPerByte + p.rate - 1) / p.rate)
	if next < now || next.Sub(now) > longest {
		t.Fatalf("more in %v, at most %v", next.Sub(now), longest)
	}
	if next > now && p.Next(next-1) != next {
		t.Fatalf("at %d more at %d, just before that at %d", now, next, p.Next(next-1))
	}
}
