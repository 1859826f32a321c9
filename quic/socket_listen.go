package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// listener is what the server sessions of a socket have in common.
type listener struct {
	opts    ListenOptions
	session sessionOptions
	config  transport.Config
	tls     [2]*tls.Config // for sessions that begin in version 1, and in another one
	// clientCAs are the anchors for clients' certificates, which tls has only where it
	// insists on them.
	clientCAs *x509.CertPool
	replay    ReplayRegister
	// issuer is in the tickets, if no other listener can know what became of them: zero
	// with a ReplayRegister of the program's.
	issuer [16]byte
}

// Listen binds the socket if need be and makes it take server sessions (SOC-044):
// Accept then returns them, or a Handler is given them. Options left at zero are
// those of SocketOptions.Server. A call while another is at it starts nothing and shares
// its result (SOC-045). The error is an *OptionError, the resolver's, the system's, the
// context's, or a *StateError if the socket is listening already or closed.
func (s *Socket) Listen(ctx context.Context, o ListenOptions) error {
	const op = "Socket.Listen"
	so, err := o.resolve(&s.opts.Server)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		first := s.listening
		switch {
		case s.life >= socketClosing:
			defer s.mu.Unlock()
			return s.stateError(op)
		case s.listener != nil:
			s.mu.Unlock()
			return &StateError{Op: op, State: "socket is listening already"}
		case first == nil:
			first = &listenCall{done: make(chan struct{})}
			s.listening = first
			s.mu.Unlock()
			first.err = s.listen(ctx, op, o, so)
			s.mu.Lock()
			s.listening = nil
			s.mu.Unlock()
			close(first.done)
			return first.err
		}
		s.mu.Unlock()
		select {
		case <-first.done:
			if first.abandoned() && ctx.Err() == nil {
				continue // it was the other call whose time was up, not this one's
			}
			return first.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listenCall is a Listen that others wait for.
type listenCall struct {
	done chan struct{}
	err  error // valid when done is closed
}

// abandoned reports whether the call failed because its context ended.
func (c *listenCall) abandoned() bool {
	return errors.Is(c.err, context.Canceled) || errors.Is(c.err, context.DeadlineExceeded)
}

// listen is the part of Listen that is done once.
func (s *Socket) listen(ctx context.Context, op string, o ListenOptions, so sessionOptions) error {
	preferred, err := s.preferredAddress(ctx, &o)
	if err != nil {
		return err
	}
	if err := s.bind(ctx, op); err != nil {
		return err
	}
	l := &listener{opts: o, session: so, config: so.config(), replay: o.ReplayRegister}
	l.opts.TicketData = bytes.Clone(o.TicketData)
	l.config.Params.PreferredAddress = preferred
	l.config.Versions = numbers(o.Versions)
	l.tls[0] = serverTLS(&o, wire.Version1, nil)
	l.tls[1] = serverTLS(&o, wire.Version2, l.tls[0])
	l.clientCAs = tlsOf(o.TLS, o.SecureContext).ClientCAs
	if l.replay == nil && !o.DisableEarlyData {
		l.replay = NewReplayRegister(0)
		random(l.issuer[:])
	}
	s.mu.Lock()
	if s.life != socketBound {
		defer s.mu.Unlock()
		return s.stateError(op)
	}
	s.withPort(preferred)
	l.config.Tokens = s.mux.Tokens()
	l.config.ResetToken = s.mux.ResetToken
	l.config.QLog = s.opts.QLog
	s.listener, s.listenAt = l, now()
	s.mux.SetVersions(l.config.Versions)
	s.mux.SetListening(true)
	if h := s.opts.Hooks.Listening; h != nil {
		s.post(h)
	}
	s.mu.Unlock()
	s.notices.kick()
	return nil
}

// Accept returns the next server session whose handshake is complete, or whose
// early data is coming in (SOC-013), and waits for it. The error is the context's, or a
// *StateError if the socket is not listening, closing or closed, or has a Handler. Of
// handshakes that fail it tells nothing: ListenOptions.Hooks.Error does.
func (s *Socket) Accept(ctx context.Context) (*ServerSession, error) {
	const op = "Socket.Accept"
	s.mu.Lock()
	switch l := s.listener; {
	case l == nil || s.life != socketBound:
		defer s.mu.Unlock()
		return nil, s.stateError(op)
	case l.opts.Handler != nil:
		defer s.mu.Unlock()
		return nil, &StateError{Op: op, State: "socket has a Handler"}
	}
	for s.accepted.len() > 0 {
		v := s.accepted.pop()
		v.waiting = false
		s.mu.Unlock()
		if v.useful() {
			return v, nil
		}
		s.mu.Lock()
	}
	if s.life != socketBound {
		defer s.mu.Unlock()
		return nil, s.stateError(op)
	}
	w := s.wait.get()
	s.acceptors.push(w)
	s.mu.Unlock()
	select {
	case <-w.ch:
	case <-ctx.Done():
		s.mu.Lock()
		out := s.acceptors.remove(w)
		s.mu.Unlock()
		if out {
			s.wait.put(w)
			return nil, ctx.Err()
		}
		<-w.ch
	}
	v, err := w.server, w.err
	s.wait.put(w)
	return v, err
}

// admit makes a session for a client's first packet, or refuses it. It is called
// under the socket's lock; reply is to be sent if it is not empty.
func (s *Socket) admit(t mono.Time, e *Endpoint, d *dgram.Datagram, reply *dgram.Batch) *Session {
	l := s.listener
	host := dgram.Host(d.Path.Remote.Addr())
	switch {
	case l == nil || s.life != socketBound || e.gone.Load():
		s.counts.ignored++
		return nil
	case s.busy || s.full(host) || s.accepted.len() >= s.backlog:
		s.refused.note(d, &s.counts.busy)
		s.mux.Refuse(t, d, wire.ConnectionRefused, reply)
		return nil
	}
	proven := s.mux.Proven(t, d)
	if !proven && s.crowded(host) {
		s.mux.Challenge(t, d, reply)
		return nil
	}
	c := s.mux.Accept(t, d, &l.config)
	if c == nil {
		return nil
	}
	v := &ServerSession{listener: l}
	v.Session.init(s, e, c, &l.session, l.opts.Hooks)
	v.Session.server = v
	v.host = host
	v.held, v.proven = true, proven
	s.tally(v, 1)
	s.counts.serverSessions++
	s.link(&v.Session)
	if l.opts.Handler != nil {
		v.handling = true
		v.dispatcher().hold()
	}
	return &v.Session
}

// unadmit takes back the count of a session that never was one.
func (s *Socket) unadmit() {
	s.mu.Lock()
	s.counts.serverSessions--
	s.mu.Unlock()
}

// refusals remembers the last attempts that were refused, because one attempt
// comes as several packets and counts once.
type refusals struct {
	list [16]refusal
	next int
}

type refusal struct {
	from netip.AddrPort
	dcid wire.ConnectionID
}

// note counts a refused attempt that is new.
func (r *refusals) note(d *dgram.Datagram, count *uint64) {
	h, ok := wire.ParseLong(d.Data)
	a := refusal{d.Path.Remote, h.DCID}
	if !ok || slices.Contains(r.list[:], a) {
		return
	}
	r.list[r.next] = a
	r.next = (r.next + 1) % len(r.list)
	*count++
}

// init fills in what both kinds of session need.
func (s *Session) init(socket *Socket, e *Endpoint, c *transport.Conn, o *sessionOptions, h SessionHooks) {
	s.socket, s.endpoint, s.conn, s.opts = socket, e, c, o
	s.wait = &socket.wait
	s.armed, s.spareAt = mono.Never, mono.Never
	s.closeCode.Family = CloseApplication
	if !h.none() {
		s.hooks = &h
	}
	c.Value = s
	s.checkFragments()
	if c.QLog() != nil {
		s.log = newSessionLog(s)
	}
}

// release gives back what a server session takes up of the socket's limits. It is
// called under the socket's lock.
func (s *Socket) release(v *ServerSession) {
	if !v.held {
		return
	}
	v.held = false
	s.tally(v, -1)
}

// offer puts a server session where Accept finds it, once it is worth the program's attention. It reports
// false if the session is refused and has to be closed: handshakes that began while few sessions waited may be
// more than the queue has room for. It is called under the session's lock.
func (s *Session) offer() bool {
	v := s.server
	if v.queued {
		return true
	}
	v.queued = true
	k := s.socket
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != socketBound {
		return false
	}
	if w := k.acceptors.pop(); w != nil {
		w.server = v
		s.woken.push(w)
		return true
	}
	if k.accepted.len() >= k.backlog {
		k.counts.busy++
		return false
	}
	v.waiting = true
	k.accepted.push(v)
	return true
}

// useful reports whether a session is worth the program's attention: it is not over, or
// was closed in order by a client that had sent everything.
func (s *Session) useful() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.err == nil || s.accepted.len() > 0
}

// leave begins the graceful end of a session whose socket closes. One that the program has
// not been given, or whose handshake has brought nothing yet, is refused.
func (s *Session) leave() {
	s.mu.Lock()
	defer s.unlock(flushNow)
	if v := s.server; v != nil && s.err == nil {
		s.socket.mu.Lock()
		waits := v.waiting
		v.waiting = false
		s.socket.mu.Unlock()
		if waits || !v.queued || !s.secure && s.live == nil {
			s.conn.Close(now(), false, uint64(wire.ConnectionRefused), "")
			return
		}
	}
	_ = s.close("Socket.Close") // it may be over already
}

// handle runs the program's Handler for a new session.
func (v *ServerSession) handle() {
	handler, socket := v.listener.opts.Handler, v.socket
	run := func() {
		err := call(func() error { return handler(v) })
		if err != nil {
			v.refuse(err)
		}
		v.mu.Lock()
		v.handling = false
		v.unlock(flushNone)
		v.notices.release()
		if err != nil {
			socket.sessionFailed(err, &v.Session)
		}
	}
	if socket.opts.Dispatch != nil {
		socket.opts.Dispatch(run)
	} else {
		go run()
	}
}
