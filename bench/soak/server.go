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

// soak runs a server with clients in other processes.
func soak(ctx context.Context, o options) error {
	if err := warm(ctx, 4*o.sessions); err != nil {
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
	defer s.destroy()
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
	s.destroy()
	after := s.settled(ctx, before)
	fmt.Println("before ", before)
	fmt.Println("after  ", after)
	return errors.Join(judge(os.Stdout, list, before, after), leftSessions(left, o.patience()), s.complaints())
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

func leftSessions(n int64, patience time.Duration) error {
	if n > 0 {
		return fmt.Errorf("%d sessions are still there, %v after the last client", n, patience)
	}
	return nil
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
			oldest := processes[0] // so that their ages, and with them how many streams are left open, stay evenly spread
			s.killed.processes++
			s.killed.sessions += s.with(oldest.address)
			oldest.kill()
			processes = processes[1:]
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
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // at the collection, and not what came since
	metrics.Read(live)
	f := figures{heap: int(live[0].Value.Uint64() >> 10), answers: int(s.answers.Load()), handshakes: int(s.shaking.Load())}
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
