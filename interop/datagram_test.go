package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// sender is a conn that takes unreliable datagrams (RFC 9221).
type sender interface {
	sendDatagram(b []byte) error
	receiveDatagram(ctx context.Context) ([]byte, error)
}

// unreliably has each end send datagrams of all sizes, which the other sends back.
func unreliably(d *duel) error {
	near, far, err := d.connect(options{datagrams: true})
	if err != nil {
		return err
	}
	if err := bounce(d.ctx, near.(sender), far.(sender)); err != nil {
		return fmt.Errorf("from %s: %w", d.client.name(), err)
	}
	if err := bounce(d.ctx, far.(sender), near.(sender)); err != nil {
		return fmt.Errorf("from %s: %w", d.server.name(), err)
	}
	return nil
}

// bounce sends datagrams from one end to the other and back, one at a time. One that
// does not come back goes again, with another content: nothing promises that it arrives.
func bounce(ctx context.Context, from, to sender) error {
	const rounds, lossAfter, losses = 200, time.Second, 5
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	echoed := make(chan error, 1)
	go func() {
		for {
			b, err := to.receiveDatagram(ctx)
			if err == nil {
				err = to.sendDatagram(b)
			}
			if err != nil {
				echoed <- err
				return
			}
		}
	}()
	r, lost := rand.NewChaCha8([32]byte{7}), 0
	for i := 0; i < rounds; i++ {
		b := make([]byte, 1+i*1100/rounds)
		r.Read(b)
		if err := from.sendDatagram(b); err != nil {
			return fmt.Errorf("datagram of %d bytes: %w", len(b), err)
		}
		short, done := context.WithTimeout(ctx, lossAfter)
		got, err := from.receiveDatagram(short)
		done()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			if lost++; lost > losses {
				return fmt.Errorf("%d of %d datagrams are lost on the loopback interface", lost, i)
			}
			i--
		case err != nil:
			return errors.Join(err, pending(echoed))
		case !bytes.Equal(got, b):
			return fmt.Errorf("%d bytes came back for %d, or others", len(got), len(b))
		}
	}
	cancel()
	if err := <-echoed; !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the end that echoes: %w", err)
	}
	return nil
}

// pending returns the error that waits, if there is one.
func pending(errs chan error) error {
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (c *cinnabarConn) sendDatagram(b []byte) error {
	_, err := c.SendDatagram(b)
	return cinnabarFailure(err)
}

func (c *cinnabarConn) receiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := c.ReceiveDatagram(ctx)
	return b, cinnabarFailure(err)
}

func (c *quicGoConn) sendDatagram(b []byte) error { return quicGoFailure(c.SendDatagram(b)) }

func (c *quicGoConn) receiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := c.ReceiveDatagram(ctx)
	return b, quicGoFailure(err)
}
