package securecontext

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// covers says that the assertion beside it proves a row of the API's acceptance list:
// docs/api-coverage.tsv names the test, and internal/house checks that it says so.
func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}

var (
	today   = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	serials atomic.Int64
)

// issuer is a certificate with its key.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newECDSA(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd25519(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// authority makes a root, or with a parent an intermediate.
func authority(t testing.TB, name string, parent *issuer) *issuer {
	t.Helper()
	return sign(t, name, newECDSA(t), parent, true)
}

func (a *issuer) leaf(t testing.TB, name string, key crypto.Signer) *issuer {
	t.Helper()
	return sign(t, name, key, a, false)
}

func sign(t testing.TB, name string, key crypto.Signer, parent *issuer, ca bool) *issuer {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serials.Add(1)),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{"localhost"},
		NotBefore:             today.AddDate(-10, 0, 0),
		NotAfter:              today.AddDate(100, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  ca,
	}
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
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

func (a *issuer) pem() []byte { return toPEM("CERTIFICATE", a.cert.Raw) }

func (a *issuer) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return toPEM("PRIVATE KEY", der)
}

func toPEM(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func mustNew(t testing.TB, o Options) *Context {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused wants New to fail with an *Error about an option, with a code, that says
// all of the words.
func refused(t testing.TB, o Options, option, code string, words ...string) {
	t.Helper()
	c, err := New(o)
	var e *Error
	if c != nil || !errors.As(err, &e) || e.Option != option || e.Code() != code {
		t.Errorf("New: %v, want an error about %s with code %s", err, option, code)
		return
	}
	for _, w := range append(words, option) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}
