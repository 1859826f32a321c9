package quic

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// insistOn makes the session's own configuration fail handshakes with what crypto/tls
// does not look at: revocation, and chains whose host does not matter.
func (r *tlsRunner) insistOn(c *tls.Config) {
	if r.soft || !r.anyHost && !r.restricted() {
		return
	}
	before := c.VerifyConnection
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if before != nil {
			if err := before(state); err != nil {
				return err
			}
		}
		if r.s.server != nil && len(state.PeerCertificates) == 0 {
			return nil // TLS knows whether there must be one
		}
		if err := r.verify(&state); err != nil {
			return &refusedPeer{err}
		}
		r.insisted = true
		return nil
	}
}

// refusedPeer is a *VerifyError that ends a handshake, with the alert that says why.
type refusedPeer struct{ err error }

func (e *refusedPeer) Error() string { return e.err.Error() }

func (e *refusedPeer) Unwrap() []error {
	alert := tls.AlertError(42) // bad_certificate
	var v *VerifyError
	if errors.As(e.err, &v) {
		switch v.Reason {
		case reasonExpired, reasonNotYet:
			alert = 45
		case reasonAuthority, reasonSelfSigned:
			alert = 48
		}
		errors.As(v.Err, &alert) // revocation brings its own
	}
	return []error{e.err, alert}
}

// The reasons of VerifyError, besides those of securecontext.RevocationError.
const (
	reasonHost       = "HOSTNAME_MISMATCH"
	reasonAuthority  = "UNKNOWN_AUTHORITY"
	reasonSelfSigned = "DEPTH_ZERO_SELF_SIGNED_CERT"
	reasonExpired    = "CERT_HAS_EXPIRED"
	reasonNotYet     = "CERT_NOT_YET_VALID"
	reasonAbsent     = "NO_CERTIFICATE"
	reasonInvalid    = "INVALID_CERTIFICATE"
)

// unproven finds out whether a handshake has failed because the peer is not
// authenticated, and gives the error the form that AuthenticationError has.
func (r *tlsRunner) unproven(err error, alert tls.AlertError) (*VerifyError, error) {
	const certificateRequired = 116
	var v *VerifyError
	var failed *tls.CertificateVerificationError
	switch {
	case errors.As(err, &v):
		return v, err
	case errors.As(err, &failed):
		v = r.untrusted(r.verifyReason(failed.Err), err)
	case r.s.server != nil && alert == certificateRequired:
		v = r.untrusted(reasonAbsent, err)
	default:
		return nil, err
	}
	return v, v
}

// untrusted returns the error of a peer that is not authenticated. It is called without locks.
func (r *tlsRunner) untrusted(reason string, err error) *VerifyError {
	v := &VerifyError{Reason: reason, Err: err, server: r.s.server != nil}
	if v.Peer = r.config.ServerName; v.server {
		v.Peer = r.s.RemoteAddr().String()
	}
	return v
}

// verify finds out whether the peer is authenticated, where TLS was told not to
// insist on it or does not look. It is called without locks.
func (r *tlsRunner) verify(state *tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return r.untrusted(reasonAbsent, errors.New("the peer has shown no certificate"))
	}
	if r.tlsVerifies() && !r.restricted() {
		return nil
	}
	_, err := guarded(r, func() (struct{}, error) { return struct{}{}, r.verifyPeer(state) })
	return err
}

// verifyPeer is what TLS would have done, and revocation. A platform's verifier may ask
// the network.
func (r *tlsRunner) verifyPeer(state *tls.ConnectionState) error {
	chains := state.VerifiedChains
	if len(chains) == 0 || !r.tlsVerifies() { // then those of a resumed session are of another name or other anchors
		var err error
		if chains, err = state.PeerCertificates[0].Verify(r.verifyOptions(state)); err != nil {
			return r.untrusted(r.verifyReason(err), err)
		}
	}
	if r.context == nil {
		return nil
	}
	err := r.context.CheckRevocation(chains, r.time())
	if err == nil {
		return nil
	}
	v := r.untrusted(reasonInvalid, err)
	var revoked *securecontext.RevocationError
	if errors.As(err, &revoked) {
		v.Reason = revoked.Reason
	}
	return v
}

// tlsVerifies reports whether crypto/tls has been told to insist on a peer that verifies.
func (r *tlsRunner) tlsVerifies() bool {
	if r.s.server != nil {
		return r.config.ClientAuth >= tls.VerifyClientCertIfGiven
	}
	return !r.config.InsecureSkipVerify
}

func (r *tlsRunner) verifyOptions(state *tls.ConnectionState) x509.VerifyOptions {
	o := x509.VerifyOptions{
		Roots:         r.config.RootCAs,
		DNSName:       r.config.ServerName,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   r.time(),
	}
	if r.anyHost {
		o.DNSName = ""
	}
	if r.s.server != nil {
		o.Roots, o.DNSName = r.clientCAs, ""
		o.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, c := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	return o
}

// time returns the time that certificates have to be valid at.
func (r *tlsRunner) time() time.Time {
	if r.config.Time != nil {
		return r.config.Time()
	}
	return time.Now()
}

func (r *tlsRunner) verifyReason(err error) string {
	var host x509.HostnameError
	var issuer x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &host):
		return reasonHost
	case errors.As(err, &issuer) && selfSigned(issuer.Cert):
		return reasonSelfSigned
	case errors.As(err, &issuer):
		return reasonAuthority
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && r.time().Before(invalid.Cert.NotBefore):
		return reasonNotYet
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return reasonExpired
	}
	return reasonInvalid
}

func selfSigned(c *x509.Certificate) bool {
	return c != nil && bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
