package transport

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// FuzzMuxRoute hands an endpoint any datagram. What it answers is smaller than
// three times what came, well formed, and never an answer to an answer of the
// same kind; what it takes for a first Initial can be accepted, refused, and
// taken by the connection.
func FuzzMuxRoute(f *testing.F) {
	seed := newMuxRig(f, nil)
	f.Add(seed.initial(nil, 1200).Data)
	f.Add(seed.initial(seed.mux.Tokens().New(1, wire.Version1, seed.path.Remote.Addr()), 1200).Data)
	f.Add(seed.initial(seed.mux.Tokens().retry(1, wire.Version1, seed.path.Remote, seed.dcid, seed.dcid), 1200).Data)
	f.Add(seed.short(seed.dcid, 60).Data)
	f.Add(seed.foreign(0xfaceb00c, make([]byte, 40), nil, 1200).Data)
	f.Add(wire.AppendVersionNegotiation(nil, 0, []byte("1"), []byte("2"), 1, 2))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, validate := range []bool{false, true} {
			r := newMuxRig(t, func(mc *MuxConfig) { mc.ValidateAddress = validate })
			d := &dgram.Datagram{Data: bytes.Clone(b), Path: r.path}
			c, v := r.route(d)
			switch v {
			case Deliver:
				t.Fatalf("delivered to %p, and there is no connection", c)
			case Reply:
				r.checkReply(b)
			case Initial:
				r.batch.Reset()
				if r.mux.Refuse(r.now, d, wire.ConnectionRefused, r.batch) {
					r.wantClose("refusal", d, wire.ConnectionRefused)
				}
				c := r.mux.Accept(r.now, d, r.cfg)
				c.Receive(r.now, d)
				c.Destroy(r.now)
				for e, ok := c.Next(); ok; e, ok = c.Next() {
					r.mux.Apply(c, &e)
				}
			}
			r.wantEmpty()
		}
	})
}

// checkReply checks a stateless reply to the datagram b, and routes it back.
func (r *muxRig) checkReply(b []byte) {
	reply := bytes.Clone(r.batch.Segment(0))
	if len(reply) > 3*len(b) {
		r.t.Fatalf("%d bytes in answer to %d", len(reply), len(b))
	}
	if reply[0]&0x80 == 0 {
		if len(reply) >= len(b) {
			r.t.Fatalf("a reset of %d bytes for %d", len(reply), len(b))
		}
		return
	}
	if _, v := r.route(&dgram.Datagram{Data: reply, Path: r.path}); v != Drop {
		r.t.Fatalf("the reply %x is answered: %v", reply, v)
	}
}

// fuzzer reads choices from the fuzzer's input.
type fuzzer struct{ b []byte }

func (f *fuzzer) byte() byte {
	if len(f.b) == 0 {
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

// take returns up to n bytes.
func (f *fuzzer) take(n int) []byte {
	n = min(n, len(f.b))
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

// fuzzOps is what an input of FuzzConn consists of: one byte says what to do,
// the next ones say how.
const (
	opPacket   = iota // type, length, payload: a sealed packet with these bytes as frames
	opFrames          // the same, with a sound frame in front
	opMutate          // position, bits: a sealed PING, damaged
	opDatagram        // length, bytes: raw
	opTruncate        // length: a sealed packet cut short
	opCoalesce        // two sealed packets in one datagram
	opTime            // advance
	opTimer           // advance to the next timer
	opPath            // the peer's address changes
	opAck             // the peer acknowledges everything
	opCommand         // something that the owner may do
	opCount
)

// FuzzConn lets a peer that holds the right keys, and an application, do
// anything in any order, at several stages of the handshake: nothing panics,
// nothing hangs, no timer stays in the past, amplification stays within three
// times, and no memory is left when the connection is gone.
func FuzzConn(f *testing.F) {
	for stage := range byte(4) {
		for side := range byte(2) {
			f.Add([]byte{stage<<1 | side})
			f.Add([]byte{stage<<1 | side, opCommand, 0, 40, opAck, opTime, 9, opPacket, 3, 12, 0x08, 1, 'a', 0x04, 1, 0, 9, 0x05, 1, 0, opTimer, opTimer})
			f.Add([]byte{stage<<1 | side, opPacket, 3, 2, 0x1a, 0, opPath, 1, opPacket, 3, 1, 1, opTimer, opCommand, 3, opCommand, 1, opAck, opCommand, 4, opTimer})
			f.Add([]byte{stage<<1 | side, opMutate, 3, 7, 3, opTruncate, 2, 9, opCoalesce, 0, 1, opDatagram, 30, 0x40, opCommand, 2, 3, opCommand, 8, opCommand, 7})
			f.Add([]byte{stage<<1 | side | 8, opCommand, 0, 9, opPacket, 1, 4, 0x0a, 0, 1, 'a', opTimer, opTimer, opTime, 255})
			f.Add([]byte{stage<<1 | side | 16, opCommand, 11, 40, opPacket, 3, 5, 0x31, 1, 'a', 0x30, 'b', opCommand, 23, 200, opAck, opTime, 9, opPacket, 3, 2, 0x1c, 0})
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2000 {
			return
		}
		in := &fuzzer{b: b}
		head := in.byte()
		at := stage(head >> 1 & 3)
		s := side(head&1 == 1)
		options := []any{s, at}
		if head&16 != 0 {
			options = append(options, takes(300), peerTakes(1000))
		}
		if head&8 != 0 {
			options = append(options, withEarly, resumed(nil))
		}
		tc := newTestConn(t, options...)
		tc.claimed = true
		for ops := 0; len(in.b) > 0 && ops < 200; ops++ {
			tc.fuzzOp(in)
			tc.fuzzCheck()
		}
		tc.fuzzEnd()
	})
}

// fuzzOp does one thing.
func (tc *testConn) fuzzOp(in *fuzzer) {
	tc.Helper()
	switch in.byte() % opCount {
	case opPacket:
		tc.fuzzDeliver(tc.fuzzPacket(in, nil))
	case opFrames:
		tc.fuzzDeliver(tc.fuzzPacket(in, wire.Ping{}.Append(nil)))
	case opMutate:
		b := tc.fuzzPacket(in, wire.Ping{}.Append(nil))
		at := int(in.byte())
		b[at%len(b)] ^= in.byte()
		tc.fuzzDeliver(b)
	case opDatagram:
		tc.fuzzDeliver(in.take(int(in.byte())))
	case opTruncate:
		b := tc.fuzzPacket(in, nil)
		tc.fuzzDeliver(b[:int(in.byte())%len(b)])
	case opCoalesce:
		tc.fuzzDeliver(append(tc.fuzzPacket(in, nil), tc.fuzzPacket(in, nil)...))
	case opTime:
		tc.advanceSafely(time.Duration(in.byte()) * time.Millisecond)
	case opTimer:
		if at := tc.conn.Deadline(); at != mono.Never {
			tc.advanceSafely(at.Sub(tc.now))
		}
	case opPath:
		tc.path.Remote = testRemote
		if n := in.byte(); n > 0 {
			ip := tc.path.Remote.Addr().As4()
			ip[3] += n % 8
			tc.path.Remote = netip.AddrPortFrom(netip.AddrFrom4(ip), 5000+uint16(n/8))
		}
	case opAck:
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			tc.fuzzAck(typ)
		}
	default:
		tc.fuzzCommand(in)
	}
}

// fuzzCommand does something that the owner may do.
func (tc *testConn) fuzzCommand(in *fuzzer) {
	c := tc.conn
	n := in.byte()
	var st *Stream
	if list := c.streams.sorted(); len(list) > 0 {
		st = list[int(n)%len(list)]
	}
	switch op := n % 12; {
	case op == 0:
		if st := c.OpenStream(tc.now, n&16 != 0); st != nil {
			c.Write(st, make([]byte, 10*int(in.byte())))
		}
	case op == 1:
		if !c.UpdateKey(tc.now) {
			c.Ping()
		}
	case op == 2 && c.hs != nil && tc.tls.staged >= stageHello:
		c.Handshake(tc.now, TLSEvent{Kind: TLSWriteData, Level: LevelHandshake, Data: in.take(5)})
	case op == 3:
		c.Migrate(tc.now, dgram.Path{Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n % 8}), 443), Remote: testRemote}, n&64 != 0)
	case op == 11:
		if most, _, ok := c.MaxDatagramSize(); ok {
			c.SendDatagram(tc.now, make([]byte, min(most, 8*int(in.byte()))))
		}
	case op == 4 && n == 4:
		c.Close(tc.now, true, 5, "enough")
	case st == nil:
	case op == 5 && st.CanSend():
		c.CloseWrite(st)
	case op == 6 && st.CanSend():
		c.Reset(st, 7)
	case op == 7 && st.CanReceive():
		c.Stop(tc.now, st, 8)
	case op == 8 && st.CanReceive():
		c.Read(tc.now, st, make([]byte, 1+int(in.byte())))
	case op == 9 && st.CanReceive():
		c.Discard(tc.now, st, min(len(c.Peek(st)), int(in.byte())))
	case st.CanSend():
		c.Write(st, make([]byte, int(in.byte())*20))
	}
	tc.pump()
}

// fuzzPacket returns a sealed packet of any type with frames from the input.
func (tc *testConn) fuzzPacket(in *fuzzer, front []byte) []byte {
	typ := []wire.PacketType{wire.Initial, wire.ZeroRTT, wire.Handshake, wire.OneRTT}[in.byte()%4]
	payload := append(front, in.take(int(in.byte()))...)
	p := testPacket{typ: typ, frames: []wire.Frame{rawFrame(append(payload, 0))}}
	if typ == wire.Initial && tc.side == serverSide {
		p.size = wire.MinInitialSize
	}
	return tc.build(p)
}

// fuzzAck acknowledges what the peer has of a space, unless it has nothing.
func (tc *testConn) fuzzAck(typ wire.PacketType) {
	if set := tc.peer.got[spaceOf(typ)]; len(set) > 0 {
		tc.fuzzDeliver(tc.build(testPacket{typ: typ, frames: []wire.Frame{wire.MakeAck(set, 0, nil)}}))
	}
}

func (tc *testConn) fuzzDeliver(b []byte) {
	tc.inject(b)
	tc.out = nil
}

// advanceSafely lets time pass, with a bound on how often timers may run.
func (tc *testConn) advanceSafely(d time.Duration) {
	tc.Helper()
	end := tc.now.Add(min(max(d, 0), time.Hour))
	for n := 0; tc.conn.Deadline() <= end; n++ {
		if n > 5000 {
			tc.Fatalf("%d timers in %v", n, d)
		}
		tc.advanceToTimer()
		tc.out = nil
	}
	tc.now = end
}

// fuzzCheck checks what must hold at any time.
func (tc *testConn) fuzzCheck() {
	tc.Helper()
	c := tc.conn
	if at := c.Deadline(); at != mono.Never && at < tc.now.Add(-time.Hour) {
		tc.Fatalf("a deadline %v ago", tc.now.Sub(at))
	}
	if c.Closed() {
		return
	}
	for i := range c.paths.list {
		p := &c.paths.list[i]
		if !p.validated && p.sent > 3*p.received && tc.side == serverSide {
			tc.Fatalf("%d bytes to %v, which sent %d", p.sent, p.addr.Remote, p.received)
		}
	}
	if n := len(c.paths.list); n > maxPaths {
		tc.Fatalf("%d paths", n)
	}
	if w := &c.waiting; len(w.list) > maxUndecryptable || w.bytes > maxUndecryptableBytes {
		tc.Fatalf("%d packets, %d bytes wait for keys", len(w.list), w.bytes)
	}
	if f := c.loss.InFlight(); f < 0 {
		tc.Fatalf("%d bytes in flight", f)
	}
	tc.events = tc.events[:0]
}

// fuzzEnd closes the connection and sees it out.
func (tc *testConn) fuzzEnd() {
	tc.Helper()
	tc.conn.Close(tc.now, false, 0, "")
	tc.pump()
	tc.advanceSafely(time.Hour)
	tc.takeDatagrams()
	tc.out = nil
	if tc.gone != 1 {
		tc.Fatalf("%d times EventGone an hour after the close", tc.gone)
	}
	if at := tc.conn.Deadline(); at != mono.Never {
		tc.Fatalf("a deadline after EventGone: %v", at)
	}
}

// FuzzTLSParameters hands a connection any transport parameters: it takes them
// or closes, and goes on to the end of the handshake.
func FuzzTLSParameters(f *testing.F) {
	p := testParams()
	p.HasInitialSCID, p.InitialSCID = true, wire.MakeConnectionID([]byte("peer-000"))
	f.Add(true, p.Append(nil))
	f.Add(false, p.Append(nil))
	f.Add(true, binary.BigEndian.AppendUint64(p.Append(nil), 0x2ab2))
	f.Fuzz(func(t *testing.T, server bool, b []byte) {
		tc := newTestConn(t, side(server), stageHello, func(x []byte) []byte {
			if server {
				return append(x, b...)
			}
			return b
		})
		tc.claimed = true
		tc.step(stageConfirmed)
		if tc.closed == nil {
			s := tc.conn.OpenStream(tc.now, true)
			if s != nil {
				tc.conn.Write(s, make([]byte, 5000))
			}
			tc.clear()
			tc.advanceSafely(time.Second)
			tc.fuzzCheck()
		}
		tc.clear()
		tc.fuzzEnd()
	})
}

// FuzzStatelessReply hands a client, before it has heard anything, what may be
// a Retry or Version Negotiation packet: only a right one does anything.
func FuzzStatelessReply(f *testing.F) {
	seed := newTestConn(f, clientSide, stageStart)
	seed.clear()
	dcid, scid := seed.conn.OriginalDCID(), seed.conn.ID()
	chosen := wire.MakeConnectionID([]byte("chosenID"))
	retry := wire.AppendRetry(nil, wire.Version1, &scid, &chosen, []byte("token"))
	tag := protect.RetryTag(wire.Version1, &dcid, retry)
	f.Add(append(retry, tag[:]...))
	f.Add(wire.AppendVersionNegotiation(nil, 0, scid.Bytes(), dcid.Bytes(), 2, 3))
	f.Add(wire.AppendVersionNegotiation(nil, 0, scid.Bytes(), dcid.Bytes(), 2, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		tc := newTestConn(t, clientSide, stageStart)
		tc.clear()
		tc.claimed = true
		if h, ok := wire.ParseLong(b); ok && h.Type == wire.Retry {
			tag := protect.RetryTag(wire.Version1, &dcid, b[:len(b)-16])
			if string(tag[:]) == string(b[len(b)-16:]) {
				tc.peer.setInitialKeys(h.SCID, tc.side)
			}
		}
		tc.inject(b)
		if tc.closed != nil && tc.closed.Kind != CloseVersion {
			t.Fatalf("closed: %+v", tc.closed)
		}
		if tc.closed == nil && !tc.conn.ids.retried {
			tc.advanceToPTO()
		}
		tc.clear()
	})
}
