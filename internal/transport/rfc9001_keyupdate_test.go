package transport

// RFC 9001 §6: key updates, from both sides, and the limits of keys.

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// phase returns the Key Phase bit of the packet looked at last.
func (tc *testConn) phase() bool { return tc.last.first&0x04 != 0 }

// keyPing lets the Conn send a packet, and acknowledges it if ack is set.
func (tc *testConn) keyPing(ack bool) {
	tc.Helper()
	tc.conn.Ping()
	tc.want("a packet", wire.OneRTT, wire.Ping{})
	if ack {
		tc.write(wire.OneRTT, ackOf(tc.last.pn))
	}
}

// waitKeys lets the previous keys go.
func (tc *testConn) waitKeys() {
	tc.Helper()
	for tc.conn.oneRTT.DiscardAt() != mono.Never {
		tc.advanceToTimer()
	}
}

// RFC 9001 §6.1: an update may begin once the handshake is confirmed and a packet of the
// present keys is acknowledged, and not again before the same holds anew.
func TestKeyUpdate(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.keyPing(true)
		for n := 1; n <= 4; n++ {
			if !tc.conn.UpdateKey(tc.now) {
				t.Fatalf("update %d is not allowed", n)
			}
			if tc.conn.UpdateKey(tc.now) {
				t.Fatalf("update %d, again before a packet", n)
			}
			tc.keyPing(false)
			if want := n%2 == 1; tc.phase() != want {
				t.Fatalf("update %d: key phase %v", n, tc.phase())
			}
			if tc.conn.UpdateKey(tc.now) {
				t.Fatalf("update %d, again before an acknowledgment", n)
			}
			tc.write(wire.OneRTT, ackOf(tc.last.pn))
			tc.wantOpen("an ACK in the new phase")
			if tc.conn.UpdateKey(tc.now) {
				t.Fatalf("update %d, again while the previous keys are kept", n)
			}
			if got := tc.conn.Stats().KeyUpdates; got != uint64(n) {
				t.Fatalf("%d key updates counted, want %d", got, n)
			}
			tc.wantEvent("an update", EventKeyUpdate)
			tc.wantNoEvent("reported once, not again for its answer", EventKeyUpdate)
			tc.waitKeys()
		}
	})
}

// RFC 9001 §6.1: not before the handshake is confirmed.
func TestKeyUpdateUnconfirmed(t *testing.T) {
	tc := newTestConn(t, clientSide, stageSecure)
	tc.clear()
	tc.conn.Ping()
	tc.clear()
	tc.ack(wire.OneRTT)
	if tc.conn.UpdateKey(tc.now) {
		t.Error("an update before confirmation")
	}
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	if !tc.conn.UpdateKey(tc.now) {
		t.Error("no update after confirmation")
	}
	tc.clear()
}

// RFC 9001 §6.2: the peer's update is followed at once: the ACK of its first packet is
// under new keys.
func TestKeyUpdateByPeer(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.see(wire.FrameAck)
		for n := 1; n <= 3; n++ {
			tc.peerUpdate()
			tc.wantEvent("the peer's update", EventKeyUpdate)
			tc.wantNoEvent("once", EventKeyUpdate)
			tc.conn.Ping()
			tc.wantType("an ACK", wire.OneRTT, wire.FrameAck)
			if want := n%2 == 1; tc.phase() != want {
				t.Fatalf("the ACK of update %d has key phase %v", n, tc.phase())
			}
			tc.want("and the PING", wire.OneRTT, wire.Ping{})
			tc.write(wire.OneRTT, ackOf(tc.last.pn))
			if got := tc.conn.Stats().KeyUpdates; got != uint64(n) {
				t.Fatalf("%d key updates counted, want %d", got, n)
			}
			tc.waitKeys()
			tc.clear()
		}
	})
}

// RFC 9001 §6.1: nor does an update of ours follow the peer's before a packet of the new phase was acknowledged, even
// when the keys before that are long gone. An ACK of older packets does not count.
func TestKeyUpdateBehindThePeers(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.keyPing(false)
		old := tc.last.pn
		tc.peerUpdate()
		tc.advance(30 * time.Millisecond) // our ACK goes, in the new phase
		tc.write(wire.OneRTT, ackOf(old))
		tc.waitKeys()
		if tc.conn.UpdateKey(tc.now) {
			t.Fatal("an update before an acknowledgment in this phase")
		}
		tc.clear()
		tc.keyPing(true)
		if !tc.conn.UpdateKey(tc.now) {
			t.Error("no update after one")
		}
		tc.abandon()
	})
}

// peerUpdate makes the peer begin a key update with a PING.
func (tc *testConn) peerUpdate() {
	tc.Helper()
	k := &tc.peer.oneRTT
	if !k.CanUpdate() { // the fake peer knows no rules
		k.Acked(1 << 40)
		k.KeepPrevious(tc.now)
		k.Discard(tc.now)
	}
	k.Update()
	tc.write(wire.OneRTT, wire.Ping{})
}

// RFC 9001 §6.5: packets of the previous keys that come late are processed for three PTOs.
func TestKeyUpdateLatePackets(t *testing.T) {
	tc := newTestConn(t, serverSide)
	late := make([][]byte, 3)
	for i := range late {
		late[i] = tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{streamFrame(int64(4*i), 0, "late")}})
	}
	tc.peerUpdate()
	tc.inject(late[0])
	tc.wantEvent("a late packet", EventStream)
	at := tc.conn.oneRTT.DiscardAt()
	if want := tc.now.Add(3 * tc.conn.loss.PTO(recovery.App)); at != want {
		t.Errorf("previous keys go at %v, want %v", at, want)
	}
	tc.advance(at.Sub(tc.now) - 1)
	tc.inject(late[1])
	tc.wantEvent("at the last moment", EventStream)
	tc.advance(1)
	ignored := tc.packetsIgnored()
	tc.inject(late[2])
	tc.wantNoEvent("too late", EventStream)
	tc.wantOpen("too late")
	if tc.packetsIgnored() != ignored+1 {
		t.Error("the packet is not ignored")
	}
	tc.clear()
}

// RFC 9001 §6.4: a packet that follows one of newer keys, but is under older ones.
func TestS37OldKeys(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.peer.next[recovery.App] += 10
		old := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
		tc.peer.next[recovery.App] -= 10
		tc.peerUpdate()
		tc.wantOpen("the update")
		tc.inject(old)
		tc.clearTo(wire.FrameConnectionClose)
		tc.wantClose("old keys for a newer packet", wire.KeyUpdateError)
	})
}

// RFC 9001 §6.2: a second update before we can have acknowledged the first.
func TestS37TooEarly(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.peer.oneRTT.Acked(1 << 40)
		tc.peer.oneRTT.Update()
		first := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Padding{N: 4}}})
		tc.secondPhase()
		second := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
		tc.inject(first)
		tc.wantOpen("the first update")
		tc.inject(second)
		tc.wantClose("the second, unanswered", wire.KeyUpdateError)
	})
}

// secondPhase puts the peer's keys two updates ahead, where a peer that heeds
// the rules cannot be yet: a third party pretends to be the Conn that follows.
func (tc *testConn) secondPhase() {
	tc.Helper()
	connIsClient := tc.side == clientSide
	var peer, other protect.OneRTT
	for k, fromClient := range map[*protect.OneRTT]bool{&peer: !connIsClient, &other: connIsClient} {
		must(k.SetWrite(wire.Version1, initialSuite, secret(LevelApp, fromClient)))
		must(k.SetRead(wire.Version1, initialSuite, secret(LevelApp, !fromClient)))
	}
	packet := func(k *protect.OneRTT, pn int64) []byte {
		b := wire.AppendShort(make([]byte, 0, 64), &tc.peer.dcid, false, k.Phase(), 4)
		at := len(b)
		b = append(wire.AppendPacketNumber(b, pn, 4), 0, 0, 0, 0)
		return k.Seal(b, at, 4, pn)
	}
	packet(&peer, 0)
	packet(&other, 0)
	peer.Acked(0)
	other.Acked(0)
	peer.Update()
	other.Update()
	packet(&peer, 1)
	if _, r := peer.Open(tc.now, packet(&other, 1), 1+tc.peer.dcid.Len(), 0); r != protect.OpenUpdated {
		tc.Fatalf("the third party's update: %v", r)
	}
	peer.Acked(1)
	peer.KeepPrevious(tc.now)
	peer.Discard(tc.now)
	peer.Update()
	tc.peer.oneRTT = peer
}

// RFC 9001 §6.2: our update is acknowledged under old keys: the peer opened it and did not follow.
func TestS37NotFollowed(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.keyPing(true)
		pn := tc.last.pn + 1
		ack := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{ackOf(pn)}})
		if !tc.conn.UpdateKey(tc.now) {
			t.Fatal("no key update")
		}
		tc.keyPing(false)
		if tc.last.pn != pn {
			t.Fatalf("packet number %d, want %d: choose another seed", tc.last.pn, pn)
		}
		tc.inject(ack)
		tc.wantClose("acknowledged under old keys", wire.KeyUpdateError)
	})
}

// S-37: packets that only look like an update cost nothing but themselves (RFC 9001 §5.5).
func TestS37ForgedPhase(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		for range 1000 {
			b := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
			b[0] ^= 0x04
			tc.inject(b)
		}
		tc.wantOpen("forged phase bits")
		tc.wantIdle("forged phase bits")
		if got := tc.conn.Stats().KeyUpdates; got != 0 {
			t.Errorf("%d key updates", got)
		}
		tc.peerUpdate()
		tc.wantEvent("a real one", EventKeyUpdate)
		tc.clear()
	})
}

// RFC 9001 §6.3, S-37: the peer updates as often as the rules let it.
func TestS37EveryRoundTrip(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	for n := 1; n <= 50; n++ {
		tc.peerUpdate()
		tc.keyPing(true)
		tc.advance(time.Millisecond)
		tc.wantOpen("an update a round trip")
		if got := tc.conn.Stats().KeyUpdates; got != uint64(n) {
			t.Fatalf("%d key updates, want %d", got, n)
		}
	}
	tc.clear()
}

// Both ends may begin at the same time (§6.1): that is one update.
func TestKeyUpdateBothAtOnce(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.keyPing(true)
		tc.peer.oneRTT.Acked(1 << 40)
		tc.peer.oneRTT.Update()
		b := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
		if !tc.conn.UpdateKey(tc.now) {
			t.Fatal("no key update")
		}
		tc.inject(b)
		tc.keyPing(true)
		tc.wantOpen("both at once")
		if got := tc.conn.Stats().KeyUpdates; got != 1 {
			t.Errorf("%d key updates, want 1", got)
		}
		tc.clear()
	})
}

// RFC 9001 §6.6, Config.KeyUpdateAfter: keys are updated by themselves after so many packets.
func TestKeyUpdateByItself(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(c *Config) { c.KeyUpdateAfter = 50 })
		for n := range 200 {
			tc.keyPing(true)
			if n%10 == 9 {
				tc.advance(time.Second) // the previous keys go
			}
		}
		if got := tc.conn.Stats().KeyUpdates; got < 3 || got > 4 {
			t.Errorf("%d key updates after 200 packets, want 3 or 4", got)
		}
		tc.clear()
	})
}

// RFC 9001 §6.6: keys that are used up and cannot be updated end the connection, while
// there is still one packet's worth of them left to say so.
func TestS36ConfidentialityLimit(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.conn.oneRTT.ConfidentialityLimit = 200
		for n := 0; tc.closed == nil; n++ {
			if n > 400 {
				t.Fatal("past the limit")
			}
			tc.conn.Ping()
			tc.pump()
			tc.clearTo(wire.FrameConnectionClose)
		}
		tc.wantClose("no packet is left", wire.AEADLimitReached)
	})
}

// RFC 9001 §6.6: too many packets that do not open end the connection, counted over all keys.
func TestS36IntegrityLimit(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		forge := func(typ wire.PacketType) {
			b := tc.build(testPacket{typ: typ, frames: []wire.Frame{wire.Ping{}}, size: 100})
			b[len(b)-1] ^= 1
			tc.inject(b)
		}
		for range 20 {
			forge(wire.Handshake)
		}
		tc.step(stageConfirmed)
		tc.clear()
		tc.conn.oneRTT.IntegrityLimit = 50
		for range 29 {
			forge(wire.OneRTT)
		}
		tc.wantOpen("49 failures")
		tc.wantIdle("49 failures")
		forge(wire.OneRTT)
		tc.wantClose("50 failures", wire.AEADLimitReached)
	})
}

// 0-RTT keys count as well.
func TestS36IntegrityLimitEarly(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageHello, withEarly)
	for range 20 {
		b := tc.build(testPacket{typ: wire.ZeroRTT, frames: []wire.Frame{wire.Ping{}}, size: 100})
		b[len(b)-1] ^= 1
		tc.inject(b)
	}
	tc.step(stageConfirmed)
	tc.clear()
	if got := tc.conn.oneRTT.Failures(); got != 20 {
		t.Errorf("%d failures counted, want 20", got)
	}
}
