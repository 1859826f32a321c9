package transport

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// letterFrame returns what a peer may say of a stream that it has opened, by a letter: four bytes, the end behind
// them, a reset of as many, STOP_SENDING in two ways, and credit.
func letterFrame(id int64, letter rune) wire.Frame {
	switch letter {
	case 'd':
		return data(id, 0, 4, false)
	case 'f':
		return data(id, 4, 0, true)
	case 'r':
		return wire.ResetStream{ID: id, Code: 2, FinalSize: 4}
	case 's':
		return wire.StopSending{ID: id, Code: 1}
	case 't':
		return wire.StopSending{ID: id, Code: 9}
	case 'm':
		return wire.MaxStreamData{ID: id, Max: 1 << 20}
	}
	panic("BUG: no such letter")
}

// ordersOf returns all orders of the letters of a word.
func ordersOf(word string) (list []string) {
	if word == "" {
		return []string{""}
	}
	for i, c := range word {
		for _, rest := range ordersOf(word[:i] + word[i+1:]) {
			list = append(list, string(c)+rest)
		}
	}
	return list
}

// played is one order of frames about a stream, with what RFC 9000 §3 makes of it.
type played struct {
	tc             *testConn
	id             int64
	st             *Stream
	order          string
	writes, reads  bool // the application does, after every packet
	stop           uint64
	recv           stream.RecvState
	data           bool   // has come
	want, got      string // that the application reads
	wantEnd, ended error
}

// takes moves the model: figures 2 and 3 of RFC 9000.
func (p *played) takes(letter rune) {
	switch letter {
	case 's', 't':
		if p.stop == 0 {
			p.stop = letterFrame(p.id, letter).(wire.StopSending).Code
		}
	case 'd':
		p.data = p.data || p.recv == stream.RecvRecv || p.recv == stream.RecvSizeKnown
	case 'f':
		if p.recv == stream.RecvRecv {
			p.recv = stream.RecvSizeKnown
		}
	case 'r':
		if p.recv == stream.RecvRecv || p.recv == stream.RecvSizeKnown {
			p.recv = stream.RecvResetRecvd
		}
	}
	if p.recv == stream.RecvSizeKnown && p.data {
		if p.recv = stream.RecvDataRecvd; p.got != "" {
			p.recv = stream.RecvDataRead
		}
	}
}

// uses lets the application write and read as it does, and the model with it.
func (p *played) uses(writes, reads bool) {
	if writes {
		_, err := p.tc.conn.Write(p.st, []byte("hello"))
		p.wantStopped("Write", err)
	}
	if !reads || p.ended != nil {
		return
	}
	if p.data && p.want == "" && p.recv != stream.RecvResetRecvd {
		p.want = "dddd"
	}
	switch p.recv {
	case stream.RecvDataRecvd, stream.RecvDataRead:
		p.recv, p.wantEnd = stream.RecvDataRead, io.EOF
	case stream.RecvResetRecvd:
		p.recv, p.wantEnd = stream.RecvResetRead, &StreamError{Code: 2, Remote: true}
	}
	got, err := p.tc.read(p.st)
	if p.got += got; err == nil && got != "" {
		got, err = p.tc.read(p.st)
		p.got += got
	}
	p.ended = err
	if p.got != p.want || fmt.Sprint(err) != fmt.Sprint(p.wantEnd) {
		p.tc.Fatalf("%v: read %q, %v, want %q, %v", p, p.got, err, p.want, p.wantEnd)
	}
}

// wantStopped says that a write has the error of STOP_SENDING from the first one on.
func (p *played) wantStopped(what string, err error) {
	var e *StreamError
	if stopped := errors.As(err, &e); stopped != (p.stop != 0) || stopped && (e.Code != p.stop || !e.Remote) || !stopped && err != nil {
		p.tc.Fatalf("%v: %s: %v, want that of STOP_SENDING with %d", p, what, err, p.stop)
	}
}

// String returns what is played.
func (p *played) String() string {
	return fmt.Sprintf("order %s, writing %t, reading %t", p.order, p.writes, p.reads)
}

// play says it all in one packet, or in one each, and looks at both halves after every packet.
func (p *played) play(together bool) {
	packets := strings.Split(p.order, "")
	if together {
		packets = []string{p.order}
	}
	p.recv = stream.RecvRecv
	for _, letters := range packets {
		var frames []wire.Frame
		for _, letter := range letters {
			frames = append(frames, letterFrame(p.id, letter))
			p.takes(letter)
		}
		p.tc.write(wire.OneRTT, frames...)
		p.tc.wantOpen(p.String())
		if p.st == nil {
			p.st = p.tc.wantEvent("the first frame opens it", EventStream).Stream
		}
		p.states()
		p.uses(p.writes, p.reads)
		p.states()
	}
	p.uses(true, true)
	p.ends()
}

// states holds the halves against the model.
func (p *played) states() {
	p.tc.pump()
	if got := p.st.recv.State(); got != p.recv {
		p.tc.Fatalf("%v: the receiving half is in %v, want %v", p, got, p.recv)
	}
	if got := p.st.send.State(); (got == stream.SendResetSent) != (p.stop != 0) {
		p.tc.Fatalf("%v: the sending half is in %v, stopped with %d", p, got, p.stop)
	}
}

// ends looks at all that was said, lets the peer acknowledge it, and wants the stream to be gone.
func (p *played) ends() {
	sent, resets := int64(0), 0
	p.tc.pump()
	for i := range p.tc.out {
		for _, f := range p.tc.out[i].frames {
			switch f := f.(type) {
			case wire.Stream:
				if sent = max(sent, f.Offset+int64(len(f.Data))); resets > 0 {
					p.tc.Fatalf("%v: %v after a reset", p, f)
				}
			case wire.ResetStream:
				if resets++; f != (wire.ResetStream{ID: p.id, Code: p.stop, FinalSize: sent}) {
					p.tc.Fatalf("%v: %v after %d bytes, stopped with %d", p, f, sent, p.stop)
				}
			}
		}
	}
	if resets != 1 || p.recv != stream.RecvDataRead && p.recv != stream.RecvResetRead {
		p.tc.Fatalf("%v: %d resets, and the receiving half ends in %v", p, resets, p.recv)
	}
	p.tc.ack(wire.OneRTT)
	if got, n := p.st.send.State(), p.tc.conn.Streams(); got != stream.SendResetRecvd || n != 0 {
		p.tc.Fatalf("%v: the sending half ends in %v, %d streams are left", p, got, n)
	}
}

// All that a peer can say of a stream, in every order, in one packet and in one each, while the application writes and reads or
// does not: the connection stays, and each half goes the way of RFC 9000 §3.
func TestS42EveryOrder(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, func(c *Config) { c.Params.MaxStreamsBidi = 1 << 20 },
			func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1<<40, 3 })
		tc.ignore(wire.FrameMaxData, wire.FrameMaxStreamsBidi)
		n := int64(0)
		for _, order := range ordersOf("dfrstm") {
			for mode := range 8 {
				p := &played{tc: tc, id: (!s).streamID(bidi, n), order: order, writes: mode&1 != 0, reads: mode&2 != 0}
				p.play(mode&4 != 0)
				n++
				tc.advance(50 * time.Millisecond) // so that it is no flood
				tc.out, tc.datagrams, tc.events = nil, nil, nil
				tc.peer.got[recovery.App].DropFirst(1)
			}
		}
		tc.abandon()
	})
}

// A reset that says another size than the data does ends the connection, whichever comes first (RFC 9000 §4.5).
func TestS42FinalSizes(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		for _, size := range []int64{2, 6} {
			for _, order := range ordersOf("dfr") {
				for _, together := range []bool{true, false} {
					tc := newTestConn(t, s)
					id := (!s).streamID(bidi, 0)
					var frames []wire.Frame
					for _, letter := range order {
						f := letterFrame(id, letter)
						if r, ok := f.(wire.ResetStream); ok {
							r.FinalSize = size
							f = r
						}
						frames = append(frames, f)
					}
					if together {
						tc.write(wire.OneRTT, frames...)
					} else {
						for f := range slices.Values(frames) {
							tc.write(wire.OneRTT, f)
						}
					}
					tc.wantClose(fmt.Sprintf("order %s, a reset to %d of 4 bytes", order, size), wire.FinalSizeError)
				}
			}
		}
	})
}

// As many holes as there may be, each of which narrows by a byte with each frame, so that all the frames are of use.
func TestS05NarrowingHoles(t *testing.T) {
	besiege(t, 0)
	const streams, wide, packets = 3, 16, 10 // offsets are short, so that many frames fit a packet
	each := limits.Bound(t, "stream-holes") / packets
	tc := newTestConn(t, serverSide)
	for n := range int64(streams) {
		id := clientSide.streamID(bidi, n)
		for at := range int64(wide - 1) {
			for p := range packets {
				var frames []wire.Frame
				for i := range each {
					frames = append(frames, data(id, int64(wide*(p*each+i))+1+at, 1, false))
				}
				tc.write(wire.OneRTT, frames...)
			}
		}
		st := tc.conn.streams.find(id)
		if got, want := st.recv.Received(), int64(packets*each*(wide-1)); st.recv.Gaps() != packets*each || got != want {
			t.Errorf("%d holes and %d bytes, want %d of them", st.recv.Gaps(), got, want)
		}
	}
	if got := tc.conn.Stats().UselessFrames; got != 0 {
		t.Errorf("%d useless frames", got)
	}
	tc.abandon()
}

// walks counts how often somebody looks at all the streams that wait while a packet comes in: among them stands one that has nothing to
// send, and falls out.
type walks struct {
	*testConn
	idle  *Stream
	count int
}

func newWalks(tc *testConn) *walks {
	w := &walks{testConn: tc, idle: &Stream{canSend: true}}
	w.idle.send.Init(tc.cfg.Pool, 0)
	tc.conn.streams.block(w.idle)
	return w
}

// write is that of the testConn, and counts.
func (w *walks) write(frames ...wire.Frame) {
	w.Helper()
	w.testConn.write(wire.OneRTT, frames...)
	if w.out, w.datagrams = nil, nil; w.idle.queue == queueNone {
		w.count++
		w.conn.streams.block(w.idle)
	}
}

// end takes the stream out that stands among the others.
func (w *walks) end() { w.conn.streams.leave(w.idle) }

// Limits that rise by little, again and again, while a hundred streams wait: each frame is news, but nobody looks at all
// the streams for one that lets none of them go.
func TestS49RisingLimits(t *testing.T) {
	besiege(t, 0)
	const many, rises = 100, 1000
	small := func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1000, 1<<40 }
	t.Run("without credit", func(t *testing.T) {
		tc := newTestConn(t, serverSide, small)
		for n := range int64(many) {
			tc.send(tc.accept(clientSide.streamID(bidi, n), "GET /"), "an answer that is longer than the credit")
		}
		w := newWalks(tc)
		for n := range int64(rises) {
			w.write(wire.MaxStreams{Max: 1000 + n}, wire.MaxStreams{Uni: true, Max: 1000 + n})
		}
		if w.count > 0 {
			t.Errorf("%d walks for %d limits on the number of streams", w.count, rises)
		}
		w.count = 0
		for range rises / many {
			for _, st := range tc.conn.streams.sorted() {
				w.write(wire.MaxStreamData{ID: st.ID(), Max: st.send.Max() + 1})
			}
		}
		if w.count > 0 {
			t.Errorf("%d walks for limits of single streams", w.count)
		}
		w.count = 0
		tc.ack(wire.OneRTT)
		w.write(wire.MaxData{Max: 1001})
		if w.count != 1 || tc.conn.flow.out.Used() != 1001 {
			t.Errorf("%d walks for a byte of credit, %d bytes sent", w.count, tc.conn.flow.out.Used())
		}
		w.end()
		tc.abandon()
	})
	t.Run("retained", func(t *testing.T) {
		tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1<<40, 1<<40 })
		h := &hoarder{testConn: tc, stream: tc.accept(0, "GET /")}
		for n := range int64(many - 1) {
			h.accept(clientSide.streamID(bidi, n+1), "GET /")
		}
		h.fills()
		for _, st := range h.conn.streams.sorted() {
			if st != h.stream {
				h.send(st, "an answer")
			}
		}
		w := newWalks(h.testConn)
		for n := range int64(rises) {
			w.write(wire.MaxData{Max: h.conn.flow.out.Max() + 1}, wire.MaxStreams{Max: 1000 + n})
		}
		if w.count > 0 {
			t.Errorf("%d walks for %d limits on the data of all streams", w.count, rises)
		}
		w.end()
		h.checkRetained()
		h.repents()
		h.abandon()
	})
}
