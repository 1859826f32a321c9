package stream

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

const ms = mono.Time(time.Millisecond)

// wantUpdate consumes, and fails unless the window answers as given.
func wantUpdate(t *testing.T, reason string, w *Window, now mono.Time, total int64, limit int64, update bool) {
	t.Helper()
	gotLimit, gotUpdate := w.Consumed(now, total, 100*time.Millisecond, 100*time.Millisecond)
	if gotLimit != limit || gotUpdate != update || w.Limit() != limit {
		t.Fatalf("%s: limit %d (%d), update %v; want %d, %v", reason, gotLimit, w.Limit(), gotUpdate, limit, update)
	}
}

// RFC 9000 §4.2: credit is granted in good time, not for every byte, and
// without waiting for the peer to say that it is blocked.
func TestWindowUpdatesAtHalf(t *testing.T) {
	var w Window
	w.Init(1000, 1000)
	if w.Limit() != 1000 || w.Size() != 1000 {
		t.Fatalf("limit %d, size %d", w.Limit(), w.Size())
	}
	wantUpdate(t, "nothing consumed", &w, 0, 0, 1000, false)
	wantUpdate(t, "less than half", &w, 1*ms, 499, 1000, false)
	wantUpdate(t, "half", &w, 2*ms, 500, 1500, true)
	wantUpdate(t, "the same again", &w, 2*ms, 500, 1500, false)
	wantUpdate(t, "all at once", &w, 3*ms, 1500, 2500, true)
	if w.Size() != 1000 {
		t.Errorf("grew beyond its maximum: %d", w.Size())
	}
}

// The window doubles when more than a quarter of it is consumed in a round
// trip of 100 ms, up to its maximum, and stays as it is for a slow reader.
func TestWindowGrowth(t *testing.T) {
	var w Window
	w.Init(1000, 5000)
	wantUpdate(t, "a quarter in a round trip", &w, 1000*ms, 250, 1000, false)
	wantUpdate(t, "another one in the next", &w, 1100*ms, 500, 1500, true)
	wantUpdate(t, "a byte", &w, 1200*ms, 501, 1500, false)
	wantUpdate(t, "a quarter more within 99 ms", &w, 1299*ms, 752, 2752, true)
	if w.Size() != 2000 {
		t.Errorf("size is %d, want twice what it was", w.Size())
	}
	wantUpdate(t, "a slow half", &w, 2000*ms, 1252, 2752, false)
	wantUpdate(t, "a slow half", &w, 3000*ms, 1752, 3752, true)
	wantUpdate(t, "everything at once", &w, 4000*ms, 3752, 8752, true)
	if w.Size() != 5000 {
		t.Errorf("size is %d, want the maximum", w.Size())
	}
	wantUpdate(t, "at the maximum", &w, 4001*ms, 8752, 13_752, true)

	w.Init(1000, 5000)
	if limit, _ := w.Consumed(5*ms, 1000, 0, 0); limit != 2000 {
		t.Errorf("without an RTT the limit is %d", limit)
	}
}

// Limits stay within what a frame can carry.
func TestWindowEnds(t *testing.T) {
	var w Window
	w.Init(varint.Max-10, varint.Max)
	if limit, update := w.Consumed(0, varint.Max-10, time.Second, time.Second); limit != varint.Max || !update {
		t.Errorf("limit %d, update %v", limit, update)
	}
	if limit, update := w.Consumed(1, varint.Max, time.Second, time.Second); limit != varint.Max || update {
		t.Errorf("limit %d, update %v", limit, update)
	}
	w.Init(0, 0)
	if limit, update := w.Consumed(0, 0, time.Second, time.Second); limit != 0 || update {
		t.Errorf("a window of nothing: limit %d, update %v", limit, update)
	}
	w.Init(100, 50)
	if limit, _ := w.Consumed(0, 100, time.Second, time.Second); limit != 200 {
		t.Errorf("a maximum below the size: limit %d", limit)
	}
}

// A sender in slow start on a path of 100 ms and 100 Mbyte/s must never find
// itself held back by a window that starts at 64 KiB, and the window must not
// grow out of proportion.
func TestWindowStaysAheadOfSlowStart(t *testing.T) {
	const (
		rtt      = 100 // ms
		perMilli = 100_000
		product  = rtt * perMilli
	)
	var w Window
	w.Init(64<<10, 1<<30)
	limits := map[int]int64{}   // by the millisecond they reach the peer
	arriving := map[int]int64{} // bytes, by the millisecond they reach us
	acked := map[int]int64{}    // bytes, by the millisecond their acknowledgment reaches the peer
	limit, sent, consumed := w.Limit(), int64(0), int64(0)
	window, flight := int64(14_000), int64(0) // of congestion control
	for now := range 5000 {
		limit = max(limit, limits[now])
		flight -= acked[now]
		window += acked[now]
		n := min(perMilli, window-flight)
		if limit-sent < n {
			t.Fatalf("at %d ms the window of %d bytes holds the peer back", now, w.Size())
		}
		sent += n
		flight += n
		arriving[now+rtt/2] = n
		acked[now+rtt] = n
		if arriving[now] > 0 {
			consumed += arriving[now]
			if l, update := w.Consumed(mono.Time(now)*ms, consumed, rtt*time.Millisecond, rtt*time.Millisecond); update {
				limits[now+rtt/2] = l
			}
		}
	}
	if consumed < 4000*perMilli {
		t.Errorf("%d bytes in 5 s: the path was not full", consumed)
	}
	if w.Size() > 8*product {
		t.Errorf("the window grew to %d, on a path that holds %d", w.Size(), product)
	}
}

func TestCredit(t *testing.T) {
	var c Credit
	c.Init(100)
	c.Take(60)
	if c.Max() != 100 || c.Used() != 60 || c.Left() != 40 {
		t.Errorf("max %d, used %d, left %d", c.Max(), c.Used(), c.Left())
	}
	if _, ok := c.Blocked(); ok {
		t.Error("blocked with credit left")
	}
	c.Take(40)
	if limit, ok := c.Blocked(); limit != 100 || !ok {
		t.Errorf("Blocked is %d, %v", limit, ok)
	}
	if _, ok := c.Blocked(); ok {
		t.Error("blocked twice for one limit")
	}
	c.LostBlocked()
	if _, ok := c.Blocked(); !ok {
		t.Error("a lost frame is not sent again")
	}
	if c.Add(100) || c.Add(10) || c.Max() != 100 {
		t.Error("the limit moved without growing")
	}
	if !c.Add(101) || c.Left() != 1 {
		t.Error("the limit did not grow")
	}
	c.Take(1)
	if limit, ok := c.Blocked(); limit != 101 || !ok {
		t.Errorf("Blocked is %d, %v", limit, ok)
	}
	mustPanic(t, "more than there is", func() { c.Take(1) })
	c = Credit{}
	if limit, ok := c.Blocked(); limit != 0 || !ok {
		t.Errorf("without any credit, Blocked is %d, %v", limit, ok)
	}
}

// A window that is ample grows only as far as the shortest round trip ever seen makes
// that worth while: a queue must not feed itself.
func TestWindowAndQueues(t *testing.T) {
	for _, c := range []struct {
		rtt, shortest time.Duration
		want          int64
	}{
		{100 * time.Millisecond, 100 * time.Millisecond, 8 << 20}, // a long path: 4 MiB a round trip, twice that
		{100 * time.Millisecond, time.Millisecond, ampleWindow},   // a short one behind a queue
		{100 * time.Millisecond, 12 * time.Millisecond, 2 << 20},  // 0.48 MiB in the shortest round trip
		{100 * time.Millisecond, 0, ampleWindow},
	} {
		var w Window
		w.Init(256<<10, 8<<20)
		var total int64
		for now := mono.Time(0); now < 2000*ms; now += ms {
			total += 4 << 20 / 100
			w.Consumed(now, total, c.rtt, c.shortest)
		}
		if w.Size() != c.want {
			t.Errorf("round trips of %v, %v at best: %d bytes, want %d", c.rtt, c.shortest, w.Size(), c.want)
		}
	}
}
