package http3

import (
	"strings"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// writePhase is how far a message has gone out.
type writePhase uint8

const (
	writeHead  writePhase = iota // the initial header block is to go
	writeBody                    // DATA, or the trailers
	writeEnded                   // the message has ended
)

// writing is the sending half of a stream. Everything is the turn's, which keeps frames whole.
type writing struct {
	mu       turn
	phase    writePhase
	length   int64 // what Content-Length says, -1 if nothing
	sent     int64
	bodiless bool   // a response that has no body by its nature
	tunnel   bool   // of CONNECT: DATA is all that may follow (RFC 9114 §4.4)
	rest     []byte // of frames that were taken, and the stream below has not: it goes first
	last     bool   // and behind it the end of the stream
	owed     uint64 // bytes that the open DATA frame has announced, and no Write has brought
}

// unlockOut gives the turn back.
func (st *Stream) unlockOut() {
	if st.out.mu.Unlock() && st.isHooked() {
		st.s.q.Post(func() { st.guard(st.drained) })
	}
}

// HeaderOptions are the choices for an initial header block.
type HeaderOptions struct {
	Terminal bool // the message ends with it: no body and no trailers
}

// HeaderError is a header block that may not be sent.
type HeaderError struct {
	Op     string
	Reason string
}

// Error says which block it is and what is wrong.
func (e *HeaderError) Error() string { return e.Op + ": " + e.Reason }

// Code returns "ERR_HTTP2_INVALID_PSEUDOHEADER" for a pseudo-header field where it does not
// belong, "ERR_INVALID_ARG_VALUE" for all else.
func (e *HeaderError) Code() string {
	if strings.HasPrefix(e.Reason, "pseudo-header field") {
		return "ERR_HTTP2_INVALID_PSEUDOHEADER"
	}
	return quic.CodeInvalidArgValue
}

// SubmitInitialHeaders sends the request's header block at a client, or the final response's
// at a server, as the first thing on the stream but for informational blocks (STR-052). It
// copies, and waits as Write does, but not on a stream with hooks. The error is a *HeaderError, a
// *quic.StateError if such a block was sent or the stream is cut off, with the *Error in it; or one that
// is os.ErrDeadlineExceeded: the block is as good as sent then, and goes on with the next write.
func (st *Stream) SubmitInitialHeaders(h Headers, o HeaderOptions) error {
	const op = "http3.Stream.SubmitInitialHeaders"
	m, err := st.checkInitial(op, h)
	if err != nil {
		return err
	}
	w := &st.out
	w.mu.Lock()
	defer st.unlockOut()
	if err := st.writable(op, w.phase == writeHead); err != nil {
		return err
	}
	err = st.sendBlock(op, h, o.Terminal)
	if err != nil && !isLate(err) {
		return err
	}
	w.length, w.bodiless = m.length, st.s.server && bodiless(st.requestMethod(), m.status)
	w.tunnel = st.opensTunnel(m.status)
	w.phase = writeBody
	if o.Terminal {
		w.phase = writeEnded
	}
	return err
}

// opensTunnel reports whether the message that begins here turns the stream into a tunnel: a request of CONNECT,
// or a response of that status to one.
func (st *Stream) opensTunnel(status int) bool {
	return st.requestMethod() == "CONNECT" && (!st.s.server || status < 300)
}

func (st *Stream) checkInitial(op string, h Headers) (m head, err error) {
	var f *fault
	if st.s.server {
		m, f = parseResponse(h)
		if f == nil && m.status < 200 {
			f = malformed("status %d is informational", m.status)
		}
	} else if m, f = parseRequest(h, st.s.peerSettings().ExtendedConnect); f == nil && st.push < 0 {
		st.setRequest(&m)
	}
	if f == nil {
		f = st.within(h)
	}
	if f != nil {
		return m, &HeaderError{Op: op, Reason: f.reason}
	}
	return m, nil
}

// within checks a block against the peer's limit (RFC 9114 §4.2.2).
func (st *Stream) within(h Headers) *fault {
	if limit := st.s.peerSettings().MaxFieldSectionSize; limit < varint.Max && h.size() > limit {
		return malformed("header block of %d bytes, the peer takes %d", h.size(), limit)
	}
	return nil
}

// SubmitInformationalHeaders sends a response with a :status of 1xx, before the final one
// (STR-051). The error is a *HeaderError, a *quic.StateError at a client or after the initial
// block, or that of SubmitInitialHeaders.
func (st *Stream) SubmitInformationalHeaders(h Headers) error {
	const op = "http3.Stream.SubmitInformationalHeaders"
	if !st.s.server {
		return &quic.StateError{Op: op, State: "only servers send informational headers"}
	}
	m, f := parseResponse(h)
	if f == nil && m.status >= 200 {
		f = malformed("status %d is not informational", m.status)
	}
	if f == nil {
		f = st.within(h)
	}
	if f != nil {
		return &HeaderError{Op: op, Reason: f.reason}
	}
	st.out.mu.Lock()
	defer st.unlockOut()
	if err := st.writable(op, st.out.phase == writeHead); err != nil {
		return err
	}
	return st.sendBlock(op, h, false)
}

// SubmitTrailingHeaders sends the trailer block behind what was written of the body, and ends
// the writing side (STR-053). The error is a *HeaderError, a *quic.StateError before the initial
// block, after the end, or in a tunnel of CONNECT, that of CloseWrite if the body is shorter than was announced, or that of
// SubmitInitialHeaders.
func (st *Stream) SubmitTrailingHeaders(h Headers) error {
	const op = "http3.Stream.SubmitTrailingHeaders"
	f := parseTrailers(h)
	if f == nil {
		f = st.within(h)
	}
	if f != nil {
		return &HeaderError{Op: op, Reason: f.reason}
	}
	w := &st.out
	w.mu.Lock()
	defer st.unlockOut()
	if err := st.writable(op, w.phase == writeBody); err != nil {
		return err
	}
	if w.tunnel {
		return &quic.StateError{Op: op, State: "a tunnel has no trailers"}
	}
	if err := st.complete(); err != nil {
		return err
	}
	err := st.sendBlock(op, h, true)
	if err == nil || isLate(err) {
		w.phase = writeEnded
	}
	return err
}

// writable returns why a call cannot write now.
func (st *Stream) writable(op string, inPhase bool) error {
	switch phase := st.out.phase; {
	case !st.q.CanWrite():
		return &quic.StateError{Op: op, State: "stream has no writing side here"}
	case phase == writeEnded:
		return &quic.StateError{Op: op, State: "stream is written to its end"}
	case !inPhase && phase == writeHead:
		return &quic.StateError{Op: op, State: "initial headers have not been sent"}
	case !inPhase:
		return &quic.StateError{Op: op, State: "initial headers have been sent"}
	}
	return nil
}

var blockBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// writeError returns why nothing can be written to a stream any more, nil if something may be, now or with more time. It is
// asked before a block is encoded: QPACK's encoder remembers few of the streams that the peer has cancelled, and what it encodes
// for another of them is outstanding for ever. Where the peer's STOP_SENDING is later than so many cancellations, it is.
func writeError(q *quic.Stream) error {
	if _, err := q.TryWrite(nil); err != nil && !isLate(err) {
		return wrap(err)
	}
	return nil
}

// sendBlock sends a HEADERS frame, and the end of the stream if last.
func (st *Stream) sendBlock(op string, h Headers, last bool) error {
	if err := writeError(st.q); err != nil {
		return &quic.StateError{Op: op, State: "stream is cut off", Err: err}
	}
	buf := blockBuffers.Get().(*[]byte)
	b := st.appendBlock((*buf)[:0], h)
	err := st.send(b, last)
	if cap(b) <= 16<<10 {
		*buf = b
		blockBuffers.Put(buf)
	}
	if err != nil && !isLate(err) {
		return &quic.StateError{Op: op, State: "stream is cut off", Err: err}
	}
	return err
}

// appendBlock appends a HEADERS frame. Its length is known only when the block has been
// encoded, so that the head is put before it.
func (st *Stream) appendBlock(b []byte, h Headers) []byte {
	at := len(b)
	b = append(b, make([]byte, maxFrameHead)...)
	b = st.s.fields.append(b, st.ID(), h)
	return closeFrame(b, at, frameHeaders)
}

// closeFrame gives the payload behind b[at+maxFrameHead:] its head, and closes the gap.
func closeFrame(b []byte, at int, t frameType) []byte {
	var head [maxFrameHead]byte
	n := copy(b[at:], appendFrameHead(head[:0], t, len(b)-at-maxFrameHead))
	return append(b[:at+n], b[at+maxFrameHead:]...)
}

// promise sends a PUSH_PROMISE frame. The caller has the writing turn.
func (st *Stream) promise(id int64, h Headers) error {
	b := varint.Append(make([]byte, maxFrameHead, 256), uint64(id))
	b = st.s.fields.append(b, st.ID(), h)
	return st.send(closeFrame(b, 0, framePushPromise), false)
}
