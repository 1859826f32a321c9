package udp

import (
	"net/netip"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

func TestBatchArrives(t *testing.T) {
	shapes := map[string][]int{
		"one":           {1200},
		"empty":         {0},
		"two":           {1200, 1200},
		"shorter last":  run(10, 1452, 33),
		"full":          run(45, 1452),
		"most segments": run(64, 1000),
		"tiny segments": run(64, 1),
		"large":         {dgram.MaxBatchBytes},
		"large halves":  {30_000, 30_000, 5000},
	}
	for _, loopback := range loopbacks(t) {
		for _, o := range []Options{{}, {DisableGSO: true}, {DisableGRO: true}, {DisableGSO: true, DisableGRO: true}} {
			a, b := listen(t, "udp", loopback, o), listen(t, "udp", loopback, o)
			for name, sizes := range shapes {
				out := batch(t, b.LocalAddr(), sizes...)
				send(t, a, out)
				got := receive(t, b, len(sizes))
				t.Log(loopback, name, b.Stats().ReceiveCalls)
				wantSizes(t, got, sizes...)
				for _, d := range got {
					if want := (dgram.Path{Local: b.LocalAddr(), Remote: a.LocalAddr()}); d.Path != want {
						t.Fatalf("path %v, want %v", d.Path, want)
					}
				}
			}
		}
	}
}

var _ = netip.AddrPort{}
