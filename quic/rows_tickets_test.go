package quic

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// listenAgain puts another server in the place of m's.
func (m *memNet) listenAgain(lo ListenOptions) {
	m.t.Helper()
	m.server.Destroy(nil)
	m.server = m.socketAt(memServer, SocketOptions{})
	lo.ALPN = "test"
	if err := m.server.Listen(m.t.Context(), lo); err != nil {
		m.t.Fatal(err)
	}
}

// resumes reports whether the server takes a ticket, and returns the next one, nil if
// there is none.
func (m *memNet) resumes(client *securecontext.Context, ticket []byte) (resumed bool, next []byte) {
	m.t.Helper()
	co := ConnectOptions{ALPN: "test", SecureContext: client, SessionTicket: ticket}
	co.Hooks.SessionTicket = func(t, _ []byte) error {
		next = t
		return nil
	}
	c := m.connect(co)
	if err := c.Handshake(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	synctest.Wait()
	time.Sleep(time.Second) // hooks have their own goroutines
	synctest.Wait()
	return c.ConnectionState().DidResume, next
}

// A ticket resumes where there are the keys that protect it, under the same
// SessionIDContext, and nowhere else.
func TestSessionIDContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		leaf := root.leaf(t, "server")
		client := newContext(t, trusting(root))
		context := func(id string, keys ...[32]byte) *securecontext.Context {
			o := leaf.options(t)
			o.SessionIDContext, o.TicketKeys = id, keys
			return newContext(t, o)
		}
		one, two := [32]byte{1}, [32]byte{2}
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "test", SecureContext: context("a", one)})
		defer func() { m.close() }()
		_, ticket := m.resumes(client, nil)
		want := func(what string, want bool, lo ListenOptions) {
			t.Helper()
			m.listenAgain(lo)
			if got, _ := m.resumes(client, ticket); got != want {
				t.Errorf("%s: resumed %v, want %v", what, got, want)
			}
		}
		covers(t, "LIS-041")
		want("the same context", true, ListenOptions{SecureContext: context("a", one)})
		want("another", false, ListenOptions{SecureContext: context("b", one)})
		want("none", false, ListenOptions{SecureContext: context("", one)})
		want("the keys as an option of the listener", true, ListenOptions{SecureContext: context("a"), TicketKeys: [][32]byte{one}})
		want("the same, and another context", false, ListenOptions{SecureContext: context("b"), TicketKeys: [][32]byte{one}})
		want("other keys", false, ListenOptions{SecureContext: context("a", two)})
		want("no keys", false, ListenOptions{SecureContext: context("a")})

		// Keys change by a list with a new one before the old one.
		want("a new key before", true, ListenOptions{SecureContext: context("a", two, one)})
		_, ticket = m.resumes(client, ticket)
		want("the old key only", false, ListenOptions{SecureContext: context("a", one)})
		want("the new key only", true, ListenOptions{SecureContext: context("a", two)})

		// Unset, state is shared with those who have the keys, or nobody.
		m.listenAgain(ListenOptions{SecureContext: context("", one)})
		_, ticket = m.resumes(client, nil)
		want("the same keys, both unset", true, ListenOptions{SecureContext: context("", one)})
		want("unset and no keys", false, ListenOptions{SecureContext: context("")})
		_, ticket = m.resumes(client, nil)
		want("unset and no keys, twice", false, ListenOptions{SecureContext: context("")})

		// One context with random keys of its own is one context.
		alone := context("a")
		m.listenAgain(ListenOptions{SecureContext: alone})
		_, ticket = m.resumes(client, nil)
		want("the very same", true, ListenOptions{SecureContext: alone})
		want("another of that name", false, ListenOptions{SecureContext: context("a")})
	})
}

// SSL_OP_NO_TICKET keeps a server from giving tickets, and a client from using them.
func TestNoTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const noTicket = 0x4000
		root := newIssuer(t, "root", nil, nil)
		o := root.leaf(t, "server").options(t)
		client := newContext(t, trusting(root))
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "test", SecureContext: newContext(t, o)})
		defer func() { m.close() }()
		_, ticket := m.resumes(client, nil)
		if resumed, _ := m.resumes(client, ticket); !resumed {
			t.Fatal("nothing resumes at all")
		}
		covers(t, "CON-042")
		without := trusting(root)
		without.SecureOptions = noTicket
		if resumed, next := m.resumes(newContext(t, without), ticket); resumed || next != nil {
			t.Errorf("the client has resumed (%v) or taken a ticket (%v)", resumed, next != nil)
		}
		covers(t, "LIS-040")
		o.SecureOptions = noTicket
		m.listenAgain(ListenOptions{SecureContext: newContext(t, o)})
		if _, next := m.resumes(client, nil); next != nil {
			t.Error("the server has given a ticket")
		}
	})
}

// The group of the key agreement is one of those listed, at either end.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		leaf := root.leaf(t, "server")
		for _, test := range []struct {
			name           string
			client, server securecontext.Options
			want           tls.CurveID // 0 for none
		}{
			{"auto", securecontext.Options{}, securecontext.Options{ECDHCurve: "auto"}, tls.X25519MLKEM768},
			{"client", securecontext.Options{ECDHCurve: "P-384"}, securecontext.Options{}, tls.CurveP384},
			{"client's groups", securecontext.Options{ECDHCurve: "P-384", Groups: "P-521"}, securecontext.Options{}, tls.CurveP521},
			{"server", securecontext.Options{}, securecontext.Options{ECDHCurve: "P-256"}, tls.CurveP256},
			{"server's groups", securecontext.Options{}, securecontext.Options{ECDHCurve: "P-256", Groups: "X25519"}, tls.X25519},
			{"the common one", securecontext.Options{ECDHCurve: "P-521:P-384"}, securecontext.Options{ECDHCurve: "X25519:P-384"}, tls.CurveP384},
			{"none in common", securecontext.Options{ECDHCurve: "P-521"}, securecontext.Options{ECDHCurve: "P-384"}, 0},
		} {
			o := leaf.options(t)
			o.ECDHCurve, o.Groups = test.server.ECDHCurve, test.server.Groups
			m := serveSecure(t, o, ListenOptions{})
			o = trusting(root)
			o.ECDHCurve, o.Groups = test.client.ECDHCurve, test.client.Groups
			c, err := m.dialSecure(o, ConnectOptions{})
			covers(t, "CON-010")
			covers(t, "LIS-011")
			covers(t, "X-006")
			switch got := c.ConnectionState().CurveID; {
			case test.want == 0 && !errors.Is(err, &TransportError{ErrorCode: 0x128, Remote: true}):
				t.Errorf("%s: %v, want handshake_failure", test.name, err)
			case test.want != 0 && (err != nil || got != test.want):
				t.Errorf("%s: %v (%v), want %v", test.name, got, err, test.want)
			}
			m.close()
		}
		for option, bad := range map[string]securecontext.Options{"ECDHCurve": {ECDHCurve: "P-256:P-999"}, "Groups": {Groups: "P-999:P-256"}} {
			_, err := securecontext.New(bad)
			if wantCode(t, err, securecontext.CodeInvalidArgValue); err != nil && (!strings.Contains(err.Error(), "P-999") || !strings.Contains(err.Error(), option)) {
				t.Errorf("an unknown group of %s: %v", option, err)
			}
		}
	})
}

// countedSigner is a key that is nowhere in memory.
type countedSigner struct {
	crypto.Signer
	used *atomic.Int32
}

func (c countedSigner) Sign(rand io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	c.used.Add(1)
	return c.Signer.Sign(rand, digest, o)
}

// An engine supplies the client's certificate and signs for it; a server has no use
// for one.
func TestClientCertEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		card := root.leaf(t, "card")
		var used, asked atomic.Int32
		name := fmt.Sprintf("card %d", serials.Add(1)) // a name is for good
		err := securecontext.RegisterEngine(name, func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked.Add(1)
			return &tls.Certificate{Certificate: [][]byte{card.cert.Raw}, PrivateKey: countedSigner{card.key, &used}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		o := root.leaf(t, "server").options(t)
		o.CA = [][]byte{root.pem()}
		o.ClientCertEngine = name
		m := serveSecure(t, o, ListenOptions{RequestCert: true})
		defer m.close()
		o = trusting(root)
		o.ClientCertEngine = name
		covers(t, "LIS-005")
		c, err := m.dialSecure(o, ConnectOptions{})
		wantVerified(t, &c.Session, err)
		if name := c.ConnectionState().PeerCertificates[0].Subject.CommonName; name != "server" {
			t.Errorf("the server shows the certificate of %q", name)
		}
		_, err = securecontext.New(securecontext.Options{ClientCertEngine: name + " of nobody"})
		wantCode(t, err, "ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED")
		if err == nil || !strings.Contains(err.Error(), "Options.ClientCertEngine") || !strings.Contains(err.Error(), name+" of nobody") {
			t.Errorf("an unknown engine: %v", err)
		}
		covers(t, "CON-006")
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantVerified(t, &s.Session, err)
		if name := s.ConnectionState().PeerCertificates[0].Subject.CommonName; name != "card" {
			t.Errorf("the client shows the certificate of %q", name)
		}
		if used.Load() != 1 || asked.Load() != 1 {
			t.Errorf("asked %d times and used %d times, want once", asked.Load(), used.Load())
		}
	})
}

// A client that speaks nothing newer than TLS 1.2 is sent away, and no option of ours
// asks for less than 1.3 (RFC 9001 §4.2).
func TestOnlyTLS13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{DelayHandshake: true})
		r := c.tls
		hello := firstMessage(t, r.config, c.conn.LocalParameters())
		only13, only12 := []byte{0, 43, 0, 3, 2, 3, 4}, []byte{0, 43, 0, 3, 2, 3, 3} // supported_versions
		if !bytes.Contains(hello, only13) {
			t.Fatal("the client offers more than TLS 1.3")
		}
		r.conn = tls.QUICClient(&tls.QUICConfig{TLSConfig: r.config}) // which never starts
		r.out = []transport.TLSEvent{{Kind: transport.TLSWriteData, Level: transport.LevelInitial, Data: bytes.Replace(hello, only13, only12, 1)}}
		if err := c.StartHandshake(); err != nil {
			t.Fatal(err)
		}
		covers(t, "SES-102")
		const protocolVersion = 0x100 + 70
		if err := c.Handshake(t.Context()); !errors.Is(err, &TransportError{ErrorCode: protocolVersion, Remote: true}) {
			t.Errorf("a client of TLS 1.2: %v", err)
		}

		old := clientConfig()
		old.MaxVersion = tls.VersionTLS12
		_, err := m.client.Connect(t.Context(), m.options(ConnectOptions{TLS: old}))
		wantBad(t, err, "ConnectOptions.TLS.MaxVersion", CodeInvalidArgValue)
		oldServer := serverConfig()
		oldServer.MaxVersion = tls.VersionTLS12
		other := m.socketAt(otherServer, SocketOptions{})
		defer other.Destroy(nil)
		wantBad(t, other.Listen(t.Context(), ListenOptions{TLS: oldServer}), "ListenOptions.TLS.MaxVersion", CodeInvalidArgValue)
		chosen := serverConfig()
		chosen.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := serverConfig()
			c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12
			return c, nil
		}
		m.listenAgain(ListenOptions{TLS: chosen})
		p := m.pair(ConnectOptions{})
		if v := p.client.ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("the version is %s", tls.VersionName(v))
		}
	})
}

// firstMessage returns what a client's TLS says first.
func firstMessage(t testing.TB, config *tls.Config, params []byte) []byte {
	t.Helper()
	q := tls.QUICClient(&tls.QUICConfig{TLSConfig: config})
	defer q.Close()
	q.SetTransportParameters(params)
	if err := q.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	for {
		switch e := q.NextEvent(); e.Kind {
		case tls.QUICWriteData:
			return bytes.Clone(e.Data)
		case tls.QUICNoEvent:
			t.Fatal("TLS says nothing")
		}
	}
}
