package dgram

import (
	"strings"
	"testing"
)

// Whatever is taken out of a batch, the rest is a batch: segments of one size, but the last.
func TestFilter(t *testing.T) {
	for _, sizes := range [][]int{{7}, {5, 5, 5, 5}, {5, 5, 5, 2}} {
		for mask := range 1 << len(sizes) {
			b := NewBatch(make([]byte, 0, 100))
			var want []string
			for i, size := range sizes {
				s := strings.Repeat(string(rune('a'+i)), size)
				b.Commit(copy(b.Next(size)[:size], s))
				if mask>>i&1 != 0 {
					want = append(want, s)
				}
			}
			i := -1
			b.Filter(func() bool { i++; return mask>>i&1 != 0 })
			if b.Count() != len(want) || b.Empty() != (len(want) == 0) || string(b.Bytes()) != strings.Join(want, "") {
				t.Fatalf("%v, mask %b: %d datagrams, %q", sizes, mask, b.Count(), b.Bytes())
			}
			for k, s := range want {
				if string(b.Segment(k)) != s {
					t.Errorf("%v, mask %b: datagram %d is %q", sizes, mask, k, b.Segment(k))
				}
			}
			if len(want) == 1 && b.SegmentSize() != len(want[0]) {
				t.Errorf("%v, mask %b: one datagram of %d bytes, said to be of %d", sizes, mask, len(want[0]), b.SegmentSize())
			}
		}
	}
}
