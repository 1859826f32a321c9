// Package ranges is a set of int64 values, from -1<<62 to 1<<62, kept as sorted, disjoint, half-open
// ranges: received packet numbers, received or acknowledged stream bytes.
package ranges

import "sort"

// Range is the values v with Start <= v < End.
type Range struct{ Start, End int64 }

// Len returns how many values the range holds.
func (r Range) Len() int64 { return r.End - r.Start }

// Set is a set of values, in ascending order, with no two ranges touching.
// The zero Set is empty. Its owner bounds how many ranges it may hold.
type Set []Range

// find returns the index of the first range that ends at or after v.
func (s Set) find(v int64) int {
	if n := len(s); n == 0 || s[n-1].End < v {
		return n
	} else if n == 1 || s[n-2].End < v {
		return n - 1
	}
	return sort.Search(len(s), func(i int) bool { return s[i].End >= v })
}

// Add puts the values start <= v < end into the set.
func (s *Set) Add(start, end int64) {
	if start >= end {
		return
	}
	i := s.find(start)
	if i == len(*s) {
		*s = append(*s, Range{start, end})
		return
	}
	if end < (*s)[i].Start {
		*s = append(*s, Range{})
		copy((*s)[i+1:], (*s)[i:])
		(*s)[i] = Range{start, end}
		return
	}
	r := &(*s)[i]
	r.Start = min(r.Start, start)
	if end <= r.End {
		return
	}
	j := i + 1
	for j < len(*s) && (*s)[j].Start <= end {
		j++
	}
	r.End = max(end, (*s)[j-1].End)
	*s = append((*s)[:i+1], (*s)[j:]...)
}

// Remove takes the values start <= v < end out of the set.
func (s *Set) Remove(start, end int64) {
	if start >= end {
		return
	}
	i := s.find(start + 1)
	if i == len(*s) || (*s)[i].Start >= end {
		return
	}
	if r := (*s)[i]; r.Start < start && r.End > end {
		*s = append(*s, Range{})
		copy((*s)[i+1:], (*s)[i:])
		(*s)[i].End = start
		(*s)[i+1].Start = end
		return
	}
	if (*s)[i].Start < start {
		(*s)[i].End = start
		i++
	}
	j := i
	for j < len(*s) && (*s)[j].End <= end {
		j++
	}
	if j < len(*s) && (*s)[j].Start < end {
		(*s)[j].Start = end
	}
	*s = append((*s)[:i], (*s)[j:]...)
}

// Contains reports whether v is in the set.
func (s Set) Contains(v int64) bool {
	i := s.find(v + 1)
	return i < len(s) && s[i].Start <= v
}

// Covers reports whether all of start <= v < end is in the set.
func (s Set) Covers(start, end int64) bool {
	if start >= end {
		return true
	}
	i := s.find(start + 1)
	return i < len(s) && s[i].Start <= start && end <= s[i].End
}

// FirstMissing returns the smallest value from v on that is not in the set.
func (s Set) FirstMissing(v int64) int64 {
	if i := s.find(v + 1); i < len(s) && s[i].Start <= v {
		return s[i].End
	}
	return v
}

// Min returns the smallest value, or -1 if the set is empty.
func (s Set) Min() int64 {
	if len(s) == 0 {
		return -1
	}
	return s[0].Start
}

// Max returns the largest value, or -1 if the set is empty.
func (s Set) Max() int64 {
	if len(s) == 0 {
		return -1
	}
	return s[len(s)-1].End - 1
}

// Size returns how many values the set holds.
func (s Set) Size() int64 {
	var n int64
	for _, r := range s {
		n += r.Len()
	}
	return n
}

// DropFirst forgets the lowest ranges until at most n are left.
func (s *Set) DropFirst(n int) {
	if extra := len(*s) - n; extra > 0 {
		*s = append((*s)[:0], (*s)[extra:]...)
	}
}
