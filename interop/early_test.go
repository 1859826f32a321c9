package interop

import (
	"errors"
	"fmt"
)

var (
	request  = content{seed: 1, size: 3_000}  // fits a first flight
	response = content{seed: 2, size: 60_000} // does not
)

// early is what the two cases of 0-RTT have in common: a ticket from a server that
// takes early data, and a relay that can hold answers back.
type early struct {
	*duel
	server server
	client client
	tap    *tap
}

func (d *duel) early() (*early, error) {
	s, err := d.listen(options{early: true})
	if err != nil {
		return nil, err
	}
	cache := newTickets()
	c, err := d.dialer(options{tls: d.resuming(cache)})
	if err != nil {
		return nil, err
	}
	tap, err := d.tap(s.addr())
	if err != nil {
		return nil, err
	}
	return &early{d, s, c, tap}, d.earn(d.ctx, c, s, tap, cache)
}

// dial connects with nothing from the server but silence, so that what the client
// sends can only be early data.
func (e *early) dial() (conn, error) {
	e.tap.hold()
	near, err := e.client.dial(e.ctx, e.tap.addr(), true)
	if err != nil {
		return nil, fmt.Errorf("dialing with early data: %w", err)
	}
	e.later(func() { near.close(0, "") })
	if near.secure() {
		return nil, errors.New("the handshake is complete without the server")
	}
	return near, nil
}

// take accepts the connection and the stream with the request at the server.
func (e *early) take() (conn, stream, error) {
	far, err := e.server.accept(e.ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("accepting: %w", err)
	}
	e.later(func() { far.close(0, "") })
	s, err := far.accept(e.ctx, false)
	if err != nil {
		return nil, nil, fmt.Errorf("accepting a stream: %w", err)
	}
	return far, s, request.receive(s)
}

// earlyAccepted has the server read a request while the client has not heard a word of
// it, and answer it once it may.
func earlyAccepted(d *duel) error {
	e, err := d.early()
	if err != nil {
		return err
	}
	near, err := e.dial()
	if err != nil {
		return err
	}
	ask, err := near.open(d.ctx, false)
	if err != nil {
		return fmt.Errorf("opening an early stream: %w", err)
	}
	if err := request.send(ask); err != nil {
		return err
	}
	far, reply, err := e.take()
	if err != nil {
		return fmt.Errorf("at the server: %w", err)
	}
	if far.secure() {
		return errors.New("the server's handshake was complete when it read the request")
	}
	if s, ok := reply.(interface{ early() bool }); ok && !s.early() {
		return errors.New("the server does not call the request early")
	}
	if n := e.tap.look().early; n == 0 {
		return errors.New("no 0-RTT packet went by")
	}
	e.tap.release()
	err = together(
		func() error { return response.send(reply) },
		func() error { return response.receive(ask) },
		func() error { return near.handshake(d.ctx) },
		func() error { return far.handshake(d.ctx) })
	if err != nil {
		return err
	}
	return bothKnow(near, far, "resumed with early data", func(c conn) bool { return c.tls().DidResume && c.usedEarly() })
}

// earlyRejected sends early data to a server that knows the ticket but takes none.
func earlyRejected(d *duel) error { return d.rejecting(options{}) }

// earlyLimits sends it to a server whose limits are lower than when it gave the
// ticket: it cannot take data that was sent in trust of them (RFC 9000 §7.4.1).
func earlyLimits(d *duel) error { return d.rejecting(options{early: true, streams: 1}) }

// rejecting has the early data meet another server than the one that gave the ticket.
// It must get there after the handshake, once.
func (d *duel) rejecting(o options) error {
	e, err := d.early()
	if err != nil {
		return err
	}
	if e.server, err = d.listen(o); err != nil {
		return err
	}
	e.tap.connect(e.server.addr())
	near, err := e.dial()
	if err != nil {
		return err
	}
	var far conn
	err = together(
		func() error {
			err := inquire(d, near)
			if again, ok := near.(retrier); ok && errors.Is(err, errEarlyRejected) {
				if near, err = again.retry(d.ctx); err == nil {
					err = inquire(d, near)
				}
			}
			return err
		},
		func() error {
			err := e.tap.wait(d.ctx, func(s seen) bool { return s.early > 0 })
			e.tap.release()
			return err
		},
		func() (err error) {
			var reply stream
			if far, reply, err = e.take(); err != nil {
				return fmt.Errorf("at the server: %w", err)
			}
			return response.send(reply)
		})
	if err != nil {
		return err
	}
	return bothKnow(near, far, "resumed without early data", func(c conn) bool { return c.tls().DidResume && !c.usedEarly() })
}

// inquire sends the request and wants the response.
func inquire(d *duel, c conn) error {
	s, err := c.open(d.ctx, false)
	if err != nil {
		return fmt.Errorf("opening a stream: %w", err)
	}
	if err := request.send(s); err != nil {
		return err
	}
	return response.receive(s)
}
