package interop

import (
	"fmt"
	"net/netip"
)

// migration takes the client to another socket by its own API, in the middle of
// transfers in both directions.
func migration(d *duel) error { return d.moving(false) }

// clientRebinding does the same, but without a word to the server before.
func clientRebinding(d *duel) error { return d.moving(true) }

func (d *duel) moving(rebinding bool) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	return d.onTheMove(near, far, func() (netip.AddrPort, error) {
		return near.(mover).move(d.ctx, rebinding)
	})
}

// natRebinding has a NAT give the client another port.
func natRebinding(d *duel) error {
	s, err := d.listen(options{})
	if err != nil {
		return err
	}
	c, err := d.dialer(options{})
	if err != nil {
		return err
	}
	tap, err := d.tap(s.addr())
	if err != nil {
		return err
	}
	near, far, err := d.meet(c, s, tap.addr())
	if err != nil {
		return err
	}
	return d.onTheMove(near, far, func() (netip.AddrPort, error) {
		err := tap.rebind()
		return tap.outside(), err
	})
}

// onTheMove runs transfers both ways, moves the client when half of the data is out,
// and wants the server at the new address in the end.
func (d *duel) onTheMove(near, far conn, move func() (netip.AddrPort, error)) error {
	line, err := d.line(near, far)
	if err != nil {
		return err
	}
	up := content{seed: 10, size: 8 << 20, half: make(chan struct{})}
	down := content{seed: 11, size: 8 << 20}
	return together(
		func() error { return d.transfer(up, near, far) },
		func() error { return d.transfer(down, far, near) },
		func() error {
			select {
			case <-up.half:
			case <-d.ctx.Done():
				return d.ctx.Err()
			}
			to, err := move()
			if err != nil {
				return fmt.Errorf("moving: %w", err)
			}
			for n := 1; ; n++ {
				if err := echo(line, make([]byte, 100)); err != nil {
					return fmt.Errorf("round trip %d after moving to %v: %w", n, to, err)
				}
				if far.remote() == to {
					return nil
				}
			}
		})
}
