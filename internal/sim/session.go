package sim

import (
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// Session is one end of a connection with its TLS stack and its application.
type Session struct {
	End    *Endpoint
	Conn   *transport.Conn
	Server bool
	Peer   *Session // nil until the server has the client's parameters

	// Handle, if set, is told what the connection reports, and may give it
	// commands. What is for TLS or the Mux has reached them.
	Handle func(*transport.Event)

	// Wake is when OnWake is called; it is mono.Never then, until set again.
	Wake   mono.Time
	OnWake func()

	Secure    bool                         // handshake complete
	Confirmed bool                         // handshake confirmed
	Closed    *transport.CloseReason       // nil until the connection is over
	Gone      bool                         // and forgotten
	Seen      [transport.EventGone + 1]int // events, by kind

	PathsGood, PathsBad int // paths that were validated, and that could not be
	Grown, Shrunk       int // times the size of datagrams changed

	engine   Engine
	thoughts []thought
	deadline mono.Time // the connection's
	dirty    bool      // waits in World.touched
	guard    guard
	ear      ear
}

// thought is what TLS was given and has not answered.
type thought struct {
	at    mono.Time
	level transport.Level
	data  []byte
}

func newSession(e *Endpoint, c *transport.Conn, engine Engine) *Session {
	return &Session{End: e, Conn: c, Server: c.Server(), Wake: mono.Never, engine: engine}
}

func (s *Session) start() {
	s.engine.Start(s.Conn.LocalParameters)
	s.pump()
}

// pump hands what TLS says to the connection.
func (s *Session) pump() {
	for {
		ev, ok := s.engine.Next()
		if !ok {
			return
		}
		s.ear.secret(s.Conn.Version(), &ev)
		s.Conn.Handshake(s.End.world.now, ev)
	}
}

// next returns when the session has something to do.
func (s *Session) next() mono.Time {
	next := min(s.deadline, s.Wake)
	if len(s.thoughts) > 0 {
		next = min(next, s.thoughts[0].at)
	}
	return next
}

func (s *Session) receive(d *dgram.Datagram) {
	s.Conn.Receive(s.End.world.now, d)
	if !s.dirty {
		s.dirty = true
		s.End.world.touched = append(s.End.world.touched, s)
	}
}

// advance does what is due.
func (s *Session) advance() {
	now := s.End.world.now
	for len(s.thoughts) > 0 && s.thoughts[0].at <= now {
		t := s.thoughts[0]
		s.thoughts = s.thoughts[1:]
		s.engine.Handle(t.level, t.data)
		s.pump()
	}
	if s.Wake <= now {
		s.Wake = mono.Never
		s.OnWake()
	}
	if s.deadline <= now {
		s.guard.advanced(s)
		s.Conn.Advance(now)
	}
	s.flush()
}

// Do lets f command the connection, and sends what there is to send then.
func (s *Session) Do(f func(c *transport.Conn, now mono.Time)) {
	f(s.Conn, s.End.world.now)
	s.flush()
}

// flush handles events and sends until there is neither any more.
func (s *Session) flush() {
	s.dirty = false
	w := s.End.world
	for rounds := 0; w.err == nil; rounds++ {
		if rounds > 10_000 {
			w.Fail("%s: sends without end", s.name())
		}
		s.settle()
		b := s.End.batch
		b.Reset()
		s.guard.before(s)
		if s.Conn.Transmit(w.now, b) {
			s.settle() // a connection ID must be known before the peer may use it
			s.guard.sent(s, b)
			s.End.send(b)
			continue
		}
		if s.settle() == 0 {
			break
		}
	}
	s.deadline = s.Conn.Deadline()
}

// settle handles all events, and returns how many there were.
func (s *Session) settle() int {
	for n := 0; ; n++ {
		ev, ok := s.Conn.Next()
		if !ok {
			return n
		}
		s.guard.happened()
		s.End.Mux.Apply(s.Conn, &ev)
		s.note(&ev)
	}
}

// note acts on one event.
func (s *Session) note(ev *transport.Event) {
	w := s.End.world
	if s.Gone {
		w.Fail("%s: event %d after it was gone", s.name(), ev.Kind)
	}
	s.Seen[ev.Kind]++
	switch ev.Kind {
	case transport.EventTLS:
		if think := s.End.setup.ThinkTime; think > 0 {
			s.thoughts = append(s.thoughts, thought{w.now.Add(think), ev.Level, ev.Data})
			return
		}
		s.engine.Handle(ev.Level, ev.Data)
		s.pump()
		return
	case transport.EventRestart:
		s.engine, s.thoughts = s.End.setup.Engine(false, s.End.fill), nil
		s.start()
	case transport.EventParameters:
		s.meet()
	case transport.EventSecure:
		s.Secure = true
	case transport.EventConfirmed:
		s.Confirmed = true
	case transport.EventPathValidation:
		if !ev.OK {
			s.PathsBad++
			break
		}
		s.PathsGood++
	case transport.EventClosed:
		s.Closed = ev.Close
		s.thoughts, s.Wake = nil, mono.Never
	case transport.EventGone:
		s.Gone = true
	}
	if s.Handle != nil {
		s.Handle(ev)
	}
}

// meet finds the other end: a server's, once it has the client's parameters.
func (s *Session) meet() {
	if !s.Server {
		return
	}
	for _, other := range s.End.world.active {
		if !other.Server && other.Conn.ID() == s.Conn.PeerParameters().InitialSCID && (other.Peer == nil || !other.Peer.Secure) {
			s.Peer, other.Peer = other, s
		}
	}
}

// name says which session it is, for errors.
func (s *Session) name() string { return s.End.Name }
