package cases

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// The client begins in version 1 and would rather go on in version 2 (RFC 9368, RFC 9369).
func TestInteropV2(t *testing.T) {
	play(t, setup{}, func(w *world) error {
		return w.once(quic.ConnectOptions{Versions: []quic.Version{quic.Version2, quic.Version1}, FirstVersion: quic.Version1}, w.put(kib)...)
	}, trace.Handshakes(1), trace.Upgraded)
}
