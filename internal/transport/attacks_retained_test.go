package transport

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// hoarder is a peer that asks for a body without an end, has credit for all of it, and does not acknowledge one byte.
type hoarder struct {
	*testConn
	stream  *Stream
	hole    int64      // the byte; -1 for none
	arrived ranges.Set // bytes of the stream
	fin     bool
	copies  int   // of the hole's byte that came
	widest  int   // window that there was
	most    int64 // bytes that were retained at once
}

func newHoarder(t *testing.T, options ...any) *hoarder {
	tc := newTestConn(t, append(options, serverSide, func(p *wire.Parameters) {
		p.MaxData, p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = 1<<62-1, 1<<62-1, 1<<62-1, 1<<62-1
	})...)
	return &hoarder{testConn: tc, stream: tc.accept(0, "GET /")}
}

// round lets the program write what it may, and the peer acknowledge what came, but for the hole.
func (h *hoarder) round(writes bool) {
	h.Helper()
	page := make([]byte, 64<<10)
	for writes {
		n, err := h.conn.Write(h.stream, page)
		must(err)
		if n == 0 {
			break
		}
		h.pump()
	}
	h.pump()
	if at := h.conn.Deadline(); at <= h.now {
		h.Fatalf("a deadline of %v at %v, with nothing to do", at, h.now)
	}
	if s := &h.conn.streams; s.retained > s.retainable()+4*32 { // and a few ranges more
		h.Fatalf("%d bytes of streams were sent and are retained, with a bound of %d", s.retained, s.retainable())
	}
	h.widest = max(h.widest, h.conn.loss.Window())
	h.most = max(h.most, h.stream.Buffered())
	var pns []int64
	for _, p := range h.out {
		if h.takes(&p) {
			pns = append(pns, p.pn)
		}
	}
	h.out, h.datagrams, h.events = nil, nil, nil
	h.advance(10 * time.Millisecond)
	if len(pns) > 0 {
		h.write(wire.OneRTT, ackOf(pns...))
	}
}

// takes reports whether the peer acknowledges a packet, and notes what of the stream it brings.
func (h *hoarder) takes(p *sentPacket) bool {
	h.Helper()
	var came ranges.Set
	for _, f := range p.frames {
		switch f := f.(type) {
		case wire.DataBlocked, wire.StreamDataBlocked:
			h.Fatalf("%v, with credit without an end", f)
		case wire.Stream:
			end := f.Offset + int64(len(f.Data))
			if f.ID == h.stream.ID() && f.Offset <= h.hole && h.hole < end {
				h.copies++
				return false
			}
			came.Add(f.Offset, end)
			h.fin = h.fin || f.Fin
		}
	}
	for _, r := range came {
		h.arrived.Add(r.Start, r.End)
	}
	return true
}

// repents lets the peer take the hole, and says that all that was written arrives then.
func (h *hoarder) repents() {
	h.Helper()
	h.hole = -1
	before := h.stream.send.Offset()
	for range 100 {
		h.round(true)
	}
	if sent := h.stream.send.Offset() - before; sent < 1<<20 {
		h.Errorf("%d bytes were sent once the hole was acknowledged", sent)
	}
	must(h.conn.CloseWrite(h.stream))
	for range 200 {
		h.round(false)
	}
	if n := h.stream.send.Offset(); !h.fin || !h.arrived.Covers(0, n) || !h.stream.send.Done() || h.stream.Buffered() != 0 {
		h.Errorf("%v of %d bytes arrived, FIN %v, %d retained", h.arrived, n, h.fin, h.stream.Buffered())
	}
}

// A peer that acknowledges all but the first bytes of what it asks for, and every copy of these, makes a program that
// writes without end retain what the bound allows, and no more. Nothing is lost by that.
func TestS13HoleWithheld(t *testing.T) {
	besiege(t, 0)
	least, windows := int64(limits.Bound(t, "send-retained")), int64(limits.Bound(t, "send-retained-windows"))
	const unsent = 64 << 10 // that Write takes at once
	t.Run("small", func(t *testing.T) {
		h := newHoarder(t)
		for range 2000 {
			h.round(true)
		}
		if int64(h.widest)*windows > least {
			t.Fatalf("a window of %d", h.widest)
		}
		if h.most > least+unsent || h.most < least {
			t.Errorf("%d bytes were retained, want from %d to %d more", h.most, least, unsent)
		}
		h.repents()
		h.abandon()
	})
	t.Run("wide", func(t *testing.T) {
		h := newHoarder(t)
		for h.hole = -1; int64(h.conn.loss.Window()) < least/2; {
			h.round(true)
		}
		h.hole, h.most = h.stream.send.Offset(), 0
		for range 4000 {
			h.round(true)
		}
		if most := windows * int64(h.widest); h.most > most+unsent || h.most < most/2 {
			t.Errorf("%d bytes were retained, want %d windows of %d at most", h.most, windows, h.widest)
		}
		h.repents()
		h.abandon()
	})
}

// A peer that raises the limits of a hundred streams by a byte each, again and again, and acknowledges the oldest packet
// alone, makes us send frames of a byte. What we remember of them is bounded by the window like their bytes, whatever
// the packets are like, and all goes on once they are acknowledged.
func TestS13RecordsWithheld(t *testing.T) {
	besiege(t, 0)
	const many, wide = 100, 256 << 10
	for name, each := range map[string]int{"a packet for all": many, "a packet for each": 1} {
		t.Run(name, func(t *testing.T) {
			tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1<<62-1, 0 })
			h := &hoarder{testConn: tc, stream: tc.accept(0, "GET /"), hole: -1}
			h.write(wire.OneRTT, wire.MaxStreamData{ID: 0, Max: 1 << 40})
			for h.conn.loss.Window() < wide {
				h.round(true)
			}
			for h.conn.loss.InFlight() > 0 || h.stream.Buffered() > 0 {
				h.round(false)
			}
			var streams []*Stream
			for n := int64(1); n < many; n++ {
				st := h.accept(clientSide.streamID(bidi, n), "GET /")
				h.send(st, strings.Repeat("x", 4<<10))
				streams = append(streams, st)
			}
			h.ack(wire.OneRTT)
			h.clear()
			most := int64(0)
			for n, before := 0, uint64(0); ; n++ {
				h.rises(streams, n, each)
				most = max(most, siege.Retained(&h.conn.loss))
				if now := h.conn.stats.streamBytesSent; now == before {
					break
				} else if before = now; n > 10_000 {
					t.Fatalf("%d bytes in flight of a window of %d", h.conn.loss.InFlight(), h.conn.loss.Window())
				}
			}
			if bound := int64(2*h.conn.loss.Window() + 128<<10); most > bound || most < bound/4 {
				t.Errorf("%d bytes of records, with a window of %d", most, h.conn.loss.Window())
			}
			h.ack(wire.OneRTT)
			before := h.conn.stats.streamBytesSent
			h.rises(streams, 10_000, each)
			if h.conn.stats.streamBytesSent == before || h.closed != nil {
				t.Errorf("nothing is sent when all is acknowledged; closed %+v", h.closed)
			}
			h.abandon()
		})
	}
}

// rises raises the limits of streams by a byte, ten times, those of so many in a packet, and acknowledges the oldest packet that came.
func (h *hoarder) rises(streams []*Stream, n, each int) {
	h.Helper()
	for i := range 10 {
		for some := range slices.Chunk(streams, each) {
			var frames []wire.Frame
			for _, st := range some {
				frames = append(frames, wire.MaxStreamData{ID: st.ID(), Max: int64(10*n + i + 1)})
			}
			h.write(wire.OneRTT, frames...)
		}
	}
	h.advance(time.Millisecond / 2)
	if len(h.out) > 0 {
		h.write(wire.OneRTT, ackOf(h.out[0].pn))
		h.out = h.out[1:]
	}
}

// Probes do not get around that: a peer that acknowledges an old packet which asked for nothing, before each, keeps
// their timer short, and has raised all limits by a byte.
func TestS13RecordsProbed(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1<<62-1, 0 })
	h := &hoarder{testConn: tc, stream: tc.accept(0, "GET /"), hole: -1}
	h.write(wire.OneRTT, wire.MaxStreamData{ID: 0, Max: 1 << 40})
	for range 2 {
		h.round(true)
	}
	for h.conn.loss.InFlight() > 0 || h.stream.Buffered() > 0 {
		h.round(false)
	}
	var streams []*Stream
	for n := int64(1); n < 100; n++ {
		st := h.accept(clientSide.streamID(bidi, n), "GET /")
		h.send(st, strings.Repeat("x", 8<<10))
		streams = append(streams, st)
	}
	h.ack(wire.OneRTT)
	h.clear()
	for range 900 {
		h.write(wire.OneRTT, wire.Ping{})
	}
	h.pump()
	var quiet []int64
	for _, p := range h.out {
		if !slices.ContainsFunc(p.frames, func(f wire.Frame) bool { _, ok := f.(wire.Ack); return !ok }) {
			quiet = append(quiet, p.pn)
		}
	}
	h.clear()
	raised := int64(0)
	raise := func(more ...wire.Frame) {
		raised++
		for _, st := range streams {
			more = append(more, wire.MaxStreamData{ID: st.ID(), Max: raised})
		}
		h.write(wire.OneRTT, more...)
	}
	for range 100 {
		raise()
	}
	if len(quiet) < 400 || !h.conn.loss.Crowded() {
		t.Fatalf("%d quiet packets; records: %d bytes", len(quiet), siege.Retained(&h.conn.loss))
	}
	for _, pn := range quiet {
		for before := h.conn.loss.Stats().PTOs; h.conn.loss.Stats().PTOs == before; {
			h.advanceToTimer()
		}
		raise(ackOf(pn))
		h.clear()
	}
	if n, bound := siege.Retained(&h.conn.loss), int64(4*(64<<10)+64<<10); n > bound || n < bound/4 {
		t.Errorf("%d bytes of records, with a window of %d", n, h.conn.loss.Window())
	}
	h.abandon()
}
