package quic

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Certificate tells what a certificate says (SES-055). All of it can be had from X509
// too, whose key and extensions are more than is listed here.
type Certificate struct {
	Subject, Issuer pkix.Name           // Subject.CommonName and so on
	SubjectAltNames []string            // as "DNS:example.com", "IP Address:10.0.0.1", "email:a@b.c", "URI:https://…"
	InfoAccess      map[string][]string // URLs, under "OCSP - URI" and "CA Issuers - URI"
	SerialNumber    string              // in hexadecimal, upper case

	ValidFrom, ValidTo time.Time

	Fingerprint    string // SHA-1 of Raw in hexadecimal, upper case, a colon after each byte
	Fingerprint256 string // likewise with SHA-256

	KeyType     string   // "RSA", "ECDSA" or "Ed25519"
	Bits        int      // size of the public key
	Curve       string   // of an ECDSA key, as "P-256"
	ExtKeyUsage []string // object identifiers, as "1.3.6.1.5.5.7.3.1" for servers

	Raw  []byte            // DER
	X509 *x509.Certificate // all of it

	// IssuerCertificate is that of the issuer, if it was asked for and is known. At the end of
	// the chain, which is the anchor if the peer is authenticated, it is nil.
	IssuerCertificate *Certificate
}

// Certificate returns the certificate that this end has shown to the peer, or would if it
// were asked for one: nil if there is none or the session is over (SES-052).
func (s *Session) Certificate() *Certificate {
	s.mu.Lock()
	shown := s.localCert
	if s.err != nil {
		shown = nil
	}
	s.unlock(flushNone)
	if shown == nil || len(shown.Certificate) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(shown.Certificate[0])
	if err != nil {
		return nil // TLS does not look at what it shows
	}
	return newCertificate(leaf)
}

// PeerCertificate returns the certificate that the peer has shown, nil if it has shown
// none or the session is over (SES-053). With detailed, each one has that of its issuer, as
// far as the peer has sent them or the verification has found them (SES-054). Among those of
// a peer that was not verified, 100 signatures are checked at most.
func (s *Session) PeerCertificate(detailed bool) *Certificate {
	s.mu.Lock()
	state := s.tlsState
	if s.err != nil {
		state = nil
	}
	s.unlock(flushNone)
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := newCertificate(state.PeerCertificates[0])
	if detailed {
		at := leaf
		for _, c := range chainOf(state) {
			at.IssuerCertificate = newCertificate(c)
			at = at.IssuerCertificate
		}
	}
	return leaf
}

// maxChainChecks is how many signatures are checked to find the issuers of a peer that nobody has verified,
// as many as crypto/x509 checks to verify one: a peer can send hundreds of certificates of one name.
const maxChainChecks = 100

// chainOf returns the issuers of the peer's certificate, nearest first: what the
// verification has found, else what the peer has sent, in whatever order, as far as that is found
// with maxChainChecks.
func chainOf(state *tls.ConnectionState) []*x509.Certificate {
	if len(state.VerifiedChains) > 0 {
		return state.VerifiedChains[0][1:]
	}
	at, rest := state.PeerCertificates[0], append([]*x509.Certificate(nil), state.PeerCertificates[1:]...)
	var chain []*x509.Certificate
	left := maxChainChecks
	for !bytes.Equal(at.RawIssuer, at.RawSubject) {
		i := slices.IndexFunc(rest, func(c *x509.Certificate) bool {
			if left == 0 || !bytes.Equal(c.RawSubject, at.RawIssuer) {
				return false
			}
			left--
			return at.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			break
		}
		at = rest[i]
		chain = append(chain, at)
		rest = append(rest[:i], rest[i+1:]...)
	}
	return chain
}

func newCertificate(c *x509.Certificate) *Certificate {
	sum1, sum256 := sha1.Sum(c.Raw), sha256.Sum256(c.Raw)
	out := &Certificate{
		Subject: c.Subject, Issuer: c.Issuer,
		SubjectAltNames: altNames(c),
		SerialNumber:    fmt.Sprintf("%X", c.SerialNumber),
		ValidFrom:       c.NotBefore, ValidTo: c.NotAfter,
		Fingerprint:    fingerprint(sum1[:]),
		Fingerprint256: fingerprint(sum256[:]),
		ExtKeyUsage:    keyUsages(c),
		Raw:            c.Raw,
		X509:           c,
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		out.KeyType, out.Bits = "RSA", k.N.BitLen()
	case *ecdsa.PublicKey:
		out.KeyType, out.Bits, out.Curve = "ECDSA", k.Curve.Params().BitSize, k.Curve.Params().Name
	case ed25519.PublicKey:
		out.KeyType, out.Bits = "Ed25519", 8*len(k)
	}
	for name, urls := range map[string][]string{"OCSP - URI": c.OCSPServer, "CA Issuers - URI": c.IssuingCertificateURL} {
		if len(urls) > 0 {
			if out.InfoAccess == nil {
				out.InfoAccess = make(map[string][]string)
			}
			out.InfoAccess[name] = urls
		}
	}
	return out
}

func altNames(c *x509.Certificate) []string {
	var list []string
	for _, name := range c.DNSNames {
		list = append(list, "DNS:"+name)
	}
	for _, ip := range c.IPAddresses {
		list = append(list, "IP Address:"+ip.String())
	}
	for _, a := range c.EmailAddresses {
		list = append(list, "email:"+a)
	}
	for _, u := range c.URIs {
		list = append(list, "URI:"+u.String())
	}
	return list
}

func fingerprint(sum []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

// keyUsages returns the object identifiers in a certificate's extended key usage.
func keyUsages(c *x509.Certificate) []string {
	usage := asn1.ObjectIdentifier{2, 5, 29, 37} // RFC 5280 §4.2.1.12
	for _, e := range c.Extensions {
		var ids []asn1.ObjectIdentifier
		if !e.Id.Equal(usage) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &ids); err != nil {
			return nil
		}
		list := make([]string, len(ids))
		for i, id := range ids {
			list[i] = id.String()
		}
		return list
	}
	return nil
}

// Cipher names what protects a session (SES-037).
type Cipher struct {
	Name    string // of the TLS 1.3 suite, as "TLS_AES_128_GCM_SHA256" (SES-038)
	Version string // always "TLSv1.3" (SES-039)
}

// Cipher returns the negotiated cipher, and the zero Cipher before the handshake is
// complete.
func (s *Session) Cipher() Cipher {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.tlsState == nil {
		return Cipher{}
	}
	return Cipher{Name: tls.CipherSuiteName(s.tlsState.CipherSuite), Version: "TLSv1.3"}
}

// EphemeralKeyInfo tells how the ends of a session have agreed on its keys (CLI-013).
type EphemeralKeyInfo struct {
	Type string // "ECDH": TLS here has no other (CLI-014)
	Name string // as securecontext.Options takes it: "P-256", "X25519"; of a hybrid, IANA's name (CLI-015)
	Size int    // of the curve's keys in bits; of a hybrid, of its classical part (CLI-016)
}

// EphemeralKeyInfo returns the session's key agreement: zero before the handshake is
// complete, and after the session's end.
func (c *ClientSession) EphemeralKeyInfo() EphemeralKeyInfo {
	c.mu.Lock()
	defer c.unlock(flushNone)
	if c.tlsState == nil || c.err != nil || c.tlsState.CurveID == 0 {
		return EphemeralKeyInfo{}
	}
	return agreement(c.tlsState.CurveID)
}

func agreement(id tls.CurveID) EphemeralKeyInfo {
	switch id {
	case tls.X25519:
		return EphemeralKeyInfo{"ECDH", "X25519", 253}
	case tls.CurveP256:
		return EphemeralKeyInfo{"ECDH", "P-256", 256}
	case tls.CurveP384:
		return EphemeralKeyInfo{"ECDH", "P-384", 384}
	case tls.CurveP521:
		return EphemeralKeyInfo{"ECDH", "P-521", 521}
	case tls.X25519MLKEM768:
		return EphemeralKeyInfo{"ECDH", "X25519MLKEM768", 253}
	case tls.SecP256r1MLKEM768:
		return EphemeralKeyInfo{"ECDH", "SecP256r1MLKEM768", 256}
	case tls.SecP384r1MLKEM1024:
		return EphemeralKeyInfo{"ECDH", "SecP384r1MLKEM1024", 384}
	}
	return EphemeralKeyInfo{Type: "ECDH", Name: id.String()}
}
