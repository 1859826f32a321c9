package http3

import (
	"context"
	"errors"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// errGoAway is what requests fail with that the server has not taken (RFC 9114 §5.2): they can
// be made again on another session.
var errGoAway = errors.New("the server has said GOAWAY")

// leaving reports whether the peer has said GOAWAY.
func (s *Session) leaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life.received >= 0
}

// leavingAt reports whether the server does not take a request stream any more.
func (s *Session) leavingAt(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life.received >= 0 && id >= s.life.received
}

// onGoAway takes the peer's wish to end the session.
func (s *Session) onGoAway(id int64) *fault {
	if !s.server && id&3 != 0 {
		return sessionFault(IDError, "GOAWAY with stream %d, which is not a request's", id)
	}
	s.mu.Lock()
	if s.life.received >= 0 && id > s.life.received {
		s.mu.Unlock()
		return sessionFault(IDError, "GOAWAY rises to %d", id)
	}
	s.life.received = id
	s.mu.Unlock()
	if f := s.useful.charge("GOAWAY frames"); f != nil {
		return f
	}
	if !s.server {
		s.rejectFrom(id)
	}
	if hook := s.opts.Hooks.GoAway; hook != nil {
		s.guard(func() error { return hook(id) })
	}
	return nil
}

// rejectFrom ends the requests that the server will not answer.
func (s *Session) rejectFrom(id int64) {
	for _, q := range s.q.Streams() {
		if st := s.of(q); st != nil && q.Bidirectional() && q.ID() >= id {
			st.reject()
		}
	}
}

// of returns the stream that one of quic's carries, nil if it carries none.
func (s *Session) of(q *quic.Stream) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, _ := q.Value.(*Stream)
	return st
}

// stream returns a request that is not over, nil if there is none with the ID.
func (s *Session) stream(id int64) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, _ := s.request(id)
	return st
}

// request is stream under the session's lock. Without a stream, coming says that there will be one at this server:
// the client has not opened it, or it is on its way to onRequest, which takes them in any order. One that has been
// turned away, or is about to be, has no stream, and will have none.
func (s *Session) request(id int64) (st *Stream, coming bool) {
	taken := s.server && (s.life.sent < 0 || id < s.life.sent)
	if s.server && id >= s.next {
		return nil, taken
	}
	for _, q := range s.q.Streams() {
		if q.ID() == id {
			st, _ = q.Value.(*Stream)
			return st, st == nil && taken
		}
	}
	return nil, false
}

// reject ends a request as if the server had rejected it, which it has with its GOAWAY. A read that
// waits is told that, too; the peer is told that nothing more is wanted.
func (st *Stream) reject() {
	err := &Error{ErrorCode: RequestRejected, Remote: true, Reason: errGoAway.Error()}
	st.endReading()
	st.q.Destroy(&destruction{err, &quic.StreamError{StreamID: st.ID(), ErrorCode: uint64(RequestCancelled)}})
}

// GoAway tells the peer that the session is about to end: a server takes the requests that
// have come, and a client no push any more (RFC 9114 §5.2). It can be called again.
func (s *Session) GoAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.pushes.limit // those promised so far may come
	if s.server {
		id = s.next
	}
	if s.life.sent >= 0 && id >= s.life.sent {
		return
	}
	s.life.sent = id
	_ = s.controlLocked("http3.Session.GoAway", appendIDFrame(nil, frameGoAway, id)) // on a session that is over it is of no use
}

// Close begins the graceful end and returns: GOAWAY goes out, new requests are rejected, and when
// the last stream is over, at a server for 250 ms, the session ends with NoError. The error is a *quic.StateError if
// the session is over already.
func (s *Session) Close() error {
	s.GoAway()
	return s.q.Close()
}

// Shutdown is Close, and waits until the session is over. If the context ends first, the
// session is closed at once and the context's error returned.
func (s *Session) Shutdown(ctx context.Context) error {
	s.GoAway()
	return wrap(s.q.Shutdown(ctx))
}

// CloseWithError ends the session now, with a code and words for the peer. The error is a
// *quic.StateError if the session is over already.
func (s *Session) CloseWithError(code ErrorCode, reason string) error {
	return s.q.CloseWithError(uint64(code), reason)
}
