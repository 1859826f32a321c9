package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

const (
	alpn       = "flood"
	serverName = "server.example"
	patience   = 5 * time.Second        // that a new client has
	newEvery   = 100 * time.Millisecond // how often one comes
	enough     = 0.8                    // of the datagrams that are wanted, for a flood to count as one: they have to be sent by the same machine
	tries      = 5                      // that a flood has to reach its rate
)

// verdict is what one kind of flood came to.
type verdict struct {
	kind            string
	sent            int     // datagrams a second, as the flood says
	before, during  float64 // Mbit/s of the honest session
	dialed, refused int     // new honest clients
	stats           quic.SocketStats
	heapMiB         float64
}

// left is the part of the goodput that was left.
func (v *verdict) left() float64 { return v.during / v.before }

// broken names the promises that did not hold, at whatever rate the flood was.
func (v *verdict) broken(o options) error {
	var errs []error
	if v.left() < o.keep {
		errs = append(errs, fmt.Errorf("%s: %.2f of the goodput is left, less than %.2f", v.kind, v.left(), o.keep))
	}
	if v.refused > 0 {
		errs = append(errs, fmt.Errorf("%s: %d of %d new clients had no answer in %v", v.kind, v.refused, v.dialed, patience))
	}
	if slices.Contains(shaking, v.kind) && v.stats.RetryCount == 0 {
		errs = append(errs, fmt.Errorf("%s: nobody was asked for a Retry", v.kind))
	}
	if v.dialed == 0 || v.before == 0 || v.during == 0 {
		errs = append(errs, fmt.Errorf("%s: nothing was measured", v.kind))
	}
	return errors.Join(errs...)
}

// judge runs every kind of flood and prints what it came to. One that has not had its rate, for
// the machine is not ours alone, goes on for another turn: only the rate of the last one counts,
// everything else in each.
func judge(ctx context.Context, o options) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "flood\tdatagrams/s\tMbit/s aside\tMbit/s under it\tleft\tnew clients\tRetry\tover the bound\tanswers withheld\theap MiB")
	var broken []error
	for _, kind := range o.kinds {
		for n := 1; ; n++ {
			v, err := try(ctx, kind, o)
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			fmt.Fprintf(table, "%s\t%d\t%.0f\t%.0f\t%.2f\t%d of %d\t%d\t%d\t%d\t%.0f\n", kind, v.sent, v.before, v.during, v.left(),
				v.dialed-v.refused, v.dialed, v.stats.RetryCount, v.stats.Overloaded, v.stats.RepliesSuppressed, v.heapMiB)
			broken = append(broken, v.broken(o))
			if o.keep == 0 || float64(v.sent) >= enough*float64(o.rate) {
				break
			}
			if n == tries {
				broken = append(broken, fmt.Errorf("%s: this machine sent %d datagrams a second, less than %.1f of the %d wanted, beside what it is aimed at", kind, v.sent, enough, o.rate))
				break
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return errors.Join(broken...)
}

// try measures an honest session beside a flood that is aimed elsewhere, and under it.
func try(ctx context.Context, kind string, o options) (*verdict, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, roots, err := serve(ctx, o)
	if err != nil {
		return nil, err
	}
	defer s.Destroy(nil)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer sink.Close()

	c, err := dial(ctx, "127.0.0.1", s, roots)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var got atomic.Int64
	if err := c.download(ctx, &got); err != nil {
		return nil, err
	}
	v := &verdict{kind: kind}
	if v.before, _, err = measure(ctx, kind, sink.LocalAddr().String(), o, &got, nil); err != nil {
		return nil, err
	}
	stop, err := profile(o.profile)
	if err != nil {
		return nil, err
	}
	defer stop()
	v.during, v.sent, err = measure(ctx, kind, s.Address().String(), o, &got, func(ctx context.Context) {
		v.dialed, v.refused = visit(ctx, s, roots)
	})
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	v.heapMiB, v.stats = float64(m.HeapAlloc)/(1<<20), s.Stats()
	return v, err
}

// profile begins a CPU profile, if there is a file for it.
func profile(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// measure floods an address, and returns what the session got meanwhile in Mbit/s.
func measure(ctx context.Context, kind, to string, o options, got *atomic.Int64, beside func(context.Context)) (float64, int, error) {
	wait, err := attacker(ctx, kind, to, o)
	if err != nil {
		return 0, 0, err
	}
	// The first datagrams come when they are all made.
	time.Sleep(o.each / 3)
	during, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	if beside != nil {
		done.Go(func() { beside(during) })
	}
	from, begun := got.Load(), time.Now()
	sent, err := wait()
	rate := float64(got.Load()-from) * 8 / 1e6 / time.Since(begun).Seconds()
	stop()
	done.Wait()
	return rate, sent, err
}

// visit lets new clients come until the context ends, each with one small request.
func visit(ctx context.Context, s *quic.Socket, roots *x509.CertPool) (dialed, refused int) {
	for ctx.Err() == nil {
		dialed++
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		c, err := dial(one, "127.0.0.2", s, roots)
		if err == nil {
			err = c.ask(one)
			c.close()
		}
		cancel()
		if err != nil {
			refused++
			fmt.Fprintln(os.Stderr, "a new client:", err)
		}
		select {
		case <-time.After(newEvery):
		case <-ctx.Done():
		}
	}
	return dialed, refused
}

// serve starts a server that sends what is asked for: without end to who says 'b', a
// byte to others.
func serve(ctx context.Context, o options) (*quic.Socket, *x509.CertPool, error) {
	cert, roots, err := certificate()
	if err != nil {
		return nil, nil, err
	}
	s, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1", ReceiveBuffer: 7 << 20, SendBuffer: 7 << 20}})
	if err != nil {
		return nil, nil, err
	}
	err = s.Listen(ctx, quic.ListenOptions{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{alpn}}})
	if err != nil {
		return nil, nil, err
	}
	go func() {
		for {
			session, err := s.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					st, err := session.AcceptStream(ctx)
					if err != nil {
						return
					}
					go answer(st, o.limit)
				}
			}()
		}
	}()
	return s, roots, nil
}

func answer(st *quic.Stream, limit int) {
	defer st.Close()
	what := make([]byte, 1)
	if _, err := io.ReadFull(st, what); err != nil {
		return
	}
	if what[0] != 'b' {
		st.Write(what)
		return
	}
	const step = 2 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	begun, sent := time.Now(), 0
	buf := make([]byte, 64<<10)
	for range tick.C {
		due := int(time.Since(begun).Seconds() * float64(limit) * 1e6 / 8)
		for sent < due {
			n, err := st.Write(buf[:min(len(buf), due-sent)])
			if err != nil {
				return
			}
			sent += n
		}
	}
}

// client is an honest one, with a socket of its own.
type client struct {
	socket  *quic.Socket
	session *quic.ClientSession
}

func dial(ctx context.Context, from string, s *quic.Socket, roots *x509.CertPool) (*client, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: from, ReceiveBuffer: 7 << 20}})
	if err != nil {
		return nil, err
	}
	c := &client{socket: socket}
	to := s.Address()
	c.session, err = c.socket.Connect(ctx, quic.ConnectOptions{
		Address: to.Addr().String(), Port: int(to.Port()), ServerName: serverName, HandshakeTimeout: patience,
		TLS: &tls.Config{RootCAs: roots, NextProtos: []string{alpn}},
	})
	if err == nil {
		err = c.session.Handshake(ctx)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) close() { c.socket.Destroy(nil) }

// ask makes a small request.
func (c *client) ask(ctx context.Context) error {
	st, err := c.session.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return err
	}
	if _, err := st.End([]byte{'r'}); err != nil {
		return err
	}
	if d, ok := ctx.Deadline(); ok {
		st.SetReadDeadline(d)
	}
	b, err := io.ReadAll(st)
	if err == nil && string(b) != "r" {
		err = fmt.Errorf("the answer is %q", b)
	}
	return err
}

// download asks for bytes without end, and counts them.
func (c *client) download(ctx context.Context, got *atomic.Int64) error {
	st, err := c.session.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return err
	}
	if _, err := st.End([]byte{'b'}); err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := st.Read(buf)
			got.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	return nil
}

func certificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{serverName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots, nil
}
