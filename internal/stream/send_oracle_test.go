package stream

import (
	"fmt"
	"testing"
)

// sendModel is a sending half as plain slices, a byte at a time.
type sendModel struct {
	*sender
	acked, lost []bool // for each byte written
	sent        int64
	prefix      int64 // bytes acknowledged from the start
	top         int64 // the highest acknowledged, plus one
	losses      int   // bytes to send again
	finished    bool
	finDue      bool
	finAcked    bool
	flight      []frame
	reset       bool
	combed      bool
	anyAcked    bool
}

func runSend(t *testing.T, choices []byte) {
	src := &source{choices}
	m := &sendModel{sender: newSender(t, src.below(5000))}
	for !src.empty() && !m.Done() {
		m.step(src)
		m.check()
	}
	m.finish()
}

func (m *sendModel) step(src *source) {
	switch op := src.byte() % 32; {
	case op < 6:
		if !m.finished && !m.reset && len(m.data) < 400_000 {
			n := src.size()
			m.write(n)
			m.acked = append(m.acked, make([]bool, n)...)
			m.lost = append(m.lost, make([]bool, n)...)
		}
	case op < 16:
		m.pack(src.size(), src.below(3000), src.below(10) == 0)
	case op < 22:
		m.fate(src, true)
	case op < 27:
		m.fate(src, false)
	case op < 30:
		m.SetMax(m.Max() + src.below(20_000))
	case op == 30:
		switch src.byte() % 16 {
		case 0:
			m.Finish()
			m.finDue = m.finDue || !m.finished && !m.reset
			m.finished = m.finished || !m.reset
		case 1:
			m.abandon()
		case 2:
			m.comb(src)
		}
	case op == 31:
		m.restart()
	}
}

// pack sends one frame, perhaps cut short, and compares it with the model.
func (m *sendModel) pack(maxLen int, credit int64, short bool) {
	off, n, fin, fresh, ok := m.Next(maxLen, credit)
	if !ok {
		return
	}
	if m.reset {
		m.t.Fatal("a STREAM frame after the reset")
	}
	if fresh > credit || fresh > 0 && off != m.sent || n > maxLen {
		m.t.Fatalf("frame of %d at %d, with %d fresh, for room %d and credit %d", n, off, fresh, maxLen, credit)
	}
	if short && n > 1 {
		n, fin = n/2, false
	}
	end := off + int64(n)
	dst := make([]byte, n)
	m.Take(dst, off, n, fin)
	for i, b := range dst {
		at := off + int64(i)
		if b != m.data[at] {
			m.t.Fatalf("wrong byte at %d", at)
		}
		if at < m.sent && !m.lost[at] {
			m.t.Fatalf("byte at %d sent again without being lost", at)
		}
		m.setLost(at, false)
	}
	m.sent = max(m.sent, end)
	if m.sent > m.Max() {
		m.t.Fatalf("sent up to %d, the limit is %d", m.sent, m.Max())
	}
	if fin {
		if !m.finished || end != int64(len(m.data)) || m.finAcked {
			m.t.Fatalf("FIN at %d of %d", end, len(m.data))
		}
		m.finDue = false
	}
	m.flight = append(m.flight, frame{off, n, fin})
}

// fate acknowledges or loses a frame in flight.
func (m *sendModel) fate(src *source, acked bool) {
	if len(m.flight) == 0 {
		return
	}
	i := int(src.below(int64(len(m.flight))))
	if src.byte()%2 == 0 {
		i = 0
	}
	f := m.flight[i]
	m.flight = append(m.flight[:i], m.flight[i+1:]...)
	m.settle(f, acked)
}

// settle says what became of a frame.
func (m *sendModel) settle(f frame, acked bool) {
	again := false
	if acked {
		again = m.ack(f)
		m.anyAcked = true
	} else {
		m.lose(f)
	}
	if m.reset {
		if again {
			m.t.Fatal("something goes again after the reset")
		}
		return
	}
	if acked {
		m.top = max(m.top, f.off+int64(f.n))
	}
	for at := f.off; at < f.off+int64(f.n); at++ {
		if acked {
			m.acked[at] = true
		}
		m.setLost(at, !m.acked[at])
	}
	if f.fin && acked {
		m.finAcked, m.finDue = true, false
	} else if f.fin && !m.finAcked {
		m.finDue = true
	}
	if again || len(m.Send.lost) > maxHoles {
		m.adopt(again)
	}
}

// adopt makes the model forget what the half has forgotten, if it had to: a range at most that is acknowledged.
func (m *sendModel) adopt(again bool) {
	m.advance()
	known, lost := m.islands(), m.lostIslands()
	if again != (known > maxHoles) {
		m.t.Fatalf("with %d ranges acknowledged, something is forgotten: %v", known, again)
	}
	joined := lost > maxHoles+1 || again && lost > maxHoles // with what is forgotten, which may touch no other
	for _, r := range m.Send.lost {
		for at := -r.End; at < -r.Start; at++ {
			if m.acked[at] && !again || !m.acked[at] && !m.lost[at] && !joined {
				m.t.Fatalf("%d is to be sent again, with %d ranges acknowledged and %d lost", at, known, lost)
			}
			m.acked[at] = false
			m.setLost(at, true)
		}
	}
	m.checkHoles(maxHoles)
	if n := m.islands(); n < known-1 || n > maxHoles {
		m.t.Fatalf("of %d ranges acknowledged %d are left", known, n)
	}
	if n := m.lostIslands(); n < lost-2 || n != int64(len(m.Send.lost)) {
		m.t.Fatalf("of %d ranges lost %d are left", lost, n)
	}
}

// comb sends many frames of a byte or two, and settles every second one, and perhaps the others: once, as it takes long.
func (m *sendModel) comb(src *source) {
	n, size, mode := int(src.below(2600)), 1+int(src.byte()%2), src.byte()
	if m.finished || m.reset || m.combed || m.sent-m.prefix > 8000 {
		return
	}
	m.combed = true
	m.write(n * size)
	m.acked = append(m.acked, make([]bool, n*size)...)
	m.lost = append(m.lost, make([]bool, n*size)...)
	m.SetMax(int64(len(m.data)))
	first := len(m.flight)
	for range n {
		m.pack(size, plenty, false)
	}
	for i, f := range m.flight[first:] {
		if i%2 == 0 {
			m.settle(f, mode&1 != 0)
		} else if mode&2 != 0 {
			m.settle(f, mode&1 == 0)
		} else {
			m.flight[first] = f
			first++
		}
	}
	m.flight = m.flight[:first]
}

func (m *sendModel) setLost(at int64, lost bool) {
	if lost && !m.lost[at] {
		m.losses++
	} else if !lost && m.lost[at] {
		m.losses--
	}
	m.lost[at] = lost
}

func (m *sendModel) abandon() {
	want := !m.reset && !m.Done()
	if m.Reset(99) != want {
		m.t.Fatalf("Reset in state %v is not %v", m.State(), want)
	}
	m.reset = m.reset || want
}

func (m *sendModel) restart() {
	if m.anyAcked || m.reset {
		return
	}
	limit := m.Max()
	m.Restart()
	m.SetMax(limit)
	m.sent, m.flight, m.finDue = 0, nil, m.finished
	m.losses = 0
	clear(m.lost)
}

func (m *sendModel) check() {
	t := m.t
	if m.Offset() != m.sent {
		t.Fatalf("Offset is %d, want %d", m.Offset(), m.sent)
	}
	if m.reset {
		wantChunks(t, "reset", &m.list, 0)
		if n := m.Retained(); n != 0 {
			t.Fatalf("%d bytes retained after the reset", n)
		}
		return
	}
	m.advance()
	prefix := m.prefix
	written := int64(len(m.data))
	done := m.finAcked && prefix == written
	pending := m.losses > 0 || m.sent < min(written, m.Max()) || m.finDue && m.sent == written
	if m.AckedPrefix() != prefix || m.Unsent() != written-m.sent || m.Buffered() != written-prefix {
		t.Fatalf("prefix %d, unsent %d, buffered %d; want %d, %d, %d",
			m.AckedPrefix(), m.Unsent(), m.Buffered(), prefix, written-m.sent, written-prefix)
	}
	if n := m.Retained(); n != m.sent-prefix+rangeCost*m.islands() {
		t.Fatalf("%d bytes retained, of %d from %d on, with %d ranges acknowledged", n, m.sent, prefix, m.islands())
	}
	if m.AckedTop() != m.top {
		t.Fatalf("acknowledged up to %d, want %d", m.AckedTop(), m.top)
	}
	if m.Pending(1) != pending || m.Done() != done {
		t.Fatalf("pending %v, done %v; want %v, %v", m.Pending(1), m.Done(), pending, done)
	}
	if prefix == written && m.list.Outstanding() != 0 {
		t.Fatalf("%d chunks are in use for nothing", m.list.Outstanding())
	}
	// The first chunk may be acknowledged but for a byte, and of each size
	// but the largest one may be half empty.
	if most := 2*(written-prefix) + 64<<10 + 4<<10; int64(m.list.Bytes()) > most {
		t.Fatalf("%d bytes of memory for %d bytes retained", m.list.Bytes(), written-prefix)
	}
}

// advance moves the prefix over what is acknowledged.
func (m *sendModel) advance() {
	for m.prefix < int64(len(m.data)) && m.acked[m.prefix] {
		m.prefix++
	}
}

// islands returns how many ranges are acknowledged behind a hole.
func (m *sendModel) islands() (n int64) {
	for at := m.prefix; at < m.sent; at++ {
		if m.acked[at] && !m.acked[at-1] {
			n++
		}
	}
	return n
}

// lostIslands returns how many ranges are lost.
func (m *sendModel) lostIslands() (n int64) {
	for at := m.prefix; at < m.sent; at++ {
		if m.lost[at] && (at == m.prefix || !m.lost[at-1]) {
			n++
		}
	}
	return n
}

// finish brings the half to a terminal state and looks for leaks.
func (m *sendModel) finish() {
	if !m.reset {
		m.SetMax(plenty)
		m.Finish()
		m.finDue = m.finDue || !m.finished
		m.finished = true
	}
	for !m.Done() {
		m.pack(1<<20, plenty, false)
		if _, _, ok := m.PackReset(); ok {
			m.ResetAcked()
		}
		for len(m.flight) > 0 {
			m.fate(&source{}, true)
		}
		m.check()
	}
	wantChunks(m.t, "done", &m.list, 0)
}

// A sender does what a plain one would do: what it sends at an offset is what was written there (RFC 9000 §2.2).
func TestSendAgainstOracle(t *testing.T) {
	for seed := range uint64(150) {
		choices := randomBytes(seed, 100+int(seed)*8)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { runSend(t, choices) })
	}
}

func FuzzSend(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomBytes(seed, 400))
	}
	f.Fuzz(func(t *testing.T, choices []byte) { runSend(t, choices[:min(len(choices), 2000)]) })
}
