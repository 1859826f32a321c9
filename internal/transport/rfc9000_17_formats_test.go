package transport

import (
	"fmt"
	mrand "math/rand/v2"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Reserved bits must be zero, which only shows when the packet is authentic: then
// it is a PROTOCOL_VIOLATION (RFC 9000 §17.2, §17.3.1).
func TestS34ReservedBits(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for typ, bits := range map[wire.PacketType][]byte{
			wire.Initial: {0x04, 0x08, 0x0c}, wire.Handshake: {0x04, 0x08, 0x0c}, wire.OneRTT: {0x08, 0x10, 0x18},
		} {
			for _, flip := range bits {
				t.Run(fmt.Sprintf("%v %#x", typ, flip), func(t *testing.T) {
					tc := connFor(t, s, typ)
					p := testPacket{typ: typ, flip: flip, frames: []wire.Frame{wire.Ping{}}}
					if typ == wire.Initial && s == serverSide {
						p.size = wire.MinInitialSize
					}
					b := tc.build(p)
					forged := append([]byte(nil), b...)
					forged[len(forged)-1] ^= 1
					tc.inject(forged)
					tc.wantOpen("not authentic, so dropped")
					tc.inject(b)
					tc.wantClose("reserved bits", wire.ProtocolViolation)
				})
			}
		}
	})
}

// Without the fixed bit it is no packet of ours (RFC 9000 §17.2, §17.3.1).
func TestS34FixedBit(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			tc := connFor(t, s, typ)
			before := tc.conn.Stats()
			tc.writePacket(testPacket{typ: typ, flip: 0x40, frames: []wire.Frame{wire.Ping{}}})
			after := tc.conn.Stats()
			if after.PacketsReceived != before.PacketsReceived || after.PacketsIgnored == before.PacketsIgnored {
				t.Errorf("%v without the fixed bit: %+v", typ, after)
			}
			tc.abandon()
		}
	})
}

// Every datagram of ours has the fixed bit set, and reserved bits of zero beneath
// the protection (RFC 9000 §17.2, §17.3.1).
func TestOwnHeaders(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.conn.Ping()
		p := tc.wantPacket("PING", wire.OneRTT)
		if p.first&0xd8 != 0x40 {
			t.Errorf("first byte %#x", p.first)
		}
		for _, d := range tc.datagrams {
			if d.data[0]&0x40 == 0 {
				t.Errorf("datagram starts with %#x", d.data[0])
			}
		}
		tc = newTestConn(t, s, stageHello)
		tc.tlsData(LevelHandshake, []byte("x"))
		tc.write(wire.Handshake, wire.Ping{})
		if p := tc.wantPacket("handshake bytes", wire.Handshake); p.first&0x0c != 0 {
			t.Errorf("first byte %#x", p.first)
		}
		tc.abandon()
	})
}

// A packet number is cut to the bytes that tell it from those around it, and read
// back by the largest one that arrived (RFC 9000 §17.1).
func TestS46PacketNumberDecoding(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.see(wire.FrameAck)
		tc.ignore(wire.FramePing)
		for _, step := range []struct {
			ahead int64
			len   int
		}{{1, 1}, {100, 1}, {-50, 1}, {128, 1}, {30_000, 2}, {-20_000, 2}, {1 << 22, 3}, {1 << 30, 4}, {1, 1}, {-100, 1}} {
			pn := tc.conn.acks.Largest() + step.ahead
			tc.writePacket(testPacket{typ: wire.OneRTT, numberLen: step.len, explicit: true, number: pn, frames: []wire.Frame{wire.Ping{}}})
			tc.wantOpen("readable")
			if !tc.conn.acks.Seen(pn) {
				t.Errorf("number %d in %d bytes was not taken", pn, step.len)
			}
		}
		tc.clear()
	})
}

// We spend as many bytes on a number as a peer needs that has seen only what it
// has acknowledged (RFC 9000 §17.1).
func TestPacketNumberLength(t *testing.T) {
	tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxIdleTimeout = 0 })
	tc.ignore(wire.FramePing)
	base := tc.conn.loss.LargestAcked(2)
	for range 400 {
		tc.conn.Ping()
		tc.pump()
	}
	for _, p := range tc.out {
		if span := p.pn - base; p.pnLen < 4 && span*2 > 1<<(8*p.pnLen) {
			t.Errorf("number %d in %d bytes, %d was acknowledged", p.pn, p.pnLen, base)
		}
	}
	tc.ack(wire.OneRTT)
	tc.clear()
	tc.see(wire.FramePing)
	tc.conn.Ping()
	if p := tc.wantPacket("PING", wire.OneRTT); p.pnLen != 1 {
		t.Errorf("%d bytes right after an ACK", p.pnLen)
	}
}

// Whoever watches learns nothing from the spin bit: it does not follow the peer's,
// and is another from connection to connection (RFC 9000 §17.4).
func TestSpinBit(t *testing.T) {
	seen := map[bool]int{}
	for seed := range uint64(40) {
		r := mrand.New(mrand.NewPCG(seed, 3))
		tc := newTestConn(t, serverSide, func(c *Config) {
			c.Rand = func(b []byte) {
				for i := range b {
					b[i] = byte(r.Uint32())
				}
			}
		})
		var bit *bool
		for i := range 8 {
			tc.writePacket(testPacket{typ: wire.OneRTT, flip: 0x20 * byte(i&1), frames: []wire.Frame{wire.Ping{}}})
			tc.conn.Ping()
			p := tc.wantPacket("PING", wire.OneRTT)
			spin := p.first&0x20 != 0
			if bit != nil && *bit != spin {
				t.Fatal("the bit changes")
			}
			bit = &spin
		}
		seen[*bit]++
	}
	if seen[true] < 8 || seen[false] < 8 {
		t.Errorf("%v", seen)
	}
}

// Headers that lie are dropped: IDs over 20 bytes, another version, a Length past
// the end or of nothing, a packet too short to sample (RFC 9000 §17.2, RFC 9001 §5.4.2).
func TestOddHeaders(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for name, change := range map[string]func(b []byte) []byte{
			"long destination ID": func(b []byte) []byte { b[5] = 21; return b },
			"longest possible ID": func(b []byte) []byte { b[5] = 255; return b },
			"long source ID":      func(b []byte) []byte { b[5+1+8] = 21; return b },
			"version 2":           func(b []byte) []byte { b[1], b[4] = 0x6b, 2; return b },
			"version 0":           func(b []byte) []byte { b[4] = 0; return b },
			"length past the end": func(b []byte) []byte { return b[:len(b)-1] },
			"length of nothing":   func(b []byte) []byte { b[23], b[24] = 0x40, 0; return b },
			"nothing to sample":   func(b []byte) []byte { b[23], b[24] = 0x40, 19; return b[:25+19] },
		} {
			tc := connFor(t, s, wire.Handshake)
			before := tc.conn.Stats()
			tc.inject(change(tc.build(testPacket{typ: wire.Handshake, frames: []wire.Frame{wire.Padding{N: 50}}})))
			after := tc.conn.Stats()
			if after.PacketsReceived != before.PacketsReceived || after.PacketsIgnored == before.PacketsIgnored {
				t.Errorf("%s: received %d, ignored %d", name, after.PacketsReceived-before.PacketsReceived, after.PacketsIgnored-before.PacketsIgnored)
			}
			tc.wantOpen(name)
			tc.abandon()
		}
	})
}

// A server's Initial has no token: one that has is dropped (RFC 9000 §17.2.2).
func TestTokenFromServer(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	before := tc.conn.Stats().PacketsReceived
	tc.writePacket(testPacket{typ: wire.Initial, token: []byte("token"), frames: []wire.Frame{wire.Ping{}}})
	if got := tc.conn.Stats().PacketsReceived; got != before {
		t.Error("taken")
	}
}

// With 1-RTT keys a client sends no 0-RTT packets any more (RFC 9000 §17.2.3, RFC 9001 §5.6).
func TestNoEarlyDataAfterKeys(t *testing.T) {
	old := testParams()
	tc := newTestConn(t, clientSide, stageStart, func(c *Config) { c.Resumed = &old }, func(s *scriptedTLS) { s.early = true })
	tc.clear()
	st := tc.open(bidi)
	tc.send(st, "early")
	tc.want("early", wire.ZeroRTT, wire.Stream{ID: 0, Data: []byte("early")})
	tc.step(stageSecure)
	tc.clear()
	tc.send(st, "late")
	tc.want("late", wire.OneRTT, wire.Stream{ID: 0, Offset: 5, Data: []byte("late")})
	tc.abandon()
}
