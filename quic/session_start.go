package quic

import (
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// StartHandshake begins the handshake of a session that was made with
// ConnectOptions.DelayHandshake: its first flight leaves, and its timeouts begin
// to run. Until then nothing was sent, and a session that ends before ends in silence.
// The error is a *StateError if the handshake has begun already, or the session is closing
// or over; and what TLS says of a configuration that it cannot use.
func (c *ClientSession) StartHandshake() error {
	const op = "ClientSession.StartHandshake"
	c.mu.Lock()
	switch {
	case c.life != sessionOpen:
		defer c.unlock(flushNone)
		return c.stateError(op)
	case !c.delayed:
		defer c.unlock(flushNone)
		return &StateError{Op: op, State: "handshake has begun"}
	}
	c.delayed = false
	r := c.tls
	r.running = true
	c.conn.Begin(now())
	c.unlock(flushNow)
	return c.firstFlight(r)
}

// firstFlight feeds the engine of a new session on the caller's goroutine, which has
// marked the runner as running.
func (c *ClientSession) firstFlight(r *tlsRunner) error {
	r.feed(nil)
	r.deliver()
	failed := r.failed
	r.rest()
	if failed {
		return c.Err() // TLS has refused its configuration
	}
	return nil
}

// AllowEarlyData reports whether Connect was given a ticket and the transport parameters
// that came with it, as early data needs. Tickets that are in the options count, not those that
// a tls.ClientSessionCache had. UsingEarlyData tells whether the server has taken any.
func (c *ClientSession) AllowEarlyData() bool { return c.allowEarly }

// EarlyDataAccepted reports whether the server has agreed to take early data in this very
// session, be there any or not: at a server from the moment it can be read, at a client from
// the end of the handshake. Stream.Early tells on which streams it came.
func (s *Session) EarlyDataAccepted() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return (s.server != nil || s.secure) && s.conn.UsingEarlyData()
}

// setDCID hands the connection ID of the options to the machine.
func (o *ConnectOptions) setDCID(c *transport.Config) {
	if o.DCID != nil {
		c.DCID = wire.MakeConnectionID(o.DCID)
	}
}
