package ranges

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAdd(t *testing.T) {
	base := Set{{10, 20}, {30, 40}, {50, 60}}
	for _, test := range []struct {
		what       string
		start, end int64
		want       Set
	}{
		{"nothing", 5, 5, base},
		{"a range turned around", 25, 5, base},
		{"before all", 0, 5, Set{{0, 5}, {10, 20}, {30, 40}, {50, 60}}},
		{"up to the first", 0, 10, Set{{0, 20}, {30, 40}, {50, 60}}},
		{"over the start of one", 25, 35, Set{{10, 20}, {25, 40}, {50, 60}}},
		{"over the end of one", 35, 45, Set{{10, 20}, {30, 45}, {50, 60}}},
		{"at the end of one", 40, 41, Set{{10, 20}, {30, 41}, {50, 60}}},
		{"inside one", 31, 39, base},
		{"one itself", 30, 40, base},
		{"one and around it", 29, 41, Set{{10, 20}, {29, 41}, {50, 60}}},
		{"between two", 22, 28, Set{{10, 20}, {22, 28}, {30, 40}, {50, 60}}},
		{"a gap", 20, 30, Set{{10, 40}, {50, 60}}},
		{"a gap and the one above", 20, 50, Set{{10, 60}}},
		{"from within one to within another", 15, 35, Set{{10, 40}, {50, 60}}},
		{"from within the first to within the last", 15, 55, Set{{10, 60}}},
		{"all", 0, 100, Set{{0, 100}}},
		{"after the last", 60, 70, Set{{10, 20}, {30, 40}, {50, 70}}},
		{"beyond all", 61, 70, Set{{10, 20}, {30, 40}, {50, 60}, {61, 70}}},
	} {
		s := slices.Clone(base)
		if s.Add(test.start, test.end); !slices.Equal(s, test.want) {
			t.Errorf("%s: Add(%d, %d) = %v, want %v", test.what, test.start, test.end, s, test.want)
		}
	}
}

func TestRemove(t *testing.T) {
	base := Set{{10, 20}, {30, 40}, {50, 60}}
	for _, test := range []struct {
		what       string
		start, end int64
		want       Set
	}{
		{"nothing", 15, 15, base},
		{"a range turned around", 39, 31, base},
		{"before all", 0, 10, base},
		{"between two", 20, 30, base},
		{"beyond all", 60, 70, base},
		{"the start of one", 25, 35, Set{{10, 20}, {35, 40}, {50, 60}}},
		{"the end of one", 35, 45, Set{{10, 20}, {30, 35}, {50, 60}}},
		{"the middle of one", 34, 36, Set{{10, 20}, {30, 34}, {36, 40}, {50, 60}}},
		{"the last value of one", 39, 40, Set{{10, 20}, {30, 39}, {50, 60}}},
		{"one itself", 30, 40, Set{{10, 20}, {50, 60}}},
		{"one and around it", 20, 50, Set{{10, 20}, {50, 60}}},
		{"from within one to within another", 15, 55, Set{{10, 15}, {55, 60}}},
		{"from within one to the end of another", 15, 60, Set{{10, 15}}},
		{"all", 0, 100, Set{}},
	} {
		s := slices.Clone(base)
		if s.Remove(test.start, test.end); !slices.Equal(s, test.want) {
			t.Errorf("%s: Remove(%d, %d) = %v, want %v", test.what, test.start, test.end, s, test.want)
		}
	}
}

func TestQueries(t *testing.T) {
	var empty Set
	if empty.Min() != -1 || empty.Max() != -1 || empty.Size() != 0 || empty.Contains(0) || empty.Covers(0, 1) || !empty.Covers(1, 1) {
		t.Error("the empty set is not empty")
	}
	s := Set{{10, 20}, {30, 40}}
	if s.Min() != 10 || s.Max() != 39 || s.Size() != 20 || s[0].Len() != 10 {
		t.Errorf("Min %d, Max %d, Size %d, Len %d", s.Min(), s.Max(), s.Size(), s[0].Len())
	}
	for v, want := range map[int64]bool{9: false, 10: true, 19: true, 20: false, 29: false, 30: true, 39: true, 40: false} {
		if got := s.Contains(v); got != want {
			t.Errorf("Contains(%d) = %v", v, got)
		}
	}
	for v, want := range map[int64]int64{0: 0, 9: 9, 10: 20, 19: 20, 20: 20, 29: 29, 30: 40, 39: 40, 40: 40} {
		if got := s.FirstMissing(v); got != want {
			t.Errorf("FirstMissing(%d) = %d, want %d", v, got, want)
		}
	}
	for r, want := range map[Range]bool{
		{10, 20}: true, {12, 18}: true, {19, 20}: true, {9, 11}: false, {19, 21}: false, {20, 21}: false,
		{15, 35}: false, {30, 40}: true, {40, 41}: false, {25, 25}: true, {26, 25}: true,
	} {
		if got := s.Covers(r.Start, r.End); got != want {
			t.Errorf("Covers(%d, %d) = %v", r.Start, r.End, got)
		}
	}
}

// The largest numbers of the protocol, which are far from an int64's end.
func TestExtremes(t *testing.T) {
	const top = 1 << 62
	var s Set
	s.Add(0, top)
	s.Remove(top-2, top-1)
	if want := (Set{{0, top - 2}, {top - 1, top}}); !slices.Equal(s, want) {
		t.Errorf("got %v, want %v", s, want)
	}
	if s.Max() != top-1 || s.Size() != top-1 || !s.Contains(top-1) || s.Contains(top) {
		t.Errorf("Max %d, Size %d", s.Max(), s.Size())
	}
}

func TestDropFirst(t *testing.T) {
	for n, want := range []Set{{}, {{50, 60}}, {{30, 40}, {50, 60}}, {{10, 20}, {30, 40}, {50, 60}}, {{10, 20}, {30, 40}, {50, 60}}} {
		s := Set{{10, 20}, {30, 40}, {50, 60}}
		if s.DropFirst(n); !slices.Equal(s, want) {
			t.Errorf("DropFirst(%d) = %v, want %v", n, s, want)
		}
	}
}

// Packets that arrive in order, and the odd one out of order, need no memory.
func TestNoAllocations(t *testing.T) {
	s := make(Set, 0, 8)
	pn := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		s.Add(pn+1, pn+2)
		s.Add(pn+4, pn+5)
		s.Add(pn, pn+1)
		s.Remove(pn+1, pn+2)
		if !s.Contains(pn+4) || s.Covers(pn, pn+5) {
			t.Fatal("not what was added")
		}
		s.DropFirst(4)
		pn += 7
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// oracle is the set written the slow way.
type oracle [256]bool

func (o *oracle) set(start, end int64, v bool) {
	for i := start; i < end; i++ {
		o[i] = v
	}
}

func (o *oracle) ranges() Set {
	s := Set{}
	for i := int64(0); i < int64(len(o)); i++ {
		if o[i] && (i == 0 || !o[i-1]) {
			s = append(s, Range{i, i})
		}
		if o[i] {
			s[len(s)-1].End = i + 1
		}
	}
	return s
}

// mirrored returns the set of -1-v for all v of s.
func mirrored(s Set) Set {
	m := Set{}
	for _, r := range slices.Backward(s) {
		m = append(m, Range{-r.End, -r.Start})
	}
	return m
}

// check runs operations, three bytes each, on a Set, on its mirror image and on the oracle.
func check(t *testing.T, ops []byte) {
	var s, m Set
	var o oracle
	for ; len(ops) >= 3; ops = ops[3:] {
		op, start, end := ops[0]%16, int64(ops[1]), int64(ops[2])
		if op < 12 { // short ranges, so that there come to be many
			end = min(start+end%8, 255)
		}
		switch before := o.ranges(); {
		case op%4 == 3:
			s.Remove(start, end)
			m.Remove(-end, -start)
			o.set(start, end, false)
		case op == 12:
			n := int(end % 16)
			s.DropFirst(n)
			for _, r := range before[:max(len(before)-n, 0)] {
				o.set(r.Start, r.End, false)
				m.Remove(-r.End, -r.Start)
			}
		default:
			s.Add(start, end)
			m.Add(-end, -start)
			o.set(start, end, true)
		}
		want := o.ranges()
		if !slices.Equal(s, want) {
			t.Fatalf("operation %d(%d, %d): got %v, want %v", op, start, end, s, want)
		}
		if !slices.Equal(m, mirrored(want)) {
			t.Fatalf("operation %d(%d, %d), mirrored: got %v, want %v", op, start, end, m, mirrored(want))
		}
		compare(t, s, &o, start, end)
	}
}

// compare asks both the same questions.
func compare(t *testing.T, s Set, o *oracle, start, end int64) {
	t.Helper()
	size, low, high := int64(0), int64(-1), int64(-1)
	for i := range int64(len(o)) {
		if s.Contains(i) != o[i] {
			t.Fatalf("Contains(%d) = %v of %v", i, s.Contains(i), s)
		}
		if !o[i] {
			continue
		}
		size, high = size+1, i
		if low < 0 {
			low = i
		}
	}
	if s.Size() != size || s.Min() != low || s.Max() != high {
		t.Fatalf("Size %d, Min %d, Max %d of %v", s.Size(), s.Min(), s.Max(), s)
	}
	for _, q := range []Range{{start, end}, {end, start}, {start, start + 1}, {start, start + 4}, {low, high + 1}} {
		all := true
		for i := q.Start; i < q.End; i++ {
			all = all && i >= 0 && i < int64(len(o)) && o[i]
		}
		if missing := s.FirstMissing(max(q.Start, 0)); s.Contains(missing) || !s.Covers(max(q.Start, 0), missing) {
			t.Fatalf("FirstMissing(%d) = %d of %v", q.Start, missing, s)
		}
		if got := s.Covers(q.Start, q.End); got != all {
			t.Fatalf("Covers(%d, %d) = %v of %v", q.Start, q.End, got, s)
		}
	}
}

func TestOperations(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		ops := make([]byte, 3*200)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		check(t, ops)
	}
}

func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 10, 5, 0, 20, 5, 3, 12, 1, 0, 15, 5, 12, 0, 1})
	f.Fuzz(func(t *testing.T, ops []byte) { check(t, ops) })
}
