package stream

import (
	"bytes"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// receiver is a receiving half under test. The peer sends the pattern.
type receiver struct {
	t *testing.T
	Recv
	list List
}

func newReceiver(t *testing.T, window int64) *receiver {
	r := &receiver{t: t}
	r.Init(&r.list, window)
	return r
}

// gets delivers a STREAM frame, which must be fine and grow the stream by fresh.
func (r *receiver) gets(off int64, n int, fin bool, fresh int64) {
	r.t.Helper()
	got, err := r.Grow(off, n, fin)
	if err != wire.NoError || got != fresh {
		r.t.Fatalf("frame at %d with %d bytes: grows by %d, %v; want %d", off, n, got, err, fresh)
	}
	if err := r.Receive(off, pattern(off, n), fin); err != wire.NoError {
		r.t.Fatalf("frame at %d with %d bytes: %v", off, n, err)
	}
}

// refuses fails unless Grow refuses a frame with the given code.
func (r *receiver) refuses(reason string, off int64, n int, fin bool, want wire.ErrorCode) {
	r.t.Helper()
	if _, err := r.Grow(off, n, fin); err != want {
		r.t.Fatalf("%s: %v, want %v", reason, err, want)
	}
}

// reads reads into n bytes of room, and fails unless it gets want bytes of the pattern.
func (r *receiver) reads(reason string, n, want int) {
	r.t.Helper()
	off := r.read
	p := make([]byte, n)
	if got := r.Read(p); got != want {
		r.t.Fatalf("%s: read %d bytes, want %d", reason, got, want)
	}
	if !bytes.Equal(p[:want], pattern(off, want)) {
		r.t.Fatalf("%s: wrong content", reason)
	}
}

func (r *receiver) wantState(reason string, state RecvState) {
	r.t.Helper()
	if r.State() != state {
		r.t.Fatalf("%s: state is %v, want %v", reason, r.State(), state)
	}
	if done := state == RecvDataRead || state == RecvResetRead; !r.Stopped() && r.Done() != done {
		r.t.Fatalf("%s: Done is %v in state %v", reason, r.Done(), state)
	}
}

// RFC 9000 §3.2: Recv, Size Known, Data Recvd, Data Read.
func TestRecvLifeWithFin(t *testing.T) {
	r := newReceiver(t, 1000)
	r.wantState("created", RecvRecv)
	if r.FinalSize() != -1 {
		t.Errorf("final size is %d", r.FinalSize())
	}
	r.gets(0, 10, false, 10)
	r.wantState("first bytes", RecvRecv)
	r.gets(20, 10, true, 20)
	r.wantState("FIN behind a hole", RecvSizeKnown)
	if r.FinalSize() != 30 || r.Gaps() != 1 || r.Buffered() != 20 || r.Readable() != 10 {
		t.Errorf("final size %d, gaps %d, buffered %d, readable %d", r.FinalSize(), r.Gaps(), r.Buffered(), r.Readable())
	}
	r.reads("before the hole", 100, 10)
	r.wantState("read up to the hole", RecvSizeKnown)
	r.gets(10, 10, false, 0)
	r.wantState("hole filled", RecvDataRecvd)
	r.reads("a part", 5, 5)
	r.wantState("not all read", RecvDataRecvd)
	if r.EOF() {
		t.Error("EOF before the end")
	}
	r.reads("the rest", 100, 15)
	r.wantState("all read", RecvDataRead)
	if !r.EOF() || r.Consumed() != 30 {
		t.Errorf("EOF %v, consumed %d", r.EOF(), r.Consumed())
	}
	r.gets(5, 25, true, 0) // a late duplicate
	r.wantState("duplicate", RecvDataRead)
	if fresh, err := r.Reset(1, 30); fresh != 0 || err != wire.NoError {
		t.Errorf("late reset: %d, %v", fresh, err)
	}
	r.wantState("late reset", RecvDataRead)
	wantChunks(t, "all read", &r.list, 0)
}

// A frame with the last byte and the FIN leads from Recv to Data Recvd, and a
// FIN with nothing left to read to Data Read.
func TestRecvFinShortcuts(t *testing.T) {
	r := newReceiver(t, 1000)
	r.gets(0, 10, true, 10)
	r.wantState("all in one frame", RecvDataRecvd)
	r.reads("all", 10, 10)
	r.wantState("all read", RecvDataRead)

	r = newReceiver(t, 1000)
	r.gets(0, 10, false, 10)
	r.reads("all", 10, 10)
	r.gets(10, 0, true, 0)
	r.wantState("FIN behind what is read", RecvDataRead)
	if !r.EOF() {
		t.Error("no EOF")
	}

	r = newReceiver(t, 0)
	r.gets(0, 0, true, 0)
	r.wantState("an empty stream", RecvDataRead)
}

// RFC 9000 §3.2: a reset from Recv and from Size Known leads to Reset Recvd,
// and to Reset Read when the application knows.
func TestRecvReset(t *testing.T) {
	for _, fin := range []bool{false, true} {
		r := newReceiver(t, 1000)
		r.gets(0, 10, false, 10)
		r.gets(90, 10, fin, 90)
		r.reads("a part", 4, 4)
		size := int64(150)
		if fin {
			size = 100
		}
		if _, ok := r.ResetCode(); ok {
			t.Error("a code before the reset")
		}
		fresh, err := r.Reset(7, size)
		if fresh != size-100 || err != wire.NoError {
			t.Fatalf("reset: %d, %v", fresh, err)
		}
		r.wantState("reset", RecvResetRecvd)
		wantChunks(t, "reset", &r.list, 0)
		if code, ok := r.ResetCode(); code != 7 || !ok {
			t.Errorf("code %d, %v", code, ok)
		}
		if r.Readable() != 0 || r.Read(make([]byte, 10)) != 0 || r.Peek() != nil || r.Buffered() != 0 {
			t.Error("something to read after the reset")
		}
		if r.Consumed() != size || r.Highest() != size {
			t.Errorf("consumed %d, highest %d", r.Consumed(), r.Highest())
		}
		if fresh, err := r.Reset(8, size); fresh != 0 || err != wire.NoError {
			t.Errorf("second reset: %d, %v", fresh, err)
		}
		r.gets(10, 50, false, 0) // late data
		wantChunks(t, "late data", &r.list, 0)
		r.refuses("data beyond the final size", 140, 20, false, wire.FinalSizeError)
		r.wantState("late frames", RecvResetRecvd)
		r.ReadReset()
		r.wantState("the application knows", RecvResetRead)
		if code, ok := r.ResetCode(); code != 7 || !ok || r.EOF() {
			t.Errorf("code %d, %v, EOF %v", code, ok, r.EOF())
		}
	}
}

// RFC 9000 §3.2: with all data here, a reset is ignored and reading goes on.
func TestRecvResetTooLate(t *testing.T) {
	r := newReceiver(t, 1000)
	r.gets(0, 10, true, 10)
	if fresh, err := r.Reset(7, 10); fresh != 0 || err != wire.NoError {
		t.Fatalf("reset: %d, %v", fresh, err)
	}
	r.wantState("reset ignored", RecvDataRecvd)
	r.ReadReset()
	r.reads("all", 10, 10)
	r.wantState("all read", RecvDataRead)
}

// The table has no transition but those of RFC 9000 figure 3, without the
// optional ones between Data Recvd and Reset Recvd.
func TestRecvTable(t *testing.T) {
	want := map[[2]int]RecvState{
		{int(RecvRecv), int(gotFin)}:          RecvSizeKnown,
		{int(RecvRecv), int(gotReset)}:        RecvResetRecvd,
		{int(RecvSizeKnown), int(gotAll)}:     RecvDataRecvd,
		{int(RecvSizeKnown), int(gotReset)}:   RecvResetRecvd,
		{int(RecvDataRecvd), int(readAll)}:    RecvDataRead,
		{int(RecvResetRecvd), int(readReset)}: RecvResetRead,
	}
	for state := RecvState(0); state <= RecvResetRead; state++ {
		for e := gotFin; e <= readReset; e++ {
			r := Recv{state: state}
			next, ok := want[[2]int{int(state), int(e)}]
			if !ok {
				next = state
			}
			if applied := r.on(e); applied != ok || r.state != next {
				t.Errorf("%v, event %d: %v, want %v", state, e, r.state, next)
			}
		}
	}
	if got := RecvSizeKnown.String(); got != "Size Known" {
		t.Errorf("name is %q", got)
	}
}

// RFC 9000 §4.1: one byte beyond the limit is FLOW_CONTROL_ERROR, by data or
// by the final size of a reset; a limit never falls.
func TestRecvFlowControl(t *testing.T) {
	r := newReceiver(t, 100)
	r.refuses("one byte too far", 100, 1, false, wire.FlowControlError)
	r.refuses("far, with FIN", 100_000_000, 5, true, wire.FlowControlError)
	r.refuses("as far as it gets", 1<<62-1000, 999, false, wire.FlowControlError)
	if _, err := r.Reset(0, 101); err != wire.FlowControlError {
		t.Errorf("reset beyond the limit: %v", err)
	}
	r.wantState("reset refused", RecvRecv)
	r.gets(50, 50, false, 100)
	r.refuses("overlapping the limit", 99, 2, false, wire.FlowControlError)
	r.SetLimit(50)
	if r.Limit() != 100 {
		t.Errorf("the limit fell to %d", r.Limit())
	}
	r.SetLimit(200)
	r.gets(99, 101, false, 100)
	if fresh, err := r.Reset(0, 200); fresh != 0 || err != wire.NoError {
		t.Errorf("reset at the limit: %d, %v", fresh, err)
	}
	// An empty frame beyond the highest offset counts as well.
	r = newReceiver(t, 100)
	r.gets(60, 0, false, 60)
	r.gets(60, 0, false, 0)
	r.refuses("empty, too far", 101, 0, false, wire.FlowControlError)
}

// RFC 9000 §4.5: the final size never changes.
func TestRecvFinalSize(t *testing.T) {
	r := newReceiver(t, 1000)
	r.gets(0, 50, false, 50)
	r.refuses("FIN below what is received", 10, 30, true, wire.FinalSizeError)
	if _, err := r.Reset(0, 49); err != wire.FinalSizeError {
		t.Errorf("reset below what is received: %v", err)
	}
	r.gets(90, 10, true, 50)
	r.refuses("data beyond the final size", 95, 6, false, wire.FinalSizeError)
	r.refuses("another final size, larger", 100, 1, true, wire.FinalSizeError)
	r.refuses("another final size, smaller", 50, 10, true, wire.FinalSizeError)
	r.refuses("beyond final size and limit", 5000, 10, true, wire.FinalSizeError)
	for _, size := range []int64{99, 101} {
		if _, err := r.Reset(0, size); err != wire.FinalSizeError {
			t.Errorf("reset with size %d: %v", size, err)
		}
	}
	r.wantState("all refused", RecvSizeKnown)
	r.gets(90, 10, true, 0)
	r.gets(100, 0, false, 0)
	r.gets(40, 60, true, 0)
	r.reads("all", 1000, 100)
	r.refuses("data after the end", 100, 1, false, wire.FinalSizeError)
	if _, err := r.Reset(0, 99); err != wire.FinalSizeError {
		t.Errorf("reset after the end: %v", err)
	}
}

// RFC 9000 §2.2: the first copy of a byte wins, and versions do not mix.
func TestRecvFirstWriteWins(t *testing.T) {
	r := newReceiver(t, 1000)
	fill := func(off int64, n int, b byte) {
		t.Helper()
		if err := r.Receive(off, bytes.Repeat([]byte{b}, n), false); err != wire.NoError {
			t.Fatal(err)
		}
	}
	fill(10, 5, 'a')
	fill(20, 5, 'b')
	fill(5, 25, 'c') // around both
	fill(0, 40, 'd') // over all of it
	fill(0, 40, 'e') // nothing new
	want := "dddddcccccaaaaacccccbbbbbcccccdddddddddd"
	got := make([]byte, 100)
	if n := r.Read(got); string(got[:n]) != want {
		t.Errorf("read %q, want %q", got[:n], want)
	}
}

// RFC 9000 §3.5: Stop drops what is here and what comes; all of it counts as
// consumed, and the half is done when the final size is known.
func TestRecvStop(t *testing.T) {
	r := newReceiver(t, 1000)
	r.gets(0, 100, false, 100)
	r.gets(200, 100, false, 200)
	r.reads("a part", 10, 10)
	if r.Consumed() != 10 {
		t.Errorf("consumed %d", r.Consumed())
	}
	if !r.Stop() || !r.Stopped() {
		t.Error("STOP_SENDING makes sense")
	}
	if r.Stop() {
		t.Error("STOP_SENDING twice")
	}
	wantChunks(t, "stopped", &r.list, 0)
	if r.Consumed() != 300 || r.Readable() != 0 || r.Done() {
		t.Errorf("consumed %d, readable %d, done %v", r.Consumed(), r.Readable(), r.Done())
	}
	r.gets(400, 100, false, 200)
	r.refuses("flow control goes on", 1000, 1, false, wire.FlowControlError)
	wantChunks(t, "more data", &r.list, 0)
	if r.Consumed() != 500 {
		t.Errorf("consumed %d", r.Consumed())
	}
	r.gets(600, 0, true, 100)
	r.refuses("final size goes on", 600, 1, false, wire.FinalSizeError)
	if r.Consumed() != 600 || !r.Done() || r.EOF() {
		t.Errorf("consumed %d, done %v, EOF %v", r.Consumed(), r.Done(), r.EOF())
	}
}

func TestRecvStopThenReset(t *testing.T) {
	r := newReceiver(t, 1000)
	r.Stop()
	if fresh, err := r.Reset(5, 70); fresh != 70 || err != wire.NoError {
		t.Fatalf("reset: %d, %v", fresh, err)
	}
	r.wantState("nobody wants to know", RecvResetRead)
	if !r.Done() || r.Consumed() != 70 {
		t.Errorf("done %v, consumed %d", r.Done(), r.Consumed())
	}
}

func TestRecvStopLate(t *testing.T) {
	r := newReceiver(t, 1000)
	r.gets(0, 100, true, 100)
	if r.Stop() {
		t.Error("STOP_SENDING although all data is here")
	}
	r.wantState("all data, unwanted", RecvDataRead)
	wantChunks(t, "stopped", &r.list, 0)
	if !r.Done() || r.Consumed() != 100 || r.EOF() {
		t.Errorf("done %v, consumed %d, EOF %v", r.Done(), r.Consumed(), r.EOF())
	}

	r = newReceiver(t, 1000)
	r.Reset(1, 10)
	if r.Stop() {
		t.Error("STOP_SENDING after a reset")
	}
	r.wantState("reset, unwanted", RecvResetRead)
}

// A waiting reader gets bytes without a detour through a chunk.
func TestRecvReader(t *testing.T) {
	r := newReceiver(t, 1000)
	p := make([]byte, 50)
	r.SetReader(p)
	r.gets(0, 20, false, 20)
	wantChunks(t, "straight to the reader", &r.list, 0)
	if r.Consumed() != 20 || r.Readable() != 0 {
		t.Errorf("consumed %d, readable %d", r.Consumed(), r.Readable())
	}
	r.gets(30, 10, false, 20)
	r.gets(45, 20, false, 25)
	wantChunks(t, "behind holes", &r.list, 1)
	r.gets(15, 20, false, 0)
	if r.Consumed() != 40 {
		t.Errorf("a hole filled: consumed %d, want 40", r.Consumed())
	}
	r.gets(40, 30, true, 5)
	r.wantState("the reader is full, 20 bytes remain", RecvDataRecvd)
	if n := r.TakeReader(); n != 50 || !bytes.Equal(p, pattern(0, 50)) {
		t.Errorf("the reader got %d bytes: %x", n, p)
	}
	if r.TakeReader() != 0 {
		t.Error("the reader is still there")
	}
	r.reads("the rest", 100, 20)
	r.wantState("all read", RecvDataRead)
	wantChunks(t, "all read", &r.list, 0)
}

// A half is not done before the waiting reader has been handed its bytes.
func TestRecvReaderAndFin(t *testing.T) {
	r := newReceiver(t, 1000)
	p := make([]byte, 50)
	r.SetReader(p)
	r.gets(0, 20, true, 20)
	if r.State() != RecvDataRead || r.Done() || !r.EOF() {
		t.Errorf("state %v, done %v, EOF %v", r.State(), r.Done(), r.EOF())
	}
	if n := r.TakeReader(); n != 20 || !r.Done() {
		t.Errorf("the reader got %d bytes, done %v", n, r.Done())
	}
}

func TestRecvPeekDiscardDetach(t *testing.T) {
	r := newReceiver(t, 1<<20)
	r.gets(0, 1000, false, 1000)
	r.gets(1000, 9000, false, 9000)
	var all []byte
	for r.Readable() > 5000 {
		p := r.Peek()
		all = append(all, p...)
		r.Discard(len(p))
	}
	all = append(all, pattern(int64(len(all)), int(r.Readable())-100)...)
	r.Discard(int(r.Readable()) - 100)
	r.gets(10_050, 50, false, 100)
	if c, p := r.Detach(); c != nil || p != nil {
		t.Error("detached a chunk with bytes behind a hole")
	}
	r.gets(10_000, 50, false, 0)
	for r.Readable() > 0 {
		c, p := r.Detach()
		all = append(all, p...)
		r.list.Put(c)
	}
	if c, p := r.Detach(); c != nil || p != nil {
		t.Error("detached nothing")
	}
	if !bytes.Equal(all, pattern(0, 10_100)) {
		t.Errorf("wrong content, %d bytes", len(all))
	}
	mustPanic(t, "discard too much", func() { r.Discard(1) })
	wantChunks(t, "all read", &r.list, 0)
}

// More than MaxGaps holes end the connection.
func TestRecvMaxGaps(t *testing.T) {
	r := newReceiver(t, 1<<20)
	for i := range int64(MaxGaps) {
		r.gets(2*i+1, 1, false, max(0, 2*i+2-r.Highest()))
	}
	if r.Gaps() != MaxGaps {
		t.Errorf("%d gaps", r.Gaps())
	}
	r.gets(1500, 1, false, 0) // a duplicate? no: it joins two
	if err := r.Receive(1<<19, []byte{0}, false); err != wire.NoError {
		t.Error("a gap was freed, another one is fine:", err)
	}
	if err := r.Receive(1<<19+5, []byte{0}, false); err != wire.InternalError {
		t.Errorf("one gap too many: %v", err)
	}
	r.Release()
	wantChunks(t, "released", &r.list, 0)
}
