//go:build cinnabar_ciphers

package cases

import (
	"crypto/tls"
	"encoding/pem"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/hq"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// The client offers one suite, which crypto/tls can do only for the whole process: hence the
// build tag.
func TestInteropChaCha20(t *testing.T) {
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root().cert.Raw})
	c, err := securecontext.New(securecontext.Options{
		CA: [][]byte{roots}, Ciphers: tls.CipherSuiteName(tls.TLS_CHACHA20_POLY1305_SHA256),
	})
	if err != nil {
		t.Fatal(err)
	}
	play(t, setup{}, func(w *world) error {
		return w.once(quic.ConnectOptions{ALPN: hq.ALPN, SecureContext: c}, w.put(3*mib)...)
	}, single, trace.OnlySuite(tls.TLS_CHACHA20_POLY1305_SHA256))
}
