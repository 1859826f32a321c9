package transport

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Attacks that fill something to its bound and go on. Each test carries the number that
// SECURITY.md knows it by.

// held returns the bytes in use after a collection, what the fake peer remembers left out.
func (tc *testConn) held() int64 {
	tc.pump()
	tc.out, tc.datagrams, tc.events = nil, nil, nil
	return heap()
}

// besides returns what held does, but for the records of packets that nobody has acknowledged. A thousand that only
// acknowledge are remembered (recovery.MaxQuietPackets) and as many as the window lets go, in lists with room for more.
func (tc *testConn) besides() int64 {
	tc.Helper()
	records := siege.Retained(&tc.conn.loss, tc.cfg)
	if records > 144<<10 {
		tc.Errorf("%d bytes of records", records)
	}
	return tc.held() - records
}

// heap returns the bytes in use after a collection. With logs on that says nothing: the test holds
// all that they say, whose length has a bound of its own (takeLog).
func heap() int64 {
	if siege.Logs {
		return 0
	}
	return siege.Heap()
}

// until repeats an attack till the connection closes, and returns how often that was.
func (tc *testConn) until(most int, attack func(n int64)) int {
	tc.Helper()
	n := 0
	for ; tc.closed == nil; n++ {
		if n > most {
			tc.Fatalf("open after %d rounds", n)
		}
		attack(int64(n))
		tc.out, tc.datagrams, tc.events = nil, nil, nil
	}
	return n
}

// wantCut says that the connection has ended itself because of a limit, with that code.
func (tc *testConn) wantCut(reason string, code wire.ErrorCode) {
	tc.Helper()
	tc.wantClosed(reason, CloseLocal)
	tc.out = nil
	if tc.closed.Code != uint64(code) || !tc.closed.Limit {
		tc.Errorf("%s: closed with %+v, want %v, past a limit", reason, *tc.closed, code)
	}
}

func challengeOf(n int64) wire.PathChallenge {
	var data [8]byte
	binary.BigEndian.PutUint64(data[:], uint64(n))
	return wire.PathChallenge{Data: data}
}

// Challenges cost the peer few bytes and us a packet of full size each (RFC 9000 §8.2.2).
func TestS01PathChallengeFlood(t *testing.T) {
	besiege(t, 0)
	t.Run("queue", func(t *testing.T) {
		most := limits.Bound(t, "path-responses")
		tc := newTestConn(t, serverSide)
		before := tc.held()
		for i := range int64(2000) {
			d := &dgram.Datagram{Path: tc.path, Data: tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{challengeOf(i)}})}
			tc.provoked(len(d.Data), func() { tc.take(d) })
			if n := len(tc.conn.paths.active().responses); n > most {
				t.Fatalf("%d answers wait", n)
			}
		}
		for i := 2000 - int64(most); i < 2000; i++ {
			tc.want("the newest are answered", wire.OneRTT, wire.PathResponse(challengeOf(i)))
			if tc.last.datagram.size < wire.MinInitialSize || tc.last.datagram.path != tc.path {
				t.Errorf("%d bytes to %v", tc.last.datagram.size, tc.last.datagram.path)
			}
		}
		tc.wantIdle("one answer each")
		if grown := tc.held() - before; grown > 64<<10 {
			t.Errorf("%d bytes more", grown)
		}
	})
	t.Run("without acknowledgements", func(t *testing.T) {
		tc := newTestConn(t, serverSide)
		before := tc.besides()
		answers := 0
		for i := range int64(2400) {
			tc.write(wire.OneRTT, challengeOf(i))
			for _, d := range tc.datagrams {
				if d.size >= wire.MinInitialSize {
					answers++
				}
			}
			tc.out, tc.datagrams = nil, nil
		}
		tc.wantOpen("a nuisance, and no more")
		if got, window := tc.conn.loss.InFlight(), tc.conn.loss.Window(); got > window {
			t.Errorf("%d bytes in flight, window %d", got, window)
		}
		if most := tc.conn.loss.Window()/wire.MinInitialSize + 2; answers > most {
			t.Errorf("%d answers sent, none of which was acknowledged, window of %d", answers, most)
		}
		if grown := tc.besides() - before; grown > 64<<10 {
			t.Errorf("%d bytes more", grown)
		}
		tc.abandon()
	})
	t.Run("on another path", func(t *testing.T) {
		most := limits.Bound(t, "path-probes")
		tc := newTestConn(t, serverSide)
		tc.write(wire.OneRTT, newID(1, 0), newID(2, 0))
		tc.path.Remote = addrPort("203.0.113.9:9")
		answers, before := 0, tc.besides()
		for i := range int64(1000) {
			tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{challengeOf(i)}, size: wire.MinInitialSize})
			answers = len(tc.datagrams)
			tc.out, tc.events = nil, nil
		}
		if elsewhere := tc.sent(tc.path.Remote) / wire.MinInitialSize; elsewhere > most {
			t.Errorf("%d answers, of %d datagrams", elsewhere, answers)
		}
		if n := tc.conn.Stats().UselessFrames; n < uselessWork*999 { // every challenge, answered or not
			t.Errorf("1,000 challenges have cost %d", n)
		}
		if grown := tc.besides() - before; grown > 64<<10 {
			t.Errorf("%d bytes more", grown)
		}
		tc.abandon()
	})
	t.Run("a million", challengeMillion)
	t.Run("for ever", func(t *testing.T) {
		tc := newTestConn(t, serverSide)
		before, most := tc.besides(), int64(0)
		tc.until(11_000, func(n int64) {
			if tc.write(wire.OneRTT, challengeOf(n)); n%500 == 0 {
				tc.out, tc.datagrams = nil, nil
				most = max(most, tc.besides()-before)
			}
		})
		if most > 64<<10 {
			t.Errorf("%d bytes more", most)
		}
		tc.wantCut("too many challenges", wire.InternalError)
	})
}

// challengeMillion stays within the budget, so that the connection lives for hours, and makes it as
// poor as it can: of three packets it acknowledges one, after two seconds.
func challengeMillion(t *testing.T) {
	most, each := limits.Bound(t, "path-responses"), 155 // fit in a packet
	tc := newTestConn(t, serverSide)
	before, answered := tc.held(), int64(-1)
	for n, frames := int64(0), make([]wire.Frame, each); n < int64(siege.Scaled(1_000_000)); {
		for i := range frames {
			frames[i], n = challengeOf(n), n+1
		}
		tc.write(wire.OneRTT, frames...)
		if queued := len(tc.conn.paths.active().responses); queued > most {
			t.Fatalf("%d answers wait", queued)
		}
		tc.advance(2 * time.Second)
		var some ranges.Set
		for i := range tc.out {
			p := &tc.out[i]
			if p.pn%3 == 0 {
				some.Add(p.pn, p.pn+1)
			}
			for _, f := range p.frames {
				r, ok := f.(wire.PathResponse)
				if !ok {
					continue
				}
				v := int64(binary.BigEndian.Uint64(r.Data[:]))
				if v <= answered || p.datagram.size < wire.MinInitialSize || p.datagram.path != tc.path {
					t.Fatalf("an answer to challenge %d in %d bytes to %v, after one to %d", v, p.datagram.size, p.datagram.path.Remote, answered)
				}
				answered = v
			}
		}
		tc.out, tc.datagrams, tc.events = nil, nil, nil
		if len(some) > 0 {
			tc.write(wire.OneRTT, wire.MakeAck(some, 0, nil))
		}
	}
	tc.wantOpen("a nuisance within its budget")
	if grown := tc.held() - before; grown > 64<<10 {
		t.Errorf("%d bytes more", grown)
	}
}

// Each NEW_CONNECTION_ID retires the one before. If the peer acknowledges nothing, that ends
// with CONNECTION_ID_LIMIT_ERROR; if it does, with its budget. What is remembered of
// retired IDs is bounded, and a jump over a quintillion of them costs nothing.
func TestS02RetirePriorTo(t *testing.T) {
	besiege(t, 0)
	each := limits.Bound(t, "retirements-per-id")
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, newID(1<<62-1000, 1<<62-1000))
		tc.want("the handshake's", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
		pending := 0
		tc.until(1000, func(n int64) {
			tc.write(wire.OneRTT, newID(1<<62-999+n, 1<<62-999+n))
			pending = len(tc.conn.ids.retire)
			if n := len(tc.conn.ids.remote); n > 4 {
				t.Fatalf("%d IDs kept", n)
			}
		})
		if pending != each*4+1 {
			t.Errorf("closed at %d retirements", pending)
		}
		tc.wantCut("never acknowledged", wire.ConnectionIDLimitError)
	})
	runs := limits.Bound(t, "retired-runs")
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		most := 0
		rounds := tc.until(11_000, func(n int64) {
			tc.write(wire.OneRTT, newID(3*n+2, 3*n+2))
			tc.ack(wire.OneRTT)
			tc.peer.got[recovery.App].DropFirst(1)
			most = max(most, len(tc.conn.ids.retired))
		})
		if most != runs {
			t.Errorf("%d runs of sequence numbers remembered", most)
		}
		if rounds < 1000 {
			t.Errorf("closed after %d", rounds)
		}
		tc.wantCut("acknowledged, without end", wire.InternalError)
	})
}

// However many IDs the configuration allows, the peer gets no more than we care for.
func TestS02RemoteIDs(t *testing.T) {
	besiege(t, 0)
	most := int64(limits.Bound(t, "remote-ids"))
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(c *Config) { c.Params.ActiveCIDLimit = 1000 })
		for n := int64(1); n < most; n++ {
			tc.write(wire.OneRTT, newID(n, 0))
		}
		tc.wantOpen("as many as allowed")
		tc.write(wire.OneRTT, newID(most, 0))
		tc.wantCut("one more", wire.ConnectionIDLimitError)
	})
}

// The peer gives back each ID of ours as soon as it has it, so that we make more.
func TestS03RetireFlood(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		next := int64(1) // the peer goes on sending to 0
		late := limits.Bound(t, "late-ids")
		full := false
		rounds := tc.until(20_000, func(int64) {
			if next <= tc.conn.ids.localSent {
				tc.write(wire.OneRTT, wire.RetireConnectionID{Seq: next})
				next++
			}
			tc.ack(wire.OneRTT)
			tc.peer.got[recovery.App].DropFirst(1)
			if n := len(tc.conn.ids.local); n > maxLocalIDs {
				t.Fatalf("%d IDs of ours", n)
			}
			if ids := tc.conn.ids.late; ids != nil && len(ids.ids) > late {
				t.Fatalf("%d IDs of ours that the peer has retired", len(ids.ids))
			} else if ids != nil && len(ids.ids) == late {
				full = true
			}
		})
		if rounds < 1000 || !full {
			t.Errorf("closed after %d; as many retired IDs as may be: %t", rounds, full)
		}
		tc.wantCut("without end", wire.InternalError)
	})
}

// Handshake bytes end somewhere at every level, in order or not (RFC 9000 §7.5).
func TestS04CryptoTotal(t *testing.T) {
	besiege(t, 0)
	bounds := map[wire.PacketType]int{
		wire.Initial:   limits.Bound(t, "crypto-initial"),
		wire.Handshake: limits.Bound(t, "crypto-handshake"),
		wire.OneRTT:    limits.Bound(t, "crypto-app"),
	}
	bothSides(t, func(t *testing.T, s side) {
		for typ, bound := range bounds {
			t.Run(typ.String(), func(t *testing.T) {
				step := map[wire.PacketType]stage{wire.Initial: stageStart, wire.Handshake: stageHello, wire.OneRTT: stageConfirmed}[typ]
				tc := newTestConn(t, s, step, func(s *scriptedTLS) { s.manual = step == stageStart })
				tc.tls.manual = true
				tc.ignore(wire.FrameCrypto)
				off := int64(0)
				for ; tc.closed == nil && off < 20<<20; off += 1000 {
					tc.write(typ, wire.Crypto{Offset: off, Data: make([]byte, 1000)})
				}
				if off > int64(bound)+1000 || off < int64(bound)/2 {
					t.Errorf("closed at %d, bound %d", off, bound)
				}
				tc.wantCut("past the bound", wire.CryptoBufferExceeded)
			})
		}
	})
	t.Run("after Version Negotiation", func(t *testing.T) {
		tc := newTestConn(t, stageStart, func(s *scriptedTLS) { s.manual = true })
		tc.again(wire.Version2)
		tc.ignore(wire.FrameCrypto)
		tc.write(wire.Initial, wire.Crypto{Offset: int64(bounds[wire.Initial]), Data: make([]byte, 1)})
		tc.wantCut("past the bound", wire.CryptoBufferExceeded)
	})
	window := int64(limits.Bound(t, "crypto-window"))
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.write(wire.OneRTT, wire.Crypto{Offset: window, Data: []byte{1}})
		tc.wantCut("past the window", wire.CryptoBufferExceeded)
	})
}

// Bytes with holes between them cost more memory than they carry.
func TestS05Holes(t *testing.T) {
	besiege(t, 0)
	holes := func(tc *testConn, id int64, n int) {
		var frames []wire.Frame
		for i := range n {
			if frames = append(frames, data(id, int64(2+2*i), 1, false)); len(frames) == 100 || i == n-1 {
				tc.write(wire.OneRTT, frames...)
				tc.events = nil
				frames = nil
			}
		}
	}
	t.Run("of a stream", func(t *testing.T) {
		most := limits.Bound(t, "stream-holes")
		tc := newTestConn(t, serverSide)
		holes(tc, 0, most)
		tc.wantOpen("up to the bound")
		tc.write(wire.OneRTT, data(0, int64(2+2*most), 1, false))
		tc.wantCut("one more", wire.InternalError)
	})
	t.Run("of all streams", func(t *testing.T) {
		most := limits.Bound(t, "connection-holes")
		tc := newTestConn(t, serverSide)
		before := tc.held()
		for n := range int64(100) {
			holes(tc, clientSide.streamID(bidi, n), most/100)
		}
		tc.wantOpen("up to the bound")
		if grown := tc.held() - before; grown > 2*int64(tc.conn.params.MaxData)+128<<10 {
			t.Errorf("%d bytes more", grown)
		}
		tc.write(wire.OneRTT, data(0, 1<<17, 1, false))
		tc.wantCut("one more", wire.InternalError)
	})
}

// The first frame names the highest stream that is allowed, again and again as the limit rises.
func TestS06StreamIDGap(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, func(c *Config) { c.Params.MaxStreamsBidi, c.Params.MaxStreamsUni = 1<<20, 1<<20 })
	tc.ignore(wire.FrameMaxStreamsBidi, wire.FrameMaxStreamsUni)
	before := tc.held()
	for i := range int64(100) {
		for k, uni := range [2]bool{false, true} {
			id := clientSide.streamID(uni, tc.conn.streams.granted[k]-1-i)
			tc.write(wire.OneRTT, wire.Stream{ID: id, Fin: true, HasLen: true})
		}
	}
	if n := tc.conn.Streams(); n > 200 {
		t.Errorf("%d streams for 200 that were named", n)
	}
	if grown := tc.held() - before; grown > 300<<10 {
		t.Errorf("%d bytes for two million implied streams", grown)
	}
	tc.abandon()
}

// Streams that are opened and cut off at once, at line rate.
func TestS07StreamChurn(t *testing.T) {
	besiege(t, 0)
	burst, each := limits.Bound(t, "useless-burst"), limits.Bound(t, "useless-work")
	tc := newTestConn(t, serverSide)
	tc.ignore(wire.FrameMaxStreamsBidi, wire.FrameMaxData)
	rounds := tc.until(burst, func(n int64) {
		tc.write(wire.OneRTT, wire.ResetStream{ID: clientSide.streamID(uni, n)})
		for _, e := range tc.events {
			if e.Kind == EventStream {
				tc.read(e.Stream) // the application hears of it
			}
		}
		tc.ignore(wire.FrameMaxStreamsUni)
		if got := tc.conn.Streams(); got > 1 {
			t.Fatalf("%d streams after %d resets", got, n)
		}
	})
	if want := burst / each; rounds < want || rounds > want+1 {
		t.Errorf("closed after %d streams, want %d", rounds, want)
	}
	tc.wantCut("no end of it", wire.InternalError)
}

// ACK frames with as many ranges as fit, and with counts that lie.
func TestS10AckRangeFlood(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		top := tc.conn.loss.Next(recovery.App) - 1
		lie := encode(wire.FrameAck, uint64(top), 0, 1<<62-1, 0)
		if n := testing.AllocsPerRun(100, func() {
			if c := varint.NewCursor(lie); c.Len() > 0 {
				_, _ = wire.ParseFrame(&c)
			}
		}); n > 4 { // the frame and the error; what the count asks for is never made
			t.Errorf("%v allocations for a count that lies", n)
		}
		tc.write(wire.OneRTT, rawFrame(lie))
		tc.wantClose("a count of 2^62-1 ranges", wire.FrameEncodingError)

		tc = newTestConn(t, s)
		tc.write(wire.OneRTT, rawFrame(encode(wire.FrameAck, 0, 0, 0, 1)))
		tc.wantClose("a first range below 0", wire.FrameEncodingError)

		tc = newTestConn(t, s)
		tc.write(wire.OneRTT, rawFrame(encode(wire.FrameAck, uint64(top), 0, 1, 0, 1<<61, 0)))
		tc.wantClose("a gap below 0", wire.FrameEncodingError)
	})
	tc := newTestConn(t, serverSide)
	for range 100 { // so that there is much that can be acknowledged
		tc.conn.Ping()
		tc.pump()
		tc.out, tc.datagrams = nil, nil
		tc.ackSparsely()
	}
	tc.maximalAcks(t)
	tc.until(11_000, func(int64) { tc.ackSparsely() })
	tc.wantCut("acknowledgements of nothing new", wire.InternalError)
}

// maximalAcks takes ACK frames that name as many ranges as fit, again and again, which
// costs no memory at all.
func (tc *testConn) maximalAcks(t *testing.T) {
	const rounds = 200
	top := tc.conn.loss.Next(recovery.App) - 1
	frame := []uint64{uint64(top), 0, uint64((top - 1) / 2), 0}
	for pn := top - 2; pn >= 0 && len(frame) < 1000; pn -= 2 {
		frame = append(frame, 0, 0)
	}
	frame[2] = uint64(len(frame)-4) / 2
	var datagrams []*dgram.Datagram
	for range rounds + 2 {
		datagrams = append(datagrams, tc.datagramOf(testPacket{typ: wire.OneRTT, frames: []wire.Frame{rawFrame(encode(wire.FrameAck, frame...))}}))
	}
	next := 0
	take := func() {
		tc.conn.Receive(tc.now, datagrams[next])
		next++
	}
	take() // the first may have news
	tc.wantOpen("ranges")
	if n := testing.AllocsPerRun(rounds, take); n != 0 && !siege.Logs {
		t.Errorf("%v allocations for an ACK of %d ranges", n, frame[2]+1)
	}
	tc.wantOpen("ranges")
}

// ackSparsely acknowledges every second packet, as far back as fits in a frame.
func (tc *testConn) ackSparsely() {
	var pns []int64
	top := tc.peer.got[recovery.App].Max()
	for pn := top; pn >= 0 && len(pns) < 50; pn -= 2 {
		if tc.peer.got[recovery.App].Contains(pn) {
			pns = append(pns, pn)
		}
	}
	tc.write(wire.OneRTT, ackOf(pns...))
}

// A peer that says nothing but how long it took makes no timer run away (RFC 9002 §5.3).
func TestS12AckDelayGames(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(p *wire.Parameters) { p.AckDelayExponent = 20 })
		for range 100 {
			tc.conn.Ping()
			tc.pump()
			tc.advance(10 * time.Millisecond)
			tc.write(wire.OneRTT, wire.MakeAck(tc.peer.got[recovery.App], 1<<62-1, nil))
			tc.out = nil
		}
		tc.wantOpen("a lie, no error")
		rtt := tc.conn.Stats().RTT
		if pto := tc.conn.loss.PTO(recovery.App); rtt.Smoothed < 5*time.Millisecond || rtt.Smoothed > time.Second || pto < time.Millisecond || pto > 2*time.Second {
			t.Errorf("round trip %v, probe timeout %v", rtt.Smoothed, pto)
		}
		tc.abandon()
	})
}

// A peer that asks for data, acknowledges none and goes on talking does not keep a connection.
func TestS13AckWithholding(t *testing.T) {
	besiege(t, 0)
	patience, probes := time.Duration(limits.Bound(t, "no-progress")), limits.Bound(t, "no-progress-probes")
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(c *Config) { c.Params.MaxIdleTimeout = 10 * time.Second }, func(p *wire.Parameters) { p.MaxIdleTimeout = 10 * time.Second })
		before := tc.held()
		tc.send(tc.open(bidi), string(make([]byte, 60_000)))
		start := tc.now
		for tc.closed == nil && tc.now.Sub(start) < 3*patience {
			tc.advance(time.Second)
			tc.write(wire.OneRTT, wire.Ping{})
			tc.out, tc.datagrams = nil, nil
			if got := tc.conn.loss.PTOCount(); got > 2*probes {
				t.Fatalf("%d probe timeouts", got)
			}
		}
		if tc.closed == nil {
			t.Fatalf("open after %v and %d probe timeouts", tc.now.Sub(start), tc.conn.loss.PTOCount())
		}
		if lived := tc.now.Sub(start); lived < 30*time.Second {
			t.Errorf("closed after %v", lived)
		}
		if grown := tc.held() - before; grown > 64<<10+int64(tc.conn.loss.Window()) {
			t.Errorf("%d bytes more", grown)
		}
		tc.wantCut("nothing acknowledged", wire.ProtocolViolation)
	})
}

// NEW_TOKEN frames: a long one is of no use, and a client does not take a million.
func TestS22NewTokenFlood(t *testing.T) {
	besiege(t, 0)
	most := limits.Bound(t, "token-length")
	tc := newTestConn(t, clientSide)
	tc.write(wire.OneRTT, wire.NewToken{Token: make([]byte, most)})
	tc.wantEvent("as long as may be", EventNewToken)
	tc.write(wire.OneRTT, wire.NewToken{Token: make([]byte, most+1)})
	tc.wantNoEvent("longer", EventNewToken)
	tc.until(11_000, func(int64) { tc.write(wire.OneRTT, wire.NewToken{Token: []byte("again")}) })
	tc.wantCut("no end of it", wire.InternalError)

	tc = newTestConn(t, serverSide)
	tc.write(wire.OneRTT, wire.NewToken{Token: []byte("from a client")})
	tc.wantClose("to a server", wire.ProtocolViolation)
}

// Every packet about a path is lost, and acknowledged when the path is long given up.
func TestS27LostPathProbes(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0), newID(2, 0))
	tc.ignore(wire.FramePathChallenge, wire.FrameRetireConnectionID, wire.FramePing)
	tc.path.Remote = addrPort("203.0.113.9:9")
	tc.write(wire.OneRTT, wire.Ping{})
	probes := tc.peer.got[recovery.App]
	tc.clear()
	pto := tc.conn.loss.PTO(recovery.App)
	tc.advance(10 * pto)
	if e := tc.wantEvent("given up", EventPathValidation); e.OK {
		t.Errorf("%+v", e)
	}
	if tc.conn.Path().Remote != testRemote {
		t.Errorf("path %v", tc.conn.Path().Remote)
	}
	tc.path.Remote = testRemote
	tc.write(wire.OneRTT, wire.MakeAck(probes, 0, nil))
	tc.ack(wire.OneRTT)
	tc.wantOpen("late acknowledgements")
	tc.clear()
	tc.send(tc.open(bidi), "canary")
	tc.wantType("it goes on", wire.OneRTT, wire.FrameStream)
}

// Figures without end in the peer's parameters commit us to nothing.
func TestS48AdvertisedMemory(t *testing.T) {
	besiege(t, 0)
	most := limits.Bound(t, "local-ids")
	bothSides(t, func(t *testing.T, s side) {
		honest := newTestConn(t, s)
		tc := newTestConn(t, s, func(p *wire.Parameters) {
			p.MaxData, p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 1<<62-1, 1<<62-1, 1<<62-1, 1<<62-1
			p.MaxStreamsBidi, p.MaxStreamsUni, p.ActiveCIDLimit, p.MaxIdleTimeout = 1<<60, 1<<60, 1<<62-1, math.MaxInt64
		})
		if n := len(tc.conn.ids.local); n > most || n < len(honest.conn.ids.local) {
			t.Errorf("%d connection IDs issued", n)
		}
		st := tc.open(bidi)
		n, err := tc.conn.Write(st, make([]byte, 64<<20))
		if err != nil || n > 1<<20 {
			t.Errorf("%d bytes taken from the application, %v", n, err)
		}
		honest.abandon()
		tc.abandon()
	})
}

// A connection whose idle timeout is far too short lives for three probe timeouts all the
// same, and a keep-alive does not outwit the zombie's end (RFC 9000 §10.1).
func TestS49IdleTimeoutFloor(t *testing.T) {
	besiege(t, 0)
	for _, idle := range []time.Duration{time.Millisecond, time.Hour, math.MaxInt64} {
		bothSides(t, func(t *testing.T, s side) {
			tc := newTestConn(t, s, func(p *wire.Parameters) { p.MaxIdleTimeout = idle }, func(c *Config) { c.Params.MaxIdleTimeout = 0 })
			least := 3 * tc.conn.loss.PTO(recovery.App)
			if got := tc.conn.idle.timeout(tc.conn); got < least || got != 0 && tc.now.Add(got) < tc.now {
				t.Errorf("a timeout of %v for %v, less than %v", got, idle, least)
			}
			tc.abandon()
		})
	}
}

// Whatever numbers time takes, sums do not wrap (RFC 9002 §6.2.1). A clock that jumps back makes nothing lost
// or late, also if what was sent before is acknowledged after it.
func TestS45ArithmeticEnds(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, rtt := range []time.Duration{0, time.Nanosecond, time.Hour} {
			tc := newTestConn(t, s, noIdle, func(p *wire.Parameters) { p.MaxIdleTimeout = 0 })
			tc.ignore(wire.FramePing)
			for range 5 {
				tc.conn.Ping()
				tc.pump()
				tc.now = tc.now.Add(rtt)
				tc.ack(wire.OneRTT)
			}
			tc.clear()
			late := tc.now
			sane := func(when string) {
				t.Helper()
				st := tc.conn.Stats()
				if pto := tc.conn.loss.PTO(recovery.App); pto < time.Millisecond || pto > 10*time.Hour || st.RTT.Smoothed < 0 || st.RTT.Min < 0 {
					t.Errorf("round trip of %v, %s: %+v, probe timeout %v", rtt, when, st.RTT, pto)
				}
				if tc.closed != nil || st.PacketsLost+st.PTOs > 0 {
					t.Fatalf("round trip of %v, %s: closed %v, %d packets lost, %d probe timeouts", rtt, when, tc.closed, st.PacketsLost, st.PTOs)
				}
			}
			sane("at first")
			st := tc.open(bidi)
			for i, when := range []mono.Time{late / 2, 1, 0} {
				tc.conn.Ping()
				tc.pump() // sent on one side of a jump, and acknowledged on the other
				tc.now = when
				tc.conn.Advance(tc.now)
				tc.ack(wire.OneRTT)
				sane(fmt.Sprintf("clock at %v", when))
				tc.clear()
				tc.send(st, "canary")
				tc.want("goes", wire.OneRTT, wire.Stream{ID: st.ID(), Offset: int64(6 * i), Data: []byte("canary"), HasLen: true})
				tc.write(wire.OneRTT, data(st.ID(), int64(10*i), 10, false))
				if got, err := tc.read(st); len(got) != 10 || err != nil {
					t.Errorf("round trip of %v, clock at %v: read %q, %v", rtt, when, got, err)
				}
				tc.ack(wire.OneRTT)
				sane(fmt.Sprintf("clock at %v, later", when))
			}
			tc.now = late // and forth again, which is time that passes
			tc.conn.Advance(tc.now)
			tc.wantOpen("all was acknowledged")
			tc.abandon()
		}
	})
}
