package wire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

func TestAckNext(t *testing.T) {
	b := unhex(t, "02 4bbc 00 02 4b58 405b 02 00 03 01") // and a PING
	c := varint.NewCursor(b)
	typ, _ := ParseType(&c)
	a := ParseAck(&c, typ)
	if c.Failed() || c.Len() != 1 || a.Largest != 3004 || a.ECN {
		t.Fatalf("ParseAck = %+v, %d bytes left", a, c.Len())
	}
	twin := a
	for _, want := range []ranges.Range{{Start: 100, End: 3005}, {Start: 5, End: 8}, {Start: 0, End: 4}} {
		start, end, ok := a.Next()
		if !ok || start != want.Start || end != want.End {
			t.Errorf("Next() = %d, %d, %v; want %v", start, end, ok, want)
		}
		if got := len(a.Set()); got != 3 {
			t.Errorf("Set() has %d ranges after Next, want all 3", got)
		}
	}
	for range 2 {
		if start, end, ok := a.Next(); ok {
			t.Errorf("Next() = %d, %d after the last", start, end)
		}
	}
	if start, end, ok := twin.Next(); start != 100 || end != 3005 || !ok {
		t.Errorf("a copy begins with %d, %d, %v", start, end, ok)
	}
	if got := a.Append(nil); !bytes.Equal(got, b[:len(b)-1]) {
		t.Errorf("Append after Next = %x, want %x", got, b[:len(b)-1])
	}
	var zero Ack
	if _, _, ok := zero.Next(); ok {
		t.Error("the zero Ack has ranges")
	}
}

// In any room, AppendAck writes the newest ranges that fit: at most room bytes,
// and one range more would have been too much.
func TestAppendAckRoom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		set := randomSet(r, 1+r.IntN(200))
		delay := r.Uint64N(1 << 62 >> r.IntN(62))
		var ecn *ECNCounts
		if r.IntN(2) == 0 {
			ecn = &ECNCounts{r.Uint64N(1000), r.Uint64N(100_000), 1<<62 - 1}
		}
		sizes := make([]int, len(set)+1) // by how many ranges
		for n := 1; n <= len(set); n++ {
			b, ok := AppendAck(nil, 1<<20, set[len(set)-n:], delay, ecn)
			if !ok {
				t.Fatalf("no room in 1 MiB")
			}
			sizes[n] = len(b)
		}
		for room := 0; room <= sizes[len(set)]+1; room += 1 + r.IntN(5) {
			want := 0
			for want < len(set) && sizes[want+1] <= room {
				want++
			}
			b, ok := AppendAck([]byte("x"), room, set, delay, ecn)
			if ok != (want > 0) || !ok && string(b) != "x" {
				t.Fatalf("room %d for %v: %v, %x", room, set, ok, b)
			}
			if !ok {
				continue
			}
			if len(b)-1 != sizes[want] {
				t.Fatalf("room %d for %v: %d bytes, want %d for %d ranges", room, set, len(b)-1, sizes[want], want)
			}
			checkAck(t, b[1:], set[len(set)-want:], delay, ecn)
		}
	}
}

func TestAppendAckOfNothing(t *testing.T) {
	if b, ok := AppendAck([]byte("x"), 1000, nil, 0, nil); ok || string(b) != "x" {
		t.Errorf("AppendAck of the empty set = %x, %v", b, ok)
	}
	if b, ok := AppendAck([]byte("x"), -1, ranges.Set{{Start: 0, End: 1}}, 0, nil); ok || string(b) != "x" {
		t.Errorf("AppendAck in -1 bytes = %x, %v", b, ok)
	}
	mustPanic(t, "MakeAck of the empty set", func() { MakeAck(nil, 0, nil) })
}

func randomSet(r *rand.Rand, n int) ranges.Set {
	var set ranges.Set
	at := r.Int64N(1 << 40 >> r.IntN(40))
	for range n {
		end := at + 1 + r.Int64N(1<<20>>r.IntN(20))
		set.Add(at, end)
		at = end + 1 + r.Int64N(1<<20>>r.IntN(20))
	}
	return set
}

func checkAck(t *testing.T, b []byte, set ranges.Set, delay uint64, ecn *ECNCounts) {
	t.Helper()
	frames, err := ParseFrames(b)
	if err != nil || len(frames) != 1 {
		t.Fatalf("ParseFrames(%x) = %v, %v", b, frames, err)
	}
	a := frames[0].(Ack)
	if !reflect.DeepEqual(a.Set(), set) || a.Largest != set.Max() || a.Delay != delay || a.ECN != (ecn != nil) {
		t.Fatalf("%x parsed as %v, want %v with delay %d, %v", b, a, set, delay, ecn)
	}
	if ecn != nil && (ECNCounts{a.ECT0, a.ECT1, a.CE}) != *ecn {
		t.Fatalf("%x parsed as %v, want %v", b, a, *ecn)
	}
}

// Each pair of bytes is a gap and a length; what is written is parsed to the same.
func FuzzAppendAck(f *testing.F) {
	f.Add([]byte{0, 0, 1, 5, 200, 200}, 20, uint64(3), true)
	f.Fuzz(func(t *testing.T, steps []byte, room int, delay uint64, ecn bool) {
		var set ranges.Set
		at := int64(0)
		for ; len(steps) >= 2; steps = steps[2:] {
			start := at + int64(steps[0])*int64(steps[0])
			at = start + 1 + int64(steps[1])*int64(steps[1])
			set.Add(start, at)
		}
		delay &= varint.Max
		var counts *ECNCounts
		if ecn {
			counts = &ECNCounts{1, uint64(at), delay}
		}
		b, ok := AppendAck(nil, room, set, delay, counts)
		if len(b) > max(room, 0) || ok != (len(b) > 0) {
			t.Fatalf("%d bytes in a room of %d, %v", len(b), room, ok)
		}
		if ok {
			n := len(mustAck(t, b).Set())
			checkAck(t, b, set[len(set)-n:], delay, counts)
		}
	})
}

func mustAck(t *testing.T, b []byte) Ack {
	t.Helper()
	c := varint.NewCursor(b)
	f, err := ParseFrame(&c)
	if err != nil {
		t.Fatal(err)
	}
	return f.(Ack)
}
