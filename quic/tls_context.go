package quic

import (
	"crypto/tls"

	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// checkTLS refuses a configuration that cannot be made to TLS 1.3, and two at once.
func checkTLS(c *checker, t *tls.Config, sc *securecontext.Context) {
	if t != nil && sc != nil {
		c.fail("SecureContext", "given with TLS", CodeInvalidArgValue, "one of the two")
	}
	if t != nil && t.MaxVersion != 0 && t.MaxVersion < tls.VersionTLS13 {
		c.fail("TLS.MaxVersion", tls.VersionName(t.MaxVersion), CodeInvalidArgValue, "TLS 1.3")
	}
}

// checkCertificate refuses a server without any certificate.
func (o *ListenOptions) checkCertificate(c *checker) {
	t := tlsOf(o.TLS, o.SecureContext)
	if t != nil && (len(t.Certificates) > 0 || t.GetCertificate != nil || t.GetConfigForClient != nil) {
		return
	}
	if o.SecureContext != nil {
		c.fail("SecureContext", nil, CodeMissingOption, "a context with a certificate")
		return
	}
	c.fail("TLS", nil, CodeMissingOption, "a configuration with a certificate, or a SecureContext")
}

// tlsOf returns the configuration of which a session's is made: the program's own,
// or that of a context. What a context checks besides crypto/tls is left out: the session
// does it itself, because it knows whether to insist.
func tlsOf(t *tls.Config, sc *securecontext.Context) *tls.Config {
	if sc == nil {
		return t
	}
	c := sc.Config()
	c.VerifyConnection = nil
	return c
}
