package http3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// identity returns a certificate for localhost, example.com and the loopback addresses, and
// the pool that trusts it, the same for all tests.
var identity = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	return certify("localhost", "example.com")
})

// certify returns a certificate for names and the loopback addresses, and the pool that trusts it.
func certify(names ...string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: names[0]},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames:              names,
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
}

func serverTLS() *tls.Config {
	cert, _ := identity()
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func clientTLS() *tls.Config {
	_, pool := identity()
	return &tls.Config{RootCAs: pool}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// pair is both ends of a session, over real loopback.
type pair struct {
	client, server *Session
}

// newPair makes both ends. The options of the transport are those that HTTP/3 needs.
func newPair(t testing.TB, so, co Options) *pair {
	t.Helper()
	return newPairOn(t, so, co, quic.ListenOptions{MaxDatagramFrameSize: 65535}, quic.ConnectOptions{MaxDatagramFrameSize: 65535})
}

// eventually waits until something is true that other goroutines bring about.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !ok() {
		if ctx.Err() != nil {
			t.Fatal("it does not come to pass")
		}
		runtime.Gosched()
	}
}
