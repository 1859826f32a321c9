package interop

import (
	"fmt"
	"io"
)

const (
	resetCode = 0x1dea
	stopCode  = 1<<62 - 1 // the largest there is
)

func resetByClient(d *duel) error { return d.aborting(true, resetting) }
func resetByServer(d *duel) error { return d.aborting(false, resetting) }
func stopByClient(d *duel) error  { return d.aborting(true, stopping) }
func stopByServer(d *duel) error  { return d.aborting(false, stopping) }

// aborting gives both ends of a stream to a case, that of the end that is to act
// first: once of a stream that this end has opened, once of one of the other's.
func (d *duel) aborting(client bool, abort func(here, there stream) error) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	acts, suffers := near, far
	if !client {
		acts, suffers = far, near
	}
	a, b, err := d.stream(acts, suffers)
	if err != nil {
		return err
	}
	if err := abort(a, b); err != nil {
		return fmt.Errorf("a stream of the one who acts: %w", err)
	}
	if b, a, err = d.stream(suffers, acts); err != nil {
		return err
	}
	if err := abort(a, b); err != nil {
		return fmt.Errorf("a stream of the other end: %w", err)
	}
	_, err = d.line(near, far) // the connection has taken no harm
	return err
}

// stream opens a stream on which both ends have got something already.
func (d *duel) stream(from, to conn) (here, there stream, err error) {
	err = together(
		func() (err error) {
			if here, err = from.open(d.ctx, false); err != nil {
				return err
			}
			return echo(here, []byte("hello"))
		},
		func() (err error) {
			if there, err = to.accept(d.ctx, false); err != nil {
				return err
			}
			return pass(there, there, 5)
		})
	return here, there, err
}

// resetting cuts the way from here to there. The other way stays open.
func resetting(here, there stream) error {
	here.reset(resetCode)
	_, err := io.Copy(io.Discard, struct{ io.Reader }{there})
	if err := wantFailure(err, byPeerStream, resetCode, true); err != nil {
		return fmt.Errorf("reading what was reset: %w", err)
	}
	return backward(there, here)
}

// stopping makes there stop writing. The other way stays open.
func stopping(here, there stream) error {
	here.stop(stopCode)
	var err error
	for err == nil {
		_, err = there.Write(make([]byte, 1_000))
	}
	if err := wantFailure(err, byPeerStream, stopCode, true); err != nil {
		return fmt.Errorf("writing what nobody reads: %w", err)
	}
	return backward(here, there)
}

// backward uses the direction that was not cut, to its end.
func backward(from, to stream) error {
	left := content{seed: 9, size: 20_000}
	return together(
		func() error { return left.send(from) },
		func() error { return left.receive(to) })
}

// pass copies n bytes.
func pass(from io.Reader, to io.Writer, n int) error {
	p := make([]byte, n)
	if _, err := io.ReadFull(from, p); err != nil {
		return err
	}
	_, err := to.Write(p)
	return err
}

// statelessReset has a server forget everything but its key: the client's next packet
// is answered with a reset that it recognises (RFC 9000 §10.3).
func statelessReset(d *duel) error {
	o := options{resetKey: [32]byte{1, 2, 3, 4, 5}}
	first, err := d.listen(o)
	if err != nil {
		return err
	}
	c, err := d.dialer(options{})
	if err != nil {
		return err
	}
	tap, err := d.tap(first.addr())
	if err != nil {
		return err
	}
	near, far, err := d.meet(c, first, tap.addr())
	if err != nil {
		return err
	}
	line, err := d.line(near, far)
	if err != nil {
		return err
	}
	second, err := d.listen(o)
	if err != nil {
		return err
	}
	tap.connect(second.addr())
	if _, err := line.Write(make([]byte, 1_000)); err != nil {
		return err
	}
	if err := wantFailure(near.ended(d.ctx), byStatelessReset, 0, true); err != nil {
		return err
	}
	_, err = line.Read(make([]byte, 1))
	return wantFailure(err, byStatelessReset, 0, true)
}
