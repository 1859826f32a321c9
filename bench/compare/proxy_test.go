package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

// newTestLink returns a link of a byte a microsecond, whose queue holds 10 ms.
func newTestLink(loss float64) *link {
	return &link{
		rate: 1e6, queue: 10 * time.Millisecond, delay: 20 * time.Millisecond,
		loss: loss, random: rand.New(rand.NewPCG(1, 1)),
	}
}

func TestLinkDelaysAndPaces(t *testing.T) {
	l := newTestLink(0)
	start := time.Now()
	const each = (1000 + ipHeader) * time.Microsecond
	for i := range 5 { // all at once
		out, ok := l.admit(start, 1000)
		if want := time.Duration(i+1)*each + l.delay; !ok || out.Sub(start) != want {
			t.Fatalf("datagram %d comes out after %v (%t), want %v", i, out.Sub(start), ok, want)
		}
	}
	later := start.Add(time.Second) // the bottleneck idles, and saves nothing up
	if out, ok := l.admit(later, 1000); !ok || out.Sub(later) != each+l.delay {
		t.Errorf("after a pause a datagram comes out after %v (%t), want %v", out.Sub(later), ok, each+l.delay)
	}
}

func TestLinkDropsAtTheTail(t *testing.T) {
	l := newTestLink(0)
	start := time.Now()
	passed := 0
	for range 100 {
		if _, ok := l.admit(start, 1000); ok {
			passed++
		}
	}
	// Ten take 10.28 ms to leave: the tenth is the last that finds less than 10 ms before it.
	if passed != 10 || l.dropped != 90 || l.took != 100*1000 {
		t.Errorf("%d datagrams passed and %d were dropped of %d bytes", passed, l.dropped, l.took)
	}
	if _, ok := l.admit(start.Add(l.queue), 1000); !ok {
		t.Error("a queue that has emptied drops")
	}
}

func TestLinkLoses(t *testing.T) {
	const n = 100_000
	fates := func() (lost int, which []bool) {
		l := newTestLink(0.01)
		now := time.Now()
		for range n {
			now = now.Add(time.Second)
			_, ok := l.admit(now, 100)
			if which = append(which, ok); !ok {
				lost++
			}
		}
		return lost, which
	}
	lost, which := fates()
	if lost < n/100*8/10 || lost > n/100*12/10 {
		t.Errorf("%d of %d datagrams lost, want about 1 %%", lost, n)
	}
	_, again := fates()
	for i := range which {
		if which[i] != again[i] {
			t.Fatalf("datagram %d has another fate with the same seed", i)
		}
	}
}
