package sim_test

import (
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// totals counts what happened, over all seeds.
type totals map[string]uint64

func (t totals) add(other totals) {
	for name, n := range other {
		t[name] += n
	}
}

// String says how long it was, what the network did to datagrams and the programs to
// connections, each by kind, and what else happened.
func (t totals) String() string {
	var b strings.Builder
	hours, checked, faults := t["virtual session-seconds"]/3600, t[bytesChecked], uint64(0)
	for _, kind := range faultKinds {
		faults += t[network+kind]
	}
	fmt.Fprintf(&b, "%d virtual session-hours, %d faults injected, %d bytes checked\n", hours, faults, checked)
	for _, part := range []struct{ title, prefix string }{{"faults injected, by kind", network}, {"calls, by kind", calls}, {"what happened", ""}} {
		fmt.Fprintf(&b, "%s:\n", part.title)
		for _, name := range slices.Sorted(maps.Keys(t)) {
			kind, in := strings.CutPrefix(name, part.prefix)
			switch {
			case part.prefix == network && (!in || !slices.Contains(faultKinds, kind)):
			case part.prefix == calls && !in:
			case part.prefix == "" && strings.HasPrefix(name, calls):
			case part.prefix == "" && slices.Contains(faultKinds, strings.TrimPrefix(name, network)):
			default:
				fmt.Fprintf(&b, "%12d  %s\n", t[name], kind)
			}
		}
	}
	return b.String()
}

// How counts are named.
const (
	network      = "network: "
	calls        = "calls: "
	bytesChecked = "bytes checked" // against those sent, one by one
)

// faultKinds are the counters of sim.Counters that are faults. What is unmapped was sent to a
// NAT's mapping that is gone.
var faultKinds = []string{
	"lost", "tail-dropped", "too big", "blackholed", "corrupted", "corrupt and dropped", "reordered", "duplicated",
	"marked", "bleached", "rebound", "unmapped",
}

// must is what has to happen in a hundred seeds, or the test does not test it.
var must = []string{
	"calls: open", "calls: write", "calls: read", "calls: reset", "calls: stop", "calls: close", "calls: destroy", "calls: migrate",
	"calls: key update", "calls: ping", "calls: busy", "calls: block list", "calls: keep-alive", "calls: priority", "calls: too late",
	"Retry packets", "NEW_TOKEN tokens", "compatible negotiations", "incompatible negotiations", "key updates", "streams with 0-RTT data",
	"streams stopped by the peer",
	"moves to a preferred address", "graceful closes", "silent ends", "idle ends", "paths validated",
	"packets lost", "probe timeouts", "spurious losses", "persistent congestion", "ECN failures", "congestion events",
	"connections broken off", "clients blocked", "clients refused", "visits",
	"blocked by flow control", "blocked by the stream limit", "datagrams enlarged", "datagrams made smaller again",
	"undecryptable or malformed packets", "duplicate packets", "unreliable datagrams acknowledged", "unreliable datagrams lost",
}

// mustRarely is what has to happen in a thousand.
var mustRarely = []string{"0-RTT rejected", "paths given up", "connections that came to nothing"}

const replay = "CINNABAR_SIM_SEED=%d go test -count=1 -run '^%s$' -v ./internal/sim"

// logged says that every connection keeps a qlog.
var logged = os.Getenv("CINNABAR_SIM_QLOG") != ""

// TestSeeds runs transfers through everything that the network can do, a
// different mix for each seed: no byte is wrong or missing, and what must be
// true at every step is.
func TestSeeds(t *testing.T) {
	first, count, limit := seedsFromEnv(t)
	sum, failures := totals{}, 0
	var lock sync.Mutex
	var next atomic.Uint64
	next.Store(first)
	over := func() bool { return false }
	if limit > 0 {
		begun := time.Now()
		over = func() bool { return time.Since(begun) >= limit }
	}
	t.Run("all", func(t *testing.T) {
		for range min(count, uint64(runtime.GOMAXPROCS(0))) {
			t.Run("worker", func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1) - 1; seed < first+count && !over(); seed = next.Add(1) - 1 {
					r, err := try(seed, nil)
					lock.Lock()
					if sum.add(r.stats); err != nil {
						failures++
						t.Errorf("seed %d: %v\nreplay: "+replay+"\n%v", seed, err, seed, "TestSeeds", r)
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
	count = min(count, next.Load()-first)
	t.Logf("%d seeds from %d, %v", count, first, sum)
	var names []string
	if count >= 100 {
		names = append(names, must...)
		for _, kind := range faultKinds {
			names = append(names, network+kind)
		}
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

// seedsFromEnv returns what the environment wants: how many seeds, or for how long.
func seedsFromEnv(t *testing.T) (first, count uint64, limit time.Duration) {
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
	if s := os.Getenv("CINNABAR_SIM_TIME"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			t.Fatalf("CINNABAR_SIM_TIME: %q is not a duration such as 10m", s)
		}
		count, limit = math.MaxUint32, d
	}
	return first, count, limit
}

// TestSeedsTLS is TestSeeds with crypto/tls, for a hundredth of the seeds, one after
// the other: the random numbers of the process follow from each.
func TestSeedsTLS(t *testing.T) {
	first, count, _ := seedsFromEnv(t)
	sum := totals{}
	for seed := first; seed < first+(count+99)/100; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			r, err := try(seed, newStacks(t))
			if sum.add(r.stats); err != nil {
				t.Errorf("seed %d: %v\nreplay: "+replay+"\n%v", seed, err, seed, "TestSeedsTLS", r)
			}
		}) {
			break
		}
	}
	t.Logf("%d seeds from %d on crypto/tls, %v", (count+99)/100, first, sum)
}

// TestSeedRepeats: the same seed is the same run, to the bit.
func TestSeedRepeats(t *testing.T) {
	for seed := range uint64(3) {
		a, err := try(seed, nil)
		b, again := try(seed, nil)
		if err != nil || again != nil || a.w.Digest() != b.w.Digest() {
			t.Errorf("seed %d: %v and %v, digests %x and %x", seed, err, again, a.w.Digest(), b.w.Digest())
		}
	}
}

// try runs one seed; a panic is an error.
func try(seed uint64, engine engine) (r *run, err error) {
	r = newRun(seed, engine)
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
		p.client = p.home.Connect(serverAddr, r.clientConfig)
		a := p.attach(r.w, p.client)
		if p.client.Conn.UsingEarlyData() {
			p.client.Do(func(*transport.Conn, mono.Time) { a.start() })
		}
	}
	if err := r.talk(); err != nil {
		return fmt.Errorf("%w\n%s", err, r.figures())
	}
	r.count()
	if err := thrifty(r.w.Now(), r.endpoints()...); err != nil {
		return err
	}
	for _, p := range r.pairs {
		if !p.ending {
			r.end(p)
		}
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
		for _, a := range p.ends {
			if a != nil {
				a.tooLate(r.w.Now())
			}
		}
	}
	return r.w.Finish()
}

// talk lets the traffic happen, and what comes after it.
func (r *run) talk() error {
	if r.breakOff > 0 {
		if err := r.w.Run(r.breakOff, nil); err != nil {
			return err
		}
		r.breakUp()
	}
	if err := r.w.Run(6*time.Hour, r.done); err != nil {
		return err
	}
	if err := r.complete(); err != nil {
		return err
	}
	return r.live()
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
	if r.stranger != nil {
		r.stranger.call(r)
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
		if !p.broken && (!p.confirmed() || !p.done()) {
			return false
		}
	}
	return r.stranger == nil || r.stranger.done || r.pairs[0].broken
}

// complete checks that as much was moved as the test promises.
func (r *run) complete() error {
	var bytes, streams [2]int64
	for _, p := range r.pairs {
		if p.broken {
			return nil
		}
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
	if s == nil {
		s = p.client
	}
	ways := 10
	if p.broken { // one that is idle would first go on
		ways = 9
	}
	switch n := r.rand.IntN(ways); {
	case n < 7:
		r.stats["graceful closes"]++
		p.called("close")
		p.code = 1 + r.rand.Uint64N(1<<30)
		bye := func(c *transport.Conn, now mono.Time) { c.Close(now, true, p.code, "done") }
		s.Do(bye)
		if other := p.end(!s.Server); n == 0 && other != nil {
			other.Do(bye)
		}
	case n < 9:
		r.stats["silent ends"]++
		p.called("destroy")
		s.Do(func(c *transport.Conn, now mono.Time) { c.Destroy(now) })
	default:
		r.stats["idle ends"]++
		for _, s := range p.sessions() {
			s.Do(func(c *transport.Conn, _ mono.Time) { c.SetKeepAlive(0) })
		}
	}
}

// sessions returns the ends that there are.
func (p *pair) sessions() []*sim.Session {
	if p.server == nil {
		return []*sim.Session{p.client}
	}
	return []*sim.Session{p.client, p.server}
}

// ended checks how both ends learnt of the end. What tells them may get lost.
func (p *pair) ended() error {
	for _, s := range p.sessions() {
		switch why := s.Closed; why.Kind {
		case transport.CloseLocal, transport.ClosePeer:
			if !p.broken && (!why.App || why.Code != p.code || why.Reason != "done") {
				return fmt.Errorf("%s: closed with %+v", s.End.Name, *why)
			}
			if p.broken && !(why.App && why.Code == p.code) && !(!why.App && why.Code == uint64(wire.ApplicationError)) {
				return fmt.Errorf("%s: broken off with %+v", s.End.Name, *why)
			}
		case transport.CloseHandshakeTimeout:
			if !p.broken {
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
	for _, e := range r.endpoints() {
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
		r.stats[network+f[:i]] += n
	}
	r.stats["virtual session-seconds"] += uint64(time.Duration(r.w.Now())/time.Second) * uint64(len(r.pairs))
	r.stats["Retry packets"] += r.server.Mux.Stats().Retries
	for _, p := range r.pairs {
		r.stats["connections"]++
		r.stats[bytesChecked] += uint64(p.moved)
		for kind, n := range p.stats.calls {
			r.stats[calls+kind] += n
		}
		r.stats["streams stopped by the peer"] += p.stats.peerStops
		r.stats["streams with 0-RTT data"] += p.stats.early
		r.stats["0-RTT rejected"] += p.stats.rejected
		for _, s := range p.sessions() {
			r.countEnd(s)
		}
		r.countDatagrams(p)
	}
	for _, p := range r.pairs {
		if p.server != nil && p.server.Conn.Path().Local == preferredAddr {
			r.stats["moves to a preferred address"]++
		}
	}
	r.stats["connections that came to nothing"] += uint64(len(r.server.Sessions) - r.known())
}

// thrifty: honest ends, whatever the network does to them, stay below a tenth of what
// a connection may waste on frames that change nothing, but for the PINGs that they were told to send.
func thrifty(now mono.Time, ends ...*sim.Endpoint) error {
	pings := uint64(0)
	for _, end := range ends {
		if every := end.KeepAlive(); every > 0 {
			pings = max(pings, uint64(time.Duration(now)/every))
		}
	}
	for _, end := range ends {
		for _, s := range end.Sessions {
			lived := uint64(time.Duration(now) / time.Second)
			if n := s.Conn.Stats().UselessFrames; n >= 1000+33*lived+pings {
				return fmt.Errorf("%s: %d useless frames among %d packets", end.Name, n, s.Conn.Stats().PacketsReceived)
			}
		}
	}
	return nil
}

func (r *run) countEnd(s *sim.Session) {
	st := s.Conn.Stats()
	if log := s.Conn.QLog(); log != nil {
		records, dropped := log.Take()
		r.stats["bytes of qlog"] += uint64(len(records))
		r.stats["records of qlog dropped"] += dropped
	}
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
	r.stats["useless frames"] += st.UselessFrames
	r.stats["datagrams enlarged"] += uint64(s.Grown)
	r.stats["datagrams made smaller again"] += uint64(s.Shrunk)
}

// figures shows where a run that failed stands.
func (r *run) figures() string {
	s := r.w.Net.String()
	for _, end := range r.endpoints() {
		for _, e := range end.Sessions {
			s += fmt.Sprintf("\n%s: secure %v, confirmed %v, streams %d, deadline %v, %+v",
				e.End.Name, e.Secure, e.Confirmed, e.Conn.Streams(), time.Duration(e.Conn.Deadline()), e.Conn.Stats())
		}
	}
	return s
}
