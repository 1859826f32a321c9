package transport

// Data that could leave in dribs and drabs waits until a batch of it may: each batch is a
// system call here, a wake-up there and an acknowledgement back.

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// leaves returns how many bytes of datagrams leave while f runs, and what it sets off.
func (tc *testConn) leaves(f func()) (n int) {
	tc.Helper()
	before := len(tc.datagrams)
	f()
	tc.clear()
	for _, d := range tc.datagrams[before:] {
		n += d.size
	}
	return n
}

// widened returns a stream whose connection has a window of so many bytes, all of them under way,
// and more data to send, and the number of the first packet that is.
func (tc *testConn) widened(window int) (s *Stream, first int64) {
	tc.Helper()
	s = tc.open(bidi)
	for tc.fill(s); tc.conn.loss.Window() < window; tc.fill(s) {
		tc.advance(10 * time.Millisecond)
		first = tc.conn.loss.Next(recovery.App)
		tc.ack(wire.OneRTT)
	}
	return s, first
}

// A window that opens by a few packets at a time is used by batches, and is used in the end.
func TestWindowIsUsedByBatches(t *testing.T) {
	for _, window := range []int{100_000, 600_000} {
		tc := newTestConn(t, serverSide, wide, noIdle)
		s, first := tc.widened(window)
		last := tc.conn.loss.Next(recovery.App)
		worth := min(dgram.FullBatch, tc.conn.loss.Window()/8)
		batches, held := 0, 0
		var set ranges.Set
		for pn := first; pn < last; pn++ {
			if !tc.peer.got[recovery.App].Contains(pn) { // left out on purpose
				continue
			}
			set.Add(pn, pn+1)
			n := tc.leaves(func() {
				tc.conn.Write(s, make([]byte, 64<<10))
				tc.write(wire.OneRTT, wire.MakeAck(set, 0, nil))
			})
			switch {
			case n == 0:
				held++
			case n < worth-1200 && s.Unsent() >= 1200:
				t.Fatalf("window %d: %d bytes left, fewer than %d", window, n, worth)
			default:
				batches++
			}
		}
		if batches == 0 || held < 4*batches {
			t.Errorf("window %d: %d batches, none after %d acknowledgements", window, batches, held)
		}
		if room := tc.conn.loss.CanSend(); room >= tc.conn.loss.Window()/8 {
			t.Errorf("window %d: %d bytes of it are left open", window, room)
		}
		tc.quiet()
	}
}

// What fits the window, however little of it is open, waits for nothing.
func TestLittleDataIsNotHeld(t *testing.T) {
	tc := newTestConn(t, serverSide, wide, noIdle)
	s, _ := tc.widened(100_000)
	tc.advance(10 * time.Millisecond)
	tc.ack(wire.OneRTT)
	tc.clear()
	for s.Unsent() > 0 {
		tc.advance(10 * time.Millisecond)
		tc.ack(wire.OneRTT)
		tc.clear()
	}
	for tc.conn.loss.CanSend() > 5*1200 {
		tc.conn.Write(s, make([]byte, 1000))
		tc.clear()
	}
	for range 3 {
		if n := tc.leaves(func() { tc.conn.Write(s, make([]byte, 100)) }); n < 100 {
			t.Errorf("%d bytes left of a window of %d, %d of them open", n, tc.conn.loss.Window(), tc.conn.loss.CanSend())
		}
	}
	tc.quiet()
}

// An acknowledgement that comes while the pacer has a little to give does not let that go: the
// pacer's own timer lets more go.
func TestPacerIsUsedByBatches(t *testing.T) {
	tc := newTestConn(t, serverSide, wide, noIdle, func(c *Config) { c.DisablePacing = false })
	for range 20 {
		tc.pingFor(100*time.Millisecond, 0)
	}
	s := tc.open(bidi)
	roundTrip := func() (first int64) {
		first = tc.conn.loss.Next(recovery.App)
		for range 200 {
			tc.conn.Write(s, make([]byte, 64<<10))
			tc.clear()
			tc.advance(500 * time.Microsecond)
		}
		return first
	}
	for tc.conn.loss.Window() < 1_000_000 {
		roundTrip()
		tc.ack(wire.OneRTT)
		tc.clear()
	}
	first := roundTrip()
	tc.fill(s)
	batches, held := 0, 0
	var set ranges.Set
	for pn := first; pn < first+400; pn++ {
		worth := min(dgram.FullBatch, int(tc.conn.loss.Pacer().Rate()*int64(250*time.Microsecond)/int64(time.Second)))
		n := tc.leaves(func() {
			tc.now = tc.now.Add(50 * time.Microsecond) // the timer is for the advance that follows
			tc.conn.Write(s, make([]byte, 64<<10))
			if tc.peer.got[recovery.App].Contains(pn) {
				set.Add(pn, pn+1)
			}
			tc.write(wire.OneRTT, wire.MakeAck(set, 0, nil))
		})
		switch {
		case n == 0:
			held++
		case n < worth-2*1200 && s.Unsent() >= 1200:
			t.Fatalf("%d bytes left, fewer than %d", n, worth)
		default:
			batches++
		}
		if at := tc.conn.Deadline(); at <= tc.now {
			tc.advance(0)
		}
	}
	if batches == 0 || held < 2*batches {
		t.Errorf("%d batches, none after %d acknowledgements", batches, held)
	}
	tc.quiet()
}
