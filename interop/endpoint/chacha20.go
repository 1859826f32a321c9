//go:build cinnabar_ciphers

package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// Only with this tag can a client choose what it offers.
func init() {
	clientCases["chacha20"] = testcase{client: func(e *endpoint, ctx context.Context) error {
		if e.always3 {
			return errUnsupported
		}
		c, err := e.secureContext(chacha20)
		if err != nil {
			return err
		}
		return e.once(ctx, quic.ConnectOptions{SecureContext: c}, e.requests, nil)
	}}
}

// secureContext is a client's with one cipher suite.
func (e *endpoint) secureContext(suite string) (*securecontext.Context, error) {
	o := securecontext.Options{Ciphers: suite}
	b, err := os.ReadFile(filepath.Join(e.certs, "ca.pem"))
	if err == nil {
		o.CA = [][]byte{b}
	}
	return securecontext.New(o)
}
