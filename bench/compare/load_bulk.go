package main

import (
	"context"
	"errors"
	"fmt"
)

// bulkAtOnce is how many transfers bulk-8 and bulk-n have at once.
const bulkAtOnce = 8

// An exchange makes one request and checks the answer; buf holds at least a request.
type exchange func(r request, buf []byte) error

// bulk asks for one long answer. The handshake is not measured, slow start is.
func (o overStreams) bulk(ctx context.Context, b *bench) error {
	return o.answers(ctx, b, 1, 1)
}

// bulkStreams asks for long answers on streams of one session.
func (o overStreams) bulkStreams(ctx context.Context, b *bench) error {
	if o.persistent {
		b.note("bulk-8: %d connections, since there are no streams to open", bulkAtOnce)
		return o.answers(ctx, b, bulkAtOnce, 1)
	}
	return o.answers(ctx, b, 1, bulkAtOnce)
}

// bulkSessions asks for long answers in as many sessions.
func (o overStreams) bulkSessions(ctx context.Context, b *bench) error {
	return o.answers(ctx, b, bulkAtOnce, 1)
}

// answers asks for b.Bytes in all, in equal answers at once.
func (o overStreams) answers(ctx context.Context, b *bench, sessions, streams int) error {
	e, err := o.start(ctx, b, serveAll)
	if err != nil {
		return err
	}
	defer e.close()
	var all []exchange
	for range sessions {
		s, err := e.dial(ctx)
		if err != nil {
			return err
		}
		for range streams {
			all = append(all, func(r request, buf []byte) error { return e.exchange(ctx, s, r, buf) })
		}
	}
	return b.transfer(all...)
}

// bulkUp sends the bytes to the server, which compares them and confirms.
func (o overStreams) bulkUp(ctx context.Context, b *bench) error {
	e, err := o.start(ctx, b, serveUploads)
	if err != nil {
		return err
	}
	defer e.close()
	s, err := e.dial(ctx)
	if err != nil {
		return err
	}
	return b.transfer(func(r request, buf []byte) error { return e.upload(ctx, s, r, buf) })
}

// upload sends a request and, behind it, what it would ask for, and waits for
// the confirmation, which is an answer of the usual size.
func (e *endpoints) upload(ctx context.Context, s session, r request, buf []byte) error {
	st, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("open a stream: %w", err)
	}
	if _, err := st.Write(r.appendTo(buf[:0])); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	if err := e.write(st, r); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	r.size = answerSize
	if err := readAnswer(st, r, buf, !e.persistent); err != nil {
		return err
	}
	st.done()
	return nil
}

// take is the server's side of upload.
func (e *endpoints) take(s stream) error {
	buf := make([]byte, ioChunk)
	r, err := readRequest(s, buf, false)
	if err == nil {
		err = readAnswer(s, r, buf, !e.persistent)
	}
	if errors.Is(err, errContent) {
		e.b.failServer(err)
	}
	if err != nil {
		return err
	}
	s.done()
	return e.send(s, content(r.offset(), answerSize))
}

// transfer measures exchanges at once with equal shares of b.Bytes, which
// counts whole MB and so has no remainder. A short one in each goes before.
func (b *bench) transfer(all ...exchange) error {
	n := len(all)
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, ioChunk)
	}
	each := func(first uint64, size int64) error {
		return inParallel(n, n, func(i uint64, _ []byte) error {
			return all[i](request{number: first + i, size: size}, bufs[i])
		})
	}
	if err := each(0, answerSize); err != nil { // warm
		return err
	}
	if err := b.meter.start(); err != nil {
		return err
	}
	if err := each(1, b.Bytes/int64(n)); err != nil {
		return err
	}
	return b.bulkDone()
}

// bulkDone stops the meter and stores what workloads with large answers report.
func (b *bench) bulkDone() error {
	u, err := b.meter.stop()
	b.set("goodput_mbps", float64(b.Bytes)*8/1e6/u.elapsed.Seconds())
	b.set("cpu_s_per_gb", u.cpu.Seconds()*1e9/float64(b.Bytes))
	b.set("allocs_per_mb", float64(u.allocs)*1e6/float64(b.Bytes))
	return err
}
