package quic

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// events takes everything that the machine reports and turns it into results for
// sleepers, notices for hooks, and routes. It runs under the session's lock.
func (s *Session) events(t mono.Time) {
	for {
		e, ok := s.conn.Next()
		if !ok {
			return
		}
		if e.Stream != nil {
			s.streamEvent(t, &e)
		} else {
			s.event(t, &e)
		}
	}
}

func (s *Session) streamEvent(t mono.Time, e *transport.Event) {
	if e.Kind == transport.EventStream {
		s.peerStream(t, e.Stream)
		return
	}
	st, ok := e.Stream.Value.(*Stream)
	if !ok {
		return // the stream was turned away
	}
	switch e.Kind {
	case transport.EventReadable:
		st.serveReaders(t)
		st.tell(noticeReadable)
		if _, reset := e.Stream.ResetCode(); reset {
			st.tell(noticeAborted)
		}
	case transport.EventWritable:
		st.serveWriters()
		st.tell(noticeDrained)
	case transport.EventBlocked:
		st.tell(noticeBlocked)
	case transport.EventStopped:
		st.cutOff(&StreamError{StreamID: st.t.ID(), ErrorCode: e.Code, Remote: true})
	case transport.EventStreamAcked:
		st.tell(noticeAcknowledged)
	case transport.EventStreamDone:
		st.finish(t, nil)
	}
}

func (s *Session) event(t mono.Time, e *transport.Event) {
	switch e.Kind {
	case transport.EventTLS:
		s.tlsInput(t, e.Level, e.Data)
	case transport.EventRestart:
		s.tlsAgain(e.OK)
	case transport.EventSecure:
		s.route(e)
		s.onSecure(t)
	case transport.EventConfirmed:
		s.confirmed = true
		s.serveMovers()
	case transport.EventCredit:
		s.serveOpeners(t)
	case transport.EventIssued, transport.EventRetired, transport.EventTokenKnown, transport.EventTokenForgotten:
		s.route(e)
		if e.Kind == transport.EventTokenKnown {
			s.serveMovers()
		}
	case transport.EventDatagram, transport.EventDatagramFate:
		s.datagramEvent(t, e)
	case transport.EventNewToken:
		if c := s.client; c != nil {
			c.tokenStore.Put(c.tokenKeyIn(s.conn.Version()), e.Data)
		}
	case transport.EventPathValidation:
		ok, path := e.OK, e.Path
		s.notify(false, func(h *SessionHooks) error {
			if h.PathValidation == nil {
				return nil
			}
			return h.PathValidation(ok, path.Local, path.Remote)
		})
		s.serveMovers()
	case transport.EventMigrated:
		s.onMigrated(e)
	case transport.EventClosed:
		s.route(e)
		s.end(t, e.Close)
	case transport.EventGone:
		s.forget()
	}
}

// peerStream takes a stream that the peer has opened.
func (s *Session) peerStream(t mono.Time, ts *transport.Stream) {
	if !s.takesStreams(ts.Uni()) {
		s.conn.Stop(t, ts, s.refusal) // new streams are turned away while closing (SES-040)
		s.conn.Reset(ts, s.refusal)
		return
	}
	st := s.newStream(ts)
	switch w := s.acceptors.pop(); {
	case w != nil:
		w.stream = st
		s.woken.push(w)
	case s.handler != nil && st.Bidirectional():
		st.fresh, s.fresh = s.fresh, st
	case s.hooks != nil && s.hooks.Stream != nil:
		s.conn.Withhold(ts)
		s.tellStream(st)
	default:
		s.conn.Withhold(ts)
		s.accepted.push(st)
	}
}

// taken says that a stream of the peer's waits for nobody any more, and returns what that makes worth
// sending. A stream that waits counts as open: else a peer could have any number of them wait, each
// of which it has ended already.
func (s *Session) taken(st *Stream) flush {
	if s.conn.Take(st.t) {
		return flushCredit
	}
	return flushNone
}

// HandleStreams gives every bidirectional stream that the peer opens to f, on a goroutine where nothing
// else is under way: the shortest way for programs that wait in the streams' methods. Those that wait for
// AcceptStream already are given to it, too; neither AcceptStream nor the Stream hook hears of such
// streams any more, but of unidirectional ones. A stream does not end when f returns, and a panic of
// f's is nobody's but the program's. The goroutine may go on with other streams: what f has tied to it, as
// runtime.LockOSThread and labels of a profile do, f must untie.
func (s *Session) HandleStreams(f func(*Stream)) {
	s.mu.Lock()
	credit := flushNone
	s.handler = f
	s.accepted.remove(func(st *Stream) bool {
		if st.Unidirectional() {
			return false
		}
		credit = max(credit, s.taken(st))
		st.fresh, s.fresh = s.fresh, st
		return true
	})
	s.unlock(credit)
}

// deepen makes the stack of a goroutine as deep as one needs it that reads, answers and sends:
// in one step while there is nothing on it to copy, and not in three with all the frames then. Its
// own frame is what does that, whether it is filled or not.
//
//go:noinline
func deepen(fill bool) {
	if fill {
		var frame [6 << 10]byte
		use(&frame)
	}
}

//go:noinline
func use(*[6 << 10]byte) {}

// tellStream gives a stream of the peer's to the Stream hook. It is taken when its turn comes.
func (s *Session) tellStream(st *Stream) {
	s.post(true, func() {
		s.mu.Lock()
		h := s.hooks
		s.unlock(s.taken(st))
		if h == nil || h.Stream == nil {
			return
		}
		if err := call(func() error { return h.Stream(st) }); err != nil {
			st.Destroy(err)
		}
	})
}

// onSecure is the end of the handshake.
func (s *Session) onSecure(t mono.Time) {
	if v := s.server; v != nil && (!s.socket.prove(v) || !s.offer()) {
		s.conn.Close(t, false, uint64(wire.ConnectionRefused), "")
		return
	}
	s.secure = true
	for w := s.securing.pop(); w != nil; w = s.securing.pop() {
		s.woken.push(w)
	}
	s.serveOpeners(t)
	s.notify(true, func(h *SessionHooks) error {
		if h.Secure == nil {
			return nil
		}
		return h.Secure()
	})
}

// checkFragments ends the search for larger datagrams where these may be cut to pieces on
// the way: a PacketConn of the program's, a system that cannot forbid it.
func (s *Session) checkFragments() {
	if !s.endpoint.conn.Features().DF {
		s.conn.StopMTUDiscovery()
	}
}

// onMigrated is the use of another path.
func (s *Session) onMigrated(e *transport.Event) {
	s.endpoint = s.endpointFor(&e.Path)
	s.checkFragments()
	p := s.conn.PeerParameters()
	if s.client == nil || !s.client.preferring || p == nil || p.PreferredAddress == nil {
		return
	}
	to := e.Path.Remote
	if to == s.client.home || to != p.PreferredAddress.IPv4 && to != p.PreferredAddress.IPv6 {
		return
	}
	s.client.preferring = false // it is told once
	s.notify(true, func(h *SessionHooks) error {
		if h.UsePreferredAddress == nil {
			return nil
		}
		return h.UsePreferredAddress(to)
	})
}

// route keeps the sockets' tables of connection IDs and reset tokens, and their
// counts of handshakes, in step.
func (s *Session) route(e *transport.Event) {
	s.socket.apply(s.conn, e)
	for _, f := range s.former {
		f.socket.apply(s.conn, e)
	}
}

// notify queues the call of a hook, an error of which destroys the session.
func (s *Session) notify(vital bool, hook func(*SessionHooks) error) {
	s.tell(vital, func(h *SessionHooks) {
		if err := call(func() error { return hook(h) }); err != nil {
			s.Destroy(err)
		}
	})
}

// tell queues a notice for the hooks that the session has when it is delivered. A
// session without hooks and without a Handler that could still set some needs none.
func (s *Session) tell(vital bool, f func(*SessionHooks)) {
	if s.hooks == nil && !s.handling {
		return
	}
	s.post(vital, func() {
		s.mu.Lock()
		h := s.hooks
		s.unlock(flushNone)
		if h != nil {
			f(h)
		}
	})
}

// Post calls f in turn with the session's hooks, as these are called: without locks, and never
// from within Post. It has no end: what is posted when the session is over is called too, behind its
// Close hook, which is the last of its hooks.
func (s *Session) Post(f func()) {
	s.mu.Lock()
	defer s.unlock(flushNone)
	s.post(true, func() { _ = call(func() error { f(); return nil }) })
}

// post queues something to run in turn with the session's hooks.
func (s *Session) post(vital bool, f func()) {
	s.dispatcher().post(f, vital)
	s.after |= afterKick
}

func (s *Session) dispatcher() *dispatcher {
	if s.notices == nil {
		s.notices = &dispatcher{run: s.socket.opts.Dispatch}
	}
	return s.notices
}
