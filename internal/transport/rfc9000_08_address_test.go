package transport

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// bigFlight makes a server's first flight larger than three times a client's.
func bigFlight(s *scriptedTLS) { s.serverFlight = 20_000 }

// A server sends at most three times what came in from an address that is not
// validated, at every moment, whatever timers say; and more when more comes in
// (RFC 9000 §8.1, RFC 9000 §8, §14.1).
func TestS25Amplification(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageStart, bigFlight)
	received := 0
	for i := range 5 {
		if i == 0 {
			tc.write(wire.Initial, wire.Crypto{Data: message('C', tc.tls.clientHello)})
		} else {
			tc.write(wire.Initial, wire.Ping{})
		}
		received += wire.MinInitialSize
		if sent := tc.sent(testRemote); sent > 3*received || sent <= min(3*received, 12_000)-wire.MinInitialSize {
			t.Errorf("sent %d bytes for %d", sent, received)
		}
		tc.advance(time.Second)
		if sent := tc.sent(testRemote); sent > 3*received {
			t.Errorf("after a while: sent %d bytes for %d", sent, received)
		}
	}
	tc.write(wire.Handshake, wire.Ping{}) // proves that the client reads what we send
	tc.advance(2 * time.Second)
	if sent := tc.sent(testRemote); sent < 16_000 {
		t.Errorf("validated: sent %d bytes", sent)
	}
	tc.abandon()
}

// What counts is datagrams, with all they hold, once the first of their packets
// belongs to the connection (RFC 9000 §8.1).
func TestS25AmplificationCountsDatagrams(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageStart, bigFlight)
	b := tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Crypto{Data: message('C', tc.tls.clientHello)}}})
	tc.inject(append(b, make([]byte, 2000-len(b))...))
	if sent := tc.sent(testRemote); sent > 6000 || sent <= 4800 {
		t.Errorf("sent %d bytes for 2000", sent)
	}
	tc.abandon()
}

// An address that a token has vouched for is not limited (RFC 9000 §8.1.2, §8.1.3).
func TestNoAmplificationLimitAfterToken(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello, func(o *Opening) { o.Validated = true }, bigFlight)
	tc.advance(time.Second)
	if sent := tc.sent(testRemote); sent < 8000 {
		t.Errorf("sent %d bytes", sent)
	}
	tc.abandon()
}

// A client keeps talking when it has nothing to say, because its server may be
// out of credit: until it knows that the server has validated it (RFC 9000 §8.1,
// RFC 9002 §6.2.2.1).
func TestClientUnblocksServer(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.ack(wire.Initial)
	for range 3 {
		tc.advanceToPTO()
		p := tc.wantPacket("nothing in flight, but the server may wait", wire.Initial)
		if p.datagram.size < wire.MinInitialSize || p.has(wire.FramePing) == nil {
			t.Errorf("%v", &p)
		}
		tc.clear()
		tc.ack(wire.Initial)
	}
	tc.write(wire.Initial, wire.Crypto{Data: message('S', tc.tls.serverHello)})
	tc.clear()
	tc.advanceToPTO()
	tc.wantPacket("with Handshake keys", wire.Handshake)
	tc.clear()
	tc.ack(wire.Handshake)
	if at := tc.conn.loss.Deadline(); at != mono.Never {
		t.Errorf("a probe timeout at %v though the server has answered in the Handshake space", at)
	}
}

// retryPacket returns a Retry for the client under test.
func (tc *testConn) retryPacket(scid wire.ConnectionID, token string) []byte {
	dcid, original := tc.conn.ID(), tc.conn.OriginalDCID()
	b := wire.AppendRetry(nil, wire.Version1, &dcid, &scid, []byte(token))
	tag := protect.RetryTag(wire.Version1, &original, b)
	return append(b, tag[:]...)
}

// retry makes the client under test take a Retry.
func (tc *testConn) retry(scid wire.ConnectionID, token string) {
	b := tc.retryPacket(scid, token)
	tc.peer.setInitialKeys(scid, clientSide)
	tc.peer.id = scid
	tc.inject(b)
}

var retryID = wire.MakeConnectionID([]byte("retry-id"))

// A Retry makes the client begin again with the server's ID and token, which go
// into all of its Initials; its own ID, its ClientHello and its packet numbers
// stay (RFC 9000 §8.1.2, §17.2.5.2, §17.2.5.3, RFC 9000 §8.1.3, §17.2.5.1).
// RFC 9000 §17.2.5.
func TestRetryAccepted(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	first := tc.wantPacket("ClientHello", wire.Initial)
	tc.clear()
	tc.retry(retryID, "a token")
	for range 2 {
		again := tc.out[0]
		if again.has(wire.FrameCrypto) != nil {
			tc.want("ClientHello", wire.Initial, first.has(wire.FrameCrypto))
		}
		if string(again.token) != "a token" || again.dcid != retryID || again.scid != first.scid || again.pn <= first.pn {
			t.Errorf("%v: token %q, to %q", &again, again.token, again.dcid.Bytes())
		}
		tc.clear()
		tc.advanceToPTO()
	}
	tc.clear()
}

// A Retry that is not exactly right is dropped without a trace (RFC 9000
// §17.2.5.2, RFC 9001 §5.8) (RFC 9000 §17.2.5.1).
// RFC 9000 §17.2.5.
func TestS21RetryDropped(t *testing.T) {
	besiege(t, 0)
	for _, tt := range []struct {
		name string
		make func(tc *testConn) []byte
		step stage
	}{
		{"wrong tag", func(tc *testConn) []byte {
			b := tc.retryPacket(retryID, "token")
			b[len(b)-1] ^= 1
			return b
		}, stageStart},
		{"wrong byte elsewhere", func(tc *testConn) []byte {
			b := tc.retryPacket(retryID, "token")
			b[len(b)-20] ^= 1
			return b
		}, stageStart},
		{"our own first ID", func(tc *testConn) []byte { return tc.retryPacket(tc.conn.OriginalDCID(), "token") }, stageStart},
		{"no token", func(tc *testConn) []byte { return tc.retryPacket(retryID, "") }, stageStart},
		{"cut short", func(tc *testConn) []byte { b := tc.retryPacket(retryID, "t"); return b[:len(b)-8] }, stageStart},
		{"after a packet of the server's", func(tc *testConn) []byte { return tc.retryPacket(retryID, "token") }, stageHello},
		{"after the handshake", func(tc *testConn) []byte { return tc.retryPacket(retryID, "token") }, stageConfirmed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, clientSide, tt.step)
			tc.clear()
			ignored := tc.conn.Stats().PacketsIgnored
			tc.inject(tt.make(tc))
			tc.wantIdle("dropped")
			if got := tc.conn.Stats().PacketsIgnored - ignored; got != 1 {
				t.Errorf("%d packets ignored, want 1", got)
			}
			if tc.conn.ids.retried {
				t.Error("taken")
			}
		})
	}
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	tc.inject(append(wire.AppendRetry(nil, wire.Version1, &tc.peer.dcid, &tc.peer.id, []byte("token")), make([]byte, 16)...))
	tc.wantIdle("a Retry to a server")
}

// Only the first Retry counts (RFC 9000 §17.2.5.2).
func TestS21SecondRetry(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide, stageStart, func(p *wire.Parameters) { p.HasRetrySCID, p.RetrySCID = true, retryID })
	tc.clear()
	second := tc.retryPacket(wire.MakeConnectionID([]byte("2nd-----")), "other")
	tc.retry(retryID, "a token")
	tc.clear()
	tc.inject(second)
	tc.wantIdle("dropped")
	if tc.conn.ids.remote[0].id != retryID {
		t.Error("taken")
	}
}

// A path challenge is answered once, at once, on the path it came by, in a
// datagram that shows that the path carries 1200 bytes (RFC 9000 §8.2.2, RFC 9000 §19.17).
func TestPathResponse(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, wire.PathChallenge{Data: [8]byte{1, 2, 3}})
		tc.want("an answer", wire.OneRTT, wire.PathResponse{Data: [8]byte{1, 2, 3}})
		if d := tc.last.datagram; d.size < wire.MinInitialSize || d.path != tc.path {
			t.Errorf("in %d bytes to %v", d.size, d.path)
		}
		tc.wantIdle("one answer")
		tc.settle()
		tc.advance(5 * time.Second)
		tc.wantIdle("once")
	})
}

// A path that is not validated limits the answer to three times the challenge's
// datagram; a small challenge is answered all the same (RFC 9000 §8.2.1, §8.2.2).
func TestS25PathResponseIsNoAmplifier(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0))
	tc.path.Remote = addrPort("203.0.113.9:9")
	b := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.PathChallenge{Data: [8]byte{1}}}})
	tc.inject(b)
	tc.want("an answer", wire.OneRTT, wire.PathResponse{Data: [8]byte{1}})
	if d := tc.last.datagram; d.size > 3*len(b) || d.path != tc.path || tc.last.dcid != peerID(1) {
		t.Errorf("%d bytes to %v for %d, ID %q", d.size, d.path.Remote, len(b), tc.last.dcid.Bytes())
	}
	if tc.conn.Path().Remote != testRemote {
		t.Error("a probe alone has migrated the connection")
	}
}

// moved returns a server whose client has shown up at another address.
func moved(t *testing.T, options ...any) *testConn {
	tc := newTestConn(t, append([]any{serverSide}, options...)...)
	tc.write(wire.OneRTT, newID(1, 0))
	tc.path.Remote = addrPort("203.0.113.9:9")
	for range 2 {
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
	}
	return tc
}

// Challenges cannot be guessed: none is like another (RFC 9000 §8.2.1). They are
// repeated, with other bytes each time, until the path fails.
func TestPathChallenge(t *testing.T) {
	tc := moved(t)
	tc.ignore(wire.FramePing)
	seen := map[[8]byte]string{}
	start := tc.now
	for f, p := tc.peek(); tc.now.Sub(start) < 10*time.Second; f, p = tc.peek() {
		if f == nil {
			tc.advance(100 * time.Millisecond)
			continue
		}
		p.seen++
		c, ok := f.(wire.PathChallenge)
		if !ok {
			continue
		}
		to := p.datagram.path.Remote.String()
		if old, ok := seen[c.Data]; ok && old != to {
			t.Errorf("one challenge for %v and %v", old, to)
		}
		seen[c.Data] = to
		if p.datagram.size < wire.MinInitialSize {
			t.Errorf("a challenge in %d bytes", p.datagram.size)
		}
	}
	if len(seen) != 2*pathTries {
		t.Errorf("%d challenges, want %d for each path", len(seen), pathTries)
	}
	if tc.wantEvent("validation", EventPathValidation).OK {
		t.Error("validated without an answer")
	}
}

// An answer counts on whatever path it comes, if it has the right bytes; an ACK
// is no answer (RFC 9000 §8.2.2, §8.2.3).
func TestPathValidation(t *testing.T) {
	for _, from := range []netip.AddrPort{addrPort("203.0.113.9:9"), testRemote, addrPort("198.51.100.7:7")} {
		tc := moved(t)
		c := tc.wantType("to the new address", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
		if tc.last.datagram.path != tc.path {
			c = tc.wantType("to the new address", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
		}
		tc.clear()
		tc.advance(20 * time.Millisecond)
		tc.ack(wire.OneRTT)
		wrong := c
		wrong.Data[0] ^= 1
		tc.write(wire.OneRTT, wire.PathResponse(wrong))
		tc.wantNoEvent("wrong bytes", EventPathValidation)
		tc.path.Remote = from // asked, asked too, and never heard of
		tc.write(wire.OneRTT, wire.PathResponse(c))
		if e := tc.wantEvent("right bytes", EventPathValidation); !e.OK || e.Path.Remote != addrPort("203.0.113.9:9") {
			t.Errorf("%+v", e)
		}
		tc.abandon()
	}
}

// A path that was validated with a small datagram is challenged once more with a
// large one, to learn that it carries 1200 bytes (RFC 9000 §8.2.1, RFC 9000 §8.2.3).
func TestSecondPathValidation(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0))
	tc.path.Remote = addrPort("203.0.113.9:9")
	tc.write(wire.OneRTT, wire.Ping{}) // so small that the challenge must be
	challenge := func() (wire.PathChallenge, int) {
		t.Helper()
		for {
			f := tc.wantType("a challenge", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
			if tc.last.datagram.path == tc.path {
				return f, tc.last.datagram.size
			}
		}
	}
	c, size := challenge()
	if size >= wire.MinInitialSize {
		t.Fatalf("a challenge of %d bytes for a PING", size)
	}
	tc.write(wire.OneRTT, wire.PathResponse(c))
	if c, size = challenge(); size < wire.MinInitialSize {
		t.Errorf("second challenge of %d bytes", size)
	}
	tc.write(wire.OneRTT, wire.PathResponse(c))
	tc.abandon()
	tc.wantEvent("the connection moves", EventMigrated)
}

// An answer to nothing is passed over (RFC 9000 §19.18).
func TestUnaskedPathResponse(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, wire.PathResponse{})
		tc.write(wire.OneRTT, wire.PathResponse{Data: [8]byte{1}})
		tc.wantNoEvent("nothing was asked", EventPathValidation)
		tc.wantOpen("nothing was asked")
	})
}
