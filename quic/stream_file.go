package quic

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"syscall"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
)

// SendOptions are the choices for SendFile, SendFD and SendHandle. The zero SendOptions
// send what is between the file's position and its end.
type SendOptions struct {
	// Offset is where to begin, in bytes from the start of the file. 0 means the position that
	// the file has, which moves then; None means the start. From the start or an Offset the
	// position of a descriptor or handle is neither used nor moved (SFD-002, SFI-003).
	Offset int64
	// Length is how many bytes to send at most. 0 means to the end of the file, None none
	// (SFD-003, SFI-004).
	Length int64
	// OnError, if not nil, is called once if the file cannot be opened, before the call
	// returns. The stream then ends without data as Close ends it. Without OnError it is
	// destroyed with the error (SFI-002, STR-049).
	OnError func(error)
}

// resolved returns the offset, -1 for the file's position, and the length.
func (o *SendOptions) resolved() (offset, length int64, err error) {
	c := &checker{in: "SendOptions"}
	offset = count(c, "Offset", o.Offset, -1, 0, int64(math.MaxInt64))
	length = count(c, "Length", o.Length, math.MaxInt64, 0, math.MaxInt64)
	return offset, length, c.result()
}

// SendFile sends the file at path in place of a Write, and ends the writing side (STR-048).
// It returns when the last byte is taken, as Write does, and the file is closed then. A
// directory is a file that cannot be opened; to open a named pipe waits for its writer.
//
// The error is an *OptionError for options out of their range and a *StateError for a stream
// that is over, before the file is opened; that of the open, of the read, or of Write. A read
// that fails destroys the stream with its error: the peer is not to take what has come for the
// whole. After an error of Write's, as that of a deadline, the stream is not ended.
func (st *Stream) SendFile(path string, o SendOptions) error {
	return st.sendFile("Stream.SendFile", o, true, func() (*os.File, error) { return os.Open(path) })
}

// SendFD is SendFile for an open descriptor of the system, on Windows a handle (STR-043). It
// stays open, with the position that it had if Offset is set: what is read is read through a
// duplicate. Several calls at once for one descriptor without Offset get parts of the file each.
// A descriptor that is not open, or cannot be duplicated, counts as a file that cannot be opened.
// A read that waits, as of a pipe, is cut short by the end of the stream only if the descriptor
// is in non-blocking mode.
func (st *Stream) SendFD(fd uintptr, o SendOptions) error {
	return st.sendFile("Stream.SendFD", o, true, func() (*os.File, error) {
		d, err := duplicate(fd)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		return os.NewFile(d, "descriptor"), nil
	})
}

// SendHandle is SendFile for an open file, which stays open (STR-043). With an Offset it
// does not move. It must not be closed before the call returns. A read that waits, as of a pipe,
// is not cut short by the end of the stream.
func (st *Stream) SendHandle(f *os.File, o SendOptions) error {
	return st.sendFile("Stream.SendHandle", o, false, func() (*os.File, error) {
		if f == nil {
			return nil, &OptionError{Option: "SendHandle.f", Want: "an open file", Err: os.ErrInvalid, code: CodeInvalidArgType}
		}
		return f, nil
	})
}

// sendFile opens a file, sends it and ends the writing side.
func (st *Stream) sendFile(op string, o SendOptions, owned bool, open func() (*os.File, error)) error {
	offset, length, err := o.resolved()
	if err != nil {
		return err
	}
	if err := st.mayWrite(op); err != nil {
		return err
	}
	f, err := opened(open)
	if f != nil && owned {
		defer f.Close()
	}
	if gone := st.mayWrite(op); gone != nil { // while the file was being opened (STR-050)
		return gone
	}
	switch {
	case err == nil && owned:
		defer st.endReads(f)()
		fallthrough
	case err == nil:
		return st.sendFrom(op, f, offset, length)
	case o.OnError == nil:
		st.Destroy(err)
	default:
		defer st.Close()
		o.OnError(err)
	}
	return err
}

// endReads makes the end of the stream end a read that waits for a pipe or a device; what it
// returns undoes that.
func (st *Stream) endReads(f *os.File) func() {
	if info, err := f.Stat(); err != nil || info.Mode().IsRegular() {
		return func() {}
	}
	stop := context.AfterFunc(st.Context(), func() { f.Close() })
	return func() { stop() }
}

// opened opens a file that can be read. One that is returned with an error is to be closed.
func opened(open func() (*os.File, error)) (*os.File, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = &os.PathError{Op: "open", Path: f.Name(), Err: syscall.EISDIR}
	}
	return f, err
}

// mayWrite returns the error of a call that comes too late to write.
func (st *Stream) mayWrite(op string) error {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	switch {
	case st.err != nil:
		return &StateError{Op: op, State: "stream is destroyed", Err: st.err, closed: true}
	case st.over:
		return &StateError{Op: op, State: "stream is closed", closed: true}
	}
	if err := st.s.conn.WriteError(st.t); err != nil {
		cause := st.streamError(err)
		if late, ok := cause.(*StateError); ok {
			return &StateError{Op: op, State: late.State, closed: true}
		}
		return &StateError{Op: op, State: "write side is closed", Err: cause, closed: true}
	}
	return nil
}

// sendFrom sends up to length bytes of f from offset, or from its position if that is -1, and
// ends the writing side. The bytes are read into the chunks that they stay in until the peer has
// acknowledged them.
func (st *Stream) sendFrom(op string, f *os.File, offset, length int64) error {
	var c *stream.Chunk
	defer func() {
		if c != nil {
			chunks.Put(c)
		}
	}()
	for length > 0 {
		if c == nil {
			c = chunks.Get(int(min(length, stream.MaxChunk)))
		}
		n, err := readPiece(f, c.Data[:min(int64(len(c.Data)), length)], offset)
		if offset >= 0 {
			offset += int64(n)
		}
		length -= int64(n)
		if n > 0 {
			_, kept, werr := st.writePiece(c, n)
			if kept {
				c = nil
			}
			if werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			gone := st.mayWrite(op)
			st.Destroy(err)
			return cmp.Or(gone, err)
		}
	}
	if err := st.mayWrite(op); err != nil {
		return err
	}
	return st.CloseWrite()
}

// readPiece reads once, at an offset or, if that is -1, at the file's position. A read that
// brings nothing and no error is the end.
func readPiece(f *os.File, p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		n, err = f.Read(p)
	} else {
		n, err = f.ReadAt(p, offset)
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// writePiece writes the first n bytes of c.Data, returns how many were taken, and reports
// whether the stream keeps the chunk: it does if they fill half of it.
func (st *Stream) writePiece(c *stream.Chunk, n int) (m int, kept bool, err error) {
	if p := c.Data[:n]; n < len(c.Data)/2 {
		m, err = st.Write(p)
		return m, false, err
	}
	s := st.s
	s.mu.Lock()
	if err := st.writeError(); err != nil {
		s.unlock(flushNone)
		return 0, false, err
	}
	w := s.wait.get()
	w.chunk, w.n = c, n
	st.writers.push(w)
	st.serveWriters()
	s.unlock(flushNow)
	<-w.ch
	kept, err = w.chunk == nil, w.err
	s.wait.put(w)
	if kept {
		m = n
	}
	return m, kept, err
}

// serveChunk gives the stream the chunk of a write that waits, and reports false if it does not
// take it yet.
func (st *Stream) serveChunk(w *waiter) bool {
	st.s.stamp()
	ok, err := st.s.conn.WriteChunk(st.t, w.chunk, w.n)
	switch {
	case ok:
		w.chunk = nil
	case err == nil:
		return false
	}
	w.err = st.streamError(err)
	st.writers.pop()
	st.s.woken.push(w)
	return true
}
