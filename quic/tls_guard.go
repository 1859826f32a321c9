package quic

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"io"
	"slices"
	"strings"
)

// guardServer puts guards around what a server's configuration has of the program's
// and TLS tells the session of: its callbacks and its keys. The rest is guard's.
func guardServer(c *tls.Config) {
	if get := c.GetEncryptedClientHelloKeys; get != nil {
		c.GetEncryptedClientHelloKeys = func(h *tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) {
			r := runnerOf(h.Context())
			h.Conn = r.addresses()
			return guarded(r, func() ([]tls.EncryptedClientHelloKey, error) { return get(h) })
		}
	}
	guardKeyLog(c)
	//lint:ignore SA1019 crypto/tls still goes by the map, if there is one
	get, list, names := c.GetCertificate, c.Certificates, c.NameToCertificate
	if get == nil && len(list) <= 1 && !slices.ContainsFunc(list, foreignKey) {
		return
	}
	c.Certificates = nil // TLS would use them without telling
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		r := runnerOf(h.Context())
		h.Conn = r.addresses()
		return guarded(r, func() (*tls.Certificate, error) {
			if get != nil && (len(list) == 0 || h.ServerName != "") {
				if cert, err := get(h); cert != nil || err != nil {
					r.shown = cert
					return r.guardKey(cert), err
				}
			}
			if len(list) == 0 {
				return nil, nil // there is none
			}
			r.shown = chooseCertificate(h, list, names)
			return r.guardKey(r.shown), nil
		})
	}
}

// localCert returns the certificate that this end has shown, or else the first it was given.
func (r *tlsRunner) localCert() *tls.Certificate {
	if r.shown != nil {
		return r.shown
	}
	list := r.config.Certificates
	if v := r.s.server; v != nil && len(list) == 0 {
		list = tlsOf(v.listener.opts.TLS, v.listener.opts.SecureContext).Certificates
	}
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// chooseCertificate is what TLS does with a list of certificates, and the map of names that
// it has given up.
func chooseCertificate(h *tls.ClientHelloInfo, list []tls.Certificate, names map[string]*tls.Certificate) *tls.Certificate {
	if len(list) == 1 {
		return &list[0]
	}
	if names != nil {
		name := strings.ToLower(h.ServerName)
		if c := names[name]; c != nil {
			return c
		}
		if _, rest, ok := strings.Cut(name, "."); ok && names["*."+rest] != nil {
			return names["*."+rest]
		}
	}
	for i := range list {
		if h.SupportsCertificate(&list[i]) == nil {
			return &list[i]
		}
	}
	return &list[0]
}

// guardClient does for a client's keys what guardServer does for a server's.
func (r *tlsRunner) guardClient(c *tls.Config) {
	guardKeyLog(c)
	get, list := c.GetClientCertificate, c.Certificates
	if get == nil && len(list) <= 1 && !slices.ContainsFunc(list, foreignKey) {
		return
	}
	c.GetClientCertificate = func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return guarded(r, func() (*tls.Certificate, error) {
			if get != nil {
				cert, err := get(i)
				r.shown = cert
				return r.guardKey(cert), err
			}
			for k := range list {
				if i.SupportsCertificate(&list[k]) == nil {
					r.shown = &list[k]
					return r.guardKey(&list[k]), nil
				}
			}
			r.shown = new(tls.Certificate) // none
			return r.shown, nil
		})
	}
}

// guardKeyLog keeps a panic of the program's writer from TLS, which has a lock for
// all sessions of the process then.
func guardKeyLog(c *tls.Config) {
	if _, already := c.KeyLogWriter.(guardedWriter); c.KeyLogWriter != nil && !already {
		c.KeyLogWriter = guardedWriter{c.KeyLogWriter}
	}
}

type guardedWriter struct{ w io.Writer }

func (g guardedWriter) Write(p []byte) (n int, err error) {
	err = call(func() error {
		n, err = g.w.Write(p)
		return err
	})
	return n, err
}

// foreignKey reports whether a certificate's key is code of the program's, and not
// bytes in memory: a smart card, a service.
func foreignKey(c tls.Certificate) bool {
	switch c.PrivateKey.(type) {
	case *ecdsa.PrivateKey, *rsa.PrivateKey, ed25519.PrivateKey:
		return false
	}
	_, ok := c.PrivateKey.(crypto.Signer)
	return ok
}

// guardKey returns the certificate with a guard around its key, if that needs one. It
// is called guarded, because it asks for the public key.
func (r *tlsRunner) guardKey(c *tls.Certificate) *tls.Certificate {
	if c == nil || !foreignKey(*c) {
		return c
	}
	signer := c.PrivateKey.(crypto.Signer)
	g := guardedSigner{r, signer, signer.Public()}
	guard := *c
	guard.PrivateKey = g
	if m, ok := signer.(crypto.MessageSigner); ok {
		guard.PrivateKey = guardedMessageSigner{g, m}
	}
	return &guard
}

// guardedSigner is a key whose use lets the handshake's clock stand still and cannot
// end the process. TLS 1.3 does nothing with keys but sign.
type guardedSigner struct {
	r      *tlsRunner
	signer crypto.Signer
	public crypto.PublicKey
}

func (g guardedSigner) Public() crypto.PublicKey { return g.public }

func (g guardedSigner) Sign(rand io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	return guarded(g.r, func() ([]byte, error) { return g.signer.Sign(rand, digest, o) })
}

// guardedMessageSigner is one that hashes by itself.
type guardedMessageSigner struct {
	guardedSigner
	message crypto.MessageSigner
}

func (g guardedMessageSigner) SignMessage(rand io.Reader, msg []byte, o crypto.SignerOpts) ([]byte, error) {
	return guarded(g.r, func() ([]byte, error) { return g.message.SignMessage(rand, msg, o) })
}

// guardTickets wraps the callbacks that make and open a server's tickets.
func (r *tlsRunner) guardTickets(c *tls.Config) {
	if wrap := c.WrapSession; wrap != nil {
		c.WrapSession = func(state tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
			return guarded(r, func() ([]byte, error) { return wrap(state, s) })
		}
	}
	if unwrap := c.UnwrapSession; unwrap != nil {
		c.UnwrapSession = func(id []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			return guarded(r, func() (*tls.SessionState, error) { return unwrap(id, state) })
		}
	}
}
