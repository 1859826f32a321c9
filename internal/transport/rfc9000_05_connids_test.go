package transport

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// peerID returns the peer's n-th connection ID.
func peerID(n int64) wire.ConnectionID {
	return wire.MakeConnectionID([]byte(fmt.Sprintf("peer-%03d", n%1000)))
}

// newID returns the frame that issues it.
func newID(n, retirePriorTo int64) wire.NewConnectionID {
	return wire.NewConnectionID{Seq: n, RetirePriorTo: retirePriorTo, ID: peerID(n), Token: wire.ResetToken{byte(n), 1}}
}

// An ID has nothing in it but random bytes of its own, so that none tells of another (RFC 9000 §5.1).
func TestIDsAreRandom(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		given := map[string]bool{} // what the source of randomness was asked for, in one piece
		tc := newTestConn(t, s, func(c *Config) {
			rand := c.Rand
			c.Rand = func(b []byte) {
				rand(b)
				given[string(b)] = true
			}
		})
		if len(tc.conn.ids.local) < 2 {
			t.Fatalf("%d IDs", len(tc.conn.ids.local))
		}
		for _, l := range tc.conn.ids.local {
			if !given[string(l.id.Bytes())] {
				t.Errorf("ID %x is not random", l.id.Bytes())
			}
			delete(given, string(l.id.Bytes()))
		}
		tc.abandon()
	})
}

// We issue as many IDs as the peer takes and we care for, each with the next
// sequence number, none twice, each routable before the peer knows it, and each
// with a token of its own (RFC 9000 §5.1.1, §10.3.2, RFC 9000 §5.1, §19.15).
func TestS48IssueIDs(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, limit := range []int64{2, 3, 4, 100, 1<<62 - 1} {
			tc := newTestConn(t, s, stageHello, func(p *wire.Parameters) { p.ActiveCIDLimit = limit })
			tc.ignore(wire.FrameCrypto, wire.FrameHandshakeDone)
			tc.ack(wire.Initial)
			tc.write(wire.Handshake, wire.Crypto{Data: message('x', 1000)})
			seen := map[wire.ConnectionID]bool{tc.conn.ID(): true}
			routable := tc.ids()
			for seq := int64(1); ; seq++ {
				f, p := tc.peek()
				if f == nil {
					break
				}
				p.seen++
				id, ok := f.(wire.NewConnectionID)
				if !ok || id.Seq != seq || id.RetirePriorTo != 0 || seen[id.ID] || id.Token != tc.cfg.ResetToken(id.ID) {
					t.Errorf("limit %d: %v", limit, f)
				}
				if !slices.Contains(routable, id.ID) {
					t.Errorf("%v is not routable", id)
				}
				seen[id.ID] = true
			}
			if got := int64(len(seen)); got != min(limit, maxLocalIDs) {
				t.Errorf("limit %d: %d IDs", limit, got)
			}
			tc.abandon()
		}
	})
}

// An ID that the peer gives up is replaced by another, and is not ours any more (RFC 9000
// §5.1.2) when what was sent to it before must have come, or with others after it.
func TestReplaceRetiredID(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.ids()
		tc.events = nil
		for seq := int64(4); seq < 40; seq++ {
			tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: seq - 3})
			if seq-3 > maxLateIDs {
				tc.wantEvent("the oldest goes", EventRetired)
			} else {
				tc.wantNoEvent("packets may be late", EventRetired)
			}
			f := tc.wantType("a new one", wire.OneRTT, wire.FrameNewConnectionID).(wire.NewConnectionID)
			if f.Seq != seq {
				t.Errorf("%v, want seq %d", f, seq)
			}
			tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: seq - 3})
			tc.wantNoEvent("retired again", EventRetired)
			tc.ack(wire.OneRTT)
		}
		if n := len(tc.conn.ids.local); n != maxLocalIDs {
			t.Errorf("%d IDs, want %d", n, maxLocalIDs)
		}
	})
}

// A retired ID leads here for as long as packets that were sent to it before may be under way:
// a client that goes to another address leaves some behind, and a stateless reset
// would end the connection (RFC 9000 §10.3).
func TestLatePacketToRetiredID(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		old := tc.conn.ids.local[1].id
		if !slices.Contains(tc.ids(), old) {
			t.Fatal("the ID does not lead here")
		}
		tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 1})
		tc.wantType("a new one", wire.OneRTT, wire.FrameNewConnectionID)
		wait := 3 * tc.conn.loss.PTO(recovery.App)
		tc.ack(wire.OneRTT)
		tc.advance(wait - 1)
		if !slices.Contains(tc.ids(), old) {
			t.Error("a late packet would get a stateless reset")
		}
		tc.advance(1)
		if slices.Contains(tc.ids(), old) {
			t.Error("the ID leads here for good")
		}
	})
}

// A peer may retire the ID of the handshake, in a packet to another (RFC 9000 §19.16).
func TestS03RetireHandshakeID(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		other := tc.conn.ids.local[1].id
		tc.peer.dcid = other
		tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 0})
		tc.wantType("a new one", wire.OneRTT, wire.FrameNewConnectionID)
		tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 1})
		tc.wantClose("the packet's own", wire.ProtocolViolation)
	})
}

// The peer's IDs are kept up to our limit; one more is too many, and its own
// fault (RFC 9000 §5.1.1).
func TestTooManyIDs(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		for seq := int64(1); seq < tc.conn.maxPeerIDs(); seq++ {
			tc.write(wire.OneRTT, newID(seq, 0))
			tc.wantEvent("its token", EventTokenKnown)
		}
		tc.write(wire.OneRTT, newID(2, 0))
		tc.wantOpen("the same again")
		tc.write(wire.OneRTT, newID(9, 0))
		tc.wantClose("one too many", wire.ConnectionIDLimitError)
	})
}

// An ID, its sequence number and its token belong together for good (RFC 9000 §19.15).
func TestConflictingIDs(t *testing.T) {
	other := newID(1, 0)
	for _, tt := range []struct {
		name  string
		frame wire.NewConnectionID
	}{
		{"another ID", wire.NewConnectionID{Seq: 1, ID: peerID(7), Token: other.Token}},
		{"another token", wire.NewConnectionID{Seq: 1, ID: other.ID, Token: wire.ResetToken{9}}},
		{"another number", wire.NewConnectionID{Seq: 2, ID: other.ID, Token: other.Token}},
		{"the handshake's number", wire.NewConnectionID{Seq: 0, ID: peerID(7)}},
		{"the handshake's ID", wire.NewConnectionID{Seq: 2, ID: peerID(0)}},
	} {
		bothSides(t, func(t *testing.T, s side) {
			t.Run(tt.name, func(t *testing.T) {
				tc := newTestConn(t, s)
				tc.write(wire.OneRTT, other)
				tc.write(wire.OneRTT, tt.frame)
				tc.wantClose("conflict", wire.ProtocolViolation)
			})
		})
	}
}

// What Retire Prior To covers is retired at once, and packets go to another ID
// (RFC 9000 §5.1.2); its reset token is forgotten.
func TestRetirePriorTo(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, newID(1, 0), newID(2, 0), newID(3, 2))
		tc.want("the handshake's", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
		tc.want("the first", wire.OneRTT, wire.RetireConnectionID{Seq: 1})
		if tc.last.dcid != peerID(2) {
			t.Errorf("sent to %q", tc.last.dcid.Bytes())
		}
		if s == clientSide {
			if e := tc.wantEvent("token of the handshake's", EventTokenForgotten); e.Token != testToken {
				t.Errorf("token %q", e.Token)
			}
		}
		if e := tc.wantEvent("token of the first", EventTokenForgotten); e.Token != newID(1, 0).Token {
			t.Errorf("token %q", e.Token)
		}
		tc.write(wire.OneRTT, newID(4, 1))
		tc.wantIdle("a Retire Prior To that falls behind says nothing")
	})
}

// An ID that comes after it was already to be retired is retired at once, and
// never used (RFC 9000 §19.15).
func TestLateID(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, newID(5, 5))
		tc.want("the handshake's", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
		tc.clear()
		tc.write(wire.OneRTT, newID(3, 0))
		tc.want("late", wire.OneRTT, wire.RetireConnectionID{Seq: 3})
		if tc.last.dcid != peerID(5) {
			t.Errorf("sent to %q", tc.last.dcid.Bytes())
		}
		tc.ack(wire.OneRTT)
		tc.write(wire.OneRTT, newID(3, 0))
		tc.wantIdle("it was retired already")
	})
}

// A frame that was repeated needlessly does not bring an ID back that we have
// given up (RFC 9000 §5.1.2, §19.15).
func TestRetiredIDStaysRetired(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0), newID(2, 0))
	tc.ignore(wire.FramePing, wire.FramePathChallenge, wire.FramePathResponse, wire.FrameNewConnectionID)
	old := tc.path
	tc.path.Remote = addrPort("203.0.113.9:9")
	tc.write(wire.OneRTT, wire.Ping{}) // the peer moves, so that ID 1 comes into use
	tc.clear()
	tc.path = old
	tc.write(wire.OneRTT, wire.Ping{}) // and back
	tc.clear()
	tc.advance(10 * time.Second)
	tc.want("the other path is given up", wire.OneRTT, wire.RetireConnectionID{Seq: 1})
	tc.clear()
	tc.ack(wire.OneRTT)
	tc.write(wire.OneRTT, newID(1, 0))
	if tc.conn.ids.bySeq(1) != nil {
		t.Error("ID 1 is back")
	}
	tc.wantIdle("and nobody is told so again")
}

// A peer whose IDs are empty has no others (RFC 9000 §19.15).
func TestEmptyIDs(t *testing.T) {
	tc := newTestConn(t, serverSide, func(o *Opening) { o.SCID = wire.ConnectionID{} }, emptyPeerID)
	tc.conn.Ping()
	tc.want("to an empty ID", wire.OneRTT, wire.Ping{})
	tc.write(wire.OneRTT, newID(1, 0))
	tc.wantClose("an ID beside an empty one", wire.ProtocolViolation)
}

// emptyPeerID makes the fake client use no connection ID.
func emptyPeerID(p *fakePeer) { p.id = wire.ConnectionID{} }

// A packet to an ID that was never ours, or is so no longer, is not for the Conn
// to judge: its owner routes. But the Conn does not take it for the peer's word
// that the ID lives (RFC 9000 §19.16).
func TestPacketToRetiredID(t *testing.T) {
	tc := newTestConn(t, serverSide)
	id := tc.conn.ids.local[1].id
	tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: 1})
	tc.wantType("a new one", wire.OneRTT, wire.FrameNewConnectionID)
	tc.writePacket(testPacket{typ: wire.OneRTT, dcid: &id, frames: []wire.Frame{wire.RetireConnectionID{Seq: 1}}})
	tc.wantOpen("late")
}

// A peer that retires every ID there is, offering none but one that we gave up
// before, leaves us nothing to send to (RFC 9000 §5.1.2, §19.15).
func TestS02RetiresEveryID(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide)
	tc.ignore(wire.FramePing, wire.FramePathChallenge)
	tc.write(wire.OneRTT, newID(1, 0))
	must(tc.conn.Migrate(tc.now, dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote}, false))
	tc.advance(10 * time.Second)
	tc.want("the path was not to be had", wire.OneRTT, wire.RetireConnectionID{Seq: 1})
	tc.write(wire.OneRTT, newID(1, 1))
	tc.wantClose("no ID left", wire.ProtocolViolation)
}
