package wire

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// ECNCounts are the counts of packets received with each ECN codepoint, as an
// ACK frame reports them (RFC 9000 §19.3.2).
type ECNCounts struct{ ECT0, ECT1, CE uint64 }

// Ack is an ACK frame (RFC 9000 §19.3). Its ranges are read one by one with Next,
// straight from the packet, which it borrows; a copy of an Ack iterates on its
// own from where the original stood.
type Ack struct {
	Largest        int64
	Delay          uint64 // as on the wire: microseconds shifted right by the sender's ack_delay_exponent
	ECN            bool   // whether the counts are there
	ECT0, ECT1, CE uint64

	ranges []byte // First ACK Range, then pairs of Gap and ACK Range Length; valid
	at     int    // where in ranges Next goes on
	low    int64  // start of the range that Next returned last
}

// ParseAck reads an ACK frame after its type t. It walks all ranges, so that Next
// never meets an invalid one; a range that would go below zero fails the cursor.
func ParseAck(c *varint.Cursor, t FrameType) Ack {
	a := Ack{Largest: c.Int(), Delay: c.Varint()}
	count := c.Varint()
	b := c.Peek()
	if count > uint64(len(b)/2) { // a range takes two bytes or more
		c.Fail()
		return Ack{}
	}
	low := a.Largest - c.Int()
	for ; count > 0 && low >= 0; count-- {
		low -= c.Int() + 2
		if low < 0 {
			break
		}
		low -= c.Int()
	}
	if low < 0 || c.Failed() {
		c.Fail()
		return Ack{}
	}
	a.ranges = b[:len(b)-c.Len()]
	if t == FrameAckECN {
		a.ECN, a.ECT0, a.ECT1, a.CE = true, c.Varint(), c.Varint(), c.Varint()
		if c.Failed() {
			return Ack{}
		}
	}
	return a
}

// Next returns the next range, start <= pn < end, in descending order; the first
// one ends with Largest. ok is false when there are no more.
func (a *Ack) Next() (start, end int64, ok bool) {
	if a.at >= len(a.ranges) {
		return 0, 0, false
	}
	end = a.Largest + 1
	if a.at > 0 {
		end = a.low - a.varint() - 1
	}
	a.low = end - 1 - a.varint()
	return a.low, end, true
}

func (a *Ack) varint() int64 {
	v, n := varint.Parse(a.ranges[a.at:])
	a.at += n
	return int64(v)
}

// AppendAck appends an ACK frame for the packet numbers in set, with the counts
// if ecn is not nil. delay is in wire units. It takes at most room bytes: as many
// ranges as fit, the newest first. If not even one fits, or set is empty, ok is
// false and b is unchanged.
func AppendAck(b []byte, room int, set ranges.Set, delay uint64, ecn *ECNCounts) (out []byte, ok bool) {
	last := len(set) - 1
	if last < 0 {
		return b, false
	}
	room -= 1 + varint.Len(uint64(set.Max())) + varint.Len(delay) + varint.Len(uint64(set[last].Len()-1))
	if ecn != nil {
		room -= varint.Len(ecn.ECT0) + varint.Len(ecn.ECT1) + varint.Len(ecn.CE)
	}
	if room < varint.Len(0) {
		return b, false
	}
	first, size := last, 0 // set[first:] goes out; size is that of the ranges before the last one
	for first > 0 {
		gap, length := ackRange(set, first-1)
		size += varint.Len(gap) + varint.Len(length)
		if varint.Len(uint64(last-first+1))+size > room {
			break
		}
		first--
	}
	t := FrameAck
	if ecn != nil {
		t = FrameAckECN
	}
	b = append(b, byte(t))
	b = varint.Append(b, uint64(set.Max()))
	b = varint.Append(b, delay)
	b = varint.Append(b, uint64(last-first))
	b = varint.Append(b, uint64(set[last].Len()-1))
	for i := last - 1; i >= first; i-- {
		gap, length := ackRange(set, i)
		b = varint.Append(b, gap)
		b = varint.Append(b, length)
	}
	if ecn != nil {
		b = varint.Append(b, ecn.ECT0)
		b = varint.Append(b, ecn.ECT1)
		b = varint.Append(b, ecn.CE)
	}
	return b, true
}

// ackRange returns the Gap above set[i] and its ACK Range Length (RFC 9000
// §19.3.1): both count one less than there is.
func ackRange(set ranges.Set, i int) (gap, length uint64) {
	return uint64(set[i+1].Start - set[i].End - 1), uint64(set[i].Len() - 1)
}

// MakeAck returns an ACK frame for all of set, which is not empty: what a peer's
// frame looks like once parsed. It allocates, and is meant for tests and tools.
func MakeAck(set ranges.Set, delay uint64, ecn *ECNCounts) Ack {
	b, ok := AppendAck(nil, math.MaxInt, set, delay, ecn)
	if !ok {
		panic("BUG: ACK frame without ranges")
	}
	c := varint.NewCursor(b)
	t, _ := ParseType(&c)
	return ParseAck(&c, t)
}

// Set returns all the ranges of the frame, whatever Next has returned already.
// It allocates.
func (a Ack) Set() ranges.Set {
	a.at = 0
	var s ranges.Set
	for start, end, ok := a.Next(); ok; start, end, ok = a.Next() {
		s = append(s, ranges.Range{Start: start, End: end})
	}
	slices.Reverse(s)
	return s
}

// Append appends the whole frame, whatever Next has returned already. It allocates.
func (a Ack) Append(b []byte) []byte {
	var ecn *ECNCounts
	if a.ECN {
		ecn = &ECNCounts{a.ECT0, a.ECT1, a.CE}
	}
	b, _ = AppendAck(b, math.MaxInt, a.Set(), a.Delay, ecn)
	return b
}

// Type returns FrameAck, or FrameAckECN if there are counts.
func (a Ack) Type() FrameType {
	if a.ECN {
		return FrameAckECN
	}
	return FrameAck
}

// String returns the frame for a log, with its ranges in descending order, both
// ends included.
func (a Ack) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v delay=%d", a.Type(), a.Delay)
	a.at = 0
	for start, end, ok := a.Next(); ok; start, end, ok = a.Next() {
		if start == end-1 {
			fmt.Fprintf(&s, " %d", start)
		} else {
			fmt.Fprintf(&s, " %d-%d", start, end-1)
		}
	}
	if a.ECN {
		fmt.Fprintf(&s, " ect0=%d ect1=%d ce=%d", a.ECT0, a.ECT1, a.CE)
	}
	return s.String()
}
