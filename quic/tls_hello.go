package quic

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// ClientHello is what a ListenOptions.ClientHelloHandler is told of a client that begins
// a session.
type ClientHello struct {
	ALPN       string   // the first the client offers of those that the server takes, "" if none is (CHE-003)
	ServerName string   // that the client asks for, "" if it does for none (CHE-004)
	Ciphers    []string // TLS 1.3 suites that the client offers, in its order, as "TLS_AES_128_GCM_SHA256" (CHE-005)
}

// OCSPRequest is what a ListenOptions.OCSPHandler is told of a client that asks for proof
// that the server's certificate is not revoked.
type OCSPRequest struct {
	ServerName string                 // that the client asks for, "" if it does for none (OCS-003)
	Context    *securecontext.Context // in use for the session, nil if the listener has a tls.Config instead (OCS-004)
}

// OCSPResponse is what a ListenOptions.OCSPHandler answers.
type OCSPResponse struct {
	// Data is the response, as an authority signed it: the client gets these bytes
	// (OCS-005). Nil leaves it at what the certificate has by itself.
	Data []byte
	// Context, if not nil, stands in for the one in use from now on (OCS-006).
	Context *securecontext.Context
}

// serverChoice makes the configurations of a listener's sessions.
type serverChoice struct {
	o      *ListenOptions
	first  uint32      // version of the clients' first flights
	keys   *tls.Config // whose ticket keys hold for all of the listener's
	base   *tls.Config // the listener's
	plain  *tls.Config // the same for a session
	choose func(*tls.ClientHelloInfo) (*tls.Config, error)
}

// config returns the configuration that a session goes on with, as the program says
// that is asked about the client's first message.
func (v *serverChoice) config(r *tlsRunner, h *tls.ClientHelloInfo) (*tls.Config, error) {
	own, err := v.chosen(r, h)
	if err != nil {
		return nil, err
	}
	if v.o.OCSPHandler != nil && asksForStaple(h) {
		if own, err = v.stapled(r, h, own); err != nil {
			return nil, err
		}
	}
	r.offer(h.CipherSuites)
	return r.use(own), nil
}

// chosen asks the program which configuration it is to be.
func (v *serverChoice) chosen(r *tlsRunner, h *tls.ClientHelloInfo) (*tls.Config, error) {
	if handler := v.o.ClientHelloHandler; handler != nil {
		hello := clientHello(h, v.base.NextProtos)
		sc, err := guarded(r, func() (*securecontext.Context, error) { return handler(h.Context(), r.s.server, hello) })
		switch {
		case err != nil:
			return nil, r.blame(err)
		case sc != nil:
			return v.other(r, sc)
		}
	}
	if v.choose != nil {
		chosen, err := guarded(r, func() (*tls.Config, error) { return v.choose(h) })
		if err != nil {
			return nil, err
		}
		if chosen != nil {
			own := forced(chosen, v.base)
			r.chosen = chosen
			own.SessionTicketsDisabled = own.SessionTicketsDisabled || v.first != wire.Version1
			v.join(r, own)
			return own, nil
		}
	}
	return v.plain.Clone(), nil
}

// other returns a configuration made from another context than the listener's.
func (v *serverChoice) other(r *tlsRunner, sc *securecontext.Context) (*tls.Config, error) {
	if err := sc.CheckServer(); err != nil {
		return nil, r.blame(err)
	}
	r.context = sc
	own, keys := forced(tlsOf(nil, sc), v.base), v.keys
	switch {
	case len(v.o.TicketKeys) > 0:
		own.SetSessionTicketKeys(sc.PartitionTicketKeys(v.o.TicketKeys))
		keys = own
	case sc.SetTicketKeys(own, v.o.SecureContext):
		keys = own
	}
	bindTickets(own, keys, v.first)
	v.join(r, own)
	return own, nil
}

// join makes a configuration that is not the listener's one of its sessions'.
func (v *serverChoice) join(r *tlsRunner, own *tls.Config) {
	r.clientCAs = cmp.Or(own.ClientCAs, r.clientCAs)
	v.o.askClients(own, v.base)
	guardServer(own)
}

// stapled asks the program for the proof that goes with the certificate.
func (v *serverChoice) stapled(r *tlsRunner, h *tls.ClientHelloInfo, own *tls.Config) (*tls.Config, error) {
	request := OCSPRequest{ServerName: h.ServerName, Context: r.context}
	answer, err := guarded(r, func() (OCSPResponse, error) { return v.o.OCSPHandler(h.Context(), r.s.server, request) })
	if err != nil {
		return nil, r.blame(err)
	}
	if answer.Context != nil {
		if own, err = v.other(r, answer.Context); err != nil {
			return nil, err
		}
	}
	if answer.Data == nil {
		return own, nil
	}
	staple := bytes.Clone(answer.Data)
	own.Certificates = slices.Clone(own.Certificates)
	for i := range own.Certificates {
		own.Certificates[i].OCSPStaple = staple
	}
	if get := own.GetCertificate; get != nil {
		own.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := get(h)
			if cert == nil || err != nil {
				return cert, err
			}
			with := *cert
			with.OCSPStaple = staple
			return &with, nil
		}
	}
	return own, nil
}

// asksForStaple reports whether a client wants to see an OCSP response (RFC 6066 §8).
func asksForStaple(h *tls.ClientHelloInfo) bool {
	const statusRequest = 5
	return slices.Contains(h.Extensions, statusRequest)
}

// clientHello returns what the handler is told. protos are those that the listener takes.
func clientHello(h *tls.ClientHelloInfo, protos []string) ClientHello {
	hello := ClientHello{ServerName: h.ServerName}
	for _, p := range h.SupportedProtos {
		if slices.Contains(protos, p) {
			hello.ALPN = p
			break
		}
	}
	for _, id := range h.CipherSuites {
		if id>>8 == 0x13 { // those of TLS 1.3 (RFC 8446 §B.4)
			hello.Ciphers = append(hello.Ciphers, tls.CipherSuiteName(id))
		}
	}
	return hello
}

// showStaple gives the server's OCSP response to the program of a client, once the
// server's certificate is there.
func (r *tlsRunner) showStaple(c *tls.Config, handler func(context.Context, *ClientSession, []byte) error) {
	verify := c.VerifyConnection
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if verify != nil {
			if err := verify(state); err != nil {
				return err
			}
		}
		_, err := guarded(r, func() (struct{}, error) {
			return struct{}{}, handler(r.ctx, r.s.client, bytes.Clone(state.OCSPResponse))
		})
		if err != nil {
			return r.blame(err)
		}
		return nil
	}
}

// blame makes an error of the program's what its session has ended with.
func (r *tlsRunner) blame(err error) error {
	cause := destroyed(err) // without the lock: an error may have methods of the program's
	s := r.s
	s.mu.Lock()
	if s.err == nil && s.cause == nil {
		s.cause = cause
	}
	s.unlock(flushNone)
	return err
}
