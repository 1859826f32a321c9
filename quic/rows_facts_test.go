package quic

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// facts is what a session says of its handshake.
type facts struct {
	name, alpn string
	cipher     Cipher
}

func factsOf(s *Session) facts { return facts{s.ServerName(), s.ALPNProtocol(), s.Cipher()} }

// witness makes sessions tell what Secure finds, and how often it is called.
type witness struct{ seen []facts }

func (w *witness) hooks(s *Session) SessionHooks {
	return SessionHooks{Secure: func() error { w.seen = append(w.seen, factsOf(s)); return nil }}
}

// factsNet is a server that remembers what its sessions say in Secure, and before.
type factsNet struct {
	*memNet
	server   witness
	early    facts // in the Handler
	sessions chan *ServerSession
}

func newFactsNet(t *testing.T) *factsNet {
	n := &factsNet{sessions: make(chan *ServerSession, 8)}
	n.memNet = newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{Handler: func(s *ServerSession) error {
		n.early = factsOf(&s.Session)
		s.SetHooks(n.server.hooks(&s.Session))
		n.sessions <- s
		return nil
	}})
	return n
}

// begin makes a session, and returns what the client said before its handshake and in Secure.
func (n *factsNet) begin(o ConnectOptions) (c *ClientSession, s *ServerSession, seen []facts) {
	n.t.Helper()
	o.Address, o.Port, o.DelayHandshake = memServer.Addr().String(), int(memServer.Port()), true
	c, err := n.client.Connect(n.t.Context(), o)
	if err != nil {
		n.t.Fatal(err)
	}
	var w witness
	c.SetHooks(w.hooks(&c.Session))
	if err := c.StartHandshake(); err != nil {
		n.t.Fatal(err)
	}
	before := factsOf(&c.Session)
	s = <-n.sessions
	_ = c.Handshake(n.t.Context())
	time.Sleep(time.Second)
	synctest.Wait()
	return c, s, append([]facts{before}, w.seen...)
}

// fails makes a handshake fail, of which neither end may be told anything.
func (n *factsNet) fails() {
	n.t.Helper()
	before := len(n.server.seen)
	c, _, seen := n.begin(n.options(ConnectOptions{ALPN: "other"}))
	if len(seen) != 1 || len(n.server.seen) != before || !c.Destroyed() {
		n.t.Errorf("a failed handshake: %d and %d times Secure", len(seen)-1, len(n.server.seen)-before)
	}
	if got := c.Cipher(); got != (Cipher{}) {
		n.t.Errorf("after a failed handshake Cipher is %v", got)
	}
}

// Secure is called once, at each end, and what the session says then it says ever after.
func TestSecureFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFactsNet(t)
		defer n.close()
		c, s, seen := n.begin(n.options(ConnectOptions{}))
		suite := tls.CipherSuiteName(c.ConnectionState().CipherSuite)
		want := facts{"localhost", "test", Cipher{suite, "TLSv1.3"}}
		if len(seen) != 2 || len(n.server.seen) != 1 {
			t.Fatalf("Secure: %d times, %d at the server", len(seen)-1, len(n.server.seen))
		}
		before, client, server := seen[0], seen[1], n.server.seen[0]
		if now := factsOf(&c.Session); now != client || now != want {
			t.Errorf("client: in Secure %v, then %v, want %v", client, now, want)
		}
		if now := factsOf(&s.Session); now != server || now != want {
			t.Errorf("server: in Secure %v, then %v, want %v", server, now, want)
		}
		covers(t, "SES-018")
		if before.name != "localhost" || n.early.name != "" || s.ServerName() != "localhost" {
			t.Errorf("before the handshake ServerName is %q, at the server %q", before.name, n.early.name)
		}
		covers(t, "SES-090")
		if client.alpn != "test" || server.alpn != "test" {
			t.Errorf("in Secure the protocol is %q, at the server %q", client.alpn, server.alpn)
		}
		covers(t, "SES-020")
		if before.alpn != "test" || n.early.alpn != "" {
			t.Errorf("before the handshake ALPNProtocol is %q, at the server %q", before.alpn, n.early.alpn)
		}
		covers(t, "SES-029")
		if !strings.HasPrefix(client.cipher.Name, "TLS_") || client.cipher.Name != server.cipher.Name {
			t.Errorf("in Secure the cipher is %q, at the server %q", client.cipher.Name, server.cipher.Name)
		}
		for _, id := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256} {
			// The machine decides what is negotiated, so other results are made up.
			if got := (&Session{tlsState: &tls.ConnectionState{CipherSuite: id}}).Cipher().Name; got != tls.CipherSuiteName(id) {
				t.Errorf("the name of suite %#x is %q", id, got)
			}
		}
		covers(t, "SES-021")
		covers(t, "SES-038")
		if client.cipher.Version != "TLSv1.3" || server.cipher.Version != "TLSv1.3" {
			t.Errorf("in Secure the version is %q, at the server %q", client.cipher.Version, server.cipher.Version)
		}
		covers(t, "SES-022")
		covers(t, "SES-039")
		if before.cipher != (Cipher{}) || n.early.cipher != (Cipher{}) || c.Cipher() != want.cipher {
			t.Errorf("before the handshake Cipher is %v, at the server %v", before.cipher, n.early.cipher)
		}
		covers(t, "SES-037")

		n.fails()
		covers(t, "SES-018")
		covers(t, "SES-037")

		// Of several offered protocols it is the one that was agreed on.
		several := clientConfig()
		several.NextProtos = []string{"other", "test", "third"}
		c, s, seen = n.begin(n.options(ConnectOptions{TLS: several}))
		if server := n.server.seen[1:]; len(seen) != 2 || len(server) != 1 || seen[1].alpn != "test" || server[0].alpn != "test" || c.ALPNProtocol() != "test" || s.ALPNProtocol() != "test" {
			t.Errorf("with several offered: %v, at the server %v", seen, server)
		}
		covers(t, "SES-020")

		// The suite that was agreed on, whichever it is: crypto/tls always takes the same here.
		for id, suite := range map[uint16]string{
			tls.TLS_AES_128_GCM_SHA256:       "TLS_AES_128_GCM_SHA256",
			tls.TLS_AES_256_GCM_SHA384:       "TLS_AES_256_GCM_SHA384",
			tls.TLS_CHACHA20_POLY1305_SHA256: "TLS_CHACHA20_POLY1305_SHA256",
		} {
			c.mu.Lock()
			c.tlsState.CipherSuite = id
			c.unlock(flushNone)
			if want := (Cipher{suite, "TLSv1.3"}); c.Cipher() != want {
				t.Errorf("Cipher is %v, want %v", c.Cipher(), want)
			}
		}
		covers(t, "SES-038")
	})
}

// A client of an IP address sends no name; of several protocols none is told until one
// is chosen; a handshake that fails tells no Secure.
func TestSecureOfOtherSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFactsNet(t)
		defer n.close()
		_, _, seen := n.begin(n.options(ConnectOptions{}))
		if len(seen) != 2 || seen[1].name != "localhost" || n.server.seen[0].name != "localhost" {
			t.Errorf("with a name: %v, at the server %v", seen, n.server.seen)
		}
		c, s, seen := n.begin(ConnectOptions{TLS: unverified()})
		if len(seen) != 2 || seen[0].name != "" || seen[1].name != "" || s.ServerName() != "" || n.server.seen[1].name != "" {
			t.Errorf("without a name: %v, at the server %v", seen, n.server.seen[1])
		}
		covers(t, "SES-019")
		if seen[0].alpn != "" || c.ALPNProtocol() != "test" || s.ALPNProtocol() != "test" {
			t.Errorf("of three protocols: %q, then %q", seen[0].alpn, c.ALPNProtocol())
		}
		c, s, seen = n.begin(n.options(ConnectOptions{ALPN: "other"}))
		if len(seen) != 1 || len(n.server.seen) != 2 || !c.Destroyed() || !s.Destroyed() || c.Cipher() != (Cipher{}) {
			t.Errorf("a failed handshake: %d and %d times Secure", len(seen)-1, len(n.server.seen)-2)
		}
	})
}

// The handshake is complete when TLS is done, and confirmed at a server with that, at a
// client when it has heard of it.
func TestHandshakeCompleteAndConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		start := time.Now()
		c := m.connect(ConnectOptions{})
		if c.HandshakeComplete() || c.HandshakeConfirmed() {
			t.Error("complete at once")
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 20*time.Millisecond || !c.HandshakeComplete() || c.HandshakeConfirmed() {
			t.Errorf("client after %v: complete %v, confirmed %v", d, c.HandshakeComplete(), c.HandshakeConfirmed())
		}
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 30*time.Millisecond || !s.HandshakeComplete() || !s.HandshakeConfirmed() {
			t.Errorf("server after %v: complete %v, confirmed %v", d, s.HandshakeComplete(), s.HandshakeConfirmed())
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if !c.HandshakeConfirmed() {
			t.Error("not confirmed when HANDSHAKE_DONE has come")
		}
		covers(t, "SES-059")
		c.Destroy(nil)
		time.Sleep(time.Second)
		if !c.HandshakeComplete() || !s.HandshakeComplete() {
			t.Error("the handshake of a session that is over is not complete")
		}
		covers(t, "SES-058")
	})
}

// chainNet is a server and a client that know each other by certificates below one root.
func chainNet(t *testing.T, change func(*ListenOptions)) (m *memNet, root, middle *issuer) {
	root = newIssuer(t, "root", nil, nil)
	middle = newIssuer(t, "middle", root, nil)
	leaf := middle.leaf(t, "agent0")
	lo := ListenOptions{ALPN: "test", RequestCert: true, SecureContext: newContext(t, securecontext.Options{
		CA: [][]byte{root.pem()}, Cert: [][]byte{leaf.pem(), middle.pem()}, Key: []securecontext.Key{{PEM: leaf.keyPEM(t)}},
	})}
	change(&lo)
	m = &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
	m.server, m.client = m.socketAt(memServer, SocketOptions{}), m.socket(SocketOptions{})
	if err := m.server.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	return m, root, middle
}

func (m *memNet) pairWith(o ConnectOptions) *pair {
	m.t.Helper()
	o.Address, o.Port, o.ServerName, o.ALPN = memServer.Addr().String(), int(memServer.Port()), "localhost", "test"
	c, err := m.client.Connect(m.t.Context(), o)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := c.Handshake(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	s, err := m.server.Accept(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return &pair{m.server, c, s}
}

// names returns the subjects along a chain.
func names(c *Certificate) []string {
	var list []string
	for ; c != nil; c = c.IssuerCertificate {
		list = append(list, c.Subject.CommonName)
	}
	return list
}

// Each end shows its own certificate and the peer's, with the issuers if they are wanted.
func TestCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, root, middle := chainNet(t, func(*ListenOptions) {})
		defer m.close()
		agent := middle.leaf(t, "agent1")
		p := m.pairWith(ConnectOptions{SecureContext: newContext(t, securecontext.Options{
			CA: [][]byte{root.pem()}, Cert: [][]byte{middle.pem(), agent.pem()}, Key: []securecontext.Key{{PEM: agent.keyPEM(t)}},
		})})
		if got := p.server.Certificate(); got == nil || got.Subject.CommonName != "agent0" {
			t.Errorf("the server's own certificate is %+v", got)
		}
		if got := p.client.Certificate(); got == nil || got.Subject.CommonName != "agent1" || string(got.Raw) != string(agent.cert.Raw) {
			t.Errorf("the client's own certificate is %+v", got)
		}
		if got := p.client.PeerCertificate(false); got == nil || got.Subject.CommonName != "agent0" {
			t.Errorf("the client sees %+v", got)
		}
		if got := p.server.PeerCertificate(false); got == nil || got.Subject.CommonName != "agent1" {
			t.Errorf("the server sees %+v", got)
		}
		for i, s := range []*Session{&p.server.Session, &p.client.Session} {
			leaf := []string{"agent1", "agent0"}[i]
			if got := names(s.PeerCertificate(true)); !slices.Equal(got, []string{leaf, "middle", "root"}) {
				t.Errorf("the chain of %s is %q", leaf, got)
			}
			if got := names(s.PeerCertificate(false)); !slices.Equal(got, []string{leaf}) {
				t.Errorf("without issuers the chain of %s is %q", leaf, got)
			}
		}
		// Where nothing was verified, the links are what the peer has sent, in whatever order.
		unknown := &Session{tlsState: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{agent.cert, root.cert, middle.cert}}}
		if got := names(unknown.PeerCertificate(true)); !slices.Equal(got, []string{"agent1", "middle", "root"}) {
			t.Errorf("the chain of a peer that was not verified is %q", got)
		}
		covers(t, "SES-054")
		p.client.Destroy(nil)
		<-p.server.Closed()
		for _, s := range []*Session{&p.server.Session, &p.client.Session} {
			if s.PeerCertificate(false) != nil || s.PeerCertificate(true) != nil {
				t.Error("a session that is over has its peer's certificate")
			}
			if s.Certificate() != nil {
				t.Error("a session that is over has its own certificate")
			}
		}
		covers(t, "SES-052")
		covers(t, "SES-053")
	})
	synctest.Test(t, func(t *testing.T) { // the one in use, of several
		root := newIssuer(t, "root", nil, nil)
		var own [2]*issuer
		var o securecontext.Options
		for i, name := range []string{"a.example", "b.example"} {
			own[i] = newIssuer(t, name, root, func(c *x509.Certificate) { leafFor(c); c.DNSNames = []string{name} })
			o.Cert = append(o.Cert, own[i].pem())
			o.Key = append(o.Key, securecontext.Key{PEM: own[i].keyPEM(t)})
		}
		m := serveSecure(t, o, ListenOptions{})
		defer m.close()
		for _, want := range own {
			name := want.cert.Subject.CommonName
			c, err := m.dialSecure(trusting(root), ConnectOptions{ServerName: name})
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Certificate(); got == nil || string(got.Raw) != string(want.cert.Raw) {
				t.Errorf("the server of %s has %+v", name, got)
			}
			if got := c.Certificate(); got != nil {
				t.Errorf("a client without a certificate has %+v", got)
			}
		}
		covers(t, "SES-052")
	})
}

// A peer without a certificate has none, and one that is not verified has what it sent.
func TestCertificatesUnverified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, _ := chainNet(t, func(o *ListenOptions) { o.AllowUnauthenticated = true })
		defer m.close()
		p := m.pairWith(ConnectOptions{TLS: clientConfig(), AllowUnauthenticated: true})
		if p.client.Authenticated() || p.server.Authenticated() {
			t.Error("authenticated")
		}
		if p.server.PeerCertificate(true) != nil || p.client.Certificate() != nil {
			t.Error("a client without a certificate has one")
		}
		if got := names(p.client.PeerCertificate(true)); !slices.Equal(got, []string{"agent0", "middle"}) {
			t.Errorf("the chain is %q", got)
		}
		if c := m.connect(ConnectOptions{DelayHandshake: true}); c.Certificate() != nil || c.PeerCertificate(true) != nil {
			t.Error("there are certificates before the handshake")
		}
	})
}

// Of several certificates the one in use is told.
func TestCertificateInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := func(host string) tls.Certificate {
			a := newIssuer(t, host, nil, func(c *x509.Certificate) { leafFor(c); c.DNSNames = []string{host} })
			return tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}
		}
		config := &tls.Config{NextProtos: []string{"test"}, Certificates: []tls.Certificate{named("a.test"), named("b.test")}}
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: config})
		defer m.close()
		for _, host := range []string{"b.test", "a.test", "c.test"} {
			p := m.pair(ConnectOptions{TLS: unverified(), ServerName: host})
			mine, theirs := p.server.Certificate(), p.client.PeerCertificate(false)
			if mine == nil || theirs == nil || string(mine.Raw) != string(theirs.Raw) || host != "c.test" && mine.Subject.CommonName != host {
				t.Errorf("%s: %v, the client sees %v", host, names(mine), names(theirs))
			}
		}
	})
}

// A Certificate says what the certificate says.
func TestCertificateFields(t *testing.T) {
	u, err := url.Parse("https://example.com/x")
	if err != nil {
		t.Fatal(err)
	}
	root := newIssuer(t, "the root", nil, nil)
	a := newIssuer(t, "agent", root, func(c *x509.Certificate) {
		leafFor(c)
		c.SerialNumber.SetString("DECAFBAD0001", 16)
		c.EmailAddresses, c.URIs = []string{"a@b.c"}, append(c.URIs, u)
		c.OCSPServer, c.IssuingCertificateURL = []string{"http://ocsp"}, []string{"http://ca"}
		c.Subject.Organization = []string{"org"}
	})
	c := newCertificate(a.cert)
	sum1, sum256 := sha1.Sum(a.cert.Raw), sha256.Sum256(a.cert.Raw)
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }
	for _, f := range []struct {
		name      string
		got, want any
	}{
		{"Subject", c.Subject.CommonName + c.Subject.Organization[0], "agentorg"},
		{"Issuer", c.Issuer.CommonName, "the root"},
		{"SubjectAltNames", strings.Join(c.SubjectAltNames, " "), "DNS:localhost IP Address:127.0.0.1 IP Address:10.0.0.1 email:a@b.c URI:https://example.com/x"},
		{"InfoAccess", strings.Join(append(c.InfoAccess["OCSP - URI"], c.InfoAccess["CA Issuers - URI"]...), " "), "http://ocsp http://ca"},
		{"SerialNumber", c.SerialNumber, "DECAFBAD0001"},
		{"ValidFrom", c.ValidFrom, longAgo},
		{"ValidTo", c.ValidTo, farAway},
		{"Fingerprint", plain(c.Fingerprint), hex.EncodeToString(sum1[:])},
		{"Fingerprint256", plain(c.Fingerprint256), hex.EncodeToString(sum256[:])},
		{"the colons", strings.Count(c.Fingerprint, ":") + strings.Count(c.Fingerprint256, ":"), 19 + 31},
		{"KeyType", c.KeyType, "ECDSA"},
		{"Bits", c.Bits, 256},
		{"Curve", c.Curve, "P-256"},
		{"ExtKeyUsage", strings.Join(c.ExtKeyUsage, " "), "1.3.6.1.5.5.7.3.1 1.3.6.1.5.5.7.3.2"},
		{"Raw", string(c.Raw), string(a.cert.Raw)},
		{"X509", c.X509, a.cert},
	} {
		if f.got != f.want {
			t.Errorf("%s is %v, want %v", f.name, f.got, f.want)
		}
	}
	if c.IssuerCertificate != nil {
		t.Error("an issuer that was not asked for")
	}
	chain := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{a.cert, a.cert, root.cert}}
	if got := chainOf(chain); len(got) != 1 || got[0] != root.cert {
		t.Errorf("the issuers are %v", got)
	}
	if got := names((&Session{tlsState: chain}).PeerCertificate(true)); !slices.Equal(got, []string{"agent", "the root"}) {
		t.Errorf("the links of the chain are %q", got)
	}
	if got := names((&Session{tlsState: chain}).PeerCertificate(false)); !slices.Equal(got, []string{"agent"}) {
		t.Errorf("without issuers the links are %q", got)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if c := newCertificate(newIssuerOf(t, "rsa", key, nil, nil).cert); c.KeyType != "RSA" || c.Bits != 2048 || c.Curve != "" {
		t.Errorf("%s %d %s", c.KeyType, c.Bits, c.Curve)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if c := newCertificate(newIssuerOf(t, "ed", ed, nil, nil).cert); c.KeyType != "Ed25519" || c.Bits != 256 || c.ExtKeyUsage != nil {
		t.Errorf("%s %d %v", c.KeyType, c.Bits, c.ExtKeyUsage)
	}
	covers(t, "SES-055")
}

// The key agreement is told from the end of the handshake to that of the session.
func TestEphemeralKeyInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for _, want := range []struct {
			id   tls.CurveID
			name string
			size int
		}{
			{tls.X25519, "X25519", 253},
			{tls.CurveP256, "P-256", 256},
			{tls.CurveP384, "P-384", 384},
			{tls.CurveP521, "P-521", 521},
			{tls.X25519MLKEM768, "X25519MLKEM768", 253},
			{tls.SecP256r1MLKEM768, "SecP256r1MLKEM768", 256},
			{tls.SecP384r1MLKEM1024, "SecP384r1MLKEM1024", 384},
		} {
			config := clientConfig()
			config.CurvePreferences = []tls.CurveID{want.id}
			c := m.connect(ConnectOptions{TLS: config, DelayHandshake: true})
			if c.EphemeralKeyInfo() != (EphemeralKeyInfo{}) {
				t.Error("it is told before the handshake")
			}
			var info EphemeralKeyInfo
			c.SetHooks(SessionHooks{Secure: func() error { info = c.EphemeralKeyInfo(); return nil }})
			if err := c.StartHandshake(); err != nil {
				t.Fatal(err)
			}
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if info != c.EphemeralKeyInfo() || info == (EphemeralKeyInfo{}) {
				t.Errorf("in Secure it is %v, then %v", info, c.EphemeralKeyInfo())
			}
			if info.Type != "ECDH" {
				t.Errorf("%s: Type is %q", want.name, info.Type)
			}
			covers(t, "CLI-014")
			if info.Name != want.name {
				t.Errorf("%s: Name is %q", want.name, info.Name)
			}
			covers(t, "CLI-015")
			if info.Size != want.size {
				t.Errorf("%s: Size is %d", want.name, info.Size)
			}
			covers(t, "CLI-016")
			c.Destroy(nil)
			if c.EphemeralKeyInfo() != (EphemeralKeyInfo{}) {
				t.Error("it is told after the session's end")
			}
			covers(t, "CLI-013")
		}
	})
}

// An application protocol is needed, from the call or the socket, and a common one (RFC 9000 §7, RFC 9001 §8.1).
func TestALPNIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, pool := identity()
		cert, _ := identity()
		bare, server := &tls.Config{RootCAs: pool}, &tls.Config{Certificates: []tls.Certificate{cert}}
		m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
		m.server, m.client = m.socketAt(memServer, SocketOptions{}), m.socket(SocketOptions{})
		defer m.close()
		tr := m.record()
		err := m.server.Listen(t.Context(), ListenOptions{TLS: server})
		wantBad(t, err, "ListenOptions.ALPN", CodeMissingOption)
		if m.server.Listening() || m.server.Bound() {
			t.Error("the socket is listening or bound")
		}
		_, err = m.client.Connect(t.Context(), m.options(ConnectOptions{TLS: bare}))
		wantBad(t, err, "ConnectOptions.ALPN", CodeMissingOption)
		if len(tr.sent()) != 0 || m.client.Bound() {
			t.Error("something was sent, or a port taken")
		}
		if err := m.server.Listen(t.Context(), ListenOptions{TLS: server, ALPN: "a"}); err != nil {
			t.Fatal(err)
		}
		p := m.pair(ConnectOptions{TLS: bare, ALPN: "a"})
		if p.client.ALPNProtocol() != "a" || p.server.ALPNProtocol() != "a" {
			t.Errorf("ALPN %q, %q", p.client.ALPNProtocol(), p.server.ALPNProtocol())
		}
		c := m.connect(ConnectOptions{TLS: bare, ALPN: "b"})
		if err := c.Handshake(t.Context()); !errors.Is(err, &TransportError{ErrorCode: 0x178, Remote: true}) {
			t.Errorf("without a common protocol: %v", err)
		}
		// The socket's options serve as well.
		other := m.socketAt(otherServer, SocketOptions{Server: ListenOptions{TLS: server, ALPN: "d"}})
		defer other.Destroy(nil)
		if err := other.Listen(t.Context(), ListenOptions{}); err != nil || !other.Listening() {
			t.Fatalf("Listen: %v", err)
		}
		socket := m.socket(SocketOptions{Client: ConnectOptions{ALPN: "d"}})
		defer socket.Destroy(nil)
		o := ConnectOptions{TLS: bare, Address: "10.0.0.1", Port: int(otherServer.Port()), ServerName: "localhost"}
		if c, err = socket.Connect(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil || c.ALPNProtocol() != "d" {
			t.Errorf("the sockets' protocol: %v, %q", err, c.ALPNProtocol())
		}
		covers(t, "CON-002")
		covers(t, "LIS-001")
	})
}
