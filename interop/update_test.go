package interop

import (
	"errors"
	"fmt"
	"sync/atomic"
	_ "unsafe" // for linkname
)

// quicGoUpdateInterval is after how many packets quic-go updates its keys: there is
// no other way to make it. It is global; cases run one after the other.
//
//go:linkname quicGoUpdateInterval github.com/quic-go/quic-go/internal/handshake.keyUpdateInterval
var quicGoUpdateInterval atomic.Uint64

// updates is how many key updates a case wants to see from one end.
const updates = 3

func updateByClient(d *duel) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	return d.updating(near, far, near, d.client)
}

func updateByServer(d *duel) error {
	near, far, err := d.connect(options{})
	if err != nil {
		return err
	}
	return d.updating(near, far, far, d.server)
}

// updating has one end update its keys again and again while data flows both ways.
// quic-go tells how often: for its own updates, and for those that it followed. Its
// own it repeats only when the other end has followed (RFC 9001 §6.1).
func (d *duel) updating(near, far, who conn, name implementation) error {
	const often = 200 // packets
	if name == (quicGo{}) {
		defer quicGoUpdateInterval.Store(quicGoUpdateInterval.Swap(often))
	}
	began := 0 // by ourselves
	enough := func(c counts) bool {
		switch {
		case name == (quicGo{}):
			return c.localUpdates >= updates
		case d.client == d.server:
			return began >= updates
		}
		return began >= updates && c.remoteUpdates >= updates
	}
	line, err := d.line(near, far)
	if err != nil {
		return err
	}
	update := func() error {
		word := make([]byte, 3_000)
		for {
			if c, _ := d.journal.count(); enough(c) {
				return nil
			}
			switch ok, err := who.updateKey(); {
			case ok:
				began++
			case err != nil && !errors.Is(err, errNoWay):
				return fmt.Errorf("updating keys: %w", err)
			}
			if err := echo(line, word); err != nil {
				c, _ := d.journal.count()
				return fmt.Errorf("after %+v: %w", c, err)
			}
		}
	}
	return together(update,
		func() error { return d.transfer(content{seed: 7, size: 8 << 20}, near, far) },
		func() error { return d.transfer(content{seed: 8, size: 8 << 20}, far, near) })
}
