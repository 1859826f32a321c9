package stream

import (
	"sort"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
)

// Send is the sending half of a stream (RFC 9000 §3.1). Bytes written wait in
// chunks until they are acknowledged. In-order use costs a copy in, a copy out
// and a few comparisons. The zero Send is unusable until Init.
//
// Nothing more comes from a half that is reset but the reset, and from one that is Done nothing at all (RFC 9000 §3.3).
//
// 0 <= AckedPrefix <= Offset <= bytes written; what is acknowledged above the
// prefix and what is lost are disjoint sets between AckedPrefix and Offset, of bounded numbers of ranges.
type Send struct {
	pool       Pool
	head, tail *Chunk // all bytes from the chunk of prefix to written
	cursor     *Chunk // has the byte at sent, or is the tail; nil if there is no chunk
	lostCursor *Chunk // where the last lost byte was found, or nil

	acked   ranges.Set // above the prefix
	lost    ranges.Set // byte n as -1-n: the first ones go first, and what is last in a slice comes and goes cheaply
	written int64
	sent    int64 // first-time-sent high-water mark
	prefix  int64 // everything below is acknowledged
	top     int64 // and nothing above
	max     int64 // the peer's limit
	told    int64 // limit+1 that STREAM_DATA_BLOCKED was last sent for
	code    uint64

	state      SendState
	fin, reset signal
}

// Init makes the half ready to send up to maxData bytes, the peer's initial
// limit for this stream. Chunks come from pool.
func (s *Send) Init(pool Pool, maxData int64) {
	*s = Send{pool: pool, max: maxData, state: SendReady}
}

// State returns where the half is in its life.
func (s *Send) State() SendState { return s.state }

// Done reports whether the half is in a terminal state: the peer has
// acknowledged everything, or the reset.
func (s *Send) Done() bool { return s.state == SendDataRecvd || s.state == SendResetRecvd }

// Write copies all of p. It returns len(p); the caller bounds how much it
// writes by Unsent and Buffered.
func (s *Send) Write(p []byte) int {
	s.mustTakeData()
	n := len(p)
	if c := s.tail; c != nil {
		m := copy(c.Data[c.n:], p)
		c.n += m
		s.written += int64(m)
		p = p[m:]
	}
	for len(p) > 0 {
		// At most half of a chunk stays empty, but many small writes come
		// to share chunks of 16 KiB.
		size := max(fit(2*int64(len(p))), fit(min(s.written-s.prefix, 16<<10)))
		c := s.pool.Get(size)
		s.push(c, copy(c.Data, p))
		p = p[c.n:]
	}
	return n
}

// WriteChunk appends the first n bytes of c.Data without a copy. The chunk
// belongs to the stream from then on and goes to its pool in the end.
func (s *Send) WriteChunk(c *Chunk, n int) {
	s.mustTakeData()
	if n <= 0 || n > len(c.Data) {
		panic("BUG: bad chunk length")
	}
	s.push(c, n)
}

func (s *Send) mustTakeData() {
	if s.fin != signalNone || s.reset != signalNone {
		panic("BUG: write after the end of the stream")
	}
}

// push links a chunk with n bytes behind the others.
func (s *Send) push(c *Chunk, n int) {
	c.off, c.n, c.next = s.written, n, nil
	s.written += int64(n)
	if s.tail == nil {
		s.head, s.cursor = c, c
	} else {
		s.tail.next = c
	}
	s.tail = c
}

// Finish ends the stream behind what is written: the last bytes carry a FIN.
func (s *Send) Finish() {
	if s.fin == signalNone && s.reset == signalNone {
		s.fin = signalDue
	}
}

// Reset abandons the stream: what is not acknowledged is dropped, and
// RESET_STREAM with the given code is to be sent. It reports false, and does
// nothing, if the half is already reset or completely acknowledged.
func (s *Send) Reset(code uint64) bool {
	if !s.on(didReset) {
		return false
	}
	s.code, s.reset = code, signalDue
	s.drop()
	return true
}

// SetMax raises the peer's limit, as MAX_STREAM_DATA says, and reports whether
// that is more than before. A limit never falls.
func (s *Send) SetMax(max int64) bool {
	if max <= s.max {
		return false
	}
	s.max = max
	return true
}

// Max returns the peer's limit for this stream.
func (s *Send) Max() int64 { return s.max }

// Unsent returns how many bytes are written but never packed.
func (s *Send) Unsent() int64 { return s.written - s.sent }

// Buffered returns how many bytes are retained: written, and not in the
// acknowledged prefix.
func (s *Send) Buffered() int64 {
	if s.head == nil {
		return 0
	}
	return s.written - s.prefix
}

// rangeCost is what a range of acknowledged bytes behind a hole takes, in a slice that has grown.
const rangeCost = 32 // no limit: of how ranges are counted

// Retained returns how many bytes that were sent are kept because there is a hole before them, or nothing of
// them is acknowledged, and what it takes to remember which of them are: a reset half keeps none.
func (s *Send) Retained() int64 {
	if s.reset != signalNone {
		return 0
	}
	return s.sent - s.prefix + rangeCost*int64(len(s.acked))
}

// Offset returns the high-water mark of bytes sent, which counts for the
// connection's flow control and is the final size of a reset.
func (s *Send) Offset() int64 { return s.sent }

// AckedTop returns the highest offset that is acknowledged, holes below it or not.
func (s *Send) AckedTop() int64 { return s.top }

// AckedPrefix returns how many bytes from the start are acknowledged without a hole.
func (s *Send) AckedPrefix() int64 { return s.prefix }

// Pending reports whether there is anything that may be packed now: lost data,
// new data within the stream's limit and connCredit, a FIN or a RESET_STREAM.
func (s *Send) Pending(connCredit int64) bool {
	switch {
	case s.reset != signalNone:
		return s.reset == signalDue
	case len(s.lost) > 0:
		return true
	case s.sent < s.written:
		return s.sent < s.max && connCredit > 0
	}
	return s.fin == signalDue
}

// Next returns the STREAM frame to send next, with at most maxLen bytes: lost
// bytes first, which cost no credit, then new ones within the stream's limit
// and connCredit. Fresh is what it would take of the connection's credit. A
// frame with fin may be empty. Nothing changes until Take.
func (s *Send) Next(maxLen int, connCredit int64) (off int64, n int, fin bool, fresh int64, ok bool) {
	if s.reset != signalNone || maxLen < 0 {
		return 0, 0, false, 0, false
	}
	if len(s.lost) > 0 {
		r := s.firstLost()
		n = int(min(r.Len(), int64(maxLen)))
		return r.Start, n, s.finAt(r.Start + int64(n)), 0, n > 0
	}
	fresh = min(s.written-s.sent, s.max-s.sent, connCredit, int64(maxLen))
	if fresh <= 0 {
		ok = s.fin == signalDue && s.sent == s.written
		return s.sent, 0, ok, 0, ok
	}
	return s.sent, int(fresh), s.finAt(s.sent + fresh), fresh, true
}

// Fresh returns how many new bytes from off on may be packed now, within the stream's limit
// and connCredit: none while lost ones go first.
func (s *Send) Fresh(connCredit int64) (off, n int64) {
	if s.reset != signalNone || len(s.lost) > 0 {
		return s.sent, 0
	}
	return s.sent, min(s.written-s.sent, s.max-s.sent, connCredit)
}

// Lend returns the next n new bytes where they lie, behind head bytes that the caller may write
// over as long as it puts them back before anything else is called. It answers nil if they
// do not lie so, which Take copes with.
func (s *Send) Lend(head, n int) []byte {
	c := s.cursor
	if c == nil {
		return nil
	}
	i := int(s.sent - c.off)
	if i < head || i+n > c.n {
		return nil
	}
	return c.Data[i-head : i+n : i+n]
}

// TakeLent is Take for n bytes that Lend has returned, in whose stead it copies nothing.
func (s *Send) TakeLent(n int) {
	if int64(n) > min(s.written, s.max)-s.sent {
		panic("BUG: TakeLent does not match Lend")
	}
	s.sent += int64(n)
	s.on(sentData)
}

// finAt reports whether a frame that ends at end carries the FIN. One that is
// in flight goes along again, for it costs nothing.
func (s *Send) finAt(end int64) bool {
	return end == s.written && (s.fin == signalDue || s.fin == signalSent)
}

// Take copies the frame's bytes to dst and counts them as sent. The arguments
// are those that Next returned, or a shorter n, without fin then;
// len(dst) is n.
func (s *Send) Take(dst []byte, off int64, n int, fin bool) {
	end := off + int64(n)
	if len(dst) != n || fin && !s.finAt(end) || n > 0 && s.head == nil {
		panic("BUG: Take does not match Next")
	}
	switch {
	case n == 0:
	case off < s.sent:
		s.takeLost(dst, off, end)
	case off == s.sent && end <= min(s.written, s.max):
		s.cursor = copyOut(dst, s.cursor, off)
		s.sent = end
	default:
		panic("BUG: Take does not match Next")
	}
	if fin {
		s.fin = signalSent
		s.on(sentFin)
	} else {
		s.on(sentData)
	}
}

// firstLost returns the lowest range of what is lost.
func (s *Send) firstLost() ranges.Range {
	r := s.lost[len(s.lost)-1]
	return ranges.Range{Start: -r.End, End: -r.Start}
}

// takeLost copies bytes from the first lost range. Lost ranges go out in
// ascending order, so the search goes on where the last one ended.
func (s *Send) takeLost(dst []byte, off, end int64) {
	if len(s.lost) == 0 {
		panic("BUG: Take does not match Next")
	}
	r := s.firstLost()
	if r.Start != off || r.End < end {
		panic("BUG: Take does not match Next")
	}
	c := s.lostCursor
	if c == nil || c.off > off {
		c = s.head
	}
	s.lostCursor = copyOut(dst, c, off)
	last := len(s.lost) - 1
	if end < r.End {
		s.lost[last].End = -end
		return
	}
	s.lost = s.lost[:last]
	shed(&s.lost)
}

// copyOut fills dst with the stream's bytes from off, searching from chunk c,
// and returns the chunk of the last one.
func copyOut(dst []byte, c *Chunk, off int64) *Chunk {
	for {
		if i := off - c.off; i < int64(c.n) {
			n := copy(dst, c.Data[i:c.n])
			off += int64(n)
			if dst = dst[n:]; len(dst) == 0 {
				return c
			}
		}
		c = c.next
	}
}

// PackReset returns the RESET_STREAM to send now, if there is one, and counts
// it as sent. Its content never changes (RFC 9000 §13.3).
func (s *Send) PackReset() (code uint64, finalSize int64, ok bool) {
	if s.reset != signalDue {
		return 0, 0, false
	}
	s.reset = signalSent
	return s.code, s.sent, true
}

// Blocked returns the limit for a STREAM_DATA_BLOCKED frame, once for each
// limit that keeps written bytes from being sent.
func (s *Send) Blocked() (limit int64, ok bool) {
	if s.sent < s.max || s.sent >= s.written || s.told == s.max+1 {
		return 0, false
	}
	s.told = s.max + 1
	s.on(sentData)
	return s.max, true
}

// LostBlocked says that a STREAM_DATA_BLOCKED frame was lost: Blocked answers
// again if the stream is still blocked.
func (s *Send) LostBlocked() { s.told = 0 }

// Acked says that a STREAM frame was acknowledged. Chunks that the
// acknowledged prefix has passed go back to the pool. Again reports that something is to be sent again,
// because it would take too much to remember that it has arrived.
func (s *Send) Acked(off int64, n int, fin bool) (again bool) {
	if s.reset != signalNone {
		return false
	}
	end := min(off+int64(n), s.sent)
	s.top = max(s.top, end)
	if len(s.lost) > 0 {
		s.lost.Remove(-end, -off)
		shed(&s.lost)
	}
	switch {
	case off > s.prefix:
		s.acked.Add(off, end)
		again = s.boundAcked()
		s.boundLost() // of which one may have been cut in two
	case end > s.prefix:
		s.prefix = end
		s.absorb()
		s.free()
	}
	if fin && s.fin != signalNone {
		s.fin = signalAcked
	}
	if s.fin == signalAcked && s.prefix == s.written {
		s.on(ackedAll)
	}
	return again
}

// absorb lets the prefix swallow the acknowledged ranges that it has reached.
func (s *Send) absorb() {
	k := 0
	for k < len(s.acked) && s.acked[k].Start <= s.prefix {
		s.prefix = max(s.prefix, s.acked[k].End)
		k++
	}
	if k > 0 {
		s.acked.DropFirst(len(s.acked) - k)
		shed(&s.acked)
	}
}

// free gives back the chunks that the prefix has passed.
func (s *Send) free() {
	for c := s.head; c != nil && c.end() <= s.prefix; c = s.head {
		s.head = c.next
		if s.cursor == c {
			s.cursor = c.next
		}
		if s.lostCursor == c {
			s.lostCursor = nil
		}
		c.next = nil
		s.pool.Put(c)
	}
	if s.head == nil {
		s.tail = nil
	}
}

// Lost says that a STREAM frame was lost: whatever of it is not acknowledged
// is to be sent again.
func (s *Send) Lost(off int64, n int, fin bool) {
	if s.reset != signalNone {
		return
	}
	end := min(off+int64(n), s.sent)
	off = max(off, s.prefix)
	i := 0
	if k := len(s.acked); k > 0 && off < s.acked[k-1].End {
		i = sort.Search(k, func(i int) bool { return s.acked[i].End > off })
		for ; i < k && s.acked[i].Start < end; i++ {
			s.lose(off, s.acked[i].Start)
			off = s.acked[i].End
		}
	}
	s.lose(off, end)
	if fin && s.fin == signalSent {
		s.fin = signalDue
	}
}

// ResetAcked says that RESET_STREAM was acknowledged.
func (s *Send) ResetAcked() {
	if s.on(ackedReset) {
		s.reset = signalAcked
	}
}

// ResetLost says that RESET_STREAM was lost: it is to be sent again.
func (s *Send) ResetLost() {
	if s.reset == signalSent {
		s.reset = signalDue
	}
}

// Restart forgets that anything was sent, because the server rejected 0-RTT
// (RFC 9001 §4.6.2): everything is new again, and nothing may be sent until
// SetMax gives the new limit. No byte may be acknowledged yet. A reset half
// resets again, with a final size of 0.
func (s *Send) Restart() {
	if s.prefix != 0 || len(s.acked) != 0 || s.fin == signalAcked || s.reset == signalAcked {
		panic("BUG: restart of a stream that was acknowledged")
	}
	s.sent, s.max, s.told = 0, 0, 0
	s.lost, s.lostCursor, s.cursor = nil, nil, s.head
	if s.reset != signalNone {
		s.written, s.reset = 0, signalDue
		return
	}
	if s.fin != signalNone {
		s.fin = signalDue
	}
	s.state = SendReady
}

// Release gives all chunks back to the pool. The half is of no use afterwards.
func (s *Send) Release() { s.drop() }

// drop forgets all bytes that are not sent, and how the sent ones fared.
func (s *Send) drop() {
	for c := s.head; c != nil; c = s.head {
		s.head = c.next
		c.next = nil
		s.pool.Put(c)
	}
	s.tail, s.cursor, s.lostCursor = nil, nil, nil
	s.acked, s.lost = nil, nil
	s.written = s.sent
}

// shed lets go of an empty set's memory once it is more than a stream should
// sit on.
func shed(set *ranges.Set) {
	if len(*set) == 0 && cap(*set) > 32 {
		*set = nil
	}
}
