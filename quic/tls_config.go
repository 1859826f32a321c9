package quic

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"time"
)

// serverTLS makes the configuration of a listener. It is one for all sessions,
// because ticket keys live in it; a session gets one of its own only where its
// callbacks could not tell which session they are for. There is one for each version that sessions
// can begin in, and keys, if not nil, is another one, whose tickets are the same.
func serverTLS(o *ListenOptions, version uint32, keys *tls.Config) *tls.Config {
	base := forced(tlsOf(o.TLS, o.SecureContext), nil)
	if o.ALPN != "" {
		base.NextProtos = []string{o.ALPN}
	}
	if len(o.TicketKeys) > 0 {
		base.SetSessionTicketKeys(o.ticketKeys())
	}
	o.askClients(base, base)
	guardServer(base)
	choose := base.GetConfigForClient
	shared := choose == nil && !o.perSession() && base.VerifyConnection == nil && base.VerifyPeerCertificate == nil &&
		base.WrapSession == nil && base.UnwrapSession == nil
	keys = cmp.Or(keys, base)
	bindTickets(base, keys, version)
	if shared {
		return base
	}
	plain := base.Clone()
	plain.GetConfigForClient = nil
	v := &serverChoice{o, version, keys, base, plain, choose}
	base.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		r := runnerOf(h.Context())
		h.Conn = r.addresses()
		return v.config(r, h)
	}
	return base
}

// perSession reports whether the options ask for something that a session's own
// configuration is needed for.
func (o *ListenOptions) perSession() bool {
	return o.Handler != nil || o.Hooks.KeyLog != nil || o.ClientHelloHandler != nil || o.OCSPHandler != nil || o.restricted()
}

// forced returns a copy of c that TLS 1.3 and QUIC can be spoken with. An empty
// ALPN list would let any client in, so base's stands in for it (RFC 9001 §8.1).
func forced(c, base *tls.Config) *tls.Config {
	c = c.Clone()
	if c == nil {
		c = new(tls.Config)
	}
	// Nothing older (RFC 9001 §4.2), and a QUICConn of TLS 1.3 asks for no compatibility mode (RFC 9001 §8.4).
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, 0
	if base != nil {
		c.GetConfigForClient = nil
		if len(c.NextProtos) == 0 {
			c.NextProtos = base.NextProtos
		}
	}
	return c
}

// use makes c the session's own configuration.
func (r *tlsRunner) use(c *tls.Config) *tls.Config {
	r.guard(c)
	r.guardTickets(c)
	if r.s.wantKeys() {
		r.logKeys(c)
	}
	r.insistOn(c)
	r.config = c
	return c
}

// clientTLS makes the configuration of one client session.
func (r *tlsRunner) clientTLS(o *ConnectOptions) *tls.Config {
	c := forced(tlsOf(o.TLS, o.SecureContext), nil)
	c.GetConfigForClient, c.GetCertificate = nil, nil
	if o.ALPN != "" {
		c.NextProtos = []string{o.ALPN}
	}
	if o.ServerName != "" {
		c.ServerName = o.ServerName
	}
	if c.ServerName == "" {
		c.ServerName = o.Address // an IP address is verified and not sent
	}
	r.soft = o.AllowUnauthenticated || c.InsecureSkipVerify
	r.context, r.anyHost = o.SecureContext, o.SkipHostnameVerification
	c.InsecureSkipVerify = r.soft || r.anyHost
	r.guard(c)
	r.guardClient(c)
	r.logKeys(c)
	r.insistOn(c)
	if o.OCSPHandler != nil {
		r.showStaple(c, o.OCSPHandler)
	}
	return c
}

// guard wraps the callbacks that are not given a context.
func (r *tlsRunner) guard(c *tls.Config) {
	if verify := c.VerifyConnection; verify != nil {
		c.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := guarded(r, func() (struct{}, error) { return struct{}{}, verify(state) })
			return err
		}
	}
	if verify := c.VerifyPeerCertificate; verify != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			_, err := guarded(r, func() (struct{}, error) { return struct{}{}, verify(raw, chains) })
			return err
		}
	}
	if verify := c.EncryptedClientHelloRejectionVerify; verify != nil {
		c.EncryptedClientHelloRejectionVerify = func(state tls.ConnectionState) error {
			_, err := guarded(r, func() (struct{}, error) { return struct{}{}, verify(state) })
			return err
		}
	}
}

// guarded runs a user's callback inside the handshake: the clock stands still, and a
// panic fails only this handshake.
func guarded[T any](r *tlsRunner, f func() (T, error)) (v T, err error) {
	r.pause(true)
	defer func() {
		if p := recover(); p != nil {
			err = &HandlerError{Value: p, Stack: debug.Stack()}
		}
		r.pause(false)
	}()
	return f()
}

func runnerOf(ctx context.Context) *tlsRunner { return ctx.Value(runnerKey{}).(*tlsRunner) }

// addresses returns a net.Conn for ClientHelloInfo.Conn, which is nil by itself. It
// has the session's addresses and does nothing else.
func (r *tlsRunner) addresses() net.Conn { return addressConn{r.s} }

type addressConn struct{ s *Session }

var errAddressesOnly = errors.New("quic: this net.Conn has the session's addresses and nothing else")

func (c addressConn) LocalAddr() net.Addr              { return c.s.LocalAddr() }
func (c addressConn) RemoteAddr() net.Addr             { return c.s.RemoteAddr() }
func (c addressConn) Read([]byte) (int, error)         { return 0, errAddressesOnly }
func (c addressConn) Write([]byte) (int, error)        { return 0, errAddressesOnly }
func (c addressConn) Close() error                     { return errAddressesOnly }
func (c addressConn) SetDeadline(time.Time) error      { return errAddressesOnly }
func (c addressConn) SetReadDeadline(time.Time) error  { return errAddressesOnly }
func (c addressConn) SetWriteDeadline(time.Time) error { return errAddressesOnly }

// sni returns what a client sends as its server name: nothing for an IP address.
func sni(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return name
}
