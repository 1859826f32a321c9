package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/fetch"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// What curl exits with, too, besides the codes of package fetch.
const (
	badCACert   = 77             // --cacert cannot be read
	pinMismatch = fetch.Code(90) // the server has not the key that was pinned
)

// getError says why there is no answer from a host, and what can be done about it. What
// it does not know is left as it is.
func getError(host string, err error) error {
	var pin *pinError
	var certificate *tls.CertificateVerificationError
	var name x509.HostnameError
	var remote *quic.TransportError
	var late *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	var versions *quic.VersionNegotiationError
	fail := func(code fetch.Code, format string, args ...any) error {
		return &fetch.Error{Code: code, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case errors.As(err, new(*fetch.Error)):
		return err
	case errors.As(err, &pin):
		return fail(pinMismatch, "%s has not the key that --pin asks for but %v: it was restarted with another, or somebody is in between", host, pin.got)
	case errors.As(err, &name) && namesOf(name.Certificate) != "":
		return fail(fetch.Certificate, "the certificate of %s is for %s", host, namesOf(name.Certificate))
	case errors.As(err, &name):
		return fail(fetch.Certificate, "the certificate of %s is for no name", host)
	case errors.As(err, &certificate):
		return fail(fetch.Certificate, "the certificate of %s cannot be verified (%v); use --cacert, --pin or, if it does not matter who answers, -k", host, certificate.Err)
	case errors.As(err, &late) && !late.Heard:
		return fail(fetch.Connect, "no answer from %s within %v: it does not speak HTTP/3, or UDP does not get through; --fallback also takes HTTP/2", host, late.After)
	case errors.As(err, &late):
		return fail(fetch.Timeout, "%s answered, but the handshake was not done after %v", host, late.After)
	case errors.As(err, &versions):
		return fail(fetch.Connect, "%s speaks QUIC, but no version that we do: %v", host, err)
	case errors.As(err, &remote) && remote.ErrorCode == noSuchProtocol:
		return fail(fetch.Connect, "%s speaks QUIC, but not HTTP/3", host)
	case errors.As(err, &remote) && remote.ErrorCode>>8 == 1:
		return fail(fetch.Handshake, "TLS with %s failed: %w", host, err)
	case errors.As(err, &idle):
		return fail(fetch.Timeout, "nothing was heard of %s any more: %w", host, err)
	}
	return err
}
