package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

const (
	longest  = 400 * time.Millisecond // until a process is killed
	patience = 10 * handshakeTimeout  // until all of its sessions must be gone
)

// toll is what became of the sessions of one role.
type toll struct {
	mu      sync.Mutex
	killed  int
	doing   map[string]int // at that moment
	ended   map[string]int // how they ended
	longest time.Duration  // from the kill to the end
	odd     []error
}

// death is one session at the moment when its peer is killed. It waits for its end in a
// goroutine that ends counts.
func (t *toll) death(s *quic.Session, ends *sync.WaitGroup) {
	killed, shaking := time.Now(), !s.HandshakeComplete()
	ends.Go(func() { t.end(s, killed, shaking) })
	doing := "in silence"
	switch {
	case shaking:
		doing = "in the handshake"
	case s.Closing():
		doing = "closing"
	case len(s.Streams()) > 0:
		doing = "transferring"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.killed++
	t.doing[doing]++
}

// end waits for the end of a session whose peer was killed; shaking says that it was in the
// handshake then, with which another server can go on.
func (t *toll) end(s *quic.Session, killed time.Time, shaking bool) {
	select {
	case <-s.Closed():
	case <-time.After(patience):
		defer s.Destroy(nil)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.odd = append(t.odd, fmt.Errorf("a session is still there %v after its peer was killed: in the handshake then %v, complete now %v, closing %v, %d streams, %+v",
			patience, shaking, s.HandshakeComplete(), s.Closing(), len(s.Streams()), s.Stats()))
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	took := time.Since(killed)
	var closed *quic.ApplicationError
	switch err := s.Err(); {
	case errors.As(err, new(*quic.IdleTimeoutError)):
		t.ended["idle timeout"]++
	case errors.As(err, new(*quic.HandshakeTimeoutError)):
		t.ended["timeout of the handshake"]++
	case errors.As(err, new(*quic.StatelessResetError)):
		t.ended["stateless reset"]++
	case shaking && s.HandshakeComplete() && errors.As(err, &closed) && !closed.Remote:
		t.ended["handshake with the next server, and a close in the end"]++
		return // which came late because it was not wanted before
	case shaking && errors.As(err, new(*quic.TransportError)):
		t.ended["error, in a handshake with two servers"]++
	case err == nil || errors.As(err, &closed) && closed.ErrorCode == 0:
		t.ended["close that was under way"]++
	default:
		t.odd = append(t.odd, fmt.Errorf("a session ends with %w", err))
	}
	t.longest = max(t.longest, took)
}

func (t *toll) print(role string) {
	fmt.Printf("%s killed: %d sessions, the last of them gone after %v\n", role, t.killed, t.longest.Round(10*time.Millisecond))
	for _, list := range []map[string]int{t.doing, t.ended} {
		for _, what := range slices.Sorted(maps.Keys(list)) {
			fmt.Printf("%8d %s\n", list[what], what)
		}
		fmt.Println()
	}
}

// survive is the process that is never killed.
func survive(ctx context.Context, o options) error {
	fmt.Printf("seed %d; idle timeout %v, timeout of handshakes %v; limits raised: connections and resets a host\n\n", o.seed, idleTimeout, handshakeTimeout)
	return errors.Join(
		role(ctx, o, "client", killClients),
		role(ctx, o, "server", killServers),
	)
}

// role runs one role: a few processes to warm up with, and then as many as it takes.
func role(ctx context.Context, o options, name string, run func(context.Context, options, *toll) (func(), error)) error {
	few := o
	few.number = 2 * o.each
	var before, after figures
	for _, o := range []options{few, o} {
		t := &toll{doing: make(map[string]int), ended: make(map[string]int)}
		end, err := run(ctx, o, t)
		if err != nil {
			return err
		}
		before, after = after, settled(ctx, after.goroutines) // sockets are open still
		end()
		if o == few {
			continue
		}
		t.print(name)
		fmt.Printf("before %v\nafter  %v\n\n", before, after)
		if before.goroutines < after.goroutines || before.descriptors < after.descriptors || before.heap+4<<10 < after.heap {
			t.odd = append(t.odd, errors.New("something is left"))
		}
		if t.killed < o.number {
			t.odd = append(t.odd, fmt.Errorf("only %d sessions were killed", t.killed))
		}
		return errors.Join(t.odd...)
	}
	return nil
}

// several runs f with processes one after the other, a few at a time, until enough sessions died.
func (t *toll) several(ctx context.Context, o options, f func(r *rand.Rand, n uint64) error) error {
	var next uint64
	take := func() (uint64, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		next++
		return next, t.killed < o.number && ctx.Err() == nil
	}
	errs := make([]error, o.parallel)
	var all sync.WaitGroup
	for i := range o.parallel {
		all.Go(func() {
			for {
				n, more := take()
				if !more {
					return
				}
				if errs[i] = f(rand.New(rand.NewPCG(o.seed, n)), o.seed+n); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// killClients kills processes of clients, and looks at the sessions that the server had with them.
func killClients(ctx context.Context, o options, t *toll) (end func(), err error) {
	id, err := newIdentity()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	live := make(map[*quic.ServerSession]string)
	socket, err := id.listen(ctx, func(v *quic.ServerSession) {
		mu.Lock()
		defer mu.Unlock()
		live[v] = v.RemoteAddress().String()
	}, func(v *quic.ServerSession) {
		mu.Lock()
		defer mu.Unlock()
		delete(live, v)
	})
	if err != nil {
		return nil, err
	}
	id.Address, id.Key = socket.Address().String(), nil
	var ends sync.WaitGroup
	err = t.several(ctx, o, func(r *rand.Rand, seed uint64) error {
		v, err := startVictim(ctx, "client", id, o, seed)
		if err != nil {
			return err
		}
		wait(ctx, time.Duration(r.Int64N(int64(longest))))
		mu.Lock()
		for session, address := range live {
			if address == v.address {
				t.death(&session.Session, &ends)
			}
		}
		mu.Unlock()
		v.kill()
		return nil
	})
	ends.Wait()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); wait(ctx, 10*time.Millisecond) {
		mu.Lock()
		left := len(live)
		mu.Unlock()
		if left == 0 {
			return func() { socket.Destroy(nil) }, err
		}
	}
	socket.Destroy(nil)
	return nil, errors.Join(err, errors.New("the server keeps sessions of clients that were killed"))
}

// killServers kills servers, of which every second one has a successor, and looks at the sessions
// that clients had with them.
func killServers(ctx context.Context, o options, t *toll) (end func(), err error) {
	id, err := newIdentity()
	if err != nil {
		return nil, err
	}
	d, err := id.dialer()
	if err != nil {
		return nil, err
	}
	err = t.several(ctx, o, func(r *rand.Rand, seed uint64) error {
		v, err := startVictim(ctx, "server", id, o, seed)
		if err != nil {
			return err
		}
		using, stop := context.WithCancel(ctx)
		defer stop()
		var mu sync.Mutex
		var sessions []*quic.ClientSession
		var uses sync.WaitGroup
		for range o.each {
			begin, r := time.Duration(r.Int64N(int64(longest/2))), rand.New(rand.NewPCG(r.Uint64(), 0))
			uses.Go(func() {
				wait(using, begin)
				s, err := d.connect(using, v.address)
				if err != nil {
					return
				}
				mu.Lock()
				sessions = append(sessions, s)
				mu.Unlock()
				use(using, s, r)
			})
		}
		wait(ctx, time.Duration(r.Int64N(int64(longest))))
		var ends sync.WaitGroup
		mu.Lock()
		for _, s := range sessions {
			if !s.Destroyed() {
				t.death(&s.Session, &ends)
			}
		}
		v.kill()
		mu.Unlock()
		if r.IntN(2) == 0 {
			again := id
			again.Address = v.address
			next, err := startVictim(ctx, "server", again, o, seed)
			if err != nil {
				return err
			}
			defer next.kill()
		}
		// What shook hands with the successor goes on; it has shown what it can.
		wait(ctx, handshakeTimeout+idleTimeout)
		stop()
		mu.Lock()
		for _, s := range sessions {
			s.CloseWithError(0, "")
		}
		mu.Unlock()
		uses.Wait()
		ends.Wait()
		return nil
	})
	return func() { d.socket.Destroy(nil) }, err
}

// figures are what must be the same afterwards.
type figures struct {
	heap        int // KiB
	goroutines  int
	descriptors int
}

func now() figures {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f := figures{heap: int(m.HeapAlloc >> 10), goroutines: runtime.NumGoroutine()}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		f.descriptors = len(list)
	}
	return f
}

// settled takes the figures when goroutines have had a while to end: until there are no more
// than so many.
func settled(ctx context.Context, goroutines int) figures {
	f := now()
	for end := time.Now().Add(patience); f.goroutines > goroutines && time.Now().Before(end); f = now() {
		wait(ctx, 50*time.Millisecond)
		if goroutines == 0 && time.Until(end) < patience-time.Second {
			break // nothing to compare with
		}
	}
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("%7d KiB heap %4d goroutines %3d descriptors", f.heap, f.goroutines, f.descriptors)
}
