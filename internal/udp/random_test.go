package udp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// Several senders, batches of any shape and readers with any room: from each sender
// everything arrives, in order, and every slab comes back.
func TestRandomTraffic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, loopback := range loopbacks(t) {
		to := listen(t, "udp", loopback, Options{})
		senders := []Conn{
			listen(t, "udp", loopback, Options{}), listen(t, "udp", loopback, Options{}),
			listen(t, "udp", loopback, Options{DisableGSO: true}),
		}
		slabs := newPool()
		for range 100 {
			sent, total := map[netip.AddrPort][][]byte{}, 0
			for load := 0; load < 150_000; {
				from := senders[r.IntN(len(senders))]
				out := batch(t, to.LocalAddr(), randomSizes(r)...)
				out.ECN = dgram.ECN(r.IntN(4))
				content := out.Bytes()
				for i := range content {
					content[i] = byte(r.Uint32())
				}
				send(t, from, out)
				for i := range out.Count() {
					key := from.LocalAddr()
					sent[key] = append(sent[key], append([]byte{byte(out.ECN)}, out.Segment(i)...))
				}
				load += len(out.Bytes()) + 800*out.Count() // what the kernel counts, about
				total += out.Count()
			}
			for total > 0 {
				dst := make([]dgram.Datagram, 1+r.IntN(200))
				n, slab, err := to.Receive(slabs, dst)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range dst[:n] {
					queue := sent[d.Path.Remote]
					if len(queue) == 0 || byte(d.ECN) != queue[0][0] || !bytes.Equal(d.Data, queue[0][1:]) {
						t.Fatalf("seed %d: %d bytes from %v that were not next", seed, len(d.Data), d.Path.Remote)
					}
					sent[d.Path.Remote] = queue[1:]
				}
				slabs.Put(slab)
				total -= n
			}
			if n := slabs.lent(); n != 0 {
				t.Fatalf("seed %d: %d slabs did not come back", seed, n)
			}
		}
	}
}

// randomSizes is the shape of a batch that fits one.
func randomSizes(r *rand.Rand) []int {
	size := []int{0, 1, 25, 1200, 1452, 8000, 30_000, 65_000}[r.IntN(8)]
	count := 1 + r.IntN(min(dgram.MaxSegments, dgram.MaxBatchBytes/max(1, size)))
	sizes := run(count, size)
	sizes[count-1] = r.IntN(size + 1)
	return sizes
}
