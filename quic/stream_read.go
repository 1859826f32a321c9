package quic

import (
	"io"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Read reads what has come, and waits for something to come. At the end that the
// peer has set it returns io.EOF; a stream that was cut off fails with a
// *StreamError, and with what ended the session if that is over. Data that had come
// before but was not read is lost then, with one exception: when the peer closes the
// session in order, streams that have come whole can be read to their end, and with
// KeepUnidirectional its unidirectional ones as far as they have come.
func (st *Stream) Read(p []byte) (int, error) {
	s := st.s
	s.mu.Lock()
	if n, done, err := st.tryRead(p); done {
		s.unlock(flushRead(n, err))
		return n, err
	}
	w := s.wait.get()
	w.buf = p
	st.readers.push(w)
	if st.readers.head == w {
		s.conn.SetReader(st.t, p)
	}
	s.unlock(flushNone)
	<-w.ch
	n, err := w.n, w.err
	s.wait.put(w)
	return n, err
}

// TryRead reads what is there, without waiting: n is 0 and err nil if that is
// nothing. The Readable hook tells when there is more.
func (st *Stream) TryRead(p []byte) (n int, err error) {
	st.s.mu.Lock()
	n, _, err = st.tryRead(p)
	st.s.unlock(flushRead(n, err))
	return n, err
}

// WriteTo writes all that comes to w, until the end. Its error is that of Read, or w's.
func (st *Stream) WriteTo(w io.Writer) (int64, error) {
	buf := slabs.Get()
	defer slabs.Put(buf)
	var total int64
	for {
		n, err := st.Read(buf)
		if n > 0 {
			m, werr := w.Write(buf[:n])
			total += int64(m)
			if werr == nil && m < n {
				werr = io.ErrShortWrite
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

// CloseRead ends the reading side: what has come is dropped, and the peer is asked
// to send no more (RFC 9000 §3.5).
func (st *Stream) CloseRead() error {
	st.Stop(0)
	return nil
}

// Stop is CloseRead with an application's code of 0 to 1<<62-1 for the peer.
func (st *Stream) Stop(code uint64) {
	s := st.s
	s.mu.Lock()
	st.stop(code)
	s.unlock(flushSoon)
}

func (st *Stream) stop(code uint64) {
	st.rest = false
	if st.over || !st.t.CanReceive() {
		return
	}
	if st.readers.head != nil {
		st.detach()
		st.fail(&st.readers, errReadClosed)
	}
	st.s.conn.Stop(now(), st.t, min(code, maxInt))
}

// tryRead reads if that needs no waiting, and reports whether it did or failed.
func (st *Stream) tryRead(p []byte) (n int, done bool, err error) {
	switch {
	case st.err != nil && len(p) > 0 && !st.rest:
		return 0, true, st.err // before the deadline: to try again later would be of no use
	case st.readExpired():
		return 0, true, errReadDeadline
	case len(p) == 0:
		return 0, true, nil
	case st.readers.head != nil:
		return 0, false, nil
	}
	n, err = st.s.conn.Read(now(), st.t, p)
	if n == 0 && err == nil && st.err != nil { // what had come before the session's end is read
		st.rest = false
		return 0, true, st.err
	}
	return n, n > 0 || err != nil, st.streamError(err)
}

// serveReaders gives the reads that wait what there is for them.
func (st *Stream) serveReaders(t mono.Time) {
	c := st.s.conn
	for w := st.readers.head; w != nil; w = st.readers.head {
		n, err := c.TakeReader(t, st.t), error(nil)
		if n == 0 {
			n, err = c.Read(t, st.t, w.buf)
		}
		if n == 0 && err == nil {
			c.SetReader(st.t, w.buf)
			return
		}
		w.n, w.err = n, st.streamError(err)
		st.readers.pop()
		st.s.woken.push(w)
	}
}

// detach takes the first waiting read's slice back from the machine.
func (st *Stream) detach() {
	w := st.readers.head
	if n := st.s.conn.TakeReader(now(), st.t); n > 0 {
		w.n = n
		st.readers.pop()
		st.s.woken.push(w)
	}
}

// flushRead returns what a read makes worth sending: credit for more, or the end of
// the stream.
func flushRead(n int, err error) flush {
	if n > 0 || err != nil {
		return flushCredit
	}
	return flushNone
}
