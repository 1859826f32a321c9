package transport

// RFC 9002 §5 and §6 as the peer sees them: the round-trip estimate, packets
// declared lost, probe timeouts.

import (
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// pingFor sends a PING and acknowledges it after a while, with an ACK Delay in
// microseconds.
func (tc *testConn) pingFor(rtt time.Duration, delay uint64) {
	tc.Helper()
	tc.conn.Ping()
	tc.want("a PING", wire.OneRTT, wire.Ping{})
	pn := tc.last.pn
	tc.now = tc.now.Add(rtt) // no timer on the way: this is about what ACKs say
	tc.write(wire.OneRTT, wire.MakeAck(numbers(pn), delay>>3, nil))
}

// chunk writes so much data to a stream that it fills a packet of its own, and
// returns its number.
func (tc *testConn) chunk(s *Stream) int64 {
	tc.Helper()
	tc.send(s, string(make([]byte, 1000)))
	tc.wantType("stream data", wire.OneRTT, wire.FrameStream)
	return tc.last.pn
}

// RFC 9002 §5.1: a sample is taken when the largest acknowledged packet is newly
// acknowledged, and one of those newly acknowledged asked for it.
// RFC 9002 §5.
func TestRTTSamples(t *testing.T) {
	tc := newTestConn(t, serverSide)
	s := tc.open(bidi)
	samples := func() int { return tc.conn.Stats().RTT.Samples }
	n := samples()
	a, b, c := tc.chunk(s), tc.chunk(s), tc.chunk(s)
	tc.now = tc.now.Add(7 * time.Millisecond)
	tc.write(wire.OneRTT, ackOf(b))
	if r := tc.conn.Stats().RTT; r.Samples != n+1 || r.Latest != 7*time.Millisecond {
		t.Errorf("after the first ACK: %+v", r)
	}
	tc.now = tc.now.Add(time.Millisecond)
	tc.write(wire.OneRTT, ackOf(b))
	tc.write(wire.OneRTT, ackOf(a, b))
	if samples() != n+1 {
		t.Error("a sample though the largest is not newly acknowledged")
	}
	tc.write(wire.OneRTT, ackOf(a, b, c))
	if r := tc.conn.Stats().RTT; r.Samples != n+2 || r.Latest != 8*time.Millisecond {
		t.Errorf("after the last ACK: %+v", r)
	}
	// An ACK of nothing but ACKs says nothing.
	tc.write(wire.OneRTT, wire.Ping{})
	tc.write(wire.OneRTT, wire.Ping{})
	tc.see(wire.FrameAck)
	tc.wantType("an ACK", wire.OneRTT, wire.FrameAck)
	tc.write(wire.OneRTT, ackOf(tc.last.pn))
	if samples() != n+2 {
		t.Error("a sample from a packet that asked for no ACK")
	}
}

// RFC 9002 §5.3: the delay that the peer reports is subtracted, but no more than it
// promised, and not below the smallest round trip.
func TestRTTAckDelay(t *testing.T) {
	tc := newTestConn(t, serverSide)
	smoothed := func() time.Duration { return tc.conn.Stats().RTT.Smoothed }
	settle := func(rtt time.Duration, delay uint64) {
		for range 60 {
			tc.pingFor(rtt, delay)
		}
	}
	near := func(reason string, want time.Duration) {
		t.Helper()
		if d := smoothed() - want; d.Abs() > 100*time.Microsecond {
			t.Errorf("%s: smoothed %v, want %v", reason, smoothed(), want)
		}
	}
	settle(10*time.Millisecond, 0)
	near("no delay", 10*time.Millisecond)
	settle(30*time.Millisecond, 15_000)
	near("a delay of 15 ms", 15*time.Millisecond)
	settle(60*time.Millisecond, 45_000)
	near("capped at max_ack_delay", 35*time.Millisecond)
	settle(12*time.Millisecond, 10_000)
	near("not below the smallest round trip", 12*time.Millisecond)
	if got := tc.conn.Stats().RTT.Min; got != 10*time.Millisecond {
		t.Errorf("smallest round trip %v", got)
	}
}

// RFC 9002 §6.1.1: three packets after it acknowledged, and a packet is lost.
// RFC 9002 §6.1.
func TestLossPacketThreshold(t *testing.T) {
	tc := newTestConn(t, serverSide)
	s := tc.open(bidi)
	first, second, third, fourth := tc.chunk(s), tc.chunk(s), tc.chunk(s), tc.chunk(s)
	if fourth-first != 3 {
		t.Fatalf("packet numbers %d to %d", first, fourth)
	}
	tc.write(wire.OneRTT, ackOf(third))
	tc.wantIdle("two later")
	if n := tc.conn.Stats().PacketsLost; n != 0 {
		t.Errorf("%d packets lost", n)
	}
	tc.write(wire.OneRTT, ackOf(third, fourth))
	tc.want("three later", wire.OneRTT, wire.Stream{ID: s.ID(), Data: make([]byte, 1000)})
	tc.wantIdle("the second is two before the fourth")
	if n := tc.conn.Stats().PacketsLost; n != 1 {
		t.Errorf("%d packets lost, want 1", n)
	}
	tc.write(wire.OneRTT, ackOf(second, third, fourth, tc.last.pn))
}

// RFC 9002 §6.1.2: a packet before an acknowledged one is lost after 9/8 of a round trip.
func TestLossTimeThreshold(t *testing.T) {
	tc := newTestConn(t, serverSide)
	for range 100 {
		tc.pingFor(40*time.Millisecond, 0)
	}
	tc.conn.Advance(tc.now) // what has run out on the way
	s := tc.open(bidi)
	sent := tc.now
	tc.chunk(s)
	later := tc.chunk(s)
	tc.now = tc.now.Add(40 * time.Millisecond)
	tc.write(wire.OneRTT, ackOf(later))
	tc.wantIdle("reordering is possible")
	rtt := max(tc.conn.loss.SmoothedRTT(), tc.conn.loss.RTT().Latest)
	if at := tc.conn.loss.Deadline(); at != sent.Add(rtt+rtt/8) {
		t.Errorf("the loss timer is at %v, want %v", at.Sub(sent), rtt+rtt/8)
	}
	tc.advanceToTimer()
	tc.want("lost", wire.OneRTT, wire.Stream{ID: s.ID(), Data: make([]byte, 1000)})
	if st := tc.conn.Stats(); st.PacketsLost != 1 || st.PTOs != 0 {
		t.Errorf("%d lost, %d probe timeouts", st.PacketsLost, st.PTOs)
	}
}

// RFC 9002 §6.2.1, §6.2.2: the timeout doubles with each expiry, and an ACK ends that.
// RFC 9002 §6.2.
func TestPTODoubles(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(c *Config) { c.Params.MaxIdleTimeout = 0 }, func(p *wire.Parameters) { p.MaxIdleTimeout = 0 })
		for range 60 {
			tc.pingFor(50*time.Millisecond, 0)
		}
		lost := tc.conn.Stats().PacketsLost
		tc.conn.Ping()
		tc.want("a PING", wire.OneRTT, wire.Ping{})
		last := tc.now
		r := tc.conn.Stats().RTT
		period := r.Smoothed + max(4*r.Var, time.Millisecond) + 25*time.Millisecond
		for n := range 8 {
			tc.advanceToPTO()
			if got := tc.now.Sub(last); got != period<<n {
				t.Fatalf("expiry %d after %v, want %v", n, got, period<<n)
			}
			last = tc.now
			if f := tc.wantType("a probe", wire.OneRTT, wire.FramePing); f == nil {
				t.Fatal("no probe")
			}
			tc.clear()
		}
		if st := tc.conn.Stats(); st.PacketsLost != lost || st.CongestionEvents != 0 {
			t.Errorf("%d lost, %d congestion events: a timeout is no loss (§6.2)", st.PacketsLost-lost, st.CongestionEvents)
		}
		tc.ack(wire.OneRTT)
		tc.advance(time.Hour)
		if got := tc.conn.loss.PTOCount(); got != 0 {
			t.Errorf("backoff of %d after an ACK", got)
		}
		tc.conn.Ping()
		tc.want("a PING", wire.OneRTT, wire.Ping{})
		last = tc.now
		r = tc.conn.Stats().RTT
		period = r.Smoothed + max(4*r.Var, time.Millisecond) + 25*time.Millisecond
		tc.advanceToPTO()
		if got := tc.now.Sub(last); got != period {
			t.Errorf("after an ACK the timeout is %v, want %v", got, period)
		}
		tc.clear()
	})
}

// RFC 9002 §6.2.4: a timeout sends one or two packets, with data that may be lost.
func TestPTOContent(t *testing.T) {
	tc := newTestConn(t, serverSide)
	s := tc.open(bidi)
	tc.send(s, "one")
	tc.want("data", wire.OneRTT, streamFrame(s.ID(), 0, "one"))
	tc.send(s, "two")
	tc.want("data", wire.OneRTT, streamFrame(s.ID(), 3, "two"))
	before := len(tc.datagrams)
	tc.advanceToPTO()
	tc.want("the oldest data", wire.OneRTT, streamFrame(s.ID(), 0, "onetwo"))
	tc.want("nothing but what asks for an ACK", wire.OneRTT, wire.Ping{})
	tc.wantIdle("no other data")
	if n := len(tc.datagrams) - before; n != 2 {
		t.Errorf("%d probes, want two", n)
	}
	tc.ack(wire.OneRTT)
}

// A probe takes new data along if there is room for no other reason to wait.
func TestPTOSendsNewData(t *testing.T) {
	tc := newTestConn(t, serverSide)
	s := tc.open(bidi)
	for tc.conn.loss.CanSend() >= 1200 {
		if n, _ := tc.conn.Write(s, make([]byte, 1000)); n == 0 {
			t.Fatal("the window does not fill")
		}
		tc.clear()
	}
	window := tc.conn.loss.Window()
	tc.send(s, "held back by the window")
	tc.wantIdle("the window is full")
	tc.advanceToPTO()
	if tc.conn.loss.InFlight() <= window-1200 {
		t.Error("probes are not counted in flight (RFC 9002 §7.5)")
	}
	probes := 0
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		if p.seen++; f.Type() == wire.FrameStream {
			probes++
		}
	}
	if probes == 0 {
		t.Error("the window holds probes back")
	}
	if tc.conn.loss.Window() != window {
		t.Errorf("window %d after a timeout, want %d", tc.conn.loss.Window(), window)
	}
}

// RFC 9002 §6.2.1: before the handshake is confirmed 1-RTT packets have no timeout.
func TestPTONotBeforeConfirmation(t *testing.T) {
	tc := newTestConn(t, clientSide, stageSecure)
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.clear()
	tc.ack(wire.Handshake)
	tc.wantIdle("everything of the handshake is acknowledged")
	if at := tc.conn.loss.Deadline(); at != mono.Never {
		t.Errorf("the timer is set, for %v from now", at.Sub(tc.now))
	}
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	if tc.conn.loss.Deadline() == mono.Never {
		t.Error("no timer after confirmation")
	}
	tc.advanceToPTO()
	tc.ignore(wire.FramePing, wire.FrameNewConnectionID)
	tc.want("repeated", wire.OneRTT, streamFrame(s.ID(), 0, "request"))
	tc.clear()
}

// RFC 9002 §6.2.3: what a peer says again tells that it lacks the handshake, which goes again ahead of its timeout: not
// what has just been sent, and a few times only. What is new says nothing of the kind.
func TestPTOHurried(t *testing.T) {
	most := limits.Bound(t, "hurries")
	bothSides(t, func(t *testing.T, s side) {
		stage, typ := stageHello, wire.Initial // of a server, whose ServerHello is on its way
		if s == clientSide {
			stage, typ = stageSecure, wire.Handshake // and its Finished
		}
		tc := newTestConn(t, s, stage)
		tc.clear()
		again := func(after time.Duration) (n int) {
			tc.now = tc.now.Add(after)
			tc.write(typ, wire.Ping{})
			for f, p := tc.peek(); f != nil; f, p = tc.peek() {
				if p.seen++; f.Type() == wire.FrameCrypto {
					n++
				}
			}
			return n
		}
		if again(time.Millisecond) > 0 {
			t.Error("what was sent a moment ago goes again")
		}
		for i := range most {
			if again(40*time.Millisecond) == 0 {
				t.Errorf("nothing goes again for the %dth time", i+1)
			}
			if again(time.Millisecond) > 0 {
				t.Error("twice for a pair of probes")
			}
		}
		for range 5 {
			if again(40*time.Millisecond) > 0 {
				t.Errorf("more than %d times", most)
			}
		}
		if st := tc.conn.Stats(); st.PTOs > 0 || st.Hurries != uint64(most) {
			t.Errorf("%d timeouts, %d repeats ahead of them, want none and %d", st.PTOs, st.Hurries, most)
		}
	})
}

// RFC 9002 §6.2.2.1: a client whose server may be out of credit keeps talking although
// nothing is in flight: in Initial packets, in Handshake packets once it can (RFC 9000 §8.1).
func TestPTOAntiDeadlock(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.now = tc.now.Add(10 * time.Millisecond)
	tc.ack(wire.Initial)
	if n := tc.conn.loss.InFlight(); n != 0 {
		t.Fatalf("%d bytes in flight", n)
	}
	for n := range 3 {
		before := tc.now
		period := tc.conn.loss.PTO(recovery.Initial) << n
		tc.advanceToPTO()
		if got := tc.now.Sub(before); got != period {
			t.Errorf("expiry %d after %v, want %v", n, got, period)
		}
		tc.want("an Initial PING", wire.Initial, wire.Ping{})
		if tc.last.datagram.size != wire.MinInitialSize {
			t.Errorf("in a datagram of %d bytes", tc.last.datagram.size)
		}
		tc.wantIdle("one is enough")
		tc.ack(wire.Initial)
		if got := tc.conn.loss.PTOCount(); got != n+1 {
			t.Errorf("backoff %d: an ACK in the Initial space must not end it (§6.2.1)", got)
		}
	}

	tc = newTestConn(t, clientSide, stageHello)
	tc.clear()
	tc.ack(wire.Initial)
	tc.clear()
	tc.advanceToPTO()
	tc.want("a Handshake PING", wire.Handshake, wire.Ping{})
	tc.ack(wire.Handshake)
	tc.wantIdle("an ACK in the Handshake space")
	if at := tc.conn.loss.Deadline(); at != mono.Never {
		t.Error("the timer is set though the server has validated the address")
	}
	tc.clear()
}

// RFC 9002 §6.2.2.1: a server that may send nothing sets no timer; one datagram of the
// client's sets it again.
func TestPTOAmplificationLimited(t *testing.T) {
	tc := newTestConn(t, serverSide, stageStart, func(s *scriptedTLS) { s.serverFlight = 8000 })
	tc.write(wire.Initial, wire.Crypto{Data: message('C', 300)})
	if out := tc.sent(testRemote); out > 3600 || out < 3*1200-64 {
		t.Errorf("sent %d bytes for 1200", out)
	}
	if at := tc.conn.loss.Deadline(); at != mono.Never {
		t.Errorf("the timer is set for %v from now", at.Sub(tc.now))
	}
	tc.clear()
	tc.now = tc.now.Add(3 * time.Second)
	tc.write(wire.Initial, wire.Ping{})
	tc.advance(0)
	if out := tc.sent(testRemote); out > 7200 || out <= 3600 {
		t.Errorf("sent %d bytes for 2400", out)
	}
	tc.clear()
}

// RFC 9002 §6.4: with its keys a space's packets leave the flight, and the backoff ends.
func TestKeyDiscardLeavesFlight(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.advanceToPTO()
	tc.clear()
	if tc.conn.loss.InFlight() == 0 || tc.conn.loss.PTOCount() != 1 {
		t.Fatalf("%d bytes in flight, backoff %d", tc.conn.loss.InFlight(), tc.conn.loss.PTOCount())
	}
	tc.write(wire.Initial, wire.Crypto{Data: message('S', 90)})
	tc.write(wire.Handshake, wire.Ping{})
	tc.write(wire.Handshake, wire.Crypto{Data: message('E', 700)})
	handshake := 0
	for _, d := range tc.out {
		if d.typ == wire.Handshake || d.typ == wire.OneRTT {
			handshake += d.datagram.size
		}
	}
	if n := tc.conn.loss.InFlight(); n > handshake {
		t.Errorf("%d bytes in flight, of which at most %d are not Initial packets", n, handshake)
	}
	if n := tc.conn.loss.PTOCount(); n != 0 {
		t.Errorf("backoff %d", n)
	}
	tc.clear()
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	tc.ack(wire.OneRTT)
	if n := tc.conn.loss.InFlight(); n != 0 {
		t.Errorf("%d bytes in flight after confirmation", n)
	}
	tc.clear()
}

// RFC 9002 §6.1: what was declared lost and is acknowledged after all counts as spurious,
// and is sent no third time.
func TestLossSpurious(t *testing.T) {
	tc := newTestConn(t, serverSide)
	s := tc.open(bidi)
	var all ranges.Set
	for range 5 {
		pn := tc.chunk(s)
		all.Add(pn, pn+1)
	}
	late := slices.Clone(all)
	late.Remove(0, late[0].Start+1)
	tc.write(wire.OneRTT, wire.MakeAck(late, 0, nil))
	tc.wantType("sent again", wire.OneRTT, wire.FrameStream)
	tc.write(wire.OneRTT, wire.MakeAck(all, 0, nil))
	if got := tc.conn.Stats().SpuriousLosses; got != 1 {
		t.Errorf("%d spurious losses, want 1", got)
	}
	tc.clear()
	tc.advanceToPTO()
	for _, p := range tc.out {
		if p.has(wire.FrameStream) != nil {
			t.Errorf("acknowledged data is sent again: %v", &p)
		}
	}
	tc.clear()
}
