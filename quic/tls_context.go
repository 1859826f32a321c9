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

// checkClientCAs refuses to ask clients for certificates without saying whose: the host's
// roots would let in everybody who has a certificate for anything.
func (o *ListenOptions) checkClientCAs(c *checker) {
	if sc := o.SecureContext; sc != nil && c.err == nil {
		if err := sc.CheckServer(); err != nil {
			c.err = &OptionError{Option: c.in + ".SecureContext", Value: "not for a server", Err: err, code: CodeInvalidArgValue}
		}
	}
	t := tlsOf(o.TLS, o.SecureContext)
	if o.RequestCert && !o.AllowUnauthenticated && t != nil && t.ClientCAs == nil {
		c.fail("RequestCert", true, CodeInvalidArgValue, "a SecureContext with CA, TLS.ClientCAs, or AllowUnauthenticated")
	}
}

// soft reports whether clients are asked for a certificate that need not be good.
func (o *ListenOptions) soft() bool { return o.RequestCert && o.AllowUnauthenticated }

// askClients makes a configuration ask for certificates, if the options say so. base is
// the listener's own, whose anchors stand in for none.
func (o *ListenOptions) askClients(c, base *tls.Config) {
	if !o.RequestCert {
		return
	}
	if c.ClientCAs == nil {
		c.ClientCAs = base.ClientCAs
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if o.soft() {
		// Clients would hold back what is of none of these: it is to be seen.
		c.ClientAuth, c.ClientCAs = tls.RequestClientCert, nil
	}
}

// restricted reports whether sessions need configurations of their own for what their
// context asks of them.
func (o *ListenOptions) restricted() bool {
	return o.SecureContext != nil && o.SecureContext.Restricts()
}

// ticketKeys returns the keys as the context parts them.
func (o *ListenOptions) ticketKeys() [][32]byte {
	if o.SecureContext == nil {
		return o.TicketKeys
	}
	return o.SecureContext.PartitionTicketKeys(o.TicketKeys)
}

// serve makes the runner one of a listener.
func (r *tlsRunner) serve(l *listener) {
	r.context, r.soft, r.clientCAs = l.opts.SecureContext, l.opts.soft(), l.clientCAs
}

// noTickets reports whether the session's context wants no tickets.
func (r *tlsRunner) noTickets() bool { return r.context != nil && r.config.SessionTicketsDisabled }

// offer prepares crypto/tls for the suites of the session's context.
func (r *tlsRunner) offer(hello []uint16) {
	if r.context != nil {
		r.context.OfferCiphers(hello)
	}
}

// ServerSecureContext returns the context that Listen was given, nil before that and for
// a socket that listens with TLS.
func (s *Socket) ServerSecureContext() *securecontext.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.opts.SecureContext
}
