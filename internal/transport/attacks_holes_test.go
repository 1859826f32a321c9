package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// teaser is a peer that has a stream send a byte in each packet, and acknowledges those packets that it chooses.
type teaser struct {
	*testConn
	stream  *Stream
	credit  int64
	arrived ranges.Set // bytes of the stream
}

// newTeaser lets the window grow, by a download that is acknowledged whole.
func newTeaser(t *testing.T, window int) *teaser {
	tc := newTestConn(t, serverSide, func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1<<62-1, 0 })
	s := &teaser{testConn: tc, stream: tc.accept(0, "GET /")}
	page := make([]byte, 64<<10)
	for rounds := 0; tc.conn.loss.Window() < window; rounds++ {
		if rounds > 500 {
			t.Fatalf("a window of %d", tc.conn.loss.Window())
		}
		for n := 1; n > 0; {
			var err error
			n, err = tc.conn.Write(s.stream, page)
			must(err)
			s.grant(int64(n))
		}
		s.round(func([]wire.Stream) bool { return true })
	}
	for n := 0; s.stream.Buffered() > 0; n++ {
		if n > 500 {
			t.Fatalf("%d bytes are not acknowledged", s.stream.Buffered())
		}
		s.round(func([]wire.Stream) bool { return true })
	}
	_, err := tc.conn.Write(s.stream, page)
	must(err)
	return s
}

// grant lets the stream send more.
func (s *teaser) grant(n int64) {
	s.Helper()
	s.credit += n
	s.receiveOnly(wire.MaxStreamData{ID: s.stream.ID(), Max: s.credit})
	s.pump()
}

// ranges returns how many ranges of the stream are remembered as acknowledged, and checks what is counted.
func (s *teaser) ranges() int {
	s.Helper()
	s.checkRetained()
	send := &s.stream.send
	return int(send.Retained()-send.Offset()+send.AckedPrefix()) / 32
}

// round lets the peer acknowledge what came since the last one: packets that bring bytes of the stream only if it takes these. It
// returns all that did.
func (s *teaser) round(takes func(came []wire.Stream) bool) (frames []wire.Stream) {
	s.Helper()
	s.pump()
	out := s.out
	s.out, s.datagrams, s.events = nil, nil, nil
	s.advance(time.Millisecond)
	var pns []int64
	for _, p := range out {
		var came []wire.Stream
		for _, f := range p.frames {
			if f, ok := f.(wire.Stream); ok && f.ID == s.stream.ID() {
				came = append(came, f)
			}
		}
		frames = append(frames, came...)
		if len(came) > 0 && !takes(came) {
			continue
		}
		for _, f := range came {
			s.arrived.Add(f.Offset, f.Offset+int64(len(f.Data)))
		}
		if pns = append(pns, p.pn); len(pns) == 100 {
			s.receiveOnly(ackOf(pns...))
			pns = nil
		}
	}
	if len(pns) > 0 {
		s.receiveOnly(ackOf(pns...))
	}
	return frames
}

// repents lets the peer take all, and says that everything arrives then. It returns how many frames that takes.
func (s *teaser) repents() (frames int) {
	s.Helper()
	must(s.conn.CloseWrite(s.stream))
	s.grant(1 << 20)
	for rounds := 0; !s.stream.send.Done(); rounds++ {
		if rounds > 500 {
			s.Fatalf("%d of %d bytes are acknowledged", s.stream.AckedPrefix(), s.stream.send.Offset())
		}
		frames += len(s.round(func([]wire.Stream) bool { return true }))
		s.ranges()
	}
	if n := s.stream.send.Offset(); !s.arrived.Covers(0, n) || s.stream.Buffered() != 0 {
		s.Errorf("%d of %d bytes arrived, %d are retained", s.arrived.Size(), n, s.stream.Buffered())
	}
	return frames
}

// A peer that has a stream send a byte in each packet, and acknowledges every second one of these packets, but no copy of the others, has this
// end remember no more ranges than the bound, and send as few frames again. All arrives once everything is acknowledged.
func TestS10HolesByTheByte(t *testing.T) {
	besiege(t, 0)
	most := limits.Bound(t, "send-holes")
	s := newTeaser(t, 16*most*64)
	from := s.stream.send.AckedPrefix()
	for range 4 * most {
		s.grant(1)
	}
	sent := s.round(func(came []wire.Stream) bool { return (came[0].Offset-from)%2 == 1 })
	if len(sent) != 4*most {
		t.Fatalf("%d frames in the first round", len(sent))
	}
	for range 100 {
		if n := s.ranges(); n > most || n < most-1 {
			t.Fatalf("%d ranges are remembered", n)
		}
		for range 3 { // so that what went before them is lost
			s.conn.Ping()
			s.pump()
		}
		if n := len(s.round(func([]wire.Stream) bool { return false })); n > most+1+64 {
			t.Fatalf("%d frames in a round", n)
		}
	}
	s.wantOpen("all of it legal")
	if n := s.repents(); n > 2*(most+64) {
		t.Errorf("%d frames until all has arrived", n)
	}
	s.abandon()
}

// What arrived and is forgotten goes again, though nothing is lost with it.
func TestHolesGoAgain(t *testing.T) {
	s := newTeaser(t, 128<<10)
	s.grant(3 * maxRetained)
	from, sent := s.stream.send.AckedPrefix(), s.stream.send.Offset()
	s.out, s.datagrams, s.events = nil, nil, nil
	acked := int64(1)
	for ; s.ranges() == int(acked/2); acked += 2 {
		if from+acked >= sent {
			t.Fatalf("%d ranges are remembered", s.ranges())
		}
		s.wantIdle("nothing is lost")
		s.conn.settleStream(s.now, s.stream, 0, &recovery.Frame{Kind: sentStream, ID: s.stream.ID(), Off: from + acked, Len: 1}, true)
	}
	s.want("the last but one", wire.OneRTT, wire.Stream{ID: s.stream.ID(), Offset: from + acked - 4, Data: make([]byte, 1), HasLen: true})
	s.wantIdle("and no more")
	s.abandon()
}
