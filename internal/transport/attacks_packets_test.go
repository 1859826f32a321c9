package transport

// Attacks on what reads packets: lengths, bits and phases that lie. Each is held to
// the acceptance frame: nothing answers what is not authentic, the connection goes
// on or closes with the code that is due, and nothing is kept.

import (
	"bytes"
	"cmp"
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// canary says that the connection still carries data both ways.
func (tc *testConn) canary() {
	tc.Helper()
	tc.clear()
	st := tc.accept((!tc.side).streamID(bidi, 20), "are you there")
	if got, err := tc.read(st); got != "are you there" || err != nil {
		tc.Fatalf("the canary reads %q, %v", got, err)
	}
	tc.send(st, "yes")
	tc.want("the canary's answer", wire.OneRTT, wire.Stream{ID: st.ID(), Data: []byte("yes")})
	tc.abandon()
}

// S-32: whatever the bytes are, each frame that is read takes some of them, and what
// cannot be read fails with one of two codes.
func TestS32ParserProgress(t *testing.T) {
	besiege(t, 0)
	const seed = 32
	t.Logf("seed %d", seed)
	r := mrand.New(mrand.NewPCG(seed, 0))
	frames := 0
	for range 200_000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if len(b) > 0 && r.IntN(2) == 0 {
			b[0] &= 0x1f // a known type
		}
		for c := varint.NewCursor(b); c.Len() > 0; frames++ {
			before := c.Len()
			_, err := wire.ParseFrame(&c)
			if err != nil {
				e, ok := err.(*wire.Error)
				if !ok || e.Code != wire.FrameEncodingError && e.Code != wire.ProtocolViolation {
					t.Fatalf("%x: %v", b, err)
				}
				break
			}
			if c.Len() >= before {
				t.Fatalf("%x: the cursor stands still at %d", b, before)
			}
		}
	}
	if frames < 50_000 {
		t.Errorf("only %d frames were read", frames)
	}
}

// S-32: runs of PADDING and PING fill a packet and cost one answer.
func TestS32Runs(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for name, fill := range map[string]byte{"PADDING": 0, "PING": 1} {
			tc := newTestConn(t, s)
			before := len(tc.datagrams)
			tc.write(wire.OneRTT, evil.Raw(bytes.Repeat([]byte{fill}, 1100)), wire.Ping{})
			tc.advance(100 * time.Millisecond)
			if n := len(tc.datagrams) - before; n != 1 {
				t.Errorf("%s: %d answers", name, n)
			}
			tc.canary()
		}
	})
}

// S-33: connection IDs of any length in long headers. Over 20 bytes they are no
// packet of version 1. (TestMuxVersionNegotiation: one of another version is answered.) (RFC 9000 §17.2)
func TestS33ConnectionIDLengths(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for n := range 256 {
			tc := connFor(t, s, wire.Handshake)
			tc.clear()
			before, sent := tc.conn.Stats().PacketsReceived, len(tc.datagrams)
			id := bytes.Repeat([]byte{7}, n)
			for _, p := range []evil.Packet{{SCID: id, DCID: tc.peer.dcid.Bytes()}, {SCID: id, DCID: id}} {
				p.Type, p.Number, p.Frames = wire.Handshake, 100, []wire.Frame{wire.Ping{}}
				tc.inject(tc.peer.keys.Seal(p))
			}
			if got := tc.conn.Stats().PacketsReceived; got != before || len(tc.datagrams) != sent {
				t.Errorf("IDs of %d bytes: %d packets taken, %d answers", n, got-before, len(tc.datagrams)-sent)
			}
			tc.abandon()
		}
	})
	t.Run("no connection", func(t *testing.T) {
		for n := range 256 {
			r := newMuxRig(t, nil)
			dcid, scid := bytes.Repeat([]byte{1}, n), bytes.Repeat([]byte{2}, 255-n)
			r.want("version 1", r.foreign(wire.Version1, dcid, scid, 1200), Drop)
		}
	})
}

// S-34, S-35: what is not authentic is not judged, and costs the same whatever its
// key phase bit says: no key is derived for it.
func TestS35EqualWork(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		garbage := tc.build(testPacket{typ: wire.OneRTT, size: 1200, frames: []wire.Frame{wire.Ping{}}})
		garbage[len(garbage)-1] ^= 1
		work := func(flip byte) float64 {
			b := make([]byte, len(garbage))
			d := &dgram.Datagram{Path: tc.path}
			return testing.AllocsPerRun(200, func() {
				copy(b, garbage)
				b[0] ^= flip
				d.Data = b
				tc.conn.Receive(tc.now, d)
			})
		}
		for _, flip := range []byte{0, 0x04, 0x18, 0x1c, 0x20} {
			if n := work(flip); n != 0 && !siege.Logs {
				t.Errorf("bits %#x: %v allocations for a packet that is not authentic", flip, n)
			}
		}
		if n := tc.conn.Stats().KeyUpdates; n != 0 {
			t.Errorf("%d key updates", n)
		}
		tc.wantIdle("garbage")
		tc.canary()
	})
}

// S-40: a reason that is not there, in every packet that may close.
func TestS40ReasonLength(t *testing.T) {
	besiege(t, 0)
	const top = 1<<62 - 1
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			for _, f := range []evil.Raw{
				evil.Encode(wire.FrameConnectionClose, 0, 0, top), evil.Encode(wire.FrameConnectionClose, top, top, 1<<30),
				evil.Encode(wire.FrameConnectionClose, 0, 0, 5000),
			} {
				tc := connFor(t, s, typ)
				tc.write(typ, f)
				tc.wantClose("a reason that is not there", wire.FrameEncodingError)
			}
		}
	})
}

// S-40: a storm of closes is one close: the first says why, and none is answered.
func TestS40CloseStorm(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, wire.Close{App: true, Code: 7, Reason: []byte("first")})
		tc.wantClosed("by the peer", ClosePeer)
		before := len(tc.datagrams)
		for n := range uint64(10_000) {
			tc.write(wire.OneRTT, wire.Close{App: n%2 == 0, Code: n})
		}
		if n := len(tc.datagrams) - before; n != 0 || tc.closed.Code != 7 || tc.closed.Reason != "first" {
			t.Errorf("%d answers, closed %+v", n, *tc.closed)
		}
		tc.wantIdle("draining")
	})
}

// S-46: a connection that comes to the last packet number there is (lowered here) ends, without a word
// and without having used one twice, which the rig looks for (RFC 9000 §12.3).
func TestS46LastPacketNumber(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		if lastPacketNumber != 1<<62-1 {
			t.Errorf("the last number is %d", lastPacketNumber)
		}
		defer func(n int64) { lastPacketNumber = n }(lastPacketNumber)
		lastPacketNumber = 500
		for n := 0; tc.closed == nil; n++ {
			if n > 1000 {
				t.Fatal("past the last number")
			}
			tc.conn.Ping()
			tc.pump()
			tc.ack(wire.OneRTT)
			tc.clearTo(wire.FrameConnectionClose)
		}
		tc.wantClosed("no number is left", CloseSilent)
		tc.wantIdle("in silence")
		if last := tc.peer.got[recovery.App].Max(); last > 500 || last < 300 {
			t.Errorf("ended at %d", last)
		}
		tc.write(wire.OneRTT, wire.Ping{})
		tc.wantIdle("and for good")
	})
}

// S-47: every datagram of a transfer comes ten times, and all of them once more ten seconds later. Each is
// processed once, and what tells them apart stays small.
func TestS47Replay(t *testing.T) {
	besiege(t, 0)
	p := newPair(t, nil)
	var all []flight
	replaying := false
	p.drop = func(from *node, b []byte) bool {
		if !replaying {
			f := flight{to: p.other(from), data: bytes.Clone(b), path: dgram.Path{Local: p.other(from).addr, Remote: from.addr}}
			all = append(all, f)
			for i := range 9 {
				f.at, f.data = p.now.Add(p.delay).Add(time.Duration(i)*time.Millisecond), bytes.Clone(b)
				p.flight = append(p.flight, f)
				slices.SortStableFunc(p.flight, func(a, b flight) int { return cmp.Compare(a.at, b.at) })
			}
		}
		return false
	}
	p.handshake()
	want := bytes.Repeat([]byte("0123456789"), 5_000)
	st := p.client.conn.OpenStream(p.now, bidi)
	if n, err := p.client.conn.Write(st, want); n != len(want) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	must(p.client.conn.CloseWrite(st))
	p.flush(p.client)
	var got []byte
	read := func() {
		for _, e := range p.server.events {
			if e.Kind == EventStream {
				b := make([]byte, 1<<20)
				n, _ := p.server.conn.Read(p.now, e.Stream, b)
				got = append(got, b[:n]...)
			}
		}
	}
	p.runUntil(2*time.Second, func() bool { read(); return len(got) >= len(want) })
	before := p.server.conn.Stats()
	if before.Duplicates < uint64(len(want)/1452) {
		t.Errorf("%d duplicates were seen", before.Duplicates)
	}
	p.rest()
	replaying, p.now = true, p.now.Add(10*time.Second)
	before = p.server.conn.Stats()
	server := p.server.conn
	for _, f := range all {
		p.deliver(f)
		if again := p.server.conn; again != server { // a first packet, which begins anew, and gets no further
			again.Destroy(p.now)
			p.server.settle(p.now)
			p.server.mux.Remove(again)
			_ = p.server.tls.Close()
			p.server.conn = server
		}
	}
	read()
	after := p.server.conn.Stats()
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, sent were %d", len(got), len(want))
	}
	if n := after.PacketsReceived - before.PacketsReceived; n != 0 {
		t.Errorf("%d packets counted again", n)
	}
	for _, n := range []*node{p.client, p.server} {
		if r := n.conn.acks.Ranges(); r > 64 || n.conn.Closed() {
			t.Errorf("%s: %d ranges, closed %v", n.name, r, n.closed())
		}
	}
	p.client.conn.Destroy(p.now)
	p.server.conn.Destroy(p.now)
}
