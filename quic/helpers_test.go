package quic

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// identity returns a certificate for localhost and 127.0.0.1 and the pool that
// trusts it, the same for all tests.
var identity = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

func serverConfig() *tls.Config {
	cert, _ := identity()
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"test"}}
}

func clientConfig() *tls.Config {
	_, pool := identity()
	return &tls.Config{RootCAs: pool, NextProtos: []string{"test"}}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pair is a client's session and a server's, shaken hands, over real loopback.
type pair struct {
	socket *Socket
	client *ClientSession
	server *ServerSession
}

func newPair(t testing.TB, lo ListenOptions, co ConnectOptions) *pair {
	t.Helper()
	ctx := testContext(t)
	if lo.TLS == nil {
		lo.TLS = serverConfig()
	}
	if co.TLS == nil {
		co.TLS = clientConfig()
	}
	socket, err := Listen(ctx, "127.0.0.1:0", lo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Destroy(nil) })
	client, err := Dial(ctx, socket.Address().String(), co)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Destroy(nil) })
	server, err := socket.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{socket, client, server}
}

// streams opens a bidirectional stream and makes it known to the other end.
func (p *pair) streams(t testing.TB) (client, server *Stream) {
	t.Helper()
	ctx := testContext(t)
	c, err := p.client.OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	s, err := p.server.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c, s
}
