package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/hq"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// patience is how long a handshake, and a silent peer, may take: the networks of the cases lose
// a third of all datagrams.
const patience = 30 * time.Second

// keepAlive is after how much silence a client says something, so that the server hears of a NAT
// that has forgotten it in the middle of a download.
const keepAlive = 2 * time.Second

// connectOptions completes the options for the server of a URL.
func (e *endpoint) connectOptions(u *url.URL, o quic.ConnectOptions) (quic.ConnectOptions, error) {
	o.ServerName = u.Hostname()
	if e.serverName != "" {
		o.ServerName = e.serverName
	}
	o.Hooks.KeyLog = e.hooks().KeyLog
	o.HandshakeTimeout, o.IdleTimeout = patience, patience
	o.PreferredAddressPolicy = "accept"
	o.KeepAlive = keepAlive
	e.choose(&o)
	o.QLog = e.qlogDir != ""
	o.MaxData, o.MaxStreamDataBidiLocal = 96<<10, 32<<10 // small, so that they have to grow
	if o.SecureContext != nil {
		o.ALPN = hq.ALPN
		return o, nil
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{NextProtos: []string{hq.ALPN}}
	}
	roots, err := e.roots()
	if o.TLS.RootCAs = roots; roots == nil {
		o.AllowUnauthenticated = true
	}
	return o, err
}

// roots returns whom the client trusts; nil if the runner does not say.
func (e *endpoint) roots() (*x509.CertPool, error) {
	b, err := os.ReadFile(filepath.Join(e.certs, "ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s/ca.pem has no certificate", e.certs)
	}
	return pool, nil
}

// socketTo opens a socket of the family that a URL's server is reached by, at the address that
// it returns.
func (e *endpoint) socketTo(ctx context.Context, u *url.URL) (*quic.Socket, netip.AddrPort, error) {
	ip, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", portOf(u))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	at := netip.AddrPortFrom(ip[0].Unmap(), uint16(port))
	so := e.socketOptions()
	so.Endpoint.Type = family(at.Addr())
	s, err := quic.NewSocket(so)
	return s, at, err
}

func family(a netip.Addr) string {
	if a.Is6() {
		return quic.UDP6
	}
	return quic.UDP4
}

// dial starts a session with the server of a URL, from a socket of its own, which the caller
// destroys.
func (e *endpoint) dial(ctx context.Context, u *url.URL, o quic.ConnectOptions) (*quic.Socket, *quic.ClientSession, error) {
	o, err := e.connectOptions(u, o)
	if err != nil {
		return nil, nil, err
	}
	s, at, err := e.socketTo(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	o.Address, o.Port, o.Type = at.Addr().String(), int(at.Port()), family(at.Addr())
	c, err := s.Connect(ctx, o)
	if err != nil {
		s.Destroy(nil)
		return nil, nil, err
	}
	return s, c, nil
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// target returns the URL whose server all requests are for.
func (e *endpoint) target() (*url.URL, error) {
	if len(e.requests) == 0 {
		return nil, errors.New("REQUESTS has no URL")
	}
	return url.Parse(e.requests[0])
}

// once fetches files over one session, while something happens to it.
func (e *endpoint) once(ctx context.Context, o quic.ConnectOptions, requests []string, meanwhile func(context.Context, *quic.ClientSession) error) error {
	u, err := e.target()
	if err != nil {
		return err
	}
	socket, s, err := e.dial(ctx, u, o)
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	errs := make(chan error, len(requests))
	for _, r := range requests {
		go func() { errs <- e.fetch(ctx, s, r) }()
	}
	if meanwhile != nil {
		if err := meanwhile(ctx, s); err != nil {
			return err
		}
	}
	for range requests {
		if err := <-errs; err != nil {
			return err
		}
	}
	// Close once the server has all that we owe it. If it hears nothing of us any more, we are done too.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = s.Shutdown(ctx)
	return nil
}

// update begins a key update as soon as one is allowed.
func update(ctx context.Context, s *quic.ClientSession) error {
	for {
		if s.HandshakeConfirmed() {
			if ok, err := s.UpdateKey(); ok || err != nil {
				return err
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-s.Closed():
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wholeSeconds is the clock of clients that resume. crypto/tls knows when a ticket came to the
// second only, and makes it older than it is by up to one: some servers take that for a replay,
// and refuse early data.
func wholeSeconds() time.Time { return time.Now().Truncate(time.Second) }

// again fetches the first file, and the others over a session that resumes that one.
func (e *endpoint) again(ctx context.Context, o quic.ConnectOptions) error {
	if len(e.requests) < 2 {
		return errors.New("REQUESTS has less than two URLs")
	}
	o.TLS = &tls.Config{NextProtos: []string{hq.ALPN}, ClientSessionCache: tls.NewLRUClientSessionCache(1), Time: wholeSeconds}
	tickets := make(chan struct{}, 1)
	o.Hooks.SessionTicket = func(_, _ []byte) error {
		select {
		case tickets <- struct{}{}:
		default:
		}
		return nil
	}
	wait := func(ctx context.Context, s *quic.ClientSession) error {
		select {
		case <-tickets:
			return nil
		case <-s.Closed():
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := e.once(ctx, o, e.requests[:1], wait); err != nil {
		return err
	}
	return e.once(ctx, o, e.requests[1:], nil)
}

// fetch asks for one file and saves it.
func (e *endpoint) fetch(ctx context.Context, s *quic.ClientSession, request string) error {
	u, err := url.Parse(request)
	if err != nil {
		return err
	}
	return e.save(u, func(w io.Writer) error {
		_, err := hq.Get(ctx, &s.Session, u.Path, w)
		return err
	})
}

// save makes the file of a URL.
func (e *endpoint) save(u *url.URL, write func(io.Writer) error) error {
	root, err := os.OpenRoot(e.downloads)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.Create(path.Base(u.Path))
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
