package transport

// The fake peer: one Conn, client or server, against a peer that is nothing but
// keys and whatever the test makes it say, in virtual time.
//
//	tc := newTestConn(t, serverSide)             // handshake confirmed, quiet
//	tc.write(wire.OneRTT, wire.Ping{})           // the peer sends a packet
//	s := tc.open(bidi)                           // a command of the owner's
//	tc.want("reason", wire.OneRTT, wire.Stream{...})
//	tc.wantIdle("nothing else is to be said")
//	tc.wantClose("reason", wire.FlowControlError)
//
// Options of newTestConn go by type: side (of the Conn under test), stage (how
// far the handshake goes), func(*Config), func(*wire.Parameters) (the peer's),
// func(*Opening), func(*scriptedTLS), func(*fakePeer), func([]byte) []byte (the
// peer's encoded parameters).
//
// The peer speaks: write (one packet, one datagram), writePacket (every field
// by hand), writeDatagram (coalesced packets), build and inject (raw bytes),
// ack, ackAll. tc.path and tc.ecn are where its datagrams come from.
// The connection speaks: want, wantType, wantPacket, wantIdle, wantClose,
// wantClosed, wantEvent, wantNoEvent. Frames come one by one, in order;
// PADDING and ACK are passed over unless see is called; ignore passes over more.
// Time: advance, advanceToTimer, advanceToPTO, triggerLossOrPTO.
// step carries the handshake on to a later stage.
//
// At the end whatever was said and not wanted fails the test, as do a close
// nobody expected and chunks of memory left over; and at all times a timer that
// stays in the past, and more than three times as many bytes to an unvalidated
// address as came from there.

import (
	"bytes"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// side is which end the Conn under test is.
type side bool

const (
	clientSide side = false
	serverSide side = true
)

func (s side) String() string {
	if s == serverSide {
		return "server"
	}
	return "client"
}

// streamID returns the number of the n-th stream that this side opens.
func (s side) streamID(uni bool, n int64) int64 {
	id := n<<2 | int64(kind(uni))<<1
	if s == serverSide {
		id |= 1
	}
	return id
}

const (
	bidi = false
	uni  = true
)

// bothSides runs a test for a server and for a client.
func bothSides(t *testing.T, test func(t *testing.T, s side)) {
	for _, s := range []side{serverSide, clientSide} {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

// lostAndPTO runs a test with packets that are declared lost, and with ones
// that a probe timeout repeats.
func lostAndPTO(t *testing.T, test func(t *testing.T, pto bool)) {
	t.Run("lost", func(t *testing.T) { test(t, false) })
	t.Run("pto", func(t *testing.T) { test(t, true) })
}

// testConn is a Conn under test.
type testConn struct {
	testing.TB
	now  mono.Time
	conn *Conn
	cfg  *Config
	side side
	tls  scriptedTLS
	peer fakePeer
	pool *stream.List

	params []byte // the Conn's, as TLS carries them

	path  dgram.Path             // of the datagrams that the peer sends, as the Conn sees it
	heard map[netip.AddrPort]int // bytes that the peer sent from an address; more than any sum once it is validated
	told  map[netip.AddrPort]int // bytes that the Conn sent to an address
	ecn   dgram.ECN

	batch     *dgram.Batch
	datagrams []sentDatagram // all that the Conn ever sent
	out       []sentPacket   // not looked at yet
	last      *sentPacket    // the one that want looked at last
	ignored   map[wire.FrameType]bool
	events    []Event
	closed    *CloseReason
	claimed   bool // a test wanted the close
	gone      int

	victim      // of an attack test
	guest  bool // the configuration is that of another connection

	refuse func(size int) bool // the kernel does not send datagrams of that size; nil for none
	lose   func(size int) bool // a path that carry goes on loses one of that size; nil for none
}

var (
	testLocal  = netip.MustParseAddrPort("192.0.2.1:443")
	testRemote = netip.MustParseAddrPort("198.51.100.2:5000")
	testToken  = wire.ResetToken{'t', 'o', 'k', 'e', 'n'}
)

// newTestConn returns a Conn whose handshake went as far as the options say.
func newTestConn(t testing.TB, options ...any) *testConn {
	t.Helper()
	rng := mrand.NewChaCha8([32]byte{1})
	tc := &testConn{
		TB: t, now: mono.Time(time.Second), side: clientSide, pool: new(stream.List),
		path:    dgram.Path{Local: testLocal, Remote: testRemote},
		batch:   dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes)),
		heard:   make(map[netip.AddrPort]int),
		told:    make(map[netip.AddrPort]int),
		ignored: map[wire.FrameType]bool{wire.FramePadding: true, wire.FrameAck: true, wire.FrameAckECN: true},
	}
	tc.cfg = &Config{
		Params: testParams(), Pool: tc.pool, DisableMTUDiscovery: true, DisablePacing: true,
		Rand:       func(b []byte) { rng.Read(b) },
		ResetToken: func(id wire.ConnectionID) (token wire.ResetToken) { copy(token[:], id.Bytes()); return token },
	}
	tc.cfg.QLog = siege.Logs && besieged != nil
	tc.tls.init()
	tc.peer.init()
	opening := Opening{Path: tc.path, Version: wire.Version1, DCID: tc.peer.original, SCID: tc.peer.id, OriginalDCID: tc.peer.original}
	to := stageConfirmed
	for _, o := range options {
		switch o := o.(type) {
		case side:
			tc.side = o
		case *testConn: // whose configuration this one has, too
			tc.cfg, tc.pool, tc.guest = o.cfg, o.pool, true
		case stage:
			to = o
		case func(*Config):
			o(tc.cfg)
		case func(*wire.Parameters):
			tc.tls.editParams = append(tc.tls.editParams, o)
		case func([]byte) []byte:
			tc.tls.editBytes = o
		case func(*Opening):
			o(&opening)
		case func(*fakePeer):
			o(&tc.peer)
		case func(*scriptedTLS):
			o(&tc.tls)
		default:
			t.Fatalf("option of type %T", o)
		}
	}
	tc.start(opening)
	if !tc.guest { // whose host ends it
		t.Cleanup(tc.finish)
	}
	tc.step(to)
	tc.stand()
	return tc
}

// start makes the Conn.
func (tc *testConn) start(o Opening) {
	if tc.side == serverSide {
		tc.conn = NewServer(tc.now, o, tc.cfg)
		tc.peer.dcid, tc.peer.original = o.DCID, o.DCID
	} else {
		tc.conn = NewClient(tc.now, tc.path, tc.cfg)
		tc.peer.dcid, tc.peer.original = tc.conn.ID(), tc.conn.OriginalDCID()
	}
	tc.params = tc.conn.LocalParameters()
	tc.peer.setInitialKeys(tc.peer.original, tc.side)
	tc.tls.start(tc)
}

// finish looks for what the test did not expect.
func (tc *testConn) finish() {
	if tc.Failed() {
		return
	}
	if f, p := tc.peek(); f != nil {
		tc.Errorf("at the end: unexpected %v in %v", f, p)
	}
	if tc.closed != nil && !tc.claimed {
		tc.Errorf("at the end: unexpected close %+v", *tc.closed)
	}
	tc.checkRetained()
	tc.aftermath()
	tc.conn.Destroy(tc.now)
	tc.checkRetained()
	tc.pump()
	if tc.gone != 1 {
		tc.Errorf("at the end: %d times EventGone, want 1", tc.gone)
	}
	if n := tc.pool.Outstanding(); n != 0 && !tc.guest {
		tc.Errorf("at the end: %d chunks of memory left", n)
	}
	tc.pool, tc.cfg = nil, nil // so that others can be measured
	tc.conn, tc.batch, tc.neighbour, tc.out, tc.datagrams, tc.events = nil, nil, nil, nil, nil, nil
}

// pump lets the Conn do everything it wants to do at this time.
func (tc *testConn) pump() {
	tc.Helper()
	for rounds := 0; ; rounds++ {
		if rounds > 1000 {
			tc.Fatalf("the connection does not come to rest: events %v, deadline %v at %v", tc.events, tc.conn.Deadline(), tc.now)
		}
		tc.drain()
		tc.batch.Reset()
		tc.steps++
		more := false
		if tc.attacked.Spend(func() { more = tc.conn.Transmit(tc.now, tc.batch) }); !more {
			break
		}
		if n := tc.batch.SegmentSize(); tc.refuse != nil && tc.refuse(n) {
			tc.conn.TooBig(tc.now, n)
			continue
		}
		for i := 0; i < tc.batch.Count(); i++ {
			tc.receive(bytes.Clone(tc.batch.Segment(i)), tc.batch.Path, tc.batch.ECN)
		}
	}
	tc.drain()
}

// drain takes the Conn's events; those for TLS go to the script.
func (tc *testConn) drain() {
	tc.Helper()
	for {
		var e Event
		var ok bool
		tc.attacked.Spend(func() { e, ok = tc.conn.Next() })
		tc.steps++
		switch {
		case !ok:
			return
		case tc.gone > 0:
			tc.Errorf("event %d after EventGone", e.Kind)
		case e.Kind == EventTLS:
			tc.tls.take(tc, e.Level, e.Data)
			continue
		case e.Kind == EventClosed:
			if tc.closed != nil {
				tc.Errorf("closed twice: %+v", e.Close)
			}
			tc.closed = e.Close
		case e.Kind == EventGone:
			tc.gone++
		}
		tc.events = append(tc.events, e)
	}
}

// advance lets time pass, with every timer on the way.
func (tc *testConn) advance(d time.Duration) {
	tc.Helper()
	end := tc.now.Add(d)
	tc.pump()
	for tc.conn.Deadline() <= end {
		tc.advanceToTimer()
	}
	tc.now = end
}

// advanceToTimer lets time pass to the Conn's next deadline, and runs it. A
// timer that is still in the past then would keep its owner busy for ever.
func (tc *testConn) advanceToTimer() {
	tc.Helper()
	at := tc.conn.Deadline()
	if at == mono.Never {
		tc.Fatal("no timer is set")
	}
	tc.now = max(tc.now, at)
	for rounds := 0; tc.conn.Deadline() <= tc.now; rounds++ {
		if rounds > 20 {
			tc.Fatalf("timers stay in the past: %v", tc.due())
		}
		tc.provoked(0, func() {
			tc.attacked.Spend(func() { tc.conn.Advance(tc.now) })
			tc.pump()
		})
	}
}

// due returns the timers that have run out.
func (tc *testConn) due() (list []timer) {
	for k := timer(0); k < timers; k++ {
		if tc.conn.when(k) <= tc.now {
			list = append(list, k)
		}
	}
	return list
}

// advanceToPTO lets time pass until a probe timeout has expired.
func (tc *testConn) advanceToPTO() {
	tc.Helper()
	tc.pump()
	for before := tc.conn.Stats().PTOs; tc.conn.Stats().PTOs == before; {
		if tc.conn.loss.Deadline() == mono.Never || tc.conn.Closed() {
			tc.Fatal("no probe timeout is set")
		}
		tc.advanceToTimer()
	}
}

// triggerLossOrPTO makes the connection believe that all it sent in 1-RTT packets
// may be lost: by acknowledging three later packets, or by saying nothing.
func (tc *testConn) triggerLossOrPTO(pto bool) {
	tc.Helper()
	if pto {
		tc.ignore(wire.FramePing)
		tc.advanceToPTO()
		return
	}
	tc.wantIdle("before a loss everything sent is looked at")
	tc.advance(time.Millisecond)
	var pns ranges.Set
	for range 3 {
		tc.conn.Ping()
		tc.pump()
		for _, p := range tc.out {
			pns.Add(p.pn, p.pn+1)
		}
		tc.out = nil
	}
	tc.advance(time.Millisecond)
	tc.write(wire.OneRTT, wire.MakeAck(pns, 0, nil))
}

// ignore makes frames of these types count as nothing.
func (tc *testConn) ignore(types ...wire.FrameType) {
	for _, t := range types {
		tc.ignored[t] = true
	}
}

// see is the opposite of ignore.
func (tc *testConn) see(types ...wire.FrameType) {
	for _, t := range types {
		delete(tc.ignored, t)
	}
}

// peek returns the next frame that is not ignored, nil if there is none.
func (tc *testConn) peek() (wire.Frame, *sentPacket) {
	tc.Helper()
	tc.pump()
	for len(tc.out) > 0 {
		p := &tc.out[0]
		for p.seen < len(p.frames) {
			if f := p.frames[p.seen]; !tc.ignored[kindOf(f.Type())] {
				return f, p
			}
			p.seen++
		}
		tc.out = tc.out[1:]
	}
	return nil, nil
}

// next takes the next frame; the test ends if there is none.
func (tc *testConn) next(reason string, want any) (wire.Frame, *sentPacket) {
	tc.Helper()
	f, p := tc.peek()
	if f == nil {
		tc.Fatalf("%s: got nothing, want %v; closed %+v", reason, want, tc.closed)
	}
	p.seen++
	tc.last = p
	return f, p
}

// want takes the next frame, which must be this one in a packet of this type.
// Of an ACK the delay, and of STREAM the form of its length, do not matter.
func (tc *testConn) want(reason string, typ wire.PacketType, want wire.Frame) {
	tc.Helper()
	f, p := tc.next(reason, want)
	if p.typ != typ || !sameFrame(f, want) {
		tc.Fatalf("%s:\n got %v in %v\nwant %v in %v", reason, f, p, want, typ)
	}
}

// wantType takes the next frame, which must have this type.
func (tc *testConn) wantType(reason string, typ wire.PacketType, ft wire.FrameType) wire.Frame {
	tc.Helper()
	f, p := tc.next(reason, ft)
	if p.typ != typ || kindOf(f.Type()) != ft {
		tc.Fatalf("%s:\n got %v in %v\nwant %v in %v", reason, f, p, ft, typ)
	}
	return f
}

// kindOf makes one type of the eight of STREAM frames.
func kindOf(t wire.FrameType) wire.FrameType {
	if t.IsStream() {
		return wire.FrameStream
	}
	return t
}

// wantPacket takes the rest of the next packet, which must be of this type.
func (tc *testConn) wantPacket(reason string, typ wire.PacketType) sentPacket {
	tc.Helper()
	_, p := tc.next(reason, typ)
	if p.typ != typ {
		tc.Fatalf("%s: got %v, want %v", reason, p, typ)
	}
	p.seen = len(p.frames)
	return *p
}

// wantIdle says that there is nothing more to be sent now.
func (tc *testConn) wantIdle(reason string) {
	tc.Helper()
	if f, p := tc.peek(); f != nil {
		tc.Fatalf("%s: unexpected %v in %v", reason, f, p)
	}
}

func sameFrame(a, b wire.Frame) bool {
	if a, ok := a.(wire.Ack); ok {
		b, ok := b.(wire.Ack)
		return ok && slices.Equal(a.Set(), b.Set()) && a.ECN == b.ECN &&
			a.ECT0 == b.ECT0 && a.ECT1 == b.ECT1 && a.CE == b.CE
	}
	if a, ok := a.(wire.Stream); ok {
		b, ok := b.(wire.Stream)
		return ok && a.ID == b.ID && a.Offset == b.Offset && a.Fin == b.Fin && bytes.Equal(a.Data, b.Data)
	}
	return a.Type() == b.Type() && bytes.Equal(a.Append(nil), b.Append(nil))
}

// wantClose says that the connection has closed itself with a transport error,
// and told the peer so.
func (tc *testConn) wantClose(reason string, code wire.ErrorCode) wire.Close {
	tc.Helper()
	tc.wantClosed(reason, CloseLocal)
	if tc.closed.App || tc.closed.Code != uint64(code) {
		tc.Fatalf("%s: closed with %+v, want %v", reason, *tc.closed, code)
	}
	var told *wire.Close
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		if c, ok := f.(wire.Close); ok {
			told = &c
		}
		p.seen++
		tc.last = p
	}
	if told == nil || told.App || told.Code != uint64(code) {
		tc.Fatalf("%s: the peer was told %v, want %v", reason, told, code)
	}
	return *told
}

// wantClosed says that the connection is over, in this way.
func (tc *testConn) wantClosed(reason string, kind CloseKind) {
	tc.Helper()
	tc.pump()
	if tc.closed == nil || tc.closed.Kind != kind {
		tc.Fatalf("%s: closed %+v, want kind %d", reason, tc.closed, kind)
	}
	tc.claimed = true
}

// wantOpen says that nothing has ended the connection.
func (tc *testConn) wantOpen(reason string) {
	tc.Helper()
	tc.pump()
	if tc.closed != nil {
		tc.Fatalf("%s: closed %+v", reason, *tc.closed)
	}
}

// wantEvent takes the first event of a kind.
func (tc *testConn) wantEvent(reason string, kind EventKind) Event {
	tc.Helper()
	tc.pump()
	for i, e := range tc.events {
		if e.Kind == kind {
			tc.events = append(tc.events[:i:i], tc.events[i+1:]...)
			return e
		}
	}
	tc.Fatalf("%s: no event of kind %d; closed %+v", reason, kind, tc.closed)
	return Event{}
}

// wantNoEvent says that no event of a kind waits.
func (tc *testConn) wantNoEvent(reason string, kind EventKind) {
	tc.Helper()
	tc.pump()
	for _, e := range tc.events {
		if e.Kind == kind {
			tc.Fatalf("%s: unexpected event %+v", reason, e)
		}
	}
}

// open opens a stream.
func (tc *testConn) open(uni bool) *Stream {
	tc.Helper()
	s := tc.conn.OpenStream(tc.now, uni)
	if s == nil {
		tc.Fatal("no stream to be had")
	}
	return s
}

// accept lets the peer open a stream with a STREAM frame that holds data.
func (tc *testConn) accept(id int64, data string) *Stream {
	tc.Helper()
	tc.write(wire.OneRTT, wire.Stream{ID: id, Data: []byte(data), HasLen: true})
	s := tc.wantEvent("a new stream", EventStream).Stream
	if s.ID() != id {
		tc.Fatalf("stream %d was opened, want %d", s.ID(), id)
	}
	return s
}

// send writes data to a stream.
func (tc *testConn) send(s *Stream, data string) {
	tc.Helper()
	if n, err := tc.conn.Write(s, []byte(data)); n != len(data) || err != nil {
		tc.Fatalf("Write of %d bytes: %d, %v", len(data), n, err)
	}
}

// read reads what is there.
func (tc *testConn) read(s *Stream) (string, error) {
	b := make([]byte, s.Readable()+1)
	n, err := tc.conn.Read(tc.now, s, b)
	return string(b[:n]), err
}

// ids returns the connection IDs that the Conn has made routable and not retired.
func (tc *testConn) ids() []wire.ConnectionID {
	tc.pump()
	var ids []wire.ConnectionID
	for _, e := range tc.events {
		switch e.Kind {
		case EventIssued:
			ids = append(ids, e.CID)
		case EventRetired:
			ids = without(ids, e.CID)
		}
	}
	return ids
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// clear forgets everything said so far.
func (tc *testConn) clear() {
	tc.pump()
	tc.out = nil
}

// sent returns how many bytes the Conn has sent to an address.
func (tc *testConn) sent(to netip.AddrPort) int { return tc.told[to] }

// space returns the packet number space of a packet type.
func spaceOf(typ wire.PacketType) recovery.Space {
	switch typ {
	case wire.Initial:
		return recovery.Initial
	case wire.Handshake:
		return recovery.Handshake
	}
	return recovery.App
}

// rawFrame is bytes that stand for a frame.
type rawFrame = evil.Raw
