package stream

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// An idle stream must be small: both halves and the window that goes with them.
func TestIdleSize(t *testing.T) {
	if n := unsafe.Sizeof(Send{}) + unsafe.Sizeof(Recv{}) + unsafe.Sizeof(Window{}); n > 400 {
		t.Errorf("an idle stream takes %d bytes", n)
	}
}

// Tiny frames at far offsets, in the orders that an attacker would try, cost
// no more memory than twice the credit they use.
func TestRecvTinyFrames(t *testing.T) {
	const window = 1 << 20
	random := rand.New(rand.NewPCG(3, 4))
	shuffled := random.Perm(900)
	for name, at := range map[string]func(i int64) int64{
		"one far byte":              func(int64) int64 { return window - 1 },
		"every second offset":       func(i int64) int64 { return 1 + 2*i },
		"backwards":                 func(i int64) int64 { return 100_000 - 10*i },
		"backwards over the window": func(i int64) int64 { return window - 1 - i*window/901 },
		"one in each chunk":         func(i int64) int64 { return 1023 + 1024*i },
		"around chunk edges":        func(i int64) int64 { return 1024*(1+i/2) - 2 + 3*(i%2) },
		"shuffled":                  func(i int64) int64 { return 1 + int64(shuffled[i])*1000 },
		"growing distances":         func(i int64) int64 { return 1 + i*i },
	} {
		r := newReceiver(t, window)
		for i := range int64(900) {
			off := at(i)
			fresh, err := r.Grow(off, 1, false)
			if err != wire.NoError {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			r.gets(off, 1, false, fresh)
			if most := 2*r.Highest() + minChunk; int64(r.list.Bytes()) > most {
				t.Fatalf("%s: %d bytes of memory for %d of credit", name, r.list.Bytes(), r.Highest())
			}
			if most := 900 * minChunk; r.list.Bytes() > most {
				t.Fatalf("%s: %d bytes of memory for 900 bytes", name, r.list.Bytes())
			}
		}
		checkChunks(t, &r.Recv)
		r.gets(0, 100, false, 0) // nothing was damaged
		r.Stop()
		wantChunks(t, name, &r.list, 0)
	}
}

// Data that waits for its reader, in frames of any size, in order or behind
// one hole, is at most half of the memory it sits in.
func TestRecvUnreadMemory(t *testing.T) {
	for _, n := range []int{1, 7, 100, 1000, 1024, 1400, 4096, 10_000} {
		for _, start := range []int64{0, 1, 1023, 70_000} {
			r := newReceiver(t, plenty)
			for off := start; off < start+300_000; off += int64(n) {
				r.gets(off, n, false, off+int64(n)-r.Highest())
				if got, most := int64(r.list.Bytes()), 2*(off+int64(n)-start)+2*minChunk; got > most {
					t.Fatalf("frames of %d from %d: %d bytes of memory at %d, want at most %d", n, start, got, off, most)
				}
			}
			if most := 300_000/MaxChunk + 16; r.list.Outstanding() > most {
				t.Errorf("frames of %d from %d: 300,000 bytes lie in %d chunks", n, start, r.list.Outstanding())
			}
			if start > 0 {
				r.gets(0, int(start), false, 0)
			}
			r.reads("everything", 1<<20, int(r.Highest()))
			wantChunks(t, "all read", &r.list, 0)
		}
	}
}

// A reader that stops just short of what is there leaves little memory in use,
// whatever was there before.
func TestRecvLeftovers(t *testing.T) {
	for rest := 1; rest < 200_000; rest += 1 + rest/2 {
		for _, step := range []int{100, 4096, 1 << 20} {
			for _, all := range []int{250_000, 196_800, 66_000, 65_636, 20_000} {
				leave(t, all, min(rest, all), step)
			}
		}
	}
}

// leave receives all bytes, and reads all but the last ones by step.
func leave(t *testing.T, all, rest, step int) {
	r := newReceiver(t, plenty)
	r.gets(0, all, false, int64(all))
	for todo := all - rest; todo > 0; todo -= min(step, todo) {
		r.reads("a piece", min(step, todo), min(step, todo))
	}
	if got, most := r.list.Bytes(), 5*rest+2*minChunk; rest < all && got > most {
		t.Errorf("%d bytes of memory for %d unread bytes of %d, read by %d", got, rest, all, step)
	}
	r.gets(int64(all), 5000, true, 5000)
	r.reads("the rest", 1<<20, rest+5000)
	wantChunks(t, "all read", &r.list, 0)
}

// Filling the space between islands takes chunks that fit it.
func TestRecvIslands(t *testing.T) {
	for _, distance := range []int64{1500, 5000, 17_000} {
		r := newReceiver(t, plenty)
		for off := distance; off < 300_000; off += distance {
			r.gets(off, 1, false, off+1-r.Highest())
		}
		for off := int64(0); off < 300_000; off += 1400 {
			r.gets(off, 1400, false, max(0, off+1400-r.Highest()))
			if most := 2*r.Highest() + minChunk; int64(r.list.Bytes()) > most {
				t.Fatalf("islands by %d: %d bytes of memory for %d of credit", distance, r.list.Bytes(), r.Highest())
			}
		}
		r.reads("everything", 1<<20, int(r.Highest()))
		wantChunks(t, "all read", &r.list, 0)
	}
}

// Repeated ends and beginnings: whatever a half was doing, nothing leaks.
func TestNothingLeaks(t *testing.T) {
	var list List
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var s Send
		var r Recv
		s.Init(&list, plenty)
		r.Init(&list, plenty)
		s.Write(make([]byte, random.IntN(200_000)))
		for range random.IntN(100) {
			off, n, fin, _, ok := s.Next(1+random.IntN(2000), plenty)
			if !ok {
				break
			}
			b := make([]byte, n)
			s.Take(b, off, n, fin)
			switch random.IntN(4) {
			case 0:
				s.Lost(off, n, fin)
			case 1:
				s.Acked(off, n, fin)
			default:
				r.Receive(off, b, fin)
			}
		}
		switch random.IntN(3) {
		case 0:
			s.Reset(1)
			r.Reset(1, s.Offset())
		case 1:
			r.Stop()
		}
		s.Release()
		r.Release()
	}
	wantChunks(t, "all released", &list, 0)
	if list.Bytes() != 0 {
		t.Errorf("%d bytes in use", list.Bytes())
	}
}

func TestChunkClasses(t *testing.T) {
	var list List
	for class, size := range Classes {
		if ClassOf(size) != class || NewChunk(class).Class() != class || fit(int64(size)) != size {
			t.Errorf("class %d is not that of %d bytes", class, size)
		}
		for _, want := range []int{size - 1, size} {
			c := list.Get(want)
			if len(c.Data) != size {
				t.Errorf("Get(%d) has %d bytes", want, len(c.Data))
			}
			list.Put(c)
		}
	}
	c := list.Get(1 << 30)
	if len(c.Data) != MaxChunk {
		t.Errorf("the largest chunk has %d bytes", len(c.Data))
	}
	again := list.Get(1)
	if list.Outstanding() != 2 || list.Bytes() != MaxChunk+minChunk {
		t.Errorf("%d chunks, %d bytes", list.Outstanding(), list.Bytes())
	}
	list.Put(again)
	list.Put(c)
	if list.Get(MaxChunk) != c {
		t.Error("a free chunk is not used again")
	}
}
