package transport

import (
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Streams of each kind and side are numbered in steps of four (RFC 9000 §2.1).
func TestStreamNumbers(t *testing.T) {
	for _, tt := range []struct {
		side side
		uni  bool
		want int64
	}{{clientSide, bidi, 0}, {serverSide, bidi, 1}, {clientSide, uni, 2}, {serverSide, uni, 3}} {
		tc := newTestConn(t, tt.side)
		for n := range int64(5) {
			st := tc.open(tt.uni)
			if st.ID() != tt.want+4*n || st.Uni() != tt.uni || !st.Local() || !st.CanSend() || st.CanReceive() == tt.uni {
				t.Errorf("%v: stream %d: %+v", tt.side, st.ID(), st)
			}
		}
	}
}

// A frame for a stream opens all lower ones of its kind with it (RFC 9000 §3.2),
// which costs nothing until one is touched (RFC 9000 §21.7).
func TestS06LowerStreamsExist(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		id := func(n int64) int64 { return (!s).streamID(bidi, n) }
		tc.accept(id(99), "highest")
		if n := tc.conn.Streams(); n != 1 {
			t.Errorf("%d streams in the table", n)
		}
		for _, f := range []wire.Frame{
			wire.MaxStreamData{ID: id(1), Max: 1 << 30}, wire.StreamDataBlocked{ID: id(2), Limit: 1 << 20},
			data(id(5), 0, 0, false), wire.ResetStream{ID: id(4), Code: 7}, wire.StopSending{ID: id(3)},
		} {
			tc.write(wire.OneRTT, f)
			tc.wantOpen("a lower stream")
			tc.wantEvent("now it shows", EventStream)
		}
		tc.want("the stopped one", wire.OneRTT, wire.ResetStream{ID: id(3)})
	})
}

// First come, first kept: other bytes at the same place change nothing that was
// received, read or not (RFC 9000 §2.2).
func TestFirstBytesWin(t *testing.T) {
	tc := newTestConn(t, serverSide)
	st := tc.accept(0, "hello")
	tc.write(wire.OneRTT, wire.Stream{ID: 0, Offset: 8, Data: []byte("ld"), HasLen: true})
	tc.write(wire.OneRTT, wire.Stream{ID: 0, Data: []byte("HELLO WORLD"), Fin: true, HasLen: true})
	if got, _ := tc.read(st); got != "hello WOldD" {
		t.Errorf("read %q", got)
	}
	if _, err := tc.read(st); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// Data comes in any order and is read in one (RFC 9000 §2.2).
func TestReorderedData(t *testing.T) {
	tc := newTestConn(t, serverSide)
	text := strings.Repeat("0123456789", 500)
	for at := len(text) - 70; at > -70; at -= 70 {
		from := max(at, 0)
		f := wire.Stream{ID: 0, Offset: int64(from), Data: []byte(text[from : at+70]), Fin: at == len(text)-70, HasLen: true}
		if from > 0 {
			tc.write(wire.OneRTT, f)
			continue
		}
		tc.wantNoEvent("nothing in order yet", EventReadable)
		tc.write(wire.OneRTT, f)
	}
	st := tc.wantEvent("new", EventStream).Stream
	tc.wantEvent("readable", EventReadable)
	if got, _ := tc.read(st); got != text {
		t.Errorf("read %d bytes", len(got))
	}
	if _, err := tc.read(st); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	tc.ignore(wire.FrameMaxStreamData, wire.FrameMaxData, wire.FramePing)
}

// After RESET_STREAM nothing goes out for a stream (RFC 9000 §3.3); its size is
// what was sent, not what was written (RFC 9000 §3.1, §4.5, RFC 9000 §11.2).
func TestReset(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, fin := range []bool{false, true} {
			tc := newTestConn(t, s, func(p *wire.Parameters) { p.MaxStreamDataUni = 10 })
			st := tc.open(uni)
			tc.send(st, "0123456789 and more")
			if fin {
				must(tc.conn.CloseWrite(st))
			}
			tc.wantType("data", wire.OneRTT, wire.FrameStream)
			tc.wantType("blocked", wire.OneRTT, wire.FrameStreamDataBlocked)
			tc.conn.Reset(st, 77)
			tc.conn.Reset(st, 78)
			tc.want("reset", wire.OneRTT, wire.ResetStream{ID: st.ID(), Code: 77, FinalSize: 10})
			tc.write(wire.OneRTT, wire.MaxStreamData{ID: st.ID(), Max: 100})
			tc.wantIdle("no more data")
			var e *StreamError
			if _, err := tc.conn.Write(st, []byte("x")); !errors.As(err, &e) || e.Remote || e.Code != 77 {
				t.Errorf("Write: %v", err)
			}
			tc.ack(wire.OneRTT)
			tc.wantEvent("the peer knows", EventStreamDone)
			if n := tc.conn.Streams(); n != 0 {
				t.Errorf("%d streams left", n)
			}
		}
	})
}

// A stream that nothing was sent on can be reset, and resets to size 0
// (RFC 9000 §3.1); one that is acknowledged cannot.
func TestResetAtTheEnds(t *testing.T) {
	tc := newTestConn(t, serverSide)
	st := tc.open(uni)
	tc.conn.Reset(st, 1)
	tc.want("empty", wire.OneRTT, wire.ResetStream{ID: st.ID(), Code: 1})
	st = tc.open(bidi)
	tc.send(st, "all")
	must(tc.conn.CloseWrite(st))
	tc.wantType("all of it", wire.OneRTT, wire.FrameStream)
	tc.ack(wire.OneRTT)
	tc.wantEvent("acknowledged", EventStreamAcked)
	tc.conn.Reset(st, 1)
	tc.wantIdle("too late")
}

// STOP_SENDING is answered with a reset that carries the same code, whatever
// state the sender is in but the last (RFC 9000 §3.5).
func TestStopSending(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, state := range []string{"ready", "sent", "finished", "acknowledged", "reset"} {
			tc := newTestConn(t, s)
			st := tc.open(bidi)
			size := int64(0)
			if state != "ready" {
				tc.send(st, "data")
				size = 4
			}
			if state == "finished" || state == "acknowledged" {
				must(tc.conn.CloseWrite(st))
			}
			tc.clear()
			if state == "acknowledged" {
				tc.ack(wire.OneRTT)
			}
			if state == "reset" {
				tc.conn.Reset(st, 8)
				tc.clear()
			}
			tc.write(wire.OneRTT, wire.StopSending{ID: st.ID(), Code: 99})
			tc.write(wire.OneRTT, wire.StopSending{ID: st.ID(), Code: 98})
			if state == "acknowledged" || state == "reset" {
				tc.wantIdle("there is nothing to stop")
				tc.wantNoEvent("nothing to stop", EventStopped)
				continue
			}
			tc.want("reset", wire.OneRTT, wire.ResetStream{ID: st.ID(), Code: 99, FinalSize: size})
			if e := tc.wantEvent("told", EventStopped); e.Stream != st || e.Code != 99 {
				t.Errorf("%+v", e)
			}
			tc.wantEvent("a writer wakes", EventWritable)
			var e *StreamError
			if _, err := tc.conn.Write(st, []byte("x")); !errors.As(err, &e) || !e.Remote || e.Code != 99 {
				t.Errorf("%s: Write: %v", state, err)
			}
			tc.wantIdle("one reset")
		}
	})
}

// STOP_SENDING opens a stream of the peer's: the peer wants no answer to what it
// has not said yet (RFC 9000 §3.1, §3.2).
func TestStopSendingOpens(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, wire.StopSending{ID: 0, Code: 5})
	st := tc.wantEvent("new", EventStream).Stream
	tc.want("reset", wire.OneRTT, wire.ResetStream{ID: 0, Code: 5})
	tc.write(wire.OneRTT, wire.Stream{ID: 0, Data: []byte("data"), Fin: true, HasLen: true})
	if got, _ := tc.read(st); got != "data" {
		t.Errorf("read %q", got)
	}
}

// A reader learns of a reset, with its code; what was not read is gone, unless all
// of it is here already (RFC 9000 §3.2).
func TestPeerResets(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		id := (!s).streamID(uni, 0)
		st := tc.accept(id, "data")
		tc.wantEvent("data", EventReadable)
		tc.write(wire.OneRTT, wire.ResetStream{ID: id, Code: 3, FinalSize: 10})
		tc.wantEvent("reset", EventReadable)
		got, err := tc.read(st)
		var e *StreamError
		if got != "" || !errors.As(err, &e) || !e.Remote || e.Code != 3 {
			t.Errorf("read %q, %v", got, err)
		}
		tc.wantEvent("over", EventStreamDone)

		id = (!s).streamID(uni, 1)
		st = tc.accept(id, "data")
		tc.write(wire.OneRTT, wire.Stream{ID: id, Offset: 4, Fin: true, HasLen: true})
		tc.write(wire.OneRTT, wire.ResetStream{ID: id, Code: 3, FinalSize: 4})
		if got, _ := tc.read(st); got != "data" {
			t.Errorf("read %q", got)
		}
		if _, err := tc.read(st); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		tc.ignore(wire.FrameMaxStreamsUni)
	})
}

// Stop asks the peer to stop, once, unless there is nothing left to stop
// (RFC 9000 §3.5).
func TestStop(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		id := (!s).streamID(uni, 0)
		for _, tt := range []struct {
			name   string
			frames []wire.Frame
			asks   bool
		}{
			{"some data", []wire.Frame{data(id, 0, 5, false)}, true},
			{"FIN, with a hole", []wire.Frame{data(id, 5, 5, true)}, true},
			{"everything", []wire.Frame{data(id, 0, 5, true)}, false},
			{"reset", []wire.Frame{wire.ResetStream{ID: id}}, false},
		} {
			tc := newTestConn(t, s)
			tc.write(wire.OneRTT, tt.frames...)
			st := tc.wantEvent("new", EventStream).Stream
			tc.conn.Stop(tc.now, st, 4)
			tc.conn.Stop(tc.now, st, 5)
			if tt.asks && tt.name == "some data" {
				tc.want(tt.name, wire.OneRTT, wire.StopSending{ID: id, Code: 4})
				tc.write(wire.OneRTT, data(id, 5, 5, true))
			}
			tc.wantIdle(tt.name)
			if _, err := tc.read(st); err == nil {
				t.Errorf("%s: no error", tt.name)
			}
			tc.wantEvent("over", EventStreamDone)
		}
	})
}

// A stream is over when both its halves are, and leaves nothing behind; late
// frames for it are no error (RFC 9000 §3.4, §4.5, RFC 9000 §4.4).
func TestStreamEnds(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s)
		st := tc.open(bidi)
		tc.send(st, "question")
		must(tc.conn.CloseWrite(st))
		tc.want("question", wire.OneRTT, wire.Stream{ID: st.ID(), Data: []byte("question"), Fin: true})
		tc.write(wire.OneRTT, wire.Stream{ID: st.ID(), Data: []byte("answer"), Fin: true, HasLen: true})
		if got, _ := tc.read(st); got != "answer" {
			t.Errorf("read %q", got)
		}
		tc.wantNoEvent("the question may be lost", EventStreamDone)
		tc.ack(wire.OneRTT)
		tc.wantEvent("acknowledged", EventStreamAcked)
		tc.wantEvent("over", EventStreamDone)
		if n := tc.conn.Streams(); n != 0 {
			t.Errorf("%d streams left", n)
		}
		tc.write(wire.OneRTT, wire.Stream{ID: st.ID(), Data: []byte("answer"), Fin: true, HasLen: true},
			wire.ResetStream{ID: st.ID(), FinalSize: 6}, wire.StopSending{ID: st.ID()},
			wire.MaxStreamData{ID: st.ID(), Max: 1 << 40}, wire.StreamDataBlocked{ID: st.ID()})
		tc.wantIdle("late frames")
		tc.wantNoEvent("not opened again", EventStream)
		if n := tc.pool.Outstanding(); n != 0 {
			t.Errorf("%d chunks left", n)
		}
	})
}

// Opening and resetting streams as fast as they come leaves nothing behind
// (RFC 9000 §21.6).
func TestS07RapidReset(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	tc.ignore(wire.FrameMaxStreamsBidi, wire.FrameResetStream, wire.FrameMaxData)
	for n := range int64(2000) {
		id := clientSide.streamID(bidi, n)
		tc.write(wire.OneRTT, data(id, 0, 10, false), wire.ResetStream{ID: id, FinalSize: 10}, wire.StopSending{ID: id})
		st := tc.wantEvent("new", EventStream).Stream
		tc.read(st)
		tc.ack(wire.OneRTT)
		if got := tc.conn.Streams(); got > 1 {
			t.Fatalf("%d streams after %d resets", got, n)
		}
		tc.events = nil
	}
	tc.clear()
	if n := tc.conn.streams.untouched[0]; len(n) != 0 {
		t.Errorf("untouched: %v", n)
	}
}

// Frames about streams in any order and combination, against an application that
// does what it likes: the connection lives, or ends with a code that says why;
// nothing panics, hangs or leaks (RFC 9000 §3, §4).
func TestS42StreamFrameCombinations(t *testing.T) {
	besiege(t, 0)
	allowed := map[wire.ErrorCode]bool{wire.FinalSizeError: true, wire.FlowControlError: true}
	for seed := range uint64(400) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := mrand.New(mrand.NewPCG(seed, 1))
			tc := newTestConn(t, side(seed%2 == 0), smallWindows, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 60, 30 })
			id := (!tc.side).streamID(bidi, 0)
			st := tc.accept(id, "")
			for range 40 {
				if tc.closed != nil {
					break
				}
				randomStreamStep(tc, r, st, id)
			}
			if tc.pump(); tc.closed != nil && !allowed[wire.ErrorCode(tc.closed.Code)] {
				t.Errorf("closed %+v", *tc.closed)
			}
			tc.abandon()
		})
	}
}

// randomStreamStep lets the peer, the application or time do something to a stream.
func randomStreamStep(tc *testConn, r *mrand.Rand, st *Stream, id int64) {
	off := r.Int64N(12)
	switch r.IntN(14) {
	case 0, 1, 2:
		tc.write(wire.OneRTT, data(id, off, r.IntN(10), r.IntN(12) == 0))
	case 3:
		tc.write(wire.OneRTT, wire.StopSending{ID: id, Code: 1})
	case 4:
		tc.write(wire.OneRTT, wire.MaxStreamData{ID: id, Max: 4 * off}, wire.MaxData{Max: 100})
	case 5:
		tc.write(wire.OneRTT, wire.StreamDataBlocked{ID: id, Limit: off})
	case 6:
		tc.ack(wire.OneRTT)
	case 7:
		tc.conn.Write(st, make([]byte, off))
	case 8:
		tc.read(st)
	case 9:
		tc.advance(100 * time.Millisecond)
	case 10:
		tc.conn.SetReader(st, make([]byte, off+1))
		tc.write(wire.OneRTT, data(id, off, 5, false))
		tc.conn.TakeReader(tc.now, st)
	case 11:
		if r.IntN(4) == 0 {
			tc.write(wire.OneRTT, wire.ResetStream{ID: id, Code: 2, FinalSize: 10 + off})
		}
	case 12:
		if r.IntN(4) == 0 {
			tc.conn.Reset(st, 3)
		}
	case 13:
		if r.IntN(4) == 0 {
			tc.conn.Stop(tc.now, st, 4)
		} else if r.IntN(4) == 0 {
			tc.conn.CloseWrite(st)
		}
	}
}
