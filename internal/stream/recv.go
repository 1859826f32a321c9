package stream

import (
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// MaxGaps is how many holes the received bytes of one stream may have. A peer
// that makes more is wasting our time.
const MaxGaps = 1000

// Recv is the receiving half of a stream (RFC 9000 §3.2). A byte is copied
// once, into a chunk or into a waiting reader's slice; the first copy of a byte
// to arrive wins (RFC 9000 §2.2). The zero Recv is unusable until Init.
//
// Bytes below read are consumed, those from read to end are here without a
// hole, and got has those beyond end. Chunks hold disjoint pieces of the offset
// space: the list from head to tail is contiguous and the tail reaches end or
// more; ahead has those that begin beyond end, each with a byte in got.
type Recv struct {
	pool       Pool
	head, tail *Chunk
	ahead      []*Chunk
	got        ranges.Set

	reader []byte // a waiting reader's slice, or nil
	filled int    // bytes of reader that are filled

	read, end int64
	highest   int64 // largest offset seen
	came      int64 // bytes that have come, each counted once, so that nobody has to sum up got
	final     int64 // final size, -1 while unknown
	limit     int64 // advertised to the peer
	code      uint64

	state   RecvState
	stopped bool
}

// Init makes the half ready to receive up to window bytes, the limit that the
// transport parameters advertise for this stream. Chunks come from pool.
func (r *Recv) Init(pool Pool, window int64) {
	*r = Recv{pool: pool, limit: window, final: -1, state: RecvRecv}
}

// State returns where the half is in its life.
func (r *Recv) State() RecvState { return r.state }

// Done reports whether nothing that arrives can matter any more: the
// application has all bytes or knows of the reset, or wants neither and the
// final size is known. It is so the moment that the FIN follows the last byte
// read, before the application asks again and sees EOF. A half is not done
// while a reader's slice is attached.
func (r *Recv) Done() bool {
	if r.reader != nil {
		return false
	}
	return r.state == RecvDataRead || r.state == RecvResetRead || r.stopped && r.final >= 0
}

// Limit returns the offset that the peer may send up to.
func (r *Recv) Limit() int64 { return r.limit }

// SetLimit raises the limit that Grow checks, to what a MAX_STREAM_DATA frame
// is about to say. A limit never falls.
func (r *Recv) SetLimit(limit int64) { r.limit = max(r.limit, limit) }

// Grow checks a STREAM frame with n bytes at off, without taking it. It returns
// by how much the frame raises the highest offset, which counts for the
// connection's flow control; the caller checks that limit before it calls
// Receive. The error is FlowControlError beyond the stream's limit
// (RFC 9000 §4.1), FinalSizeError if the final size would change or be
// exceeded (RFC 9000 §4.5), NoError if all is well.
func (r *Recv) Grow(off int64, n int, fin bool) (fresh int64, err wire.ErrorCode) {
	end := off + int64(n)
	switch {
	case r.final >= 0 && (end > r.final || fin && end != r.final):
		return 0, wire.FinalSizeError
	case fin && end < r.highest:
		return 0, wire.FinalSizeError
	case end > r.limit:
		return 0, wire.FlowControlError
	}
	return max(0, end-r.highest), wire.NoError
}

// Receive takes a STREAM frame that Grow has found to be fine. Data is
// borrowed for the call. The error is InternalError if the stream has more
// than MaxGaps holes.
func (r *Recv) Receive(off int64, data []byte, fin bool) wire.ErrorCode {
	end := off + int64(len(data))
	fresh := max(0, end-r.highest)
	r.highest += fresh
	if fin && r.final < 0 {
		r.final = end
		r.on(gotFin)
	}
	if r.stopped || r.state > RecvSizeKnown {
		r.came += min(fresh, int64(len(data)))
		return wire.NoError
	}
	switch {
	case end <= r.end:
	case off <= r.end:
		r.inOrder(data[r.end-off:])
		if r.filled < len(r.reader) && r.read < r.end {
			r.filled += r.Read(r.reader[r.filled:])
		}
	case len(data) > 0:
		r.outOfOrder(off, data)
		if len(r.got) > MaxGaps {
			return wire.InternalError
		}
	}
	if r.end == r.final && r.on(gotAll) && r.read == r.final {
		r.on(readAll)
	}
	return wire.NoError
}

// Continue takes a STREAM frame without a FIN that begins where the highest offset is, as long
// as nothing is missing before it and it is within the limit. If that is not so it changes
// nothing and returns false; then Grow and Receive say what it is.
func (r *Recv) Continue(off int64, data []byte) bool {
	end := off + int64(len(data))
	if off != r.end || off != r.highest || end > r.limit || r.stopped || r.state != RecvRecv {
		return false
	}
	r.highest = end
	r.extend(r.deliver(data))
	if r.filled < len(r.reader) && r.read < r.end {
		r.filled += r.Read(r.reader[r.filled:])
	}
	return true
}

// Reset takes a RESET_STREAM frame: unread data is dropped and the unread part
// counts as consumed. Fresh is what the final size adds to the highest offset,
// for the connection's flow control. The error is as for Grow; with an error
// nothing changes. A reset that comes when all data is here is ignored
// (RFC 9000 §3.2 leaves the choice), and so is a second one.
func (r *Recv) Reset(code uint64, finalSize int64) (fresh int64, err wire.ErrorCode) {
	switch {
	case r.final >= 0 && finalSize != r.final, finalSize < r.highest:
		return 0, wire.FinalSizeError
	case finalSize > r.limit:
		return 0, wire.FlowControlError
	}
	if !r.on(gotReset) {
		return 0, wire.NoError
	}
	fresh = finalSize - r.highest
	r.code, r.final, r.highest = code, finalSize, finalSize
	r.drop()
	if r.stopped {
		r.on(readReset)
	}
	return fresh, wire.NoError
}

// Readable returns how many bytes can be read now.
func (r *Recv) Readable() int64 { return r.end - r.read }

// Read copies bytes to p and returns how many.
func (r *Recv) Read(p []byte) int {
	n := 0
	for n < len(p) && r.read < r.end {
		m := copy(p[n:], r.Peek())
		r.consume(m)
		n += m
	}
	r.tidy()
	return n
}

// Peek returns the first bytes that can be read, as many as lie in one piece,
// without consuming them. The slice is borrowed until the half is next read,
// discarded from, stopped, reset or released.
func (r *Recv) Peek() []byte {
	if r.read == r.end {
		return nil
	}
	c := r.head
	return c.Data[r.read-c.off : min(r.end, c.end())-c.off]
}

// Discard consumes the first n readable bytes.
func (r *Recv) Discard(n int) {
	if int64(n) > r.Readable() {
		panic("BUG: discard of bytes that are not there")
	}
	for n > 0 {
		m := min(n, len(r.Peek()))
		r.consume(m)
		n -= m
	}
	r.tidy()
}

// Detach consumes the first piece, as Peek would return it, and hands its chunk
// to the caller, who puts it back to the pool when done with data. It answers
// nil if there is nothing to read, or if the chunk has bytes that lie beyond a
// hole; Read works then.
func (r *Recv) Detach() (c *Chunk, data []byte) {
	data = r.Peek()
	if c = r.head; data == nil || r.end < c.end() && len(r.got) > 0 && r.got[0].Start < c.end() {
		return nil, nil
	}
	r.head = c.next
	if r.head == nil {
		r.tail = nil
	}
	c.next = nil
	r.read += int64(len(data))
	r.tidy()
	return c, data
}

// consume moves read ahead by n bytes, all of them in the first chunk, and
// gives the chunk back if nothing that it holds is needed.
func (r *Recv) consume(n int) {
	r.read += int64(n)
	c := r.head
	if r.read < c.end() && (r.read < r.end || len(r.got) > 0 && r.got[0].Start < c.end()) {
		return
	}
	r.head = c.next
	if r.head == nil {
		r.tail = nil
	}
	c.next = nil
	r.pool.Put(c)
}

// tidy ends a read: it looks whether everything is read, and whether what
// remains still deserves the memory it sits in.
func (r *Recv) tidy() {
	if r.read == r.final {
		r.on(readAll)
	}
	if r.head != nil {
		r.shrink(r.head)
		if r.tail != r.head {
			r.shrink(r.tail)
		}
	}
}

// SetReader attaches a waiting reader's slice: as long as nothing is buffered,
// Receive copies bytes straight into it and counts them as read.
func (r *Recv) SetReader(p []byte) { r.reader, r.filled = p, 0 }

// TakeReader detaches the reader's slice and returns how many bytes are in it.
func (r *Recv) TakeReader() int {
	n := r.filled
	r.reader, r.filled = nil, 0
	return n
}

// EOF reports whether the FIN has arrived and everything before it is read.
func (r *Recv) EOF() bool { return r.state == RecvDataRead && r.read == r.final }

// Whole reports whether all that the peer has sent up to its FIN is here or was read.
func (r *Recv) Whole() bool {
	return !r.stopped && (r.state == RecvDataRecvd || r.state == RecvDataRead)
}

// ResetCode returns the code of the peer's RESET_STREAM, if one was accepted.
func (r *Recv) ResetCode() (uint64, bool) {
	return r.code, r.state == RecvResetRecvd || r.state == RecvResetRead
}

// ReadReset says that the application has seen the reset.
func (r *Recv) ReadReset() { r.on(readReset) }

// Stop says that the application wants no more: what is here and what will
// come is dropped, and counts as consumed when it arrives. It reports whether a
// STOP_SENDING makes sense: not the second time, nor after a reset, nor when
// all data is here (RFC 9000 §3.5).
func (r *Recv) Stop() bool {
	if r.stopped {
		return false
	}
	r.stopped = true
	r.drop()
	r.on(readAll)
	r.on(readReset)
	return r.state == RecvRecv || r.state == RecvSizeKnown
}

// Stopped reports whether Stop was called.
func (r *Recv) Stopped() bool { return r.stopped }

// Consumed returns how many bytes are read, or will never be because the stream
// is reset or stopped: what flow control may grant anew.
func (r *Recv) Consumed() int64 {
	if r.over() {
		return r.highest
	}
	return r.read
}

// over reports whether what comes is not kept.
func (r *Recv) over() bool { return r.stopped || r.state >= RecvResetRecvd }

// Highest returns the largest offset that the peer has used, which counts for
// the connection's flow control.
func (r *Recv) Highest() int64 { return r.highest }

// Received returns how many bytes have come, each counted once. After Stop those that
// fill holes are not counted.
func (r *Recv) Received() int64 { return r.came }

// FinalSize returns the final size, or -1 while it is unknown.
func (r *Recv) FinalSize() int64 { return r.final }

// Buffered returns how many bytes are held: readable ones and those beyond holes.
func (r *Recv) Buffered() int64 {
	if r.over() {
		return 0
	}
	return r.came - r.read
}

// Gaps returns how many holes the received bytes have.
func (r *Recv) Gaps() int { return len(r.got) }

// Release gives all chunks back to the pool. The half is of no use afterwards.
func (r *Recv) Release() { r.drop() }

// drop forgets all bytes that are not read.
func (r *Recv) drop() {
	for c := r.head; c != nil; c = r.head {
		r.head = c.next
		c.next = nil
		r.pool.Put(c)
	}
	for _, c := range r.ahead {
		r.pool.Put(c)
	}
	r.tail, r.ahead, r.got = nil, nil, nil
	r.end = r.read
}
