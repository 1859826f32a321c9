package protect

import (
	"bytes"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Nothing that comes from the wire panics, and nothing opens that was not sealed
// with the key, in any state of the keys.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, uint8(1), int64(-1), uint8(0))
	for i, suite := range allSuites {
		s, err := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed(s, 3, "frames"), uint8(5), int64(2), uint8(i))
		f.Add(sealed(s, 3, "frames"), uint8(5), int64(1<<62-1), uint8(i))
	}
	f.Fuzz(func(t *testing.T, pkt []byte, pnOff uint8, largest int64, which uint8) {
		suite := allSuites[int(which)%len(allSuites)]
		if largest < -1 || largest >= 1<<62 {
			largest = -1
		}
		a, b := newPair(t, suite)
		check := func(reason string) {
			t.Helper()
			in := append([]byte(nil), pkt...)
			_, result := b.keys.Open(0, in, int(pnOff), largest)
			if result != OpenDropped {
				t.Fatalf("%s: %v", reason, result)
			}
			if n := len(in); n >= 16 && int(pnOff) < n-20 && !bytes.Equal(in[n-16:], pkt[n-16:]) {
				t.Fatalf("%s: the last 16 bytes changed", reason)
			}
		}
		check("first key phase")
		b.want("update", a.cheat(0, 1), OpenUpdated)
		check("old key kept")
		b.keys.KeepPrevious(0)
		check("old key gone")
		b.want("still alive", a.cheat(1, 1), OpenOK)

		o, err := NewOpener(wire.Version1, suite, a.secret)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := o.Open(append([]byte(nil), pkt...), int(pnOff), largest); ok {
			t.Fatal("opened")
		}
	})
}

// Whatever is sealed opens.
func FuzzSealOpen(f *testing.F) {
	f.Add([]byte("frames"), uint8(0x43), int64(77), uint8(2), uint8(9))
	f.Fuzz(func(t *testing.T, payload []byte, first uint8, pn int64, which, headerLen uint8) {
		pnLen := int(first&3) + 1
		if pn &= 1<<62 - 1; len(payload) < 4-pnLen {
			return
		}
		suite := allSuites[int(which)%len(allSuites)]
		s, _ := NewSealer(wire.Version1, suite, testSecret(suite, 1))
		o, _ := NewOpener(wire.Version1, suite, testSecret(suite, 1))
		roundTripAt(t, s, o, first, pnLen, pn, payload, 1+int(headerLen))
	})
}
