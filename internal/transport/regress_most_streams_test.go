package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Who allows as many streams as there can be has no limit to raise (RFC 9000 §4.6), and says
// nothing of it, however many streams have ended.
func TestMostStreamsAreNotRaised(t *testing.T) {
	tc := newTestConn(t, serverSide, func(c *Config) { c.Params.MaxStreamsBidi, c.Params.MaxStreamsUni = 1<<60, 1<<60 })
	raised := 0
	for n := range int64(50) {
		id := clientSide.streamID(bidi, n)
		st := tc.accept(id, "x")
		tc.write(wire.OneRTT, wire.Stream{ID: id, Offset: 1, Fin: true, HasLen: true})
		_, _ = tc.read(st)
		tc.send(st, "answer")
		must(tc.conn.CloseWrite(st))
		tc.conn.Ping() // what a raised limit would ride along with
		tc.pump()
		tc.ack(wire.OneRTT)
		for _, p := range tc.out {
			for _, f := range p.frames {
				if _, ok := f.(wire.MaxStreams); ok {
					raised++
				}
			}
		}
		tc.clear()
	}
	if done := tc.conn.streams.peerDone[kind(bidi)]; done == 0 {
		t.Error("no stream is over")
	}
	if raised > 0 {
		t.Errorf("%d MAX_STREAMS frames", raised)
	}
	tc.abandon()
}
