package quic

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// Stream is an ordered, reliable run of bytes in one session (RFC 9000 §2): in
// both directions, or only from the end that opened it. A bidirectional one is a
// net.Conn. As with a net.TCPConn, CloseWrite ends the writing side, CloseRead the
// reading side, and Close both, without loss of what was written.
//
// All methods may be called concurrently. Reads take turns, and so do writes.
type Stream struct {
	// Value is the program's own: the package does not look at it.
	Value any

	s *Session
	t *transport.Stream

	// All below is under the session's lock.
	prev, next *Stream // among the session's live streams
	fresh      *Stream // the one that came before it, while both wait for the session's handler
	readers    waitQueue
	writers    waitQueue
	over       bool
	rest       bool  // the session is over, and what the peer has sent before can still be read
	lasting    bool  // the session's Close does not wait for it
	closed     bool  // Close or Destroy was called
	failed     bool  // Destroy was, with an error: whatever that says, it is one to the Error hook
	err        error // what cut it off here, for all calls
	cut        error // what the peer cut one side off with
	endedAt    mono.Time
	noticed    notice
	x          *streamExtra // nil until one of its parts is needed
}

// streamExtra is what few streams have.
type streamExtra struct {
	hooks  StreamHooks
	read   deadline
	write  deadline
	done   chan struct{}
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// notice is a set of edges that wait to be told to hooks. One that waits is not
// queued again.
type notice uint8

const (
	noticeReadable notice = 1 << iota
	noticeDrained
	noticeAcknowledged
	noticeBlocked
	noticeAborted
)

// OpenStream opens a stream (SES-071). It waits for the handshake, unless the
// session sends early data, and for the peer to allow another stream of the kind.
// The error is the context's, a *StateError if the session is closing or over, or
// an *OperationError if it ends meanwhile.
func (s *Session) OpenStream(ctx context.Context, o StreamOptions) (*Stream, error) {
	const op = "Session.OpenStream"
	s.mu.Lock()
	st, err := s.open(op, o)
	if st != nil || err != nil {
		s.unlock(flushNone)
		return st, err
	}
	q := &s.openers[0]
	if o.HalfOpen {
		q = &s.openers[1]
	}
	w := s.wait.get()
	q.push(w)
	s.unlock(flushNow) // the peer may have to be told that we want more
	err = s.sleep(ctx, q, w)
	if err == nil {
		st, err = w.stream, w.err
	}
	s.wait.put(w)
	if st != nil {
		s.mu.Lock()
		st.configure(o)
		s.unlock(flushNone)
	}
	return st, err
}

// TryOpenStream is OpenStream without the waiting: if the peer allows no stream
// of the kind now, or the handshake is not done, it fails with an *OperationError.
func (s *Session) TryOpenStream(o StreamOptions) (*Stream, error) {
	const op = "Session.TryOpenStream"
	s.mu.Lock()
	defer s.unlock(flushSoon)
	st, err := s.open(op, o)
	if st == nil && err == nil {
		err = &OperationError{Op: op, Err: errNoCredit}
	}
	return st, err
}

var errNoCredit = &sentinel{CodeOperationFailed, "no more streams are allowed by the peer now"}

// takesStreams reports whether new streams of a kind may be opened, by either end.
func (s *Session) takesStreams(uni bool) bool {
	return s.life == sessionOpen || s.life == sessionClosing && s.keepUni && uni
}

// open opens a stream if that is possible now, and otherwise returns nil and nil.
func (s *Session) open(op string, o StreamOptions) (*Stream, error) {
	if !s.takesStreams(o.HalfOpen) {
		return nil, s.stateError(op)
	}
	if o.HighWaterMark < None {
		return nil, &OptionError{Option: "StreamOptions.HighWaterMark", Value: o.HighWaterMark, Want: "1 or more, 0 for the session's, or None for 0", code: CodeOutOfRange}
	}
	q := &s.openers[0]
	if o.HalfOpen {
		q = &s.openers[1]
	}
	if !s.canOpen() || q.head != nil {
		return nil, nil
	}
	ts := s.conn.OpenStream(now(), o.HalfOpen)
	if ts == nil {
		return nil, nil
	}
	st := s.newStream(ts)
	st.configure(o)
	return st, nil
}

// canOpen reports whether streams of ours may carry data: after the handshake, or
// before it in 0-RTT.
func (s *Session) canOpen() bool {
	return s.secure || s.client != nil && s.conn.UsingEarlyData()
}

// serveOpeners gives streams to those who wait for one, as far as the credit goes.
func (s *Session) serveOpeners(t mono.Time) {
	if !s.canOpen() {
		return
	}
	for k := range s.openers {
		for s.openers[k].head != nil && s.takesStreams(k == 1) {
			ts := s.conn.OpenStream(t, k == 1)
			if ts == nil {
				break
			}
			w := s.openers[k].pop()
			w.stream = s.newStream(ts)
			s.woken.push(w)
		}
	}
}

// AcceptStream returns the next stream that the peer has opened, and waits for it
// (SES-023). When the peer has closed the session in order, streams that came whole before
// are still returned. A stream that nobody has taken, here or by a hook, counts as open for MaxStreamsBidi
// or MaxStreamsUni, even if it is over. The error is the context's, a *StateError if the session is closing or
// over or has a Stream hook, or what ended it meanwhile.
func (s *Session) AcceptStream(ctx context.Context) (*Stream, error) {
	const op = "Session.AcceptStream"
	s.mu.Lock()
	switch {
	case s.hooks != nil && s.hooks.Stream != nil:
		s.unlock(flushNone)
		return nil, errStreamHook
	case s.accepted.len() > 0:
		st := s.accepted.pop()
		s.unlock(s.taken(st))
		return st, nil
	case s.life != sessionOpen:
		err := s.stateError(op)
		s.unlock(flushNone)
		return nil, err
	}
	w := s.wait.get()
	s.acceptors.push(w)
	s.unlock(flushNone)
	err := s.sleep(ctx, &s.acceptors, w)
	st := w.stream
	if err == nil {
		err = w.err
	}
	s.wait.put(w)
	return st, err
}

// errStreamHook is what AcceptStream fails with where a hook takes the streams.
var errStreamHook error = &StateError{Op: "Session.AcceptStream", State: "session has a Stream hook"}

// newStream makes the public half of a stream.
func (s *Session) newStream(ts *transport.Stream) *Stream {
	st := &Stream{s: s, t: ts, next: s.live}
	if st.next != nil {
		st.next.prev = st
	}
	s.live = st
	s.living++
	ts.Value = st
	if s.opts.highWaterMark != defaultHighWaterMark {
		ts.SetHighWater(s.opts.highWaterMark)
	}
	return st
}

// configure gives a stream its own options.
func (st *Stream) configure(o StreamOptions) {
	if o.HighWaterMark != 0 {
		st.t.SetHighWater(max(o.HighWaterMark, 0))
	}
	if !o.Hooks.none() {
		st.setHooks(o.Hooks)
	}
}

// SetHooks replaces the stream's hooks. What is true already is told at once: data
// that is there or held back, an end that has come.
func (st *Stream) SetHooks(h StreamHooks) {
	st.s.mu.Lock()
	defer st.s.unlock(flushSoon)
	st.setHooks(h)
}

func (st *Stream) setHooks(h StreamHooks) {
	st.extra().hooks = h
	st.t.WatchAcks(h.Acknowledged != nil)
	if st.over {
		if st.rest {
			st.tell(noticeReadable)
		}
		st.tellEnd()
		return
	}
	if st.t.CanReceive() {
		st.tell(noticeReadable)
	}
	if _, reset := st.t.ResetCode(); reset || st.cut != nil {
		st.tell(noticeAborted)
	}
	if st.t.Held() {
		st.tell(noticeBlocked)
	}
}

// SetLasting makes the session's Close not wait for the stream: it ends with the session, as
// a protocol's control stream does.
func (st *Stream) SetLasting() {
	s := st.s
	s.mu.Lock()
	defer s.unlock(flushNow)
	if st.over || st.lasting {
		return
	}
	st.lasting = true
	s.living--
	s.checkDone()
}

// ID returns the stream's number (STR-034, RFC 9000 §2.1).
func (st *Stream) ID() int64 { return st.t.ID() }

// Session returns the session that the stream belongs to (STR-042).
func (st *Stream) Session() *Session { return st.s }

// Unidirectional reports whether only the end that opened the stream writes (STR-054).
func (st *Stream) Unidirectional() bool { return st.t.ID()&2 != 0 }

// Bidirectional reports whether both ends write (STR-023).
func (st *Stream) Bidirectional() bool { return st.t.ID()&2 == 0 }

// ClientInitiated reports whether the client opened the stream (STR-026).
func (st *Stream) ClientInitiated() bool { return st.t.ID()&1 == 0 }

// ServerInitiated reports whether the server opened the stream (STR-041).
func (st *Stream) ServerInitiated() bool { return st.t.ID()&1 == 1 }

// Local reports whether this end opened the stream.
func (st *Stream) Local() bool { return st.t.Local() }

// CanRead reports whether the stream carries data to this end (STR-055 to STR-062).
func (st *Stream) CanRead() bool { return st.t.CanReceive() }

// CanWrite reports whether the stream carries data from this end.
func (st *Stream) CanWrite() bool { return st.t.CanSend() }

// Early reports whether the peer's first data on the stream came as 0-RTT, which
// somebody else may have recorded and sent again (RFC 9001 §9.2).
func (st *Stream) Early() bool {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return st.t.Early()
}

// Buffered returns how many written bytes are kept because the peer has not
// acknowledged them, the Unsent ones included.
func (st *Stream) Buffered() int64 {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return st.t.Buffered()
}

// Unsent returns how many written bytes have not been sent once: what HighWaterMark is a
// limit for.
func (st *Stream) Unsent() int64 {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return st.t.Unsent()
}

// Readable returns how many bytes a read would find now.
func (st *Stream) Readable() int64 {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	if st.err != nil && !st.rest {
		return 0
	}
	return st.t.Readable()
}

// ResetReceived returns the code that the peer has reset its side of the stream with, and
// whether it has: the stream was cut off then, and did not come to its end.
func (st *Stream) ResetReceived() (code uint64, ok bool) {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return st.t.ResetCode()
}

// Detached reports whether the stream has left its session: both sides are over, or the
// session is.
func (st *Stream) Detached() bool {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return st.over
}

// acknowledged returns how many bytes from the start the peer has acknowledged.
func (st *Stream) acknowledged() int64 {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return st.t.AckedPrefix()
}

// Err returns what cut the stream off, nil if it is open or has ended well.
func (st *Stream) Err() error {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	return own(st.failure())
}

func (st *Stream) failure() error { return cmp.Or(st.err, st.cut) }

// LocalAddr returns the session's local address.
func (st *Stream) LocalAddr() net.Addr { return st.s.LocalAddr() }

// RemoteAddr returns the session's remote address.
func (st *Stream) RemoteAddr() net.Addr { return st.s.RemoteAddr() }

// Closed returns a channel that is closed when both sides of the stream are over.
func (st *Stream) Closed() <-chan struct{} {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	x := st.extra()
	if x.done == nil {
		x.done = make(chan struct{})
		if st.over {
			close(x.done)
		}
	}
	return x.done
}

// Context returns a context that ends with the stream; context.Cause tells why.
func (st *Stream) Context() context.Context {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	x := st.extra()
	if x.ctx == nil {
		x.ctx, x.cancel = context.WithCancelCause(context.Background())
		if st.over {
			x.cancel(st.failure())
		}
	}
	return x.ctx
}

// SetDeadline sets both deadlines. The zero time is none.
func (st *Stream) SetDeadline(t time.Time) error {
	st.setDeadline(t, true, true)
	return nil
}

// SetReadDeadline sets the time after which reads, also one that waits now, fail
// with an error that is os.ErrDeadlineExceeded. The zero time is none.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.setDeadline(t, true, false)
	return nil
}

// SetWriteDeadline sets the time after which writes, also one that waits now, fail
// with an error that is os.ErrDeadlineExceeded; part of their data may have been
// taken. The zero time is none.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.setDeadline(t, false, true)
	return nil
}

func (st *Stream) extra() *streamExtra {
	if st.x == nil {
		st.x = new(streamExtra)
	}
	return st.x
}

// tell queues an edge notice if there is a hook for it and none is queued. It is for the hook
// that the stream has when its turn comes.
func (st *Stream) tell(n notice) {
	if st.x == nil || st.noticed&n != 0 || st.hook(n) == nil {
		return
	}
	st.noticed |= n
	st.s.post(true, func() {
		st.s.mu.Lock()
		st.noticed &^= n
		hook := st.hook(n)
		st.s.unlock(flushNone)
		if hook == nil {
			return
		}
		if err := call(hook); err != nil {
			st.Destroy(err)
		}
	})
}

// hook returns what is to be called for a notice, nil if there is none.
func (st *Stream) hook(n notice) func() error {
	switch h := &st.x.hooks; n {
	case noticeReadable:
		return h.Readable
	case noticeDrained:
		return h.Drained
	case noticeAcknowledged:
		if f := h.Acknowledged; f != nil {
			return func() error { return f(st.acknowledged()) }
		}
	case noticeBlocked:
		return h.Blocked
	case noticeAborted:
		if f := h.Aborted; f != nil {
			return func() error { return f(st.abortion()) }
		}
	}
	return nil
}

// finish is the end of the stream for everybody: both sides are over, or it was
// cut off with the session.
func (st *Stream) finish(t mono.Time, err error) {
	if st.over {
		return
	}
	st.over, st.endedAt = true, t
	st.rest = err != nil && st.err == nil && st.t.Left()
	if st.err == nil {
		st.err = err
	}
	st.serveReaders(t)
	st.serveWriters()
	st.fail(&st.readers, err)
	st.fail(&st.writers, err)
	s := st.s
	if st.prev == nil {
		s.live = st.next
	} else {
		st.prev.next = st.next
	}
	if st.next != nil {
		st.next.prev = st.prev
	}
	st.prev, st.next = nil, nil
	if !st.lasting {
		s.living--
		s.lastOver = t
	}
	if x := st.x; x != nil {
		x.read.stop()
		x.write.stop()
		if x.done != nil {
			close(x.done)
		}
		if x.cancel != nil {
			x.cancel(st.failure())
		}
		st.tellEnd()
	}
	s.checkDone()
}

// cutOff notes that the peer has cut off one side.
func (st *Stream) cutOff(e *StreamError) {
	if st.cut == nil {
		st.cut = e
	}
	st.tell(noticeAborted)
}

// abortion returns what the peer has cut off a side with.
func (st *Stream) abortion() error {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	if code, ok := st.t.ResetCode(); ok {
		return &StreamError{StreamID: st.t.ID(), ErrorCode: code, Remote: true}
	}
	return st.cut
}

// tellEnd queues the last hooks.
func (st *Stream) tellEnd() {
	h := &st.x.hooks
	err := own(st.err)
	if !st.closed {
		err = own(st.failure()) // what the peer does to a stream that was given up here is no failure
	}
	if failed := h.Error; failed != nil && err != nil && (st.failed || st.s.failed || !st.s.orderly(err)) {
		st.s.post(true, func() { _ = call(func() error { failed(err); return nil }) })
	}
	if closed := h.Close; closed != nil {
		st.s.post(true, func() { _ = call(func() error { closed(); return nil }) })
	}
	h.Error, h.Close = nil, nil
}

// fail ends all calls in the queue.
func (st *Stream) fail(q *waitQueue, err error) {
	if err == nil {
		err = net.ErrClosed
	}
	for w := q.pop(); w != nil; w = q.pop() {
		w.err = err
		st.s.woken.push(w)
	}
}
