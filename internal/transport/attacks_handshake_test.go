package transport

// Attacks on what a server keeps for those who have only begun, and on what a handshake says.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// S-04: CRYPTO frames at the end of all offsets, with one hole too many, and of no bytes.
func TestS04CryptoEnds(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake, wire.OneRTT} {
			reader := func() *testConn {
				if typ == wire.Initial {
					return newTestConn(t, s, stageStart, func(s *scriptedTLS) { s.manual = true })
				}
				return connFor(t, s, typ)
			}
			tc := reader()
			tc.write(typ, rawFrame(append(encode(wire.FrameCrypto, 1<<62-1, 1), 'x')))
			tc.wantClose("a byte past 2^62-1", wire.FrameEncodingError)

			most := int64(stream.MaxGaps)
			if typ == wire.Initial && s == serverSide {
				most = int64(limits.Bound(t, "hello-holes"))
			}
			tc = reader()
			before := tc.held()
			for n := int64(1); n <= most; n++ {
				tc.write(typ, wire.Crypto{Offset: 2 * n, Data: []byte("x")})
			}
			tc.wantOpen("as many holes as may be")
			if grown := tc.held() - before; grown > 384<<10 { // most of it what is remembered of a thousand acknowledgements
				t.Errorf("%v: %d bytes more", typ, grown)
			}
			tc.write(typ, wire.Crypto{Offset: 2 * (most + 1), Data: []byte("x")})
			tc.wantClose("one more", wire.CryptoBufferExceeded)
		}
		tc := newTestConn(t, s)
		tc.until(11_000, func(int64) { tc.write(wire.OneRTT, wire.Crypto{}) })
		tc.wantCut("of no bytes", wire.InternalError)
	})
}

// crowd sends the Mux a first Initial from another address and for another connection ID
// each time, and returns what becomes of it.
func (r *muxRig) crowd(n int) (*Conn, *dgram.Datagram, Verdict) {
	r.name(n)
	d := r.initial(nil, wire.MinInitialSize)
	c, v := r.route(d)
	return c, d, v
}

// name has the rig speak from the nth address and for the nth connection ID.
func (r *muxRig) name(n int) {
	r.path.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)}), 5000)
	r.dcid = wire.MakeConnectionID(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// begin makes a connection of a first packet.
func (r *muxRig) begin(d *dgram.Datagram) *Conn {
	var c *Conn
	r.attacked.Spend(func() {
		c = r.mux.Accept(r.now, d, r.cfg)
		c.Receive(r.now, d)
	})
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		r.mux.Apply(c, &e)
	}
	return c
}

// wantFreeDrops says that first packets of strangers, from the nth on, are dropped when as many handshakes as may
// be are in flight, and that nothing is made for one: a key would be some objects, and so would an answer.
func (r *muxRig) wantFreeDrops(n int) {
	r.t.Helper()
	const most = 100
	inFlight := r.mux.handshakes
	defer func() { r.mux.handshakes = inFlight }()
	r.mux.handshakes = limits.Bound(r.t, "refuse-above") // as if so many were
	var strangers []*dgram.Datagram
	for i := range most + 1 { // AllocsPerRun begins with one more
		r.name(n + i)
		strangers = append(strangers, r.initial(nil, wire.MinInitialSize))
	}
	dropped, next := r.mux.stats.Overloaded, 0
	made := testing.AllocsPerRun(most, func() {
		r.batch.Reset()
		if c, v := r.mux.Route(r.now, strangers[next], r.batch); v != Drop || c != nil {
			r.t.Fatalf("first packet %d above the bound: verdict %v", next, v)
		}
		next++
	})
	if made != 0 {
		r.t.Errorf("%v objects for a first packet that is dropped", made)
	}
	if dropped = r.mux.stats.Overloaded - dropped; dropped != most+1 {
		r.t.Errorf("%d of %d are dropped for the load", dropped, most+1)
	}
}

// S-15: a hundred thousand first packets from a hundred thousand addresses. A thousand are begun with,
// each for less than 12 KiB while its ClientHello is not whole; the others get a Retry or nothing. Nobody
// is told more than three times what he said, and who is there already does not notice.
func TestS15InitialFlood(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, func(mc *MuxConfig) { mc.RefuseAbove = 1001 })
	_, d, _ := r.crowd(1 << 20)
	settled := r.begin(d)
	r.mux.Apply(settled, &Event{Kind: EventSecure})
	most, seen, begun := limits.Bound(t, "retry-above"), map[Verdict]int{}, []*Conn{}
	before := heap()
	for n := range siege.Scaled(100_000) {
		r.now = r.now.Add(10 * time.Microsecond)
		_, d, v := r.crowd(n)
		if seen[v]++; v == Initial {
			p := evil.NewPeer(evil.Client, r.dcid, r.scid) // half a hello
			d.Data = p.Say(wire.Initial, wire.Crypto{Data: evil.TLSMessage(1, make([]byte, 1400))[:700]})
			begun = append(begun, r.begin(d))
		}
		if v == Reply && r.batch.SegmentSize() > 3*wire.MinInitialSize {
			t.Fatalf("an answer of %d bytes", r.batch.SegmentSize())
		}
	}
	if len(begun) != min(most, siege.Scaled(100_000)) || r.mux.Handshakes() != len(begun) {
		t.Errorf("%d handshakes were begun, %d are in flight", len(begun), r.mux.Handshakes())
	}
	if each := (heap() - before) / int64(len(begun)); each > 12<<10 {
		t.Errorf("%d bytes for each that has begun", each)
	}
	r.path.Remote = settled.Path().Remote
	if c := r.want("who is there", r.short(settled.ID(), 100), Deliver); c != settled {
		t.Error("it is another's")
	}
	r.wantFreeDrops(1 << 21)
	for _, c := range append(begun, settled) {
		r.mux.Remove(c)
	}
	r.wantEmpty()
}

// S-15: a ClientHello of which every packet brings a byte. It is taken, if it comes in time, and holds
// next to nothing, also where the times between them are of all sizes, so that each needs a place of its own in their
// histogram; the handshake's clock does not wait for one that drips.
func TestS15DrippedHello(t *testing.T) {
	besiege(t, 0)
	most, pages := int64(limits.Bound(t, "quiet-handshake"))*1536, limits.Bound(t, "handshake-histogram-pages")
	for _, gap := range []func(i int) time.Duration{
		func(int) time.Duration { return 20 * time.Millisecond },
		func(int) time.Duration { return 100 * time.Millisecond },
		func(i int) time.Duration { return time.Duration(math.Exp2(float64(i*28) / 300)) },
	} {
		tc := newTestConn(t, serverSide, stageStart)
		begun, before := tc.now, tc.held()
		hello := evil.TLSMessage(1, make([]byte, tc.tls.clientHello-4))
		for i := 0; i < tc.tls.clientHello && tc.closed == nil; i++ {
			tc.advance(gap(i))
			tc.write(wire.Initial, wire.Crypto{Offset: int64(i), Data: hello[i : i+1]})
			if n := tc.conn.HandshakeTimes(HandshakePieces).Pages(); n > pages {
				t.Fatalf("%d pages of a histogram", n)
			}
			if i == tc.tls.clientHello-2 && (tc.held()-before > most || tc.retained() > 12<<10-896) && !siege.Logs {
				t.Errorf("%d bytes, %d of them more, for a ClientHello that is not whole", tc.retained(), tc.held()-before)
			}
		}
		if lived := tc.now.Sub(begun); lived < 10*time.Second {
			if tc.tls.staged != stageHello {
				t.Errorf("TLS has %d bytes", len(tc.tls.got[LevelInitial]))
			}
			tc.clear()
			continue
		} else if lived > 11*time.Second {
			t.Errorf("it lived for %v", lived)
		}
		tc.wantClosed("too late", CloseHandshakeTimeout)
	}
}

// S-15: the longest ClientHello that there may be, but for its last byte, in the orders that cost most, with early data
// beside it. Until it is whole it is kept once, and it and the packets that wait are no more than its length and
// a bit for every byte; all else that is held, holes and lists and acknowledgements of which none is
// acknowledged, is 12 KiB at most with the 896 bytes of a session of package quic. An honest client's is within 8 KiB
// (quic.TestMemoryOfHandshakes).
func TestS15WorstHello(t *testing.T) {
	besiege(t, 0)
	most := int64(limits.Bound(t, "client-hello"))
	whole := evil.TLSMessage(1, make([]byte, most-4))
	piece := func(from, to int64) wire.Frame { return wire.Crypto{Offset: from, Data: whole[from:to]} }
	early := func(tc *testConn) {
		for n := range int64(20) {
			tc.write(wire.ZeroRTT, data(0, 1000*n, 1000, false))
		}
	}
	for name, say := range map[string]func(tc *testConn){
		"in order": func(tc *testConn) {
			for at := int64(0); at < most-1; at += 1000 {
				tc.write(wire.Initial, piece(at, min(at+1000, most-1)))
			}
		},
		"backwards": func(tc *testConn) {
			for at := most - 1; at > 0; at -= 1000 {
				tc.write(wire.Initial, piece(max(at-1000, 0), at))
			}
		},
		"early data first": func(tc *testConn) {
			early(tc)
			for at := int64(0); at < most-1; at += 1000 {
				tc.write(wire.Initial, piece(at, min(at+1000, most-1)))
			}
		},
		"early data last": func(tc *testConn) {
			tc.write(wire.Initial, piece(0, 1000))
			early(tc)
		},
		"a byte here and there": func(tc *testConn) {
			for n := range int64(limits.Bound(t, "hello-holes")) {
				tc.write(wire.Initial, piece(16*(n+1), 16*(n+1)+1))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc := newTestConn(t, serverSide, stageStart, func(s *scriptedTLS) { s.manual = true })
			for range 100 { // acknowledgements that nobody acknowledges, with holes between the numbers
				tc.peer.next[recovery.Initial]++
				tc.write(wire.Initial, wire.Ping{})
			}
			say(tc)
			tc.wantOpen("an unfinished ClientHello")
			tc.events, tc.out, tc.datagrams = nil, nil, nil
			if len(tc.tls.got[LevelInitial]) != 0 {
				t.Errorf("TLS has %d bytes of half a ClientHello", len(tc.tls.got[LevelInitial]))
			}
			h := tc.conn.hs.hello
			hello := cap(h.bytes) + 8*cap(h.got) + tc.pool.Bytes()
			kept := int64(hello + tc.conn.waiting.bytes)
			rest := tc.retained() - kept
			t.Logf("%d bytes for a ClientHello with %d in order and %d in packets that wait, and %d besides", hello, h.end, tc.conn.waiting.bytes, rest)
			if kept > most+most/8 || rest > 12<<10-896 && !siege.Logs {
				t.Errorf("%d bytes are kept of what has come, and %d besides", kept, rest)
			}
			if n := len(tc.conn.waiting.list) + int(tc.packetsIgnored()); strings.HasPrefix(name, "early") && n != 20 {
				t.Errorf("of 20 packets of early data %d wait or are counted", n)
			}
			if name == "in order" {
				tc.write(wire.Initial, piece(most-1, most))
				if got := tc.tls.got[LevelInitial]; !bytes.Equal(got, whole) {
					t.Errorf("TLS has %d bytes of %d", len(got), len(whole))
				}
			}
			tc.forsake("its TLS is nobody's")
		})
	}
	tc := newTestConn(t, serverSide, stageStart, func(s *scriptedTLS) { s.manual = true })
	tc.write(wire.Initial, wire.Crypto{Data: evil.TLSMessage(1, make([]byte, most-3))[:5]})
	tc.wantCut("a ClientHello that says that it is a byte longer", wire.CryptoBufferExceeded)
	tc = newTestConn(t, serverSide, stageStart, func(s *scriptedTLS) { s.manual = true })
	tc.write(wire.Initial, wire.Crypto{Offset: most, Data: []byte{1}})
	tc.wantCut("a byte behind the longest", wire.CryptoBufferExceeded)
}

// parameterIDs are all that we know.
var parameterIDs = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf, 0x10, 0x11, 0x20, 0xff04de1b}

// badParameter makes an encoded parameter wrong, whichever it is.
var badParameter = map[string]func(b []byte, id uint64) []byte{
	"over-long":    func(b []byte, id uint64) []byte { return withParam(withoutParam(b, id), id, make([]byte, 64<<10)) },
	"no integer":   func(b []byte, id uint64) []byte { return withParam(withoutParam(b, id), id, []byte{1, 0, 0}) },
	"an end in it": func(b []byte, id uint64) []byte { return withParam(withoutParam(b, id), id, []byte{0xff}) },
	"twice": func(b []byte, id uint64) []byte {
		return withParam(withParam(withoutParam(b, id), id, []byte{20}), id, []byte{20})
	},
}

// S-29: every parameter that there is, made wrong in every way, is a TRANSPORT_PARAMETER_ERROR.
func TestS29EveryParameter(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, id := range parameterIDs {
			for name, edit := range badParameter {
				tc := newTestConn(t, s, stageStart, func(b []byte) []byte { return edit(b, id) })
				tc.failHandshake()
				tc.wantClose(fmt.Sprintf("%#x: %s", id, name), wire.TransportParameterError)
			}
			if id == 0xc || id == 0x11 { // a flag, and a list that the RFC wants to be looked at apart
				continue
			}
			tc := newTestConn(t, s, stageStart, func(b []byte) []byte { return withParam(withoutParam(b, id), id, nil) })
			tc.failHandshake()
			tc.wantClose(fmt.Sprintf("%#x of no bytes", id), wire.TransportParameterError)
		}
		for _, id := range parameterIDs {
			needed := id == 0xf || id == 0 && s == clientSide
			tc := newTestConn(t, s, stageStart, func(b []byte) []byte { return withoutParam(b, id) })
			tc.failHandshake()
			if needed {
				tc.wantClose(fmt.Sprintf("%#x is missing", id), wire.TransportParameterError)
			} else {
				tc.wantOpen(fmt.Sprintf("%#x is missing", id))
				tc.abandon()
			}
		}
	})
}

// S-29: a hundred thousand handshakes in a row that fail for what their parameters say, or end in
// the middle, leave nothing.
func TestS29Handshakes(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, stageStart)
	hello := tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Crypto{Data: message('C', 300)}}, size: wire.MinInitialSize})
	params := tc.peerParams()
	lists := [][]byte{params.Append(nil)}
	for name, edit := range badParameter {
		if name != "over-long" {
			lists = append(lists, edit(lists[0], 4))
		}
	}
	buf, before := make([]byte, len(hello)), tc.held()
	for n := range siege.Costly(100_000, 20_000) {
		c := NewServer(tc.now, Opening{Path: tc.path, Version: wire.Version1, DCID: tc.peer.original, SCID: tc.peer.id, OriginalDCID: tc.peer.original}, tc.cfg)
		copy(buf, hello)
		c.Receive(tc.now, &dgram.Datagram{Data: buf, Path: tc.path})
		c.Handshake(tc.now, TLSEvent{Kind: TLSParameters, Data: lists[n%len(lists)]})
		tc.batch.Reset()
		if c.Transmit(tc.now, tc.batch); n%len(lists) != 0 && !c.Closed() {
			t.Fatalf("list %d is taken", n%len(lists))
		}
		c.Destroy(tc.now)
		gone := 0
		for e, ok := c.Next(); ok; e, ok = c.Next() {
			if e.Kind == EventGone {
				gone++
			}
		}
		if gone != 1 {
			t.Fatalf("%d times gone", gone)
		}
	}
	if n := tc.pool.Outstanding(); n != 0 {
		t.Errorf("%d chunks of memory left", n)
	}
	if grown := tc.held() - before; grown > 64<<10 {
		t.Errorf("%d bytes more", grown)
	}
}

// S-39: connection IDs that hash to the same in all that is simple: their halves have the same sum and the same
// exclusive or, and their ends are equal. A million of them make no table grow, nothing be kept for them,
// and no allocation; the tables are Go's own maps, whose hash has a key (TestS39HashesAreKeyed).
func TestS39CollidingIDs(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, nil)
	_, d, _ := r.crowd(1)
	known := r.begin(d)
	r.mux.Apply(known, &Event{Kind: EventSecure})
	stray := r.short(r.dcid, 60)
	routed, before, n := len(r.mux.conns), heap(), uint32(0)
	collide := func() {
		n++
		binary.BigEndian.PutUint32(stray.Data[1:], n)
		binary.BigEndian.PutUint32(stray.Data[5:], n^0x55aa55aa)
		r.batch.Reset()
		if _, v := r.mux.Route(r.now, stray, r.batch); v == Deliver || v == Initial {
			t.Fatalf("verdict %v", v)
		}
	}
	for range siege.Scaled(1_000_000) {
		r.attacked.Spend(collide)
		if r.attacked.Took(len(stray.Data)) {
			r.look()
		}
	}
	if allocs := testing.AllocsPerRun(1000, collide); allocs != 0 {
		t.Errorf("%v allocations for an ID that nobody has", allocs)
	}
	if grown := heap() - before; len(r.mux.conns) != routed || grown > 64<<10 {
		t.Errorf("%d IDs routed, %d before; %d bytes more", len(r.mux.conns), routed, grown)
	}
	if c := r.want("who is there", r.short(known.ID(), 100), Deliver); c != known {
		t.Error("it is another's")
	}
	r.mux.Remove(known)
}
