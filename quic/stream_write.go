package quic

import (
	"errors"
	"io"
	"net"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
)

// Write writes all of p: it copies, and waits while more than the stream's high
// water mark has been taken and not been sent. A stream that was cut off fails with
// a *StreamError, and with what ended the session if that is over; the first n bytes
// had then been taken.
func (st *Stream) Write(p []byte) (int, error) {
	s := st.s
	s.mu.Lock()
	n, err := st.tryWrite(p)
	if err != nil || n == len(p) {
		s.unlock(st.flushWrite(n))
		return n, err
	}
	w := s.wait.get()
	w.buf, w.n = p[n:], n
	st.writers.push(w)
	st.serveWriters() // arms the notice that there is room
	s.unlock(flushNow)
	<-w.ch
	n, err = w.n, w.err
	s.wait.put(w)
	return n, err
}

// TryWrite writes as much of the pieces as the stream takes now, without waiting, and
// returns how many bytes that is. If it is not all, the Drained hook tells when
// there is room again.
func (st *Stream) TryWrite(pieces ...[]byte) (int, error) {
	s := st.s
	s.mu.Lock()
	total := 0
	for _, p := range pieces {
		n, err := st.tryWrite(p)
		total += n
		if err != nil {
			s.unlock(st.flushWrite(total))
			return total, err
		}
		if n < len(p) {
			if st.writers.head == nil {
				n, _ = s.conn.Write(st.t, p[n:]) // arms the notice
				total += n
			}
			s.unlock(flushNow)
			return total, nil
		}
	}
	s.unlock(st.flushWrite(total))
	return total, nil
}

// End writes p and ends the writing side in one go (the API document's end(chunk)):
// data and end can share a packet.
func (st *Stream) End(p []byte) (int, error) {
	s := st.s
	s.mu.Lock()
	n, err := st.tryWrite(p)
	if err == nil && n == len(p) {
		err = st.closeWrite()
		s.unlock(max(st.flushWrite(n), flushSoon)) // the end is news, also without data
		return n, err
	}
	s.unlock(flushNow)
	if err != nil {
		return n, err
	}
	m, err := st.Write(p[n:])
	if err == nil {
		err = st.CloseWrite()
	}
	return n + m, err
}

// ReadFrom writes all that r has, until io.EOF; the writing side stays open. What fills a
// chunk of the stream's memory is not copied again: a file goes from the system straight to
// where it waits to be acknowledged. Its error is that of Write, or r's.
func (st *Stream) ReadFrom(r io.Reader) (int64, error) {
	var c *stream.Chunk
	defer func() {
		if c != nil {
			chunks.Put(c)
		}
	}()
	var total int64
	for {
		if c == nil {
			c = chunks.Get(stream.MaxChunk)
		}
		n, err := r.Read(c.Data)
		if n > 0 {
			m, kept, werr := st.writePiece(c, n)
			total += int64(m)
			if kept {
				c = nil
			}
			if werr != nil {
				return total, werr
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return total, nil
		default:
			return total, err
		}
	}
}

// CloseWrite ends the writing side after what was written: the peer reads io.EOF. A
// write that waits fails. A second call does nothing.
func (st *Stream) CloseWrite() error {
	s := st.s
	s.mu.Lock()
	defer s.unlock(flushSoon)
	return st.closeWrite()
}

func (st *Stream) closeWrite() error {
	switch {
	case !st.t.CanSend():
		return errNoWriteEnd
	case st.over && st.err != nil:
		return st.err
	}
	st.fail(&st.writers, errWriteClosed)
	st.s.stamp()
	if err := st.streamError(st.s.conn.CloseWrite(st.t)); err != nil && !errors.Is(err, errWriteClosed) {
		return err
	}
	return nil
}

// Close ends both sides: what was written still arrives, what comes is dropped
// (STR-027). It does not wait; Closed tells when the stream is over, and Err then how. On a
// stream that was destroyed, by itself or with its session, it returns a *StateError, and so
// it does called again when the stream is over (STR-028).
func (st *Stream) Close() error {
	s := st.s
	s.mu.Lock()
	defer s.unlock(flushSoon)
	again := st.closed
	st.closed = true
	switch {
	case st.over && st.err != nil:
		return &StateError{Op: "Stream.Close", State: "stream is destroyed", Err: st.err, closed: true}
	case st.over && again:
		return &StateError{Op: "Stream.Close", State: "stream is closed", Err: net.ErrClosed}
	case st.over:
		return nil
	}
	if st.t.CanSend() {
		_ = st.closeWrite() // a side that was cut off is closed
	}
	st.stop(0)
	return nil
}

// Reset ends the writing side at once, with an application's code of 0 to 1<<62-1 for
// the peer: what has not been sent is dropped (RFC 9000 §3.1).
func (st *Stream) Reset(code uint64) {
	s := st.s
	s.mu.Lock()
	st.reset(code)
	s.unlock(flushSoon)
}

func (st *Stream) reset(code uint64) {
	if st.over || !st.t.CanSend() {
		return
	}
	st.s.stamp()
	st.s.conn.Reset(st.t, min(code, maxInt))
}

// Destroy ends both sides abruptly. With an error, that is what the stream's calls
// and its Error hook report; the peer is told its code if it is an *ApplicationError
// or a *StreamError, else 0. Of its hooks only Error and Close are called from now on. A stream that
// is over stays as it is.
func (st *Stream) Destroy(err error) {
	s := st.s
	var code uint64
	var app *ApplicationError
	var cut *StreamError
	switch { // without the lock: an error may have methods of the program's
	case errors.As(err, &app):
		code = app.ErrorCode
	case errors.As(err, &cut):
		code = cut.ErrorCode
	}
	err = destroyed(err)
	s.mu.Lock()
	defer s.unlock(flushSoon)
	if st.over {
		return
	}
	st.closed = true
	st.mute()
	if err != nil && st.err == nil {
		st.err, st.failed = err, true
		st.fail(&st.writers, err)
		if st.readers.head != nil {
			st.detach()
			st.fail(&st.readers, err)
		}
	}
	st.reset(code)
	st.stop(code)
}

// mute takes away the hooks of a stream that the program has given up, but for those of its end:
// what giving it up brings about must not be told to a hook that gives it up again.
func (st *Stream) mute() {
	if x := st.x; x != nil {
		x.hooks = StreamHooks{Error: x.hooks.Error, Close: x.hooks.Close}
	}
}

// turnAway refuses a stream of the peer's that nobody has accepted.
func (st *Stream) turnAway() {
	st.s.taken(st)
	st.reset(st.s.refusal)
	st.stop(st.s.refusal)
}

// tryWrite writes what the stream takes without waiting.
func (st *Stream) tryWrite(p []byte) (int, error) {
	if err := st.writeError(); err != nil {
		return 0, err
	}
	if st.writers.head != nil {
		return 0, nil
	}
	st.s.stamp()
	n, err := st.s.conn.Write(st.t, p)
	return n, st.streamError(err)
}

// writeError returns why nothing can be written, as far as that is known up here.
func (st *Stream) writeError() error {
	switch {
	case st.err != nil:
		return st.err
	case !st.writeExpired():
		return nil
	}
	if err := st.s.conn.WriteError(st.t); err != nil {
		return st.streamError(err) // more time would not help
	}
	return errWriteDeadline
}

// serveWriters takes what fits from the writes that wait. It goes on for the whole
// of a slice without waking its owner.
func (st *Stream) serveWriters() {
	st.s.stamp()
	for w := st.writers.head; w != nil; w = st.writers.head {
		if w.chunk != nil {
			if !st.serveChunk(w) {
				return
			}
			continue
		}
		n, err := st.s.conn.Write(st.t, w.buf)
		w.n += n
		w.buf = w.buf[n:]
		if err == nil && len(w.buf) > 0 {
			if n == 0 {
				return
			}
			continue
		}
		w.err = st.streamError(err)
		st.writers.pop()
		st.s.woken.push(w)
	}
}

// soonBytes is how much unsent data of a stream may wait a moment for company: less
// than a packet.
const soonBytes = 1200

// flushWrite returns what a write of n bytes makes worth sending.
func (st *Stream) flushWrite(n int) flush {
	switch {
	case n == 0:
		return flushNone
	case st.t.Unsent() < soonBytes:
		return flushSoon
	}
	return flushNow
}
