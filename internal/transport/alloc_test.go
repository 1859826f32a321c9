package transport

import (
	"io"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// wireLink joins the two Conns of a pair without a datagram being copied or
// delayed, so that what is left of the cost is that of the connections.
type wireLink struct {
	*pair
	train   []dgram.Datagram // scratch
	streams []*Stream        // opened by the peer of either end, not looked at yet
	packets int
}

func newWireLink(t testing.TB) *wireLink {
	p := newPair(t, nil)
	p.handshake()
	p.transfer(4 << 20) // discovery done, windows grown
	p.rest()
	return &wireLink{pair: p}
}

// pass hands over all that one end has to send, and drains its events.
func (l *wireLink) pass(from, to *node) {
	for {
		from.batch.Reset()
		if !from.conn.Transmit(l.now, from.batch) {
			break
		}
		l.drain(from)
		l.train = l.train[:0]
		for i := 0; i < from.batch.Count(); i++ {
			l.train = append(l.train, dgram.Datagram{Data: from.batch.Segment(i), Path: dgram.Path{Local: to.addr, Remote: from.addr}, ECN: from.batch.ECN})
			l.packets++
		}
		to.conn.ReceiveTrain(l.now, l.train)
		l.drain(to)
	}
	l.drain(from)
}

func (l *wireLink) drain(n *node) {
	for {
		e, ok := n.conn.Next()
		if !ok {
			return
		}
		if e.Kind == EventStream {
			l.streams = append(l.streams, e.Stream)
		}
	}
}

// tick lets time pass and timers act.
func (l *wireLink) tick(d time.Duration) {
	l.now = l.now.Add(d)
	for _, n := range [2]*node{l.client, l.server} {
		if n.conn.Deadline() <= l.now {
			n.conn.Advance(l.now)
		}
	}
}

// opened takes the stream that the peer has opened last.
func (l *wireLink) opened() *Stream {
	if len(l.streams) == 0 {
		l.t.Fatal("no stream was opened")
	}
	s := l.streams[len(l.streams)-1]
	l.streams = l.streams[:0]
	return s
}

// bulk moves n bytes from the client to the server on one stream.
func (l *wireLink) bulk(out, in *Stream, chunk, buf []byte) {
	for len(chunk) > 0 {
		n, err := l.client.conn.Write(out, chunk)
		if err != nil {
			l.t.Fatal(err)
		}
		chunk = chunk[n:]
		l.tick(50 * time.Microsecond)
		l.pass(l.client, l.server)
		for {
			if n, _ := l.server.conn.Read(l.now, in, buf); n == 0 {
				break
			}
		}
		l.pass(l.server, l.client)
	}
}

// In steady state neither end allocates anything for a packet of stream data
// or for its acknowledgment.
func TestAllocationsBulk(t *testing.T) {
	l := newWireLink(t)
	out := l.client.conn.OpenStream(l.now, false)
	chunk, buf := make([]byte, 64<<10), make([]byte, 64<<10)
	if _, err := l.client.conn.Write(out, chunk[:1]); err != nil {
		t.Fatal(err)
	}
	l.pass(l.client, l.server)
	in := l.opened()
	for range 100 { // rings and queues take their sizes
		l.bulk(out, in, chunk, buf)
	}
	l.packets = 0
	const rounds = 50
	allocs := testing.AllocsPerRun(rounds, func() { l.bulk(out, in, chunk, buf) })
	perRound := l.packets / (rounds + 1)
	if perRound < 64<<10/1452 {
		t.Fatalf("only %d packets a round", perRound)
	}
	if allocs > 0 {
		t.Errorf("%v allocations for %d packets, want 0", allocs, perRound)
	}
}

// request is one exchange: a fresh stream, a request of 64 bytes, an answer of
// 1 KiB, and everything about it done and acknowledged.
func (l *wireLink) request(question, answer, buf []byte) {
	c, s := l.client.conn, l.server.conn
	out := c.OpenStream(l.now, false)
	if out == nil {
		l.t.Fatal("no stream credit")
	}
	write(l.t, c, out, question)
	l.tick(20 * time.Microsecond)
	l.pass(l.client, l.server)
	in := l.opened()
	readAll(l.t, l, s, in, buf, len(question))
	write(l.t, s, in, answer)
	l.tick(20 * time.Microsecond)
	l.pass(l.server, l.client)
	readAll(l.t, l, c, out, buf, len(answer))
	l.pass(l.client, l.server)
}

func write(t testing.TB, c *Conn, s *Stream, b []byte) {
	if n, err := c.Write(s, b); n != len(b) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if err := c.CloseWrite(s); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, l *wireLink, c *Conn, s *Stream, buf []byte, want int) {
	for got := 0; ; {
		n, err := c.Read(l.now, s, buf)
		got += n
		switch {
		case err == io.EOF && got == want:
			return
		case err != nil || n == 0:
			t.Fatalf("read %d of %d bytes, %v", got, want, err)
		}
	}
}

// mostRequestAllocs is how many allocations a request may cost, both ends together.
const mostRequestAllocs = 2

// A request costs the two ends' stream states and little else.
func TestAllocationsRequest(t *testing.T) {
	l := newWireLink(t)
	question, answer, buf := make([]byte, 64), make([]byte, 1024), make([]byte, 4096)
	for range 500 {
		l.request(question, answer, buf)
	}
	if allocs := testing.AllocsPerRun(300, func() { l.request(question, answer, buf) }); allocs > mostRequestAllocs {
		t.Errorf("%v allocations for a request, want at most %d", allocs, mostRequestAllocs)
	}
	l.tick(time.Second)
	l.pass(l.client, l.server)
	l.pass(l.server, l.client)
	if n := l.client.conn.Streams() + l.server.conn.Streams(); n > 1 {
		t.Errorf("%d streams left", n)
	}
}

// A packet that is dropped costs no memory, at whatever step it is found out.
func TestAllocationsDropped(t *testing.T) {
	l := newWireLink(t)
	l.client.conn.Ping()
	l.client.batch.Reset()
	l.client.conn.Transmit(l.now, l.client.batch)
	good := l.client.batch.Segment(0)
	b := make([]byte, len(good))
	for name, spoil := range map[string]func(){
		"duplicate":      func() {},
		"forged":         func() { b[len(b)-1] ^= 1 },
		"phase bit":      func() { b[0] ^= 4 },
		"too short":      func() { b = b[:12] },
		"long header":    func() { b[0] |= 0x80 },
		"another's ID":   func() { b[3] ^= 1 },
		"no fixed bit":   func() { b[0] &^= 0x40 },
		"stateless-like": func() { clear(b[9:]) },
	} {
		allocs := testing.AllocsPerRun(100, func() {
			b = b[:len(good)]
			copy(b, good)
			spoil()
			l.train = append(l.train[:0], dgram.Datagram{Data: b, Path: dgram.Path{Local: l.server.addr, Remote: l.client.addr}})
			l.server.conn.ReceiveTrain(l.now, l.train)
			l.drain(l.server)
		})
		if allocs > 0 {
			t.Errorf("%s: %v allocations for a dropped packet", name, allocs)
		}
	}
}

// BenchmarkRequest is a fresh bidirectional stream with a request of 64 bytes
// and an answer of 1 KiB: the cost of both ends without system calls.
func BenchmarkRequest(b *testing.B) {
	l := newWireLink(b)
	question, answer, buf := make([]byte, 64), make([]byte, 1024), make([]byte, 4096)
	for range 100 {
		l.request(question, answer, buf)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.request(question, answer, buf)
	}
}

// A request costs three datagrams: question, answer, and the acknowledgment of
// both, which now and then carries what else is to be said.
func TestPacketsRequest(t *testing.T) {
	l := newWireLink(t)
	question, answer, buf := make([]byte, 64), make([]byte, 1024), make([]byte, 4096)
	for range 100 {
		l.request(question, answer, buf)
	}
	l.packets = 0
	for range 1000 {
		l.request(question, answer, buf)
	}
	if l.packets > 3*1000 {
		t.Errorf("%d datagrams for 1000 requests, want at most 3 each", l.packets)
	}
}

// One ACK answers at least two packets of bulk data.
func TestPacketsBulk(t *testing.T) {
	l := newWireLink(t)
	out := l.client.conn.OpenStream(l.now, false)
	chunk, buf := make([]byte, 64<<10), make([]byte, 64<<10)
	if _, err := l.client.conn.Write(out, chunk[:1]); err != nil {
		t.Fatal(err)
	}
	l.pass(l.client, l.server)
	in := l.opened()
	before, acks := l.client.conn.Stats(), l.server.conn.Stats().DatagramsSent
	for range 100 {
		l.bulk(out, in, chunk, buf)
	}
	after := l.client.conn.Stats()
	data := after.DatagramsSent - before.DatagramsSent
	acks = l.server.conn.Stats().DatagramsSent - acks
	if full := uint64(100 * len(chunk) / 1400); data > full*11/10 {
		t.Errorf("%d datagrams for what fits %d", data, full)
	}
	if 2*acks > data+data/10 {
		t.Errorf("%d datagrams back for %d", acks, data)
	}
	if after.StreamBytesResent != before.StreamBytesResent || after.PTOs != before.PTOs {
		t.Errorf("bytes resent on a perfect link: %d, %d probe timeouts", after.StreamBytesResent, after.PTOs)
	}
}
