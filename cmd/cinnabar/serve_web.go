package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

const (
	// headerTimeout is how long a client may take to say what it wants.
	headerTimeout = 10 * time.Second
	// quietTimeout is how long a client may have nothing to ask.
	quietTimeout = 2 * time.Minute
)

// ports are one port number, by UDP and TCP.
type ports struct {
	udp *net.UDPConn
	tcp net.Listener
}

func bindBoth(ctx context.Context, host, port string) (*ports, error) {
	var config net.ListenConfig
	udp, err := config.ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	p := &ports{udp: udp.(*net.UDPConn)}
	p.tcp, err = config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(p.address().Port)))
	if err != nil {
		udp.Close()
		return nil, err
	}
	return p, nil
}

func portInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

func (p *ports) address() *net.UDPAddr { return p.udp.LocalAddr().(*net.UDPAddr) }

// web is a site's servers.
type web struct{ servers []server }

// server is one of them.
type server struct {
	name     string
	serve    func() error // until it is shut down, with http.ErrServerClosed then
	shutdown func(ctx context.Context) error
	close    func() error
}

// newWeb makes the servers for a handler.
func newWeb(p *ports, cert tls.Certificate, h http.Handler, versions []quic.Version, notef func(string, ...any)) (*web, error) {
	logger := log.New(noteWriter(notef), "", 0)
	udp, advertised, err := newServer(p.udp, cert, h, versions, logger)
	if err != nil {
		p.udp.Close()
		p.tcp.Close()
		return nil, err
	}
	tcp := newTCPServer(p.tcp, cert, advertised, logger)
	return &web{[]server{udp, tcp}}, nil
}

// newServer serves HTTP/3 over some versions of QUIC, nil for all. The handler that it returns is for HTTP/1.1 and HTTP/2, and tells
// of it.
func newServer(c *net.UDPConn, cert tls.Certificate, h http.Handler, versions []quic.Version, logger *log.Logger) (server, http.Handler, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{PacketConn: c})
	if err != nil {
		return server{}, nil, err
	}
	s := &http3.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       quietTimeout,
		ErrorLog:          logger,
		QUIC:              quic.ListenOptions{Versions: versions},
	}
	serve := func() error { return s.Serve(socket) }
	end := func() error {
		defer socket.Destroy(nil)
		return s.Close()
	}
	return server{"UDP", serve, s.Shutdown, end}, s.Advertise(h), nil
}

// newTCPServer serves HTTP/1.1 and HTTP/2.
func newTCPServer(l net.Listener, cert tls.Certificate, h http.Handler, logger *log.Logger) server {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       quietTimeout,
		ErrorLog:          logger,
	}
	return server{"TCP", func() error { return s.ServeTLS(l, "", "") }, s.Shutdown, s.Close}
}

// noteWriter makes notes of what a logger writes.
type noteWriter func(format string, args ...any)

func (w noteWriter) Write(p []byte) (int, error) {
	w("%s", printable(strings.TrimSuffix(string(p), "\n")))
	return len(p), nil
}

// run serves until the context ends, and gives requests some time to finish then.
func (w *web) run(ctx context.Context, grace time.Duration) error {
	ended := make(chan error, len(w.servers))
	var serving sync.WaitGroup
	for _, s := range w.servers {
		serving.Go(func() { ended <- fmt.Errorf("cannot serve over %s any more: %w", s.name, s.serve()) })
	}
	defer serving.Wait()
	var err error
	select {
	case err = <-ended: // one without the other would be half a site
		grace = 0
	case <-ctx.Done():
	}
	if cut := w.stop(context.WithoutCancel(ctx), grace); cut && err == nil {
		err = fmt.Errorf("requests were cut off after %v: %w", grace, errInterrupted)
	}
	return err
}

// stop ends all servers, and reports whether requests were cut off.
func (w *web) stop(ctx context.Context, grace time.Duration) (cut bool) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	results := make([]error, len(w.servers))
	var stopping sync.WaitGroup
	for i, s := range w.servers {
		stopping.Go(func() { results[i] = s.shutdown(ctx) })
	}
	stopping.Wait()
	for i, s := range w.servers {
		cut = cut || results[i] != nil
		s.close()
	}
	return cut
}
