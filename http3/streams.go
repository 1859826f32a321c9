package http3

import (
	"errors"
	"io"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// onStream is the Stream hook of the session below.
func (s *Session) onStream(q *quic.Stream) error {
	switch {
	case q.Unidirectional():
		u := &incoming{s: s, q: q}
		q.SetHooks(quic.StreamHooks{Readable: u.readable})
		return u.readable() // at once: if the session is over, what is told now comes behind that
	case s.take != nil && s.server: // it was queued for a hook of the program's
		go s.onRequest(q)
	case s.server:
		s.onRequest(q)
	default:
		s.fail(sessionFault(StreamCreationError, "a bidirectional stream from a server")) // RFC 9114 §6.1
	}
	return nil
}

// incoming is a unidirectional stream of the peer's (RFC 9114 §6.2). Its hooks read it, so
// that it needs no goroutine.
type incoming struct {
	s    *Session
	q    *quic.Stream
	head []byte              // until type, and push ID, are known
	sink func([]byte) *fault // what takes the rest of a critical stream
}

var readBuffers = sync.Pool{New: func() any { return new([2048]byte) }}

// readable reads what there is.
func (u *incoming) readable() error {
	b := readBuffers.Get().(*[2048]byte)
	defer readBuffers.Put(b)
	for {
		n, err := u.q.TryRead(b[:])
		if n > 0 {
			given, f := u.take(b[:n])
			if f != nil {
				u.s.fail(f)
				return nil
			}
			if given {
				return nil
			}
		}
		if err != nil {
			u.ended(err)
			return nil
		}
		if n == 0 {
			return nil
		}
	}
}

// take takes a piece of the stream; given says that the stream is somebody else's now.
func (u *incoming) take(p []byte) (given bool, f *fault) {
	if u.sink != nil {
		return false, u.sink(p)
	}
	u.head = append(u.head, p...)
	kind, n := varint.Parse(u.head)
	if n == 0 {
		return false, nil
	}
	rest := u.head[n:]
	if kind == streamPush && !u.s.server {
		id, m := varint.Parse(rest)
		if m == 0 {
			return false, nil
		}
		return true, u.s.onPushStream(u.q, int64(id), rest[m:])
	}
	u.head = nil
	if f := u.settle(kind); f != nil {
		return false, f
	}
	if u.sink == nil { // RFC 9114 §6.2.3: unknown types are refused one by one
		u.q.SetHooks(quic.StreamHooks{})
		u.q.Stop(uint64(StreamCreationError))
		return true, u.s.useful.charge("streams of unknown types")
	}
	if len(rest) == 0 {
		return false, nil
	}
	return false, u.sink(rest)
}

// settle finds who takes the stream.
func (u *incoming) settle(kind uint64) *fault {
	s := u.s
	switch kind {
	case streamControl:
		u.sink = s.in.take
	case streamQPACKEncoder:
		u.sink = s.fields.onEncoderStream
	case streamQPACKDecoder:
		u.sink = s.fields.onDecoderStream
	case streamPush:
		return sessionFault(StreamCreationError, "a push stream from a client") // RFC 9114 §6.2.2
	default:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened[kind] {
		return sessionFault(StreamCreationError, "a second critical stream of type %d", kind)
	}
	s.opened[kind] = true
	u.q.SetLasting()
	return nil
}

// ended is the end of the stream, which a critical one may not have.
func (u *incoming) ended(err error) {
	u.q.SetHooks(quic.StreamHooks{})
	var f *fault
	if u.sink == nil {
		f = u.s.useful.charge("streams without a type")
	} else if reset := (*quic.StreamError)(nil); err == io.EOF || errors.As(err, &reset) {
		f = sessionFault(ClosedCriticalStream, "the peer has ended a critical stream")
	}
	if f != nil {
		u.s.fail(f)
	}
}

// streamsSeen returns how many streams there have been on which this end may have sent header blocks.
func (s *Session) streamsSeen() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.next/4 + s.asked + s.pushes.next)
}

// chargeReset takes tokens for a request that the client has taken back, or made useless.
func (s *Session) chargeReset(st *Stream) {
	st.mu.Lock()
	first := s.server && st.push < 0 && !st.charged
	st.charged = st.charged || first
	st.mu.Unlock()
	if !first {
		return
	}
	if f := s.useful.take(resetCost, "requests that were taken back or malformed"); f != nil {
		s.fail(f)
	}
}
