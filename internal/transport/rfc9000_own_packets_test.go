package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What we send ourselves, from the first packet of the handshake on: packet numbers rise in each space (RFC 9000
// §12.3), no packet is without a frame (RFC 9000 §12.4), a datagram's packets have one destination (RFC 9000 §12.2),
// each of our IDs has the one length, which is less than 20 (RFC 9000 §10.3.2, §17.2), a client sends no frame that is
// a server's (RFC 9000 §19.7, §19.20), and a server no 0-RTT packet (RFC 9001 §5.6) and no token in an Initial (RFC 9000
// §17.2.2).
func TestOwnPackets(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageStart)
		last := [recovery.Spaces]int64{-1, -1, -1}
		look := func() {
			tc.pump()
			tc.checkDestinations()
			for _, p := range tc.out {
				if sp := spaceOf(p.typ); p.pn <= last[sp] {
					t.Errorf("%v behind number %d", &p, last[sp])
				} else {
					last[sp] = p.pn
				}
				if len(p.frames) == 0 {
					t.Errorf("%v has no frame", &p)
				}
				if s == clientSide && (p.has(wire.FrameNewToken) != nil || p.has(wire.FrameHandshakeDone) != nil) {
					t.Errorf("%v", &p)
				}
				if s == serverSide && (p.typ == wire.ZeroRTT || len(p.token) > 0) {
					t.Errorf("%v, token %q", &p, p.token)
				}
			}
			tc.clear()
		}
		for to := stageStart + 1; to <= stageConfirmed; to++ {
			look()
			tc.step(to)
		}
		look()
		tc.write(wire.OneRTT, newID(1, 0))
		st := tc.open(bidi)
		for range 300 {
			tc.send(st, "data")
			tc.pump()
			look()
			tc.ack(wire.OneRTT)
		}
		look()
		for _, id := range tc.ids() {
			if id.Len() != connIDLen {
				t.Errorf("an ID of %d bytes", id.Len())
			}
		}
		tc.abandon()
	})
}

// checkDestinations fails the test if packets in one datagram go to different IDs (RFC 9000 §12.2).
func (tc *testConn) checkDestinations() {
	tc.Helper()
	to := map[string]wire.ConnectionID{} // by datagram
	for i := range tc.out {
		p := &tc.out[i]
		if first, ok := to[string(p.datagram.data)]; ok && first != p.dcid {
			tc.Errorf("%v to %q, another packet of its datagram to %q", p, p.dcid.Bytes(), first.Bytes())
		}
		to[string(p.datagram.data)] = p.dcid
	}
}

// renamed returns a connection whose peer has replaced the ID of the handshake before that is confirmed, so that
// 1-RTT packets go to another ID than Handshake packets. It has data in flight, and handshake bytes.
func renamed(t *testing.T, s side, size int) (*testConn, wire.ConnectionID) {
	t.Helper()
	var tc *testConn
	var st *Stream
	if s == serverSide {
		tc = newTestConn(t, s, stageHello, withEarly, func(o *Opening) { o.Validated = true })
		tc.clear()
		tc.write(wire.ZeroRTT, newID(1, 1), streamFrame(0, 0, "request"))
		st = tc.wantEvent("0-RTT data", EventStream).Stream
	} else {
		tc = newTestConn(t, s, stageSecure)
		tc.clear()
		tc.write(wire.OneRTT, newID(1, 1))
		st = tc.open(bidi)
	}
	tc.clear()
	tc.send(st, string(make([]byte, size)))
	return tc, peerID(1)
}

// went returns how many of the packets that were sent since the last clear are of a type, and fails the test if
// one of them goes to another ID.
func (tc *testConn) went(typ wire.PacketType, to wire.ConnectionID) (n int) {
	tc.Helper()
	for i := range tc.out {
		if p := &tc.out[i]; p.typ == typ {
			n++
			if p.dcid != to {
				tc.Errorf("%v to %q, want %q", p, p.dcid.Bytes(), to.Bytes())
			}
		}
	}
	return n
}

// A datagram's packets have one destination also while 1-RTT packets go to another ID than those of the handshake
// (RFC 9000 §12.2): both leave, each in datagrams of its own, of which none is the smaller for that.
func TestOneDestination(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc, id := renamed(t, s, 5000)
		tc.clear()
		tc.advanceToPTO()
		tc.checkDestinations()
		if tc.went(wire.Handshake, tc.peer.id) == 0 || tc.went(wire.OneRTT, id) == 0 {
			t.Errorf("probes: %v", tc.out)
		}
		for sp := recovery.Initial; sp < recovery.Spaces; sp++ {
			if n := tc.conn.loss.Probes(sp); n != 0 {
				t.Errorf("space %d still owes %d probes", sp, n)
			}
		}
		tc.clear()
		st := tc.open(bidi)
		tc.conn.Write(st, make([]byte, 2000))
		tc.conn.writeCrypto(LevelHandshake, make([]byte, 200))
		tc.write(wire.Handshake, wire.Ping{}) // its ACK, those bytes and the data could share a datagram
		tc.checkDestinations()
		if a, d := tc.went(wire.Handshake, tc.peer.id), tc.went(wire.OneRTT, id); a != 1 || d != 2 {
			t.Errorf("200 and 2000 bytes are in %d and %d packets: %v", a, d, tc.out)
		}
		tc.clear()
		if s == clientSide {
			tc.write(wire.OneRTT, wire.HandshakeDone{})
		} else {
			tc.write(wire.Handshake, wire.Crypto{Data: message('F', 52)})
		}
		if !tc.conn.Confirmed() {
			t.Error("the handshake is stuck")
		}
		tc.abandon()
	})
}

// A close goes in Handshake and in 1-RTT packets (RFC 9000 §10.2.3), and where these go to different IDs, in
// two datagrams (RFC 9000 §12.2). So does each answer to what comes behind it.
func TestCloseToBothIDs(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc, id := renamed(t, s, 10)
		tc.clear()
		tc.conn.Close(tc.now, true, 7, "enough")
		for range 2 {
			tc.pump()
			tc.checkDestinations()
			if tc.went(wire.Handshake, tc.peer.id) != 1 || tc.went(wire.OneRTT, id) != 1 {
				t.Errorf("%v", tc.out)
			}
			for i := range tc.out {
				if p := &tc.out[i]; p.has(wire.FrameConnectionClose) == nil && p.has(wire.FrameApplicationClose) == nil {
					t.Errorf("%v", p)
				}
			}
			tc.out = nil
			tc.pump()
			if len(tc.out) > 0 {
				t.Errorf("again, unasked: %v", tc.out)
			}
			tc.write(wire.OneRTT, wire.Ping{})
		}
		tc.abandon()
	})
}

// The same NEW_CONNECTION_ID frame may come any number of times (RFC 9000 §19.15).
func TestSameNewConnectionID(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		for range 5 {
			tc.write(wire.OneRTT, newID(1, 0), newID(1, 0))
		}
		tc.wantOpen("the same again")
		tc.wantIdle("nothing to retire")
	})
}

// Bits that mean nothing are ignored: in Retry (RFC 9000 §17.2.5) and in Version Negotiation (RFC 9000 §17.2.1).
func TestUnusedBits(t *testing.T) {
	for bits := range byte(16) {
		tc := newTestConn(t, clientSide, stageStart)
		tc.clear()
		own, original := tc.conn.ID(), tc.conn.OriginalDCID()
		b := wire.AppendRetry(nil, wire.Version1, &own, &retryID, []byte("token"))
		b[0] = b[0]&0xf0 | bits
		tag := protect.RetryTag(wire.Version1, &original, b)
		tc.peer.setInitialKeys(retryID, clientSide)
		tc.inject(append(b, tag[:]...))
		if p := tc.wantPacket("after a Retry", wire.Initial); string(p.token) != "token" || p.dcid != retryID {
			t.Errorf("bits %#x: %v", bits, &p)
		}
		tc.clear()
	}
	for bits := range byte(128) {
		tc := newTestConn(t, clientSide, stageStart)
		tc.clear()
		b := tc.negotiation(0x1a2a3a4a)
		b[0] = 0x80 | bits
		tc.inject(b)
		tc.wantClosed("Version Negotiation", CloseVersion)
	}
}

// The token of a Retry is for this attempt: nobody is given it for later (RFC 9000 §8.1.3).
func TestRetryTokenIsNotKept(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.retry(retryID, "a token")
	tc.clear()
	tc.wantNoEvent("a token of a Retry", EventNewToken)
	tc.write(wire.Initial, wire.Ping{})
	tc.clear()
	tc.wantNoEvent("a token of a Retry", EventNewToken)
	tc.abandon()
}

// A token tells nobody but its server whose it is, and no two are the same, though they be of one address
// and one moment (RFC 9000 §8.1.3, RFC 9001 §9.2).
func TestTokensShowNothing(t *testing.T) {
	var seed byte
	tokens := NewTokens([32]byte{1}, 0, func(b []byte) {
		for i := range b {
			seed += 37
			b[i] = seed
		}
	})
	addr := testRemote.Addr()
	one, two := tokens.New(5, wire.Version1, addr), tokens.New(5, wire.Version1, addr)
	if len(one) != len(two) {
		t.Fatalf("%d and %d bytes", len(one), len(two))
	}
	same := 0
	for i := range one {
		if one[i] == two[i] {
			same++
		}
	}
	if same > len(one)/8 {
		t.Errorf("%d of %d bytes are the same", same, len(one))
	}
}

// Path validation is no more eager than probe timeouts are (RFC 9000 §9.4).
func TestChallengeTimer(t *testing.T) {
	tc := moved(t)
	tc.ignore(wire.FramePing)
	var last time.Duration
	start, n := tc.now, 0
	for range 1000 {
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			if p.seen++; kindOf(f.Type()) != wire.FramePathChallenge || p.datagram.path != tc.path {
				continue
			}
			at := p.datagram.at.Sub(start)
			if pto := tc.conn.loss.PTO(recovery.App); n > 0 && at-last < pto {
				t.Errorf("a challenge %v after the one before, the probe timeout is %v", at-last, pto)
			}
			last = at
			n++
		}
		tc.advance(10 * time.Millisecond)
	}
	if n != pathTries {
		t.Errorf("%d challenges, want %d", n, pathTries)
	}
}

// A peer that moves although we said that it must not is validated as any, and is sent no reset (RFC 9000 §9).
func TestPeerMovesThoughForbidden(t *testing.T) {
	tc := moved(t, func(c *Config) { c.Params.DisableActiveMigration = true })
	tc.answer(tc.challenges()[tc.path.Remote])
	tc.wantEvent("validated", EventMigrated)
	if to := tc.conn.Path(); to != tc.path {
		t.Errorf("the connection is at %v", to)
	}
	tc.abandon()
}

// Limits that fall say nothing (RFC 9000 §4.1, §4.6, §19.11, RFC 9000 §13.3).
func TestLowerLimits(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataUni, p.MaxStreamsUni = 1000, 500, 3 })
		st := tc.open(uni)
		tc.write(wire.OneRTT, wire.MaxData{Max: 1}, wire.MaxStreamData{ID: st.ID(), Max: 1}, wire.MaxStreams{Uni: true, Max: 1})
		tc.send(st, string(make([]byte, 400)))
		tc.pump()
		if n := st.Unsent(); n != 0 {
			t.Errorf("%d bytes are held back", n)
		}
		tc.clear()
		tc.open(uni)
		tc.open(uni)
		if tc.conn.OpenStream(tc.now, uni) != nil {
			t.Error("a fourth stream, of three")
		}
		tc.clear()
	})
}

// A token from an earlier connection is in all Initials, until a Retry brings another (RFC 9000 §8.1.3).
func TestTokenForLater(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart, func(c *Config) { c.Token = []byte("kept") })
	look := func(want string) {
		t.Helper()
		if len(tc.out) == 0 {
			t.Fatal("nothing is sent")
		}
		for _, p := range tc.out {
			if p.typ != wire.Initial || string(p.token) != want {
				t.Errorf("%v with token %q, want %q", &p, p.token, want)
			}
		}
		tc.clear()
	}
	tc.pump()
	look("kept")
	tc.advanceToPTO()
	look("kept")
	tc.retry(retryID, "newer")
	look("newer")
	tc.advanceToPTO()
	look("newer")
}
