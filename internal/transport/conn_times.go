package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/histogram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
)

// HandshakeTimes says which histogram of a connection is meant.
type HandshakeTimes uint8

const (
	HandshakeAcks   HandshakeTimes = iota // ns between acknowledgements of our handshake data
	HandshakePieces                       // ns between datagrams with handshake data of the peer's
	handshakeTimes
)

// StreamTimes says which histogram of a stream is meant.
type StreamTimes uint8

const (
	StreamAcks  StreamTimes = iota // ns between acknowledgements of the stream's data
	StreamRate                     // ns between received pieces of it
	StreamSizes                    // bytes of these pieces
	streamTimes
)

// connTimes is what a connection's histograms are made from. The first call of each clock
// starts it.
type connTimes struct {
	hists   [handshakeTimes]histogram.Histogram
	room    [handshakeTimes][4]int64 // enough for most handshakes
	clocks  [handshakeTimes]mono.Time
	rounds  [handshakeTimes]uint64 // what the clock was last called for; 0 before that
	settles uint32                 // calls of settle: each is for one datagram at most
}

func (s *connTimes) init() {
	for i := range s.hists {
		s.hists[i].Keep(s.room[i][:])
	}
}

// note takes the time since the last round, if this is another one.
func (s *connTimes) note(k HandshakeTimes, now mono.Time, round uint64) {
	if s.rounds[k] == round {
		return
	}
	if s.rounds[k] != 0 {
		s.hists[k].Record(uint64(max(now.Sub(s.clocks[k]), 0)))
	}
	s.rounds[k], s.clocks[k] = round, now
}

// cryptoAcked notes that an ACK of a packet number space has covered handshake data.
func (s *connTimes) cryptoAcked(now mono.Time, sp recovery.Space) {
	if sp != recovery.App {
		s.note(HandshakeAcks, now, uint64(s.settles)<<1|uint64(sp))
	}
}

// HandshakeTimes returns one of the connection's histograms. It is the connection's own.
func (c *Conn) HandshakeTimes(k HandshakeTimes) *histogram.Histogram { return &c.times.hists[k] }

// A stream's pieces end with the instant that they came in, or with so many frames: what a
// system call brings is one piece, which is about what a program gets to see, and bulk data
// does not pay for each packet.
const maxPieceFrames = 16

// streamClocks is what a stream's histograms are made from. Those come into being
// with the second event of a kind, so that a short stream has none.
type streamClocks struct {
	pieceAt mono.Time
	ackAt   mono.Time
	hists   *[streamTimes]histogram.Histogram
	piece   int32  // bytes of the piece that pieceAt belongs to; it is not in hists
	ackIn   uint32 // the settle that ackAt is of; 0 before that
}

func (s *Stream) times() *[streamTimes]histogram.Histogram {
	if s.clocks.hists == nil {
		s.clocks.hists = new([streamTimes]histogram.Histogram)
	}
	return s.clocks.hists
}

// received notes new bytes of the stream.
func (s *Stream) received(now mono.Time, n int64) {
	if n == 0 {
		return
	}
	k := &s.clocks
	if s.pieceFrames > 0 {
		if k.pieceAt == now && s.pieceFrames < maxPieceFrames {
			s.pieceFrames++
			k.piece += int32(n)
			return
		}
		h := s.times()
		if k.piece > 0 {
			h[StreamSizes].Record(uint64(k.piece))
		}
		h[StreamRate].Record(uint64(max(now.Sub(k.pieceAt), 0)))
	}
	s.pieceFrames, k.pieceAt, k.piece = 1, now, int32(n)
}

// dataAcked notes that an ACK has covered data of the stream.
func (s *Stream) dataAcked(now mono.Time, settle uint32) {
	k := &s.clocks
	if k.ackIn == settle {
		return
	}
	if k.ackIn != 0 {
		s.times()[StreamAcks].Record(uint64(max(now.Sub(k.ackAt), 0)))
	}
	k.ackIn, k.ackAt = settle, now
}

// Times returns a copy of one of the stream's histograms.
func (s *Stream) Times(k StreamTimes) histogram.Histogram {
	var h histogram.Histogram
	if s.clocks.hists != nil {
		h = s.clocks.hists[k].Clone()
	}
	if k == StreamSizes && s.clocks.piece > 0 {
		h.Record(uint64(s.clocks.piece))
	}
	return h
}

// ResetTimes empties one of the stream's histograms. Its clock goes on.
func (s *Stream) ResetTimes(k StreamTimes) {
	if s.clocks.hists != nil {
		s.clocks.hists[k].Reset()
	}
	if k == StreamSizes {
		s.clocks.piece = 0
	}
}
