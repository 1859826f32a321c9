package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// unverified is a client that takes every certificate, with other protocols before and
// after the one that the server takes.
func unverified() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"first", "second", "test"}}
}

// patient is for sessions whose handshake is held up.
func patient(name string) ConnectOptions {
	return ConnectOptions{TLS: unverified(), ServerName: name, HandshakeTimeout: time.Hour, IdleTimeout: None}
}

var errBoom = errors.New("boom")

// helloCalls is a ClientHelloHandler that does what the name the client asks for says, and remembers.
type helloCalls struct {
	mu       sync.Mutex
	other    *securecontext.Context
	unfit    *securecontext.Context
	hellos   []ClientHello
	sessions map[string]*ServerSession
	ended    []string // names whose context was over before their time
}

func (c *helloCalls) handle(ctx context.Context, s *ServerSession, h ClientHello) (*securecontext.Context, error) {
	c.mu.Lock()
	c.hellos = append(c.hellos, h)
	c.sessions[h.ServerName] = s
	c.mu.Unlock()
	switch h.ServerName {
	case "other.test":
		return c.other, nil
	case "slow.test", "never.test":
		wait := 30 * time.Second
		if h.ServerName == "never.test" {
			wait = time.Hour
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			c.mu.Lock()
			c.ended = append(c.ended, h.ServerName)
			c.mu.Unlock()
			return nil, ctx.Err()
		}
	case "bad.test":
		return nil, errBoom
	case "unfit.test":
		return c.unfit, nil
	case "panic.test":
		panic(errBoom)
	}
	return nil, nil
}

func (c *helloCalls) session(name string) *ServerSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[name]
}

func newHelloNet(t *testing.T) (*memNet, *helloCalls) {
	root := newIssuer(t, "root", nil, nil)
	calls := &helloCalls{
		other:    newContext(t, root.leaf(t, "other").options(t)),
		unfit:    newContext(t, securecontext.Options{HonorCipherOrder: true}),
		sessions: make(map[string]*ServerSession),
	}
	m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})}
	m.server = m.socketAt(memServer, SocketOptions{Server: ListenOptions{ClientHelloHandler: calls.handle}})
	m.client = m.socket(SocketOptions{})
	err := m.server.Listen(t.Context(), ListenOptions{
		SecureContext: newContext(t, root.leaf(t, "listener").options(t)), ALPN: "test", IdleTimeout: None,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, calls
}

// shown makes a session to the name and returns whose certificate it was shown.
func (m *memNet) shown(name string) string {
	m.t.Helper()
	p := m.pair(ConnectOptions{TLS: unverified(), ServerName: name})
	p.exchange(m.t)
	if mine := p.server.Certificate(); mine == nil || mine.Subject.CommonName != p.client.PeerCertificate(false).Subject.CommonName {
		m.t.Errorf("the server shows %+v by its own account", mine)
	}
	return p.client.PeerCertificate(false).Subject.CommonName
}

// The handler hears of every client once, and says which context its session goes on with.
func TestClientHelloHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, calls := newHelloNet(t)
		defer m.close()
		for range 2 {
			if got := m.shown("plain.test"); got != "listener" {
				t.Errorf("with nil, the certificate is %q's", got)
			}
		}
		covers(t, "CHE-001")
		covers(t, "CHE-007")
		if got := m.shown("other.test"); got != "other" {
			t.Errorf("with a context, the certificate is %q's", got)
		}
		covers(t, "CHE-006")
		if got := m.shown("plain.test"); got != "listener" {
			t.Errorf("afterwards, the certificate is %q's", got)
		}
		if n := len(calls.hellos); n != 4 {
			t.Errorf("%d calls for 4 sessions", n)
		}
		covers(t, "CHE-002")
		h := calls.hellos[2]
		if h.ALPN != "test" {
			t.Errorf("ALPN is %q", h.ALPN)
		}
		if h.ServerName != "other.test" {
			t.Errorf("ServerName is %q", h.ServerName)
		}
		covers(t, "CHE-004")
		for _, name := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
			if !slices.Contains(h.Ciphers, name) || len(h.Ciphers) != 3 {
				t.Errorf("Ciphers are %q, want %s", h.Ciphers, name)
			}
		}
	})
	// What crypto/tls offers has always the same order, so that is seen without it.
	h := clientHello(&tls.ClientHelloInfo{
		CipherSuites:    []uint16{0x0a0a, tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_AES_128_GCM_SHA256},
		SupportedProtos: []string{"x", "b", "a"},
	}, []string{"a", "b"})
	if !slices.Equal(h.Ciphers, []string{"TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}) {
		t.Errorf("Ciphers are %q", h.Ciphers)
	}
	covers(t, "CHE-005")
	if h.ALPN != "b" || h.ServerName != "" {
		t.Errorf("ALPN is %q, ServerName %q", h.ALPN, h.ServerName)
	}
	covers(t, "CHE-003")
}

// A handler that takes its time holds up its own session, not the handshake's clock, and
// no other session; but it has a limit.
func TestClientHelloHandlerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, calls := newHelloNet(t)
		defer m.close()
		start := time.Now()
		slow, never := m.connect(patient("slow.test")), m.connect(patient("never.test"))
		m.shown("plain.test")
		if d := time.Since(start); d > time.Second || slow.HandshakeComplete() || never.HandshakeComplete() {
			t.Errorf("the session beside took %v", d)
		}
		if err := slow.Handshake(t.Context()); err != nil || time.Since(start) < 30*time.Second || time.Since(start) > 31*time.Second {
			t.Errorf("the slow one: %v after %v", err, time.Since(start))
		}
		covers(t, "LIS-006")
		err := never.Handshake(t.Context())
		if d := time.Since(start); !errors.Is(err, &TransportError{ErrorCode: 1, Remote: true}) || d < 60*time.Second || d > 61*time.Second {
			t.Errorf("the one that never ends: %v after %v", err, d)
		}
		synctest.Wait()
		if s := calls.session("never.test"); !errors.As(s.Err(), new(*HandshakeTimeoutError)) || !slices.Equal(calls.ended, []string{"never.test"}) {
			t.Errorf("at the server: %v, contexts %q", s.Err(), calls.ended)
		}
		if n, m := m.server.Stats().HandshakeTimeouts, m.client.Stats().HandshakeTimeouts; n != 1 || m != 0 {
			t.Errorf("%d handshakes have taken too long at the server, %d at the client", n, m)
		}
		// The context ends with the session.
		gone := m.connect(patient("slow.test"))
		time.Sleep(time.Second)
		calls.session("slow.test").Destroy(nil)
		synctest.Wait()
		if len(calls.ended) != 2 {
			t.Error("the handler's context outlives the session")
		}
		<-gone.Closed()
	})
}

// A handler's error or panic ends its own session with it, and no other.
func TestClientHelloHandlerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, calls := newHelloNet(t)
		defer m.close()
		slow := m.connect(patient("slow.test"))
		for _, name := range []string{"bad.test", "panic.test"} {
			c := m.connect(ConnectOptions{TLS: unverified(), ServerName: name})
			if err := c.Handshake(t.Context()); !errors.Is(err, &TransportError{ErrorCode: 0x150, Remote: true}) {
				t.Errorf("%s: the client's handshake: %v", name, err)
			}
			s := calls.session(name)
			var panicked *HandlerError
			if !s.Destroyed() || !errors.Is(s.Err(), errBoom) || errors.As(s.Err(), &panicked) != (name == "panic.test") {
				t.Errorf("%s: the server's session: %v", name, s.Err())
			}
			if name == "bad.test" && s.Err() != errBoom {
				t.Errorf("the error is %#v", s.Err())
			}
		}
		// A context that is no server's, for want of a certificate, is as bad.
		c := m.connect(ConnectOptions{TLS: unverified(), ServerName: "unfit.test"})
		var te *TransportError
		if err := c.Handshake(t.Context()); !errors.As(err, &te) || !te.Remote {
			t.Errorf("unfit.test: the client's handshake: %v", err)
		}
		if s := calls.session("unfit.test"); !s.Destroyed() || s.Err() == nil || s.HandshakeComplete() {
			t.Errorf("unfit.test: the server's session: %v", s.Err())
		}
		m.shown("plain.test")
		if err := slow.Handshake(t.Context()); err != nil {
			t.Errorf("a session beside: %v", err)
		}
		covers(t, "CHE-008")
	})
}

// ocspNet is a server whose OCSPHandler is handle, and the context it has.
func ocspNet(t *testing.T, lo ListenOptions) (*memNet, *issuer, *securecontext.Context) {
	root := newIssuer(t, "root", nil, nil)
	m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})}
	m.server, m.client = m.socketAt(memServer, SocketOptions{}), m.socket(SocketOptions{})
	if lo.TLS == nil {
		lo.SecureContext = newContext(t, root.leaf(t, "listener").options(t))
	}
	lo.ALPN = "test"
	if err := m.server.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	return m, root, lo.SecureContext
}

// What the server's handler answers reaches the client's, before Secure.
func TestOCSP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests []OCSPRequest
		var sessions []*ServerSession
		var other *securecontext.Context
		m, root, listener := ocspNet(t, ListenOptions{OCSPHandler: func(ctx context.Context, s *ServerSession, r OCSPRequest) (OCSPResponse, error) {
			requests, sessions = append(requests, r), append(sessions, s)
			time.Sleep(50 * time.Millisecond)
			if r.ServerName == "other.test" {
				return OCSPResponse{Data: []byte("other"), Context: other}, ctx.Err()
			}
			return OCSPResponse{Data: []byte("hello")}, ctx.Err()
		}})
		defer m.close()
		other = newContext(t, root.leaf(t, "other").options(t))
		connect := func(name string) (p *pair, got []string, order []string) {
			start := time.Now()
			o := ConnectOptions{TLS: unverified(), ServerName: name, Hooks: SessionHooks{Secure: func() error { order = append(order, "secure"); return nil }}}
			o.OCSPHandler = func(ctx context.Context, s *ClientSession, data []byte) error {
				got, order = append(got, string(data)), append(order, "response")
				if s.HandshakeComplete() || ctx.Err() != nil || s.Client() != s {
					t.Error("the client's handler is called too late")
				}
				return nil
			}
			p = m.pair(o)
			synctest.Wait()
			if d := time.Since(start); d < 50*time.Millisecond {
				t.Errorf("the handshake did not wait: %v", d)
			}
			p.exchange(t)
			return p, got, order
		}
		p, got, order := connect("name.test")
		if len(requests) != 1 || sessions[0] != p.server {
			t.Fatalf("%d requests", len(requests))
		}
		covers(t, "OCS-002") // an OCSPRequest, and from a server's session, is one of type 'request'
		covers(t, "LIS-029")
		if requests[0].ServerName != "name.test" {
			t.Errorf("ServerName is %q", requests[0].ServerName)
		}
		covers(t, "OCS-003")
		if requests[0].Context != listener {
			t.Error("Context is not the listener's")
		}
		covers(t, "OCS-004")
		if !slices.Equal(got, []string{"hello"}) {
			t.Errorf("the client's handler was given %q", got)
		}
		covers(t, "OCS-005")
		covers(t, "OCS-008")
		covers(t, "OCS-009")
		covers(t, "CON-033")
		if !slices.Equal(order, []string{"response", "secure"}) {
			t.Errorf("the order is %q", order)
		}
		covers(t, "OCS-007")
		refused := m.connect(ConnectOptions{TLS: unverified(), ServerName: "refused.test", OCSPHandler: func(context.Context, *ClientSession, []byte) error { return errBoom }})
		if err := refused.Handshake(t.Context()); !errors.Is(err, errBoom) || refused.Err() != errBoom {
			t.Errorf("the handler has failed: %v, %v", err, refused.Err())
		}
		covers(t, "OCS-007")
		if name := p.client.PeerCertificate(false).Subject.CommonName; name != "listener" {
			t.Errorf("the certificate is %q's", name)
		}

		p, got, _ = connect("other.test")
		if name := p.client.PeerCertificate(false).Subject.CommonName; name != "other" || !slices.Equal(got, []string{"other"}) {
			t.Errorf("with another context, the certificate is %q's and the response %q", name, got)
		}
		covers(t, "OCS-006")

		stapledIfAsked(t, p.server)
		covers(t, "LIS-029")
	})
}

// A client that does not ask is not answered; crypto/tls's ask always.
func stapledIfAsked(t *testing.T, s *ServerSession) {
	t.Helper()
	asked := 0
	v := &serverChoice{base: serverConfig(), plain: serverConfig()}
	v.o = &ListenOptions{OCSPHandler: func(context.Context, *ServerSession, OCSPRequest) (OCSPResponse, error) {
		asked++
		return OCSPResponse{Data: []byte("hello")}, nil
	}}
	for _, asks := range []bool{false, true} {
		h := &tls.ClientHelloInfo{ServerName: "name.test", Extensions: []uint16{0, 10, 43}}
		if asks {
			h.Extensions = append(h.Extensions, 5)
		}
		config, err := v.config(newTLSRunner(&s.Session), h)
		if err != nil || len(config.Certificates[0].OCSPStaple) > 0 != asks || asked > 0 != asks {
			t.Errorf("asks %v: %v, %d requests", asks, err, asked)
		}
	}
}

// The context that OCSPHandler is told is the one that the session has by then.
func TestOCSPAfterClientHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var other, told *securecontext.Context
		m, root, listener := ocspNet(t, ListenOptions{
			ClientHelloHandler: func(context.Context, *ServerSession, ClientHello) (*securecontext.Context, error) { return other, nil },
			OCSPHandler: func(_ context.Context, _ *ServerSession, r OCSPRequest) (OCSPResponse, error) {
				told = r.Context
				return OCSPResponse{Data: []byte("x")}, nil
			},
		})
		defer m.close()
		m.pair(ConnectOptions{TLS: unverified()})
		if told == nil || told != listener {
			t.Error("the context is not the listener's")
		}
		other = newContext(t, root.leaf(t, "other").options(t))
		p := m.pair(ConnectOptions{TLS: unverified()})
		if name := p.client.PeerCertificate(false).Subject.CommonName; told != other || name != "other" {
			t.Errorf("the context is another than the session's, which shows %q", name)
		}
		covers(t, "OCS-004")
	})
}

// The proof goes with the certificate wherever that comes from, and a client that is sent
// none is told so.
func TestOCSPOfAnyCertificate(t *testing.T) {
	cert, _ := identity()
	for name, test := range map[string]struct {
		config *tls.Config
		data   []byte
	}{
		"one":            {&tls.Config{Certificates: []tls.Certificate{cert}}, []byte("staple")},
		"several":        {&tls.Config{Certificates: []tls.Certificate{cert, cert}}, []byte("staple")},
		"none stapled":   {&tls.Config{Certificates: []tls.Certificate{cert}}, nil},
		"GetCertificate": {&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}, []byte("staple")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _, _ := ocspNet(t, ListenOptions{TLS: test.config, OCSPHandler: func(_ context.Context, _ *ServerSession, r OCSPRequest) (OCSPResponse, error) {
					if r.Context != nil {
						t.Error("a listener without a context has one")
					}
					return OCSPResponse{Data: test.data}, nil
				}})
				defer m.close()
				var calls [][]byte
				m.pair(ConnectOptions{TLS: unverified(), OCSPHandler: func(_ context.Context, _ *ClientSession, data []byte) error {
					calls = append(calls, data)
					return nil
				}})
				if len(calls) != 1 || string(calls[0]) != string(test.data) || (calls[0] == nil) != (test.data == nil) {
					t.Errorf("the client was told %q", calls)
				}
				if cert.OCSPStaple != nil {
					t.Error("the program's certificate was changed")
				}
			})
		})
	}
}

// At either end an error or a panic of the handler destroys the session with it, and the
// handshake fails at the other.
func TestOCSPFails(t *testing.T) {
	fail := map[string]func() error{
		"error": func() error { return errBoom },
		"panic": func() error { panic(errBoom) },
	}
	for name, f := range fail {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var server *ServerSession
				m, _, _ := ocspNet(t, ListenOptions{OCSPHandler: func(_ context.Context, s *ServerSession, r OCSPRequest) (OCSPResponse, error) {
					server = s
					if r.ServerName != "client.test" {
						time.Sleep(time.Second)
					}
					if r.ServerName != "server.test" {
						return OCSPResponse{Data: []byte("x")}, nil
					}
					return OCSPResponse{}, f()
				}})
				defer m.close()
				c := m.connect(ConnectOptions{TLS: unverified(), ServerName: "server.test"})
				if err := c.Handshake(t.Context()); !errors.Is(err, &TransportError{ErrorCode: 0x150, Remote: true}) {
					t.Errorf("the client's handshake: %v", err)
				}
				if server == nil {
					t.Fatal("the server's handler was not called")
				}
				if err := server.Err(); !errors.Is(err, errBoom) || name == "error" && err != errBoom {
					t.Errorf("the server's session: %v", err)
				}
				covers(t, "OCS-001")
				start := time.Now()
				slow := m.pair(ConnectOptions{TLS: unverified(), ServerName: "slow.test"})
				if d := time.Since(start); d < time.Second || server != slow.server {
					t.Errorf("the handshake waited for %v", d)
				}
				stapledIfAsked(t, slow.server)
				covers(t, "OCS-001")

				var told error
				c = m.connect(ConnectOptions{
					TLS: unverified(), ServerName: "client.test",
					OCSPHandler: func(context.Context, *ClientSession, []byte) error { return f() },
					Hooks:       SessionHooks{Secure: func() error { t.Error("secure"); return nil }, Error: func(err error) { told = err }},
				})
				if err := c.Handshake(t.Context()); !errors.Is(err, errBoom) {
					t.Errorf("the client's handshake: %v", err)
				}
				time.Sleep(time.Second)
				if !errors.Is(c.Err(), errBoom) || !errors.Is(told, errBoom) || name == "error" && told != errBoom {
					t.Errorf("the client's session: %v, hook %v", c.Err(), told)
				}
				var te *TransportError
				if !errors.As(server.Err(), &te) || !te.Remote || te.ErrorCode>>8 != 1 {
					t.Errorf("the server's session: %v", server.Err())
				}
			})
		})
	}
}

// A client that asks for no proof is not proved anything.
func TestOCSPUnasked(t *testing.T) {
	called := 0
	o := &ListenOptions{TLS: serverConfig(), ALPN: "test", OCSPHandler: func(context.Context, *ServerSession, OCSPRequest) (OCSPResponse, error) {
		called++
		return OCSPResponse{Data: []byte("x")}, nil
	}}
	plain := forced(o.TLS, nil)
	v := &serverChoice{o: o, base: plain, plain: plain}
	r := newTLSRunner(new(Session))
	config, err := v.config(r, &tls.ClientHelloInfo{Extensions: []uint16{0, 16, 43, 51}})
	if called != 0 || err != nil || config.Certificates[0].OCSPStaple != nil {
		t.Errorf("%d calls, %v", called, err)
	}
}
