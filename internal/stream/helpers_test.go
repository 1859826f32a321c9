package stream

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// period is how often the pattern repeats: a prime, unlike every size of ours.
const period = 65_537

var table = randomBytes(1, period)

// pattern returns n bytes of a stream's content from offset off.
func pattern(off int64, n int) []byte {
	b := make([]byte, n)
	for p := b; len(p) > 0; {
		m := copy(p, table[off%period:])
		p, off = p[m:], off+int64(m)
	}
	return b
}

// frame is a STREAM frame that was sent.
type frame struct {
	off int64
	n   int
	fin bool
}

// sender is a sending half under test, with everything written so far.
type sender struct {
	t *testing.T
	Send
	list List
	data []byte
}

func newSender(t *testing.T, maxData int64) *sender {
	s := &sender{t: t}
	s.Init(&s.list, maxData)
	return s
}

const plenty = int64(1) << 40 // more credit than any test uses

// write writes n bytes of the pattern.
func (s *sender) write(n int) {
	s.t.Helper()
	p := pattern(int64(len(s.data)), n)
	s.data = append(s.data, p...)
	if got := s.Write(p); got != n {
		s.t.Fatalf("Write of %d bytes took %d", n, got)
	}
}

// take packs the next frame, checks its bytes, and returns it.
func (s *sender) take(maxLen int, credit int64) (frame, bool) {
	s.t.Helper()
	off, n, fin, fresh, ok := s.Next(maxLen, credit)
	if !ok {
		return frame{}, false
	}
	before := s.Offset()
	dst := make([]byte, n)
	s.Take(dst, off, n, fin)
	if grown := s.Offset() - before; grown != fresh {
		s.t.Fatalf("frame at %d with %d bytes: Next said %d fresh bytes, Offset grew by %d", off, n, fresh, grown)
	}
	if !bytes.Equal(dst, s.data[off:off+int64(n)]) {
		s.t.Fatalf("frame at %d with %d bytes has wrong content", off, n)
	}
	return frame{off, n, fin}, true
}

// want packs the next frame, and fails unless it is the given one.
func (s *sender) want(reason string, off int64, n int, fin bool) frame {
	s.t.Helper()
	f, ok := s.take(1<<20, plenty)
	if want := (frame{off, n, fin}); !ok || f != want {
		s.t.Fatalf("%s: packed %+v (%v), want %+v", reason, f, ok, want)
	}
	return f
}

// wantIdle fails unless there is nothing to send.
func (s *sender) wantIdle(reason string) {
	s.t.Helper()
	if off, n, fin, _, ok := s.Next(1<<20, plenty); ok {
		s.t.Fatalf("%s: there is a frame to send: off %d, n %d, fin %v", reason, off, n, fin)
	}
	if s.Pending(plenty) {
		s.t.Fatalf("%s: the half says that something is pending", reason)
	}
}

func (s *sender) wantState(reason string, state SendState) {
	s.t.Helper()
	if s.State() != state {
		s.t.Fatalf("%s: state is %v, want %v", reason, s.State(), state)
	}
	if done := state == SendDataRecvd || state == SendResetRecvd; s.Done() != done {
		s.t.Fatalf("%s: Done is %v in state %v", reason, s.Done(), state)
	}
}

func (s *sender) ack(f frame) (again bool) { return s.Acked(f.off, f.n, f.fin) }
func (s *sender) lose(f frame)             { s.Lost(f.off, f.n, f.fin) }

// wantChunks fails unless n chunks are in use.
func wantChunks(t *testing.T, reason string, l *List, n int) {
	t.Helper()
	if l.Outstanding() != n {
		t.Fatalf("%s: %d chunks are in use, want %d", reason, l.Outstanding(), n)
	}
}

// mustPanic fails unless f panics with one of our BUG texts.
func mustPanic(t *testing.T, reason string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if text, ok := recover().(string); !ok || len(text) < 4 || text[:4] != "BUG:" {
			t.Fatalf("%s: no BUG panic", reason)
		}
	}()
	f()
}

// source hands out choices from a byte string: a fuzzer's, or random ones.
// It returns zeros when the string is used up.
type source struct{ b []byte }

func (s *source) empty() bool { return len(s.b) == 0 }

func (s *source) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return v
}

// below returns a number from 0 to n-1; n is at most 1<<24.
func (s *source) below(n int64) int64 {
	if n <= 0 {
		return 0
	}
	v := int64(s.byte())
	if n > 1<<8 {
		v = v<<8 | int64(s.byte())
	}
	if n > 1<<16 {
		v = v<<8 | int64(s.byte())
	}
	return v % n
}

// size returns a length: mostly small or like a packet's, seldom large.
func (s *source) size() int {
	switch s.byte() % 8 {
	case 0, 1:
		return int(s.below(8))
	case 2, 3:
		return int(s.below(256))
	case 4, 5, 6:
		return int(s.below(1500))
	}
	return int(s.below(40_000))
}

// randomBytes returns n bytes that the seed determines.
func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
