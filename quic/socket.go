package quic

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// Socket owns UDP bindings and the sessions on them, as client and as server at
// the same time (SOC-001). It takes no port before its first Listen or Connect. All
// methods may be called concurrently.
type Socket struct {
	// Value is the program's own: the package does not look at it.
	Value any

	opts    SocketOptions
	notices dispatcher
	wait    waiterPool
	flusher flusher
	crew    crew
	created mono.Time
	block   BlockList
	loss    atomic.Pointer[DiagnosticPacketLoss] // nil for none
	heard   atomic.Uint64                        // datagrams that sessions could use
	unheard atomic.Uint64                        // and that they could not

	pastLimit    atomic.Uint64 // sessions whose peer went past a limit
	late         atomic.Uint64 // sessions whose handshake took too long
	refusedEarly atomic.Uint64 // sessions resumed with a ticket that gives no early data any more

	mu        sync.Mutex
	mux       *transport.Mux
	life      socketLife
	binding   chan struct{}  // closed when the binding that is under way is over
	endpoints []*Endpoint    // those not destroyed
	all       []*Endpoint    // those that were bound when the socket was; fixed from then on
	leaving   []*Endpoint    // destroyed ones whose port is not free yet
	freeing   sync.WaitGroup // of those, and of unbound ones
	listener  *listener
	listening *listenCall // the Listen that is under way
	busy      bool
	boundAt   mono.Time
	listenAt  mono.Time
	endedAt   mono.Time
	err       error // what the socket was destroyed with
	done      chan struct{}

	first     *Session // all sessions that the machine has not forgotten
	alive     int      // those that are not over
	servers   tally    // those of clients that came to us
	hosts     map[netip.Addr]tally
	accepted  ring[*ServerSession]
	backlog   int                  // the most that may wait there
	lingering ring[*ServerSession] // those that are over, oldest first; some are forgotten
	maxOver   int                  // the most of those
	acceptors waitQueue
	counts    socketCounts
	lent      bool // a session has moved to another socket: it still makes reset tokens with what is here
	refused   refusals
}

// socketLife is how far a socket is: without ports, taking them, at work, letting
// its sessions end, destroyed.
type socketLife uint8

const (
	socketUnbound socketLife = iota
	socketBinding
	socketBound
	socketClosing
	socketDestroyed
)

// acceptBacklog is how many sessions may wait for Accept; more are refused, at their first packet
// or, if the queue has filled up since, at the end of their handshake.
const acceptBacklog = 1024

// NewSocket returns a socket with one endpoint, which is not bound yet. Options are
// checked at once: the error is an *OptionError (CQS-001).
func NewSocket(o SocketOptions) (*Socket, error) {
	if err := o.resolve(); err != nil {
		return nil, err
	}
	s := &Socket{
		opts:    o,
		notices: dispatcher{run: o.Dispatch},
		created: now(),
		hosts:   make(map[netip.Addr]tally),
		done:    make(chan struct{}),
		backlog: acceptBacklog,
		maxOver: maxLingering,
	}
	s.flusher.ended = s.done
	s.crew = crew{jobs: make(chan *tlsRunner), ended: s.done}
	s.mux = transport.NewMux(now(), s.muxConfig())
	s.endpoints = []*Endpoint{{socket: s, opts: o.Endpoint}}
	return s, nil
}

func (s *Socket) muxConfig() transport.MuxConfig {
	c := transport.MuxConfig{
		Rand:              random,
		ValidateAddress:   s.opts.ValidateAddress,
		RetryTokenTimeout: s.opts.RetryTokenTimeout,
		DisableReset:      s.opts.DisableStatelessReset,
		MaxResetsPerHost:  s.opts.MaxStatelessResetsPerHost,
	}
	random(c.ResetSecret[:])
	random(c.TokenSecret[:])
	if k := s.opts.StatelessResetSecret; k != nil {
		c.ResetSecret = sha256.Sum256(k)
	}
	if k := s.opts.TokenSecret; k != nil {
		c.TokenSecret = [32]byte(k)
	}
	return c
}

// Endpoints returns the endpoints that are not destroyed, in order (SOC-043).
func (s *Socket) Endpoints() []*Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.endpoints)
}

// Address returns the local address of the first endpoint, the zero AddrPort if
// it is not bound.
func (s *Socket) Address() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.endpoints) == 0 {
		return netip.AddrPort{}
	}
	return s.endpoints[0].local
}

// Bound reports whether all endpoints have their ports (SOC-025).
func (s *Socket) Bound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life == socketBound || s.life == socketClosing && s.boundAt != 0
}

// Pending reports whether ports are being taken (SOC-052).
func (s *Socket) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life == socketBinding || slices.ContainsFunc(s.endpoints, (*Endpoint).pending)
}

// Listening reports whether the socket takes server sessions (SOC-048).
func (s *Socket) Listening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != nil && s.life == socketBound
}

// Closing reports whether Close was called and the socket is not gone yet.
func (s *Socket) Closing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life == socketClosing
}

// Destroyed reports whether the socket is gone (SOC-041).
func (s *Socket) Destroyed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life == socketDestroyed
}

// Closed returns a channel that is closed when the socket is gone.
func (s *Socket) Closed() <-chan struct{} { return s.done }

// Err returns what the socket was destroyed with, nil if nothing.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close begins the graceful end and returns: no session is opened or taken any
// more, each one there begins its own graceful end, as by Session.Close, and when the last
// is over the socket is destroyed (SOC-031, SOC-033). Sessions that no Accept has returned
// and no Handler was given are refused. A second Close changes nothing. The error is a
// *StateError if the socket is destroyed already.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.life == socketDestroyed {
		defer s.mu.Unlock()
		return s.stateError("Socket.Close")
	}
	s.life = socketClosing
	s.mux.SetListening(false)
	err := &StateError{Op: "Socket.Accept", State: "socket is closing", closed: true}
	for w := s.acceptors.head; w != nil; w = w.next {
		w.err = err
	}
	woken := s.acceptors
	s.acceptors = waitQueue{}
	sessions := s.sessions()
	for s.accepted.len() > 0 {
		s.accepted.pop()
	}
	s.mu.Unlock()
	woken.release()
	for _, v := range sessions {
		v.leave()
	}
	s.checkIdle()
	return nil
}

// Shutdown closes the socket gracefully and waits until it is gone. If the context
// ends first, the socket is destroyed and the context's error returned. On a socket that is gone
// already it is a *StateError, after a Close without sessions, too: Shutdown is to be called in place of Close.
func (s *Socket) Shutdown(ctx context.Context) error {
	if err := s.Close(); err != nil {
		return err
	}
	select {
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		s.Destroy(nil)
		return ctx.Err()
	}
}

// sessions returns all that the machine has not forgotten. It is called under the
// socket's lock.
func (s *Socket) sessions() []*Session {
	var list []*Session
	for v := s.first; v != nil; v = v.nextInSocket {
		list = append(list, v)
	}
	return list
}

// checkIdle destroys a closing socket that has no session left.
func (s *Socket) checkIdle() {
	s.mu.Lock()
	idle := s.life == socketClosing && s.alive == 0
	s.mu.Unlock()
	if idle {
		go s.Destroy(nil) // not here: this may be the reader that Destroy waits for
	}
}

// Destroy ends the socket at once: its sessions, which still tell their peers, and
// its endpoints, all with err if that is not nil (SOC-039). On a socket that is
// destroyed it does nothing. When it returns the ports are free.
func (s *Socket) Destroy(err error) {
	s.mu.Lock()
	if s.life == socketDestroyed {
		s.mu.Unlock()
		return
	}
	s.destroy(err, nil)
}

// destroy is called under the socket's lock, and lets go of it. If it is the end of
// the last endpoint that leads here, an error that this one comes to later is the socket's too.
func (s *Socket) destroy(err error, last *Endpoint) {
	s.life, s.err, s.endedAt = socketDestroyed, err, now()
	s.mux.SetListening(false)
	state := s.stateError("Socket.Accept")
	for w := s.acceptors.head; w != nil; w = w.next {
		w.err = state
	}
	woken := s.acceptors
	s.acceptors = waitQueue{}
	sessions := s.sessions()
	endpoints := s.endpoints
	s.endpoints = nil
	for _, e := range endpoints {
		e.condemn(err)
	}
	s.mu.Unlock()
	woken.release()
	for _, v := range sessions {
		v.Destroy(err)
	}
	for _, e := range endpoints {
		e.release()
	}
	s.freeing.Wait() // those that were destroyed before are free too
	for _, v := range sessions {
		v.abandon()
	}
	s.eraseSecrets()
	if last != nil && err == nil {
		s.mu.Lock()
		err = last.err
		s.err = err
		s.mu.Unlock()
	}
	if h := s.opts.Hooks.Error; h != nil && err != nil {
		s.tell(func() { _ = call(func() error { h(err); return nil }) })
	}
	if h := s.opts.Hooks.Close; h != nil {
		s.notices.last(func() { _ = call(func() error { h(); return nil }) })
		s.notices.kick()
	}
	close(s.done)
}

// eraseSecrets overwrites what reset tokens are made of, at the end of the socket, unless a session that has
// moved to another still makes them of it.
func (s *Socket) eraseSecrets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lent {
		s.mux.Erase()
	}
}

// abandon makes a session forget its peer, because its socket is gone or has too many.
func (s *Session) abandon() {
	s.mu.Lock()
	s.conn.Destroy(now())
	s.unlock(flushNow)
}

// stateError returns the error of a call that the socket's state does not allow.
func (s *Socket) stateError(op string) error {
	switch s.life {
	case socketClosing:
		return &StateError{Op: op, State: "socket is closing", closed: true}
	case socketDestroyed:
		return &StateError{Op: op, State: "socket is closed", Err: cmp.Or(s.err, net.ErrClosed)}
	}
	return &StateError{Op: op, State: "socket is not listening"}
}

// notify queues a hook of the socket; its error destroys the socket.
func (s *Socket) notify(hook func() error) {
	s.post(hook)
	s.notices.kick()
}

// post queues a hook like notify, and may be called under locks; a kick must follow.
func (s *Socket) post(hook func() error) {
	s.notices.post(func() {
		if err := call(hook); err != nil {
			s.Destroy(err)
		}
	}, true)
}

// sessionFailed tells the SessionError hook of a session whose Handler has failed. Clients can make as many as
// they like of those, so not all can wait for a hook that is slow.
func (s *Socket) sessionFailed(err error, of *Session) {
	if h := s.opts.Hooks.SessionError; h != nil {
		s.notices.postBelow(maxSessionErrors, func() { _ = call(func() error { h(err, of); return nil }) })
		s.notices.kick()
	}
}

// tell queues a notice. It is called without locks.
func (s *Socket) tell(f func()) {
	s.notices.post(f, true)
	s.notices.kick()
}

// apply keeps the routes of a session's connection IDs. It is called under the
// session's lock, which comes before the socket's.
func (s *Socket) apply(c *transport.Conn, e *transport.Event) {
	s.mu.Lock()
	s.mux.Apply(c, e)
	s.mu.Unlock()
}

// unroute forgets all routes of a session.
func (s *Socket) unroute(c *transport.Conn) {
	s.mu.Lock()
	s.mux.Remove(c)
	s.mu.Unlock()
}

// link puts a session into the socket's list. It is called under the socket's lock.
func (s *Socket) link(v *Session) {
	v.prevInSocket, v.nextInSocket = nil, s.first
	if s.first != nil {
		s.first.prevInSocket = v
	}
	s.first = v
	s.alive++
	v.lane = uint8(s.counts.clientSessions + s.counts.serverSessions)
}

// unlink takes it out again.
func (s *Socket) unlink(v *Session) {
	if v.prevInSocket == nil {
		s.first = v.nextInSocket
	} else {
		v.prevInSocket.nextInSocket = v.nextInSocket
	}
	if v.nextInSocket != nil {
		v.nextInSocket.prevInSocket = v.prevInSocket
	}
	v.prevInSocket, v.nextInSocket = nil, nil
}

// ended counts a session that is over. It is called under the session's lock.
func (s *Socket) ended(v *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive--
	if v.server == nil {
		return
	}
	s.release(v.server)
	s.lingering.push(v.server)
	if v.server.waiting && v.accepted.len() == 0 { // it must not hold a place in the queue
		s.accepted.remove(func(w *ServerSession) bool { return w == v.server })
		v.server.waiting = false
	}
}

// forget drops a session that the machine has no need of any more.
func (s *Socket) forget(v *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mux.Remove(v.conn)
	s.unlink(v)
	if v.server == nil {
		return
	}
	v.server.forgotten = true
	for s.lingering.len() > 0 && s.lingering.peek().forgotten {
		s.lingering.pop()
	}
}

// without returns list without the first v in it.
func without[T comparable](list []T, v T) []T {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// Duration returns the time since the socket was made, or until it was destroyed (SOC-042).
func (s *Socket) Duration() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since(s.created)
}

func (s *Socket) since(t mono.Time) time.Duration {
	switch {
	case t == 0:
		return 0
	case s.endedAt != 0:
		return s.endedAt.Sub(t)
	}
	return now().Sub(t)
}
