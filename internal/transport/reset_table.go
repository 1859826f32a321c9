package transport

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// resetTable finds the connection that a stateless reset ends. Tokens are looked up as what a
// block cipher under a key of ours makes of them: how long that takes says nothing of how
// much of a guess was right (RFC 9000 §10.3.1).
type resetTable struct {
	block cipher.Block
	conns map[sealedToken]*Conn
	room  sealedToken // what is given to an interface's method would move to the heap
}

// sealedToken is an encrypted reset token.
type sealedToken [aes.BlockSize]byte

func newResetTable(secret *[32]byte) resetTable {
	key, err := hkdf.Key(sha256.New, secret[:], nil, "cinnabar reset table", 16)
	if err != nil {
		panic("BUG: reset table key: " + err.Error())
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("BUG: reset table key: " + err.Error())
	}
	clear(key)
	return resetTable{block: block, conns: make(map[sealedToken]*Conn)}
}

// seal returns the place of a token's 16 bytes in the table.
func (t *resetTable) seal(token []byte) sealedToken {
	copy(t.room[:], token)
	t.block.Encrypt(t.room[:], t.room[:])
	return t.room
}

// find returns the connection that a token of 16 bytes is known for, nil if there is none.
func (t *resetTable) find(token []byte) *Conn {
	if len(t.conns) == 0 {
		return nil
	}
	return t.conns[t.seal(token)]
}

// add makes a token end a connection.
func (t *resetTable) add(token wire.ResetToken, c *Conn) { t.conns[t.seal(token[:])] = c }

// drop forgets a token, if it is for the connection.
func (t *resetTable) drop(token wire.ResetToken, c *Conn) {
	if at := t.seal(token[:]); t.conns[at] == c {
		delete(t.conns, at)
	}
}
