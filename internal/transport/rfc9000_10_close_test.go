package transport

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The smaller of both ends' timeouts counts, zero is none, and less than three
// probe timeouts is too little: then the connection ends in silence (RFC 9000 §10.1).
func TestS49IdleTimeout(t *testing.T) {
	besiege(t, 0)
	const none = time.Duration(-1)
	for _, tt := range []struct{ ours, theirs, want time.Duration }{
		{20 * time.Second, 30 * time.Second, 20 * time.Second},
		{30 * time.Second, 20 * time.Second, 20 * time.Second},
		{0, 20 * time.Second, 20 * time.Second},
		{20 * time.Second, 0, 20 * time.Second},
		{0, 0, none},
		{0, 1 << 62, none}, // longer than anybody waits
		{time.Millisecond, time.Millisecond, 0},
	} {
		bothSides(t, func(t *testing.T, s side) {
			tc := newTestConn(t, s, func(c *Config) { c.Params.MaxIdleTimeout = tt.ours },
				func(p *wire.Parameters) { p.MaxIdleTimeout = tt.theirs })
			tc.write(wire.OneRTT, wire.Padding{N: 1}) // heard
			want := tt.want
			if want == 0 {
				want = 3 * tc.conn.loss.PTO(2)
			}
			if want == none {
				tc.advance(1000 * time.Hour)
				tc.wantOpen("no timeout")
				return
			}
			tc.advance(want - 1)
			tc.wantOpen("not yet")
			tc.advance(1)
			tc.wantClosed("idle", CloseIdle)
			tc.wantEvent("at once", EventGone)
			tc.wantIdle("without a word")
		})
	}
}

// Hearing anything new puts the end off, and so does the first thing said after
// that; saying more does not (RFC 9000 §10.1).
func TestIdleTimeoutRestarts(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.ignore(wire.FramePing)
		const timeout = 30 * time.Second
		old := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Padding{N: 5}}})
		tc.inject(old)
		tc.advance(20 * time.Second)
		tc.write(wire.OneRTT, wire.Padding{N: 1})
		tc.advance(timeout - 1)
		tc.wantOpen("heard after 20 s")
		tc.conn.Ping()
		tc.advance(timeout - 1) // with many probes, none of which counts
		tc.inject(old)          // nor does what was heard before
		tc.wantOpen("spoke after 50 s")
		tc.advance(1)
		tc.wantClosed("idle", CloseIdle)
	})
}

// A PING now and then keeps the connection alive, in time for the timeout, if the
// peer answers (RFC 9000 §10.1.2).
func TestKeepAlive(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, every := range []time.Duration{5 * time.Second, time.Minute} {
			tc := newTestConn(t, s, func(c *Config) { c.KeepAlive = every })
			tc.ignore(wire.FramePing)
			start := len(tc.datagrams)
			for range 200 {
				tc.advance(time.Second)
				if len(tc.out) > 0 {
					tc.out = nil
					tc.ack(wire.OneRTT)
				}
			}
			tc.wantOpen("kept alive")
			gap := min(every, 15*time.Second)
			if n := len(tc.datagrams) - start; n < 3 || n > int(200*time.Second/gap)+1 {
				t.Errorf("%d datagrams in 200 s for every %v", n, every)
			}
			tc.advance(2 * time.Minute)
			tc.wantClosed("the peer is gone", CloseIdle)
		}
	})
}

// A handshake that takes too long ends, whatever trickles in (RFC 9000 §10.1).
func TestHandshakeTimeout(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, to := range []stage{stageStart, stageHello} {
			tc := newTestConn(t, s, to)
			tc.ignore(wire.FrameCrypto, wire.FramePing)
			for range 30 {
				tc.advance(tc.cfg.handshakeTimeout()/30 + 1)
				if tc.closed == nil {
					tc.write(wire.Handshake, wire.Ping{})
				}
			}
			tc.wantClosed("too slow", CloseHandshakeTimeout)
			tc.abandon()
		}
	})
}

// While user code runs inside the handshake its clock stands still.
func TestHandshakeTimeoutPaused(t *testing.T) {
	tc := newTestConn(t, serverSide, stageStart)
	tc.write(wire.Initial, wire.Ping{})
	tc.conn.PauseHandshakeDeadline(tc.now, true)
	tc.advance(25 * time.Second)
	tc.wantOpen("paused")
	tc.conn.PauseHandshakeDeadline(tc.now, false)
	tc.write(wire.Initial, wire.Ping{})
	tc.advance(tc.cfg.handshakeTimeout() - 1)
	tc.wantOpen("it starts afresh")
	tc.advance(1)
	tc.wantClosed("too slow", CloseHandshakeTimeout)
	tc.abandon()
}

// closes takes all CONNECTION_CLOSE frames and returns the types of their packets.
func (tc *testConn) closes() (types []wire.PacketType, frames []wire.Close) {
	tc.Helper()
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		p.seen++
		if c, ok := f.(wire.Close); ok {
			types, frames = append(types, p.typ), append(frames, c)
		}
	}
	return types, frames
}

// A close goes out at every level that the peer may be able to read, once the
// handshake is confirmed at none but 1-RTT; an application's code and words stay
// out of packets that anyone could read (RFC 9000 §10.2.3, RFC 9000 §10.3, §11.1, §12.5).
func TestS40CloseLevels(t *testing.T) {
	besiege(t, 0)
	I, H, R := wire.Initial, wire.Handshake, wire.OneRTT
	for _, tt := range []struct {
		side side
		at   stage
		want []wire.PacketType
	}{
		{clientSide, stageStart, []wire.PacketType{I}},
		{clientSide, stageHello, []wire.PacketType{I, H}},
		{clientSide, stageSecure, []wire.PacketType{H, R}},
		{clientSide, stageConfirmed, []wire.PacketType{R}},
		{serverSide, stageStart, []wire.PacketType{I}},
		{serverSide, stageHello, []wire.PacketType{I, H, R}},
		{serverSide, stageConfirmed, []wire.PacketType{R}},
	} {
		for _, app := range []bool{true, false} {
			for _, reason := range []string{"", "because", strings.Repeat("long ", 1000)} {
				tc := newTestConn(t, tt.side, tt.at)
				if tt.at == stageStart && tt.side == serverSide {
					tc.write(wire.Initial, wire.Ping{})
				}
				tc.clear()
				tc.conn.Close(tc.now, app, 0x1234, reason)
				types, frames := tc.closes()
				if !slices.Equal(types, tt.want) {
					t.Errorf("%v at %d: closed in %v, want %v", tt.side, tt.at, types, tt.want)
				}
				for i, f := range frames {
					want, words := wire.Close{App: app, Code: 0x1234}, reason
					if types[i] != wire.OneRTT && app {
						want, words = wire.Close{Code: uint64(wire.ApplicationError)}, ""
					}
					if f.App != want.App || f.Code != want.Code || !strings.HasPrefix(words, string(f.Reason)) || words != "" && len(f.Reason) == 0 {
						t.Errorf("%v at %d: %v in %v", tt.side, tt.at, f, types[i])
					}
				}
				if d := tc.datagrams[len(tc.datagrams)-1]; tt.side == clientSide && types[0] == wire.Initial && d.size < wire.MinInitialSize {
					t.Errorf("a client's Initial in %d bytes", d.size)
				}
				tc.wantClosed("by ourselves", CloseLocal)
			}
		}
	}
}

// While closing, packets are answered with the close again, but ever more rarely,
// and after three probe timeouts no more (RFC 9000 §10.2, §10.2.1).
func TestS40Closing(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		period := 3 * tc.conn.loss.PTO(2)
		tc.conn.Close(tc.now, true, 1, "bye")
		tc.want("close", wire.OneRTT, wire.Close{App: true, Code: 1, Reason: []byte("bye")})
		answers := 0
		for range 1000 {
			tc.write(wire.OneRTT, wire.Ping{})
			for f, p := tc.peek(); f != nil; f, p = tc.peek() {
				p.seen++
				answers++
			}
		}
		if answers < 5 || answers > 12 {
			t.Errorf("%d answers to 1000 packets, want about 10", answers)
		}
		tc.advance(period - 1)
		tc.wantNoEvent("still closing", EventGone)
		tc.advance(1)
		tc.wantEvent("over", EventGone)
		tc.write(wire.OneRTT, wire.Ping{})
		tc.wantIdle("nobody is there")
		tc.wantClosed("by ourselves", CloseLocal)
	})
}

// A closing session looks for the peer's close alone: frames cost it nothing but to be passed over, and a packet that
// is malformed holds no close.
func TestS40ClosingPackets(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.conn.Close(tc.now, true, 1, "")
		tc.want("close", wire.OneRTT, wire.Close{App: true, Code: 1})
		frames := []wire.Frame{wire.MakeAck(numbers(1, 3, 5), 0, nil), wire.NewToken{Token: []byte("x")}, wire.Crypto{Data: []byte("x")}}
		for n := range int64(100) {
			frames = append(frames, wire.Ping{}, wire.MaxStreamData{ID: n, Max: n}, data(n, 0, 1, false))
		}
		packet := tc.build(testPacket{typ: wire.OneRTT, frames: frames})
		d := dgram.Datagram{Path: tc.path, Data: make([]byte, len(packet))}
		most := 0.0
		if siege.Logs {
			most = 3 // the event of a packet, whatever is in it
		}
		if n := testing.AllocsPerRun(1000, func() {
			copy(d.Data, packet)
			tc.conn.Receive(tc.now, &d)
		}); n > most {
			t.Errorf("%v allocations for a packet of %d frames", n, len(frames))
		}
		tc.clear()
		tc.write(wire.OneRTT, wire.Close{}, rawFrame{0x40, 0x7f})
		for range 1000 {
			tc.write(wire.OneRTT, frames...)
		}
		if tc.conn.life.state != closing {
			t.Errorf("state %d", tc.conn.life.state)
		}
		tc.write(wire.OneRTT, append(frames, wire.Close{})...)
		if tc.conn.life.state != draining {
			t.Errorf("state %d after the peer's close", tc.conn.life.state)
		}
		tc.wantClosed("by ourselves", CloseLocal)
		tc.clear()
	})
}

// The peer's own close ends the answers (RFC 9000 §10.2.1, §10.2.2).
func TestClosingMeetsClose(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.conn.Close(tc.now, true, 1, "")
		tc.want("close", wire.OneRTT, wire.Close{App: true, Code: 1})
		tc.write(wire.OneRTT, wire.Close{})
		for range 100 {
			tc.write(wire.OneRTT, wire.Ping{})
		}
		tc.wantIdle("both know")
		tc.wantClosed("we were first", CloseLocal)
	})
}

// Draining says nothing at all and ends after three probe timeouts (RFC 9000 §10.2.2).
func TestS40Draining(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		st := tc.open(bidi)
		tc.send(st, "data")
		tc.clear()
		period := 3 * tc.conn.loss.PTO(2)
		tc.write(wire.OneRTT, wire.Close{Code: uint64(wire.NoError)})
		tc.wantClosed("by the peer", ClosePeer)
		if _, err := tc.conn.Write(st, []byte("x")); err != ErrClosed {
			t.Errorf("Write: %v", err)
		}
		if st := tc.conn.OpenStream(tc.now, bidi); st != nil {
			t.Error("a stream on a closed connection")
		}
		tc.conn.Close(tc.now, true, 5, "")
		tc.conn.Ping()
		for range 50 {
			tc.write(wire.OneRTT, wire.Ping{}, wire.PathChallenge{})
		}
		tc.wantIdle("draining")
		tc.advance(period - 1)
		tc.wantNoEvent("still draining", EventGone)
		tc.advance(1)
		tc.wantEvent("over", EventGone)
		if at := tc.conn.Deadline(); at != mono.Never {
			t.Errorf("a timer at %v", at)
		}
	})
}

// An unvalidated client gets no more than three times what it sent, also while
// its connection closes (RFC 9000 §8.1, §10.2.1).
func TestS25ClosingIsNoAmplifier(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageHello)
	received := 1200
	tc.write(wire.Initial, rawFrame{0x20})
	received += 1200
	tc.wantClose("unknown frame", wire.FrameEncodingError)
	for range 200 {
		b := tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
		received += len(b)
		tc.inject(b)
		if sent := tc.sent(testRemote); sent > 3*received {
			t.Fatalf("sent %d bytes for %d", sent, received)
		}
	}
	tc.abandon()
	// With all credit spent there is no close either, until more has come: the rig counts.
	tc = newTestConn(t, serverSide, stageHello, bigFlight)
	tc.clear()
	tc.conn.Close(tc.now, true, 7, "")
	tc.pump()
	tc.wantIdle("no credit")
	for range 400 {
		tc.inject([]byte{0x40})
	}
	tc.wantType("credit", wire.Initial, wire.FrameConnectionClose)
	tc.abandon()
}

// The peer's close counts at every level (RFC 9000 §10.2.3, §19.19).
func TestPeerClosesEarly(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
			tc := newTestConn(t, s, stageHello)
			tc.clear()
			tc.write(typ, wire.Close{Code: uint64(wire.CryptoError(40)), Frame: wire.FrameCrypto, Reason: []byte("no")})
			tc.wantClosed("by the peer", ClosePeer)
			if r := tc.closed; r.Code != 0x128 || r.App || r.Reason != "no" || r.Frame != wire.FrameCrypto {
				t.Errorf("%+v", r)
			}
			tc.wantIdle("draining")
		}
	})
}

// reset returns a datagram that looks like a 1-RTT packet and ends with a token.
func reset(n int, token wire.ResetToken) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	b[0] = 0x40 | b[0]&0x3f
	copy(b[n-16:], token[:])
	return b
}

// A datagram that cannot be read and ends with the token of an ID in use says
// that the peer has lost its state: the connection drains at once (RFC 9000 §10.3.1).
func TestStatelessReset(t *testing.T) {
	for _, n := range []int{21, 22, 43, 1200} {
		tc := newTestConn(t, clientSide)
		tc.inject(reset(n, testToken))
		tc.wantClosed("reset", CloseReset)
		tc.wantIdle("draining")
	}
	// A client's IDs have tokens but for the first.
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 1))
	tc.clear()
	tc.inject(reset(30, newID(1, 0).Token))
	tc.wantClosed("reset of a server", CloseReset)

	tc = newTestConn(t, clientSide, stageSecure)
	tc.clear()
	tc.inject(reset(43, testToken))
	tc.wantClosed("as soon as the token is known", CloseReset)
}

// Tokens of IDs that are not in use, or not any more, mean nothing, nor does one
// with a wrong bit or in a datagram too small to be a packet (RFC 9000 §10.3.1).
func TestS24NoStatelessReset(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide)
	for i := range 128 {
		wrong := testToken
		wrong[i/8] ^= 1 << (i % 8)
		tc.inject(reset(43, wrong))
	}
	tc.inject(reset(20, testToken))
	tc.inject(append(reset(43, testToken), 0))
	tc.write(wire.OneRTT, newID(1, 0))
	tc.inject(reset(43, newID(1, 0).Token))
	tc.wantOpen("an ID that was not used")
	tc.write(wire.OneRTT, newID(2, 1))
	tc.clear()
	tc.inject(reset(43, testToken))
	tc.wantOpen("an ID that is retired")
	tc.inject(reset(43, newID(1, 0).Token))
	tc.wantClosed("the one in use now", CloseReset)

	tc = newTestConn(t, serverSide)
	tc.inject(reset(43, wire.ResetToken{}))
	tc.wantOpen("the first ID of a client has no token")
}

// Nothing that the peer may send keeps a dead connection's memory, or wakes it
// (RFC 9000 §10.2).
func TestDestroy(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for to := stageStart; to <= stageConfirmed; to++ {
			tc := newTestConn(t, s, to)
			tc.clear()
			var sts []*Stream
			if to == stageConfirmed {
				sts = append(sts, tc.open(bidi), tc.accept((!s).streamID(bidi, 0), "data"))
				tc.send(sts[0], strings.Repeat("x", 5000))
			}
			tc.conn.Destroy(tc.now)
			for _, st := range sts {
				tc.conn.Reset(st, 1)
				tc.conn.Stop(tc.now, st, 1)
				tc.conn.Discard(tc.now, st, 0)
				if _, err := tc.read(st); err != ErrClosed {
					t.Errorf("Read: %v", err)
				}
				if err := tc.conn.CloseWrite(st); err != ErrClosed {
					t.Errorf("CloseWrite: %v", err)
				}
			}
			tc.write(wire.OneRTT, wire.Ping{})
			tc.wantClosed("destroyed", CloseSilent)
			tc.wantEvent("gone", EventGone)
			tc.wantIdle("without a word")
			if at := tc.conn.Deadline(); at != mono.Never {
				t.Errorf("a timer at %v", at)
			}
		}
	})
}
