package quic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// movePatience is how long SetSocket waits, after the handshake, for a connection ID
// of the server's to move with: they come with its first packets, if at all.
const movePatience = 3 * time.Second

// SetSocket moves the session to another socket, which is bound if need be (CLI-018,
// CLI-019). The former one can be closed at once; what was lost with it is sent again.
// With natRebinding the session just begins to send from the new one, as if a NAT had
// changed its mind (CLI-020); otherwise the new path is validated first (RFC 9000 §9), and
// the PathValidation hook told. It waits for the end of the handshake. The error is a
// *StateError if session or socket are closing or over, an *OptionError if there is no
// socket, the context's, the system's, or an *OperationError if the session cannot move:
// the server does not want it, another move is under way, or the socket cannot reach the server.
func (c *ClientSession) SetSocket(ctx context.Context, to *Socket, natRebinding bool) error {
	const op = "ClientSession.SetSocket"
	if to == nil {
		return &OptionError{Option: "SetSocket.socket", Want: "a socket", code: CodeInvalidArgType}
	}
	c.mu.Lock()
	err := c.movable(op)
	c.unlock(flushNone)
	if err != nil {
		return err
	}
	if err := to.bind(ctx, op); err != nil {
		return err
	}
	if err := c.awaitMove(ctx, op, natRebinding); err != nil {
		return err
	}
	from, err := c.move(op, to, natRebinding)
	switch {
	case err != nil:
		to.checkIdle()
	case from != nil:
		from.checkIdle()
		if to.Closing() { // its Close may have come before the session did
			c.leave()
		}
	}
	if errors.Is(err, errHomeless) {
		c.Destroy(nil)
	}
	return err
}

// movable returns the error of a session that is closing or over.
func (c *ClientSession) movable(op string) error {
	if c.life != sessionOpen {
		return c.stateError(op)
	}
	return nil
}

// awaitMove waits until the session can move or will never.
func (c *ClientSession) awaitMove(ctx context.Context, op string, natRebinding bool) error {
	var until time.Time
	for {
		c.mu.Lock()
		if err := c.movable(op); err != nil || c.conn.MayMigrate(natRebinding) != transport.ErrPathLater {
			c.unlock(flushNone)
			return err
		}
		if c.confirmed && until.IsZero() {
			until = time.Now().Add(movePatience)
		}
		w := c.wait.get()
		c.moving.push(w)
		c.unlock(flushNow)
		limited, cancel := ctx, context.CancelFunc(func() {})
		if !until.IsZero() {
			limited, cancel = context.WithDeadline(ctx, until)
		}
		err := c.sleep(limited, &c.moving, w)
		cancel()
		c.wait.put(w)
		if err != nil && ctx.Err() == nil {
			return nil // move tells what is wrong
		}
		if err != nil {
			return err
		}
	}
}

// serveMovers wakes the calls of SetSocket that wait, to look again.
func (s *Session) serveMovers() {
	for w := s.moving.pop(); w != nil; w = s.moving.pop() {
		s.woken.push(w)
	}
}

// errHomeless says that both sockets went while a session was between them.
var errHomeless = &sentinel{CodeInvalidState, "both sockets are closed"}

// move is SetSocket without the waiting. It returns the socket that was left.
func (c *ClientSession) move(op string, to *Socket, natRebinding bool) (*Socket, error) {
	c.mu.Lock()
	defer c.unlock(flushNow)
	from := c.socket
	switch err := c.movable(op); {
	case err != nil:
		return nil, err
	case from == to:
		return nil, nil
	}
	if err := c.conn.MayMigrate(natRebinding); err != nil {
		return nil, &OperationError{Op: op, Err: err}
	}
	remote := c.conn.Path().Remote
	e, err := to.expect(op, c.conn, remote.Addr(), from)
	if err != nil {
		return nil, err
	}
	from.part(&c.Session)
	if !to.join(&c.Session, e) {
		if !from.rejoin(&c.Session) {
			return nil, &StateError{Op: op, State: "session has no socket any more", Err: errHomeless, closed: true}
		}
		to.mu.Lock()
		defer to.mu.Unlock()
		return nil, e.stateError(op)
	}
	path := dgram.Path{Local: e.local, Remote: remote}
	if err := c.conn.Migrate(now(), path, natRebinding); err != nil {
		panic("BUG: session moved to another socket and could not migrate: " + err.Error())
	}
	c.former = append(slices.DeleteFunc(c.former, func(f *Endpoint) bool { return f.socket == to }), c.endpointOf(from))
	c.endpoint, c.socket = e, to
	c.flushing = false // that was the former socket's promise
	return from, nil
}

// endpointOf returns the session's endpoint of the socket that it is on, or, if it has gone
// back to the path of a former one, the endpoint that it would use there.
func (c *ClientSession) endpointOf(s *Socket) *Endpoint {
	if c.endpoint.socket == s {
		return c.endpoint
	}
	return cmp.Or(s.endpointReaching(c.conn.Path().Remote.Addr()), s.all[0])
}

// owned returns what is routed to a session.
func (s *Socket) owned(c *transport.Conn) ([]wire.ConnectionID, []wire.ResetToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mux.Owned(c)
}

// expect routes to a session of another socket, and keeps a place for it, so that a
// graceful Close waits for it from now on.
func (s *Socket) expect(op string, c *transport.Conn, ip netip.Addr, from *Socket) (*Endpoint, error) {
	ids, tokens := from.owned(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != socketBound {
		return nil, s.stateError(op)
	}
	if s.block.Check(ip) {
		return nil, &OperationError{Op: op, Err: fmt.Errorf("%v is on the socket's block list", ip)}
	}
	e := s.endpointTo(ip)
	if e == nil {
		return nil, &OperationError{Op: op, Err: fmt.Errorf("no endpoint can reach %v", ip)}
	}
	s.mux.Adopt(c, ids, tokens)
	s.alive++
	return e, nil
}

// part takes a session that moves off the socket's list. It is routed to as
// long as the socket lives, and still counted until the move is sure.
func (s *Socket) part(v *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(v)
	s.lent = true
}

// join puts a session that was expected on the list. It reports false if the socket, or
// the endpoint, was destroyed since, and could not take the session with it.
func (s *Socket) join(v *Session, e *Endpoint) bool {
	from := v.socket
	s.mu.Lock()
	s.alive-- // the place that was kept
	joined := !e.gone.Load()
	switch {
	case joined:
		s.link(v)
		s.counts.clientSessions++
	case !slices.ContainsFunc(v.former, func(f *Endpoint) bool { return f.socket == s }):
		s.mux.Remove(v.conn)
	}
	s.mu.Unlock()
	if joined {
		from.mu.Lock()
		from.alive--
		from.mu.Unlock()
	}
	return joined
}

// rejoin puts a session back on the list of the socket that it was about to leave. It
// reports false if that was destroyed meanwhile.
func (s *Socket) rejoin(v *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive--
	s.link(v)
	return s.life != socketDestroyed
}

// leaveGone goes on from the session's endpoint if datagrams left from another one, of a
// former socket, that is gone now. Endpoints that are gone are forgotten.
func (s *Session) leaveGone(t mono.Time) {
	path := s.conn.Path()
	if e := s.endpointFor(&path); e != s.endpoint && e.gone.Load() {
		s.conn.Leave(t, dgram.Path{Local: s.endpoint.local, Remote: path.Remote})
	}
	kept := s.former[:0]
	for _, f := range s.former {
		if f.gone.Load() && f.socket != s.socket && f.socket.Destroyed() {
			f.socket.unroute(s.conn) // the program may keep the socket
			continue
		}
		kept = append(kept, f)
	}
	clear(s.former[len(kept):])
	if s.former = kept; len(kept) == 0 {
		s.former = nil
	}
}
