package quic

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

var (
	longAgo = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // bubbles begin in 2000
	farAway = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	serials atomic.Int64
)

// issuer is a certificate with its key: an authority, or who has a leaf.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newIssuer makes a root, or with a parent what that signs. change may be nil.
func newIssuer(t testing.TB, name string, parent *issuer, change func(*x509.Certificate)) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newIssuerOf(t, name, key, parent, change)
}

func newIssuerOf(t testing.TB, name string, key crypto.Signer, parent *issuer, change func(*x509.Certificate)) *issuer {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serials.Add(1)),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             longAgo,
		NotAfter:              farAway,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent = &issuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

// leafFor makes a template that of an end's certificate for localhost.
func leafFor(c *x509.Certificate) {
	c.IsCA = false
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.DNSNames = []string{"localhost"}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)}
}

func (a *issuer) leaf(t testing.TB, name string) *issuer { return newIssuer(t, name, a, leafFor) }

func (a *issuer) pem() []byte { return pemOf("CERTIFICATE", a.cert.Raw) }

func (a *issuer) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

// identity is what a context shows to be a.
func (a *issuer) options(t testing.TB) securecontext.Options {
	t.Helper()
	return securecontext.Options{Cert: [][]byte{a.pem()}, Key: []securecontext.Key{{PEM: a.keyPEM(t)}}}
}

func pemOf(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

var otherServer = netip.MustParseAddrPort("10.0.0.1:4434")

// wantBad wants an *OptionError that names the option.
func wantBad(t testing.TB, err error, option, code string) {
	t.Helper()
	var o *OptionError
	if !errors.As(err, &o) || o.Option != option || o.Code() != code || !strings.Contains(err.Error(), option) {
		t.Errorf("error is %v, want an OptionError about %s with code %s", err, option, code)
	}
}

func newContext(t testing.TB, o securecontext.Options) *securecontext.Context {
	t.Helper()
	c, err := securecontext.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A context takes the place of a TLS configuration, in the options of a call and in
// those of the socket.
func TestSecureContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		server := newContext(t, root.leaf(t, "server").options(t))
		client := newContext(t, securecontext.Options{CA: [][]byte{root.pem()}})
		m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
		m.server = m.socketAt(memServer, SocketOptions{Server: ListenOptions{SecureContext: server, ALPN: "test"}})
		m.client = m.socket(SocketOptions{Client: ConnectOptions{SecureContext: client, ALPN: "test"}})
		defer m.close()
		if err := m.server.Listen(t.Context(), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		o := ConnectOptions{Address: memServer.Addr().String(), Port: int(memServer.Port()), ServerName: "localhost"}
		c, err := m.client.Connect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil || !c.Authenticated() {
			t.Errorf("%v, authenticated %v", err, c.Authenticated())
		}
		o.TLS, o.ALPN = clientConfig(), "test" // stands in for the socket's context, which trusts others
		c, err = m.client.Connect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err == nil {
			t.Error("the socket's context was used")
		}
		o.SecureContext = client
		_, err = m.client.Connect(t.Context(), o)
		wantBad(t, err, "ConnectOptions.SecureContext", CodeInvalidArgValue)
		other := m.socketAt(otherServer, SocketOptions{})
		defer other.Destroy(nil)
		err = other.Listen(t.Context(), ListenOptions{ALPN: "test", SecureContext: client})
		wantBad(t, err, "ListenOptions.SecureContext", CodeMissingOption)
		_, err = NewSocket(SocketOptions{Server: ListenOptions{TLS: serverConfig(), SecureContext: server}})
		wantBad(t, err, "SocketOptions.Server.SecureContext", CodeInvalidArgValue)
	})
}
