package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A reset token is looked up as what a cipher makes of it: a guess that is right in all bits but one is found at a place
// that has nothing to do with the token's, and another secret has other places (RFC 9000 §10.3.1).
func TestResetTableIsSealed(t *testing.T) {
	table, other := newResetTable(&[32]byte{1}), newResetTable(&[32]byte{2})
	token, c := wire.ResetToken([]byte("a reset token...")), &Conn{}
	table.add(token, c)
	other.add(token, c)
	alike := func(a, b [16]byte) (n int) {
		for i := range a {
			if a[i] == b[i] {
				n++
			}
		}
		return n
	}
	place := table.seal(token[:])
	if table.find(token[:]) != c || other.find(token[:]) != c {
		t.Error("the token is not found")
	}
	if a, b := alike(place, token), alike(place, other.seal(token[:])); a > 4 || b > 4 {
		t.Errorf("its place is like the token in %d bytes, and like that under another secret in %d", a, b)
	}
	for bit := range 8 * len(token) {
		guess := token
		guess[bit/8] ^= 1 << (bit % 8)
		if table.find(guess[:]) != nil {
			t.Errorf("found with bit %d changed", bit)
		}
		if n := alike(place, table.seal(guess[:])); n > 4 {
			t.Errorf("with bit %d changed its place is the same in %d bytes", bit, n)
		}
	}
	if table.drop(token, c); table.find(token[:]) != nil {
		t.Error("found after it was dropped")
	}
}
