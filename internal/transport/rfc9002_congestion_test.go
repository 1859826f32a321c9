package transport

// RFC 9002 §7 as the peer sees it: what may be in flight, and how it leaves.

import (
	mrand "math/rand/v2"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// fill writes to a stream as long as something leaves, and returns how many
// bytes of datagrams that was.
func (tc *testConn) fill(s *Stream) (n int) {
	tc.Helper()
	before := len(tc.datagrams)
	data := make([]byte, 64<<10)
	for {
		sent := len(tc.datagrams)
		if _, err := tc.conn.Write(s, data); err != nil {
			tc.Fatal(err)
		}
		tc.clear()
		if len(tc.datagrams) == sent {
			break
		}
	}
	for _, d := range tc.datagrams[before:] {
		n += d.size
	}
	return n
}

// wide gives the Conn more credit than any window.
func wide(p *wire.Parameters) {
	p.MaxData, p.MaxIdleTimeout = 1<<40, 0
	p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 1<<40, 1<<40, 1<<40
}

func noIdle(c *Config) { c.Params.MaxIdleTimeout = 0 }

// quiet lets what a test left in flight go.
func (tc *testConn) quiet() {
	tc.ignore(wire.FrameStreamDataBlocked, wire.FrameDataBlocked, wire.FramePing, wire.FrameStream)
	tc.clear()
}

// RFC 9002 §7.2: ten datagrams leave at first, and not one byte more.
// RFC 9002 §7.
func TestInitialWindow(t *testing.T) {
	for _, size := range []int{1200, 1452} {
		tc := newTestConn(t, serverSide, wide, func(c *Config) { c.InitialDatagram = size })
		window := congestion.InitialWindow(size)
		n := tc.fill(tc.open(bidi))
		if n > window || n <= window-size {
			t.Errorf("%d bytes left at once, want %d", n, window)
		}
		tc.wantIdle("the window is full")
		tc.quiet()
	}
}

// RFC 9002 §7.3.1: in slow start the window grows by what is acknowledged, if it was used.
func TestSlowStart(t *testing.T) {
	for _, cc := range []string{"reno", "cubic"} {
		tc := newTestConn(t, serverSide, wide, func(c *Config) { c.CongestionControl = cc })
		s := tc.open(bidi)
		for range 5 {
			before := tc.conn.loss.Window()
			tc.fill(s)
			sent := tc.conn.loss.InFlight()
			tc.advance(10 * time.Millisecond)
			tc.ack(wire.OneRTT)
			tc.clear()
			if got := tc.conn.loss.Window(); got < before+sent-1200 || got > before+sent {
				t.Fatalf("%s: window %d after %d of %d were acknowledged", cc, got, sent, before)
			}
		}
		tc.quiet()
	}
}

// RFC 9002 §7.8: a window that the application does not use does not grow.
func TestAppLimited(t *testing.T) {
	tc := newTestConn(t, serverSide, wide)
	s := tc.open(bidi)
	window := tc.conn.loss.Window()
	for range 100 {
		tc.chunk(s)
		tc.advance(10 * time.Millisecond)
		tc.ack(wire.OneRTT)
	}
	if got := tc.conn.loss.Window(); got != window {
		t.Errorf("window %d, want %d", got, window)
	}
	tc.quiet()
}

// RFC 9002 §7.3.2: one reduction for all losses of a round trip; a loss after that counts anew
// (RFC 9002 §7.4, RFC 9000 §13.3).
func TestOneReductionPerRoundTrip(t *testing.T) {
	for _, cc := range []string{"reno", "cubic"} {
		tc := newTestConn(t, serverSide, wide, func(c *Config) { c.CongestionControl = cc })
		s := tc.open(bidi)
		window := tc.conn.loss.Window()
		first := tc.conn.loss.Next(2)
		tc.fill(s)
		tc.advance(10 * time.Millisecond)
		tc.write(wire.OneRTT, ackOf(first+3)) // the first is lost
		tc.clear()
		once := tc.conn.loss.Window()
		factor := 0.7
		if cc == "reno" {
			factor = 0.5
		}
		if want := int(factor * float64(window)); once < want-1200 || once > want+1200 {
			t.Errorf("%s: window %d after a loss, want about %d", cc, once, want)
		}
		tc.write(wire.OneRTT, ackOf(first+3, first+7)) // four more of that round trip
		tc.clear()
		if st := tc.conn.Stats(); st.CongestionEvents != 1 || st.Window > uint64(once)+1200 || st.Window < uint64(once) {
			t.Errorf("%s: %d congestion events, window %d, want 1, %d", cc, st.CongestionEvents, st.Window, once)
		}
		if st := tc.conn.Stats(); st.PacketsLost < 2 {
			t.Errorf("%s: %d lost", cc, st.PacketsLost)
		}
		// All of that round trip is over; now one of the next is lost.
		tc.advance(10 * time.Millisecond)
		first = tc.conn.loss.Next(2)
		tc.ack(wire.OneRTT) // makes room, so that the next ones leave
		tc.fill(s)
		tc.advance(10 * time.Millisecond)
		tc.write(wire.OneRTT, ackOf(first+3))
		if st := tc.conn.Stats(); st.CongestionEvents != 2 {
			t.Errorf("%s: %d congestion events, want 2", cc, st.CongestionEvents)
		}
		tc.quiet()
	}
}

// RFC 9002 §7.3: a CE mark is a congestion event; no packet is lost for it.
func TestCongestionExperienced(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello, wide)
	tc.write(wire.Handshake, wire.Crypto{Data: message('F', 52)}) // no ACK so far, they would have no counts
	tc.clear()
	s := tc.open(bidi)
	round := func(ce uint64) {
		tc.fill(s)
		tc.advance(10 * time.Millisecond)
		marked := uint64(0)
		for _, d := range tc.datagrams {
			if d.ecn == dgram.ECT0 && d.data[0]&0x80 == 0 {
				marked++
			}
		}
		tc.write(wire.OneRTT, wire.MakeAck(tc.peer.got[2], 0, &wire.ECNCounts{ECT0: marked - ce, CE: ce}))
		tc.clear()
	}
	round(0)
	before := tc.conn.loss.Window()
	if got := tc.conn.Stats(); got.ECNFailures != 0 || got.CongestionEvents != 0 {
		t.Fatalf("%d ECN failures, %d congestion events", got.ECNFailures, got.CongestionEvents)
	}
	round(1)
	if got := tc.conn.Stats(); got.CongestionEvents != 1 || got.PacketsLost != 0 || got.Window >= uint64(before) {
		t.Errorf("%d congestion events, %d lost, window %d of %d", got.CongestionEvents, got.PacketsLost, got.Window, before)
	}
	tc.quiet()
}

// RFC 9002 §7.6: nothing arrives for so long that the path must have changed: the window
// falls to its least.
func TestPersistentCongestion(t *testing.T) {
	tc := newTestConn(t, serverSide, wide, noIdle)
	s := tc.open(bidi)
	for range 10 {
		tc.pingFor(10*time.Millisecond, 0)
	}
	for range 6 { // a few periods with packets at both ends of each
		tc.send(s, "lost")
		tc.quiet()
		tc.advanceToPTO()
		tc.clear()
	}
	tc.advance(10 * time.Millisecond)
	tc.clear()
	tc.conn.Ping()
	tc.pump()
	pn := tc.conn.loss.Next(2) - 1
	tc.write(wire.OneRTT, ackOf(pn))
	tc.clear()
	tc.advance(100 * time.Millisecond)
	st := tc.conn.Stats()
	if st.PersistentCongestion != 1 || st.Window != uint64(congestion.MinimumWindow(1200)) {
		t.Errorf("%d times persistent congestion, window %d, want %d", st.PersistentCongestion, st.Window, congestion.MinimumWindow(1200))
	}
	tc.quiet()
}

// RFC 9002 §7.6.2: two lost packets with one between them that arrived prove nothing.
func TestNoPersistentCongestion(t *testing.T) {
	tc := newTestConn(t, serverSide, wide, noIdle)
	s := tc.open(bidi)
	for range 10 {
		tc.pingFor(10*time.Millisecond, 0)
	}
	var arrived ranges.Set
	for range 6 {
		tc.send(s, "lost")
		tc.quiet()
		tc.advanceToPTO()
		tc.clear()
		pn := tc.conn.loss.Next(2) - 1
		arrived.Add(pn, pn+1)
		tc.write(wire.OneRTT, wire.MakeAck(arrived, 0, nil))
		tc.clear()
	}
	tc.advance(time.Second)
	if n := tc.conn.Stats().PersistentCongestion; n != 0 {
		t.Errorf("%d times persistent congestion", n)
	}
	tc.quiet()
}

// watch checks at every datagram of one end what §7 says about its leaving.
type watch struct {
	t       *testing.T
	p       *pair
	n       *node
	at      mono.Time
	burst   int // bytes that left at this time
	flight  int
	ptos    uint64
	largest int
}

func (w *watch) sent(b []byte) {
	c := w.n.conn
	if w.at != w.p.now {
		w.at, w.burst = w.p.now, 0
	}
	w.burst += len(b)
	w.largest = max(w.largest, w.burst)
	rate := int(c.loss.Pacer().Rate() * int64(1250*time.Microsecond) / int64(time.Second))
	probing := c.Stats().PTOs != w.ptos || c.loss.PTOCount() > 0
	w.ptos = c.Stats().PTOs
	// A batch is sent as one before anyone looks: a new round trip may have begun.
	if most := max(congestion.InitialWindow(c.mtu.size), rate) + c.mtu.size; w.burst > most && !probing {
		w.t.Errorf("%v: a burst of %d bytes, want at most %d", w.p.now, w.burst, most)
	}
	flight, window := c.loss.InFlight(), c.loss.Window()
	if flight > window && flight > w.flight && !probing {
		w.t.Errorf("%v: %d bytes in flight, window %d", w.p.now, flight, window)
	}
	w.flight = flight
}

// RFC 9002 §7, §7.7: whatever is lost, the window is never exceeded but by probes, and no
// burst is longer than the pacer allows.
func TestWindowAndPacing(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		for _, cc := range []string{"cubic", "reno"} {
			p := newPair(t, func(_ *node, c *Config, _ *MuxConfig) { c.CongestionControl = cc })
			p.delay = time.Duration(1+seed*7%40) * time.Millisecond
			p.handshake()
			p.rest()
			r := mrand.New(mrand.NewPCG(seed, 9))
			loss := int(seed % 4 * 2)
			w := &watch{t: t, p: p, n: p.client, flight: p.client.conn.loss.InFlight()}
			p.drop = func(from *node, b []byte) bool {
				if from == p.client {
					w.sent(b)
				}
				return r.IntN(100) < loss
			}
			p.transfer(400 << 10)
			if t.Failed() {
				t.Fatalf("seed %d, %s", seed, cc)
			}
			if w.largest < 5000 {
				t.Fatalf("seed %d: the largest burst has %d bytes, so that nothing was tested", seed, w.largest)
			}
		}
	}
}

// RFC 9002 §7.7, §7.8: after a silence no more than a burst leaves at once, however large
// the window has become.
func TestBurstAfterSilence(t *testing.T) {
	tc := newTestConn(t, serverSide, wide, noIdle, func(c *Config) { c.DisablePacing = false })
	for range 20 {
		tc.pingFor(100*time.Millisecond, 0)
	}
	s := tc.open(bidi)
	for tc.conn.loss.Window() < 200_000 {
		for range 200 {
			if _, err := tc.conn.Write(s, make([]byte, 16<<10)); err != nil {
				t.Fatal(err)
			}
			tc.clear()
			tc.advance(500 * time.Microsecond)
		}
		tc.ack(wire.OneRTT)
		tc.clear()
	}
	for tc.conn.loss.InFlight() > 0 || s.Unsent() > 0 {
		tc.advance(50 * time.Millisecond)
		tc.ack(wire.OneRTT)
		tc.clear()
	}
	tc.advance(10 * time.Second)
	tc.clear()
	rate := int(tc.conn.loss.Pacer().Rate() * int64(1250*time.Microsecond) / int64(time.Second))
	most := max(congestion.InitialWindow(1200), rate)
	if n := tc.fill(s); n > most || n < most/2 {
		t.Errorf("%d bytes at once after a silence, window %d, want at most %d", n, tc.conn.loss.Window(), most)
	}
	if at := tc.conn.Deadline(); at <= tc.now || at > tc.now.Add(100*time.Millisecond) {
		t.Errorf("the pacer's timer is %v from now", at.Sub(tc.now))
	}
	tc.quiet()
}
