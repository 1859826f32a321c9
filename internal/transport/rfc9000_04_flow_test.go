package transport

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// smallWindows gives little credit, that does not grow.
func smallWindows(c *Config) {
	p := &c.Params
	p.MaxData, p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 100, 40, 40, 40
	p.MaxStreamsBidi, p.MaxStreamsUni = 4, 4
	c.MaxConnWindow, c.MaxStreamWindow = 100, 40
}

func data(id, off int64, n int, fin bool) wire.Stream {
	return wire.Stream{ID: id, Offset: off, Data: []byte(strings.Repeat("d", n)), Fin: fin, HasLen: true}
}

// However fast the peer sends and the program reads, no more can come that nobody reads than
// the largest windows hold, of a stream and of all (RFC 9000 §4.1).
func TestS08LargestWindows(t *testing.T) {
	besiege(t, 0)
	each, all := int64(limits.Bound(t, "stream-window")), int64(limits.Bound(t, "session-window"))
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		tc.attacked.Grant(2 * (all - tc.conn.flow.in.Size())) // the window grows to that
		tc.ignore(wire.FrameMaxData, wire.FrameMaxStreamData)
		tc.pingFor(50*time.Millisecond, 0)
		const piece = 50_000
		sent, read := int64(0), int64(0)
		most := func(st *Stream, off int64) int {
			return int(min(st.window.Limit()-off, tc.conn.flow.in.Limit()-sent, piece))
		}
		var streams []*Stream
		var offs []int64
		for i := range all/each + 1 {
			st := tc.accept((!s).streamID(bidi, i), "d")
			off := int64(1)
			for sent++; off < each*2/3; { // as if it came in a round trip, a window a round trip
				n := most(st, off)
				tc.write(wire.OneRTT, data(st.ID(), off, n, false))
				off, sent = off+int64(n), sent+int64(n)
				got, _ := tc.read(st)
				read += int64(len(got))
				tc.out, tc.datagrams = nil, nil
			}
			if n := st.window.Size(); n != each {
				t.Errorf("the window of a stream grows to %d", n)
			}
			streams, offs = append(streams, st), append(offs, off)
		}
		if n := tc.conn.flow.in.Size(); n != all {
			t.Errorf("the window of all streams grows to %d", n)
		}
		for i, st := range streams {
			for n := most(st, offs[i]); n > 0; n = most(st, offs[i]) {
				tc.write(wire.OneRTT, data(st.ID(), offs[i], n, false))
				offs[i], sent = offs[i]+int64(n), sent+int64(n)
			}
			if n := int64(st.Readable()); n > each || i == 0 && n < each/2 {
				t.Errorf("%d bytes of a stream are unread", n)
			}
		}
		if n := sent - read; n > all || n < all/2 {
			t.Errorf("%d bytes are unread", n)
		}
		tc.wantOpen("up to the limits")
		tc.write(wire.OneRTT, data(streams[0].ID(), offs[0], 1, false))
		tc.wantCut("one more", wire.FlowControlError)
	})
}

// A byte past the stream's limit or the connection's is one too many, whether it
// is data, a hole, or only claimed by a final size (RFC 9000 §4.1, §4.5, RFC 9000 §19.9, §19.10).
func TestS08FlowControlError(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		id := func(n int64) int64 { return (!s).streamID(bidi, n) }
		for _, tt := range []struct {
			name   string
			frames []wire.Frame
			ok     bool
		}{
			{"up to the stream's limit", []wire.Frame{data(id(0), 0, 40, false)}, true},
			{"a byte more", []wire.Frame{data(id(0), 1, 40, false)}, false},
			{"a hole up to the limit", []wire.Frame{data(id(0), 39, 1, true)}, true},
			{"FIN past the limit", []wire.Frame{data(id(0), 41, 0, true)}, false},
			{"no byte past the limit", []wire.Frame{data(id(0), 41, 0, false)}, false},
			{"a reset up to the limit", []wire.Frame{wire.ResetStream{ID: id(0), FinalSize: 40}}, true},
			{"a reset past it", []wire.Frame{wire.ResetStream{ID: id(0), FinalSize: 41}}, false},
			{"a reset at the end of numbers", []wire.Frame{wire.ResetStream{ID: id(0), FinalSize: 1<<62 - 1}}, false},
			{"three streams up to the connection's limit", []wire.Frame{
				data(id(0), 0, 40, false), data(id(1), 0, 40, false), data(id(2), 0, 20, false)}, true},
			{"and a byte more", []wire.Frame{
				data(id(0), 0, 40, false), data(id(1), 0, 40, false), data(id(2), 0, 21, false)}, false},
			{"the same bytes twice count once", []wire.Frame{
				data(id(0), 0, 40, false), data(id(0), 0, 40, false), data(id(0), 10, 30, true), data(id(1), 0, 40, false)}, true},
			{"holes count", []wire.Frame{
				data(id(0), 39, 1, false), data(id(1), 39, 1, false), data(id(2), 20, 1, false)}, false},
			{"a final size counts", []wire.Frame{
				data(id(0), 0, 40, false), data(id(1), 0, 40, false), wire.ResetStream{ID: id(2), FinalSize: 21}}, false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tc := newTestConn(t, s, smallWindows)
				tc.write(wire.OneRTT, tt.frames...)
				if tt.ok {
					tc.wantOpen(tt.name)
				} else {
					tc.wantClose(tt.name, wire.FlowControlError)
				}
				tc.abandon()
			})
		}
	})
}

// Each kind of stream has its own initial limit (RFC 9000 §18.2).
func TestInitialStreamLimits(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		limits := func(c *Config) {
			c.Params.MaxStreamDataBidiLocal, c.Params.MaxStreamDataBidiRemote, c.Params.MaxStreamDataUni = 10, 20, 30
		}
		for _, tt := range []struct {
			id    int64
			limit int64
		}{{s.streamID(bidi, 0), 10}, {(!s).streamID(bidi, 0), 20}, {(!s).streamID(uni, 0), 30}} {
			tc := newTestConn(t, s, limits)
			tc.open(bidi)
			tc.write(wire.OneRTT, data(tt.id, tt.limit-1, 1, false))
			tc.wantOpen("the last byte")
			tc.write(wire.OneRTT, data(tt.id, tt.limit, 1, false))
			tc.wantClose("one more", wire.FlowControlError)
		}
		peer := func(p *wire.Parameters) {
			p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 10, 20, 30
		}
		tc := newTestConn(t, s, peer)
		tc.ignore(wire.FrameStreamDataBlocked)
		theirs := tc.accept((!s).streamID(bidi, 0), "")
		for st, limit := range map[*Stream]int{tc.open(bidi): 20, tc.open(uni): 30, theirs: 10} {
			tc.send(st, strings.Repeat("x", 100))
			f := tc.wantType("what the peer allows", wire.OneRTT, wire.FrameStream).(wire.Stream)
			if len(f.Data) != limit {
				t.Errorf("stream %d: %d bytes, want %d", st.ID(), len(f.Data), limit)
			}
		}
	})
}

// Reading gives credit, without being asked for it (RFC 9000 §4.2).
func TestCreditForReading(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, smallWindows)
		id := (!s).streamID(uni, 0)
		tc.write(wire.OneRTT, data(id, 0, 40, false))
		st := tc.wantEvent("new", EventStream).Stream
		tc.wantIdle("not read yet")
		tc.read(st)
		tc.want("read", wire.OneRTT, wire.MaxStreamData{ID: id, Max: 80})
		tc.wantIdle("the connection has enough")
		tc.write(wire.OneRTT, data(id, 40, 40, false))
		tc.read(st)
		tc.want("the connection, too", wire.OneRTT, wire.MaxData{Max: 180})
		tc.want("read", wire.OneRTT, wire.MaxStreamData{ID: id, Max: 120})
		tc.write(wire.OneRTT, data(id, 80, 40, true))
		tc.read(st)
		tc.ignore(wire.FrameMaxStreamsUni)
		tc.wantIdle("a stream that has ended needs no credit")
	})
}

// What is dropped unread gives its credit back to the connection: a reset, a
// stopped stream (RFC 9000 §4.1, §4.5).
func TestCreditForDropping(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		reset := func(tc *testConn, id int64, st *Stream) {
			tc.write(wire.OneRTT, wire.ResetStream{ID: id, FinalSize: 40})
		}
		stop := func(tc *testConn, id int64, st *Stream) {
			tc.conn.Stop(tc.now, st, 1)
			tc.wantType("stop", wire.OneRTT, wire.FrameStopSending)
		}
		for _, drop := range []func(*testConn, int64, *Stream){reset, stop} {
			tc := newTestConn(t, s, smallWindows)
			for n := range int64(20) {
				id := (!s).streamID(uni, n)
				tc.ignore(wire.FrameMaxData, wire.FrameMaxStreamsUni)
				tc.write(wire.OneRTT, data(id, 10, 10, false))
				st := tc.wantEvent("new", EventStream).Stream
				drop(tc, id, st)
				tc.write(wire.OneRTT, data(id, 0, 40, true))
				if _, err := tc.read(st); err == nil || err == io.EOF {
					t.Errorf("Read: %v", err)
				}
				tc.wantOpen("the credit comes back")
				tc.wantEvent("over", EventStreamDone)
			}
		}
	})
}

// We send what the peer allows and not a byte more, say so once for each limit,
// and go on when there is more credit; a limit that falls says nothing
// (RFC 9000 §4.1, RFC 9000 §2.2, §19.9, §19.10).
func TestRespectLimits(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataUni = 50, 30 })
		one, two := tc.open(uni), tc.open(uni)
		text := strings.Repeat("0123456789", 10)
		tc.send(one, text)
		tc.want("up to the limit", wire.OneRTT, wire.Stream{ID: one.ID(), Data: []byte(text[:30])})
		tc.want("blocked", wire.OneRTT, wire.StreamDataBlocked{ID: one.ID(), Limit: 30})
		tc.send(two, text)
		tc.want("up to the connection's limit", wire.OneRTT, wire.Stream{ID: two.ID(), Data: []byte(text[:20])})
		tc.want("blocked", wire.OneRTT, wire.DataBlocked{Limit: 50})
		tc.write(wire.OneRTT, wire.MaxStreamData{ID: one.ID(), Max: 10}, wire.MaxData{Max: 10})
		tc.wantIdle("limits do not fall")
		tc.write(wire.OneRTT, wire.MaxStreamData{ID: one.ID(), Max: 31})
		tc.wantIdle("the connection is still blocked")
		tc.write(wire.OneRTT, wire.MaxData{Max: 55})
		sent := map[int64]int{}
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			p.seen++
			if f, ok := f.(wire.Stream); ok {
				sent[f.ID] += len(f.Data)
			}
		}
		if sent[one.ID()]+sent[two.ID()] != 5 || sent[one.ID()] > 1 {
			t.Errorf("sent %v, want 5 bytes, of the first stream one at most", sent)
		}
		tc.write(wire.OneRTT, wire.MaxData{Max: 1<<62 - 1}, wire.MaxStreamData{ID: one.ID(), Max: 1<<62 - 1})
		tc.clear()
		if n := one.Unsent(); n != 0 {
			t.Errorf("%d bytes not sent", n)
		}
	})
}

// Lost data goes again without new credit (RFC 9000 §4.1, §13.3).
func TestRetransmissionNeedsNoCredit(t *testing.T) {
	lostAndPTO(t, func(t *testing.T, pto bool) {
		tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxData = 5 })
		st := tc.open(bidi)
		tc.send(st, "hello world")
		f := wire.Stream{ID: st.ID(), Data: []byte("hello")}
		tc.want("all the credit", wire.OneRTT, f)
		tc.want("blocked", wire.OneRTT, wire.DataBlocked{Limit: 5})
		tc.ignore(wire.FrameDataBlocked)
		tc.triggerLossOrPTO(pto)
		tc.want("again", wire.OneRTT, f)
	})
}

// The final size of a stream never changes, and nothing lies past it (RFC 9000 §4.5).
func TestS09FinalSize(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		id := (!s).streamID(bidi, 0)
		reset := func(n int64) wire.Frame { return wire.ResetStream{ID: id, FinalSize: n} }
		for _, tt := range []struct {
			name   string
			frames []wire.Frame
			ok     bool
		}{
			{"data past FIN", []wire.Frame{data(id, 0, 10, true), data(id, 10, 1, false)}, false},
			{"a later FIN", []wire.Frame{data(id, 0, 10, true), data(id, 0, 11, true)}, false},
			{"an earlier FIN", []wire.Frame{data(id, 5, 5, true), data(id, 0, 3, true)}, false},
			{"FIN below what came", []wire.Frame{data(id, 0, 10, false), data(id, 0, 9, true)}, false},
			{"the same FIN again", []wire.Frame{data(id, 0, 10, true), data(id, 0, 10, true), data(id, 10, 0, true)}, true},
			{"a reset with the same size", []wire.Frame{data(id, 5, 5, true), reset(10)}, true},
			{"a smaller reset", []wire.Frame{data(id, 5, 5, true), reset(9)}, false},
			{"a larger reset", []wire.Frame{data(id, 5, 5, true), reset(11)}, false},
			{"a reset below what came", []wire.Frame{data(id, 0, 10, false), reset(9)}, false},
			{"a larger reset when all is here", []wire.Frame{data(id, 0, 10, true), reset(11)}, false},
			{"two resets alike", []wire.Frame{reset(10), reset(10)}, true},
			{"a second, larger reset", []wire.Frame{reset(10), reset(11)}, false},
			{"a second, smaller reset", []wire.Frame{reset(10), reset(9)}, false},
			{"data below a reset", []wire.Frame{reset(10), data(id, 0, 10, false)}, true},
			{"data past a reset", []wire.Frame{reset(10), data(id, 0, 11, false)}, false},
			{"FIN elsewhere after a reset", []wire.Frame{reset(10), data(id, 0, 5, true)}, false},
			{"nothing past a reset", []wire.Frame{reset(10), data(id, 11, 0, false)}, false},
		} {
			for _, apart := range []bool{false, true} {
				tc := newTestConn(t, s)
				if !apart {
					tc.write(wire.OneRTT, tt.frames...)
				}
				for _, f := range tt.frames {
					if apart && tc.closed == nil {
						tc.write(wire.OneRTT, f)
					}
				}
				if tt.ok {
					tc.wantOpen(tt.name)
				} else {
					tc.wantClose(tt.name, wire.FinalSizeError)
				}
			}
		}
	})
}

// A final size is remembered also of a stream that we have stopped (RFC 9000 §4.5).
func TestS09FinalSizeOfStopped(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	st := tc.accept(0, "0123456789")
	tc.conn.Stop(tc.now, st, 1)
	tc.wantType("stop", wire.OneRTT, wire.FrameStopSending)
	tc.write(wire.OneRTT, wire.ResetStream{ID: 0, FinalSize: 9})
	tc.wantClose("below what came", wire.FinalSizeError)
}

// The peer may open as many streams as it was told, of each kind; the limit rises
// as streams end, and only then (RFC 9000 §4.6).
func TestStreamLimits(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, kind := range []bool{bidi, uni} {
			tc := newTestConn(t, s, smallWindows)
			tc.write(wire.OneRTT, data((!s).streamID(kind, 3), 0, 1, false))
			tc.wantOpen("the last one")
			tc.write(wire.OneRTT, data((!s).streamID(kind, 4), 0, 1, false))
			tc.wantClose("one more", wire.StreamLimitError)

			tc = newTestConn(t, s, smallWindows)
			for n := range int64(10) {
				id := (!s).streamID(kind, n)
				tc.write(wire.OneRTT, data(id, 0, 1, true))
				st := tc.wantEvent("new", EventStream).Stream
				tc.read(st)
				if !kind {
					must(tc.conn.CloseWrite(st))
					tc.wantType("our end", wire.OneRTT, wire.FrameStream)
					tc.wantNoEvent("not over yet", EventStreamDone)
					tc.ack(wire.OneRTT)
				}
				tc.wantEvent("over", EventStreamDone)
				f := tc.wantType("another may come", wire.OneRTT, wire.MaxStreams{Uni: kind}.Type()).(wire.MaxStreams)
				if f.Max != 5+n {
					t.Errorf("after %d: %v", n, f)
				}
				tc.ignore(wire.FrameMaxData)
			}
		}
	})
}

// We open as many as the peer allows, say when that is too few, once, and learn
// of more (RFC 9000 §4.6, RFC 9000 §19.11).
func TestRespectStreamLimits(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, kind := range []bool{bidi, uni} {
			tc := newTestConn(t, s, func(p *wire.Parameters) { p.MaxStreamsBidi, p.MaxStreamsUni = 2, 2 })
			tc.open(kind)
			tc.open(kind)
			for range 3 {
				if tc.conn.OpenStream(tc.now, kind) != nil {
					t.Fatal("a stream over the limit")
				}
			}
			tc.want("blocked", wire.OneRTT, wire.StreamsBlocked{Uni: kind, Limit: 2})
			tc.write(wire.OneRTT, wire.MaxStreams{Uni: kind, Max: 1}, wire.MaxStreams{Uni: !kind, Max: 1000})
			tc.wantNoEvent("no more of this kind", EventCredit)
			tc.write(wire.OneRTT, wire.MaxStreams{Uni: kind, Max: 3})
			if e := tc.wantEvent("credit", EventCredit); e.Uni != kind {
				t.Errorf("%+v", e)
			}
			tc.open(kind)
			if tc.conn.OpenStream(tc.now, kind) != nil {
				t.Fatal("a stream over the limit")
			}
			tc.want("blocked anew", wire.OneRTT, wire.StreamsBlocked{Uni: kind, Limit: 3})
			tc.advance(10 * time.Millisecond)
		}
	})
}

// A stream that its owner keeps for somebody counts as open when it is over, and is no longer in the table; it
// brings the peer credit when it is taken, once (RFC 9000 §4.6).
func TestWithheldStreams(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, smallWindows)
		end := func(n int64) *Stream {
			id := (!s).streamID(bidi, n)
			tc.write(wire.OneRTT, data(id, 0, 0, true), wire.StopSending{ID: id})
			st := tc.wantEvent("new", EventStream).Stream
			tc.conn.Withhold(st)
			tc.wantType("it is stopped", wire.OneRTT, wire.FrameResetStream)
			return st
		}
		var list []*Stream
		for n := range int64(4) {
			st := end(n)
			tc.ack(wire.OneRTT)
			tc.wantEvent("over", EventStreamDone)
			list = append(list, st)
		}
		tc.wantIdle("nobody has taken them")
		if n := tc.conn.Streams(); n != 0 {
			t.Errorf("%d streams are in the table", n)
		}
		tc.write(wire.OneRTT, wire.StreamsBlocked{Limit: 4})
		tc.want("what was said may be lost", wire.OneRTT, wire.MaxStreams{Max: 4})
		for i, st := range list {
			if !tc.conn.Take(st) || tc.conn.Take(st) {
				t.Fatal("each stream brings credit once")
			}
			tc.want("another may come", wire.OneRTT, wire.MaxStreams{Max: 5 + int64(i)})
		}
		st := end(4)
		if tc.conn.Take(st) {
			t.Error("a stream that is not over brings credit")
		}
		tc.ack(wire.OneRTT)
		tc.want("over, and taken before", wire.OneRTT, wire.MaxStreams{Max: 9})
		tc.write(wire.OneRTT, data((!s).streamID(bidi, 9), 0, 1, false))
		tc.wantClose("one more", wire.StreamLimitError)
		if tc.conn.Take(list[0]) {
			t.Error("there is no credit when the connection is over")
		}
	})
}
