package protect

import (
	"bytes"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// zeroed fails unless memory that held a secret has been overwritten.
func zeroed(t *testing.T, what string, memory []byte) {
	t.Helper()
	if len(memory) == 0 || !bytes.Equal(memory, make([]byte, len(memory))) {
		t.Errorf("%s: still there: %x", what, memory)
	}
}

func kept(t *testing.T, what string, memory []byte) {
	t.Helper()
	if len(memory) == 0 || bytes.Equal(memory, make([]byte, len(memory))) {
		t.Errorf("%s: gone too early, or never there", what)
	}
}

// Keys of the handshake's levels are overwritten where they stand, awake or at rest.
func TestEraseLevelKeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		if _, ok := o.Open(sealed(s, 1, "frames"), 5, 0); !ok {
			t.Fatal("did not open")
		}
		s.Rest()
		for _, k := range []*levelKeys{&s.levelKeys, &o.levelKeys} {
			key, hp, iv := k.key[:], k.hp[:], k.nonceFor[:]
			kept(t, "key", key)
			kept(t, "header key", hp)
			k.Erase()
			zeroed(t, "key", key)
			zeroed(t, "header key", hp)
			zeroed(t, "IV", iv)
			if k.packet.aead != nil || k.header.block != nil {
				t.Error("the ciphers are still held")
			}
		}
	})
}

// Keys at rest wake up as what they were.
func TestRest(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		for pn := range int64(3) {
			roundTrip(t, s, o, 0xc1, 2, pn, 40)
			s.Rest()
			o.Rest()
			if s.packet.aead != nil || o.header.block != nil || o.header.chacha != nil {
				t.Error("no rest")
			}
		}
	})
}

// The secret of a key phase is overwritten when the next one begins, and all of them at the end.
func TestEraseOneRTT(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite uint16) {
		a, b := newPair(t, suite)
		ready(a, b)
		read, write := b.keys.read.secret, a.keys.write.secret
		kept(t, "secret to read", read)
		kept(t, "secret to write", write)
		a.keys.Update()
		b.want("update", a.send(), OpenUpdated)
		zeroed(t, "old secret to read", read)
		zeroed(t, "old secret to write", write)
		read, write = b.keys.read.secret, b.keys.write.secret
		header := b.keys.read.header.chacha
		b.keys.Erase()
		zeroed(t, "last secret to read", read)
		zeroed(t, "last secret to write", write)
		if header != nil {
			zeroed(t, "header key", header)
		}
		if b.keys.CanRead() || b.keys.CanWrite() {
			t.Error("there are still keys")
		}
	})
}
