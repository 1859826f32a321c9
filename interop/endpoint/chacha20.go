//go:build cinnabar_ciphers

package main

import (
	"context"

	"github.com/cinnabar-quic/cinnabar/quic"
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
