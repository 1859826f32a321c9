package http3

import (
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// pushWindow is how many pushes a client lets be under way: promised, or on their streams.
// MAX_PUSH_ID rises as they end.
const pushWindow = 100

// pushes is what an end knows of pushes (RFC 9114 §4.6). It is under the session's lock.
type pushes struct {
	most int64 // client: how many it takes in all

	limit   int64              // IDs that may be used: below this
	low     int64              // client: all below are over
	over    map[int64]bool     // client: those above that are
	known   map[int64]*promise // client: those under way
	next    int64              // server: the next ID
	streams map[int64]*Stream  // server: those under way
}

// promise is one push at a client: its request, its stream, or both.
type promise struct {
	headers Headers // nil while only the stream is here
	stream  *Stream
	whole   bool // the stream came to its end before the promise
}

func (p *pushes) init(s *Session) {
	p.most = s.opts.MaxPushes
	p.over, p.known, p.streams = make(map[int64]bool), make(map[int64]*promise), make(map[int64]*Stream)
}

// grant raises the limit as far as it goes, and returns the MAX_PUSH_ID that says so.
func (p *pushes) grant() int64 {
	p.limit = min(p.low+pushWindow, p.most)
	return p.limit - 1
}

// onPromise takes a PUSH_PROMISE that has come on a request stream.
func (s *Session) onPromise(on *Stream, id int64, h Headers) *fault {
	if _, f := parseRequest(h, false); f != nil {
		return f
	}
	s.mu.Lock()
	p := s.pushes.known[id]
	switch {
	case id >= s.pushes.limit:
		s.mu.Unlock()
		return sessionFault(IDError, "push %d is promised, beyond MAX_PUSH_ID", id)
	case p != nil && p.headers != nil && !slices.Equal(p.headers, h):
		s.mu.Unlock()
		return sessionFault(GeneralProtocolError, "push %d is promised with two requests", id)
	case s.pushes.ended(id), p != nil && p.headers != nil:
		s.mu.Unlock()
		on.tellPush(h, id)
		return nil
	case p == nil:
		p = new(promise)
		s.pushes.known[id] = p
	}
	p.headers = h
	st, whole := p.stream, p.whole
	if st != nil {
		st.promised = h
	}
	s.mu.Unlock()
	on.tellPush(h, id)
	if st != nil {
		on.later(func() {
			s.deliver(st)
			if whole {
				s.pushOver(id)
			}
		})
	}
	return nil
}

func (p *pushes) ended(id int64) bool { return id < p.low || p.over[id] }

// onPushStream takes a push stream whose ID has come; rest is what was read behind it.
func (s *Session) onPushStream(q *quic.Stream, id int64, rest []byte) *fault {
	st := newStream(s, q)
	st.push = id
	st.in.buf = slices.Clone(rest)
	s.mu.Lock()
	p := s.pushes.known[id]
	switch {
	case id >= s.pushes.limit:
		s.mu.Unlock()
		return sessionFault(IDError, "a stream for push %d, beyond MAX_PUSH_ID", id)
	case p != nil && p.stream != nil:
		s.mu.Unlock()
		return sessionFault(IDError, "a second stream for push %d", id)
	case s.pushes.ended(id): // cancelled here, or by the server and then sent all the same
		s.mu.Unlock()
		q.SetHooks(quic.StreamHooks{})
		q.Stop(uint64(RequestCancelled))
		return nil
	case p == nil:
		p = new(promise)
		s.pushes.known[id] = p
	}
	p.stream = st
	st.promised = p.headers
	promised := p.headers != nil
	s.mu.Unlock()
	st.setHooks()
	if promised {
		s.deliver(st)
	}
	return nil
}

// CancelPush tells the peer that a push is not wanted, or at a server that it will not come
// (RFC 9114 §7.2.3), and gives its stream up. An ID that is over already is no error.
func (s *Session) CancelPush(id int64) {
	s.mu.Lock()
	var st *Stream
	if s.server {
		st = s.pushes.streams[id]
	} else if p := s.pushes.known[id]; p != nil {
		st = p.stream
	}
	known := st != nil || !s.server && !s.pushes.ended(id) && id < s.pushes.limit
	s.mu.Unlock()
	if !known {
		return
	}
	s.control(appendIDFrame(nil, frameCancelPush, id))
	if st != nil {
		st.cancel(RequestCancelled)
	}
	s.pushOver(id)
}

// pushClosed notes that the stream of a push is over. At a client the push is not, while
// its promise has not come.
func (s *Session) pushClosed(id int64) {
	s.mu.Lock()
	p := s.pushes.known[id]
	early := p != nil && p.headers == nil && p.stream.Err() == nil
	if early {
		p.whole = true
	}
	s.mu.Unlock()
	if !early {
		s.pushOver(id)
	}
}

// pushOver notes that a push is over, and lets the server have another.
func (s *Session) pushOver(id int64) {
	s.mu.Lock()
	p := &s.pushes
	if s.server {
		delete(p.streams, id)
		s.mu.Unlock()
		return
	}
	delete(p.known, id)
	if !p.ended(id) {
		p.over[id] = true
	}
	for p.over[p.low] {
		delete(p.over, p.low)
		p.low++
	}
	before := p.limit
	id = p.grant()
	s.mu.Unlock()
	if id+1 > before+pushWindow/4 {
		s.control(appendIDFrame(nil, frameMaxPushID, id))
		return
	}
	s.mu.Lock()
	p.limit = before // it rises in steps
	s.mu.Unlock()
}

// onMaxPushID takes the client's limit, which never falls (RFC 9114 §7.2.7).
func (s *Session) onMaxPushID(id int64) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id+1 < s.pushes.limit {
		return sessionFault(IDError, "MAX_PUSH_ID falls to %d", id)
	}
	s.pushes.limit = id + 1
	return s.useful.charge("MAX_PUSH_ID frames")
}

// onCancelPush takes CANCEL_PUSH (RFC 9114 §7.2.3).
func (s *Session) onCancelPush(id int64) *fault {
	if f := s.useful.charge("CANCEL_PUSH frames"); f != nil {
		return f
	}
	s.mu.Lock()
	p := &s.pushes
	unknown := s.server && id >= p.next || !s.server && id >= p.limit
	st := p.streams[id]
	came := p.known[id] != nil && p.known[id].stream != nil
	s.mu.Unlock()
	switch {
	case unknown:
		return sessionFault(IDError, "CANCEL_PUSH for push %d, which cannot be", id)
	case s.server && st != nil:
		st.q.Reset(uint64(RequestCancelled))
	case !s.server && !came:
		s.pushOver(id)
	}
	return nil
}

// PushOptions are the choices for one push.
type PushOptions struct {
	HighWaterMark int // as quic.StreamOptions has it (PSH-002)
}

// PushStream promises the client a response to a request that it has not made, on the
// request stream that leads to it, and returns the stream for that response: one to write
// to, beginning with SubmitInitialHeaders (STR-038). headers are those of the promised
// request, pseudo-header fields included; its method must be safe. The promise goes out before what is written
// to this stream later.
//
// The error is a *HeaderError, or a *quic.StateError if this is not a request stream at a
// server whose response can still be written, if the client takes no pushes or no more of them,
// or if it allows no stream for it now; then nothing is sent (STR-039).
func (st *Stream) PushStream(headers Headers, o PushOptions) (*Stream, error) {
	const op = "http3.Stream.PushStream"
	s := st.s
	if !s.server || st.push >= 0 {
		return nil, &quic.StateError{Op: op, State: "only servers push, on request streams"}
	}
	if _, f := parseRequest(headers, false); f != nil {
		return nil, &HeaderError{Op: op, Reason: f.reason}
	}
	if m := headers.Get(":method"); m != "GET" && m != "HEAD" {
		return nil, &HeaderError{Op: op, Reason: "method " + quote(m) + " cannot be pushed"}
	}
	st.out.mu.Lock()
	defer st.out.mu.Unlock()
	if st.out.phase == writeEnded {
		return nil, &quic.StateError{Op: op, State: "stream is written to its end"}
	}
	if err := st.q.Err(); err != nil {
		return nil, &quic.StateError{Op: op, State: "stream is destroyed", Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.pushes
	switch {
	case p.limit == 0:
		return nil, &quic.StateError{Op: op, State: "the client takes no pushes"}
	case p.next >= p.limit, s.life.received >= 0 && p.next >= s.life.received:
		return nil, &quic.StateError{Op: op, State: "the client takes no more pushes"}
	}
	q, err := s.q.TryOpenStream(quic.StreamOptions{HalfOpen: true, HighWaterMark: o.HighWaterMark})
	if err != nil {
		return nil, &quic.StateError{Op: op, State: "the client allows no stream for a push", Err: err}
	}
	id := p.next
	p.next++
	pushed := newStream(s, q)
	pushed.push, pushed.promised = id, headers
	pushed.method = headers.Get(":method")
	p.streams[id] = pushed
	pushed.setHooks()
	_, _ = q.TryWrite(varint.Append([]byte{streamPush}, uint64(id)))
	st.promise(id, headers)
	return pushed, nil
}
