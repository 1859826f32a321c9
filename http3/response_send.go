package http3

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// message is a piece of a response: any of its parts may be missing.
type message struct {
	head     Headers // the header block
	bodiless bool    // by its nature the response has no body, whatever its length
	length   int64   // what Content-Length says, -1 if nothing
	size     int64   // of the DATA frame that begins here
	buf, p   []byte  // bytes of that
	trailers Headers // behind buf; not together with p
	last     bool    // the stream ends behind it
	tunnel   bool    // the response is to CONNECT, and DATA is all that may follow
	open     bool    // the DATA frame lacks bytes, which the caller writes: it keeps the writing turn if all goes well
}

// sendMessage sends a piece of a response. All of it that is small goes in one call to the
// stream below.
func (st *Stream) sendMessage(m *message) error {
	w, keep := &st.out, false
	w.mu.Lock()
	defer func() {
		if !keep {
			st.unlockOut()
		}
	}()
	want := writeBody
	if m.head != nil {
		want = writeHead
	}
	if err := st.writable("http3.ResponseWriter", w.phase == want); err != nil {
		return err
	}
	if w.owed > 0 { // of a Write on the Stream itself
		return st.inFrame("http3.ResponseWriter")
	}
	for _, h := range []Headers{m.head, m.trailers} {
		if f := st.within(h); f != nil {
			return &HeaderError{Op: "http3.ResponseWriter", Reason: f.reason}
		}
	}
	if m.head != nil || len(m.trailers) > 0 {
		if err := writeError(st.q); err != nil {
			return err
		}
	}
	pooled := blockBuffers.Get().(*[]byte)
	b := (*pooled)[:0]
	if m.head != nil {
		b = st.appendBlock(b, m.head)
		w.phase, w.length, w.bodiless, w.tunnel = writeBody, m.length, m.bodiless, m.tunnel
	}
	if m.size > 0 {
		b = append(appendFrameHead(b, frameData, m.size), m.buf...)
		w.sent += m.size
	}
	p := m.p
	if len(p) <= small {
		b, p = append(b, p...), nil
	}
	if len(m.trailers) > 0 {
		b = st.appendBlock(b, m.trailers)
	}
	err := st.sendPieces(b, p, m.last)
	if m.last {
		w.phase = writeEnded
	}
	if keep = m.open && err == nil; keep {
		w.owed = uint64(m.size) - uint64(len(m.buf)+len(m.p))
	}
	if cap(b) <= 16<<10 {
		*pooled = b
		blockBuffers.Put(pooled)
	}
	return err
}

// sendPieces writes two slices, and ends the stream behind them if last.
func (st *Stream) sendPieces(b, p []byte, last bool) error {
	if len(p) == 0 && (last || len(b) > 0) {
		return st.send(b, last)
	}
	if err := st.send(b, false); err != nil || len(p) == 0 {
		return err
	}
	var err error
	if last {
		_, err = st.q.End(p)
	} else {
		_, err = st.q.Write(p)
	}
	return wrap(err)
}

// send sends what waits, and p behind it. last says that the handler has returned.
func (w *responseWriter) send(p []byte, last bool) error {
	m := message{length: -1, last: last}
	if w.buf != nil {
		m.buf = *w.buf
	}
	if w.head {
		if w.sent {
			return nil
		}
		m.last = true
	}
	m.p = p
	if !w.sent {
		body := m.buf
		if len(body) == 0 {
			body = p
		}
		w.complete(body, last)
		m.head, m.length, m.bodiless, m.tunnel = *w.fields, w.length, w.bodiless || w.head, w.tunnel()
	}
	if w.head {
		m.buf, m.p = nil, nil
	} else if last {
		m.trailers = w.trailing()
	}
	m.size = int64(len(m.buf) + len(m.p))
	return w.dispatch(&m)
}

// dispatch sends a message and forgets what was in it. After an error the stream is of no use:
// half a frame may have gone.
func (w *responseWriter) dispatch(m *message) error {
	if m.head != nil {
		w.x.body.expected.Store(false)
	}
	err := w.x.st.sendMessage(m)
	if bad, ok := err.(*HeaderError); ok && !w.x.c.refused.Swap(true) { // the client alone decides how often
		w.notef("has a response that cannot be sent: %s", bad.Reason)
	}
	w.sent = true
	w.dropFields()
	if w.buf != nil {
		*w.buf = (*w.buf)[:0]
	}
	return w.fail(err)
}

// fail notes an error of the stream.
func (w *responseWriter) fail(err error) error {
	if err == nil {
		return nil
	}
	w.x.st.Reset(InternalError)
	if w.late.Load() {
		err = os.ErrDeadlineExceeded
	}
	if w.err == nil {
		w.err = err
	}
	return err
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// ReadFrom writes all that r has. A regular file, or what an io.LimitedReader leaves of one,
// becomes one DATA frame that is filled straight from it. If the file turns out to be shorter than
// it was, the stream is reset, and the error is io.ErrUnexpectedEOF.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	n := regularLeft(r)
	if n <= responseBuffer {
		return w.copyFrom(r)
	}
	var total int64
	w.mu.Lock()
	sniff := w.status == 0 && w.header["Content-Type"] == nil || w.status != 0 && !w.sent && w.has&hasContentType == 0
	w.mu.Unlock()
	if sniff { // the first bytes decide
		m, err := w.copyFrom(io.LimitReader(r, sniffLen))
		if total += m; err != nil {
			return total, err
		}
		n -= m
	}
	m, err := w.sendFile(r, n)
	return total + m, err
}

const sniffLen = 512

// copyFrom writes what r has piece by piece.
func (w *responseWriter) copyFrom(r io.Reader) (int64, error) {
	b := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, b[:])
}

// regularLeft returns how many bytes r has, 0 if that is not known of it.
func regularLeft(r io.Reader) int64 {
	limit := int64(-1)
	if l, ok := r.(*io.LimitedReader); ok {
		r, limit = l.R, l.N
	}
	f, ok := r.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	n := info.Size() - at
	if limit >= 0 {
		n = min(n, limit)
	}
	return max(n, 0)
}

// sendFile sends n bytes of r in one frame, with what waits before them.
func (w *responseWriter) sendFile(r io.Reader, n int64) (int64, error) {
	st := w.x.st
	w.mu.Lock()
	defer w.unlock()
	if err := w.room(n); err != nil {
		return 0, err
	}
	if w.head {
		return n, w.send(nil, false) // as for a Write that is too long to wait
	}
	m := message{length: -1, open: true}
	if w.buf != nil {
		m.buf = *w.buf
	}
	if !w.sent {
		w.complete(m.buf, false)
		m.head, m.length, m.bodiless, m.tunnel = *w.fields, w.length, w.bodiless, w.tunnel()
	}
	m.size = int64(len(m.buf)) + n
	if err := w.dispatch(&m); err != nil {
		return 0, err
	}
	sent, err := st.fillFrom(r, n)
	st.unlockOut() // of sendMessage: nothing may come between the frame's head and the file
	if sent < n {
		if err == nil {
			err = fmt.Errorf("http3: file of %d bytes is %d bytes short: %w", n, n-sent, io.ErrUnexpectedEOF)
		}
		return sent, w.fail(wrap(err))
	}
	return sent, nil
}

// fillFrom writes n bytes of r into the open DATA frame. The caller has the writing turn.
func (st *Stream) fillFrom(r io.Reader, n int64) (int64, error) {
	if err := st.flush(true); err != nil { // what is kept of a stream with hooks
		return 0, err
	}
	sent, err := st.q.ReadFrom(io.LimitReader(r, n))
	st.out.owed -= uint64(sent)
	return sent, err
}
