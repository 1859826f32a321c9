package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// duel is one case in one direction, while it runs.
type duel struct {
	t              testing.TB
	ctx            context.Context // ends when the case has taken too long
	client, server implementation
	id             *identity
	journal        *journal

	mu      sync.Mutex
	closers []func()
}

// newDuel gives a case its time. What the case opens through the duel is closed when
// it is over or out of time: whoever waits in a read or write then fails.
func newDuel(t testing.TB, p pair, limit time.Duration) *duel {
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	d := &duel{t: t, ctx: ctx, client: p.client, server: p.server, id: id, journal: newJournal()}
	context.AfterFunc(ctx, d.closeAll)
	t.Cleanup(func() {
		d.closeAll()
		cancel()
		if t.Failed() {
			t.Logf("the newest events at quic-go's end:\n%s", d.journal)
		}
	})
	return d
}

func (d *duel) closeAll() {
	d.mu.Lock()
	closers := d.closers
	d.closers = nil
	d.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
}

func (d *duel) later(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closers = append(d.closers, f)
}

// listen starts a server.
func (d *duel) listen(o options) (server, error) {
	o.tls, o.journal = d.id.server(), d.journal
	s, err := d.server.listen(d.ctx, o)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	d.later(func() { s.Close() })
	return s, nil
}

// dialer returns a client.
func (d *duel) dialer(o options) (client, error) {
	o.journal = d.journal
	if o.tls == nil {
		o.tls = d.id.client()
	}
	c, err := d.client.client(d.ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening a client: %w", err)
	}
	d.later(func() { c.Close() })
	return c, nil
}

// tap starts a relay to a server.
func (d *duel) tap(server netip.AddrPort) (*tap, error) {
	t, err := newTap(server)
	if err != nil {
		return nil, err
	}
	d.later(func() { t.Close() })
	return t, nil
}

// meet dials a server, directly or through a relay at another address, and returns
// both ends of the connection, their handshakes done.
func (d *duel) meet(c client, s server, at netip.AddrPort) (near, far conn, err error) {
	err = together(
		func() (err error) {
			if near, err = c.dial(d.ctx, at, false); err != nil {
				return fmt.Errorf("dialing: %w", err)
			}
			d.later(func() { near.close(0, "") })
			return nil
		},
		func() (err error) {
			if far, err = s.accept(d.ctx); err != nil {
				return fmt.Errorf("accepting: %w", err)
			}
			d.later(func() { far.close(0, "") })
			if err = far.handshake(d.ctx); err != nil {
				return fmt.Errorf("the server's handshake: %w", err)
			}
			return nil
		})
	return near, far, err
}

// connect is listen, dialer and meet for the common case.
func (d *duel) connect(o options) (near, far conn, err error) {
	s, err := d.listen(o)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.dialer(options{streams: o.streams, datagrams: o.datagrams})
	if err != nil {
		return nil, nil, err
	}
	return d.meet(c, s, s.addr())
}

// transfer moves content from one end to the other on a stream of its own.
func (d *duel) transfer(what content, from, to conn) error {
	return together(
		func() error {
			s, err := from.open(d.ctx, true)
			if err != nil {
				return fmt.Errorf("opening a stream: %w", err)
			}
			return what.send(s)
		},
		func() error {
			s, err := to.accept(d.ctx, true)
			if err != nil {
				return fmt.Errorf("accepting a stream: %w", err)
			}
			return what.receive(s)
		})
}

// line is a bidirectional stream on which the far end answers: what is written at
// the near one comes back.
func (d *duel) line(near, far conn) (stream, error) {
	s, err := near.open(d.ctx, false)
	if err != nil {
		return nil, fmt.Errorf("opening a stream: %w", err)
	}
	return s, together(
		func() error { return echo(s, []byte("hello")) },
		func() error {
			peer, err := far.accept(d.ctx, false)
			if err != nil {
				return fmt.Errorf("accepting a stream: %w", err)
			}
			go answer(peer) // its end is that of the connection
			return nil
		})
}

// together runs all, and returns when all have succeeded or the first has failed. The
// others then go on until what they use is closed.
func together(all ...func() error) error {
	errs := make(chan error, len(all))
	for _, f := range all {
		go func() { errs <- f() }()
	}
	for range all {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// bothKnow checks something of both ends.
func bothKnow(near, far conn, what string, ok func(conn) bool) error {
	if !ok(near) {
		return fmt.Errorf("%s: not so at the client", what)
	}
	if !ok(far) {
		return fmt.Errorf("%s: not so at the server", what)
	}
	return nil
}

// readEnd wants the end of a stream.
func readEnd(s stream) error {
	if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("stream %d: read %d bytes, %w, want its end", s.id(), n, err)
	}
	return nil
}
