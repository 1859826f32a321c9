package sim_test

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// totals counts what happened, over all seeds.
type totals map[string]uint64

func (t totals) add(other totals) {
	for name, n := range other {
		t[name] += n
	}
}

// String lists the counts, one a line.
func (t totals) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "%12d  %s\n", t[name], name)
	}
	return b.String()
}

// must is what has to happen in a hundred seeds, or the test does not test it.
var must = []string{
	"network: lost", "network: tail-dropped", "network: too big", "network: blackholed", "network: corrupted",
	"network: corrupt and dropped", "network: reordered", "network: duplicated", "network: marked", "network: bleached",
	"network: rebound", "network: unmapped",
	"Retry packets", "NEW_TOKEN tokens", "compatible negotiations", "incompatible negotiations", "key updates", "key updates asked for", "streams with 0-RTT data",
	"streams reset", "streams stopped", "streams stopped by the peer",
	"moves to a preferred address", "graceful closes", "silent ends", "idle ends", "migrations asked for", "paths validated",
	"packets lost", "probe timeouts", "spurious losses", "persistent congestion", "ECN failures", "congestion events",
	"blocked by flow control", "blocked by the stream limit", "datagrams enlarged", "datagrams made smaller again",
	"undecryptable or malformed packets", "duplicate packets", "unreliable datagrams acknowledged", "unreliable datagrams lost",
}

// mustRarely is what has to happen in a thousand.
var mustRarely = []string{"0-RTT rejected", "paths given up", "connections that came to nothing"}

const replay = "CINNABAR_SIM_SEED=%d go test -count=1 -run '^TestSeeds$' -v ./internal/sim"

// TestSeeds runs transfers through everything that the network can do, a
// different mix for each seed: no byte is wrong or missing, and what must be
// true at every step is.
func TestSeeds(t *testing.T) {
	first, count := seedsFromEnv(t)
	sum, failures := totals{}, 0
	var lock sync.Mutex
	var next atomic.Uint64
	next.Store(first)
	t.Run("all", func(t *testing.T) {
		for range min(count, uint64(runtime.GOMAXPROCS(0))) {
			t.Run("worker", func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1) - 1; seed < first+count; seed = next.Add(1) - 1 {
					r, err := try(seed)
					lock.Lock()
					if sum.add(r.stats); err != nil {
						failures++
						t.Errorf("seed %d: %v\nreplay: "+replay+"\n%v", seed, err, seed, r)
					}
					stop := failures >= 10
					lock.Unlock()
					if stop {
						t.Fatal("too many failures")
					}
				}
			})
		}
	})
	t.Logf("%d seeds from %d:\n%v", count, first, sum)
	var names []string
	if count >= 100 {
		names = append(names, must...)
	}
	if count >= 1000 {
		names = append(names, mustRarely...)
	}
	for _, name := range names {
		if sum[name] == 0 {
			t.Errorf("never happened: %s", name)
		}
	}
}

func seedsFromEnv(t *testing.T) (first, count uint64) {
	first, count = 1, 100
	if s := os.Getenv("CINNABAR_SIM_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("CINNABAR_SIM_SEED: %v", err)
		}
		first, count = n, 1
	}
	if s := os.Getenv("CINNABAR_SIM_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatalf("CINNABAR_SIM_SEEDS: %v", err)
		}
		count = n
	}
	return first, count
}

// TestSeedRepeats: the same seed is the same run, to the bit.
func TestSeedRepeats(t *testing.T) {
	for seed := range uint64(3) {
		a, err := try(seed)
		b, again := try(seed)
		if err != nil || again != nil || a.w.Digest() != b.w.Digest() {
			t.Errorf("seed %d: %v and %v, digests %x and %x", seed, err, again, a.w.Digest(), b.w.Digest())
		}
	}
}

// try runs one seed; a panic is an error.
func try(seed uint64) (r *run, err error) {
	r = newRun(seed)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return r, r.play()
}

// play runs the whole thing: connect, talk, end, look for leftovers.
func (r *run) play() error {
	for _, p := range r.pairs {
		p.client = r.client.Connect(serverAddr, r.clientConfig)
		a := p.attach(r.w, p.client)
		if p.client.Conn.UsingEarlyData() {
			p.client.Do(func(*transport.Conn, mono.Time) { a.start() })
		}
	}
	if err := r.w.Run(6*time.Hour, r.done); err != nil {
		return fmt.Errorf("%w\n%s", err, r.figures())
	}
	r.count()
	if err := r.complete(); err != nil {
		return err
	}
	for _, p := range r.pairs {
		r.end(p)
	}
	if err := r.w.Run(6*time.Hour, r.gone); err != nil {
		return fmt.Errorf("after the end: %w\n%s", err, r.figures())
	}
	for _, p := range r.pairs {
		if err := p.ended(); err != nil {
			return err
		}
		if err := p.whole(); err != nil {
			return err
		}
	}
	return r.w.Finish()
}

// clientConfig lets a client behind a NAT keep its mapping: without that nobody
// could reach it after a rebinding while it has nothing to say.
func (r *run) clientConfig(c *transport.Config) {
	if r.rebinds && c.KeepAlive == 0 {
		c.KeepAlive = 5 * time.Second
	}
	c.Resumed = r.resumed
}

// accepted waits with a server's connection until it is known whose peer it is:
// damaged packets make connections too, that come to nothing.
func (r *run) accepted(s *sim.Session) {
	s.Handle = func(ev *transport.Event) {
		if ev.Kind != transport.EventParameters {
			return
		}
		for _, p := range r.pairs {
			if p.client != s.Peer {
				continue
			}
			if p.server != nil && p.server.Secure {
				r.w.Fail("one client, two servers")
			}
			p.server = s
			p.attach(r.w, s)
		}
	}
}

// step is called after everything that happens.
func (r *run) step() error {
	for _, p := range r.pairs {
		if err := p.check(); err != nil {
			return err
		}
		for _, s := range []*sim.Session{p.client, p.server} {
			if s != nil && s.Closed != nil && !p.ending {
				return fmt.Errorf("%s: closed too early: %+v", s.End.Name, *s.Closed)
			}
		}
	}
	if p := r.pairs[0]; p.confirmed() && !p.ending {
		r.todo = slices.DeleteFunc(r.todo, func(a action) bool {
			if a.at > r.progress() {
				return false
			}
			a.do(p)
			return true
		})
	}
	return nil
}

func (r *run) done() bool {
	for _, p := range r.pairs {
		if !p.confirmed() || !p.done() {
			return false
		}
	}
	return true
}

// complete checks that as much was moved as the test promises.
func (r *run) complete() error {
	var bytes, streams [2]int64
	for _, p := range r.pairs {
		for _, s := range p.streams {
			for i, l := range s.legs {
				if l != nil && !l.cut && l.stop < 0 {
					bytes[side(s.server != (i == 1))] += l.got
					streams[side(s.server != (i == 1))]++
				}
			}
		}
	}
	for i := range 2 {
		if bytes[i] < 1<<20 || streams[i] < 4 {
			return fmt.Errorf("only %d bytes on %d streams by side %d", bytes[i], streams[i], i)
		}
	}
	return nil
}

// end ends a connection in one of the ways there are.
func (r *run) end(p *pair) {
	p.ending = true
	s := p.end(r.chance(50))
	switch n := r.rand.IntN(10); {
	case n < 7:
		r.stats["graceful closes"]++
		p.code = 1 + r.rand.Uint64N(1<<30)
		bye := func(c *transport.Conn, now mono.Time) { c.Close(now, true, p.code, "done") }
		s.Do(bye)
		if n == 0 {
			p.end(!s.Server).Do(bye)
		}
	case n < 9:
		r.stats["silent ends"]++
		s.Do(func(c *transport.Conn, now mono.Time) { c.Destroy(now) })
	default:
		r.stats["idle ends"]++
		for _, s := range []*sim.Session{p.client, p.server} {
			s.Do(func(c *transport.Conn, _ mono.Time) { c.SetKeepAlive(0) })
		}
	}
}

// ended checks how both ends learnt of the end. What tells them may get lost.
func (p *pair) ended() error {
	for _, s := range []*sim.Session{p.client, p.server} {
		switch why := s.Closed; why.Kind {
		case transport.CloseLocal, transport.ClosePeer:
			if !why.App || why.Code != p.code || why.Reason != "done" {
				return fmt.Errorf("%s: closed with %+v", s.End.Name, *why)
			}
		case transport.CloseIdle, transport.CloseReset, transport.CloseSilent:
		default:
			return fmt.Errorf("%s: closed with %+v", s.End.Name, *why)
		}
	}
	return nil
}

// gone reports whether nothing is left of any connection, nor on the wire.
func (r *run) gone() bool {
	for _, e := range []*sim.Endpoint{r.client, r.server} {
		for _, s := range e.Sessions {
			if !s.Gone {
				return false
			}
		}
	}
	return r.w.Net.InFlight() == 0
}

// count adds up what happened.
func (r *run) count() {
	c := r.w.Net.Counters()
	for _, f := range strings.Split(c.String(), ", ") {
		i := strings.LastIndexByte(f, ' ')
		n, _ := strconv.ParseUint(f[i+1:], 10, 64)
		r.stats["network: "+f[:i]] += n
	}
	r.stats["virtual seconds"] += uint64(time.Duration(r.w.Now()) / time.Second)
	r.stats["Retry packets"] += r.server.Mux.Stats().Retries
	for _, p := range r.pairs {
		r.stats["connections"]++
		r.stats["bytes moved"] += uint64(p.moved)
		r.stats["streams reset"] += p.stats.resets
		r.stats["streams stopped"] += p.stats.stops
		r.stats["streams stopped by the peer"] += p.stats.peerStops
		r.stats["streams with 0-RTT data"] += p.stats.early
		r.stats["0-RTT rejected"] += p.stats.rejected
		r.countEnd(p.client)
		r.countEnd(p.server)
		r.countDatagrams(p)
	}
	for _, p := range r.pairs {
		if p.server.Conn.Path().Local == preferredAddr {
			r.stats["moves to a preferred address"]++
		}
	}
	r.stats["connections that came to nothing"] += uint64(len(r.server.Sessions) - len(r.pairs))
}

func (r *run) countEnd(s *sim.Session) {
	st := s.Conn.Stats()
	if s.Conn.Version() != s.Conn.FirstVersion() {
		r.stats["compatible negotiations"]++
	}
	r.stats["incompatible negotiations"] += uint64(s.Seen[transport.EventRestart])
	r.stats["NEW_TOKEN tokens"] += uint64(s.Seen[transport.EventNewToken])
	r.stats["key updates"] += st.KeyUpdates
	r.stats["paths validated"] += uint64(s.PathsGood)
	r.stats["paths given up"] += uint64(s.PathsBad)
	r.stats["packets lost"] += st.PacketsLost
	r.stats["probe timeouts"] += st.PTOs
	r.stats["spurious losses"] += st.SpuriousLosses
	r.stats["persistent congestion"] += st.PersistentCongestion
	r.stats["congestion events"] += st.CongestionEvents
	r.stats["ECN failures"] += st.ECNFailures
	r.stats["blocked by flow control"] += st.BlockCount
	r.stats["blocked by the stream limit"] += uint64(s.Seen[transport.EventCredit])
	r.stats["undecryptable or malformed packets"] += st.PacketsIgnored
	r.stats["duplicate packets"] += st.Duplicates
	r.stats["datagrams enlarged"] += uint64(s.Grown)
	r.stats["datagrams made smaller again"] += uint64(s.Shrunk)
}

// figures shows where a run that failed stands.
func (r *run) figures() string {
	s := r.w.Net.String()
	for _, end := range []*sim.Endpoint{r.client, r.server} {
		for _, e := range end.Sessions {
			s += fmt.Sprintf("\n%s: secure %v, confirmed %v, streams %d, deadline %v, %+v",
				e.End.Name, e.Secure, e.Confirmed, e.Conn.Streams(), time.Duration(e.Conn.Deadline()), e.Conn.Stats())
		}
	}
	return s
}
