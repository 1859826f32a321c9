package transport

import (
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Sections are those of draft-ietf-quic-ack-frequency.

// obliging is a peer that can be asked for fewer ACKs, and lets us send a lot.
func obliging(p *wire.Parameters) {
	p.HasMinAckDelay, p.MinAckDelay = true, time.Millisecond
	p.MaxData, p.MaxStreamDataBidiRemote, p.MaxStreamDataBidiLocal = 1<<40, 1<<40, 1<<40
}

// request is an ACK_FREQUENCY frame of the peer's.
func request(seq, threshold int64, delay time.Duration, reorder int64) wire.AckFrequency {
	return wire.AckFrequency{Seq: seq, Threshold: threshold, MaxDelay: uint64(delay / time.Microsecond), Reorder: reorder}
}

// pings makes the peer send n packets that want an ACK.
func (tc *testConn) pings(n int) {
	tc.Helper()
	for range n {
		tc.write(wire.OneRTT, wire.Ping{})
	}
}

// round fills the congestion window with stream data, and takes what was said meanwhile,
// of which it returns the ACK_FREQUENCY frames.
func (tc *testConn) round(st *Stream) (asked []wire.AckFrequency) {
	tc.Helper()
	for n := 1; n > 0; {
		n, _ = tc.conn.Write(st, make([]byte, 16<<10))
		asked = append(asked, tc.requests()...)
	}
	return asked
}

// requests takes all that is there to be taken, and returns the ACK_FREQUENCY frames.
func (tc *testConn) requests() (asked []wire.AckFrequency) {
	tc.Helper()
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		if f, ok := f.(wire.AckFrequency); ok {
			asked, tc.last = append(asked, f), p
		}
		p.seen++
	}
	return asked
}

// grow sends in bulk, with 40 ms for a round trip, until the connection asks for fewer
// ACKs in a packet that has not been acknowledged yet.
func (tc *testConn) grow(st *Stream) wire.AckFrequency {
	tc.Helper()
	for range 50 {
		tc.pingFor(40*time.Millisecond, 0)
	}
	for range 10 {
		if asked := tc.round(st); len(asked) > 0 {
			return asked[0]
		}
		tc.advance(40 * time.Millisecond)
		tc.ack(wire.OneRTT)
	}
	tc.Fatalf("nothing was asked for with a window of %d bytes", tc.conn.loss.Window())
	return wire.AckFrequency{}
}

// drainFlight acknowledges everything, until nothing is in flight any more.
func (tc *testConn) drainFlight() {
	tc.Helper()
	for tc.clear(); tc.conn.loss.InFlight() > 0; tc.clear() {
		tc.advance(40 * time.Millisecond)
		tc.ack(wire.OneRTT)
	}
}

// eased returns a server that has asked for few ACKs, and has nothing in flight any more.
func eased(t *testing.T) *testConn {
	t.Helper()
	tc := newTestConn(t, serverSide, obliging)
	tc.grow(tc.open(bidi))
	tc.drainFlight()
	return tc
}

// wantDefault is one frame that asks for what the peer did at first.
func (tc *testConn) wantDefault() {
	tc.Helper()
	asked := tc.requests()
	if len(asked) != 1 || asked[0].Threshold != 1 || asked[0].Reorder != 1 || asked[0].MaxDelay != 25_000 {
		tc.Fatalf("asked for %v", asked)
	}
}

// allBut returns what the peer has received in 1-RTT packets, but for one.
func (tc *testConn) allBut(pn int64) ranges.Set {
	set := slices.Clone(tc.peer.got[2])
	set.Remove(pn, pn+1)
	return set
}

// §3: an endpoint that did not offer the extension does not know its frames.
func TestAckFrequencyNotOffered(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, f := range []wire.Frame{wire.ImmediateAck{}, request(0, 1, 5*time.Millisecond, 1)} {
			tc := newTestConn(t, s, func(c *Config) { c.Params.HasMinAckDelay, c.Params.MinAckDelay = false, 0 })
			tc.write(wire.OneRTT, f)
			if c := tc.wantClose("unknown", wire.FrameEncodingError); c.Frame != f.Type() {
				t.Errorf("CONNECTION_CLOSE names %v", c.Frame)
			}
		}
	})
}

// §3: the offer alone changes nothing, and holds whether or not the peer offers it too.
func TestAckFrequencyOfferAlone(t *testing.T) {
	for _, both := range []bool{false, true} {
		tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.HasMinAckDelay = both })
		tc.see(wire.FrameAck)
		tc.pings(2)
		tc.wantType("every second packet", wire.OneRTT, wire.FrameAck)
		tc.write(wire.OneRTT, request(0, 3, 20*time.Millisecond, 3))
		tc.pings(2)
		tc.wantIdle("until it is asked for")
		tc.pings(1)
		tc.wantType("more than three", wire.OneRTT, wire.FrameAck)
	}
}

// §3: min_ack_delay is no longer than max_ack_delay.
func TestMinAckDelayAboveMax(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageStart, func(p *wire.Parameters) {
			p.HasMinAckDelay, p.MinAckDelay = true, p.MaxAckDelay+time.Microsecond
		})
		tc.failHandshake()
		tc.wantClose("too long", wire.TransportParameterError)
	})
}

// §3: what a server said in an earlier connection is no leave to send the frames, in 0-RTT
// or later.
func TestAckFrequencyIsNotRemembered(t *testing.T) {
	old := testParams()
	obliging(&old)
	tc := newTestConn(t, clientSide, stageStart, func(c *Config) { c.Resumed = &old }, func(s *scriptedTLS) { s.early = true },
		func(p *wire.Parameters) { obliging(p); p.HasMinAckDelay = false })
	tc.clear()
	if asked := tc.round(tc.open(bidi)); len(asked) > 0 {
		t.Errorf("%v in 0-RTT", asked)
	}
	tc.step(stageConfirmed)
	st := tc.open(bidi)
	for range 8 {
		if asked := tc.round(st); len(asked) > 0 {
			t.Fatalf("asked for %v", asked)
		}
		tc.advance(40 * time.Millisecond)
		tc.ack(wire.OneRTT)
	}
	tc.abandon()
}

// §4: a delay below the min_ack_delay that was offered is invalid, and so is one that
// max_ack_delay cannot be; an invalid frame is an error even if it is an old one.
func TestAckFrequencyInvalid(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, test := range []struct {
			frame wire.AckFrequency
			valid bool
		}{
			{request(5, 10, recovery.MinAckDelay, 3), true},
			{request(5, 10, recovery.MinAckDelay-time.Microsecond, 3), false},
			{request(5, 10, 0, 3), false},
			{request(1, 10, 0, 3), false},
			{wire.AckFrequency{Seq: 5, MaxDelay: 16_383_999}, true},
			{wire.AckFrequency{Seq: 5, MaxDelay: 16_384_000}, false},
			{wire.AckFrequency{Seq: 5, MaxDelay: 1<<62 - 1}, false},
			{wire.AckFrequency{Seq: 1<<62 - 1, Threshold: 1<<62 - 1, MaxDelay: 5000, Reorder: 1<<62 - 1}, true},
		} {
			tc := newTestConn(t, s)
			tc.write(wire.OneRTT, request(3, 1, 5*time.Millisecond, 1))
			tc.write(wire.OneRTT, test.frame)
			if test.valid {
				tc.wantOpen(test.frame.String())
				continue
			}
			if c := tc.wantClose(test.frame.String(), wire.ProtocolViolation); c.Frame != wire.FrameAckFrequency {
				t.Errorf("CONNECTION_CLOSE names %v", c.Frame)
			}
		}
	})
}

// §4: frames that are older than one that was processed, or the same, are ignored.
func TestAckFrequencyOldFrames(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.see(wire.FrameAck)
	tc.write(wire.OneRTT, request(7, 4, 20*time.Millisecond, 3))
	for _, seq := range []int64{7, 6, 0} {
		tc.write(wire.OneRTT, request(seq, 0, 20*time.Millisecond, 3))
	}
	tc.wantIdle("four packets")
	tc.pings(1)
	tc.wantType("five", wire.OneRTT, wire.FrameAck)
	tc.write(wire.OneRTT, request(8, 0, 20*time.Millisecond, 3))
	tc.wantType("a newer one", wire.OneRTT, wire.FrameAck)
}

// §4, §6: the ACK goes when more packets have come than the threshold, or when the first
// has waited for the delay that was asked for, not later and no more than a millisecond
// earlier; and then the count begins again.
func TestAckFrequencyThresholdAndDelay(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.see(wire.FrameAck)
		tc.write(wire.OneRTT, request(0, 10, 20*time.Millisecond, 3))
		start := tc.now
		tc.pings(9)
		tc.wantIdle("ten packets")
		tc.advanceToTimer()
		tc.wantType("the delay", wire.OneRTT, wire.FrameAck)
		if d := tc.now.Sub(start); d != 19*time.Millisecond {
			t.Errorf("after %v", d)
		}
		for range 3 {
			tc.pings(10)
			tc.wantIdle("ten packets")
			tc.pings(1)
			tc.wantType("eleven", wire.OneRTT, wire.FrameAck)
		}
	})
}

// §5: a packet with IMMEDIATE_ACK is answered at once, and no other.
func TestImmediateAck(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.see(wire.FrameAck)
		tc.write(wire.OneRTT, wire.ImmediateAck{})
		tc.wantType("even if nothing was asked for before", wire.OneRTT, wire.FrameAck)
		tc.write(wire.OneRTT, request(0, 10, 20*time.Millisecond, 0))
		tc.pings(1)
		tc.wantIdle("two packets")
		tc.write(wire.OneRTT, wire.ImmediateAck{}, wire.Ping{})
		tc.wantType("at once", wire.OneRTT, wire.FrameAck)
		tc.pings(1)
		tc.wantIdle("the next one")
		tc.advance(time.Second)
		tc.wantType("late", wire.OneRTT, wire.FrameAck)
	})
}

// §6.2, §6.3: what is out of order by the threshold, and the first CE mark, go at once.
func TestAckFrequencyExceptions(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.see(wire.FrameAck, wire.FrameAckECN)
	tc.write(wire.OneRTT, request(0, 100, 20*time.Millisecond, 3))
	tc.peer.next[2]++
	tc.pings(2)
	tc.wantIdle("one is missing, two have come since")
	tc.pings(1)
	tc.wantType("three", wire.OneRTT, wire.FrameAck)
	tc.ecn = dgram.CE
	tc.pings(1)
	tc.wantType("a mark", wire.OneRTT, wire.FrameAckECN)
	tc.pings(5)
	tc.wantIdle("more of them")
	tc.advance(time.Second)
	tc.wantType("late", wire.OneRTT, wire.FrameAckECN)
}

// §8.1: in bulk, and only then, fewer ACKs are asked for: several a window, within the
// peer's limits, and reordering is told when it makes a packet lost (§9).
func TestAckFrequencyIsAskedFor(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, obliging)
		st := tc.open(bidi)
		tc.send(st, "a little")
		if asked := tc.requests(); len(asked) > 0 {
			t.Fatalf("asked for %v", asked)
		}
		tc.ack(wire.OneRTT)
		f := tc.grow(st)
		window := int64(tc.conn.loss.Window() / tc.conn.mtu.size)
		if f.Seq != 0 || f.Threshold < fewestPackets || f.Threshold > window/8 || f.Reorder != recovery.PacketThreshold {
			t.Errorf("asked for %v with a window of %d packets", f, window)
		}
		if d := time.Duration(f.MaxDelay) * time.Microsecond; d < 9*time.Millisecond || d > 11*time.Millisecond {
			t.Errorf("asked for a delay of %v at 40 ms", d)
		}
		last := f
		for rounds := 0; last.Threshold <= mostPackets/2 && rounds < 6; rounds++ { // the window doubles each time
			tc.advance(40 * time.Millisecond)
			tc.ack(wire.OneRTT)
			for _, f := range tc.round(st) {
				if f.Seq != last.Seq+1 || f.Threshold < 2*last.Threshold {
					t.Errorf("%v after %v", f, last)
				}
				last = f
			}
		}
		if last.Threshold <= mostPackets/2 || last.Threshold > mostPackets || last.Seq > 5 {
			t.Errorf("%v with a window of %d bytes", last, tc.conn.loss.Window())
		}
		tc.abandon()
	})
}

// §8.1.1: whoever has little under way asks for nothing, however long it goes on.
func TestAckFrequencyNotForALittle(t *testing.T) {
	tc := newTestConn(t, serverSide, obliging)
	st := tc.open(bidi)
	for range 300 {
		tc.send(st, string(make([]byte, 5000)))
		if asked := tc.requests(); len(asked) > 0 {
			t.Fatalf("asked for %v", asked)
		}
		tc.advance(40 * time.Millisecond)
		tc.ack(wire.OneRTT)
	}
}

// §3, §4: what is asked for is within what the peer offers: not below its min_ack_delay,
// and not above the max_ack_delay that it has anyway.
func TestAckFrequencyDelayLimits(t *testing.T) {
	for _, test := range []struct{ min, max, want time.Duration }{
		{time.Millisecond, 25 * time.Millisecond, 10 * time.Millisecond},
		{15 * time.Millisecond, 25 * time.Millisecond, 15 * time.Millisecond},
		{0, 7 * time.Millisecond, 7 * time.Millisecond},
		{2 * time.Millisecond, 2 * time.Millisecond, 2 * time.Millisecond},
	} {
		tc := newTestConn(t, serverSide, obliging, func(p *wire.Parameters) { p.MinAckDelay, p.MaxAckDelay = test.min, test.max })
		f := tc.grow(tc.open(bidi))
		if d := time.Duration(f.MaxDelay) * time.Microsecond; (d - test.want).Abs() > time.Millisecond {
			t.Errorf("%v to %v: asked for %v", test.min, test.max, d)
		}
		tc.abandon()
	}
}

// §4: a lost frame goes again, as a new one with what is right by then, as long as no
// newer one has been sent.
func TestAckFrequencyLost(t *testing.T) {
	lostAndPTO(t, func(t *testing.T, pto bool) {
		tc := newTestConn(t, serverSide, obliging)
		f := tc.grow(tc.open(bidi))
		if pto {
			tc.advanceToPTO()
		} else {
			tc.advance(40 * time.Millisecond)
			tc.write(wire.OneRTT, wire.MakeAck(tc.allBut(tc.last.pn), 0, nil))
		}
		asked := tc.requests()
		if len(asked) != 1 || asked[0].Seq != f.Seq+1 {
			t.Fatalf("%v after %v was lost", asked, f)
		}
		tc.ack(wire.OneRTT)
		if again := tc.requests(); len(again) > 1 || len(again) == 1 && again[0].Threshold < 2*asked[0].Threshold {
			t.Errorf("%v after %v", again, asked)
		}
		tc.abandon()
	})
}

// §7: the probe timeout counts with the longest delay that may hold, until the newest
// frame is known to have arrived.
func TestAckFrequencyProbeTimeout(t *testing.T) {
	for _, test := range []struct {
		name       string
		start, now time.Duration // max_ack_delay offered, and asked for
	}{
		{"shorter", 25 * time.Millisecond, 10 * time.Millisecond},
		{"the same", 5 * time.Millisecond, 5 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			tc := newTestConn(t, serverSide, obliging, func(p *wire.Parameters) { p.MaxAckDelay = test.start })
			f := tc.grow(tc.open(bidi))
			if d := tc.conn.loss.PeerAckDelay(); d != test.start {
				t.Errorf("%v counts while %v is in flight", d, f)
			}
			tc.advance(40 * time.Millisecond)
			tc.ack(wire.OneRTT)
			asked := time.Duration(f.MaxDelay) * time.Microsecond
			if d := tc.conn.loss.PeerAckDelay(); (d-asked).Abs() > time.Millisecond || (d-test.now).Abs() > time.Millisecond {
				t.Errorf("%v counts after %v has arrived", d, f)
			}
			tc.abandon()
		})
	}
}

// §7: a delay that becomes longer again counts from the moment that it is asked for, even
// if an older, shorter one is acknowledged late.
func TestAckFrequencyProbeTimeoutRises(t *testing.T) {
	tc := eased(t)
	if d := tc.conn.loss.PeerAckDelay(); d > 11*time.Millisecond {
		t.Fatalf("%v counts", d)
	}
	tc.conn.loss.Controller().OnPersistent(tc.now) // a window of two packets, without waiting for it
	tc.conn.Ping()
	tc.clear()
	tc.ack(wire.OneRTT)
	tc.wantDefault()
	if d := tc.conn.loss.PeerAckDelay(); d != 25*time.Millisecond {
		t.Errorf("%v counts", d)
	}
	tc.abandon()
}

// §7: a probe asks for its ACK at once, from a peer that knows how to.
func TestImmediateAckInProbes(t *testing.T) {
	for _, knows := range []bool{true, false} {
		tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.HasMinAckDelay = knows })
		tc.send(tc.open(bidi), "hello")
		tc.wantType("data", wire.OneRTT, wire.FrameStream)
		tc.advanceToPTO()
		if knows {
			tc.wantType("a probe", wire.OneRTT, wire.FrameImmediateAck)
		}
		tc.wantType("with data", wire.OneRTT, wire.FrameStream)
		tc.clear()
	}
}

// §8.3: an MTU probe asks for its ACK at once too; it is no data that could be missed.
func TestImmediateAckInMTUProbes(t *testing.T) {
	tc := undiscovered(t, serverSide, func(p *wire.Parameters) { p.HasMinAckDelay = true })
	tc.ignore(wire.FrameHandshakeDone, wire.FrameNewConnectionID, wire.FrameCrypto)
	tc.wantType("a probe", wire.OneRTT, wire.FramePing)
	tc.wantType("that is answered at once", wire.OneRTT, wire.FrameImmediateAck)
	tc.clear()
}

// §8.4: on a new path, with its small window, the peer is asked for what it did at first.
func TestAckFrequencyAfterMigration(t *testing.T) {
	tc := eased(t)
	tc.path.Remote = addrPort("203.0.113.9:7000")
	tc.write(wire.OneRTT, wire.Ping{})
	tc.answer(tc.challenges()[tc.path.Remote])
	tc.wantDefault()
	tc.abandon()
}

// §10: a peer that wants every packet answered gets no more ACKs than it sends packets,
// and whatever it asks for nothing of ours grows.
func TestAckFrequencyFlood(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.see(wire.FrameAck)
	before := tc.conn.Stats().PacketsSent
	const packets = 2000
	for i := range int64(packets) {
		tc.write(wire.OneRTT, request(i, 0, recovery.MinAckDelay, 1), wire.ImmediateAck{}, wire.ImmediateAck{})
		tc.clear()
	}
	if n := tc.conn.Stats().PacketsSent - before; n > packets {
		t.Errorf("%d packets for %d", n, packets)
	}
	tc.write(wire.OneRTT, wire.AckFrequency{Seq: packets, Threshold: 1<<62 - 1, MaxDelay: 16_383_999})
	for range packets {
		tc.peer.next[2]++ // every second one is missing
		tc.write(wire.OneRTT, wire.Ping{})
		tc.clear()
	}
	if n := tc.conn.acks.Ranges(); n > recovery.MaxAckRanges {
		t.Errorf("%d ranges", n)
	}
	tc.abandon()
}

// A peer whose max_ack_delay is 0 leaves only one delay to ask for: nothing is asked twice.
func TestFarFigures(t *testing.T) {
	for _, c := range []struct {
		a, b int64
		want bool
	}{{0, 0, false}, {0, 1, true}, {1, 0, true}, {1, 1, false}, {2, 3, false}, {2, 4, true}, {5, 2, true}} {
		if got := far(c.a, c.b); got != c.want {
			t.Errorf("far(%d, %d) is %v", c.a, c.b, got)
		}
	}
}
