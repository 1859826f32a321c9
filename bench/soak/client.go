package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// clients are those of one process.
type clients struct {
	o      options
	to     netip.AddrPort
	tls    *tls.Config
	socket *quic.Socket
}

// visit keeps a number of sessions until the context ends or standard input does.
func visit(ctx context.Context, to string, o options) error {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	der := make([]byte, 64<<10)
	n, err := os.Stdin.Read(der)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der[:n])
	if err != nil {
		return err
	}
	roots.AddCert(leaf)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()

	c := &clients{o: o, to: addr, tls: &tls.Config{RootCAs: roots, NextProtos: []string{alpn}, ClientSessionCache: tls.NewLRUClientSessionCache(16)}}
	c.socket, err = quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1", ReceiveBuffer: 4 << 20}})
	if err != nil {
		return err
	}
	defer c.socket.Destroy(nil)
	address, err := c.socket.Endpoints()[0].Bind(ctx)
	if err != nil {
		return err
	}
	fmt.Println(address)
	var all sync.WaitGroup
	for i := range o.sessions {
		all.Go(func() { c.live(ctx, rand.New(rand.NewPCG(o.seed, uint64(i)))) })
	}
	all.Wait()
	return nil
}

// live has one session after the other.
func (c *clients) live(ctx context.Context, r *rand.Rand) {
	life := time.Duration(c.o.sessions) * time.Second / time.Duration(c.o.churn)
	wait(ctx, time.Duration(r.Int64N(int64(c.o.ramp)+1))) // not all at once
	for ctx.Err() == nil {
		if err := c.session(ctx, r, time.Duration(r.ExpFloat64()*float64(life))); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "client:", err)
			wait(ctx, time.Second+time.Duration(r.Int64N(int64(4*time.Second))))
		}
	}
}

// shutdownTimeout is how long a client waits for its streams to end.
const shutdownTimeout = 5 * time.Second

// session makes a session, does a few things with it, and ends it in one of the ways there are.
func (c *clients) session(ctx context.Context, r *rand.Rand, life time.Duration) error {
	s, err := c.socket.Connect(ctx, quic.ConnectOptions{
		Address: c.to.Addr().String(), Port: int(c.to.Port()), ServerName: serverName, TLS: c.tls,
		IdleTimeout: c.o.idle, KeepAlive: c.o.idle / 3, HandshakeTimeout: handshakeTimeout,
	})
	if err != nil {
		return err
	}
	if err := s.Handshake(ctx); err != nil {
		s.Destroy(nil)
		return err
	}
	for end := time.Now().Add(life); ctx.Err() == nil && time.Now().Before(end); {
		if err := c.act(ctx, s, r); err != nil {
			s.Destroy(nil)
			return err
		}
		wait(ctx, min(time.Until(end), time.Duration(r.ExpFloat64()*float64(20*time.Second))))
	}
	switch r.IntN(4) {
	case 0:
		s.Destroy(nil) // the server finds out by itself
	case 1:
		s.CloseWithError(7, "enough")
	default:
		ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
		defer cancel()
		s.Shutdown(ctx) // it does not end by itself where the server waits for the rest of a request
	}
	return nil
}

// act does one thing with a session.
func (c *clients) act(ctx context.Context, s *quic.ClientSession, r *rand.Rand) error {
	st, err := s.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { st.Destroy(nil) })() // an answer may take long, behind the loss of a few probes
	size := []int{1, 1000, 100_000}[r.IntN(3)]
	ask := []byte{byte(size), byte(size >> 8), byte(size >> 16)}
	switch r.IntN(8) {
	case 0:
		st.Write(ask[:2]) // the server waits for the rest until the session ends
		return nil
	case 1:
		st.End(ask)
		st.Stop(1)
		return nil
	case 2:
		st.Write(ask)
		st.Reset(2)
		return nil
	}
	if _, err := st.End(ask); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, st)
	if err == nil && int(n) != size {
		err = fmt.Errorf("%d bytes of %d", n, size)
	}
	return err
}

// wait returns when the time is over, or the context.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
