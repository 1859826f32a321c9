package transport

// RFC 9001 §5: packets that cannot be opened, yet or ever.

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// ignored returns how many packets the Conn has not made sense of.
func (tc *testConn) packetsIgnored() uint64 { return tc.conn.Stats().PacketsIgnored }

// RFC 9001 §5.7: Handshake packets that come before their keys wait, and are processed
// as soon as the keys are here.
func TestUndecryptableHandshake(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
	tc.wantIdle("no keys yet")
	tc.write(wire.Initial, wire.Crypto{Data: message('S', tc.tls.serverHello)})
	if !tc.conn.Secure() {
		t.Error("the Handshake packet was lost")
	}
	if n := tc.packetsIgnored(); n != 0 {
		t.Errorf("%d packets ignored", n)
	}
	tc.clear()
}

// RFC 9001 §5.7: 1-RTT packets are not processed before the handshake is complete, even
// if their keys are there; then they are, in order.
func TestUndecryptableOneRTT(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		peer := !s
		tc.clear()
		tc.write(wire.OneRTT, wire.Stream{ID: peer.streamID(bidi, 0), Data: []byte("early bird"), HasLen: true})
		if s == serverSide {
			tc.tlsSecret(TLSReadSecret, LevelApp)
		} else {
			tc.tlsParameters()
			tc.tlsSecret(TLSReadSecret, LevelApp)
			tc.tlsSecret(TLSWriteSecret, LevelApp)
		}
		tc.write(wire.OneRTT, wire.Stream{ID: peer.streamID(bidi, 1), Data: []byte("second"), HasLen: true})
		tc.wantNoEvent("keys alone are not enough", EventStream)
		tc.see(wire.FrameAck)
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			if p.typ == wire.OneRTT && f.Type() == wire.FrameAck {
				t.Errorf("an ACK before the handshake is complete: %v", p)
			}
			p.seen++
		}
		tc.tls1(TLSEvent{Kind: TLSDone})
		for n := int64(0); n < 2; n++ {
			if e := tc.wantEvent("after completion", EventStream); e.Stream.ID() != peer.streamID(bidi, n) {
				t.Errorf("stream %d", e.Stream.ID())
			}
		}
		tc.clear()
	})
}

// S-17: no more than ten packets or 16 KiB wait for their keys.
func TestS17UndecryptablePackets(t *testing.T) {
	besiege(t, 0)
	packets, bytes := limits.Bound(t, "undecryptable-packets"), limits.Bound(t, "undecryptable-bytes")
	bothSides(t, func(t *testing.T, s side) {
		for _, size := range []int{60, 1200, 4000} {
			tc := newTestConn(t, s, stageHello)
			tc.clear()
			count := min(packets, bytes/size)
			for i := range 1000 {
				peer := !s
				f := wire.Stream{ID: peer.streamID(uni, int64(i%100)), Data: []byte{1}, HasLen: true}
				tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{f}, size: size})
			}
			if got := len(tc.conn.waiting.list); got != count {
				t.Errorf("%d packets of %d bytes wait, want %d", got, size, count)
			}
			if got := tc.packetsIgnored(); got != uint64(1000-count) {
				t.Errorf("%d packets ignored, want %d", got, 1000-count)
			}
			tc.step(stageConfirmed)
			for range count {
				tc.wantEvent("the ones that waited", EventStream)
			}
			tc.wantNoEvent("and no others", EventStream)
			if len(tc.conn.waiting.list) != 0 || tc.conn.waiting.bytes != 0 {
				t.Errorf("%d packets, %d bytes still wait", len(tc.conn.waiting.list), tc.conn.waiting.bytes)
			}
			tc.clear()
		}
	})
}

// What waits is given up with the connection.
func TestUndecryptableReleased(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	tc.write(wire.OneRTT, wire.Ping{})
	tc.conn.Close(tc.now, false, uint64(wire.InternalError), "")
	tc.wantClose("closed", wire.InternalError)
	if tc.conn.waiting.list != nil {
		t.Error("packets wait for a connection that is over")
	}
}

// RFC 9001 §5.2, §5.3: a packet with any bit flipped is dropped, changes nothing and gets
// no answer; a sound one behind it in the same datagram is processed.
func TestCorrupted(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.conn.mtu.searching = false
		peer := !s
		good := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Stream{ID: peer.streamID(bidi, 0), Data: []byte("x"), HasLen: true}}})
		for i := range good {
			for bit := range 8 {
				b := append([]byte(nil), good...)
				b[i] ^= 1 << bit
				tc.inject(b)
				tc.wantIdle("a corrupted packet")
				tc.wantOpen("a corrupted packet")
			}
		}
		tc.wantNoEvent("nothing was processed", EventStream)
		if tc.conn.acks.Wanted() {
			t.Error("a corrupted packet would be acknowledged")
		}
		tc.inject(good)
		tc.wantEvent("the sound one", EventStream)
		tc.settle()
	})
}

func TestCorruptedHandshake(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
			tc := newTestConn(t, s, stageHello)
			tc.clear()
			got := tc.conn.acksOf(spaceOf(typ)).Largest()
			good := tc.build(testPacket{typ: typ, frames: []wire.Frame{wire.Ping{}}, size: 60})
			for i := range good {
				b := append([]byte(nil), good...)
				b[i] ^= byte(1 << (i % 8))
				if typ == wire.Initial && s == serverSide {
					b = append(b, make([]byte, wire.MinInitialSize-len(b))...)
				}
				tc.inject(b)
				tc.wantOpen("a corrupted packet")
			}
			if n := tc.conn.acksOf(spaceOf(typ)).Largest(); n != got {
				t.Errorf("%v: packet %d was processed", typ, n)
			}
			tc.clear()
		}
	})
}

// RFC 9000 §12.2: each coalesced packet stands for itself: one that does not
// open, or has come before, does not take the others with it.
func TestCoalescedWaits(t *testing.T) {
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	bad := tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	bad[len(bad)-1] ^= 1
	b := append(bad, tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Crypto{Data: message('F', tc.tls.finished)}}})...)
	b = append(b, tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Stream{ID: 0, Data: []byte("x"), HasLen: true}}, size: wire.MinInitialSize - len(b)})...)
	tc.inject(b)
	if !tc.conn.Secure() {
		t.Error("the Handshake packet behind a bad one was not processed")
	}
	tc.wantEvent("the 1-RTT packet that waited a moment", EventStream)
	tc.clear()
}

// RFC 9001 §5.4.2: a packet that is too short to sample is dropped.
func TestS35TooShortToSample(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		whole := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
		for n := range whole {
			tc.inject(whole[:n])
			tc.wantOpen("cut short")
			tc.wantIdle("cut short")
		}
		if tc.conn.acks.Wanted() {
			t.Error("a packet that was cut short was processed")
		}
		tc.settle()
	})
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	whole := tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
	for n := range whole {
		tc.inject(whole[:n])
		tc.wantOpen("cut short")
	}
	if got := tc.conn.acksOf(spaceOf(wire.Handshake)).Largest(); got != -1 {
		t.Errorf("Handshake packet %d was processed", got)
	}
	tc.clear()
}

// S-16: junk behind a packet, packets for other IDs and Initials in small
// datagrams are ignored, and nothing of them is kept, however many they are.
func TestS16CoalescedJunk(t *testing.T) {
	besiege(t, 16<<10)
	tc := newTestConn(t, serverSide, stageHello)
	tc.clear()
	other := wire.MakeConnectionID([]byte("somebody"))
	var kinds [5][]byte
	for i := range kinds {
		var b []byte
		switch i {
		case 0: // another connection's packet in tow
			b = tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}, size: 600})
			b = append(b, tc.build(testPacket{typ: wire.Handshake, dcid: &other, frames: []wire.Frame{wire.Crypto{Data: []byte{1}}}, size: 600})...)
		case 1: // no packet at all
			b = tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}, size: 600})
			b = append(b, make([]byte, 600)...)
		case 2: // length past the end
			b = tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}, size: 1200})
			b = b[:1199]
		case 3: // too small a datagram
			b = tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Crypto{Offset: 300, Data: []byte{1}}}, size: 1199})
		case 4: // several Initials, each but the first for another
			b = tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}, size: 300})
			for range 3 {
				b = append(b, tc.build(testPacket{typ: wire.Initial, dcid: &other, frames: []wire.Frame{wire.Crypto{Offset: 300, Data: []byte{1}}}, size: 300})...)
			}
		}
		kinds[i] = b
	}
	for i := range siege.Scaled(1_000_000) {
		tc.inject(kinds[i%len(kinds)])
		tc.wantOpen("junk")
		if i%1000 == 0 {
			tc.out, tc.datagrams, tc.events = nil, nil, nil
		}
	}
	tc.clear()
	if n := len(tc.conn.waiting.list); n > maxUndecryptable {
		t.Errorf("%d packets wait", n)
	}
	if tc.conn.paths.active().validated {
		t.Error("junk validates an address")
	}
	tc.clear()
}
