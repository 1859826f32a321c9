package http3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// small is how much body is copied to stand behind its frame's head, so that both go
// in one call; tryPiece is how much TryWrite takes at most, and so keeps at most itself.
const (
	small    = 4 << 10
	tryPiece = 16 << 10
)

// Write writes part of the body in a DATA frame: it copies, and waits while the stream's high
// water mark is exceeded. The error is a *quic.StateError before the initial headers and
// after the end, io.ErrShortWrite for more than the Content-Length that was sent,
// http.ErrBodyNotAllowed where a response has no body, an *Error if the stream was cut off, or one
// that is os.ErrDeadlineExceeded: the body can go on then with what was not taken.
func (st *Stream) Write(p []byte) (int, error) {
	st.out.mu.Lock()
	defer st.unlockOut()
	if err := st.bodyRoom("http3.Stream.Write", len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := st.flush(true); err != nil {
		return 0, err
	}
	n, err := st.fillFrame(p, st.q.Write)
	if err == nil && n < len(p) {
		var more int
		more, err = st.writeFrame(p[n:])
		n += more
	}
	st.out.sent += int64(n)
	return n, wrap(err)
}

// fillFrame writes what the open DATA frame has announced and does not have yet.
func (st *Stream) fillFrame(p []byte, write func([]byte) (int, error)) (int, error) {
	w := &st.out
	if w.owed == 0 {
		return 0, nil
	}
	n, err := write(p[:min(uint64(len(p)), w.owed)])
	w.owed -= uint64(n)
	return n, err
}

// inFrame is the error of what would fall into an open DATA frame.
func (st *Stream) inFrame(op string) error {
	return &quic.StateError{Op: op, State: "a Write was cut short within its frame"}
}

// writeFrame writes one DATA frame, and returns how many bytes of p were taken. A frame that
// is cut short stays open: what it lacks is noted. A small p goes with the head.
func (st *Stream) writeFrame(p []byte) (int, error) {
	w := &st.out
	buf := blockBuffers.Get().(*[]byte)
	*buf = appendFrameHead((*buf)[:0], frameData, len(p))
	head := len(*buf)
	if len(p) <= small {
		*buf = append(*buf, p...)
	}
	n, err := st.q.Write(*buf)
	if err != nil && n > 0 {
		w.rest = append(w.rest, (*buf)[min(n, head):head]...)
	}
	blockBuffers.Put(buf)
	if err == nil && len(p) > small {
		n, err = st.q.Write(p)
		n += head
	}
	if err != nil && n > 0 {
		w.owed = uint64(head + len(p) - max(n, head))
	}
	return max(0, n-head), err
}

// bodyRoom returns why n bytes of body cannot be written.
func (st *Stream) bodyRoom(op string, n int) error {
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
		return 0, nil // Drained is told when it is free
	}
	defer st.unlockOut()
	if err := st.bodyRoom("http3.Stream.TryWrite", len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := st.flush(false); err != nil || len(w.rest) > 0 {
		return 0, err
	}
	n, err := st.fillFrame(p, func(p []byte) (int, error) { return st.q.TryWrite(p) })
	if n == 0 && w.owed == 0 && err == nil {
		n, err = st.tryFrame(p[:min(len(p), tryPiece)])
	}
	w.sent += int64(n)
	return n, wrap(err)
}

// tryFrame begins a DATA frame, and if that goes takes all of it.
func (st *Stream) tryFrame(p []byte) (int, error) {
	var buf [maxFrameHead]byte
	head := appendFrameHead(buf[:0], frameData, len(p))
	n, err := st.q.TryWrite(head, p)
	if n == 0 || err != nil {
		return 0, err
	}
	w := &st.out
	w.rest = append(w.rest, head[min(n, len(head)):]...)
	w.rest = append(w.rest, p[max(0, n-len(head)):]...)
	return len(p), nil
}

// CloseWrite ends the message after what was written. A second call does nothing, but for
// going on where a deadline had cut the first one short. The error is a *quic.StateError before the
// initial headers; io.ErrUnexpectedEOF for less body than was announced, by a Content-Length or by a
// Write that was cut short, whereupon the stream is reset; or that of Write.
func (st *Stream) CloseWrite() error {
	st.out.mu.Lock()
	defer st.unlockOut()
	return st.closeWrite(!st.isHooked())
}

func (st *Stream) closeWrite(wait bool) error {
	w := &st.out
	switch w.phase {
	case writeHead:
		return st.writable("http3.Stream.CloseWrite", false)
	case writeBody:
		if err := st.complete(); err != nil {
			return err
		}
		w.phase = writeEnded
		w.last = true
	}
	return st.flush(wait)
}

// complete checks that the body is as long as was announced: a shorter one must not look
// whole, and resets the stream.
func (st *Stream) complete() error {
	w := &st.out
	switch {
	case w.owed > 0:
	case w.length < 0, w.bodiless, w.sent == w.length:
		return nil
	}
	st.q.Reset(uint64(InternalError))
	w.phase = writeEnded
	w.rest = nil
	return fmt.Errorf("http3: body of %d bytes is shorter than was announced: %w", w.sent, io.ErrUnexpectedEOF)
}

// send hands whole frames over, and with them the end of the stream if last. What does not go
// is kept and goes first next time: on a stream with hooks at once, else when a deadline has cut
// the call short.
func (st *Stream) send(b []byte, last bool) error {
	w, wait, n := &st.out, !st.isHooked(), 0
	var err error
	switch {
	case len(w.rest) > 0: // nothing may overtake it
	case !wait:
		n, err = st.q.TryWrite(b)
	case last:
		if n, err = st.q.End(b); err == nil {
			return nil
		}
	default:
		n, err = st.q.Write(b)
	}
	if err != nil && !isLate(err) {
		return wrap(err)
	}
	w.rest, w.last = append(w.rest, b[n:]...), last
	if err != nil {
		return err
	}
	err = st.flush(wait)
	if e, ok := errors.AsType[*Error](err); ok && last && len(w.rest) == 0 && e.Remote && !e.Session && e.ErrorCode == NoError {
		return nil // it has had all but the end, and has answered meanwhile
	}
	return err
}

// flush writes what is kept, and then the end of the stream if that is due.
func (st *Stream) flush(wait bool) error {
	w := &st.out
	if len(w.rest) > 0 {
		write := st.q.Write
		if !wait {
			write = func(p []byte) (int, error) { return st.q.TryWrite(p) }
		}
		n, err := write(w.rest)
		if w.rest = w.rest[n:]; err != nil {
			return wrap(err)
		}
		if len(w.rest) > 0 {
			return nil
		}
		w.rest = nil
	}
	if !w.last {
		return nil
	}
	w.last = false
	return wrap(st.q.CloseWrite())
}

// isLate reports whether a deadline has cut a call short, after which it can go on.
func isLate(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// drained is told that the stream below has room.
func (st *Stream) drained() error {
	if !st.out.mu.TryLock() {
		return nil // its holder calls again
	}
	_ = st.flush(false) // an error is the next call's, too
	full := len(st.out.rest) > 0
	st.unlockOut()
	st.mu.Lock()
	hook := st.hooks.Drained
	st.mu.Unlock()
	if full || hook == nil {
		return nil
	}
	return hook()
}
