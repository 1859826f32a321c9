package quic

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Close destroys the endpoint and waits until its port is free, so that it can be taken
// again at once (EP-016). What Destroy says about sessions holds. A call while another one
// waits gets the same result, later ones a *StateError. The error is otherwise the one that a
// Destroy has given meanwhile, or the PacketConn's. A Close cannot be cancelled (EP-017).
func (e *Endpoint) Close() error {
	s := e.socket
	s.mu.Lock()
	if e.gone.Load() {
		if !e.closing {
			defer s.mu.Unlock()
			return e.stateError("Endpoint.Close")
		}
		freed := e.freed
		s.mu.Unlock()
		<-freed
	} else {
		e.closing = true
		s.mu.Unlock()
		e.Destroy(nil)
		s.mu.Lock()
		freed := e.freed // a Destroy may have been faster
		s.mu.Unlock()
		<-freed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.err
}

// Destroy gives the endpoint's port back, after what was handed to it to send has left
// (EP-019); when it returns the port is free. A repetition returns at once, and counts only if
// it is the first to bring an error while a Close still waits (EP-020). The socket's
// EndpointClose hook is told once, with err, and if this was the last endpoint the socket is
// destroyed with err too (SOC-009).
//
// If there are other endpoints, client sessions on this one whose handshake is confirmed move
// to one that reaches their server (RFC 9000 §9.2), unless the server forbids it. All
// other sessions on it end: with err, of which the peer is told as by Session.Destroy, or
// without one with a *StateError, and then the peer sees a close without error.
func (e *Endpoint) Destroy(err error) {
	s := e.socket
	s.mu.Lock()
	if e.gone.Load() {
		e.blame(err)
		s.mu.Unlock()
		return
	}
	if len(s.endpoints) == 1 && s.endpoints[0] == e {
		s.destroy(err, e) // which unlocks
		return
	}
	e.condemn(err)
	s.endpoints = without(slices.Clone(s.endpoints), e)
	if s.life == socketUnbound {
		s.allBound()
	}
	sessions := s.sessions()
	s.mu.Unlock()
	s.notices.kick()
	sessions = slices.DeleteFunc(sessions, func(v *Session) bool { return !v.leaveEndpoint(e, err) })
	e.release()
	for _, v := range sessions {
		v.abandon()
	}
}

// blame keeps the first error that is given while a Close waits. It is called under
// the socket's lock.
func (e *Endpoint) blame(err error) {
	if e.closing && e.err == nil {
		e.err = err
	}
}

// condemn makes the endpoint a destroyed one whose port is to be freed. It is called
// under the socket's lock.
func (e *Endpoint) condemn(err error) {
	s := e.socket
	e.gone.Store(true)
	e.err = err
	e.freed = make(chan struct{})
	s.freeing.Add(1)
	if e.conn != nil {
		s.leaving = append(s.leaving, e)
	}
	if e.binding != nil {
		e.binding.cancel()
	}
}

// release frees the port of a condemned endpoint, and tells of it.
func (e *Endpoint) release() {
	s := e.socket
	defer s.freeing.Done()
	s.mu.Lock()
	bound, out := e.conn != nil, e.out
	s.mu.Unlock()
	if out != nil {
		out.close()
	}
	var err error
	switch {
	case bound:
		for _, c := range e.conns {
			err = cmp.Or(err, c.Close())
		}
		e.readers.Wait()
	case e.opts.PacketConn != nil:
		err = e.opts.PacketConn.Close()
	}
	s.mu.Lock()
	if bound {
		s.counts.add(e.stats())
		s.leaving = without(s.leaving, e)
	}
	e.blame(err)
	err = e.err
	e.closing = false
	close(e.freed)
	s.mu.Unlock()
	if h := s.opts.Hooks.EndpointClose; h != nil {
		s.notify(func() error { return h(e, err) })
	}
}

// closedUnder is what a session ends with whose endpoint was closed without an error.
func (e *Endpoint) closedUnder() error {
	return &StateError{Op: "Endpoint.Close", State: fmt.Sprintf("the session's endpoint %v is closed", e.local), closed: true}
}

// leaveEndpoint takes a session off an endpoint that is going. It reports whether the session
// lives there and cannot go on: it is over then, and has told its peer.
func (s *Session) leaveEndpoint(e *Endpoint, err error) (over bool) {
	s.mu.Lock()
	path := s.conn.Path()
	at := s.endpointFor(&path)
	switch {
	case s.life == sessionGone:
	case at != e:
		if s.endpoint == e { // it was to move here, and its path is another one still
			s.endpoint = cmp.Or(s.socket.endpointReaching(path.Remote.Addr()), at)
		}
	case s.err == nil && s.moveOff(now()):
	case s.err == nil && err == nil:
		over = true
		s.cutLoose(e)
	default:
		over = true
	}
	s.unlock(flushNow)
	if over && err != nil {
		s.Destroy(err)
	}
	return over
}

// moveOff makes a client session go on from another endpoint of its socket, and reports
// whether it could. It is called under the session's lock.
func (s *Session) moveOff(t mono.Time) bool {
	if s.client == nil || s.conn.MayMigrate(false) != nil {
		return false // a server's clients go on sending to the address that they know
	}
	path := s.conn.Path()
	to := s.socket.endpointReaching(path.Remote.Addr())
	if to == nil {
		return false
	}
	path.Local = to.local
	if s.conn.Migrate(t, path, false) != nil {
		return false
	}
	s.conn.Leave(t, path) // there is no way back to wait on until the new path is validated
	s.endpoint = to
	return true
}

// cutLoose ends a session whose endpoint is gone. It is called under the session's lock.
func (s *Session) cutLoose(e *Endpoint) {
	s.cause = e.closedUnder()
	s.conn.Close(now(), false, uint64(wire.NoError), "")
}
