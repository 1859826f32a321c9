package histogram

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// FuzzHistogram: whatever is recorded, a histogram agrees with a list of it all: to the last
// bit on how many there are and on the least and the greatest, on the rest within the precision that it tells, whatever room it has.
func FuzzHistogram(f *testing.F) {
	f.Add([]byte{1, 9, 2, 9, 3, 9, 0, 1}, uint8(0))
	f.Add(slices.Repeat([]byte{200, 1, 2, 3, 60, 255, 7}, 20), uint8(3))
	f.Add(slices.Repeat([]byte{0xf6}, 2010), uint8(2))            // a thousand times the same number of 51 bits
	f.Add(slices.Repeat([]byte{63, 254, 63, 255}, 500), uint8(0)) // 63 bits: more than a float64 holds
	f.Fuzz(func(t *testing.T, b []byte, keep uint8) {
		var h Histogram
		pages := int(keep) // room of all sizes
		h.Keep(make([]int64, 0, int(keep)))
		var all []int64
		exceeds := uint64(0)
		for len(b) >= 2 && len(all) < 1000 {
			// A number of any size: so many bits of the next eight bytes.
			bits := int(b[0]) % 65
			var wide [8]byte
			copy(wide[:], b[1:])
			b = b[2:]
			v := binary.LittleEndian.Uint64(wide[:])
			if bits < 64 {
				v &= 1<<bits - 1
			}
			if h.RecordIn(v, pages); v > math.MaxInt64 {
				exceeds++
				continue
			}
			all = append(all, max(int64(v), 1))
		}
		agree(t, &h, all, exceeds)
		c := h.Clone()
		h.Record(5)
		agree(t, &c, all, exceeds)
		h.Reset()
		agree(t, &h, nil, 0)
	})
}

// agree holds a histogram against all that was recorded.
func agree(t *testing.T, h *Histogram, all []int64, exceeds uint64) {
	t.Helper()
	if h.Count() != uint64(len(all)) || h.Exceeds() != exceeds {
		t.Fatalf("%d values and %d above, want %d and %d", h.Count(), h.Exceeds(), len(all), exceeds)
	}
	if n := buckets(h); n != h.Count() {
		t.Fatalf("buckets hold %d values, want %d", n, h.Count())
	}
	if len(all) == 0 {
		if h.Min() != math.MaxInt64 || h.Max() != 0 || h.Percentile(50) != 0 {
			t.Fatalf("an empty one has %d to %d", h.Min(), h.Max())
		}
		return
	}
	if least, most := slices.Min(all), slices.Max(all); h.Min() != least || h.Max() != most {
		t.Fatalf("%d to %d, want %d to %d", h.Min(), h.Max(), least, most)
	}
	mean, dev, at := oracle(all)
	// Each value, and the mean after it, is rounded to a float64: by half a unit in the last place.
	rounding := float64(len(all)+10) * 0x1p-53 * float64(h.Max())
	if !near(h.Mean(), mean, 1e-9) || math.Abs(h.StdDev()-dev) > 1e-6*dev+rounding {
		t.Fatalf("mean %v and deviation %v, want %v and %v", h.Mean(), h.StdDev(), mean, dev)
	}
	for _, p := range []float64{0.1, 1, 25, 50, 90, 99, 99.9, 100} {
		got, want := h.Percentile(p), at(p)
		if h.Precision() < 1 && !near(float64(got), float64(want), h.Precision()) || len(all) <= fewest && got != want {
			t.Fatalf("percentile %v of %d values is %d, want %d", p, len(all), got, want)
		}
	}
	last := int64(0)
	for _, s := range h.Percentiles() {
		if s.Value < last {
			t.Fatalf("percentiles fall: %v", h.Percentiles())
		}
		last = s.Value
	}
}

// buckets returns how many values a histogram's memory holds, and 0 if its pages are not in order.
func buckets(h *Histogram) (n uint64) {
	if h.many == nil {
		return uint64(len(h.few))
	}
	for i, p := range h.many.pages {
		if i > 0 && p.first <= h.many.pages[i-1].first {
			return 0
		}
		for _, count := range p.counts {
			n += count
		}
	}
	return n
}
