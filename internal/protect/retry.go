package protect

import (
	"crypto/aes"
	"crypto/cipher"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RetryTag returns the integrity tag that ends a Retry packet of a version.
// originalDCID is the Destination Connection ID of the client's first Initial,
// which proves that whoever wrote the Retry saw it (RFC 9001 §5.8).
func RetryTag(version uint32, originalDCID *wire.ConnectionID, retryWithoutTag []byte) [16]byte {
	pseudo := make([]byte, 0, 1+wire.MaxConnectionIDLen+len(retryWithoutTag))
	pseudo = append(pseudo, byte(originalDCID.Len()))
	pseudo = append(pseudo, originalDCID.Bytes()...)
	pseudo = append(pseudo, retryWithoutTag...)
	var tag [16]byte
	v := versionOf(version)
	v.retry.Seal(tag[:0], v.retryNonce[:], nil, pseudo)
	return tag
}

// retryAEAD returns what makes a version's tags. Its key is public, as is the nonce: the tag
// guards against accidents and against those who have not seen the Initial, not against
// those who have. It holds no state, so that all connections share it.
func retryAEAD(key [16]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("BUG: Retry key: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: Retry AEAD: " + err.Error())
	}
	return aead
}
