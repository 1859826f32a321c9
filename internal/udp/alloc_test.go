package udp

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// Nothing is allocated per batch, nor per datagram.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("under the race detector sync.Pool forgets, so this proves nothing")
	}
	eachConn(t, func(t *testing.T, a, b Conn) {
		if _, ok := PacketConn(b).(foreign); ok {
			return // its ReadFrom makes an address a call
		}
		for name, sizes := range shapes {
			out := batch(t, b.LocalAddr(), sizes...)
			out.ECN = dgram.ECT0
			slabs, dst := newPool(), make([]dgram.Datagram, 128)
			round := func() {
				if err := a.Send(out); err != nil {
					t.Fatal(err)
				}
				for n := 0; n < len(sizes); {
					k, slab, err := b.Receive(slabs, dst)
					if err != nil {
						t.Fatal(err)
					}
					slabs.Put(slab)
					n += k
				}
			}
			round()
			if n := testing.AllocsPerRun(50, round); n != 0 && !raceEnabled {
				t.Errorf("%s: %v allocations a round", name, n)
			}
		}
	})
}
