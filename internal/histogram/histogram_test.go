package histogram

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

func of(values ...int64) *Histogram {
	h := new(Histogram)
	for _, v := range values {
		h.Record(uint64(v))
	}
	return h
}

// oracle is what is true of values. It sums up in integers: floats that add up to more than
// 1<<53 are off by more than values that lie close together deviate.
func oracle(values []int64) (mean, dev float64, at func(p float64) int64) {
	sorted := slices.Sorted(slices.Values(values))
	n, sum, squares := big.NewInt(int64(len(values))), new(big.Int), new(big.Int)
	for _, v := range values {
		w := big.NewInt(v)
		sum.Add(sum, w)
		squares.Add(squares, w.Mul(w, w))
	}
	mean, _ = new(big.Rat).SetFrac(sum, n).Float64()
	// The variance is (n * squares - sum * sum) / (n * n).
	above := new(big.Int).Mul(n, squares)
	above.Sub(above, new(big.Int).Mul(sum, sum))
	variance, _ := new(big.Rat).SetFrac(above, new(big.Int).Mul(n, n)).Float64()
	return mean, math.Sqrt(variance), func(p float64) int64 {
		return sorted[max(int(math.Ceil(p*float64(len(sorted))/100-1e-6)), 1)-1]
	}
}

func near(a, b, by float64) bool { return math.Abs(a-b) <= by*math.Max(math.Abs(a), math.Abs(b))+1e-9 }

func TestEmpty(t *testing.T) {
	var h Histogram
	if h.Count() != 0 || h.Min() != math.MaxInt64 || h.Max() != 0 || h.Mean() != 0 || h.StdDev() != 0 || h.Exceeds() != 0 {
		t.Errorf("%d %d %d %v %v", h.Count(), h.Min(), h.Max(), h.Mean(), h.StdDev())
	}
	if h.Percentile(50) != 0 || len(h.Percentiles()) != 0 {
		t.Errorf("%d, %v", h.Percentile(50), h.Percentiles())
	}
}

// Few values, and small ones however many, are exact.
func TestExact(t *testing.T) {
	few := of(1_000_003, 7, 99_999_989)
	for p, want := range map[float64]int64{0.1: 7, 33.3: 7, 34: 1_000_003, 66.6: 1_000_003, 67: 99_999_989, 100: 99_999_989} {
		if got := few.Percentile(p); got != want {
			t.Errorf("percentile %v is %d, want %d", p, got, want)
		}
	}
	var small Histogram
	for v := uint64(1); v <= 100; v++ {
		small.Record(v)
	}
	for p := 1; p <= 100; p++ {
		if got := small.Percentile(float64(p)); got != int64(p) {
			t.Errorf("percentile %d of 1 to 100 is %d", p, got)
		}
	}
	if small.Mean() != 50.5 || !near(small.StdDev(), math.Sqrt(9999./12), 1e-12) {
		t.Errorf("mean %v, deviation %v", small.Mean(), small.StdDev())
	}
}

// Against sorted values of all sizes: everything but percentiles exact, those within what is said of them, and that is 1/16 or better.
func TestOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, fewest, fewest + 1, 100, 5000} {
		for _, span := range []int{1, 10, 30, 62} {
			var h Histogram
			var values []int64
			for range n {
				v := max(1, r.Int64N(1<<62)>>r.IntN(span))
				values = append(values, v)
				h.Record(uint64(v))
			}
			mean, dev, at := oracle(values)
			if h.Count() != uint64(n) || h.Min() != slices.Min(values) || h.Max() != slices.Max(values) {
				t.Fatalf("%d values: %d, %d to %d", n, h.Count(), h.Min(), h.Max())
			}
			if !near(h.Mean(), mean, 1e-9) || !near(h.StdDev(), dev, 1e-6) {
				t.Fatalf("mean %v, want %v; deviation %v, want %v", h.Mean(), mean, h.StdDev(), dev)
			}
			for _, p := range []float64{1e-9, 0.5, 10, 25, 50, 75, 90, 99, 99.9, 100} {
				got, want := h.Percentile(p), at(p)
				if !near(float64(got), float64(want), h.Precision()) || h.Precision() > 1./16 || got < h.Min() || got > h.Max() {
					t.Fatalf("percentile %v of %d values is %d, want %d", p, n, got, want)
				}
			}
		}
	}
}

// The ends of the range, and what is past them.
func TestRange(t *testing.T) {
	for _, copies := range []int{1, 20} {
		var h Histogram
		for range copies {
			h.Record(0)
			h.Record(math.MaxInt64)
			h.Record(math.MaxInt64 + 1)
			h.Record(math.MaxUint64)
		}
		if h.Count() != uint64(2*copies) || h.Exceeds() != uint64(2*copies) {
			t.Errorf("%d values, %d above", h.Count(), h.Exceeds())
		}
		if h.Min() != 1 || h.Max() != math.MaxInt64 || h.Percentile(50) != 1 || h.Percentile(100) != math.MaxInt64 {
			t.Errorf("%d to %d, median %d", h.Min(), h.Max(), h.Percentile(50))
		}
	}
}

// Buckets follow each other without a gap, and are as narrow as promised.
func TestBuckets(t *testing.T) {
	for merged := range 9 {
		next := int64(0)
		for b := 0; ; b++ {
			low, width := span(b, merged)
			if low != next || low > 0 && bucket(low, merged) != b || bucket(low+(width-1), merged) != b {
				t.Fatalf("%d mergers: bucket %d has %d values from %d, want from %d", merged, b, width, low, next)
			}
			if width > 1 && merged <= subBits && float64(width-1)/2 > math.Ldexp(float64(low), merged-7) {
				t.Fatalf("%d mergers: bucket %d has %d values from %d", merged, b, width, low)
			}
			if low+(width-1) == math.MaxInt64 {
				break
			}
			next = low + width
		}
	}
}

func TestPercentiles(t *testing.T) {
	var h Histogram
	for v := uint64(1); v <= 1000; v++ {
		h.Record(v)
	}
	steps := h.Percentiles()
	if len(steps) != 10 || steps[0].Percentile != 50 || steps[1].Percentile != 75 || steps[9] != (Step{100, 1000}) {
		t.Errorf("%v", steps)
	}
	for i, s := range steps {
		if s.Value != h.Percentile(s.Percentile) || i > 0 && s.Value < steps[i-1].Value {
			t.Errorf("%v", steps)
		}
	}
	if one := of(5).Percentiles(); len(one) != 1 || one[0] != (Step{100, 5}) {
		t.Errorf("%v", one)
	}
}

func TestResetAndClone(t *testing.T) {
	for _, n := range []int{3, 300} {
		var h Histogram
		for v := range n {
			h.Record(uint64(1000 * v))
		}
		h.Record(math.MaxUint64)
		c := h.Clone()
		h.Record(1 << 40)
		if c.Count() != uint64(n) || c.Max() != int64(1000*(n-1)) || h.Max() != 1<<40 || c.Exceeds() != 1 {
			t.Errorf("the copy has %d values up to %d", c.Count(), c.Max())
		}
		h.Reset()
		if h.Count() != 0 || h.Min() != math.MaxInt64 || h.Max() != 0 || h.Exceeds() != 0 || h.Percentile(1) != 0 || c.Count() != uint64(n) {
			t.Errorf("after Reset: %d values", h.Count())
		}
		h.Record(9)
		if h.Count() != 1 || h.Min() != 9 || h.Max() != 9 || h.Mean() != 9 {
			t.Errorf("%d values, %d to %d", h.Count(), h.Min(), h.Max())
		}
	}
}

// What a histogram costs: nothing with room for its first values, little for a usual run,
// and a bounded amount whatever comes.
func TestMemory(t *testing.T) {
	room := make([]int64, 4)
	if n := testing.AllocsPerRun(100, func() {
		var h Histogram
		h.Keep(room)
		for range 4 {
			h.Record(7)
		}
	}); n != 0 {
		t.Errorf("%v allocations for four values", n)
	}
	size := func(h *Histogram) int { return cap(h.many.pages) * int(unsafe.Sizeof(page{})) }
	var usual, worst Histogram
	r := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		usual.Record(100_000 + r.Uint64N(900_000))
		worst.Record(r.Uint64N(1<<63) >> r.IntN(63))
	}
	if n := size(&usual); n > 2<<10 {
		t.Errorf("%d bytes for values from 100,000 to 1,000,000", n)
	}
	if n := size(&worst); n > limits.Bound(t, "histogram-pages")*int(unsafe.Sizeof(page{})) || n != worst.Pages()*int(unsafe.Sizeof(page{})) {
		t.Errorf("%d bytes for values of all sizes", n)
	}
	if n := testing.AllocsPerRun(1000, func() { usual.Record(100_000 + r.Uint64N(900_000)) }); n != 0 {
		t.Errorf("%v allocations for a value", n)
	}
}

// Values within a factor of 200 of each other are within 1/128, wherever they lie, and the more room
// there is the better are those of all sizes. The least room there may be is enough for all of them.
func TestPrecision(t *testing.T) {
	for first := uint64(1); first < 1<<54; first = first*5/4 + 1 {
		var h Histogram
		for v := first; v <= 200*first; v += v/200 + 1 {
			h.Record(v)
		}
		if h.Precision() > 1./128 || h.Pages() > maxPages {
			t.Fatalf("%d and up: within %v, %d pages", first, h.Precision(), h.Pages())
		}
	}
	for pages, want := range map[int]float64{0: 2, MinPages: 2, 4: 1, 8: .5, 16: .25, 32: 1. / 8, maxPages: 1. / 16, 1000: 1. / 16} {
		var h Histogram
		for i := range 63 * 64 {
			h.RecordIn(uint64(math.Exp2(float64(i)/64)), pages)
		}
		if h.Precision() != want || h.Pages() > max(MinPages, min(pages, maxPages)) || h.Count() != 63*64 {
			t.Errorf("%d pages: within %v in %d pages, want %v", pages, h.Precision(), h.Pages(), want)
		}
		for p := 1; p < 100; p++ {
			got, exact := h.Percentile(float64(p)), math.Floor(math.Exp2(math.Ceil(float64(p)*63*64/100-1e-6)/64-1./64))
			if want < 1 && !near(float64(got), exact, want) {
				t.Errorf("%d pages: percentile %d is %d, want %v", pages, p, got, exact)
			}
		}
	}
}

// Where four or two buckets of a power of two become half as many, those of one page come to lie in two: none
// may be lost for that, nor may there be more pages than are allowed.
func TestMergersThatStraddle(t *testing.T) {
	for _, pages := range []int{MinPages, 3, 4, 5, 7, 8, 12, 16, 31} {
		for step := 1; step < 12; step++ {
			for first := range step {
				var h Histogram
				var values []int64
				for i := range 300 {
					v := int64(1)<<((first+i*step)%63) + int64(i)
					values = append(values, v)
					h.RecordIn(uint64(v), pages)
				}
				if n := buckets(&h); n != 300 || h.Pages() > pages {
					t.Fatalf("%d pages, each %d. power of two from 1<<%d: %d of 300 values in %d pages", pages, step, first, n, h.Pages())
				}
				_, _, at := oracle(values)
				for p := 1.; p <= 100; p++ {
					if got := h.Percentile(p); h.Precision() < 1 && !near(float64(got), float64(at(p)), h.Precision()) {
						t.Fatalf("%d pages: percentile %v is %d, want %d", pages, p, got, at(p))
					}
				}
			}
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	b.ReportAllocs()
	var h Histogram
	r := rand.New(rand.NewPCG(3, 4))
	values := make([]uint64, 1024)
	for i := range values {
		values[i] = 100_000 + r.Uint64N(900_000)
	}
	for i := 0; b.Loop(); i++ {
		h.Record(values[i%len(values)])
	}
}
