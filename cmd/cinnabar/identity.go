package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// identity returns the certificate in PEM files, or if there are none a new one for
// these names.
func identity(certFile, keyFile string, names ...string) (tls.Certificate, error) {
	if certFile == "" {
		return selfSigned(names...)
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return cert, fmt.Errorf("cannot use --cert %s and --key %s: %w", certFile, keyFile, err)
	}
	cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	return cert, err
}

// selfSigned makes a certificate that nobody has signed, for the names and
// addresses given. It is good for 13 days: browsers that are told which key to trust take
// none that is good for more than a fortnight. It lives as long as the process.
func selfSigned(names ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "cinnabar"},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(13 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// fingerprint is the SHA-256 of a certificate's public key
// (SubjectPublicKeyInfo): it stays when a certificate is renewed with the same key.
type fingerprint digest

const fingerprintPrefix = "sha256:"

func fingerprintOf(cert *x509.Certificate) fingerprint {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// String returns the fingerprint as --pin takes it.
func (f fingerprint) String() string { return fingerprintPrefix + hex.EncodeToString(f[:]) }

// base64 returns the fingerprint as Chromium takes it.
func (f fingerprint) base64() string { return base64.StdEncoding.EncodeToString(f[:]) }

// UnmarshalText parses what String returns, and curl's sha256// with base64.
func (f *fingerprint) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(string(text), fingerprintPrefix)
	b, err := hex.DecodeString(digits)
	if curls, found := strings.CutPrefix(string(text), "sha256//"); found {
		ok = true
		b, err = base64.StdEncoding.DecodeString(curls)
	}
	if !ok || err != nil || len(b) != len(f) {
		return errors.New("a fingerprint is sha256: and 64 hexadecimal digits, as receive and serve print it")
	}
	*f = fingerprint(b)
	return nil
}

// trust is how a client makes sure whom it talks to. Without any of these, the
// system's certificate authorities decide.
type trust struct {
	CA       string       `name:"ca" placeholder:"FILE" xor:"trust" help:"Trust the certificates in this PEM file instead of the system's."`
	Pin      *fingerprint `placeholder:"FINGERPRINT" xor:"trust" help:"Trust the one key that has this fingerprint (receive and serve print it)."`
	Insecure bool         `xor:"trust" help:"Trust whoever answers: no protection against somebody in between."`
}

// pinError is a server with another key than the one asked for.
type pinError struct{ got fingerprint }

func (e *pinError) Error() string { return "the key's fingerprint is " + e.got.String() }

// config returns a client's TLS configuration. caFlag is what the option for
// certificates is called.
func (t *trust) config(caFlag string, protocols ...string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: protocols}
	switch {
	case t.CA != "":
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", caFlag, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate in %s; %s takes a PEM file", t.CA, caFlag)
		}
	case t.Pin != nil:
		c.InsecureSkipVerify = true // the key is all that counts
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if got := fingerprintOf(state.PeerCertificates[0]); got != *t.Pin {
				return &pinError{got}
			}
			return nil
		}
	case t.Insecure:
		c.InsecureSkipVerify = true
	}
	return c, nil
}
