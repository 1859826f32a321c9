// Package histogram counts values from 1 to 1<<63-1: how many, the extremes, mean and
// deviation as exactly as a float64 can, and percentiles within 1/128 (0.8 percent).
//
// The first values are kept as they are, so that the percentiles of a short run are exact,
// and it costs next to nothing. Afterwards buckets count them: each power of two has 64 of the
// same width (so that values below 128 stay exact), in pages of eight that come into being
// when one of theirs is needed. There are 64 pages at most, 4.5 KiB, which is enough for values
// within a factor of 200 of each other; those within a factor of ten need less than 2 KiB.
//
// Where one page more would be needed, two buckets that stand next to each other become one, all over
// the histogram: its percentiles are within twice as much from now on, 1/64, then 1/32 and so on, which
// Precision tells. The other figures stay as exact as they were. Values of all sizes need that thrice
// at most, which leaves 1/16. RecordIn gives a histogram less room than that.
package histogram

import (
	"math"
	"math/bits"
	"slices"
)

const (
	fewest   = 16 // values that are kept as they are
	subBits  = 6  // each power of two has 1<<subBits buckets
	paging   = 8  // buckets of a page
	maxPages = 64
	MinPages = 2 // pages that are enough for the whole range, with buckets of four powers of two
)

// Histogram is a distribution of values. The zero Histogram is empty. It is not safe for
// concurrent use, and must not be copied but by Clone.
type Histogram struct {
	few     []int64 // as long as there is no many
	many    *many
	exceeds uint64
}

// many is a histogram of more than a few values.
type many struct {
	count    uint64
	min, max int64
	mean     float64
	squares  float64 // sum of the squared distances from the mean
	pages    []page  // sorted by first
	last     int     // index of the page used last
	merged   int     // so many times two buckets have become one
}

// page is buckets that stand next to each other.
type page struct {
	first  int // number of its first bucket
	counts [paging]uint64
}

// Step is one point of an accumulated distribution.
type Step struct {
	Percentile float64
	Value      int64
}

// Keep gives an empty histogram memory for its first values.
func (h *Histogram) Keep(room []int64) { h.few = room[:0] }

// Record adds a value. 0 counts as 1; what is above the range is counted by Exceeds alone.
func (h *Histogram) Record(v uint64) { h.RecordIn(v, maxPages) }

// RecordIn is Record in no more pages than so many, or than there are already. There are always MinPages.
func (h *Histogram) RecordIn(v uint64, pages int) {
	switch {
	case v > math.MaxInt64:
		h.exceeds++
	case h.many != nil:
		h.many.record(max(int64(v), 1), pages)
	case len(h.few) < fewest:
		if len(h.few) == cap(h.few) {
			h.few = slices.Grow(h.few, max(4, fewest*len(h.few)/4-len(h.few)))
		}
		h.few = append(h.few, max(int64(v), 1))
	default:
		h.many = &many{min: math.MaxInt64}
		for _, w := range h.few {
			h.many.record(w, pages)
		}
		h.few = nil
		h.many.record(max(int64(v), 1), pages)
	}
}

// Pages returns for how many pages there is memory.
func (h *Histogram) Pages() int {
	if h.many == nil {
		return 0
	}
	return cap(h.many.pages)
}

// Precision returns how far a percentile may be from the value it stands for, as a part of that: 0 as long
// as all values are kept, then 1/128, and twice as much each time that buckets were merged. From 1 on
// it says no more than the power of two, or less.
func (h *Histogram) Precision() float64 {
	if h.many == nil {
		return 0
	}
	return math.Ldexp(1.0/128, h.many.merged)
}

// Count returns how many values there are.
func (h *Histogram) Count() uint64 {
	if h.many != nil {
		return h.many.count
	}
	return uint64(len(h.few))
}

// Min returns the smallest value, 1<<63-1 if there is none.
func (h *Histogram) Min() int64 {
	switch {
	case h.many != nil:
		return h.many.min
	case len(h.few) == 0:
		return math.MaxInt64
	}
	return slices.Min(h.few)
}

// Max returns the largest value, 0 if there is none.
func (h *Histogram) Max() int64 {
	switch {
	case h.many != nil:
		return h.many.max
	case len(h.few) == 0:
		return 0
	}
	return slices.Max(h.few)
}

// Mean returns the arithmetic mean, 0 if there are no values.
func (h *Histogram) Mean() float64 {
	if h.many != nil {
		return h.many.mean
	}
	mean, _ := spread(h.few)
	return mean
}

// StdDev returns the standard deviation of the values as a whole population, 0 if there
// are none.
func (h *Histogram) StdDev() float64 {
	if m := h.many; m != nil {
		return math.Sqrt(m.squares / float64(m.count))
	}
	_, squares := spread(h.few)
	return math.Sqrt(squares / float64(max(1, len(h.few))))
}

func spread(list []int64) (mean, squares float64) {
	for i, v := range list {
		mean, squares = welford(mean, squares, uint64(i+1), float64(v))
	}
	return mean, squares
}

// welford takes the n-th value into a mean and a sum of squared distances from it, without
// the cancellation of the textbook's formula.
func welford(mean, squares float64, n uint64, v float64) (float64, float64) {
	d := v - mean
	mean += d / float64(n)
	return mean, squares + d*(v-mean)
}

// Percentile returns a value that p percent of the values do not exceed: for a run of up to
// 16 the smallest such of them, otherwise one within Precision of that, and never
// outside of Min to Max. p is above 0 and at most 100. It is 0 if there are no values.
func (h *Histogram) Percentile(p float64) int64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	exact := p * float64(n) / 100
	rank := math.Ceil(exact - 1e-9*exact) // 99.9 is not what it says
	return h.at(min(max(uint64(rank), 1), n))
}

// at returns about the value of a rank, which counts from 1 for the smallest.
func (h *Histogram) at(rank uint64) int64 {
	if h.many != nil {
		return h.many.at(rank)
	}
	sorted := slices.Clone(h.few)
	slices.Sort(sorted)
	return sorted[rank-1]
}

// Percentiles returns the accumulated distribution: the percentiles 50, 75, 87.5 and so
// on, each half as far from 100 as the one before, until less than one value is left
// above, and then 100. It is empty if there are no values.
func (h *Histogram) Percentiles() []Step {
	n := float64(h.Count())
	if n == 0 {
		return nil
	}
	var steps []Step
	for left := 50.0; left/100*n >= 1; left /= 2 {
		steps = append(steps, Step{100 - left, h.Percentile(100 - left)})
	}
	return append(steps, Step{100, h.Max()})
}

// Exceeds returns how many values were above the range.
func (h *Histogram) Exceeds() uint64 { return h.exceeds }

// Reset forgets everything.
func (h *Histogram) Reset() { *h = Histogram{few: h.few[:0]} }

// Clone returns a copy that can be read and changed independently.
func (h *Histogram) Clone() Histogram {
	c := Histogram{few: slices.Clone(h.few), exceeds: h.exceeds}
	if h.many != nil {
		m := *h.many
		m.pages = slices.Clone(m.pages)
		c.many = &m
	}
	return c
}

func (m *many) record(v int64, most int) {
	m.count++
	m.min, m.max = min(m.min, v), max(m.max, v)
	m.mean, m.squares = welford(m.mean, m.squares, m.count, float64(v))
	p, b := m.page(v, most)
	p.counts[b&(paging-1)]++
}

// page returns a value's bucket and the page that it is in.
func (m *many) page(v int64, most int) (*page, int) {
	b := bucket(v, m.merged)
	first := b &^ (paging - 1)
	if m.last < len(m.pages) && m.pages[m.last].first == first {
		return &m.pages[m.last], b
	}
	at, found := m.find(first)
	for !found && len(m.pages) >= max(MinPages, min(most, maxPages)) {
		m.merge()
		b = bucket(v, m.merged)
		first = b &^ (paging - 1)
		at, found = m.find(first)
	}
	if !found {
		m.insert(at, first, min(most, maxPages))
	}
	m.last = at
	return &m.pages[at], b
}

// find returns where a page stands, or would.
func (m *many) find(first int) (at int, found bool) {
	low, high := 0, len(m.pages)
	for low < high {
		if middle := (low + high) / 2; m.pages[middle].first < first {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(m.pages) && m.pages[low].first == first
}

// insert makes a page, with memory for one more if there may be some.
func (m *many) insert(at, first, most int) {
	if n := len(m.pages); n == cap(m.pages) {
		grown := make([]page, n, max(n+1, min(most, n+2)))
		copy(grown, m.pages)
		m.pages = grown
	}
	m.pages = slices.Insert(m.pages, at, page{first: first})
}

// merge makes one bucket of two, and again as long as that takes more pages than there are: where powers of two have
// few buckets, those of one page may come to lie in two.
func (m *many) merge() {
	done := make([]page, 0, cap(m.pages))
	for to := m.merged + 1; ; to++ {
		if pages, fit := m.coarser(done, to); fit {
			m.pages, m.merged, m.last = pages, to, 0
			return
		}
	}
}

// coarser fills pages with what there is after so many mergers, unless it takes more of them than now.
func (m *many) coarser(done []page, merged int) (pages []page, fit bool) {
	for _, p := range m.pages {
		for j, count := range p.counts {
			if count == 0 {
				continue
			}
			low, _ := span(p.first+j, m.merged)
			b := bucket(max(low, 1), merged)
			n, first := len(done), b&^(paging-1)
			if n == 0 || done[n-1].first != first {
				if n == len(m.pages) {
					return nil, false
				}
				done = append(done, page{first: first})
				n++
			}
			done[n-1].counts[b&(paging-1)] += count
		}
	}
	return done, true
}

// at returns about the value of a rank, which counts from 1 for the smallest.
func (m *many) at(rank uint64) int64 {
	switch rank {
	case 1:
		return m.min
	case m.count:
		return m.max
	}
	for i := range m.pages {
		p := &m.pages[i]
		for j, n := range p.counts {
			if rank <= n {
				low, width := span(p.first+j, m.merged)
				return min(max(low+(width-1)/2, m.min), m.max)
			}
			rank -= n
		}
	}
	panic("BUG: a histogram's buckets hold less than it has counted")
}

// bucket returns the number of a value's bucket, after so many mergers. Below 1<<(bits+1) it is the value; above,
// the leading bits and the power of two make it up. With no bits left it is the power of two, or some together.
func bucket(v int64, merged int) int {
	sub := max(subBits-merged, 0)
	shift := max(bits.Len64(uint64(v))-sub-1, 0)
	return (shift<<sub + int(v>>shift)) >> max(merged-subBits, 0)
}

// span returns the smallest value of a bucket and how many it has.
func span(b, merged int) (low, width int64) {
	if more := merged - subBits; more > 0 {
		low, _ = span(b<<more, subBits)
		last, width := span((b+1)<<more-1, subBits)
		return low, last - low + width
	}
	sub := subBits - merged
	shift := max(b>>sub-1, 0)
	return int64(b-shift<<sub) << shift, 1 << shift
}
