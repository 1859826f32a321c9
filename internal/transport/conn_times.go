package transport

import (
	"math"
	"time"

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
	kept   *connHists // nil until there is something to keep
	clocks [handshakeTimes]mono.Time
	rounds [handshakeTimes]uint64 // what the clock was last called for; 0 before that
}

type connHists struct {
	hists [handshakeTimes]histogram.Histogram
	room  [handshakeTimes][4]int64 // enough for most handshakes
}

// of returns a histogram, to be recorded in.
func (s *connTimes) of(k HandshakeTimes) *histogram.Histogram {
	if s.kept == nil {
		s.kept = new(connHists)
		for i := range s.kept.hists {
			s.kept.hists[i].Keep(s.kept.room[i][:])
		}
	}
	return &s.kept.hists[k]
}

// note takes the time since the last round, if this is another one.
func (s *connTimes) note(k HandshakeTimes, now mono.Time, round uint64) {
	if s.rounds[k] == round {
		return
	}
	if s.rounds[k] != 0 {
		s.of(k).RecordIn(uint64(max(now.Sub(s.clocks[k]), 0)), maxHandshakePages)
	}
	s.rounds[k], s.clocks[k] = round, now
}

// cryptoAcked notes that an ACK of a packet number space has covered handshake data.
func (c *Conn) cryptoAcked(now mono.Time, sp recovery.Space) {
	if sp != recovery.App {
		c.times.note(HandshakeAcks, now, uint64(c.settles)<<1|uint64(sp))
	}
}

// HandshakeTimes returns one of the connection's histograms. It is the connection's own.
func (c *Conn) HandshakeTimes(k HandshakeTimes) *histogram.Histogram { return c.times.of(k) }

// A stream's pieces end with the instant that they came in, or with so many frames: what a
// system call brings is one piece, which is about what a program gets to see, and bulk data
// does not pay for each packet.
const maxPieceFrames = 16 // no limit: a measure of ours

// streamClocks is what a stream's histograms are made from. Two pieces and two
// acknowledgements stand here, so that a short stream needs no histograms.
type streamClocks struct {
	hists   *streamHists // nil until there is more
	pieceAt mono.Time
	ackAt   mono.Time
	piece   int32  // bytes of the piece that pieceAt belongs to; it is not in hists
	size    uint16 // of the piece before it, while there are no hists; 0 for none
	ackIn   uint16 // the settle that ackAt is of; 0 before that
	rate    uint32 // from that piece to this, likewise
	ack     uint32 // from the first acknowledgement to the second, likewise
}

type streamHists struct {
	hists [streamTimes]histogram.Histogram
	room  [streamTimes][4]int64
}

// times returns a stream's histogram, with what its clocks have kept.
func (k *streamClocks) times(of StreamTimes) *histogram.Histogram {
	if k.hists == nil {
		k.hists = new(streamHists)
		for i := range k.hists.hists {
			k.hists.hists[i].Keep(k.hists.room[i][:])
		}
		k.kept(StreamAcks, &k.hists.hists[StreamAcks])
		k.kept(StreamRate, &k.hists.hists[StreamRate])
		k.kept(StreamSizes, &k.hists.hists[StreamSizes])
		k.size, k.rate, k.ack = 0, 0, 0
	}
	return &k.hists.hists[of]
}

// kept records what the clocks have kept.
func (k *streamClocks) kept(of StreamTimes, h *histogram.Histogram) {
	v := [...]uint64{StreamAcks: uint64(k.ack), StreamRate: uint64(k.rate), StreamSizes: uint64(k.size)}[of]
	if v > 0 {
		h.Record(v)
	}
}

// shared is how many pages the histograms of a connection's streams have, beyond the histogram.MinPages of each. A stream
// that is over, and that nobody has to take, does not count: as many more as the peer likes may come after it.
type shared uint16

// record takes a value into a stream's histogram, in as many pages as are left for it.
func (p *shared) record(h *histogram.Histogram, v uint64) {
	before := max(h.Pages(), histogram.MinPages)
	h.RecordIn(v, before+maxStreamPages-int(*p))
	*p += shared(max(h.Pages(), histogram.MinPages) - before)
}

// giveBack is the end of what a histogram has of them.
func (p *shared) giveBack(h *histogram.Histogram) {
	*p -= shared(max(h.Pages(), histogram.MinPages) - histogram.MinPages)
}

// giveBackAll is giveBack for all histograms of a stream.
func (p *shared) giveBackAll(s *Stream) {
	if s.clocks.hists == nil {
		return
	}
	for i := range s.clocks.hists.hists {
		p.giveBack(&s.clocks.hists.hists[i])
	}
}

// received notes new bytes of the stream.
func (s *Stream) received(p *shared, now mono.Time, n int64) {
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
		k.pieceEnds(p, max(now.Sub(k.pieceAt), 1))
	}
	s.pieceFrames, k.pieceAt, k.piece = 1, now, int32(n)
}

// pieceEnds takes the last piece and the time to the next one.
func (k *streamClocks) pieceEnds(p *shared, d time.Duration) {
	if k.hists == nil && k.rate == 0 && k.size == 0 && d <= math.MaxUint32 && k.piece <= math.MaxUint16 {
		k.rate, k.size = uint32(d), uint16(k.piece)
		return
	}
	p.record(k.times(StreamRate), uint64(d))
	if k.piece > 0 {
		p.record(k.times(StreamSizes), uint64(k.piece))
	}
}

// dataAcked notes that an ACK has covered data of the stream.
func (s *Stream) dataAcked(p *shared, now mono.Time, settle uint16) {
	k := &s.clocks
	if k.ackIn == settle {
		return
	}
	d := max(now.Sub(k.ackAt), 1)
	switch {
	case k.ackIn == 0:
	case k.hists == nil && k.ack == 0 && d <= math.MaxUint32:
		k.ack = uint32(d)
	default:
		p.record(k.times(StreamAcks), uint64(d))
	}
	k.ackIn, k.ackAt = settle, now
}

// Times returns a copy of one of the stream's histograms.
func (s *Stream) Times(of StreamTimes) histogram.Histogram {
	var h histogram.Histogram
	k := &s.clocks
	if k.hists != nil {
		h = k.hists.hists[of].Clone()
	}
	k.kept(of, &h)
	if of == StreamSizes && k.piece > 0 {
		h.Record(uint64(k.piece))
	}
	return h
}

// ResetTimes empties one of the stream's histograms. Its clock goes on.
func (c *Conn) ResetTimes(s *Stream, of StreamTimes) {
	k := &s.clocks
	if k.hists != nil {
		if !s.gone || s.untaken {
			c.streams.pages.giveBack(&k.hists.hists[of])
		}
		k.hists.hists[of].Reset()
	}
	switch of {
	case StreamAcks:
		k.ack = 0
	case StreamRate:
		k.rate = 0
	case StreamSizes:
		k.size, k.piece = 0, 0
	}
}
