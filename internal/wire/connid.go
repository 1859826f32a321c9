package wire

import (
	"crypto/subtle"
	"encoding/hex"
)

// MaxConnectionIDLen is the longest connection ID that version 1 allows, in
// bytes (RFC 9000 §17.2).
const MaxConnectionIDLen = 20 // no limit: of the format

// ConnectionID is a version 1 connection ID of 0 to 20 bytes. It is a value:
// comparable, and usable as a map key. The zero ConnectionID is the empty one.
type ConnectionID struct {
	n uint8
	b [MaxConnectionIDLen]byte // zero beyond n, so that == compares IDs
}

// MakeConnectionID copies b, of at most 20 bytes, into a ConnectionID.
func MakeConnectionID(b []byte) ConnectionID {
	if len(b) > MaxConnectionIDLen {
		panic("BUG: connection ID longer than 20 bytes")
	}
	c := ConnectionID{n: uint8(len(b))}
	copy(c.b[:], b)
	return c
}

// Bytes returns the bytes of the ID. They borrow from c.
func (c *ConnectionID) Bytes() []byte { return c.b[:c.n:c.n] }

// Len returns the length in bytes.
func (c ConnectionID) Len() int { return int(c.n) }

// String returns the ID in hexadecimal, without a prefix.
func (c ConnectionID) String() string { return hex.EncodeToString(c.b[:c.n]) }

// ResetToken is a stateless reset token (RFC 9000 §10.3). It is a secret until
// it is used: compare it in constant time, and do not log it.
type ResetToken [16]byte

// Equal reports whether two tokens are the same, in time that does not tell how much of them is.
func (t ResetToken) Equal(u ResetToken) bool { return subtle.ConstantTimeCompare(t[:], u[:]) == 1 }
