package http3

import (
	"fmt"
	"io"
	"net/http"
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
	writeTail                    // the trailers have gone
	writeEnded                   // the writing side has ended
)

// writing is the sending half of a stream. Everything is under its lock, which keeps frames
// whole.
type writing struct {
	mu       sync.Mutex
	phase    writePhase
	length   int64 // what Content-Length says, -1 if nothing
	sent     int64
	bodiless bool   // a response that has no body by its nature
	rest     []byte // of what TryWrite has taken and the stream below has not
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
// at a server, as the first thing on the stream but for informational blocks (STR-052). It copies,
// and waits as Write does. The error is a *HeaderError, a *quic.StateError if such a block was
// sent or the stream is over, or that of Write.
func (st *Stream) SubmitInitialHeaders(h Headers, o HeaderOptions) error {
	const op = "http3.Stream.SubmitInitialHeaders"
	m, err := st.checkInitial(op, h)
	if err != nil {
		return err
	}
	w := &st.out
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := st.writable(op, w.phase == writeHead); err != nil {
		return err
	}
	if err := st.sendBlock(h, o.Terminal); err != nil {
		return err
	}
	w.phase, w.length = writeBody, m.length
	if st.answers() {
		w.bodiless = bodiless(st.answered(), m.status)
	}
	if o.Terminal {
		w.phase = writeEnded
	}
	return nil
}

// answers reports whether what is written here is a response.
func (st *Stream) answers() bool { return st.s.server }

// answered returns the method of the request that is answered here, as far as it is known.
func (st *Stream) answered() string {
	if st.push >= 0 {
		return st.promised.Get(":method")
	}
	return st.requestMethod()
}

func (st *Stream) checkInitial(op string, h Headers) (m head, err error) {
	var f *fault
	if st.answers() {
		m, f = parseResponse(h)
		if f == nil && m.status < 200 {
			f = malformed("status %d is informational", m.status)
		}
	} else if m, f = parseRequest(h, st.s.peerSettings().ExtendedConnect); f == nil {
		st.mu.Lock()
		st.method = m.method
		st.mu.Unlock()
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
// block, or that of Write.
func (st *Stream) SubmitInformationalHeaders(h Headers) error {
	const op = "http3.Stream.SubmitInformationalHeaders"
	if !st.answers() {
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
	defer st.out.mu.Unlock()
	if err := st.writable(op, st.out.phase == writeHead); err != nil {
		return err
	}
	return st.sendBlock(h, false)
}

// SubmitTrailingHeaders sends the trailer block behind what was written of the body, and ends
// the writing side (STR-053). The error is a *HeaderError, a *quic.StateError before the initial block
// or after the end, or that of Write.
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
	defer w.mu.Unlock()
	if err := st.writable(op, w.phase == writeBody); err != nil {
		return err
	}
	if err := st.complete(); err != nil {
		return err
	}
	if err := st.sendBlock(h, true); err != nil {
		return err
	}
	w.phase = writeEnded
	return nil
}

// writable returns why a call cannot write now.
func (st *Stream) writable(op string, inPhase bool) error {
	switch {
	case !st.q.CanWrite():
		return &quic.StateError{Op: op, State: "stream has no writing side here"}
	case st.out.phase == writeEnded:
		return &quic.StateError{Op: op, State: "stream is written to its end"}
	case !inPhase && st.out.phase == writeHead:
		return &quic.StateError{Op: op, State: "initial headers have not been sent"}
	case !inPhase:
		return &quic.StateError{Op: op, State: "initial headers have been sent"}
	}
	return nil
}

var blockBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// sendBlock sends a HEADERS frame, and the end of the stream if last.
func (st *Stream) sendBlock(h Headers, last bool) error {
	buf := blockBuffers.Get().(*[]byte)
	b := st.appendBlock((*buf)[:0], h)
	err := st.send(b, last)
	if cap(b) <= 16<<10 {
		*buf = b
		blockBuffers.Put(buf)
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

// send writes whole frames behind what is left of earlier ones.
func (st *Stream) send(b []byte, last bool) error {
	if err := st.sendRest(); err != nil {
		return err
	}
	var err error
	if last {
		_, err = st.q.End(b)
	} else {
		_, err = st.q.Write(b)
	}
	return wrap(err)
}

// sendRest writes what TryWrite has left.
func (st *Stream) sendRest() error {
	if len(st.out.rest) == 0 {
		return nil
	}
	b := st.out.rest
	st.out.rest = nil
	_, err := st.q.Write(b)
	return wrap(err)
}

// small is how much body is copied to stand behind its frame's head, so that both go
// in one call.
const small = 4 << 10

// Write writes part of the body in a DATA frame: it copies, and waits while the stream's high
// water mark is exceeded. The error is a *quic.StateError before the initial headers and
// after the end, io.ErrShortWrite for more than the Content-Length that was sent,
// http.ErrBodyNotAllowed where a response has no body, an *Error if the stream was cut off.
func (st *Stream) Write(p []byte) (int, error) {
	w := &st.out
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := st.bodyRoom(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := st.sendRest(); err != nil {
		return 0, err
	}
	n, err := st.sendData(p)
	w.sent += int64(n)
	return n, wrap(err)
}

// sendData writes one DATA frame, and returns how many bytes of p were taken.
func (st *Stream) sendData(p []byte) (int, error) {
	var head [maxFrameHead]byte
	b := appendFrameHead(head[:0], frameData, len(p))
	if len(p) <= small {
		buf := blockBuffers.Get().(*[]byte)
		b = append(append((*buf)[:0], b...), p...)
		n, err := st.q.Write(b)
		*buf = b
		blockBuffers.Put(buf)
		return max(0, n-(len(b)-len(p))), err
	}
	if _, err := st.q.Write(b); err != nil {
		return 0, err
	}
	return st.q.Write(p)
}

// bodyRoom returns why n bytes of body cannot be written.
func (st *Stream) bodyRoom(n int) error {
	const op = "http3.Stream.Write"
	w := &st.out
	if w.phase != writeBody {
		if err := st.writable(op, false); err != nil {
			return err
		}
	}
	switch {
	case n == 0:
		return nil
	case w.bodiless:
		return http.ErrBodyNotAllowed
	case w.length >= 0 && w.sent+int64(n) > w.length:
		return fmt.Errorf("http3: body of more than the Content-Length of %d bytes: %w", w.length, io.ErrShortWrite)
	}
	return nil
}

// TryWrite writes as much of p as the stream takes now, without waiting, and returns how many
// bytes that is. If it is not all, the Drained hook tells when there is room again. The errors are
// those of Write.
func (st *Stream) TryWrite(p []byte) (int, error) {
	w := &st.out
	if !w.mu.TryLock() {
		return 0, nil // a Write waits
	}
	defer w.mu.Unlock()
	if err := st.bodyRoom(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := st.tryRest(); err != nil || len(w.rest) > 0 {
		return 0, err
	}
	p = p[:min(len(p), tryPiece)]
	var head [maxFrameHead]byte
	b := appendFrameHead(head[:0], frameData, len(p))
	n, err := st.q.TryWrite(b, p)
	if n == 0 {
		return 0, wrap(err)
	}
	// The frame has begun, and what is left of it has been taken.
	if n < len(b) {
		w.rest = append(w.rest, b[n:]...)
		n = len(b)
	}
	w.rest = append(w.rest, p[n-len(b):]...)
	w.sent += int64(len(p))
	return len(p), wrap(err)
}

// tryPiece is how much TryWrite takes at most, and so keeps at most itself.
const tryPiece = 16 << 10

// tryRest writes of what TryWrite has left as much as goes.
func (st *Stream) tryRest() error {
	w := &st.out
	if len(w.rest) == 0 {
		return nil
	}
	n, err := st.q.TryWrite(w.rest)
	if w.rest = w.rest[n:]; len(w.rest) == 0 {
		w.rest = nil
		if w.phase == writeEnded && err == nil {
			err = st.q.CloseWrite()
		}
	}
	return wrap(err)
}

// drained is told that the stream below has room.
func (st *Stream) drained() error {
	if st.out.mu.TryLock() {
		_ = st.tryRest()
		full := len(st.out.rest) > 0
		st.out.mu.Unlock()
		if full {
			return nil
		}
	}
	st.mu.Lock()
	hook := st.hooks.Drained
	st.mu.Unlock()
	if hook != nil {
		return hook()
	}
	return nil
}

// complete checks that the body is as long as was declared: a shorter one must not look
// whole, and resets the stream.
func (st *Stream) complete() error {
	w := &st.out
	if w.length < 0 || w.bodiless || w.sent == w.length {
		return nil
	}
	st.q.Reset(uint64(InternalError))
	w.phase = writeEnded
	return fmt.Errorf("http3: body of %d bytes with a Content-Length of %d: %w", w.sent, w.length, io.ErrUnexpectedEOF)
}

// CloseWrite ends the message after what was written. A second call does nothing. The error
// is a *quic.StateError before the initial headers; io.ErrUnexpectedEOF for less body than the
// Content-Length that was sent, whereupon the stream is reset; or that of Write.
func (st *Stream) CloseWrite() error {
	w := &st.out
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.phase {
	case writeEnded:
		return nil
	case writeHead:
		return st.writable("http3.Stream.CloseWrite", false)
	}
	if err := st.complete(); err != nil {
		return err
	}
	w.phase = writeEnded
	if len(w.rest) > 0 {
		return st.tryRest()
	}
	return wrap(st.q.CloseWrite())
}

// promise sends a PUSH_PROMISE frame. The caller holds the writing lock.
func (st *Stream) promise(id int64, h Headers) error {
	b := varint.Append(make([]byte, maxFrameHead, 256), uint64(id))
	b = st.s.fields.append(b, st.ID(), h)
	return st.send(closeFrame(b, 0, framePushPromise), false)
}
