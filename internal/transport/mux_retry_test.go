package transport

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A flood in the names of all networks has its Retry packets and no more, and does not keep clients out: not all have one when
// they first ask, and all have when they ask again.
func TestRetriesUnderAFloodFromEverywhere(t *testing.T) {
	const clients, often, asks = 40, 200 * time.Millisecond, 20
	r := newMuxRig(t, validating)
	d := r.initial(nil, wire.MinInitialSize)
	from := func(a [4]byte) bool {
		d.Path.Remote = netip.AddrPortFrom(netip.AddrFrom4(a), 5000)
		_, v := r.route(d)
		return v == Reply
	}
	var served [clients]int
	first := 0
	flood := func(n int) {
		for range n {
			var a [4]byte
			r.rng.Read(a[:])
			r.now = r.now.Add(25 * time.Microsecond) // 40,000 a second
			from(a)
		}
	}
	flood(2 * retriesBurst)
	for ask := range asks {
		for i := range clients {
			n := int(often / (25 * time.Microsecond) / clients)
			flood(n/2 + int(r.rng.Uint64()%uint64(n)))
			r.now = r.now.Add(time.Duration(r.rng.Uint64() % 25_000)) // or the flood would always be first to a new token
			if from([4]byte{198, 51, byte(i), 1}) {
				if served[i]++; ask == 0 {
					first++
				}
			}
		}
	}
	t.Logf("Retry packets of %d to each client: %v", asks, served)
	for i, n := range served {
		if n == 0 {
			t.Errorf("client %d has no Retry in %d times", i, asks)
		}
	}
	if first == clients {
		t.Error("all are served at once, which is no flood")
	}
	most := uint64(retriesBurst + time.Duration(r.now)/retryInterval + retryShares*retryShareBurst + retryShares*time.Duration(r.now)/retryShareEvery)
	if n := r.mux.Stats().Retries; n > most {
		t.Errorf("%d Retry packets, want %d at most", n, most)
	}
}
