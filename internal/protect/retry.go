package protect

import (
	"crypto/aes"
	"crypto/cipher"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RetryTag returns the integrity tag that ends a version 1 Retry packet.
// originalDCID is the Destination Connection ID of the client's first Initial,
// which proves that whoever wrote the Retry saw it (RFC 9001 §5.8).
func RetryTag(originalDCID *wire.ConnectionID, retryWithoutTag []byte) [16]byte {
	pseudo := make([]byte, 0, 1+wire.MaxConnectionIDLen+len(retryWithoutTag))
	pseudo = append(pseudo, byte(originalDCID.Len()))
	pseudo = append(pseudo, originalDCID.Bytes()...)
	pseudo = append(pseudo, retryWithoutTag...)
	var tag [16]byte
	retryAEAD.Seal(tag[:0], retryNonce[:], nil, pseudo)
	return tag
}

// retryNonce is public, as is the key: the tag guards against accidents and
// against those who have not seen the Initial, not against those who have.
var retryNonce = [12]byte{0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb}

// retryAEAD holds no state, so that all connections share it.
var retryAEAD = func() cipher.AEAD {
	block, err := aes.NewCipher([]byte{
		0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e,
	})
	if err != nil {
		panic("BUG: Retry key: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: Retry AEAD: " + err.Error())
	}
	return aead
}()
