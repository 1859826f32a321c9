package transport

import (
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Limits that stop data are told once each, to the stream whose data it is.
func TestBlockedNotices(t *testing.T) {
	tc := newTestConn(t, clientSide, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiRemote = 50, 30 })
	one, two := tc.open(bidi), tc.open(bidi)
	tc.send(one, strings.Repeat("x", 30))
	tc.pump()
	tc.wantNoEvent("all may go", EventBlocked)
	tc.send(one, strings.Repeat("x", 200))
	if e := tc.wantEvent("the stream's limit", EventBlocked); e.Stream != one {
		t.Errorf("stream %d is told", e.Stream.ID())
	}
	if !one.Held() || two.Held() {
		t.Errorf("held: %v, %v", one.Held(), two.Held())
	}
	tc.send(one, "x")
	tc.wantNoEvent("the same limit", EventBlocked)
	tc.send(two, strings.Repeat("y", 25))
	if e := tc.wantEvent("the connection's limit", EventBlocked); e.Stream != two || !two.Held() {
		t.Errorf("stream %d is told, held %v", e.Stream.ID(), two.Held())
	}
	tc.write(wire.OneRTT, wire.MaxData{Max: 1 << 20}, wire.MaxStreamData{ID: one.ID(), Max: 1 << 20})
	tc.pump()
	tc.wantNoEvent("both may go on", EventBlocked)
	if one.Held() || two.Held() {
		t.Errorf("held: %v, %v", one.Held(), two.Held())
	}
	tc.clear()
}

// Acknowledged bytes are told as they grow from the start, to those who watch.
func TestAckedNotices(t *testing.T) {
	tc := newTestConn(t, clientSide)
	quiet, watched := tc.open(bidi), tc.open(bidi)
	watched.WatchAcks(true)
	for range 2 {
		tc.send(quiet, "quiet")
		tc.send(watched, "watched")
		tc.clear()
		tc.ack(wire.OneRTT)
		if e := tc.wantEvent("a piece", EventStreamAcked); e.Stream != watched {
			t.Errorf("stream %d is told", e.Stream.ID())
		}
		tc.wantNoEvent("of the other, or twice", EventStreamAcked)
	}
	if n := watched.AckedPrefix(); n != 14 {
		t.Errorf("%d bytes are acknowledged", n)
	}
	must(tc.conn.CloseWrite(quiet))
	tc.clear()
	tc.ack(wire.OneRTT)
	if e := tc.wantEvent("the end", EventStreamAcked); e.Stream != quiet {
		t.Errorf("stream %d is told", e.Stream.ID())
	}
}

// A chunk is taken whole below the high water mark, and otherwise stays the caller's.
func TestWriteChunk(t *testing.T) {
	tc := newTestConn(t, clientSide, func(p *wire.Parameters) { p.MaxStreamDataBidiRemote = 5 })
	st := tc.open(bidi)
	chunk := func(text string) *stream.Chunk {
		c := tc.conn.cfg.Pool.Get(stream.MaxChunk)
		copy(c.Data, text)
		return c
	}
	if ok, err := tc.conn.WriteChunk(st, chunk("hello"), 5); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	tc.want("its bytes", wire.OneRTT, wire.Stream{ID: st.ID(), Data: []byte("hello")})
	if ok, err := tc.conn.WriteChunk(st, chunk(""), stream.MaxChunk); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err) // none of it can be sent
	}
	rest := chunk("more")
	if ok, err := tc.conn.WriteChunk(st, rest, 4); ok || err != nil {
		t.Errorf("above the mark: %v, %v", ok, err)
	}
	if n, err := tc.conn.Write(st, nil); n != 0 || err != nil {
		t.Errorf("an empty write above the mark: %d, %v", n, err)
	}
	tc.conn.Reset(st, 3)
	if ok, err := tc.conn.WriteChunk(st, rest, 4); ok || err == nil {
		t.Errorf("after a reset: %v, %v", ok, err)
	}
	tc.conn.cfg.Pool.Put(rest)
	tc.clear()
}
