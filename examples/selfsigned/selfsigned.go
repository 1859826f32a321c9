// Package selfsigned makes certificates for programs that are to run at once.
package selfsigned

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// Context returns a context for both ends: a server has such a certificate, and a client
// trusts it.
func Context(host string) (*securecontext.Context, error) {
	cert, key, err := PEM(host)
	if err != nil {
		return nil, err
	}
	return securecontext.New(securecontext.Options{
		CA:   [][]byte{cert},
		Cert: [][]byte{cert},
		Key:  []securecontext.Key{{PEM: key}},
	})
}

// PEM returns a certificate for a host name, which nobody has signed and which is good
// for a day, and its key, both as PEM. A client trusts it by taking the certificate as
// its only CA.
func PEM(host string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(24 * time.Hour),
		DNSNames:     []string{host},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return cert, key, nil
}
