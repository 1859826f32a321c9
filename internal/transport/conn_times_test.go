package transport

import (
	"math"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/histogram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A stream with two pieces and two acknowledgements has no histograms in memory, and still
// tells all.
func TestShortStreamHasNoHistograms(t *testing.T) {
	want := func(s *Stream, sizes, rate, acks uint64) {
		t.Helper()
		a, b, c := s.Times(StreamSizes), s.Times(StreamRate), s.Times(StreamAcks)
		if a.Count() != sizes || b.Count() != rate || c.Count() != acks {
			t.Errorf("%d, %d, %d values, want %d, %d, %d", a.Count(), b.Count(), c.Count(), sizes, rate, acks)
		}
	}
	s, pages := new(Stream), shared(0)
	if n := testing.AllocsPerRun(100, func() {
		*s = Stream{}
		s.received(&pages, 5, 64)
		s.dataAcked(&pages, 9, 1)
	}); n != 0 || s.clocks.hists != nil {
		t.Errorf("%v allocations, %v", n, s.clocks.hists)
	}
	want(s, 1, 0, 0)
	if n := testing.AllocsPerRun(100, func() {
		*s = Stream{}
		s.received(&pages, 5, 64)
		s.received(&pages, 25, 1000)
		s.dataAcked(&pages, 9, 1)
		s.dataAcked(&pages, 50, 2)
	}); n != 0 || s.clocks.hists != nil {
		t.Errorf("%v allocations, %v", n, s.clocks.hists)
	}
	want(s, 2, 1, 1)
	sizes, rate, acks := s.Times(StreamSizes), s.Times(StreamRate), s.Times(StreamAcks)
	if sizes.Min() != 64 || sizes.Max() != 1000 || rate.Max() != 20 || acks.Max() != 41 {
		t.Errorf("%d to %d, %d, %d", sizes.Min(), sizes.Max(), rate.Max(), acks.Max())
	}
	new(Conn).ResetTimes(s, StreamRate)
	want(s, 2, 0, 1)
	s.received(&pages, 125, 10)
	want(s, 3, 1, 1)
	s.dataAcked(&pages, 150, 3)
	want(s, 3, 1, 2)
	for _, of := range []StreamTimes{StreamSizes, StreamRate, StreamAcks} {
		new(Conn).ResetTimes(s, of)
	}
	want(s, 0, 0, 0)
	s.received(&pages, 1125, 10)
	if want(s, 1, 1, 0); most(s, StreamRate) != 1000 {
		t.Error("the clock has stopped")
	}

	// What is too large to stand beside the clocks.
	s = new(Stream)
	s.received(&pages, 0, 70_000)
	s.received(&pages, mono.Time(time.Minute), 1)
	s.dataAcked(&pages, 0, 1)
	s.dataAcked(&pages, mono.Time(time.Minute), 2)
	want(s, 2, 1, 1)
	if most(s, StreamSizes) != 70_000 || most(s, StreamRate) != int64(time.Minute) || most(s, StreamAcks) != int64(time.Minute) {
		t.Error("large values are not kept")
	}
}

func most(s *Stream, of StreamTimes) int64 {
	h := s.Times(of)
	return h.Max()
}

// What comes at an instant is one piece, to a limit.
func TestPieces(t *testing.T) {
	s, pages := new(Stream), shared(0)
	for range maxPieceFrames {
		s.received(&pages, 1000, 10)
	}
	if sizes := s.Times(StreamSizes); sizes.Count() != 1 || sizes.Max() != 10*maxPieceFrames {
		t.Errorf("%d pieces to %d bytes", sizes.Count(), sizes.Max())
	}
	s.received(&pages, 1000, 7)
	s.received(&pages, 3000, 8)
	sizes, rate := s.Times(StreamSizes), s.Times(StreamRate)
	if sizes.Count() != 3 || sizes.Min() != 7 || sizes.Max() != 10*maxPieceFrames {
		t.Errorf("%d pieces, %d to %d bytes", sizes.Count(), sizes.Min(), sizes.Max())
	}
	if rate.Count() != 2 || rate.Min() != 1 || rate.Max() != 2000 {
		t.Errorf("%d times, %d to %d", rate.Count(), rate.Min(), rate.Max())
	}
}

// Bytes that come again are no piece, and only those of a frame count that are new.
func TestPiecesCountOnce(t *testing.T) {
	tc := newTestConn(t, serverSide)
	data := make([]byte, 100)
	var st *Stream
	write := func(off int64, n int) {
		tc.advance(time.Millisecond)
		tc.write(wire.OneRTT, wire.Stream{ID: 0, Offset: off, Data: data[:n]})
		if st == nil {
			st = tc.wantEvent("a stream", EventStream).Stream
		}
	}
	for _, x := range []struct {
		off   int64
		n     int
		total int64
	}{{50, 10, 10}, {50, 10, 10}, {55, 10, 15}, {0, 20, 35}, {10, 50, 65}, {0, 65, 65}, {65, 5, 70}} {
		write(x.off, x.n)
		sizes := st.Times(StreamSizes)
		if sum := int64(sizes.Mean()*float64(sizes.Count()) + 0.5); sum != x.total {
			t.Errorf("%d bytes after %d at %d, want %d", sum, x.n, x.off, x.total)
		}
	}
	if sizes := st.Times(StreamSizes); sizes.Count() != 5 {
		t.Errorf("%d pieces", sizes.Count())
	}
}

// The histograms of all streams share what they have beyond the least, whatever the peer does to fill them: with times
// between its pieces of which each needs a page of its own. What a stream has is there for others once it is emptied, or over and taken.
func TestHistogramsOfAllStreams(t *testing.T) {
	tc, most := newTestConn(t, serverSide), limits.Bound(t, "stream-histogram-pages")
	tc.ignore(wire.FrameMaxStreamsUni)
	const many = 20
	var streams []*Stream
	pieces := 0
	say := func(fin bool) {
		tc.Helper()
		var frames []wire.Frame
		for i := range int64(many) {
			frames = append(frames, data(4*i+2, int64(pieces), 1, fin))
		}
		tc.write(wire.OneRTT, frames...)
		pieces++
	}
	check := func(want int) {
		tc.Helper()
		sum := 0
		for _, s := range streams {
			for i := range s.clocks.hists.hists {
				if !s.gone || s.untaken {
					sum += max(s.clocks.hists.hists[i].Pages()-histogram.MinPages, 0)
				}
			}
		}
		if sum != want || int(tc.conn.streams.pages) != want {
			t.Errorf("%d pages of histograms, and %d are counted, want %d", sum, tc.conn.streams.pages, want)
		}
	}
	say(false)
	for range many {
		streams = append(streams, tc.wantEvent("a stream", EventStream).Stream)
		tc.conn.Withhold(streams[len(streams)-1])
	}
	for i := range 80 {
		tc.advance(time.Duration(math.Exp2(20 + float64(i)/8)))
		say(false)
	}
	check(most)
	worst := 0.
	for _, s := range streams {
		h := &s.clocks.hists.hists[StreamRate]
		if h.Count() != 80 || h.Pages() < histogram.MinPages {
			t.Errorf("%d times in %d pages", h.Count(), h.Pages())
		}
		worst = max(worst, h.Precision())
	}
	if worst < 1./64 || worst > 1./8 {
		t.Errorf("the times of some stream are told within %v", worst)
	}

	had := streams[0].clocks.hists.hists[StreamRate].Pages() - histogram.MinPages
	tc.conn.ResetTimes(streams[0], StreamRate)
	check(most - had)
	tc.conn.Take(streams[0])
	tc.conn.Take(streams[1])
	had += streams[1].clocks.hists.hists[StreamRate].Pages() - histogram.MinPages
	say(true)
	for _, s := range streams {
		tc.read(s)
	}
	check(most - had) // the others are over, too, but still held for somebody
	for _, s := range streams {
		tc.conn.Take(s)
		tc.conn.ResetTimes(s, StreamRate)
	}
	check(0)
	tc.clear()
}

// An ACK for each of two packet number spaces counts as two, also in one datagram; two
// packets in one ACK as one.
func TestHandshakeAcks(t *testing.T) {
	var x Conn
	x.settles = 1
	x.cryptoAcked(100, recovery.Initial)
	x.cryptoAcked(100, recovery.Initial)
	x.cryptoAcked(100, recovery.App)
	if n := x.HandshakeTimes(HandshakeAcks).Count(); n != 0 {
		t.Errorf("%d times after one ACK", n)
	}
	x.cryptoAcked(100, recovery.Handshake)
	x.settles++
	x.cryptoAcked(mono.Time(100+time.Second), recovery.Handshake)
	h := x.HandshakeTimes(HandshakeAcks)
	if h.Count() != 2 || h.Min() != 1 || h.Max() != int64(time.Second) {
		t.Errorf("%d times, %d to %d", h.Count(), h.Min(), h.Max())
	}
}
