package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Code is what a command exits with, the number that curl has for the same.
type Code int

// The codes, and what they stand for.
const (
	Unsupported Code = 1  // a scheme that is not https
	Malformed   Code = 3  // a URL that is none
	Resolve     Code = 6  // a host without an address
	Connect     Code = 7  // no connection
	Partial     Code = 18 // the answer ended too early
	Status      Code = 22 // a status of 400 or more
	Write       Code = 23 // the target
	Read        Code = 26 // what should be sent
	Timeout     Code = 28 // nothing came for too long, or not all in time
	Range       Code = 33 // the server does not resume
	Handshake   Code = 35 // TLS, other than certificates
	Redirects   Code = 47 // too many
	Receive     Code = 56 // the answer
	Certificate Code = 60 // the server's
	Encoding    Code = 61 // of the answer
	Rewind      Code = 65 // what should be sent cannot be sent twice
)

// Error is a URL that was not fetched.
type Error struct {
	Code Code
	Err  error
}

// Error says why.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what is behind it.
func (e *Error) Unwrap() error { return e.Err }

func errorf(code Code, format string, args ...any) *Error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// errMaxTime is why the context of an attempt ends after Client.MaxTime.
var errMaxTime = errors.New("the time is over")

// classify finds the code of what a transport, a body or a target failed with.
func classify(err error) *Error {
	var known *Error
	var dns *net.DNSError
	var op *net.OpError
	var verification *tls.CertificateVerificationError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &dns):
		return &Error{Resolve, fmt.Errorf("cannot find %s: %s", dns.Name, dns.Err)}
	case errors.As(err, &verification), errors.As(err, &host), errors.As(err, &authority), errors.As(err, &invalid):
		return &Error{Certificate, err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Timeout, err}
	case errors.As(err, &alert), errors.As(err, &record):
		return &Error{Handshake, err}
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &op) && op.Op == "dial":
		return &Error{Connect, err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Partial, err}
	}
	return &Error{Receive, err}
}
