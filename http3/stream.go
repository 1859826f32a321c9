package http3

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Stream is one request and its response (RFC 9114 §4.1), or one pushed response: header
// blocks, and a body that Read and Write carry. All methods may be called concurrently; reads
// take turns, and so do writes.
type Stream struct {
	// Value is the program's own: the package does not look at it.
	Value any

	s        *Session
	q        *quic.Stream
	push     int64 // the push's ID, -1 if it is none
	promised Headers
	in       reading
	held     atomic.Int64 // bytes of a header block that is not read
	out      writing
	onAbort  func(err error) // of the server: the client has given the request up

	lenient bool // likewise: a header block over a limit is answered, and not cut off

	mu        sync.Mutex
	hooks     StreamHooks
	notices   []notice      // that the hooks are to be told, in order
	closing   func()        // the Close hook, when the stream below is over and that was not told
	method    string        // of the request, once known
	authority string        // client: the request's own, for which the program has let the server speak
	readBy    time.Time     // the deadline
	nudge     chan struct{} // closed to make a read look again that waits for QPACK's table
	kept      int64         // what decoded header blocks cost
	forgotten bool          // they count no more: the stream is over, or the server's handler has returned
	hooked    bool          // SetHooks was called
	endTold   bool          // Readable was told that there is nothing more, or a read has said so
	failTold  bool          // Error was told
	closeTold bool          // Close was
	watched   bool          // the peer's reset makes a read look again, too
	ended     bool          // reading was given up: nothing may wait for the table any more
	updated   bool          // a PRIORITY_UPDATE has come
	charged   bool          // the peer's cutting it off was
	datagrams bool          // the session has a queue of them for it
	settings  uint32        // how often the hooks of the stream below were to be set
}

// newStream makes a stream of one of quic's, whose Value leads back to it. The caller has the session's lock.
func newStream(s *Session, q *quic.Stream) *Stream {
	st := &Stream{s: s, q: q, push: -1}
	st.in.length, st.out.length = -1, -1
	q.Value = st
	return st
}

// StreamOptions are the choices for a request.
type StreamOptions struct {
	HighWaterMark int // as quic.StreamOptions has it
	Hooks         StreamHooks
}

// OpenStream opens a request stream at a client. It waits as quic.Session.OpenStream does;
// SubmitInitialHeaders comes next. The error is the context's, a *quic.StateError at a server,
// when the server takes no more requests (RFC 9114 §5.2) or when the session is closing, or
// what ended it.
func (s *Session) OpenStream(ctx context.Context, o StreamOptions) (*Stream, error) {
	return s.open("http3.Session.OpenStream", o, func(qo quic.StreamOptions) (*quic.Stream, error) { return s.q.OpenStream(ctx, qo) })
}

// TryOpenStream is OpenStream without the waiting: if the server allows no stream now, or the
// handshake is not done, it fails with a *quic.OperationError.
func (s *Session) TryOpenStream(o StreamOptions) (*Stream, error) {
	return s.open("http3.Session.TryOpenStream", o, s.q.TryOpenStream)
}

func (s *Session) open(op string, o StreamOptions, open func(quic.StreamOptions) (*quic.Stream, error)) (*Stream, error) {
	if s.server {
		return nil, &quic.StateError{Op: op, State: "servers open no request streams"}
	}
	if s.leaving() {
		return nil, &quic.StateError{Op: op, State: "server takes no more requests", Err: errGoAway}
	}
	q, err := open(quic.StreamOptions{HighWaterMark: o.HighWaterMark})
	if err != nil {
		return nil, wrap(err)
	}
	s.useful.earn()
	s.mu.Lock()
	s.asked++
	st := newStream(s, q)
	s.mu.Unlock()
	if !o.Hooks.none() {
		st.SetHooks(o.Hooks)
	}
	if s.leavingAt(q.ID()) { // the server's GOAWAY came in between
		st.cancel(RequestCancelled)
		return nil, &quic.StateError{Op: op, State: "server takes no more requests", Err: errGoAway}
	}
	return st, nil
}

// onRequest takes a stream that a client has opened. Those of lower numbers may come later: each has a goroutine.
func (s *Session) onRequest(q *quic.Stream) {
	s.mu.Lock()
	p, updated := s.updates[q.ID()]
	delete(s.updates, q.ID())
	if s.life.sent >= 0 && q.ID() >= s.life.sent {
		s.mu.Unlock()
		s.turnAway(q)
		return
	}
	s.next = max(s.next, q.ID()+4)
	st := newStream(s, q)
	if updated { // here, so that the next update comes behind it
		st.update(p)
	}
	s.mu.Unlock()
	s.useful.earn()
	s.deliver(st)
}

// turnAway rejects a request of which the client has been told, or is being told, that it is not
// taken (RFC 9114 §5.2). One that does not mind pays for it.
func (s *Session) turnAway(q *quic.Stream) {
	q.Stop(uint64(RequestRejected))
	q.Reset(uint64(RequestRejected))
	s.fields.refuse(q.ID())
	if f := s.useful.charge("requests after GOAWAY"); f != nil {
		s.fail(f)
	}
}

// deliver hands a stream of the peer's over to the program.
func (s *Session) deliver(st *Stream) {
	if s.take != nil {
		s.take(st)
		return
	}
	if hook := s.opts.Hooks.Stream; hook != nil {
		s.mu.Lock()
		s.taken(st)
		s.mu.Unlock()
		st.guard(func() error { return hook(st) })
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pushes.known[st.push]; st.push >= 0 && (p == nil || p.stream != st) {
		return // it was cancelled meanwhile
	}
	s.shed()
	s.accepted = append(s.accepted, st)
	s.wake()
}

// maxUnaccepted is how many requests may be over before the program has accepted them.
const maxUnaccepted = 128

// shed forgets requests that are over before the program has accepted them: they are not among those that the limits on
// streams bound. It is called under the session's lock.
func (s *Session) shed() {
	if len(s.accepted) < max(s.shedAt, maxUnaccepted) {
		return
	}
	s.accepted = slices.DeleteFunc(s.accepted, func(st *Stream) bool { return st.push < 0 && st.over() })
	s.shedAt = len(s.accepted) + maxUnaccepted
}

// over reports whether the stream is over on both sides.
func (st *Stream) over() bool {
	select {
	case <-st.Closed():
		return true
	default:
		return false
	}
}

// AcceptStream returns the next stream of the peer's, a request at a server or a push at a
// client, and waits for it, also while the session is closing. The error is the context's, what
// ended the session, or a *quic.StateError if the session has a Stream hook.
func (s *Session) AcceptStream(ctx context.Context) (*Stream, error) {
	if s.opts.Hooks.Stream != nil || s.take != nil {
		return nil, &quic.StateError{Op: "http3.Session.AcceptStream", State: "session has a Stream hook"}
	}
	for {
		s.mu.Lock()
		if len(s.accepted) > 0 {
			st := s.accepted[0]
			s.accepted = s.accepted[1:]
			s.taken(st)
			s.mu.Unlock()
			return st, nil
		}
		if s.waiting == nil {
			s.waiting = make(chan struct{})
		}
		changed := s.waiting
		s.mu.Unlock()
		select {
		case <-s.over:
			return nil, s.Err()
		default:
		}
		select {
		case <-changed: // as it is when the session ends
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ID returns the number of the QUIC stream.
func (st *Stream) ID() int64 { return st.q.ID() }

// Session returns the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.s }

// QUIC returns the stream below, for its figures: what reads from or writes to it, or
// sets its hooks, breaks the framing.
func (st *Stream) QUIC() *quic.Stream { return st.q }

// Context returns a context that ends with the stream.
func (st *Stream) Context() context.Context { return st.q.Context() }

// Closed returns a channel that is closed when the stream is over on both sides.
func (st *Stream) Closed() <-chan struct{} { return st.q.Closed() }

// Err returns what cut the stream off, nil if nothing did: an *Error if it was a code of
// HTTP/3's.
func (st *Stream) Err() error { return wrap(st.q.Err()) }

// PushID returns the ID of a push, false for a request.
func (st *Stream) PushID() (int64, bool) { return st.push, st.push >= 0 }

// Promised returns the request that a push answers, nil for a request stream. The server speaks for its
// :authority: it is that of the request with which it was promised, or the server's certificate has it (RFC 9114 §4.6).
func (st *Stream) Promised() Headers { return st.promised }

// SetPriority says how much what is written here matters beside the session's other streams
// (RFC 9218 §4). At a client it is that of the request's bytes: what the server should
// do is said by a priority field in the headers, or by UpdatePriority. The error is a
// *quic.OptionError for an urgency that is not 0 to 7.
func (st *Stream) SetPriority(p Priority) error { return st.q.SetPriority(p.Urgency, p.Incremental) }

// SetReadDeadline sets the time after which reads fail with an error that is
// os.ErrDeadlineExceeded. The zero time is none.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	st.readBy = t
	st.poke()
	st.mu.Unlock()
	return st.q.SetReadDeadline(t)
}

// SetWriteDeadline is SetReadDeadline for writes, header blocks included. A write that was cut
// short leaves half a frame behind: the stream is of no more use then.
func (st *Stream) SetWriteDeadline(t time.Time) error { return st.q.SetWriteDeadline(t) }

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t)
	return st.SetWriteDeadline(t)
}

// poke makes a read look again that waits for QPACK's table.
func (st *Stream) poke() {
	if st.nudge != nil {
		close(st.nudge)
		st.nudge = nil
	}
}

// Stop ends the reading side: what comes is dropped, and the peer is asked to send no more, with
// a code for why (RFC 9114 §4.1.1): NoError if what came is enough.
func (st *Stream) Stop(code ErrorCode) {
	st.endReading()
	st.q.Stop(uint64(code))
}

// endReading notes that nothing more will be read: QPACK need not wait for the stream.
func (st *Stream) endReading() {
	st.mu.Lock()
	first := !st.ended
	st.ended = true
	st.poke()
	waits := first && st.closing != nil // for what was read ahead to be taken
	st.mu.Unlock()
	if waits {
		st.s.q.Post(st.close)
	}
	st.release()
	if first {
		st.s.fields.cancel(st)
	}
}

// Reset ends the writing side at once: what has not been sent is dropped.
func (st *Stream) Reset(code ErrorCode) { st.q.Reset(uint64(code)) }

// cancel ends both sides at once.
func (st *Stream) cancel(code ErrorCode) {
	st.Stop(code)
	st.Reset(code)
}

// Destroy ends both sides abruptly. With an error, that is what the stream's calls and its
// Error hook report; the peer is told its code if it is an *Error, RequestCancelled if it is nil, and
// InternalError else.
func (st *Stream) Destroy(err error) {
	code := RequestCancelled
	if e, ok := wrap(err).(*Error); ok {
		code = e.ErrorCode
	} else if err != nil {
		code = InternalError
	}
	if err == nil {
		st.cancel(code)
		return
	}
	st.endReading()
	st.q.Destroy(&destruction{err, &quic.StreamError{StreamID: st.ID(), ErrorCode: uint64(code)}})
}

// Close ends both sides: what was written still arrives, what comes is dropped. It does not
// wait. A stream whose headers were not written is cancelled, and so is one on which a write waits
// meanwhile: its message is not whole. The error is that of CloseWrite.
func (st *Stream) Close() error {
	if st.in.mu.TryLock() {
		whole := st.in.phase == readEnd
		st.unlockIn()
		if !whole && st.q.CanRead() {
			defer st.Stop(NoError)
		}
	} else {
		defer st.Stop(NoError) // a read waits for more
	}
	if !st.q.CanWrite() {
		return nil
	}
	if !st.out.mu.TryLock() {
		st.cancel(RequestCancelled)
		return nil
	}
	defer st.unlockOut()
	if st.out.phase == writeHead {
		st.cancel(RequestCancelled)
		return nil
	}
	return st.closeWrite(false)
}
