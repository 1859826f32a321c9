package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manyPeriod = 100 * time.Millisecond // an active session has one request in each
	manyWarm   = time.Second            // of the same load before the measured part, at most
)

// setupLimit bounds the making of sessions in many, in time that a child gets beyond its limit.
func setupLimit(sessions int) time.Duration {
	return 30*time.Second + time.Duration(sessions)*10*time.Millisecond
}

// many makes sessions, lets most of them idle, and makes requests in the others at
// times that are fixed beforehand and that no answer can shift.
func (o overStreams) many(ctx context.Context, b *bench) error {
	n, err := o.sessions(b)
	if err != nil {
		return err
	}
	active := min(n, b.Active)
	stride := n / active // the active ones are spread over all
	isActive := func(number uint64) bool { return int(number)%stride == 0 && int(number)/stride < active }
	o.active = isActive
	e, err := o.start(ctx, b, serveSome)
	if err != nil {
		return err
	}
	defer e.close()

	// What the bench itself needs comes first, so that it is not counted.
	l := newLoad(b, active)
	idle := make([]session, 0, n)
	if err := e.setUp(ctx, 1, func(uint64) uint64 { return uint64(n) }, func(uint64, session) {}); err != nil {
		return err
	}
	time.Sleep(min(b.Settle, time.Second))
	before := readFootprint()
	var mu sync.Mutex
	err = e.setUp(ctx, n, func(i uint64) uint64 { return i }, func(i uint64, s session) {
		mu.Lock()
		defer mu.Unlock()
		if isActive(i) {
			l.sessions[int(i)/stride] = s
		} else {
			idle = append(idle, s)
		}
	})
	if err != nil {
		return err
	}
	if err := l.measure(ctx, e); err != nil {
		return err
	}
	b.memDone(float64(n), before, readFootprint())
	b.note("many: of %d sessions %d have a request every %v, at times fixed beforehand; latency counts from these; idle timeouts are %v; no application waits in an idle session",
		n, active, manyPeriod, longIdleTimeout)
	return e.stillAlive(ctx, idle)
}

// sessions returns how many sessions there can be.
func (o overStreams) sessions(b *bench) (int, error) {
	const others = 64 // descriptors that are not of sessions
	if !o.persistent {
		return b.Sessions, nil
	}
	limit, err := raiseFileLimit(uint64(2*b.Sessions + others))
	if err != nil {
		return 0, err
	}
	if most := (int(min(limit, 1<<30)) - others) / 2; most < b.Sessions {
		if most < 1 {
			return 0, fmt.Errorf("many: %d open files are too few for a connection (ulimit -n)", limit)
		}
		b.note("many: only %d sessions instead of %d, since a connection takes two descriptors and the process may open %d files (raise ulimit -Hn)", most, b.Sessions, limit)
		return most, nil
	}
	return b.Sessions, nil
}

// raiseFileLimit makes the process be allowed to open as many files as wanted,
// or as the system permits, and returns how many that are.
func raiseFileLimit(want uint64) (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	if l.Cur >= want {
		return l.Cur, nil
	}
	if l.Max < want { // only the privileged may
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: want, Max: want}) == nil {
			return want, nil
		}
	}
	l.Cur = min(l.Max, want)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raise the limit of open files to %d: %w", l.Cur, err)
	}
	return l.Cur, nil
}

// setUp makes n sessions with one exchange each, and gives them to keep.
func (e *endpoints) setUp(ctx context.Context, n int, number func(i uint64) uint64, keep func(i uint64, s session)) error {
	begin := time.Now()
	return inParallel(hsAtOnce, n, func(i uint64, buf []byte) error {
		if limit := setupLimit(n); time.Since(begin) > limit {
			return fmt.Errorf("only %d of %d sessions after %v", i, n, limit)
		}
		s, err := e.dial(ctx)
		if err != nil {
			return err
		}
		keep(i, s)
		return e.exchange(ctx, s, request{number: number(i), size: answerSize}, buf)
	})
}

// A load is requests at fixed times: an open loop. Every session has one in each
// period, at a time within it that is random and the same for all implementations.
type load struct {
	b        *bench
	sessions []session
	phases   []time.Duration // of each session, ascending
	took     latencies       // of each measured request, in the order of their times
}

func newLoad(b *bench, active int) *load {
	random := rand.New(rand.NewPCG(b.Seed, 0))
	l := &load{b: b, sessions: make([]session, active), phases: make([]time.Duration, active)}
	for i := range l.phases {
		l.phases[i] = time.Duration(random.Int64N(int64(manyPeriod)))
	}
	slices.Sort(l.phases)
	l.took = make(latencies, active*rounds(b.Duration))
	return l
}

// rounds returns how many requests a session has in d, at least one.
func rounds(d time.Duration) int { return max(1, int(d/manyPeriod)) }

// due returns when request i is to be made.
func (l *load) due(begin time.Time, i int) time.Time {
	n := len(l.phases)
	return begin.Add(time.Duration(i/n)*manyPeriod + l.phases[i%n])
}

// measure runs the load for a short while and then for the figures.
func (l *load) measure(ctx context.Context, e *endpoints) error {
	warm := make(latencies, len(l.sessions)*rounds(min(manyWarm, l.b.Duration)))
	if err := l.run(ctx, e, warm); err != nil {
		return err
	}
	if err := l.b.meter.start(); err != nil {
		return err
	}
	if err := l.run(ctx, e, l.took); err != nil {
		return err
	}
	u, err := l.b.meter.stop()
	l.b.set("cpu_us_per_request", u.cpu.Seconds()*1e6/float64(len(l.took)))
	l.b.latenciesDone(l.took)
	return err
}

// run makes len(took) requests at their times. Those of one session follow each
// other: one that waits for the answer to the last is late, and that counts.
func (l *load) run(ctx context.Context, e *endpoints, took latencies) error {
	a, err := newAlarm()
	if err != nil {
		return err
	}
	defer a.close()
	n := len(l.sessions)
	begin := time.Now()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	work := make([]chan int, n)
	for j, s := range l.sessions {
		work[j] = make(chan int, len(took)/n)
		wg.Go(func() {
			buf := make([]byte, 2*answerSize)
			for i := range work[j] {
				if err := e.exchange(ctx, s, request{number: uint64(i), size: answerSize}, buf); err != nil {
					stop(fmt.Errorf("request %d of %d: %w", i, len(took), err))
					return
				}
				took[i] = time.Since(l.due(begin, i))
			}
		})
	}
	for i := range took {
		if err = a.wait(l.due(begin, i)); err != nil || ctx.Err() != nil {
			break
		}
		work[i%n] <- i // never waits
	}
	for _, c := range work {
		close(c)
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
