package transport

import (
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// transmitOne makes the Conn send one packet, whatever the congestion window says, and
// returns its STREAM frames and its size, 0 if there is nothing to send.
func (tc *testConn) transmitOne() (frames []wire.Stream, size int) {
	tc.Helper()
	tc.drain()
	room := make([]byte, 0, tc.conn.mtu.size)
	size = tc.conn.writeDatagram(tc.now, room, all)
	if size == 0 {
		return nil, 0
	}
	before := len(tc.out)
	tc.receive(room[:size], tc.path, dgram.NotECT)
	for _, p := range tc.out[before:] {
		for _, f := range p.frames {
			if f, ok := f.(wire.Stream); ok {
				frames = append(frames, f)
			}
		}
	}
	tc.out = tc.out[:before]
	return frames, size
}

// order returns the streams of the next packets, the first of its kind as "a" and so on: those
// of one packet joined by "+".
func (tc *testConn) order(packets int) string {
	tc.Helper()
	var all []string
	for range packets {
		frames, _ := tc.transmitOne()
		var names []string
		for _, f := range frames {
			names = append(names, string(rune('a'+f.ID>>2)))
		}
		all = append(all, strings.Join(names, "+"))
	}
	return strings.Join(all, " ")
}

func (tc *testConn) wantOrder(reason string, want string) {
	tc.Helper()
	if got := tc.order(len(strings.Fields(want))); got != want {
		tc.Errorf("%s:\n got %s\nwant %s", reason, got, want)
	}
}

// priority is what SetPriority takes.
type priority struct {
	urgency     uint8
	incremental bool
}

// queued opens a stream for each priority, and writes to them in the given order, size bytes each.
func (tc *testConn) queued(size int, order string, priorities ...priority) []*Stream {
	tc.Helper()
	var list []*Stream
	for _, p := range priorities {
		st := tc.open(bidi)
		tc.conn.SetPriority(st, p.urgency, p.incremental)
		list = append(list, st)
	}
	for _, name := range order {
		tc.send(list[name-'a'], strings.Repeat(string(name), size))
	}
	return list
}

// What is queued goes by urgency, the lowest value first (RFC 9218 §4.1). Of one urgency,
// streams that are not incremental go in the order of their numbers and those that are take
// turns, and so do both kinds together (RFC 9218 §4.2, §10).
func TestScheduleOrder(t *testing.T) {
	const packet = 2000 // goes in two packets, of which the second has room for others
	for _, tt := range []struct {
		name       string
		size       int
		written    string
		priorities []priority
		want       string
	}{
		{"urgencies", packet, "abc", []priority{{5, true}, {0, true}, {3, true}}, "b b+c c c+a a a"},
		{"urgencies before numbers", packet, "abc", []priority{{7, false}, {6, false}, {0, false}}, "c c+b b b+a a a"},
		{"urgencies of both kinds", packet, "abc", []priority{{4, false}, {3, true}, {5, false}}, "b b+a a a+c c c"},
		{"numbers", packet, "cadb", []priority{{3, false}, {3, false}, {3, false}, {3, false}}, "a a+b b b+c c c+d d"},
		{"turns", 4000, "abc", []priority{{3, true}, {3, true}, {3, true}}, "a b c a b c a b c a+b+c"},
		{"turns as written", 4000, "cab", []priority{{3, true}, {3, true}, {3, true}}, "c a b c a b"},
		{"a seat for a and then c", 2000, "abcd", []priority{{3, false}, {3, true}, {3, false}, {3, true}}, "a b d a+b d+c b+c"},
		{"a seat only for its urgency", 3000, "abcd", []priority{{4, false}, {3, true}, {3, false}, {3, true}}, "c b d c b d c+b d+b+a a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, clientSide)
			tc.queued(tt.size, tt.written, tt.priorities...)
			tc.wantOrder("the packets", tt.want)
			tc.clear()
		})
	}
}

// The defaults are those of a program that knows nothing of priorities: all take turns.
func TestDefaultPriority(t *testing.T) {
	tc := newTestConn(t, serverSide)
	for _, st := range []*Stream{tc.open(bidi), tc.open(uni), tc.accept(0, "x")} {
		if u, incremental := st.Priority(); u != DefaultUrgency || !incremental {
			t.Errorf("stream %d: %d, %v", st.ID(), u, incremental)
		}
	}
}

// A new priority holds from the next packet on, for what is queued already too (RFC 9218 §10
// leaves when to the sender); the same one again does not cost a stream its place.
func TestChangePriority(t *testing.T) {
	tc := newTestConn(t, clientSide)
	list := tc.queued(12000, "abc", priority{3, true}, priority{3, true}, priority{3, true})
	tc.wantOrder("turns", "a b")
	tc.conn.SetPriority(list[2], 3, true)
	tc.wantOrder("nothing has changed", "c a")
	tc.conn.SetPriority(list[2], 1, false)
	tc.wantOrder("c is urgent", "c c")
	tc.conn.SetPriority(list[0], 1, false)
	tc.wantOrder("a has the lower number", "a a")
	tc.conn.SetPriority(list[0], 7, false)
	tc.wantOrder("a is for the background", "c c")
	tc.conn.SetPriority(list[2], 3, false)
	tc.wantOrder("c and b take turns", "c b c b")
	tc.conn.SetPriority(list[1], 3, false)
	tc.wantOrder("and now one by one", "b b")
	tc.conn.SetPriority(list[1], 3, true)
	tc.conn.SetPriority(list[2], 3, true)
	tc.wantOrder("in the order in which they came back", "b c b")
	tc.clear()
}

// A stream whose number is lower, or that is more urgent, goes first as soon as it has data again.
func TestScheduleReturns(t *testing.T) {
	tc := newTestConn(t, clientSide)
	list := tc.queued(8000, "bc", priority{3, false}, priority{3, false}, priority{2, true})
	tc.wantOrder("the urgent one, and the rest of its last packet", "c c c c c c c+b b")
	tc.send(list[0], "a")
	tc.wantOrder("the first one", "a+b b")
	tc.send(list[2], "c")
	tc.wantOrder("the urgent one again", "c+b b")
	tc.clear()
}

// A lost frame goes again before new data that is less urgent, and after new data that is more
// so (RFC 9218 §12).
func TestRetransmissionPriority(t *testing.T) {
	for _, tt := range []struct {
		lost, fresh priority
		want        string
	}{
		{priority{0, false}, priority{1, false}, "a+b b"},
		{priority{0, true}, priority{1, true}, "a+b b"},
		{priority{5, true}, priority{4, true}, "b b b b+a"},
		{priority{3, false}, priority{3, false}, "a+b b"},
	} {
		lostAndPTO(t, func(t *testing.T, pto bool) {
			tc := newTestConn(t, clientSide)
			list := tc.queued(0, "", tt.lost, tt.fresh)
			tc.send(list[0], strings.Repeat("l", 500))
			tc.wantType("a frame to lose", wire.OneRTT, wire.FrameStream)
			lost := tc.last.pn
			for range 3 {
				tc.conn.Ping()
				tc.clear()
			}
			tc.send(list[1], strings.Repeat("f", 4000))
			if pto {
				tc.now = tc.conn.Deadline()
				tc.conn.Advance(tc.now)
			} else {
				tc.peer.got[recovery.App].Remove(lost, lost+1)
				tc.receiveOnly(wire.MakeAck(tc.peer.got[recovery.App], 0, nil))
			}
			tc.wantOrder("after the loss", tt.want)
			if n := tc.conn.Stats().LossRetransmits; n == 0 {
				t.Error("nothing went again")
			}
			tc.clear()
		})
	}
}

// receiveOnly delivers a packet of the peer's, and lets the Conn say nothing yet.
func (tc *testConn) receiveOnly(frames ...wire.Frame) {
	tc.Helper()
	b := tc.build(testPacket{typ: wire.OneRTT, frames: frames})
	tc.heard[tc.path.Remote] += len(b)
	tc.provoked(len(b), func() {
		tc.take(&dgram.Datagram{Data: b, Path: tc.path})
		tc.drain()
	})
}

// Streams that flow control holds back do not hold up others: by their own limit, or by the
// connection's. Credit that comes back goes to the urgent one first.
func TestBlockedStreamsYield(t *testing.T) {
	tc := newTestConn(t, clientSide, func(p *wire.Parameters) { p.MaxStreamDataBidiRemote, p.MaxData = 3000, 8000 })
	list := tc.queued(10000, "abc", priority{0, false}, priority{0, true}, priority{6, true})
	tc.ignore(wire.FrameStreamDataBlocked, wire.FrameDataBlocked)
	tc.wantOrder("to their limits, and to the connection's", "a b a b a+b b+c c")
	tc.wantIdle("nothing more may go")
	tc.receiveOnly(wire.MaxStreamData{ID: list[0].ID(), Max: 3300}, wire.MaxStreamData{ID: list[1].ID(), Max: 3300})
	tc.receiveOnly(wire.MaxData{Max: 8900})
	tc.wantOrder("both urgent ones, and then the other", "a+b+c")
	tc.wantIdle("nothing more may go")
	tc.receiveOnly(wire.MaxStreamData{ID: list[2].ID(), Max: 1 << 20})
	tc.receiveOnly(wire.MaxData{Max: 9300})
	tc.wantOrder("the only one with credit of its own", "c")
	tc.wantIdle("nothing more may go")
}

// Frames that are not data do not wait for it: neither those of the connection nor those of a
// stream that is not urgent.
func TestControlFramesHaveNoPriority(t *testing.T) {
	tc := newTestConn(t, serverSide)
	urgent, other := tc.accept(0, "x"), tc.accept(4, "y")
	tc.clear()
	tc.conn.SetPriority(urgent, 0, false)
	tc.conn.SetPriority(other, 7, false)
	tc.send(urgent, strings.Repeat("u", 5000))
	tc.send(other, strings.Repeat("o", 5000))
	tc.conn.Reset(other, 5)
	tc.conn.Stop(tc.now, other, 6)
	tc.want("stop", wire.OneRTT, wire.StopSending{ID: 4, Code: 6})
	tc.want("reset", wire.OneRTT, wire.ResetStream{ID: 4, Code: 5})
	for range 5 {
		if f := tc.wantType("data", wire.OneRTT, wire.FrameStream).(wire.Stream); f.ID != 0 {
			t.Errorf("data of stream %d", f.ID)
		}
	}
}

// A stream that is over leaves the queue that it stands in at once, also if its turn would not
// come: else a peer that stops one stream after the other would make the queue grow for ever.
func TestOverStreamsLeaveQueues(t *testing.T) {
	for _, blocked := range []bool{true, false} {
		tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxData = 5000 })
		hog := tc.accept(0, "x")
		tc.send(hog, strings.Repeat("h", 20000))
		tc.clear() // the connection's credit is used up
		tc.ignore(wire.FrameDataBlocked, wire.FrameMaxStreamsBidi, wire.FrameResetStream)
		for n := range int64(300) {
			id := 4 + 4*n
			tc.receiveOnly(wire.Stream{ID: id, HasLen: true, Fin: true})
			st := tc.wantEvent("a request", EventStream).Stream
			tc.conn.SetPriority(st, 7, n%2 == 0)
			tc.send(st, "answer")
			if !blocked { // it waits behind the first one, and not for credit
				tc.receiveOnly(wire.MaxData{Max: 5001 + n})
			}
			tc.receiveOnly(wire.StopSending{ID: id, Code: 1})
			if st.queue != queueNone {
				t.Fatalf("blocked %v: stream %d is reset and in queue %d", blocked, id, st.queue)
			}
			if n, err := tc.conn.Read(tc.now, st, make([]byte, 1)); n != 0 || err == nil {
				t.Fatalf("read %d, %v", n, err)
			}
			tc.clear()
			tc.ack(wire.OneRTT)
			tc.clear()
			if !st.gone || tc.conn.Streams() != 1 {
				t.Fatalf("stream %d is not over: %d streams", id, tc.conn.Streams())
			}
		}
		var queued int
		for st := tc.conn.streams.waiting.head; st != nil; st = st.next {
			queued++
		}
		for _, r := range tc.conn.streams.ready.rounds {
			for st := r.head; st != nil; st = st.next {
				queued++
			}
		}
		if queued += len(tc.conn.streams.ready.line); queued > 1 {
			t.Errorf("blocked %v: %d streams are queued, want the first at most", blocked, queued)
		}
	}
}

// Data that is acknowledged after it was taken for lost has nothing to wait for, and a stream
// that is over with it leaves the queue.
func TestLateAckLeavesQueue(t *testing.T) {
	tc := newTestConn(t, clientSide)
	list := tc.queued(0, "", priority{0, true}, priority{7, false})
	st := tc.open(uni)
	tc.conn.SetPriority(st, 7, false)
	tc.send(st, "all")
	must(tc.conn.CloseWrite(st))
	tc.clear()
	tc.send(list[0], strings.Repeat("x", 5000))
	tc.conn.resend(recovery.App, &recovery.Frame{Kind: sentStream, ID: st.ID(), Len: 3, Flag: 1})
	if st.queue != queueReady {
		t.Fatal("it does not go again")
	}
	tc.receiveOnly(wire.MakeAck(tc.peer.got[recovery.App], 0, nil))
	if st.queue != queueNone || !st.gone || len(tc.conn.streams.ready.line) != 0 {
		t.Errorf("queue %d, gone %v, line %v", st.queue, st.gone, tc.conn.streams.ready.line)
	}
	tc.clear()
}

// Data that goes again because the server refused it early goes as the priorities have it, also
// if it had been sent in another order.
func TestEarlyRejectedPriorities(t *testing.T) {
	tc := earlyClient(t)
	list := tc.queued(0, "", priority{5, false}, priority{3, false}, priority{3, true})
	for i, st := range list {
		text := string(rune('a' + i))
		tc.send(st, text)
		tc.want("0-RTT", wire.ZeroRTT, streamFrame(st.ID(), 0, text))
	}
	tc.send(list[0], strings.Repeat("A", 30000))
	tc.clear()
	if list[0].queue != queueReady {
		t.Fatal("all has been sent")
	}
	tc.earlyFlight(true, true)
	tc.wantEvent("rejected", EventEarlyRejected)
	tc.ignore(wire.FrameCrypto)
	tc.out = slices.DeleteFunc(tc.out, func(p sentPacket) bool { return p.typ == wire.ZeroRTT }) // until the answer came
	tc.want("first in the line", wire.OneRTT, streamFrame(4, 0, "b"))
	tc.want("its companion", wire.OneRTT, streamFrame(8, 0, "c"))
	if f := tc.wantType("the last", wire.OneRTT, wire.FrameStream).(wire.Stream); f.ID != 0 || f.Offset != 0 {
		t.Errorf("stream %d, from %d", f.ID, f.Offset)
	}
	tc.clear()
}

// Nothing is queued once the connection is over, and a change of priority then moves nothing.
func TestPriorityAfterTheEnd(t *testing.T) {
	tc := newTestConn(t, clientSide)
	list := tc.queued(1000, "ab", priority{5, false}, priority{3, true})
	tc.conn.Close(tc.now, true, 0, "")
	for _, st := range list {
		tc.conn.SetPriority(st, 1, !st.incremental)
	}
	tc.wantClosed("by its owner", CloseLocal)
	tc.clear()
	if !tc.conn.streams.ready.empty() {
		t.Error("streams are queued")
	}
}
