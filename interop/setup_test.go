package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"
)

const (
	hostName = "localhost"
	alpn     = "cinnabar-interop"
)

// identity makes the TLS configurations of one case: a certificate that is signed by
// itself, and ticket keys that all of the case's servers share.
type identity struct {
	certificate tls.Certificate
	roots       *x509.CertPool
	ticketKey   [32]byte
}

func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: hostName},
		DNSNames:     []string{hostName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	id := &identity{
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		roots:       x509.NewCertPool(),
	}
	id.roots.AddCert(leaf)
	rand.Read(id.ticketKey[:])
	return id, nil
}

func (id *identity) server() *tls.Config {
	c := &tls.Config{
		Certificates: []tls.Certificate{id.certificate},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
	}
	c.SetSessionTicketKeys([][32]byte{id.ticketKey})
	return c
}

func (id *identity) client() *tls.Config {
	return &tls.Config{
		RootCAs:    id.roots,
		ServerName: hostName,
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{alpn},
	}
}

// tickets is a session cache that tells when it has got something.
type tickets struct {
	tls.ClientSessionCache
	put chan struct{} // gets a value for every ticket, as far as there is room
}

func newTickets() *tickets {
	return &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 64)}
}

// Put implements tls.ClientSessionCache.
func (t *tickets) Put(key string, s *tls.ClientSessionState) {
	t.ClientSessionCache.Put(key, s)
	if s == nil {
		return
	}
	select {
	case t.put <- struct{}{}:
	default:
	}
}

// wait returns when a ticket has come that no call before has waited for.
func (t *tickets) wait(ctx context.Context) error {
	select {
	case <-t.put:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
