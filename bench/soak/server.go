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
	"runtime/metrics"
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

// server is what is soaked.
type server struct {
	socket   *quic.Socket
	cert     []byte
	sessions atomic.Int64 // that are there
	served   atomic.Int64 // requests
	answers  atomic.Int64 // that are being made or wait for their request: a goroutine each
	shaking  atomic.Int64 // handshakes under way: one goroutine of crypto/tls each, and one that feeds it if there is something to feed
	kept     atomic.Int64 // sessions that no collection has found to be forgotten
	live     sync.Map     // the address of the client, by session
	killed   struct{ processes, sessions int }
	log      *os.File // what the processes say
}

// soak runs a server with clients in other processes.
func soak(ctx context.Context, o options) error {
	if err := warm(ctx, foreseen*o.sessions); err != nil {
		return err
	}
	log, err := os.CreateTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	s := &server{log: log}
	v := verdict{o: o}
	if v.before, err = s.now(); err != nil {
		return err
	}
	if err := s.listen(ctx, o); err != nil {
		return err
	}
	defer s.destroy()
	fmt.Printf("seed %d; %d sessions from %d processes, %d a second end; limits raised: connections a host\n", o.seed, o.sessions, o.processes, o.churn)
	if v.list, err = s.run(ctx, o); err != nil {
		return err
	}
	fmt.Printf("%d processes were killed in the middle of %d sessions; waiting for what they left\n", s.killed.processes, s.killed.sessions)
	v.made = int(s.socket.Stats().ServerSessions)
	v.held, err = s.settled(ctx, patience, func(f figures) bool { return f.sessions == 0 && f.kept == 0 })
	if err != nil {
		return err
	}
	s.destroy()
	v.after, err = s.settled(ctx, 15*time.Second, func(f figures) bool { return f.all <= v.before.all && f.descriptors <= v.before.descriptors })
	if err != nil {
		return err
	}
	fmt.Println("before ", v.before)
	fmt.Println("held   ", v.held)
	fmt.Println("after  ", v.after)
	v.failed, v.odd = s.complaints()
	return v.judge(os.Stdout)
}

// destroy ends the socket and lets go of it, and so of its tables, which do not shrink.
func (s *server) destroy() {
	if s.socket != nil {
		s.socket.Destroy(nil)
		s.socket = nil
	}
}

// warm makes the runtime take what it takes once: descriptors for the network and for processes, and
// memory to describe each of a number of goroutines at a time, which it keeps when they end.
func warm(ctx context.Context, goroutines int) error {
	var all, begun sync.WaitGroup
	end := make(chan struct{})
	begun.Add(goroutines)
	for range goroutines {
		all.Go(func() { begun.Done(); <-end })
	}
	begun.Wait()
	close(end)
	all.Wait()
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

// run lets clients come, and kills a process of theirs now and then: about as many sessions die
// with their processes as end by themselves. The first process is spared, so that some may grow old;
// of the others the oldest is killed, so that their ages, and with them how many streams are left open, stay evenly
// spread.
func (s *server) run(ctx context.Context, o options) (list []figures, err error) {
	r := rand.New(rand.NewPCG(o.seed, 0))
	interval := o.interval()
	var processes []*process
	defer func() {
		for _, p := range processes {
			err = errors.Join(err, p.end())
		}
	}()
	begun := time.Now()
	start, report := begun, begun
	kill := begun.Add(time.Duration(o.processes) * interval / 2) // when all are there
	next := uint64(1)
	for t := begun; ctx.Err() == nil && t.Sub(begun) < o.length; t = time.Now() {
		if len(processes) < o.processes && !t.Before(start) {
			p, err := s.start(ctx, o, o.seed+next, interval)
			if err != nil {
				return nil, err
			}
			processes = append(processes, p)
			start = t.Add(interval / 2)
			next++
		}
		if i := min(1, o.processes-1); t.After(kill) && i < len(processes) {
			s.killed.processes++
			s.killed.sessions += s.with(processes[i].address)
			if err := processes[i].kill(); err != nil {
				return nil, err
			}
			processes = slices.Delete(processes, i, i+1)
			kill = t.Add(interval/2 + time.Duration(r.Int64N(int64(interval))))
		}
		if t.Sub(report) >= o.report {
			report = t
			f, err := s.now()
			if err != nil {
				return nil, err
			}
			list = append(list, f)
			fmt.Printf("%6.0fs %8d clients  %v\n", t.Sub(begun).Seconds(), s.socket.Stats().ServerSessions, f)
		}
		wait(ctx, 100*time.Millisecond)
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
			s.kept.Add(1)
			runtime.AddCleanup(session, func(n *atomic.Int64) { n.Add(-1) }, &s.kept)
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
func (s *server) now() (f figures, err error) {
	debug.FreeOSMemory()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // at the collection, and not what came since
	metrics.Read(live)
	f = figures{
		heap: int(live[0].Value.Uint64() >> 10), sessions: int(s.sessions.Load()), served: int(s.served.Load()), kept: int(s.kept.Load()),
		answers: int(s.answers.Load()), handshakes: int(s.shaking.Load()), all: runtime.NumGoroutine(),
	}
	f.goroutines = max(0, f.all-f.answers-2*f.handshakes)
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return f, fmt.Errorf("descriptors: %w", err)
	}
	f.descriptors = len(list)
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return f, fmt.Errorf("resident memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err := fmt.Sscan(v, &f.rss)
			return f, err
		}
	}
	return f, errors.New("resident memory: no VmRSS in /proc/self/status")
}

// settled takes the figures when they are what they should be, or have had long enough to be.
func (s *server) settled(ctx context.Context, within time.Duration, ok func(figures) bool) (f figures, err error) {
	for end := time.Now().Add(within); ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
		runtime.GC() // pools give back what they have at the second collection in a row
		if f, err = s.now(); err != nil || ok(f) || time.Now().After(end) {
			return f, err
		}
	}
	return f, ctx.Err()
}
