package interop

import (
	"errors"
	"fmt"
	"sync"
)

// transferOf returns a case that moves content first up, then down, each on a
// unidirectional stream, then both ways at once on a bidirectional one.
func transferOf(size int64) func(*duel) error {
	return func(d *duel) error {
		near, far, err := d.connect(options{})
		if err != nil {
			return err
		}
		up, down := content{seed: 3, size: size}, content{seed: 4, size: size}
		if err := d.transfer(up, near, far); err != nil {
			return fmt.Errorf("to the server: %w", err)
		}
		if err := d.transfer(down, far, near); err != nil {
			return fmt.Errorf("to the client: %w", err)
		}
		return d.exchange(content{seed: 5, size: size / 8}, near, far)
	}
}

// lossy connects again and again through a relay that loses one datagram in twenty,
// each time with other losses, and moves content both ways.
func lossy(d *duel) error {
	s, err := d.listen(options{})
	if err != nil {
		return err
	}
	c, err := d.dialer(options{})
	if err != nil {
		return err
	}
	lost := 0
	for seed := range uint64(10) {
		tap, err := d.tap(s.addr())
		if err != nil {
			return err
		}
		tap.lose(seed)
		near, far, err := d.meet(c, s, tap.addr())
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		if err := d.exchange(content{seed: seed, size: 200_000}, near, far); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		near.close(0, "")
		far.close(0, "")
		lost += tap.losses()
	}
	if lost == 0 {
		return errors.New("the relay has lost nothing")
	}
	return nil
}

// exchange moves content both ways at once on one stream.
func (d *duel) exchange(what content, near, far conn) error {
	back := content{seed: what.seed + 1<<32, size: what.size}
	both := func(s stream, err error, out, in content) error {
		if err != nil {
			return err
		}
		return together(
			func() error { return out.send(s) },
			func() error { return in.receive(s) })
	}
	return together(
		func() error {
			s, err := near.open(d.ctx, false)
			return both(s, err, what, back)
		},
		func() error {
			s, err := far.accept(d.ctx, false)
			return both(s, err, back, what)
		})
}

// manyStreams has 200 streams open at the same time, each with content of its own in
// both directions. None ends before the server has seen all.
func manyStreams(d *duel) error {
	const n = 200
	near, far, err := d.connect(options{streams: n})
	if err != nil {
		return err
	}
	whole := func(id int64) content { return content{seed: uint64(id), size: 50_000} }
	var all sync.WaitGroup
	all.Add(n)
	client := func() (err error) {
		streams := make([]stream, n)
		for i := range streams {
			if streams[i], err = near.open(d.ctx, false); err != nil {
				return fmt.Errorf("opening stream number %d: %w", i+1, err)
			}
			if _, err := streams[i].Write([]byte{1}); err != nil {
				return err
			}
		}
		all.Wait()
		return each(streams, func(s stream) error {
			return together(
				func() error { return whole(s.id()).send(s) },
				func() error { return whole(s.id()).receive(s) })
		})
	}
	server := func() (err error) {
		streams := make([]stream, n)
		for i := range streams {
			if streams[i], err = far.accept(d.ctx, false); err != nil {
				return fmt.Errorf("accepting stream number %d: %w", i+1, err)
			}
			if _, err := streams[i].Read(make([]byte, 1)); err != nil {
				return err
			}
			all.Done()
		}
		return each(streams, answer)
	}
	return together(client, server)
}

// streamLimit opens many more streams than the server allows at a time: the client
// has to wait for MAX_STREAMS frames again and again.
func streamLimit(d *duel) error {
	const n, limit = 300, 7
	near, far, err := d.connect(options{streams: limit})
	if err != nil {
		return err
	}
	open := make([]func() error, n)
	for i := range open {
		open[i] = func() error {
			s, err := near.open(d.ctx, false)
			if err != nil {
				return fmt.Errorf("opening stream number %d: %w", i+1, err)
			}
			if err := echo(s, []byte{byte(i), byte(i >> 8)}); err != nil {
				return err
			}
			if err := s.finish(); err != nil {
				return err
			}
			return readEnd(s)
		}
	}
	server := func() error {
		for i := range n {
			s, err := far.accept(d.ctx, false)
			if err != nil {
				return fmt.Errorf("accepting stream number %d: %w", i+1, err)
			}
			go answer(s) // if it fails, the client knows
		}
		return nil
	}
	return together(append(open, server)...)
}

// each runs f for all streams at once.
func each(streams []stream, f func(stream) error) error {
	all := make([]func() error, len(streams))
	for i, s := range streams {
		all[i] = func() error { return f(s) }
	}
	return together(all...)
}
