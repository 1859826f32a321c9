package http3

import (
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// pushWindow is how many pushes may be under way: promised, on their streams, or waiting to be
// accepted. At a client MAX_PUSH_ID rises as they end; a server that has so many begins no other.
const pushWindow = 100

// pushes is what an end knows of pushes (RFC 9114 §4.6). It is under the session's lock.
type pushes struct {
	limit   int64              // IDs that may be used: below this
	most    int64              // client: what the limit rises to
	low     int64              // client: all below are over
	over    map[int64]bool     // client: those above that are
	known   map[int64]*promise // client: those under way
	next    int64              // server: the next ID
	streams map[int64]*Stream  // server: those under way
}

// promise is one push at a client: its request, its stream, or both.
type promise struct {
	headers Headers // nil while only the stream is here
	cost    int64   // what they count for
	method  string
	stream  *Stream
	taken   bool // the program has the stream: before, it counts as under way
	whole   bool // the stream has come to its end before that
}

func (p *pushes) init(most int64) {
	p.most = most
	p.over, p.known, p.streams = make(map[int64]bool), make(map[int64]*promise), make(map[int64]*Stream)
}

// raise returns the MAX_PUSH_ID frame that is due, nil if none is: the limit rises in steps.
func (p *pushes) raise() []byte {
	limit := min(p.low+pushWindow, p.most)
	if limit == p.limit || limit < p.most && limit < p.limit+pushWindow/4 {
		return nil
	}
	p.limit = limit
	return appendIDFrame(nil, frameMaxPushID, limit-1)
}

// finish notes at a client that a push is over.
func (p *pushes) finish(id int64) {
	delete(p.known, id)
	if !p.ended(id) {
		p.over[id] = true
	}
	for p.over[p.low] {
		delete(p.over, p.low)
		p.low++
	}
}

func (p *pushes) ended(id int64) bool { return id < p.low || p.over[id] }

// pushOver notes that a push is over, and lets the server have another.
func (s *Session) pushOver(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server {
		delete(s.pushes.streams, id)
		return
	}
	s.finishPush(id)
}

// finishPush notes at a client that a push is over, under the session's lock.
func (s *Session) finishPush(id int64) {
	if p := s.pushes.known[id]; p != nil {
		s.kept.Add(-p.cost)
		p.cost = 0
	}
	s.pushes.finish(id)
	if s.life.sent >= 0 {
		return // after GOAWAY there are no others
	}
	if b := s.pushes.raise(); b != nil {
		_ = s.controlLocked("MAX_PUSH_ID", b) // it is of no use on a session that is over, or to a peer that does not read
	}
}

// pushStreamOver is told that a push's stream is over. One that is whole and waits for its promise, or
// to be accepted, is still under way: else nothing would bound those.
func (s *Session) pushStreamOver(st *Stream) {
	s.mu.Lock()
	p := s.pushes.known[st.push]
	waits := p != nil && p.stream == st && !p.taken && (p.headers != nil || st.q.Err() == nil)
	if waits {
		p.whole = true
	}
	s.mu.Unlock()
	if !waits {
		s.pushOver(st.push)
	}
}

// taken notes that the program has a stream of the peer's, under the session's lock.
func (s *Session) taken(st *Stream) {
	p := s.pushes.known[st.push]
	if p == nil || p.stream != st {
		return
	}
	p.taken = true
	if p.whole {
		s.finishPush(st.push)
	}
}

// onPromise takes a PUSH_PROMISE that has come on a request stream, whose reading turn the
// caller has.
func (s *Session) onPromise(on *Stream, id int64, h Headers, cost int64) *fault {
	m, f := parseRequest(h, false)
	if f != nil {
		return f
	}
	st, again, f := s.promised(id, h, m.method, cost)
	switch {
	case f == errTooLarge: // for now: the push is not wanted, and the request goes on
		s.stats.count(f)
		s.CancelPush(id)
		return s.useful.charge("promises that there is no room for")
	case f != nil:
		return f
	case !s.speaksFor(on, &m):
		s.CancelPush(id)
		return s.useful.charge("promises for others")
	case again: // or over: the program hears of it, and has nothing to wait for
		on.tellPush(h, id)
		return s.useful.charge("promises of one push")
	case !pushable(&m): // RFC 9114 §4.6
		s.CancelPush(id)
		return s.useful.charge("promises that cannot be kept")
	}
	on.tellPush(h, id)
	if st != nil {
		s.q.Post(func() { s.deliver(st) })
	}
	return nil
}

// speaksFor reports whether the server may promise a request on a stream (RFC 9114 §4.6): one to where that
// stream's own went, or to a host that its certificate, which is verified, has too.
func (s *Session) speaksFor(on *Stream, m *head) bool {
	if !strings.EqualFold(m.scheme, "https") {
		return false
	}
	if strings.EqualFold(m.authority, on.requestAuthority()) {
		return true
	}
	host := m.authority
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	shown := s.q.ConnectionState().PeerCertificates
	return s.q.Authenticated() && len(shown) > 0 && shown[0].VerifyHostname(host) == nil
}

// promised notes the promise of a push, and returns its stream if that has come before. again
// says that the push was promised already, or is over. It fails with errTooLarge if the session has no room for it.
func (s *Session) promised(id int64, h Headers, method string, cost int64) (st *Stream, again bool, f *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pushes.known[id]
	switch {
	case id >= s.pushes.limit:
		return nil, false, sessionFault(IDError, "push %d is promised, beyond MAX_PUSH_ID", id)
	case s.pushes.ended(id):
		return nil, true, nil
	case p != nil && p.headers != nil && !slices.Equal(p.headers, h):
		return nil, false, sessionFault(GeneralProtocolError, "push %d is promised with two requests", id)
	case p != nil && p.headers != nil:
		return nil, true, nil
	case !s.keep(counted(cost)):
		return nil, false, errTooLarge
	case p == nil:
		p = new(promise)
		s.pushes.known[id] = p
	}
	p.headers, p.method, p.cost = h, method, counted(cost)
	if p.stream != nil {
		p.stream.take(p)
	}
	return p.stream, false, nil
}

// pushable reports whether a request may be answered before it is made: it is safe, can be
// cached, and has no body.
func pushable(m *head) bool { return (m.method == "GET" || m.method == "HEAD") && m.length <= 0 }

// take gives a push stream its request.
func (st *Stream) take(p *promise) {
	st.promised = p.headers
	st.setMethod(p.method)
}

// onPushStream takes a push stream whose ID has come; rest is what was read behind it.
func (s *Session) onPushStream(q *quic.Stream, id int64, rest []byte) *fault {
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
		s.fields.refuse(q.ID())
		return s.useful.charge("streams of pushes that are over")
	case p == nil:
		p = new(promise)
		s.pushes.known[id] = p
	}
	st := &Stream{s: s, q: q, push: id}
	st.in.length, st.out.length = -1, -1
	st.in.buf = slices.Clone(rest)
	q.Value, p.stream = st, st
	ready := p.headers != nil
	if ready {
		st.take(p)
	}
	s.mu.Unlock()
	st.setHooks()
	if ready {
		s.deliver(st)
	}
	return nil
}

// CancelPush tells the peer that a push is not wanted, or at a server that it will not come
// (RFC 9114 §7.2.3), and gives its stream up. An ID that is over already is no error.
func (s *Session) CancelPush(id int64) {
	st, known := s.underWay(id)
	if !known {
		return
	}
	_ = s.control("http3.Session.CancelPush", appendIDFrame(nil, frameCancelPush, id)) // the stream says it too
	if st != nil {
		st.cancel(RequestCancelled)
	}
	s.pushOver(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = slices.DeleteFunc(s.accepted, func(a *Stream) bool { return a == st })
}

// underWay returns whether a push may still come or go, and its stream if that is here.
func (s *Session) underWay(id int64) (st *Stream, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server {
		st = s.pushes.streams[id]
		return st, st != nil
	}
	if p := s.pushes.known[id]; p != nil {
		return p.stream, true
	}
	return nil, id >= 0 && id < s.pushes.limit && !s.pushes.ended(id)
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
	s.mu.Lock()
	possible := s.server && id < s.pushes.next || !s.server && id < s.pushes.limit
	s.mu.Unlock()
	if !possible {
		return sessionFault(IDError, "CANCEL_PUSH for push %d, which cannot be", id)
	}
	switch st, ok := s.underWay(id); {
	case s.server && ok:
		st.Reset(RequestCancelled)
	case ok && st == nil: // with a stream, that one's end tells
		s.pushOver(id)
	}
	return s.useful.charge("CANCEL_PUSH frames")
}

// PushOptions are the choices for one push.
type PushOptions struct {
	HighWaterMark int // as quic.StreamOptions has it (PSH-002)
}

// PushStream promises the client a response to a request that it has not made, on the
// request stream that leads to it, and returns the stream for that response: one to write
// to, beginning with SubmitInitialHeaders (STR-038). headers are those of the promised
// request, pseudo-header fields included; its method is GET or HEAD, and it has no body (PSH-001). The
// promise goes out before what is written to this stream later, and waits as header blocks do.
//
// The error is a *HeaderError, a *quic.OptionError, or a *quic.StateError if this is not a request
// stream at a server whose response can still be written, if a Write on it was cut short and has not gone on, if the client takes no pushes or no more of
// them, or if it allows no stream for it now; then nothing is sent (STR-039, STR-040).
func (st *Stream) PushStream(headers Headers, o PushOptions) (*Stream, error) {
	const op = "http3.Stream.PushStream"
	if !st.s.server || st.push >= 0 {
		return nil, &quic.StateError{Op: op, State: "only servers push, on request streams"}
	}
	m, f := parseRequest(headers, false)
	if f == nil && !pushable(&m) {
		f = malformed("request %s with a body of %d bytes cannot be pushed", quote(m.method), max(0, m.length))
	}
	if f == nil {
		f = st.within(headers)
	}
	if f != nil {
		return nil, &HeaderError{Op: op, Reason: f.reason}
	}
	st.out.mu.Lock()
	defer st.unlockOut()
	if st.out.phase == writeEnded {
		return nil, &quic.StateError{Op: op, State: "stream is written to its end"}
	}
	if st.requestMethod() == "CONNECT" {
		return nil, &quic.StateError{Op: op, State: "nothing is promised in a tunnel"}
	}
	if st.out.owed > 0 {
		return nil, st.inFrame(op)
	}
	if _, err := st.q.TryWrite(nil); err != nil {
		return nil, &quic.StateError{Op: op, State: "stream is cut off", Err: wrap(err)}
	}
	pushed, err := st.s.openPush(op, headers, m.method, o)
	if err != nil {
		return nil, err
	}
	pushed.setHooks()
	if err := st.promise(pushed.push, headers); err != nil && !isLate(err) {
		pushed.cancel(RequestCancelled)
		return nil, &quic.StateError{Op: op, State: "stream is cut off", Err: err}
	}
	return pushed, nil
}

// openPush opens the stream for the next push.
func (s *Session) openPush(op string, headers Headers, method string, o PushOptions) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.pushes
	switch {
	case p.limit == 0:
		return nil, &quic.StateError{Op: op, State: "the client takes no pushes"}
	case len(p.streams) >= pushWindow: // whatever the client allows, which may read none of them
		return nil, &quic.StateError{Op: op, State: "100 pushes are under way"}
	case p.next >= p.limit, s.life.received >= 0: // RFC 9114 §5.2: nor those that its GOAWAY would still let come
		return nil, &quic.StateError{Op: op, State: "the client takes no more pushes"}
	}
	q, err := s.q.TryOpenStream(quic.StreamOptions{HalfOpen: true, HighWaterMark: o.HighWaterMark})
	if option := (*quic.OptionError)(nil); errors.As(err, &option) {
		return nil, err
	}
	if err != nil {
		return nil, &quic.StateError{Op: op, State: "the client allows no stream for a push", Err: err}
	}
	st := &Stream{s: s, q: q, push: p.next, promised: headers, method: method}
	st.in.length, st.out.length = -1, -1
	st.out.rest = varint.Append([]byte{streamPush}, uint64(st.push)) // it goes first
	q.Value = st
	p.streams[st.push] = st
	p.next++
	return st, nil
}
