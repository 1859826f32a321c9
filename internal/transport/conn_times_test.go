package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A stream with one piece and one acknowledgement has no histograms in memory, and still
// tells its piece.
func TestShortStreamHasNoHistograms(t *testing.T) {
	s := new(Stream)
	if n := testing.AllocsPerRun(100, func() {
		*s = Stream{}
		s.received(5, 64)
		s.dataAcked(9, 1)
	}); n != 0 || s.clocks.hists != nil {
		t.Errorf("%v allocations, %v", n, s.clocks.hists)
	}
	sizes, rate, acks := s.Times(StreamSizes), s.Times(StreamRate), s.Times(StreamAcks)
	if sizes.Count() != 1 || sizes.Max() != 64 || rate.Count() != 0 || acks.Count() != 0 {
		t.Errorf("%d, %d, %d values", sizes.Count(), rate.Count(), acks.Count())
	}
	s.ResetTimes(StreamSizes)
	if sizes = s.Times(StreamSizes); sizes.Count() != 0 {
		t.Errorf("%d values after a reset", sizes.Count())
	}
}

// What comes at an instant is one piece, to a limit.
func TestPieces(t *testing.T) {
	s := new(Stream)
	for range maxPieceFrames {
		s.received(1000, 10)
	}
	if sizes := s.Times(StreamSizes); sizes.Count() != 1 || sizes.Max() != 10*maxPieceFrames {
		t.Errorf("%d pieces to %d bytes", sizes.Count(), sizes.Max())
	}
	s.received(1000, 7)
	s.received(3000, 8)
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

// An ACK for each of two packet number spaces counts as two, also in one datagram; two
// packets in one ACK as one.
func TestHandshakeAcks(t *testing.T) {
	var x connTimes
	x.init()
	x.settles = 1
	x.cryptoAcked(100, recovery.Initial)
	x.cryptoAcked(100, recovery.Initial)
	x.cryptoAcked(100, recovery.App)
	if n := x.hists[HandshakeAcks].Count(); n != 0 {
		t.Errorf("%d times after one ACK", n)
	}
	x.cryptoAcked(100, recovery.Handshake)
	x.settles++
	x.cryptoAcked(mono.Time(100+time.Second), recovery.Handshake)
	h := &x.hists[HandshakeAcks]
	if h.Count() != 2 || h.Min() != 1 || h.Max() != int64(time.Second) {
		t.Errorf("%d times, %d to %d", h.Count(), h.Min(), h.Max())
	}
}
