package stream

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// recvModel is a receiving half as plain slices, a byte at a time.
type recvModel struct {
	*receiver
	src     *source
	val     []byte // by offset
	have    []bool
	read    int64
	highest int64
	came    int64 // bytes received, each once
	final   int64
	limit   int64
	dead    bool // reset or stopped: data does not matter
	reset   bool
	slice   []byte // attached reader
}

func runRecv(t *testing.T, choices []byte) {
	src := &source{choices}
	window := src.below(20_000)
	m := &recvModel{receiver: newReceiver(t, window), src: src, final: -1}
	m.grant(window)
	for !src.empty() {
		m.step()
		m.check()
	}
	m.takeReader()
	m.drain()
	m.Release()
	wantChunks(t, "released", &m.list, 0)
}

func (m *recvModel) grant(limit int64) {
	m.limit = limit
	more := make([]byte, limit-int64(len(m.val)))
	m.val = append(m.val, more...)
	m.have = append(m.have, make([]bool, len(more))...)
}

// end returns the first offset that is missing.
func (m *recvModel) end() int64 {
	e := m.read
	for e < m.limit && m.have[e] {
		e++
	}
	return e
}

func (m *recvModel) step() {
	src := m.src
	switch op := src.byte() % 32; {
	case op < 8:
		m.receive(m.Recv.end, src.size(), false)
	case op < 10:
		m.receive(m.Recv.end+src.below(3000), src.size(), false)
	case op < 13:
		m.receive(src.below(m.limit+1), src.size(), false)
	case op < 15:
		m.receive(max(0, m.Recv.end-src.below(2000)), src.size(), false)
	case op < 20:
		m.consume(src.size())
	case op < 22:
		m.drain()
	case op < 24:
		if len(m.slice) == 0 && m.Readable() == 0 {
			m.slice = make([]byte, src.size())
			m.SetReader(m.slice)
		}
	case op < 26:
		m.takeReader()
	case op < 29:
		if m.limit < 150_000 {
			m.grant(m.limit + src.below(10_000))
			m.SetLimit(m.limit)
		}
	default:
		m.seldom()
	}
}

func (m *recvModel) seldom() {
	src := m.src
	switch src.byte() % 32 {
	case 0, 1, 2, 3:
		m.receive(m.highest, src.size(), true)
	case 4:
		m.receive(src.below(m.limit+1), src.size(), true)
	case 5:
		m.receive(m.limit-src.below(5), src.size(), false)
	case 6:
		m.resets(m.highest + src.below(10))
	case 7:
		m.resets(src.below(m.limit + 1))
	case 8:
		m.stop()
	}
}

// wantError is what RFC 9000 §4.1 and §4.5 say about data or a final size that end at end.
func (m *recvModel) wantError(end int64, final bool) wire.ErrorCode {
	switch {
	case m.final >= 0 && (end > m.final || final && end != m.final):
		return wire.FinalSizeError
	case final && end < m.highest:
		return wire.FinalSizeError
	case end > m.limit:
		return wire.FlowControlError
	}
	return wire.NoError
}

func (m *recvModel) receive(off int64, n int, fin bool) {
	end := off + int64(n)
	fresh, err := m.Grow(off, n, fin)
	if want := m.wantError(end, fin); err != want {
		m.t.Fatalf("Grow(%d, %d, %v) is %v, want %v", off, n, fin, err, want)
	}
	if err != wire.NoError {
		return
	}
	if want := max(0, end-m.highest); fresh != want {
		m.t.Fatalf("Grow(%d, %d, %v) is %d, want %d", off, n, fin, fresh, want)
	}
	data := pattern(off+int64(m.src.byte())<<8, n) // other copies have other bytes
	before := m.TakeReader()
	filled := m.slice[before:]
	m.SetReader(filled)
	if err := m.Receive(off, data, fin); err != wire.NoError {
		m.t.Fatalf("Receive(%d, %d, %v) is %v", off, n, fin, err)
	}
	m.highest = max(m.highest, end)
	if fin {
		m.final = end
	}
	if m.dead {
		m.came += min(fresh, int64(n)) // of those that fill holes nobody knows any more
		return
	}
	for i, b := range data {
		if at := off + int64(i); !m.have[at] && at >= m.read {
			m.have[at], m.val[at] = true, b
		}
	}
	// What the reader gets is everything in order, as far as it has room.
	got := m.TakeReader()
	if want := min(int64(len(filled)), m.end()-m.read); int64(got) != want {
		m.t.Fatalf("the reader got %d bytes, want %d", got, want)
	}
	m.wantBytes(filled[:got])
	m.slice = filled[got:]
	m.SetReader(m.slice)
}

// wantBytes compares bytes read with the model, and moves it on.
func (m *recvModel) wantBytes(p []byte) {
	m.t.Helper()
	end := m.read + int64(len(p))
	if end > m.limit || !bytes.Equal(p, m.val[m.read:end]) {
		m.t.Fatalf("%d bytes read at %d are not those that arrived first", len(p), m.read)
	}
	for at := m.read; at < end; at++ {
		if !m.have[at] {
			m.t.Fatalf("byte %d was read and never received", at)
		}
	}
	m.read = end
}

// consume reads n bytes in one of three ways.
func (m *recvModel) consume(n int) {
	switch m.src.byte() % 3 {
	case 0:
		p := make([]byte, n)
		m.wantBytes(p[:m.Read(p)])
	case 1:
		p := m.Peek()
		p = bytes.Clone(p[:min(n, len(p))])
		m.Discard(len(p))
		m.wantBytes(p)
	case 2:
		if c, p := m.Detach(); c != nil {
			m.wantBytes(p)
			m.list.Put(c)
		}
	}
}

func (m *recvModel) drain() {
	p := make([]byte, m.Readable())
	if n := m.Read(p); n != len(p) {
		m.t.Fatalf("%d bytes are readable, read %d", len(p), n)
	}
	m.wantBytes(p)
	if r := &m.Recv; len(r.got) == 0 && m.list.Outstanding() != 0 {
		m.t.Fatalf("%d chunks are in use for nothing", m.list.Outstanding())
	}
}

func (m *recvModel) takeReader() {
	if n := m.TakeReader(); n != 0 {
		m.t.Fatalf("the reader has %d bytes that nobody sent", n)
	}
	m.slice = nil
}

func (m *recvModel) resets(size int64) {
	complete := m.final >= 0 && m.end() == m.final && !m.dead
	fresh, err := m.Reset(77, size)
	if want := m.wantError(size, true); err != want {
		m.t.Fatalf("Reset with size %d is %v, want %v", size, err, want)
	}
	if err != wire.NoError || complete {
		return
	}
	if want := size - m.highest; fresh != want {
		m.t.Fatalf("Reset with size %d is %d, want %d", size, fresh, want)
	}
	if m.State() == RecvDataRead {
		return // stopped when all was here
	}
	m.highest, m.final, m.dead, m.reset = size, size, true, true
	if code, ok := m.ResetCode(); code != 77 || !ok {
		m.t.Fatalf("reset code is %d, %v", code, ok)
	}
}

func (m *recvModel) stop() {
	complete := m.final >= 0 && m.end() == m.final
	if want := !m.Stopped() && !m.reset && !complete; m.Stop() != want {
		m.t.Fatalf("Stop is not %v", want)
	}
	m.dead = true
}

func (m *recvModel) check() {
	t, r := m.t, &m.Recv
	consumed, readable, buffered, gaps := m.highest, int64(0), int64(0), 0
	if !m.dead {
		end := m.end()
		consumed, readable = m.read, end-m.read
		for at := m.read; at < m.highest; at++ {
			if m.have[at] {
				buffered++
				if at > end && !m.have[at-1] {
					gaps++
				}
			}
		}
		m.came = m.read + buffered
		eof := m.final >= 0 && m.read == m.final
		if m.EOF() != eof || m.Done() != (eof && m.slice == nil) {
			t.Fatalf("EOF %v, done %v; want %v", m.EOF(), m.Done(), eof)
		}
	}
	if r.Consumed() != consumed || r.Readable() != readable || r.Buffered() != buffered || r.Gaps() != gaps {
		t.Fatalf("consumed %d, readable %d, buffered %d, gaps %d; want %d, %d, %d, %d",
			r.Consumed(), r.Readable(), r.Buffered(), r.Gaps(), consumed, readable, buffered, gaps)
	}
	if r.Received() != m.came {
		t.Fatalf("received %d, want %d", r.Received(), m.came)
	}
	if sum := r.end + r.got.Size(); !m.dead && r.came != sum {
		t.Fatalf("%d bytes are counted, and the sum over all that is here is %d", r.came, sum)
	}
	if r.Highest() != m.highest || r.FinalSize() != m.final || r.Limit() != m.limit {
		t.Fatalf("highest %d, final size %d, limit %d; want %d, %d, %d",
			r.Highest(), r.FinalSize(), r.Limit(), m.highest, m.final, m.limit)
	}
	checkMemory(t, r, &m.list)
	checkChunks(t, r)
}

// checkMemory fails if the half uses more memory than the credit that its
// unread bytes have cost the peer allows.
func checkMemory(t *testing.T, r *Recv, l *List) {
	t.Helper()
	if most := 5*(r.highest-r.read) + 2*minChunk; int64(l.Bytes()) > most {
		t.Fatalf("%d bytes of memory for offsets %d to %d", l.Bytes(), r.read, r.highest)
	}
}

// checkChunks fails if the chunks are not laid out as Recv promises.
func checkChunks(t *testing.T, r *Recv) {
	t.Helper()
	at := r.read
	for c := r.head; c != nil; c = c.next {
		if c.off > at || c == r.head && c.end() <= at || c != r.head && c.off != at || c.n > len(c.Data) {
			t.Fatalf("chunk from %d to %d does not follow %d", c.off, c.end(), at)
		}
		at = c.end()
	}
	if at < r.end || r.head == nil && r.end != r.read {
		t.Fatalf("the list ends at %d, before %d", at, r.end)
	}
	at = max(at, r.end+1)
	for _, c := range r.ahead {
		i := behind(r.got, c.off)
		if c.off < at || c.n > len(c.Data) || i == len(r.got) || r.got[i].Start >= c.end() {
			t.Fatalf("chunk from %d to %d ahead of %d is out of place", c.off, c.end(), at)
		}
		at = c.end()
	}
}

func TestRecvAgainstOracle(t *testing.T) {
	for seed := range uint64(150) {
		choices := randomBytes(seed, 100+int(seed)*8)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { runRecv(t, choices) })
	}
}

func FuzzRecv(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomBytes(seed, 400))
	}
	f.Fuzz(func(t *testing.T, choices []byte) { runRecv(t, choices[:min(len(choices), 2000)]) })
}
