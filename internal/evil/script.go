package evil

import (
	"bytes"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Message returns a message of a scripted handshake: n bytes of its name.
func Message(name byte, n int) []byte { return bytes.Repeat([]byte{name}, n) }

// Secret returns the traffic secret of a scripted handshake for the packets of a
// type that a client, or a server, sends.
func Secret(typ wire.PacketType, fromClient bool) []byte {
	return []byte(fmt.Sprintf("secret of %v packets, client %5t.....................", typ, fromClient))[:32]
}

// TLSMessage returns a handshake message with any type and any body, as it stands in CRYPTO
// frames (RFC 8446 §4).
func TLSMessage(typ byte, body []byte) []byte {
	n := len(body)
	return append([]byte{typ, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

// Handshake messages that QUIC has no place for (RFC 9001 §6, §8.3), by their types
// of RFC 8446 §4.
const (
	TLSNewSessionTicket   = 4
	TLSEndOfEarlyData     = 5
	TLSCertificateRequest = 13
	TLSKeyUpdate          = 24
)
