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
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

const (
	alpn        = "soak"
	serverName  = "server.example"
	idleTimeout = 10 * time.Second
)

// server is what is soaked.
type server struct {
	socket   *quic.Socket
	cert     []byte
	sessions atomic.Int64 // that are there
	served   atomic.Int64 // requests
}

// figures are what must not grow.
type figures struct {
	rss         int // KiB
	heap        int // KiB
	goroutines  int
	descriptors int
}

// soak runs a server with clients in other processes.
func soak(ctx context.Context, o options) error {
	if err := warm(ctx); err != nil {
		return err
	}
	before := now()
	s, err := listen(ctx, o)
	if err != nil {
		return err
	}
	defer s.socket.Destroy(nil)
	fmt.Printf("seed %d; %d sessions from %d processes, %d a second end; limits raised: connections a host\n", o.seed, o.sessions, o.processes, o.churn)
	list, killed, err := s.run(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%d processes were killed; waiting for what they left\n", killed)
	for end := time.Now().Add(3 * idleTimeout); s.sessions.Load() > 0 && time.Now().Before(end); {
		wait(ctx, 100*time.Millisecond)
	}
	left := s.sessions.Load()
	s.socket.Destroy(nil)
	after := settled(ctx, before)
	fmt.Println("before ", before)
	fmt.Println("after  ", after)
	return errors.Join(judge(list, before, after), leftSessions(left))
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

func leftSessions(n int64) error {
	if n > 0 {
		return fmt.Errorf("%d sessions are still there, %v after the last client", n, 3*idleTimeout)
	}
	return nil
}

// judge compares the second quarter of a run with the last, and its end with what was before.
func judge(list []figures, before, after figures) error {
	var errs []error
	if n := len(list) / 4; n > 0 {
		early, late := median(list[n:2*n]), median(list[3*n:])
		fmt.Println("early  ", early)
		fmt.Println("late   ", late)
		grown := func(what string, early, late, slack int) {
			if late > early+early/5+slack {
				errs = append(errs, fmt.Errorf("%s grew from %d to %d", what, early, late))
			}
		}
		grown("resident memory (KiB)", early.rss, late.rss, 16<<10)
		grown("live heap (KiB)", early.heap, late.heap, 8<<10)
		grown("goroutines", early.goroutines, late.goroutines, 500)
		grown("descriptors", early.descriptors, late.descriptors, 3)
	} else {
		errs = append(errs, errors.New("too few reports to judge by: a longer -for, or a shorter -report"))
	}
	if after.goroutines > before.goroutines {
		errs = append(errs, fmt.Errorf("%d goroutines at the end, %d before", after.goroutines, before.goroutines))
	}
	if after.descriptors > before.descriptors {
		errs = append(errs, fmt.Errorf("%d descriptors at the end, %d before", after.descriptors, before.descriptors))
	}
	return errors.Join(errs...)
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
	m.descriptors = at(func(f figures) int { return f.descriptors })
	return m
}

// run lets clients come, and kills a process of theirs now and then.
func (s *server) run(ctx context.Context, o options) (list []figures, killed int, err error) {
	r := rand.New(rand.NewPCG(o.seed, 0))
	var processes []*process
	defer func() {
		for _, p := range processes {
			p.end()
		}
	}()
	begun := time.Now()
	kill, report := time.Now(), time.Now()
	for next := uint64(1); ctx.Err() == nil && time.Since(begun) < o.length; {
		for len(processes) < o.processes {
			p, err := s.start(ctx, o, o.seed+next)
			if err != nil {
				return nil, killed, err
			}
			processes = append(processes, p)
			kill = time.Now().Add(time.Duration(1+r.IntN(8)) * time.Second)
			next++
		}
		wait(ctx, 100*time.Millisecond)
		if time.Now().After(kill) {
			i := r.IntN(len(processes))
			processes[i].kill()
			processes = slices.Delete(processes, i, i+1)
			killed++
		}
		if time.Since(report) >= o.report {
			report = time.Now()
			f := now()
			list = append(list, f)
			fmt.Printf("%6.0fs %6d sessions %8d requests %8d clients  %v\n", time.Since(begun).Seconds(), s.sessions.Load(), s.served.Load(), s.socket.Stats().ServerSessions, f)
		}
	}
	return list, killed, ctx.Err()
}

// process is one with clients.
type process struct {
	*exec.Cmd
	stdin io.WriteCloser
}

func (s *server) start(ctx context.Context, o options, seed uint64) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{Cmd: exec.CommandContext(ctx, self, "-client", s.socket.Address().String(), "-seed", fmt.Sprint(seed),
		"-processes", "1", "-sessions", fmt.Sprint(o.sessions/o.processes), "-churn", fmt.Sprint(max(1, o.churn/o.processes)))}
	p.Stderr = os.Stderr
	if p.stdin, err = p.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	_, err = p.stdin.Write(s.cert)
	return p, err
}

func (p *process) kill() {
	p.Process.Kill()
	p.end()
}

// end waits for the process, which ends when its standard input does.
func (p *process) end() {
	p.stdin.Close()
	p.Wait()
}

// listen starts the server.
func listen(ctx context.Context, o options) (*server, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{serverName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}
	s := &server{}
	if s.cert, err = x509.CreateCertificate(crand.Reader, tmpl, tmpl, key.Public(), key); err != nil {
		return nil, err
	}
	s.socket, err = quic.NewSocket(quic.SocketOptions{
		Endpoint:              quic.EndpointOptions{Address: "127.0.0.1", ReceiveBuffer: 7 << 20, SendBuffer: 7 << 20},
		MaxConnectionsPerHost: 1 << 20,
	})
	if err != nil {
		return nil, err
	}
	err = s.socket.Listen(ctx, quic.ListenOptions{
		TLS:         &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{s.cert}, PrivateKey: key}}, NextProtos: []string{alpn}},
		IdleTimeout: idleTimeout,
		Handler: func(session *quic.ServerSession) error {
			s.sessions.Add(1)
			session.SetHooks(quic.SessionHooks{
				Stream: func(st *quic.Stream) error { go s.answer(st); return nil },
				Close:  func() { s.sessions.Add(-1) },
			})
			return nil
		},
	})
	return s, err
}

// answer sends as many bytes as the request says.
func (s *server) answer(st *quic.Stream) {
	defer st.Close()
	var ask [3]byte
	if _, err := io.ReadFull(st, ask[:]); err != nil {
		return
	}
	s.served.Add(1)
	st.Write(make([]byte, int(ask[0])|int(ask[1])<<8|int(ask[2])<<16))
}

// now takes the figures, after a collection.
func now() figures {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f := figures{heap: int(m.HeapAlloc >> 10), goroutines: runtime.NumGoroutine()}
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
func settled(ctx context.Context, before figures) figures {
	f := now()
	for end := time.Now().Add(15 * time.Second); f.goroutines > before.goroutines && time.Now().Before(end); f = now() {
		wait(ctx, 50*time.Millisecond)
	}
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("%7d KiB resident %7d KiB heap %6d goroutines %4d descriptors", f.rss, f.heap, f.goroutines, f.descriptors)
}
