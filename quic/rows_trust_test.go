package quic

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// serveSecure listens with a context.
func serveSecure(t testing.TB, o securecontext.Options, lo ListenOptions) *memNet {
	t.Helper()
	lo.ALPN, lo.SecureContext = "test", newContext(t, o)
	return newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, lo)
}

// dialSecure connects with a context and shakes hands.
func (m *memNet) dialSecure(o securecontext.Options, co ConnectOptions) (*ClientSession, error) {
	m.t.Helper()
	co.ALPN, co.SecureContext = "test", newContext(m.t, o)
	c := m.connect(co)
	return c, c.Handshake(m.t.Context())
}

// trusting are the options of a client that trusts some.
func trusting(list ...*issuer) securecontext.Options {
	var o securecontext.Options
	for _, i := range list {
		o.CA = append(o.CA, i.pem())
	}
	return o
}

// wantVerified wants a session up whose peer is authenticated.
func wantVerified(t testing.TB, c *Session, err error) {
	t.Helper()
	if err != nil || !c.Authenticated() || c.AuthenticationError() != nil {
		t.Errorf("handshake %v, authenticated %v, %v", err, c.Authenticated(), c.AuthenticationError())
	}
}

// wantUntrusted wants a handshake that failed here because the peer is not authenticated,
// for a reason, with an alert.
func wantUntrusted(t testing.TB, c *Session, err error, reason string, alert uint64) {
	t.Helper()
	var v *VerifyError
	var te *TransportError
	if !errors.As(err, &v) || v.Code() != "ERR_QUIC_VERIFY_"+reason || !errors.As(err, &te) || te.ErrorCode != 0x100+alert || te.Remote {
		t.Errorf("handshake: %v, want reason %s with alert %d", err, reason, alert)
	}
	if c.Authenticated() || c.HandshakeComplete() || !errors.As(c.AuthenticationError(), &v) || v.Reason != reason {
		t.Errorf("authenticated %v, complete %v: %v", c.Authenticated(), c.HandshakeComplete(), c.AuthenticationError())
	}
}

// wantTolerated wants a session that is up with a peer that is not authenticated.
func wantTolerated(t testing.TB, c *Session, err error, reason string) {
	t.Helper()
	var v *VerifyError
	if err != nil || !c.HandshakeComplete() || c.Authenticated() || !errors.As(c.AuthenticationError(), &v) || v.Code() != "ERR_QUIC_VERIFY_"+reason {
		t.Errorf("handshake %v, authenticated %v: %v, want reason %s", err, c.Authenticated(), c.AuthenticationError(), reason)
	}
}

// Every reason not to trust a server ends the handshake, or is told where that is
// allowed.
func TestServerTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, other := newIssuer(t, "root", nil, nil), newIssuer(t, "other", nil, nil)
		leaf := func(change func(*x509.Certificate)) *issuer {
			return newIssuer(t, "server", root, func(c *x509.Certificate) { leafFor(c); change(c) })
		}
		now := time.Now()
		good := leaf(func(*x509.Certificate) {})
		revoked := leaf(func(*x509.Certificate) {})
		list := pemOf("X509 CRL", root.revokes(t, now, now.Add(time.Hour), revoked))
		stale := pemOf("X509 CRL", root.revokes(t, now.Add(-time.Hour), now.Add(-time.Second)))
		self := newIssuer(t, "server", nil, func(c *x509.Certificate) { leafFor(c); c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign })
		with := func(o securecontext.Options, crl ...[]byte) securecontext.Options {
			o.CRL = crl
			return o
		}
		if c := newContext(t, securecontext.Options{}); c.Config().RootCAs != nil {
			t.Error("without CA the anchors are not the host's")
		}
		for _, test := range []struct {
			name   string
			server *issuer
			client securecontext.Options
			reason string
			alert  uint64
		}{
			{"good", good, trusting(root), "", 0},
			{"good and not revoked", good, with(trusting(root), list), "", 0},
			{"one anchor of two in an element", good, securecontext.Options{CA: [][]byte{slices.Concat(other.pem(), root.pem())}}, "", 0},
			{"one of two elements", good, securecontext.Options{CA: [][]byte{other.pem(), root.pem()}}, "", 0},
			{"self-signed and trusted", self, trusting(self), "", 0},
			{"another authority", good, trusting(other), "UNKNOWN_AUTHORITY", 42},
			{"self-signed", self, trusting(root), "DEPTH_ZERO_SELF_SIGNED_CERT", 42},
			{"another host", leaf(func(c *x509.Certificate) { c.DNSNames = []string{"elsewhere"} }), trusting(root), "HOSTNAME_MISMATCH", 42},
			{"expired", leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), trusting(root), "CERT_HAS_EXPIRED", 42},
			{"not yet valid", leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }), trusting(root), "CERT_NOT_YET_VALID", 42},
			{"revoked", revoked, with(trusting(root), list), "CERT_REVOKED", 44},
			{"revoked, nobody says so", revoked, trusting(root), "", 0},
			{"old list", good, with(trusting(root), stale), "CRL_HAS_EXPIRED", 113},
			{"for clients only", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }), trusting(root), "INVALID_CERTIFICATE", 42},
		} {
			m := serveSecure(t, test.server.options(t), ListenOptions{})
			if test.reason == "" {
				c, err := m.dialSecure(test.client, ConnectOptions{})
				covers(t, "CON-003")
				anchors := x509.NewCertPool() // and no others than these
				for _, b := range test.client.CA {
					anchors.AppendCertsFromPEM(b)
				}
				if !anchors.Equal(newContext(t, test.client).Config().RootCAs) {
					t.Errorf("%s: the anchors are others than CA", test.name)
				}
				covers(t, "SES-030")
				wantVerified(t, &c.Session, err)
				m.close()
				continue
			}
			t.Log(test.name)
			c, err := m.dialSecure(test.client, ConnectOptions{})
			covers(t, "X-021")
			covers(t, "SES-031")
			covers(t, "CON-007")
			wantUntrusted(t, &c.Session, err, test.reason, test.alert)
			c, err = m.dialSecure(test.client, ConnectOptions{AllowUnauthenticated: true})
			wantTolerated(t, &c.Session, err, test.reason)
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// A server sees nobody who is authenticated where it has not asked.
			wantTolerated(t, &s.Session, s.Handshake(t.Context()), "NO_CERTIFICATE")
			(&pair{m.server, c, s}).exchange(t)
			m.close()
		}
		revokedTwice(t, revoked, trusting(root), list, pemOf("X509 CRL", other.revokes(t, now, now.Add(time.Hour), good)))
		bothAuthenticated(t, root, other, good)
		covers(t, "SES-030")
	})
}

// A server knows who its client is, if it has asked; before the handshake is over
// nobody is known.
func bothAuthenticated(t *testing.T, root, other, good *issuer) {
	t.Helper()
	asks := good.options(t)
	asks.CA = [][]byte{other.pem()}
	m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{ALPN: "test", SecureContext: newContext(t, asks), RequestCert: true})
	defer m.close()
	shows := other.leaf(t, "client").options(t)
	shows.CA = [][]byte{root.pem()}
	c := m.connect(ConnectOptions{ALPN: "test", SecureContext: newContext(t, shows)})
	if c.Authenticated() || c.AuthenticationError() != nil {
		t.Errorf("authenticated %v, %v before the handshake", c.Authenticated(), c.AuthenticationError())
	}
	wantVerified(t, &c.Session, c.Handshake(t.Context()))
	s, err := m.server.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, &s.Session, s.Handshake(t.Context()))
}

// Before the handshake is complete nobody is authenticated.
func TestNotAuthenticatedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		server := newContext(t, root.leaf(t, "server").options(t))
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{ALPN: "test", SecureContext: server})
		defer m.close()
		c := m.connect(ConnectOptions{ALPN: "test", SecureContext: newContext(t, trusting(root))})
		covers(t, "SES-030")
		if c.Authenticated() || c.AuthenticationError() != nil {
			t.Errorf("authenticated %v, %v before the handshake", c.Authenticated(), c.AuthenticationError())
		}
		wantVerified(t, &c.Session, c.Handshake(t.Context()))
	})
}

// revokes makes a list of revoked certificates.
func (a *issuer) revokes(t testing.TB, from, to time.Time, certs ...*issuer) []byte {
	t.Helper()
	l := &x509.RevocationList{ThisUpdate: from, NextUpdate: to, Number: big.NewInt(serials.Add(1))}
	for _, c := range certs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.cert.SerialNumber, RevocationTime: from})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The name that is verified is ServerName, Address, or an IP address; it can be left
// out, and nothing else with it (RFC 9114 §3.2).
func TestServerNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, other := newIssuer(t, "root", nil, nil), newIssuer(t, "other", nil, nil)
		m := serveSecure(t, root.leaf(t, "server").options(t), ListenOptions{})
		defer m.close()
		trust := newContext(t, trusting(root))
		lookup := func(context.Context, string, int) (netip.Addr, error) { return memServer.Addr(), nil }
		dial := func(co ConnectOptions) (*ClientSession, error) {
			t.Helper()
			co.Port, co.ALPN, co.Lookup = int(memServer.Port()), "test", lookup
			if co.SecureContext == nil {
				co.SecureContext = trust
			}
			c, err := m.client.Connect(t.Context(), co)
			if err != nil {
				t.Fatal(err)
			}
			return c, c.Handshake(t.Context())
		}
		asked := func() string {
			t.Helper()
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s.ServerName()
		}
		covers(t, "CON-043")
		c, err := dial(ConnectOptions{Address: "localhost"})
		wantVerified(t, &c.Session, err)
		if name := asked(); name != "localhost" || c.ServerName() != "localhost" {
			t.Errorf("the name sent is %q, told %q, want that of the address", name, c.ServerName())
		}
		c, err = dial(ConnectOptions{Address: "elsewhere"})
		wantUntrusted(t, &c.Session, err, "HOSTNAME_MISMATCH", 42)
		c, err = dial(ConnectOptions{Address: "elsewhere", ServerName: "localhost"})
		wantVerified(t, &c.Session, err)
		if name := asked(); name != "localhost" {
			t.Errorf("the name sent is %q, want ServerName", name)
		}
		c, err = dial(ConnectOptions{Address: "10.0.0.1"}) // which the certificate has
		wantVerified(t, &c.Session, err)
		if name := asked(); name != "" {
			t.Errorf("the name sent for an IP address is %q", name)
		}
		_, err = m.client.Connect(t.Context(), ConnectOptions{Address: "localhost", Port: 1, ALPN: "test", SecureContext: trust, ServerName: "10.0.0.1"})
		wantBad(t, err, "ConnectOptions.ServerName", CodeInvalidArgValue)

		covers(t, "X-002")
		c, err = dial(ConnectOptions{Address: "elsewhere", SkipHostnameVerification: true})
		wantVerified(t, &c.Session, err)
		if name := asked(); name != "elsewhere" {
			t.Errorf("the name sent is %q", name)
		}
		c, err = dial(ConnectOptions{Address: "localhost", SkipHostnameVerification: true, SecureContext: newContext(t, trusting(other))})
		wantUntrusted(t, &c.Session, err, "UNKNOWN_AUTHORITY", 48)
		c, err = dial(ConnectOptions{Address: "elsewhere", SkipHostnameVerification: true, AllowUnauthenticated: true})
		wantVerified(t, &c.Session, err)
	})
	// A certificate that a server does not have for the IP address it is reached by.
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		leaf := newIssuer(t, "server", root, func(c *x509.Certificate) { leafFor(c); c.IPAddresses = []net.IP{net.IPv4(10, 9, 9, 9)} })
		m := serveSecure(t, leaf.options(t), ListenOptions{})
		defer m.close()
		co := ConnectOptions{Address: "10.0.0.1", Port: int(memServer.Port()), ALPN: "test", SecureContext: newContext(t, trusting(root))}
		c, err := m.client.Connect(t.Context(), co)
		if err != nil {
			t.Fatal(err)
		}
		covers(t, "CON-043")
		wantUntrusted(t, &c.Session, c.Handshake(t.Context()), "HOSTNAME_MISMATCH", 42)
	})
}

// A server shows the whole chain that it was given, and the one that fits the name
// the client asks for.
func TestServerIdentities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		between := newIssuer(t, "between", root, nil)
		named := func(name string) func(*x509.Certificate) {
			return func(c *x509.Certificate) { leafFor(c); c.DNSNames = []string{name} }
		}
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		_, edKey, _ := ed25519.GenerateKey(rand.Reader)
		a := newIssuer(t, "a", between, named("a.example"))
		b := newIssuerOf(t, "b", rsaKey, between, named("b.example"))
		c := newIssuerOf(t, "c", edKey, between, named("c.example"))
		m := serveSecure(t, securecontext.Options{
			Cert: [][]byte{slices.Concat(a.pem(), between.pem()), b.pem(), c.pem()},
			Key:  []securecontext.Key{{PEM: c.keyPEM(t)}, {PEM: b.keyPEM(t)}, {PEM: a.keyPEM(t)}},
		}, ListenOptions{})
		for name, want := range map[string]any{"a.example": new(ecdsa.PublicKey), "b.example": new(rsa.PublicKey), "c.example": ed25519.PublicKey{}} {
			s, err := m.dialSecure(trusting(root), ConnectOptions{ServerName: name})
			covers(t, "LIS-003")
			wantVerified(t, &s.Session, err)
			covers(t, "LIS-015")
			covers(t, "LIS-016")
			shown := s.ConnectionState().PeerCertificates
			if len(shown) == 0 {
				t.Fatalf("%s: no certificate", name)
			}
			if got := shown[0].PublicKey; reflect.TypeOf(got) != reflect.TypeOf(want) {
				t.Errorf("%s has a %T, want a %T", name, got, want)
			}
		}
		m.close()
		m = serveSecure(t, a.options(t), ListenOptions{}) // without what is between
		defer m.close()
		s, err := m.dialSecure(trusting(root), ConnectOptions{ServerName: "a.example"})
		wantUntrusted(t, &s.Session, err, "UNKNOWN_AUTHORITY", 42)
		s, err = m.dialSecure(trusting(between), ConnectOptions{ServerName: "a.example"})
		wantVerified(t, &s.Session, err)
	})
}

// lastServer returns the server session that a Handler was given last.
type lastServer struct {
	mu sync.Mutex
	v  *ServerSession
}

func (l *lastServer) handler(v *ServerSession) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.v = v
	return nil
}

func (l *lastServer) get() *ServerSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.v
}

// Clients are asked for certificates, which must be good unless anybody may come in.
func TestClientTrust(t *testing.T) {
	strangerInsists(t)
	covers(t, "LIS-002")
	synctest.Test(t, func(t *testing.T) {
		root, clients, other := newIssuer(t, "root", nil, nil), newIssuer(t, "clients", nil, nil), newIssuer(t, "other", nil, nil)
		between := newIssuer(t, "between", clients, nil)
		good, revoked, stranger, far := clients.leaf(t, "good"), clients.leaf(t, "revoked"), other.leaf(t, "stranger"), between.leaf(t, "far")
		long := far.options(t)
		long.Cert = [][]byte{slices.Concat(far.pem(), between.pem())}
		now := time.Now()
		server := root.leaf(t, "server").options(t)
		more, most := newIssuer(t, "more", nil, nil), newIssuer(t, "most", nil, nil)
		gone := most.leaf(t, "gone")
		server.CA = [][]byte{more.pem(), slices.Concat(most.pem(), clients.pem())}
		covers(t, "LIS-002")
		wantAnchors(t, server, more, most, clients)
		server.CRL = [][]byte{pemOf("X509 CRL", most.revokes(t, now, now.Add(time.Hour), gone)), pemOf("X509 CRL", clients.revokes(t, now, now.Add(time.Hour), revoked))}
		for _, test := range []struct {
			name   string
			client securecontext.Options
			reason string
			alert  uint64
		}{
			{"good", good.options(t), "", 0},
			{"of another anchor", more.leaf(t, "more's").options(t), "", 0},
			{"with what is between", long, "", 0},
			{"without what is between", far.options(t), "UNKNOWN_AUTHORITY", 0},
			{"revoked", revoked.options(t), "CERT_REVOKED", 44},
			{"revoked by another list", gone.options(t), "CERT_REVOKED", 44},
			{"of another authority", stranger.options(t), "UNKNOWN_AUTHORITY", 0},
			{"none", securecontext.Options{}, "NO_CERTIFICATE", 116},
		} {
			t.Log(test.name)
			test.client.CA = [][]byte{root.pem()}
			for _, soft := range []bool{false, true} {
				var last lastServer
				m := serveSecure(t, server, ListenOptions{RequestCert: true, AllowUnauthenticated: soft, Handler: last.handler})
				c, err := m.dialSecure(test.client, ConnectOptions{})
				synctest.Wait()
				s := last.get()
				covers(t, "LIS-039")
				covers(t, "LIS-007")
				covers(t, "SES-031")
				switch {
				case test.reason == "":
					covers(t, "LIS-002")
					covers(t, "LIS-038")
					covers(t, "CON-004")
					covers(t, "CON-014")
					covers(t, "CON-015")
					covers(t, "SES-030")
					wantVerified(t, &s.Session, err)
					if got := s.ConnectionState().PeerCertificates; len(got) == 0 || got[0].Subject.CommonName == "server" {
						t.Error("the server does not see the client's certificate")
					}
				case soft:
					wantTolerated(t, &s.Session, err, test.reason)
					if n := len(s.ConnectionState().PeerCertificates); (n == 0) != (test.reason == "NO_CERTIFICATE") {
						t.Errorf("the server sees %d certificates", n)
					}
				default:
					reason, alert := test.reason, test.alert
					if alert == 0 { // what the server does not ask for the client holds back
						reason, alert = "NO_CERTIFICATE", 116
					}
					wantUntrusted(t, &s.Session, s.Err(), reason, alert)
					if !errors.Is(c.Err(), &TransportError{ErrorCode: 0x100 + alert, Remote: true}) {
						t.Errorf("the client's session: %v", c.Err())
					}
				}
				m.close()
			}
		}
		oneOfSeveral(t, root, server, far, between, stranger)
		covers(t, "CON-004")
		askedByDefault(t, server, root, good)
		covers(t, "LIS-038")
	})
}

// Of several chains, in any order, it is the one that the server wants.
func oneOfSeveral(t *testing.T, root *issuer, server securecontext.Options, far, between, stranger *issuer) {
	t.Helper()
	m := serveSecure(t, server, ListenOptions{RequestCert: true})
	defer m.close()
	several := trusting(root)
	several.Cert = [][]byte{stranger.pem(), slices.Concat(far.pem(), between.pem())}
	several.Key = []securecontext.Key{{PEM: far.keyPEM(t)}, {PEM: stranger.keyPEM(t)}}
	c, err := m.dialSecure(several, ConnectOptions{})
	wantVerified(t, &c.Session, err)
	if shown := c.Certificate(); shown == nil || shown.Subject.CommonName != "far" {
		t.Errorf("the client shows %+v", shown)
	}
}

// A client that shows what was not asked for is refused for what it is.
func TestClientTrustInsisted(t *testing.T) {
	strangerInsists(t)
	covers(t, "LIS-039")
	covers(t, "LIS-002")
}

// wantAnchors wants some to be trusted for clients, and no others.
func wantAnchors(t *testing.T, o securecontext.Options, list ...*issuer) {
	t.Helper()
	only := x509.NewCertPool()
	for _, i := range list {
		only.AddCert(i.cert)
	}
	if !newContext(t, o).Config().ClientCAs.Equal(only) {
		t.Error("others are trusted than the CA option says")
	}
}

func strangerInsists(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		root, clients, other := newIssuer(t, "root", nil, nil), newIssuer(t, "clients", nil, nil), newIssuer(t, "other", nil, nil)
		server := root.leaf(t, "server").options(t)
		server.CA = [][]byte{clients.pem()}
		var last lastServer
		m := serveSecure(t, server, ListenOptions{RequestCert: true, Handler: last.handler})
		defer m.close()
		stranger := newContext(t, other.leaf(t, "stranger").options(t)).Config()
		config := newContext(t, trusting(root)).Config()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &stranger.Certificates[0], nil
		}
		c := m.connect(ConnectOptions{ALPN: "test", TLS: config})
		_ = c.Handshake(t.Context())
		synctest.Wait()
		wantUntrusted(t, &last.get().Session, last.get().Err(), "UNKNOWN_AUTHORITY", 48)
		if !errors.Is(c.Err(), &TransportError{ErrorCode: 0x130, Remote: true}) {
			t.Errorf("the client's session: %v", c.Err())
		}
	})
}

// What was verified once does not verify a resumed session, where names, anchors or
// lists are others now.
func TestTrustOfResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, clients, other := newIssuer(t, "root", nil, nil), newIssuer(t, "clients", nil, nil), newIssuer(t, "other", nil, nil)
		leaf, card := root.leaf(t, "server"), clients.leaf(t, "card")
		now := time.Now()
		keys := [][32]byte{{1}}
		server := leaf.options(t)
		server.CA = [][]byte{clients.pem()}
		m := serveSecure(t, server, ListenOptions{RequestCert: true, TicketKeys: keys})
		defer func() { m.close() }()
		client := card.options(t)
		client.CA = [][]byte{root.pem()}
		_, ticket := m.resumes(newContext(t, client), nil)
		dial := func(o securecontext.Options, co ConnectOptions) (*ClientSession, error) {
			co.SessionTicket = ticket
			return m.dialSecure(o, co)
		}
		c, err := dial(client, ConnectOptions{})
		wantVerified(t, &c.Session, err)
		if !c.ConnectionState().DidResume {
			t.Fatal("nothing resumes at all")
		}
		covers(t, "SES-030")
		covers(t, "SES-031")
		c, err = dial(client, ConnectOptions{ServerName: "elsewhere", AllowUnauthenticated: true})
		wantTolerated(t, &c.Session, err, "HOSTNAME_MISMATCH")
		strange := client
		strange.CA = [][]byte{other.pem()}
		c, err = dial(strange, ConnectOptions{AllowUnauthenticated: true})
		wantTolerated(t, &c.Session, err, "UNKNOWN_AUTHORITY")
		covers(t, "CON-007")
		wary := client
		wary.CRL = [][]byte{root.revokes(t, now, now.Add(time.Hour), leaf)}
		c, err = dial(wary, ConnectOptions{})
		wantUntrusted(t, &c.Session, err, "CERT_REVOKED", 44)

		covers(t, "LIS-007")
		var last lastServer
		server.CRL = [][]byte{clients.revokes(t, now, now.Add(time.Hour), card)}
		m.listenAgain(ListenOptions{SecureContext: newContext(t, server), RequestCert: true, TicketKeys: keys, Handler: last.handler})
		if _, err = dial(client, ConnectOptions{}); !errors.Is(err, &TransportError{ErrorCode: 0x12c, Remote: true}) {
			t.Errorf("a revoked client that resumes: %v", err)
		}
		synctest.Wait()
		wantUntrusted(t, &last.get().Session, last.get().Err(), "CERT_REVOKED", 44)
		covers(t, "LIS-002")
		server.CRL, server.CA = nil, [][]byte{other.pem()}
		m.listenAgain(ListenOptions{SecureContext: newContext(t, server), RequestCert: true, AllowUnauthenticated: true, TicketKeys: keys, Handler: last.handler})
		c, err = dial(client, ConnectOptions{})
		synctest.Wait()
		if !c.ConnectionState().DidResume {
			t.Error("the session is not resumed")
		}
		wantTolerated(t, &last.get().Session, err, "UNKNOWN_AUTHORITY")
	})
}

// Nobody is asked by default, and who asks says whom to trust.
func TestRequestCert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		server := root.leaf(t, "server").options(t)
		client := root.leaf(t, "client").options(t)
		client.CA = [][]byte{root.pem()}
		m := serveSecure(t, server, ListenOptions{AllowUnauthenticated: true}) // which is nothing by itself
		defer m.close()
		_, err := m.dialSecure(client, ConnectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.server.Accept(t.Context())
		covers(t, "LIS-038")
		if err != nil || len(s.ConnectionState().PeerCertificates) != 0 {
			t.Errorf("%v: a client was asked for its certificate", err)
		}
		covers(t, "LIS-002")
		other := m.socketAt(otherServer, SocketOptions{})
		defer other.Destroy(nil)
		err = other.Listen(t.Context(), ListenOptions{ALPN: "test", SecureContext: newContext(t, server), RequestCert: true})
		wantBad(t, err, "ListenOptions.RequestCert", CodeInvalidArgValue)
		covers(t, "X-013")
		if other.ServerSecureContext() != nil {
			t.Error("a socket that does not listen has a ServerSecureContext")
		}
		context := newContext(t, server)
		err = other.Listen(t.Context(), ListenOptions{ALPN: "test", SecureContext: context, RequestCert: true, AllowUnauthenticated: true})
		if err != nil || other.ServerSecureContext() != context {
			t.Errorf("%v, ServerSecureContext is %p, want %p", err, other.ServerSecureContext(), context)
		}
	})
}
