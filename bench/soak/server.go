package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

const (
	alpn       = "soak"
	serverName = "server.example"
	// A handshake may take longer: there may be a thousand at a time, on few cores.
	handshakeTimeout = 30 * time.Second
)

// patience is how long sessions may be there that nobody is behind any more.
func (o *options) patience() time.Duration { return handshakeTimeout + 3*o.idle }

// server is what is soaked.
type server struct {
	socket   *quic.Socket
	cert     []byte
	sessions atomic.Int64 // that are there
	served   atomic.Int64 // requests
	answers  atomic.Int64 // that are being made or wait for their request: a goroutine each
	shaking  atomic.Int64 // handshakes under way: one goroutine of crypto/tls each, and one that feeds it if there is something to feed
	live     sync.Map     // the address of the client, by session
	killed   struct{ processes, sessions int }
	log      *os.File // what the processes say
}

// figures are what must not grow.
type figures struct {
	rss         int // KiB
	heap        int // KiB
	goroutines  int // but for those that the next two count
	answers     int // one goroutine each
	handshakes  int // up to two each
	descriptors int
}

// soak runs a server with clients in other processes.
func soak(ctx context.Context, o options) error {
	if err := warm(ctx); err != nil {
		return err
	}
	log, err := os.CreateTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	s := &server{log: log}
	before := s.now()
	if err := s.listen(ctx, o); err != nil {
		return err
	}
	defer s.socket.Destroy(nil)
	fmt.Printf("seed %d; %d sessions from %d processes, %d a second end; limits raised: connections a host\n", o.seed, o.sessions, o.processes, o.churn)
	list, err := s.run(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%d processes were killed in the middle of %d sessions; waiting for what they left\n", s.killed.processes, s.killed.sessions)
	for end := time.Now().Add(o.patience()); s.sessions.Load() > 0 && time.Now().Before(end); {
		wait(ctx, 100*time.Millisecond)
	}
	left := s.sessions.Load()
	s.socket.Destroy(nil)
	after := s.settled(ctx, before)
	fmt.Println("before ", before)
	fmt.Println("after  ", after)
	return errors.Join(judge(list, before, after), leftSessions(left, o.patience()), s.complaints())
}

// warm makes the runtime open what it opens once: for the network, and for processes.
func warm(ctx context.Context) error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer c.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return exec.CommandContext(ctx, self, "-h").Run()
}

func leftSessions(n int64, patience time.Duration) error {
	if n > 0 {
		return fmt.Errorf("%d sessions are still there, %v after the last client", n, patience)
	}
	return nil
}

// leftHeap is how much of the heap in KiB may be in use when all sessions and their socket have ended: tables do
// not shrink, of tokens that were used a bounded number is remembered, and the runtime keeps half a KiB for
// each goroutine that there was at a time.
func leftHeap(list []figures) int {
	most := 0
	for _, f := range list {
		most = max(most, f.goroutines+f.answers+2*f.handshakes)
	}
	return 8<<10 + most/2
}

// quarters of a run are what is compared.
const quarters = 4

// judge looks at how much grew from the second quarter of a run to the last, and compares its end with what was before.
// A tenth more is noise: how many streams clients have left open, and what the runtime keeps.
func judge(list []figures, before, after figures) error {
	var errs []error
	if n := len(list) / quarters; n > 0 {
		early, late := median(list[n:2*n]), median(list[3*n:])
		fmt.Println("early  ", early)
		fmt.Println("late   ", late)
		resident, live := drift(floors(list[n:], func(f figures) int { return f.rss })), drift(floors(list[n:], func(f figures) int { return f.heap }))
		fmt.Printf("resident memory %+d KiB and live heap %+d KiB along the line that lies closest to the least of each twelfth, after the first quarter\n", resident, live)
		grown := func(what string, early, late, slack int) {
			if late > early+early/10+slack {
				errs = append(errs, fmt.Errorf("%s grew from %d to %d", what, early, late))
			}
		}
		grown("resident memory (KiB)", early.rss, early.rss+resident, 16<<10)
		grown("live heap (KiB)", early.heap, early.heap+live, 8<<10)
		grown("goroutines", early.goroutines, late.goroutines, 100) // some 20 on a quiet machine; hooks and TLS have one more each while they run
		grown("descriptors", early.descriptors, late.descriptors, 3)
	} else {
		errs = append(errs, errors.New("too few reports to judge by: a longer -for, or a shorter -report"))
	}
	if after.goroutines > before.goroutines {
		errs = append(errs, fmt.Errorf("%d goroutines at the end, %d before", after.goroutines, before.goroutines))
	}
	if left := leftHeap(list); after.heap > left {
		errs = append(errs, fmt.Errorf("%d KiB of heap at the end, more than %d", after.heap, left))
	}
	if after.descriptors > before.descriptors {
		errs = append(errs, fmt.Errorf("%d descriptors at the end, %d before", after.descriptors, before.descriptors))
	}
	return errors.Join(errs...)
}

// twelfths of the time that memory is judged by have the least of each taken. What leaks never goes away. All else does:
// a thousand sessions that come at once when a process is replaced, and what is allocated while a collection
// has to wait for a processor.
const twelfths = 12

// floors are the least figures of the twelfths.
func floors(list []figures, get func(figures) int) (least []int) {
	for some := range slices.Chunk(list, (len(list)+twelfths-1)/twelfths) {
		least = append(least, get(slices.MinFunc(some, func(a, b figures) int { return get(a) - get(b) })))
	}
	return least
}

// drift is how much the straight line that lies closest to the figures rises from the first to the last.
func drift(list []int) int {
	var sx, sy, sxx, sxy float64
	for i, f := range list {
		x, y := float64(i), float64(f)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	n := float64(len(list))
	return int((n - 1) * (n*sxy - sx*sy) / max(1, n*sxx-sx*sx))
}

func median(list []figures) (m figures) {
	at := func(get func(figures) int) int {
		var v []int
		for _, f := range list {
			v = append(v, get(f))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	m.rss = at(func(f figures) int { return f.rss })
	m.heap = at(func(f figures) int { return f.heap })
	m.goroutines = at(func(f figures) int { return f.goroutines })
	m.answers = at(func(f figures) int { return f.answers })
	m.handshakes = at(func(f figures) int { return f.handshakes })
	m.descriptors = at(func(f figures) int { return f.descriptors })
	return m
}

// run lets clients come, and kills a process of theirs now and then: as many sessions die
// with their processes as end by themselves.
func (s *server) run(ctx context.Context, o options) (list []figures, err error) {
	r := rand.New(rand.NewPCG(o.seed, 0))
	interval := time.Duration(o.sessions/o.processes) * time.Second / time.Duration(o.churn)
	var processes []*process
	defer func() {
		for _, p := range processes {
			err = errors.Join(err, p.end())
		}
	}()
	begun := time.Now()
	start, report := begun, begun
	kill := begun.Add(time.Duration(o.processes) * interval / 2) // when all are there
	for next := uint64(1); ctx.Err() == nil && time.Since(begun) < o.length; wait(ctx, 100*time.Millisecond) {
		if len(processes) < o.processes && !time.Now().Before(start) {
			p, err := s.start(ctx, o, o.seed+next, interval)
			if err != nil {
				return nil, err
			}
			processes = append(processes, p)
			start = time.Now().Add(interval / 2)
			next++
		}
		if time.Now().After(kill) {
			i := r.IntN(len(processes))
			s.killed.processes++
			s.killed.sessions += s.with(processes[i].address)
			processes[i].kill()
			processes = slices.Delete(processes, i, i+1)
			kill = time.Now().Add(interval/2 + time.Duration(r.Int64N(int64(interval))))
		}
		if time.Since(report) >= o.report {
			report = time.Now()
			f := s.now()
			list = append(list, f)
			fmt.Printf("%6.0fs %6d sessions %8d requests %8d clients  %v\n", time.Since(begun).Seconds(), s.sessions.Load(), s.served.Load(), s.socket.Stats().ServerSessions, f)
		}
	}
	return list, ctx.Err()
}

// with returns how many sessions there are with a process.
func (s *server) with(address netip.AddrPort) (n int) {
	s.live.Range(func(_, a any) bool {
		if a == address {
			n++
		}
		return true
	})
	return n
}

// listen starts the server.
func (s *server) listen(ctx context.Context, o options) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{serverName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}
	if s.cert, err = x509.CreateCertificate(crand.Reader, tmpl, tmpl, key.Public(), key); err != nil {
		return err
	}
	s.socket, err = quic.NewSocket(quic.SocketOptions{
		Endpoint:              quic.EndpointOptions{Address: "127.0.0.1", ReceiveBuffer: 7 << 20, SendBuffer: 7 << 20},
		MaxConnectionsPerHost: 1 << 20,
	})
	if err != nil {
		return err
	}
	return s.socket.Listen(ctx, quic.ListenOptions{
		TLS:         &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{s.cert}, PrivateKey: key}}, NextProtos: []string{alpn}},
		IdleTimeout: o.idle, HandshakeTimeout: handshakeTimeout,
		Handler: func(session *quic.ServerSession) error {
			s.sessions.Add(1)
			s.live.Store(session, session.RemoteAddress())
			s.shaking.Add(1)
			shaken := sync.OnceFunc(func() { s.shaking.Add(-1) })
			session.SetHooks(quic.SessionHooks{
				Stream: func(st *quic.Stream) error { s.answers.Add(1); go s.answer(st); return nil },
				Secure: func() error { shaken(); return nil },
				Close:  func() { shaken(); s.sessions.Add(-1); s.live.Delete(session) },
			})
			return nil
		},
	})
}

// answer sends as many bytes as the request says.
func (s *server) answer(st *quic.Stream) {
	defer s.answers.Add(-1)
	defer st.Close()
	var ask [3]byte
	if _, err := io.ReadFull(st, ask[:]); err != nil {
		return
	}
	s.served.Add(1)
	st.Write(make([]byte, int(ask[0])|int(ask[1])<<8|int(ask[2])<<16))
}

// now takes the figures, after a collection and with what is free given back.
func (s *server) now() figures {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f := figures{heap: int(m.HeapAlloc >> 10), answers: int(s.answers.Load()), handshakes: int(s.shaking.Load())}
	f.goroutines = max(0, runtime.NumGoroutine()-f.answers-2*f.handshakes)
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		f.descriptors = len(list)
	}
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(v, &f.rss)
		}
	}
	return f
}

// settled takes the figures when goroutines have had a while to end.
func (s *server) settled(ctx context.Context, before figures) figures {
	runtime.GC() // pools give back what they have at the second collection in a row
	f := s.now()
	for end := time.Now().Add(15 * time.Second); f.goroutines > before.goroutines && time.Now().Before(end); f = s.now() {
		wait(ctx, 50*time.Millisecond)
	}
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("%7d KiB resident %7d KiB heap %4d goroutines beside %5d of answers and %4d of handshakes %3d descriptors", f.rss, f.heap, f.goroutines, f.answers, f.handshakes, f.descriptors)
}
