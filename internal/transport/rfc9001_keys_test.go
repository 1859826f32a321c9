package transport

// RFC 9001 §4: which keys there are when, and when they go.

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9001 §4.1.2: a server's handshake is confirmed when it is complete; a client's when
// HANDSHAKE_DONE comes, and not by anything else.
func TestKeysConfirmed(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello)
	if tc.conn.Secure() || tc.conn.Confirmed() {
		t.Error("server: complete before Finished")
	}
	tc.step(stageSecure)
	if !tc.conn.Secure() || !tc.conn.Confirmed() {
		t.Error("server: not confirmed with Finished")
	}

	tc = newTestConn(t, clientSide, stageHello)
	if tc.conn.Secure() {
		t.Error("client: complete before the server's Finished")
	}
	tc.step(stageSecure)
	if !tc.conn.Secure() || tc.conn.Confirmed() {
		t.Errorf("client: secure %v, confirmed %v", tc.conn.Secure(), tc.conn.Confirmed())
	}
	tc.conn.Ping()
	tc.ack(wire.Handshake)
	tc.ack(wire.OneRTT)
	tc.write(wire.OneRTT, wire.Ping{})
	if tc.conn.Confirmed() {
		t.Error("client: confirmed without HANDSHAKE_DONE")
	}
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	if !tc.conn.Confirmed() {
		t.Error("client: not confirmed by HANDSHAKE_DONE")
	}
	tc.wantEvent("complete", EventSecure)
	tc.wantEvent("confirmed", EventConfirmed)
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	tc.wantNoEvent("confirmed once", EventConfirmed)
	tc.clear()
}

// RFC 9001 §4.9.1: a client discards Initial keys when it first sends a Handshake
// packet, and neither reads nor writes at that level any more.
func TestKeysInitialDiscardClient(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.write(wire.Initial, wire.Crypto{Data: message('S', 40)})
	tc.see(wire.FrameAck)
	tc.want("Initial packets are acknowledged", wire.Initial, ackOf(0))
	if tc.conn.hs.spaces[recovery.Initial].gone {
		t.Fatal("Initial keys are gone before a Handshake packet")
	}
	tc.write(wire.Initial, wire.Crypto{Offset: 40, Data: message('S', 50)})
	tc.want("and acknowledged", wire.Initial, ackOf(0, 1))
	tc.write(wire.Handshake, wire.Crypto{Data: message('E', 700)})
	p := tc.wantPacket("Handshake packet", wire.Handshake)
	if p.has(wire.FrameCrypto) == nil || !tc.conn.hs.spaces[recovery.Initial].gone {
		t.Fatal("Initial keys are still there after a Handshake packet")
	}
	if got := tc.conn.loss.Probes(recovery.Initial); got != 0 || tc.conn.loss.LargestAcked(recovery.Initial) != -1 {
		t.Errorf("the Initial space is not gone: %d probes", got)
	}
	ignored := tc.conn.Stats().PacketsIgnored
	tc.write(wire.Initial, wire.Ping{})
	for _, p := range tc.out {
		if p.typ == wire.Initial {
			t.Errorf("an Initial packet is answered: %v", &p)
		}
	}
	if got := tc.conn.Stats().PacketsIgnored - ignored; got != 1 {
		t.Errorf("%d packets ignored, want 1", got)
	}
	tc.clear()
}

// RFC 9001 §4.9.1: a server discards Initial keys when it first processes a Handshake
// packet; one that does not open does not count.
func TestKeysInitialDiscardServer(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello)
	b := tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
	b[len(b)-1] ^= 1
	tc.inject(b)
	if tc.conn.hs.spaces[recovery.Initial].gone || tc.conn.paths.active().validated {
		t.Fatal("a forged Handshake packet validates the address")
	}
	tc.write(wire.Initial, wire.Ping{})
	tc.see(wire.FrameAck)
	tc.want("Initial packets are still acknowledged", wire.Initial, ackOf(0, 1))
	tc.write(wire.Handshake, wire.Ping{})
	if !tc.conn.hs.spaces[recovery.Initial].gone {
		t.Fatal("Initial keys are still there")
	}
	if !tc.conn.paths.active().validated {
		t.Fatal("the address is not validated (RFC 9000 §8.1)")
	}
	tc.clear()
	tc.write(wire.Initial, wire.Ping{})
	tc.wantIdle("no answer to an Initial packet")
	tc.advanceToPTO()
	for _, p := range tc.out {
		if p.typ == wire.Initial {
			t.Errorf("an Initial packet after its keys: %v", &p)
		}
	}
	tc.clear()
}

// RFC 9001 §4.9.2: Handshake keys go when the handshake is confirmed, no earlier.
func TestKeysHandshakeDiscard(t *testing.T) {
	tc := newTestConn(t, clientSide, stageSecure)
	tc.clear()
	tc.write(wire.Handshake, wire.Ping{})
	tc.see(wire.FrameAck)
	tc.want("a Handshake packet after completion is acknowledged", wire.Handshake, ackOf(0, 1))
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	if tc.conn.hs != nil {
		t.Fatal("the handshake's state is still there")
	}
	tc.clear()
	tc.write(wire.Handshake, wire.Ping{})
	for _, p := range tc.out {
		if p.typ == wire.Handshake {
			t.Errorf("a Handshake packet after its keys: %v", &p)
		}
	}
	tc.clear()

	tc = newTestConn(t, serverSide, stageHello)
	tc.clear()
	tc.step(stageSecure)
	if tc.conn.hs != nil {
		t.Fatal("the server's handshake state is still there")
	}
	tc.ignore(wire.FrameHandshakeDone, wire.FrameNewConnectionID)
	tc.advance(10 * time.Millisecond)
	tc.clear()
	tc.write(wire.Handshake, wire.Crypto{Data: message('F', 52)})
	for _, p := range tc.out {
		if p.typ == wire.Handshake {
			t.Errorf("the server answers a repeated Finished at its level: %v", &p)
		}
	}
	tc.clear()
}

// RFC 9001 §4.1.4, §4.9: CRYPTO data that is lost goes again at its own level, whatever
// keys have come since (RFC 9001 §4, §4.1.3).
func TestKeysCryptoKeepsItsLevel(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	tc.advanceToPTO()
	levels := map[wire.PacketType]int{}
	for _, p := range tc.out {
		for _, f := range p.frames {
			if f, ok := f.(wire.Crypto); ok {
				want := byte('S')
				if p.typ == wire.Handshake {
					want = 'E'
				}
				for _, b := range f.Data {
					if b != want {
						t.Fatalf("%v carries bytes of another level: %v", p.typ, f)
					}
				}
				levels[p.typ] += len(f.Data)
			}
		}
	}
	if levels[wire.Initial] != 90 || levels[wire.Handshake] != 700 {
		t.Errorf("bytes sent again by level: %v", levels)
	}
	tc.clear()
}

// RFC 9001 §4.1.3: handshake bytes that are new, at a level whose successor TLS already
// reads, are a fault of the peer's; bytes that came before are not.
func TestKeysCryptoAtEndedLevel(t *testing.T) {
	t.Run("Initial", func(t *testing.T) {
		bothSides(t, func(t *testing.T, s side) {
			tc := newTestConn(t, s, stageHello)
			tc.clear()
			n, name := tc.tls.serverHello, byte('S')
			if s == serverSide {
				n, name = tc.tls.clientHello, 'C'
			}
			tc.write(wire.Initial, wire.Crypto{Data: message(name, n)})
			tc.wantOpen("the same bytes again")
			tc.write(wire.Initial, wire.Crypto{Offset: int64(n) - 1, Data: message(name, 2)})
			tc.clearTo(wire.FrameConnectionClose)
			tc.wantClose("one byte more", wire.ProtocolViolation)
		})
	})
	t.Run("Handshake", func(t *testing.T) {
		tc := newTestConn(t, clientSide, stageSecure)
		tc.clear()
		tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
		tc.wantOpen("the same bytes again")
		tc.write(wire.Handshake, wire.Crypto{Offset: int64(tc.tls.serverFlight), Data: message('E', 1)})
		tc.wantClose("one byte more", wire.ProtocolViolation)
	})
}

// RFC 9001 §4.1.3: nothing may be left over at a level when the next one's keys come.
func TestS38MessageAcrossLevels(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.write(wire.Initial, wire.Crypto{Offset: 200, Data: message('S', 10)})
	tc.wantOpen("a gap")
	tc.write(wire.Initial, wire.Crypto{Data: message('S', tc.tls.serverHello)})
	tc.wantClose("a gap when the level ends", wire.ProtocolViolation)

	tc = newTestConn(t, clientSide, stageHello)
	tc.clear()
	tc.write(wire.Handshake, wire.Crypto{Offset: 5000, Data: message('E', 10)})
	tc.wantOpen("a gap")
	tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
	tc.wantClose("a gap when the level ends", wire.ProtocolViolation)
}

// RFC 9001 §4, §7.5 of RFC 9000: CRYPTO data out of order is bounded at every level.
func TestS04KeysCryptoBounded(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	tc.write(wire.Handshake, wire.Crypto{Offset: cryptoWindow - 1, Data: []byte{1}})
	tc.wantOpen("the last byte of the window")
	tc.write(wire.Handshake, wire.Crypto{Offset: cryptoWindow, Data: []byte{1}})
	tc.wantClose("past the window", wire.CryptoBufferExceeded)

	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, wire.Crypto{Offset: cryptoWindow, Data: []byte{1}})
		tc.wantClose("past the window after the handshake", wire.CryptoBufferExceeded)
	})
}

// RFC 9001 §4: a ClientHello may be cut anywhere and come in any order.
func TestS38ClientHelloFragments(t *testing.T) {
	besiege(t, 0)
	for cut := 1; cut < 300; cut++ {
		for _, swapped := range []bool{false, true} {
			tc := newTestConn(t, serverSide, stageStart)
			head := wire.Crypto{Data: message('C', cut)}
			tail := wire.Crypto{Offset: int64(cut), Data: message('C', 300-cut)}
			if swapped {
				head, tail = tail, head
			}
			tc.write(wire.Initial, head)
			if tc.tls.staged != stageStart {
				t.Fatal("TLS went on with half a ClientHello")
			}
			tc.write(wire.Initial, tail)
			if tc.tls.staged != stageHello {
				t.Fatalf("cut at %d, swapped %v: TLS did not go on", cut, swapped)
			}
			tc.clear()
		}
	}
}

// inOrder returns the numbers from first on, below end.
func inOrder(first, end, step int) (list []int) {
	for i := first; i < end; i += step {
		list = append(list, i)
	}
	return list
}

// RFC 9001 §4, RFC 9000 §7.5: a ClientHello may come byte by byte, whichever byte comes first, and with all the holes
// that there may be. What comes twice, or with other bytes, changes nothing.
func TestS38ClientHelloBytes(t *testing.T) {
	besiege(t, 0)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	orders := map[string]func(n int) []int{
		"shuffled": rng.Perm,
		"last first": func(n int) []int {
			at := inOrder(0, n, 1)
			slices.Reverse(at)
			return at
		},
		"odd first": func(n int) []int { return append(inOrder(1, n, 2), inOrder(0, n, 2)...) },
	}
	for name, order := range orders {
		for _, n := range []int{300, 1700, 2*limits.Bound(t, "hello-holes") + 1} {
			for _, each := range []int{1, 200} { // frames in a packet
				tc := newTestConn(t, serverSide, stageStart, func(s *scriptedTLS) { s.manual = true })
				hello := evil.TLSMessage(1, make([]byte, n-4))
				for i := range hello[4:] {
					hello[4+i] = byte(i * 11)
				}
				var frames []wire.Frame
				for i, at := range order(n) {
					if len(tc.tls.got[LevelInitial]) > 0 {
						t.Fatalf("%s: TLS has something after %d bytes of %d", name, i, n)
					}
					frames = append(frames, wire.Crypto{Offset: int64(at), Data: hello[at : at+1]})
					if i < n-1 {
						frames = append(frames, wire.Crypto{Offset: int64(at), Data: []byte{^hello[at]}})
					}
					if len(frames) >= each || i == n-1 {
						tc.write(wire.Initial, frames...)
						frames = nil
					}
				}
				if got := tc.tls.got[LevelInitial]; !bytes.Equal(got, hello) {
					t.Errorf("%s: TLS has %d bytes of %d; closed %+v", name, len(got), n, tc.closed)
				}
				tc.forsake("its TLS is nobody's")
			}
		}
	}
}

// clearTo forgets what was said before the first frame of a type.
func (tc *testConn) clearTo(t wire.FrameType) {
	tc.Helper()
	for f, p := tc.peek(); f != nil && f.Type() != t; f, p = tc.peek() {
		p.seen++
	}
}

// RFC 9001 §4.8, §8.2: TLS's own errors close with CRYPTO_ERROR; a handshake without
// transport parameters ends with missing_extension.
func TestKeysTLSErrors(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		tc.clear()
		tc.tls1(TLSEvent{Kind: TLSError, Err: &wire.Error{Code: wire.CryptoError(120), Frame: wire.FrameCrypto, Reason: "no application protocol"}})
		tc.wantClose("no ALPN", 0x178)
	})
	tc := newTestConn(t, clientSide, stageHello, func(s *scriptedTLS) { s.manual = true; s.staged = stageHello })
	tc.clear()
	tc.tls1(TLSEvent{Kind: TLSDone})
	tc.wantClose("no transport parameters", 0x16d)
}

// RFC 9001 §8.3: CRYPTO in a 0-RTT packet is a fault, as are the other frames that a
// client cannot need there.
func TestKeysEarlyFrames(t *testing.T) {
	for _, f := range []wire.Frame{
		wire.Crypto{Data: []byte{1}}, ackOf(0), wire.HandshakeDone{}, wire.NewToken{Token: []byte{1}},
		wire.PathResponse{}, wire.RetireConnectionID{},
	} {
		tc := newTestConn(t, serverSide, stageHello, func(s *scriptedTLS) { s.early = true })
		tc.clear()
		tc.write(wire.ZeroRTT, f)
		tc.wantClose(f.String(), wire.ProtocolViolation)
	}
}

// RFC 9001 §5.7: what a client sends right behind its Finished is not lost, although the
// server's TLS gives out its 1-RTT keys only after the handshake.
func TestKeysDataBehindFinished(t *testing.T) {
	p := newPair(t, nil)
	if !p.runUntil(time.Second, func() bool { return p.client.conn.Secure() }) {
		t.Fatal("no handshake")
	}
	s := p.client.conn.OpenStream(p.now, false)
	for i := 0; i < 3000; i += 1000 {
		if _, err := p.client.conn.Write(s, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	p.flush(p.client)
	p.handshake()
	if !p.server.saw(EventStream) {
		t.Error("the server has no stream when the handshake is confirmed")
	}
	p.rest()
	if n := p.server.conn.Stats().PacketsIgnored; n != 0 {
		t.Errorf("the server ignored %d packets", n)
	}
	if n := p.client.conn.Stats().PTOs; n != 0 {
		t.Errorf("%d probe timeouts", n)
	}
}
