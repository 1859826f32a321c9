package stream

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// valve is both ends of one flow-control limit: a sender's Credit and a receiver's Window,
// with grants between them that come late, twice, or not at all.
type valve struct {
	t        *testing.T
	w        Window
	c        Credit
	now      mono.Time
	rtt      time.Duration
	shortest time.Duration
	read     int64   // by the receiver's application
	grants   []int64 // all that were ever made, in order
	told     map[int64]bool
}

// FuzzWindow: whatever grants arrive, a sender keeps to them and is told of a limit it has
// used up once; the receiver grants no more than a window ahead of what was read, no less than
// half of one, and never takes anything back.
func FuzzWindow(f *testing.F) {
	f.Add(uint64(10_000), uint64(1<<20), []byte{1, 255, 2, 255, 4, 0, 1, 255, 0, 1, 2, 255, 4, 0, 6, 0, 1, 255, 6, 0, 3, 0, 5, 1})
	f.Add(uint64(0), uint64(0), []byte{1, 9, 6, 0, 6, 0, 7, 0, 6, 0, 3, 0})
	f.Add(uint64(1)<<61, uint64(1)<<62-1, []byte{8, 200, 1, 255, 2, 255, 4, 0, 1, 255, 2, 255, 4, 0, 1, 255, 2, 255, 3, 0, 4, 0})
	f.Fuzz(func(t *testing.T, size, most uint64, ops []byte) {
		v := &valve{t: t, rtt: 30 * time.Millisecond, shortest: 30 * time.Millisecond, told: map[int64]bool{}}
		v.w.Init(int64(size&varint.Max), int64(most&varint.Max))
		v.c.Init(v.w.Limit())
		v.grants = []int64{v.w.Limit()}
		for i := 0; i+1 < min(len(ops), 2000); i += 2 {
			v.op(ops[i]%9, int64(ops[i+1]))
			v.check()
		}
		v.end()
	})
}

func (v *valve) op(op byte, n int64) {
	switch op {
	case 0:
		v.now = v.now.Add(time.Duration(n) * time.Millisecond)
	case 1: // the sender sends a part of what it may
		v.c.Take(part(v.c.Left(), n))
	case 2:
		v.consume(part(v.c.Used()-v.read, n))
	case 3:
		was := v.w.Limit()
		limit, more := v.w.Extend()
		v.granted(was, limit, more)
		if want := min(v.read+v.w.Size(), varint.Max); limit < want {
			v.t.Fatalf("all that is saved up leads to %d, want %d", limit, want)
		}
	case 4:
		v.deliver(v.w.Limit())
	case 5:
		v.deliver(v.grants[int(n)%len(v.grants)])
	case 6:
		want := v.c.Used() == v.c.Max() && !v.told[v.c.Max()]
		limit, ok := v.c.Blocked()
		if ok != want || ok && limit != v.c.Max() {
			v.t.Fatalf("blocked at %d: %v, want %v at %d", limit, ok, want, v.c.Max())
		}
		v.told[v.c.Max()] = v.told[v.c.Max()] || ok
	case 7:
		v.c.LostBlocked()
		clear(v.told)
	case 8:
		v.rtt = time.Duration(n) * time.Millisecond
		v.shortest = min(v.shortest, v.rtt)
	}
}

// part returns n 255ths of all.
func part(all, n int64) int64 {
	if n == 255 {
		return all
	}
	return all/255*n + all%255*n/255
}

// consume reads bytes and checks what that leads to.
func (v *valve) consume(n int64) {
	was, size := v.w.Limit(), v.w.Size()
	v.read += n
	limit, more := v.w.Consumed(v.now, v.read, v.rtt, v.shortest)
	v.granted(was, limit, more)
	if left, size := limit-v.read, v.w.Size(); left <= size/2 && left != size && limit != varint.Max {
		v.t.Fatalf("%d of a window of %d are left, and nothing is granted", left, size)
	}
	if v.w.Size() < size || v.rtt == 0 && v.w.Size() != size {
		v.t.Fatalf("a window of %d becomes one of %d", size, v.w.Size())
	}
}

// granted checks what a call says of the limit.
func (v *valve) granted(was, limit int64, more bool) {
	if limit != v.w.Limit() || limit < was || more != (limit > was) {
		v.t.Fatalf("the limit was %d, is %d, said to be %d, and said to rise: %v", was, v.w.Limit(), limit, more)
	}
	if more {
		v.grants = append(v.grants, limit)
	}
}

// deliver brings a grant to the sender.
func (v *valve) deliver(limit int64) {
	was := v.c.Max()
	if more := v.c.Add(limit); more != (limit > was) || v.c.Max() != max(was, limit) {
		v.t.Fatalf("%d after %d: %v, and %d", limit, was, more, v.c.Max())
	}
}

func (v *valve) check() {
	w, c := &v.w, &v.c
	switch {
	case c.Used() > c.Max() || c.Left() != c.Max()-c.Used() || c.Max() > w.Limit():
		v.t.Fatalf("%d of %d are sent, %d are left, %d were granted", c.Used(), c.Max(), c.Left(), w.Limit())
	case w.Limit() > varint.Max || w.Limit() > v.read+w.Size():
		v.t.Fatalf("limit %d, with %d read and a window of %d", w.Limit(), v.read, w.Size())
	case w.Size() > max(w.max, v.grants[0]):
		v.t.Fatalf("a window of %d, at most %d", w.Size(), w.max)
	}
}

// end lets everything be read and every grant arrive: the sender goes on, unless there is no
// window or nothing to number more bytes with.
func (v *valve) end() {
	v.consume(v.c.Used() - v.read)
	v.deliver(v.w.Limit())
	if v.w.Size() > 0 && v.c.Left() == 0 && v.c.Max() < varint.Max {
		v.t.Fatalf("all %d bytes are read, and the sender is blocked", v.read)
	}
}
