package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/internal/hostname"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// getTransport is what get asks through: HTTP/3, and HTTP/2 where that is allowed. It
// keeps the sessions in mind, to tell of them.
type getTransport struct {
	options getCommand
	config  *tls.Config
	places  resolved
	trace   func(string) // may be nil

	keylog   *keylogFile
	fallback *http.Transport

	mu       sync.Mutex
	byPlace  map[netip.Addr]*http3.Transport // the zero address is for names that are looked up
	sessions []*quic.ClientSession
	traced   int // how many of them trace has been told of
	qlogs    int
	qlogged  sync.Cond // told of every qlog that begins
	qlogErr  error
	writing  sync.WaitGroup // of qlogs
}

// newTransport makes the transport that a command line asks for. trace may be nil.
func newTransport(c *getCommand, trace func(string)) (*getTransport, error) {
	config, err := (&trust{CA: c.CACert, Pin: c.Pin, Insecure: c.Insecure}).config("--cacert")
	if err != nil {
		return nil, &codedError{badCACert, err.Error()}
	}
	t := &getTransport{options: *c, config: config, trace: trace, byPlace: make(map[netip.Addr]*http3.Transport)}
	t.qlogged.L = &t.mu
	if t.places, err = parseResolve(c.Resolve); err != nil {
		return nil, err
	}
	if c.Keylog != "" {
		f, err := os.OpenFile(c.Keylog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot write --keylog %s: %w", c.Keylog, reason(err))
		}
		t.keylog = &keylogFile{f: f}
		config.KeyLogWriter = t.keylog
	}
	if c.Fallback {
		t.fallback = newFallback(config, t.places)
	}
	return t, nil
}

// RoundTrip sends a request.
func (t *getTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.transport(r.URL).RoundTrip(r)
	if err != nil {
		return nil, getError(r.URL.Host, err)
	}
	t.traceSessions(resp)
	return resp, nil
}

// transport returns the transport for what a URL names.
func (t *getTransport) transport(u *url.URL) http.RoundTripper {
	place := t.places.find(u.Hostname(), cmp.Or(u.Port(), "443"))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPlace[place] == nil {
		t.byPlace[place] = t.newHTTP3(place)
	}
	return t.byPlace[place]
}

// newHTTP3 makes the transport for hosts that are to be looked for at one place.
func (t *getTransport) newHTTP3(place netip.Addr) *http3.Transport {
	h := &http3.Transport{
		TLSClientConfig:    t.config,
		DisableCompression: true,
		QUIC: quic.ConnectOptions{
			IdleTimeout:      idleTimeout,
			KeepAlive:        idleTimeout / 3, // an answer may take long
			HandshakeTimeout: time.Duration(t.options.ConnectTimeout),
			OCSPHandler:      t.began,
		},
	}
	t.options.choose(&h.QUIC)
	if place.IsValid() {
		h.QUIC.Lookup = lookupAt(place)
	}
	if t.options.TraceQlog != "" {
		h.QUIC.QLog, h.QUIC.Hooks.QLog = true, t.writeQlog
	}
	if t.fallback != nil {
		h.Fallback, h.PriorKnowledge = t.fallback, true
	}
	return h
}

// began is told of every session, when the server has shown its certificate.
func (t *getTransport) began(_ context.Context, s *quic.ClientSession, _ []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions = append(t.sessions, s)
	return nil
}

// lookupAt finds every name at one address.
func lookupAt(place netip.Addr) quic.LookupFunc {
	return func(_ context.Context, name string, family int) (netip.Addr, error) {
		if place.Is4() != (family == 4) {
			return netip.Addr{}, &net.DNSError{Name: name, Err: fmt.Sprintf("--resolve says %v", place), IsNotFound: true}
		}
		return place, nil
	}
}

// newFallback is for servers without HTTP/3.
func newFallback(config *tls.Config, places resolved) *http.Transport {
	dialer := new(net.Dialer)
	return &http.Transport{
		Proxy:              http.ProxyFromEnvironment,
		TLSClientConfig:    config.Clone(),
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if place := places.find(host, port); place.IsValid() {
				address = net.JoinHostPort(place.String(), port)
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}

// writeQlog writes the log of one session to a file of its own.
func (t *getTransport) writeQlog(log io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := t.options.TraceQlog
	if t.qlogs++; t.qlogs > 1 {
		name = fmt.Sprintf("%s.%d", name, t.qlogs)
	}
	t.qlogged.Broadcast()
	t.writing.Go(func() {
		f, err := os.Create(name)
		if err == nil {
			_, err = io.Copy(f, log)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.qlogErr = cmp.Or(t.qlogErr, fmt.Errorf("cannot write --trace-qlog %s: %w", name, reason(err)))
		}
	})
	return nil
}

// traceSessions tells of sessions that are new.
func (t *getTransport) traceSessions(resp *http.Response) {
	if t.trace == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if resp.ProtoMajor < 3 && resp.TLS != nil {
		t.trace(fmt.Sprintf("* %s over TCP", resp.Proto))
		t.traceTLS(resp.TLS)
	}
	for _, s := range t.sessions[t.traced:] {
		t.trace(fmt.Sprintf("* connected to %s (%v) from %v, QUIC version %v", nameOf(s), s.RemoteAddress(), s.Address(), s.Version()))
		state := s.ConnectionState()
		t.traceTLS(&state)
	}
	t.traced = len(t.sessions)
}

// nameOf is whom a session is with.
func nameOf(s *quic.ClientSession) string {
	return printable(cmp.Or(s.ServerName(), s.RemoteAddress().Addr().String()))
}

// traceTLS tells how a connection is protected, and whose certificate the server has.
func (t *getTransport) traceTLS(state *tls.ConnectionState) {
	t.trace(fmt.Sprintf("* %s, %s, %v, ALPN %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.CurveID, state.NegotiatedProtocol))
	if len(state.PeerCertificates) == 0 {
		return
	}
	cert := state.PeerCertificates[0]
	verified := "verified"
	if len(state.VerifiedChains) == 0 {
		verified = "not verified"
		if t.options.Pin != nil {
			verified = "has the key of --pin"
		}
	}
	t.trace(fmt.Sprintf("* certificate of %s from %s, %s to %s, %s", cmp.Or(namesOf(cert), cert.Subject.String()), cert.Issuer,
		cert.NotBefore.Format(time.DateOnly), cert.NotAfter.Format(time.DateOnly), verified))
	t.trace(fmt.Sprintf("* its key is %v", fingerprintOf(cert)))
}

// finish closes all sessions, and shows what is wanted of them.
func (t *getTransport) finish(a *app) error {
	t.mu.Lock()
	transports, sessions := t.byPlace, t.sessions
	t.mu.Unlock()
	if t.options.Stats && len(sessions) > 0 {
		a.notef("%s", sessionTable(sessions))
	}
	for _, h := range transports {
		h.Close()
	}
	if t.fallback != nil {
		t.fallback.CloseIdleConnections()
	}
	err := t.finishQlogs(len(sessions))
	if t.keylog != nil {
		err = errors.Join(err, t.keylog.close(t.options.Keylog))
	}
	return err
}

// keylogFile is where the secrets go. A handshake would fail with the write of its secrets, so
// that what cannot be written is told in the end instead.
type keylogFile struct {
	f *os.File

	mu  sync.Mutex
	err error
}

func (k *keylogFile) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		_, k.err = k.f.Write(line)
	}
	return len(line), nil
}

// close returns what the file could not take.
func (k *keylogFile) close(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := errors.Join(k.err, k.f.Close()); err != nil {
		return fmt.Errorf("cannot write --keylog %s: %w", name, reason(err))
	}
	return nil
}

// finishQlogs waits until the logs of so many sessions, or more, are written.
func (t *getTransport) finishQlogs(sessions int) error {
	if t.options.TraceQlog == "" {
		return nil
	}
	t.mu.Lock()
	for t.qlogs < sessions { // the hook comes when it comes, but it does come
		t.qlogged.Wait()
	}
	t.mu.Unlock()
	t.writing.Wait() // each log ends with its session
	return t.qlogErr
}

// resolved is what --resolve says: where to look for a name and port, by placeName. The name * is every other.
type resolved map[string]netip.Addr

// parseResolve reads --resolve.
func parseResolve(list []string) (resolved, error) {
	r := make(resolved)
	for _, text := range list {
		host, rest, _ := strings.Cut(text, ":")
		port, address, _ := strings.Cut(rest, ":")
		ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if host == "" || !validPort(port, 1) || err != nil {
			return nil, usagef("--resolve %q is not HOST:PORT:ADDRESS, such as example.org:443:192.0.2.7", text)
		}
		if u, err := parseURL("https://" + net.JoinHostPort(host, port)); err != nil || u.Hostname() != host {
			return nil, usagef("--resolve %q: %q is no name of a host", text, host)
		}
		place, err := placeName(host, port)
		if err != nil || host == "*." {
			return nil, usagef("--resolve %q: %q is no name of a host", text, host)
		}
		r[place] = ip
	}
	return r, nil
}

// find returns where to look for a host and port, and the zero address if nothing is said of them, or if the host is an
// address itself.
func (r resolved) find(host, port string) netip.Addr {
	place, err := placeName(host, port)
	if err != nil {
		return netip.Addr{}
	}
	if ip, ok := r[place]; ok {
		return ip
	}
	every, _ := placeName("*", port)
	return r[every]
}

// placeName joins the name of a host and a port as they are compared. A dot behind a name says that it is whole, and a port
// is a number.
func placeName(host, port string) (string, error) {
	ascii, err := hostname.ASCII(host)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", fmt.Errorf("%s is an address", ascii)
	}
	return net.JoinHostPort(strings.TrimSuffix(ascii, "."), strings.TrimLeft(port, "0")), nil
}
