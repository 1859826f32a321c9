package http3

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// responseWriter is the http.ResponseWriter of a request. Headers and the first bytes of the body
// wait until they have to go, so that a short response is one write.
type responseWriter struct {
	x      *handling
	header http.Header

	mu       sync.Mutex
	status   int      // 0 until WriteHeader
	fields   *Headers // of a pool: what goes out, as it was at WriteHeader; nil when it is not to go any more
	has      fieldSet
	length   int64  // what Content-Length says, -1 if nothing
	declared string // the same in words
	bodiless bool   // the response has none by its status
	head     bool   // or because it answers HEAD
	sent     bool   // the header block has gone
	written  int64
	buf      *[]byte // of a pool: the body that waits; nil if none does
	trailers []string
	direct   bool   // StreamOf was called: there is no buffer any more
	last     bool   // the session is to end after this
	err      error  // of the stream
	over     bool   // the handler has returned
	note     string // to be logged

	late  atomic.Bool // the time to write is over
	tmu   sync.Mutex
	timer *time.Timer
	ended bool // there is nothing to limit any more
}

// fieldSet says which fields a handler has set that are else set for it.
type fieldSet uint8

const (
	hasDate fieldSet = 1 << iota
	hasContentType
	hasContentEncoding
)

// responseBuffer is how much of a body waits for more, or for the end.
const responseBuffer = 4 << 10

var (
	bodyBuffers  = sync.Pool{New: func() any { b := make([]byte, 0, responseBuffer); return &b }}
	fieldBuffers = sync.Pool{New: func() any { h := make(Headers, 0, 24); return &h }}
)

func (w *responseWriter) init(x *handling) { w.x, w.length = x, -1 }

// Header returns the fields that WriteHeader sends, and later the trailers.
func (w *responseWriter) Header() http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader fixes status and fields. A status of 1xx is sent at once, with the fields as they
// are (RFC 9110 §15.2).
func (w *responseWriter) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("invalid WriteHeader code " + strconv.Itoa(status)) // as net/http has it
	}
	w.mu.Lock()
	defer w.unlock()
	switch {
	case w.over:
	case w.status != 0:
		w.note = "http3: superfluous response.WriteHeader call from " + caller()
	case status < 200:
		w.inform(status)
	default:
		w.fix(status)
	}
}

// unlock lets go of the lock and logs what was found under it.
func (w *responseWriter) unlock() {
	note := w.note
	w.note = ""
	w.mu.Unlock()
	if note != "" {
		w.x.c.server.logf("%s", note)
	}
}

// notedLen is how much of a request's method and of its URI is noted.
const notedLen = 200

// notef notes what the handler has done wrong.
func (w *responseWriter) notef(format string, a ...any) {
	r := w.x.req
	w.note = fmt.Sprintf("http3: handler of %s %q ", beginning(r.Method), beginning(r.RequestURI)) + fmt.Sprintf(format, a...)
}

func beginning(s string) string { return s[:min(len(s), notedLen)] }

// Write writes part of the body. The error is http.ErrBodyNotAllowed where the status allows
// none, http.ErrContentLength for more than the handler has declared, and else that of
// Stream.Write.
func (w *responseWriter) Write(p []byte) (int, error) { return w.write(p, "") }

// WriteString is Write for a string.
func (w *responseWriter) WriteString(s string) (int, error) { return w.write(nil, s) }

// write writes p, or else s.
func (w *responseWriter) write(p []byte, s string) (int, error) {
	w.mu.Lock()
	defer w.unlock()
	n := len(p) + len(s)
	if err := w.room(int64(n)); err != nil || n == 0 {
		return 0, err
	}
	if w.direct {
		return w.x.st.Write(append(p, s...)) // one of them is empty
	}
	if w.head && w.sent {
		return n, nil
	}
	if !w.head && w.buffered()+n > responseBuffer {
		if err := w.send(append(p, s...), false); err != nil {
			return 0, err
		}
		return n, nil
	}
	if w.buffered()+n > responseBuffer {
		return n, w.send(nil, false) // the answer to HEAD has no length that we know
	}
	if w.buf == nil {
		w.buf = bodyBuffers.Get().(*[]byte)
	}
	*w.buf = append(append(*w.buf, p...), s...)
	return n, nil
}

// room counts n bytes of body, or returns why they cannot be written.
func (w *responseWriter) room(n int64) error {
	if err := w.usable(); err != nil {
		return err
	}
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	switch {
	case w.bodiless:
		return http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+n > w.length:
		return http.ErrContentLength
	}
	w.written += n
	return nil
}

// usable returns why nothing can be written.
func (w *responseWriter) usable() error {
	switch {
	case w.late.Load():
		return os.ErrDeadlineExceeded
	case w.over:
		return errHandlerOver
	}
	return w.err
}

func (w *responseWriter) buffered() int {
	if w.buf == nil {
		return 0
	}
	return len(*w.buf)
}

// Flush sends what waits.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError sends what waits. Its error is that of Write.
func (w *responseWriter) FlushError() error {
	w.mu.Lock()
	defer w.unlock()
	return w.flush()
}

func (w *responseWriter) flush() error {
	if err := w.usable(); err != nil {
		return err
	}
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	if w.sent && w.buffered() == 0 {
		return nil
	}
	return w.send(nil, false)
}

// SetReadDeadline is for http.ResponseController: reads of the body fail from then on.
func (w *responseWriter) SetReadDeadline(t time.Time) error { return w.x.st.SetReadDeadline(t) }

// SetWriteDeadline is for http.ResponseController: the response must be complete by then, or its
// stream is reset with H3_INTERNAL_ERROR.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.limitTo(t)
	return nil
}

// EnableFullDuplex is for http.ResponseController: HTTP/3 is that by itself.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// limitTo sets the time by which the response must be complete; the zero time is none.
func (w *responseWriter) limitTo(t time.Time) {
	w.tmu.Lock()
	defer w.tmu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if !t.IsZero() && !w.ended {
		w.timer = time.AfterFunc(time.Until(t), w.timeOut)
	}
}

// timeOut ends a response that has taken too long.
func (w *responseWriter) timeOut() {
	w.late.Store(true)
	_ = w.x.st.SetWriteDeadline(time.Unix(0, 1)) // a write that waits learns of it by its error
	w.x.abort(InternalError)
	w.x.ctx.end()
}

// StreamOf returns the HTTP/3 stream below the http.ResponseWriter of a Server's handler, for
// protocols that run over a CONNECT request (RFC 9220): its Read and Write carry the bodies both
// ways without buffers. The header block is sent first, with status 200 if the handler has
// not called WriteHeader. The stream is the server's still: it ends when the handler
// returns. ok is false if w is not of a Server, nor wraps one by a method Unwrap as
// http.ResponseController knows it, and if the header block could not be sent.
func StreamOf(w http.ResponseWriter) (st *Stream, ok bool) {
	for {
		switch t := w.(type) {
		case *responseWriter:
			return t.stream()
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil, false
		}
	}
}

func (w *responseWriter) stream() (*Stream, bool) {
	w.mu.Lock()
	defer w.unlock()
	if !w.direct {
		if err := w.flush(); err != nil {
			return nil, false
		}
		w.direct = true
	}
	return w.x.st, true
}

// finish completes the response.
func (w *responseWriter) finish() {
	w.mu.Lock()
	defer w.unlock()
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	short := !w.head && !w.bodiless && !w.direct && w.length >= 0 && w.written < w.length
	switch {
	case w.err != nil || w.late.Load():
		w.x.st.Reset(InternalError)
	case short:
		w.notef("wrote a body of %d bytes, and had declared %d", w.written, w.length)
		w.x.st.Reset(InternalError)
	case w.direct:
		_ = w.x.st.CloseWrite() // it has been reset where that fails
	default:
		_ = w.send(nil, true)
	}
	w.release()
}

// abandon lets go of a response that will not be completed.
func (w *responseWriter) abandon() {
	w.late.Store(true)
	_ = w.x.st.SetWriteDeadline(time.Unix(0, 1)) // a write of another goroutine may hold the lock
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release()
}

// release gives memory back. From here on a handler that still writes has an error.
func (w *responseWriter) release() {
	w.over = true
	w.limitTo(time.Time{})
	w.tmu.Lock()
	w.ended = true
	w.tmu.Unlock()
	if b := w.buf; b != nil {
		w.buf = nil
		*b = (*b)[:0]
		bodyBuffers.Put(b)
	}
	w.dropFields()
}

func (w *responseWriter) dropFields() {
	if w.fields != nil {
		putFields(w.fields, *w.fields)
		w.fields = nil
	}
}

// putFields gives memory of fieldBuffers back; h is what it has grown to.
func putFields(buf *Headers, h Headers) {
	if cap(h) > 256 {
		return
	}
	clear(h[:cap(h)]) // what was tried and dropped, too
	*buf = h[:0]
	fieldBuffers.Put(buf)
}

var (
	_ http.Pusher     = (*responseWriter)(nil)
	_ io.ReaderFrom   = (*responseWriter)(nil)
	_ io.StringWriter = (*responseWriter)(nil)
)
