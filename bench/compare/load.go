package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	hsAtOnce = 8
	// streamLimit is how many streams a client may have open at once, where the
	// default would be the 100 that rr100 has in flight and those that end late.
	streamLimit = 1000
	// hostLimit is how many sessions a server takes from one address, where the
	// default is below the number of pairs in mem.
	hostLimit = 1 << 20
	// longIdleTimeout replaces idle timeouts in mem and many, whose sessions must
	// outlive the making of all others.
	longIdleTimeout = 10 * time.Minute
)

// overStreams runs the workloads over a stack.
type overStreams struct {
	stack
	// persistent says that a session has one stream only, on which requests
	// follow each other: rr then needs a session for each that is in flight.
	persistent bool
	// active says whether the session with that first request goes on, with serveSome.
	active func(number uint64) bool
}

// rr makes requests on fresh streams of one session, or on persistent ones.
func (o overStreams) rr(ctx context.Context, b *bench, atOnce int) error {
	e, err := o.start(ctx, b, serveAll)
	if err != nil {
		return err
	}
	defer e.close()
	sessions := make(chan session, atOnce) // one for each request in flight
	s, err := e.dial(ctx)
	for range atOnce {
		if err != nil {
			return err
		}
		sessions <- s
		if o.persistent && len(sessions) < atOnce {
			s, err = e.dial(ctx)
		}
	}
	if o.persistent {
		b.note("rr: as many persistent sessions as requests at a time, since there are no streams to open")
	}
	one := func(number uint64, buf []byte) error {
		s := <-sessions // never waits
		defer func() { sessions <- s }()
		return e.exchange(ctx, s, request{number: number, size: answerSize}, buf)
	}
	return b.requests(atOnce, one)
}

// hs makes full handshakes, with one small exchange each.
func (o overStreams) hs(ctx context.Context, b *bench) error {
	e, err := o.start(ctx, b, serveAll)
	if err != nil {
		return err
	}
	defer e.close()
	one := func(number uint64, buf []byte) error {
		s, err := e.dial(ctx)
		if err != nil {
			return err
		}
		defer s.close()
		return e.exchange(ctx, s, request{number: number, size: answerSize}, buf)
	}
	if err := inParallel(hsAtOnce, 2*hsAtOnce, one); err != nil { // warm
		return err
	}
	b.tickets.n.Store(0)
	if err := b.meter.start(); err != nil {
		return err
	}
	if err := inParallel(hsAtOnce, b.Handshakes, one); err != nil {
		return err
	}
	return b.handshakesDone()
}

// mem makes sessions, lets each exchange one request, and reads what the
// process holds when they idle. No goroutine of the application waits in them.
func (o overStreams) mem(ctx context.Context, b *bench) error {
	e, err := o.start(ctx, b, serveOne)
	if err != nil {
		return err
	}
	defer e.close()
	var mu sync.Mutex
	var idle []session
	one := func(number uint64, buf []byte) error {
		s, err := e.dial(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		idle = append(idle, s)
		mu.Unlock()
		return e.exchange(ctx, s, request{number: number, size: answerSize}, buf)
	}
	if err := inParallel(1, 1, one); err != nil { // what the endpoints themselves hold is not counted
		return err
	}
	time.Sleep(min(b.Settle, time.Second))
	before := readFootprint()
	if err := inParallel(hsAtOnce, b.Pairs, one); err != nil {
		return err
	}
	time.Sleep(b.Settle)
	after := readFootprint()
	b.memDone(float64(b.Pairs), before, after)
	b.note("mem: idle timeouts are %v, and goroutines are the implementation's: no application waits in a session", longIdleTimeout)
	return e.stillAlive(ctx, idle)
}

// endpoints are the two sides of a measurement.
type endpoints struct {
	b          *bench
	l          listener
	d          dialer
	to         string // where clients dial
	persistent bool
	active     func(number uint64) bool // as in overStreams

	mu     sync.Mutex
	parked []session // servers' ends that are left alone
}

// idleTimeout is the idle timeout for the workload, 0 for the library's.
func (b *bench) idleTimeout() time.Duration {
	if b.Workload == "mem" || b.Workload == "many" {
		return longIdleTimeout
	}
	return 0
}

// serving says what a server does with a session.
type serving int

const (
	serveAll     serving = iota // answer requests until the session ends
	serveOne                    // answer one and leave the session alone
	serveSome                   // answer one, and go on if the session is active
	serveUploads                // take what follows each request
)

func (o overStreams) start(ctx context.Context, b *bench, how serving) (*endpoints, error) {
	l, err := o.listen(b)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	d, err := o.dialer(b)
	if err != nil {
		return nil, fmt.Errorf("client endpoint: %w", err)
	}
	e := &endpoints{b: b, l: l, d: d, to: l.addr(), persistent: o.persistent, active: o.active}
	go func() {
		for {
			s, err := l.accept(ctx)
			if err != nil {
				return // the run is over, or clients will notice
			}
			go e.serve(ctx, s, how)
		}
	}()
	return e, nil
}

func (e *endpoints) close() {
	e.d.close()
	e.l.close()
}

func (e *endpoints) dial(ctx context.Context) (session, error) {
	s, err := e.d.dial(ctx, e.to)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return s, e.b.sawTLS(s.tls())
}

// serve answers the streams of a session, each on a goroutine of its own
// unless there can be no other.
func (e *endpoints) serve(ctx context.Context, s session, how serving) {
	for {
		st, err := s.accept(ctx)
		switch {
		case err != nil: // the client has closed the session
			s.close()
			return
		case how == serveOne || how == serveSome:
			r, err := e.answer(st)
			if how == serveOne || err != nil || !e.active(r.number) {
				e.park(s)
				return
			}
			how = serveAll
		case e.persistent:
			for e.reply(st, how) == nil {
			}
			s.close()
			return
		default:
			go e.reply(st, how)
		}
	}
}

// park leaves a session alone, without a goroutine that waits in it.
func (e *endpoints) park(s session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parked = append(e.parked, s)
}

// reply does what there is to do on a stream.
func (e *endpoints) reply(s stream, how serving) error {
	if how == serveUploads {
		return e.take(s)
	}
	_, err := e.answer(s)
	return err
}

// answer serves one request. Only wrong content fails the run here: what a
// server does not send, a client misses.
func (e *endpoints) answer(s stream) (request, error) {
	var buf [requestSize + 1]byte
	r, err := readRequest(s, buf[:], !e.persistent)
	if errors.Is(err, errContent) {
		e.b.failServer(err)
	}
	if err != nil {
		return r, err
	}
	s.done()
	return r, e.write(s, r)
}

// write sends what a request asks for.
func (e *endpoints) write(s stream, r request) error {
	off, left := r.offset(), r.size
	for left > ioChunk {
		if _, err := s.Write(content(off, ioChunk)); err != nil {
			return err
		}
		off, left = off+ioChunk, left-ioChunk
	}
	return e.send(s, content(off, int(left)))
}

// send writes the last bytes of a message.
func (e *endpoints) send(s stream, p []byte) error {
	if e.persistent {
		_, err := s.Write(p)
		return err
	}
	return s.finish(p)
}

// exchange makes one request and checks the answer; buf holds at least a request.
func (e *endpoints) exchange(ctx context.Context, s session, r request, buf []byte) error {
	st, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("open a stream: %w", err)
	}
	if err := e.send(st, r.appendTo(buf[:0])); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	if err := readAnswer(st, r, buf, !e.persistent); err != nil {
		return err
	}
	st.done()
	return nil
}

// stillAlive makes one more exchange on every session: what idled was usable.
func (e *endpoints) stillAlive(ctx context.Context, idle []session) error {
	e.mu.Lock()
	parked := e.parked
	e.parked = nil
	e.mu.Unlock()
	for _, s := range parked {
		go e.serve(ctx, s, serveOne)
	}
	return inParallel(hsAtOnce, len(idle), func(number uint64, buf []byte) error {
		return e.exchange(ctx, idle[number], request{number: number, size: answerSize}, buf)
	})
}

// inParallel runs one for the numbers below n on a fixed number of goroutines
// and returns the first error, after which no other number is begun.
func inParallel(workers, n int, one func(number uint64, buf []byte) error) error {
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		once  sync.Once
		first error
	)
	for range min(workers, n) {
		wg.Go(func() {
			buf := make([]byte, 2*answerSize)
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				if err := one(uint64(i), buf); err != nil {
					once.Do(func() { first = fmt.Errorf("number %d: %w", i, err) })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// requests measures as many requests as are wanted, each made by one.
func (b *bench) requests(atOnce int, one func(number uint64, buf []byte) error) error {
	if err := inParallel(atOnce, atOnce+b.Requests/20, one); err != nil { // warm
		return err
	}
	if err := b.meter.start(); err != nil {
		return err
	}
	if err := inParallel(atOnce, b.Requests, one); err != nil {
		return err
	}
	return b.requestsDone()
}

// requestsDone stops the meter and stores what workloads of requests report.
func (b *bench) requestsDone() error {
	u, err := b.meter.stop()
	n := float64(b.Requests)
	b.set("requests_per_s", n/u.elapsed.Seconds())
	b.set("cpu_us_per_request", u.cpu.Seconds()*1e6/n)
	b.set("allocs_per_request", float64(u.allocs)/n)
	return err
}

// handshakesDone stops the meter and stores what hs reports.
func (b *bench) handshakesDone() error {
	u, err := b.meter.stop()
	n := float64(b.Handshakes)
	b.set("handshakes_per_s", n/u.elapsed.Seconds())
	b.set("cpu_us_per_handshake", u.cpu.Seconds()*1e6/n)
	b.set("allocs_per_handshake", float64(u.allocs)/n)
	b.note("hs: clients saw tickets in %.0f %% of the sessions", 100*float64(b.tickets.n.Load())/n)
	return err
}

// memDone stores what n session pairs hold.
func (b *bench) memDone(n float64, before, after footprint) {
	b.set("heap_kib_per_pair", (after.heap-before.heap)/1024/n)
	b.set("stack_kib_per_pair", (after.stack-before.stack)/1024/n)
	b.set("rss_kib_per_pair", (after.rss-before.rss)/1024/n)
	b.set("goroutines_per_pair", (after.goroutines-before.goroutines)/n)
}
