package transport

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// allFrameTypes are the frame types of version 1, of RFC 9221 and of
// draft-ietf-quic-ack-frequency.
func allFrameTypes() (types []wire.FrameType) {
	for t := wire.FrameType(0); t <= wire.FrameAckFrequency; t++ {
		if t.Known() {
			types = append(types, t)
		}
	}
	return types
}

// sampleFrame returns a frame of a type that is in order for a Conn of side s
// which has confirmed its handshake.
func sampleFrame(t wire.FrameType, s side) wire.Frame {
	theirs := (!s).streamID(bidi, 0)
	switch {
	case t.IsStream():
		return rawFrame(sampleStream(t, theirs))
	}
	switch t {
	case wire.FramePadding:
		return wire.Padding{N: 1}
	case wire.FramePing:
		return wire.Ping{}
	case wire.FrameAck:
		return ackOf(0)
	case wire.FrameAckECN:
		return wire.MakeAck(numbers(0), 0, &wire.ECNCounts{})
	case wire.FrameResetStream:
		return wire.ResetStream{ID: theirs, Code: 1, FinalSize: 10}
	case wire.FrameStopSending:
		return wire.StopSending{ID: theirs, Code: 2}
	case wire.FrameCrypto:
		return wire.Crypto{Data: []byte("x")}
	case wire.FrameNewToken:
		return wire.NewToken{Token: []byte("token")}
	case wire.FrameMaxData:
		return wire.MaxData{Max: 1 << 30}
	case wire.FrameMaxStreamData:
		return wire.MaxStreamData{ID: theirs, Max: 1 << 30}
	case wire.FrameMaxStreamsBidi, wire.FrameMaxStreamsUni:
		return wire.MaxStreams{Uni: t == wire.FrameMaxStreamsUni, Max: 1000}
	case wire.FrameDataBlocked:
		return wire.DataBlocked{Limit: 1}
	case wire.FrameStreamDataBlocked:
		return wire.StreamDataBlocked{ID: theirs, Limit: 1}
	case wire.FrameStreamsBlockedBidi, wire.FrameStreamsBlockedUni:
		return wire.StreamsBlocked{Uni: t == wire.FrameStreamsBlockedUni, Limit: 100}
	case wire.FrameNewConnectionID:
		return wire.NewConnectionID{Seq: 2, ID: wire.MakeConnectionID([]byte("peer-002")), Token: wire.ResetToken{2}}
	case wire.FrameRetireConnectionID:
		return wire.RetireConnectionID{Seq: 1}
	case wire.FramePathChallenge:
		return wire.PathChallenge{Data: [8]byte{1}}
	case wire.FramePathResponse:
		return wire.PathResponse{Data: [8]byte{2}}
	case wire.FrameConnectionClose, wire.FrameApplicationClose:
		return wire.Close{App: t == wire.FrameApplicationClose, Code: 3, Reason: []byte("why")}
	case wire.FrameHandshakeDone:
		return wire.HandshakeDone{}
	case wire.FrameDatagram, wire.FrameDatagramLen:
		return wire.Datagram{Data: []byte("x"), HasLen: t == wire.FrameDatagramLen}
	}
	switch t {
	case wire.FrameImmediateAck:
		return wire.ImmediateAck{}
	case wire.FrameAckFrequency:
		return wire.AckFrequency{Threshold: 10, MaxDelay: 10_000, Reorder: 3}
	}
	panic(t)
}

// sampleStream encodes a STREAM frame with all the flags of t, four bytes of data at offset 3.
func sampleStream(t wire.FrameType, id int64) []byte {
	b := []byte{byte(t), byte(id)}
	if t&4 != 0 {
		b = append(b, 3)
	}
	if t&2 != 0 {
		b = append(b, 4)
	}
	return append(b, "data"...)
}

// connFor returns a Conn that reads packets of a type.
func connFor(t *testing.T, s side, typ wire.PacketType) *testConn {
	t.Helper()
	early := func(c *scriptedTLS) { c.early = true }
	switch typ {
	case wire.Initial, wire.Handshake:
		tc := newTestConn(t, s, stageHello, early)
		if typ == wire.Handshake {
			tc.write(typ, wire.Ping{}) // so that a client, too, has sent a Handshake packet
		}
		return tc
	case wire.ZeroRTT:
		return newTestConn(t, s, stageHello, early, func(c *Config) {
			if s == clientSide {
				p := testParams()
				c.Resumed = &p
			}
		})
	}
	return newTestConn(t, s)
}

// abandon ends a test that does not care for what the Conn has to say.
func (tc *testConn) abandon() {
	tc.clear()
	tc.claimed = true
}

// A type that nobody knows is a FRAME_ENCODING_ERROR, whatever its size; one
// written longer than it needs is a PROTOCOL_VIOLATION, as we choose
// (RFC 9000 §12.4).
func TestS32FrameTypes(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, tt := range []struct {
			name  string
			frame rawFrame
			code  wire.ErrorCode
		}{
			{"unknown one-byte type", rawFrame{0x20}, wire.FrameEncodingError},
			{"type after the last", rawFrame{0x2f}, wire.FrameEncodingError},
			{"unknown two-byte type", rawFrame{0x40, 0x52}, wire.FrameEncodingError},
			{"unknown eight-byte type", rawFrame{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, wire.FrameEncodingError},
			{"PING in two bytes", rawFrame{0x40, 0x01}, wire.ProtocolViolation},
			{"PADDING in four bytes", rawFrame{0x80, 0, 0, 0}, wire.ProtocolViolation},
			{"type cut short", rawFrame{0x01, 0x01, 0x01, 0xc0}, wire.FrameEncodingError},
		} {
			for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
				t.Run(fmt.Sprintf("%s in %v", tt.name, typ), func(t *testing.T) {
					tc := connFor(t, s, typ)
					if typ == wire.Initial && s == serverSide && tt.name == "type cut short" {
						tt.frame = append(make(rawFrame, 1100), tt.frame...) // no PADDING behind it
						tc.writePacket(testPacket{typ: typ, frames: []wire.Frame{tt.frame}, size: len(tt.frame) + 10})
						tc.wantOpen("a datagram that is too small")
						return
					}
					tc.write(typ, tt.frame)
					tc.wantClose(tt.name, tt.code)
				})
			}
		}
	})
}

// Coalesced packets are taken one by one, and each is acknowledged in its own
// space (RFC 9000 §12.2, §12.3).
func TestCoalesced(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		tc.see(wire.FrameAck)
		i, h := tc.peer.next[0], tc.peer.next[1]
		tc.writeDatagram(
			testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}},
			testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		if s == clientSide { // a server needs no Initial packets after a Handshake packet (RFC 9001 §4.9.1)
			ack := tc.wantType("Initial", wire.Initial, wire.FrameAck).(wire.Ack)
			if ack.Largest != i {
				t.Errorf("acknowledged %d, want %d", ack.Largest, i)
			}
		}
		tc.want("Handshake", wire.Handshake, ackOf(h))
		tc.abandon()
	})
}

// What cannot be opened does not keep the rest of a datagram from being read
// (RFC 9000 §12.2).
func TestCoalescedUndecryptable(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		bad := tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		bad[len(bad)-1] ^= 1
		good := tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		before := tc.conn.Stats()
		tc.inject(append(bad, good...))
		after := tc.conn.Stats()
		if got := after.PacketsIgnored - before.PacketsIgnored; got != 1 {
			t.Errorf("%d packets ignored, want 1", got)
		}
		if got := after.PacketsReceived - before.PacketsReceived; got != 1 {
			t.Errorf("%d packets received, want 1", got)
		}
		tc.abandon()
	})
}

// A packet to another connection ID than the first of its datagram is not for
// this connection (RFC 9000 §12.2), with a long header or a short one.
func TestS16CoalescedOtherID(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Handshake, wire.OneRTT} {
			t.Run(typ.String(), func(t *testing.T) {
				tc := newTestConn(t, s, stageHello, func(c *scriptedTLS) { c.early = true })
				if s == clientSide && typ == wire.OneRTT {
					tc.step(stageSecure)
				} else if typ == wire.OneRTT {
					return // a server that reads 1-RTT packets takes no other kind
				}
				other := wire.MakeConnectionID([]byte("another!"))
				before := tc.conn.Stats()
				tc.writeDatagram(
					testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}},
					testPacket{typ: typ, dcid: &other, frames: []wire.Frame{wire.Ping{}}})
				after := tc.conn.Stats()
				if r, i := after.PacketsReceived-before.PacketsReceived, after.PacketsIgnored-before.PacketsIgnored; r != 1 || i != 1 {
					t.Errorf("received %d, ignored %d, want 1 and 1", r, i)
				}
				tc.abandon()
			})
		}
	})
}

// Whatever follows the packets of a datagram is dropped without harm (RFC 9000
// §12.2), as is a Length that runs past the end.
func TestCoalescedGarbage(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, tail := range [][]byte{{0}, {0x40}, {0xc0}, {0xff, 0, 0, 0, 1}, make([]byte, 50), []byte(strings.Repeat("\xe0\x00\x00\x00\x01\x08", 20))} {
			tc := newTestConn(t, s, stageHello)
			before := tc.conn.Stats().PacketsReceived
			tc.inject(append(tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}}), tail...))
			if got := tc.conn.Stats().PacketsReceived - before; got != 1 {
				t.Errorf("tail %x: received %d, want 1", tail, got)
			}
			tc.wantOpen("garbage")
			tc.abandon()
		}
	})
}

// A packet number counts once: the same again, in every space, changes nothing
// and is not answered (RFC 9000 §12.3).
func TestS47Duplicates(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		b := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.StreamsBlocked{Limit: 100}}})
		tc.inject(b)
		tc.want("an answer", wire.OneRTT, wire.MaxStreams{Max: 100})
		for range 10 {
			tc.inject(b)
		}
		tc.wantIdle("no second answer")
		if got := tc.conn.Stats().Duplicates; got != 10 {
			t.Errorf("%d duplicates counted, want 10", got)
		}

		tc = newTestConn(t, s, stageHello)
		hs := tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		tc.inject(hs)
		tc.clear()
		tc.see(wire.FrameAck)
		tc.inject(hs)
		tc.wantIdle("a duplicate Handshake packet")
		if got := tc.conn.Stats().Duplicates; got != 1 {
			t.Errorf("%d duplicates counted, want 1", got)
		}
	})
}

// Packet numbers that are too old to remember count as duplicates, so that the
// memory for them is bounded (RFC 9000 §12.3, §13.2.3).
func TestS47VeryOldPacketNumber(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	tc.see(wire.FrameAck)
	first := tc.peer.next[2]
	for i := int64(1); i <= 100; i++ {
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: first + 2*i})
	}
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		if ack, ok := f.(wire.Ack); ok && len(ack.Set()) > 32 {
			t.Fatalf("an ACK with %d ranges", len(ack.Set()))
		}
		p.seen++
	}
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.DataBlocked{}}, explicit: true, number: first})
	tc.wantIdle("too old to be sure that it is new")
}

// The peer numbers its packets as it likes: the spaces are independent and gaps
// of any size are no error (RFC 9000 §12.3).
func TestPacketNumberSpaces(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		tc.see(wire.FrameAck)
		tc.clear()
		tc.writePacket(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: 1 << 20})
		tc.want("a number far ahead", wire.Handshake, ackOf(1<<20))
		tc.abandon()
	})
}

// A datagram of nothing, of one byte, or of any odd length is dropped (RFC 9000
// §12.2, §5.2).
func TestS18OddDatagrams(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, to := range []stage{stageStart, stageHello, stageConfirmed} {
			tc := newTestConn(t, s, to)
			good := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
			long := tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
			for _, b := range [][]byte{good, long, make([]byte, 65507)} {
				for n := 0; n < len(b); n += 1 + n/200*97 {
					tc.inject(b[:n])
					tc.inject(slices.Concat([]byte{0xff}, b[:n]))
				}
			}
			tc.wantOpen("odd datagrams")
			tc.abandon()
		}
	})
}
