package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// BenchmarkBulk moves one-way stream data from Conn to Conn in memory: the cost
// of everything but system calls, for both ends.
func BenchmarkBulk(b *testing.B) {
	p := newPair(b, nil)
	p.handshake()
	p.transfer(4 << 20) // discovery done, windows grown
	cs := p.client.conn.OpenStream(p.now, false)
	var ss *Stream
	chunk := make([]byte, 64<<10)
	buf := make([]byte, 64<<10)
	datagrams := make([]dgram.Datagram, 0, 64)
	pass := func(from, to *node) {
		for from.conn.Transmit(p.now, from.batch) {
			datagrams = datagrams[:0]
			for i := 0; i < from.batch.Count(); i++ {
				datagrams = append(datagrams, dgram.Datagram{Data: from.batch.Segment(i), Path: dgram.Path{Local: to.addr, Remote: from.addr}})
			}
			to.conn.ReceiveTrain(p.now, datagrams)
			for {
				e, ok := to.conn.Next()
				if !ok {
					break
				}
				if e.Kind == EventStream {
					ss = e.Stream
				}
			}
			from.batch.Reset()
		}
		for {
			if _, ok := from.conn.Next(); !ok {
				break
			}
		}
		from.batch.Reset()
	}
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		for out := chunk; len(out) > 0; {
			n, err := p.client.conn.Write(cs, out)
			if err != nil {
				b.Fatal(err)
			}
			out = out[n:]
			p.now += 50_000
			for _, n := range []*node{p.client, p.server} {
				if n.conn.Deadline() <= p.now {
					n.conn.Advance(p.now)
				}
			}
			pass(p.client, p.server)
			for ss != nil {
				if n, _ := p.server.conn.Read(p.now, ss, buf); n == 0 {
					break
				}
			}
			pass(p.server, p.client)
		}
	}
}
