package kit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Chain is a server's certificate that an authority has signed, over some others.
type Chain struct {
	Certificate                 tls.Certificate
	Root                        *x509.Certificate
	CertFile, KeyFile, RootFile string // cert.pem, priv.key and ca.pem
}

// NewChain makes a chain with so many authorities between root and leaf, and its files in a
// directory. The leaf is for HostName, the loopback addresses and the given names.
func NewChain(dir string, between int, names []string) (*Chain, error) {
	root, rootKey, err := issue("root", nil, nil, nil)
	if err != nil {
		return nil, err
	}
	c := &Chain{
		Root:     root,
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "priv.key"), RootFile: filepath.Join(dir, "ca.pem"),
	}
	parent, key := root, rootKey
	var above [][]byte
	for i := range between {
		if parent, key, err = issue(fmt.Sprintf("intermediate %d", i), nil, parent, key); err != nil {
			return nil, err
		}
		above = append([][]byte{parent.Raw}, above...)
	}
	leaf, leafKey, err := issue("", append([]string{HostName}, names...), parent, key)
	if err != nil {
		return nil, err
	}
	c.Certificate = tls.Certificate{Certificate: append([][]byte{leaf.Raw}, above...), PrivateKey: leafKey, Leaf: leaf}
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		return nil, err
	}
	var chain []byte
	for _, der := range c.Certificate.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(c.CertFile, chain, 0o600); err != nil {
		return nil, err
	}
	if err := writePEM(c.KeyFile, "PRIVATE KEY", private); err != nil {
		return nil, err
	}
	return c, writePEM(c.RootFile, "CERTIFICATE", root.Raw)
}

// issue signs an authority with a common name, or a leaf with DNS names; without a parent it
// signs itself.
func issue(name string, dns []string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: dns == nil,
	}
	if template.IsCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
