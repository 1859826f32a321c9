package protect

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"
)

// Key derivation agrees with crypto/hkdf for every suite, label and length.
func TestExpand(t *testing.T) {
	for i := range suites {
		s := &suites[i]
		for _, label := range []string{"quic key", "quic iv", "quic hp", "quic ku", "client in", ""} {
			for _, n := range []int{1, 12, 16, 32, s.size} {
				secret := sha256.Sum256([]byte{byte(i), byte(n)})
				info := append([]byte{0, byte(n), byte(6 + len(label))}, "tls13 "+label...)
				want, err := hkdf.Expand(s.hash, secret[:], string(append(info, 0)), n)
				if err != nil {
					t.Fatal(err)
				}
				if got := s.expand(secret[:], label, n); !bytes.Equal(got, want) {
					t.Errorf("suite %#x, %q, %d bytes: %x, want %x", s.id, label, n, got, want)
				}
			}
		}
	}
}

// A derivation allocates its result and nothing else.
func TestExpandAllocs(t *testing.T) {
	secret := make([]byte, 32)
	if n := testing.AllocsPerRun(100, func() { suites[0].expand(secret, "quic key", 16) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
