package sim

import (
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// ear listens to what one end of a connection says in 1-RTT packets, with the
// secrets it was given by TLS, and holds it to the limits that the other end has
// set. It believes what is on the wire, not what either end says of itself.
type ear struct {
	keys    protect.OneRTT
	largest int64
	scratch []byte

	// What the end has granted, beyond its transport parameters.
	maxData    int64
	maxStreams [2]int64
	maxStream  map[int64]int64

	// What it has used of the other's grants.
	total   int64
	highest map[int64]int64

	challenges map[[8]byte]netip.AddrPort // where its PATH_CHALLENGE frames went
}

const shortHeader = 1 + 8 // connection IDs here have 8 bytes

// secret takes a secret from TLS: the end writes with it, in the version in use.
func (a *ear) secret(version uint32, ev *transport.TLSEvent) {
	if ev.Kind != transport.TLSWriteSecret || ev.Level != transport.LevelApp {
		return
	}
	if a.keys.SetRead(version, ev.Suite, ev.Data) != nil || a.keys.SetWrite(version, ev.Suite, ev.Data) != nil {
		panic("BUG: a secret that protects nothing")
	}
	a.largest = -1
	a.maxStream, a.highest = map[int64]int64{}, map[int64]int64{}
	a.challenges = map[[8]byte]netip.AddrPort{}
}

// hear takes a batch that the session sends.
func (a *ear) hear(s *Session, b *dgram.Batch) {
	if !a.keys.CanRead() {
		return
	}
	for i := range b.Count() {
		pkt := short(b.Segment(i))
		if pkt == nil {
			continue
		}
		a.scratch = append(a.scratch[:0], pkt...)
		o, result := a.keys.Open(s.End.world.now, a.scratch, shortHeader, a.largest)
		switch result {
		case protect.OpenUpdated:
			a.keys.Seal(make([]byte, 64, 64+protect.Overhead), shortHeader, 4, 0) // or the next update would come too early
		case protect.OpenOK:
		default:
			s.End.world.Fail("%s: sent a packet that cannot be opened: %v", s.name(), result)
			return
		}
		a.largest = max(a.largest, o.PN)
		frames, err := wire.ParseFrames(o.Payload)
		if err != nil {
			s.End.world.Fail("%s: sent a malformed packet: %v", s.name(), err)
			return
		}
		for _, f := range frames {
			a.frame(s, f, pkt, b.Path.Remote)
		}
	}
}

// short returns the 1-RTT packet of a datagram, nil if it has none.
func short(b []byte) []byte {
	for len(b) > 0 && b[0]&0x80 != 0 {
		h, ok := wire.ParseLong(b)
		if !ok {
			return nil
		}
		b = b[h.End:]
	}
	if len(b) < shortHeader+protect.Overhead || b[0]&0x40 == 0 {
		return nil
	}
	return b
}

func (a *ear) frame(s *Session, f wire.Frame, pkt []byte, to netip.AddrPort) {
	if s.Peer != nil {
		a.wanted(s, f)
	}
	switch f := f.(type) {
	case wire.MaxData:
		a.maxData = max(a.maxData, f.Max)
	case wire.MaxStreamData:
		a.maxStream[f.ID] = max(a.maxStream[f.ID], f.Max)
	case wire.MaxStreams:
		k := kind(f.Uni)
		a.maxStreams[k] = max(a.maxStreams[k], f.Max)
	case wire.Stream:
		a.use(s, f.ID, f.Offset+int64(len(f.Data)))
	case wire.ResetStream:
		a.use(s, f.ID, f.FinalSize)
	case wire.PathChallenge:
		a.challenges[f.Data] = to
		s.guard.probes += wire.MinInitialSize // few, and the window is another path's
	case wire.PathResponse:
		key := fingerprint(pkt)
		s.End.world.answers[key] = append(s.End.world.answers[key], f.Data)
	}
}

// wanted checks that the peer takes frames like this one. A server whose client was gone before
// it had come has no peer, and may still say that it wants fewer acknowledgements.
func (a *ear) wanted(s *Session, f wire.Frame) {
	p := s.Peer.End.setup.Config.Params
	switch f := f.(type) {
	case wire.Datagram:
		if most := p.MaxDatagramFrame; int64(len(f.Append(nil))) > most {
			s.End.world.Fail("%s: a DATAGRAM frame with %d bytes, but the peer takes frames of %d", s.name(), len(f.Data), most)
		}
	case wire.AckFrequency:
		if d := time.Duration(f.MaxDelay) * time.Microsecond; !p.HasMinAckDelay || d < p.MinAckDelay {
			s.End.world.Fail("%s: asks for %v of a peer whose min_ack_delay is %v (%v)", s.name(), f, p.MinAckDelay, p.HasMinAckDelay)
		}
	case wire.ImmediateAck:
		if !p.HasMinAckDelay {
			s.End.world.Fail("%s: asks for an ACK at once, which the peer does not know", s.name())
		}
	}
}

func kind(uni bool) int {
	if uni {
		return 1
	}
	return 0
}

// use checks that the end may send up to an offset of a stream.
func (a *ear) use(s *Session, id, end int64) {
	w, params := s.End.world, s.Conn.PeerParameters()
	if s.Peer == nil || params == nil {
		w.Fail("%s: sends data to nobody", s.name())
		return
	}
	peer := &s.Peer.ear
	if end > a.highest[id] {
		a.total += end - a.highest[id]
		a.highest[id] = end
	}
	uni, local := id&2 != 0, (id&1 == 1) == s.Server
	limit, streams := params.MaxStreamDataBidiLocal, params.MaxStreamsBidi
	if uni {
		limit, streams = params.MaxStreamDataUni, params.MaxStreamsUni
	} else if local {
		limit = params.MaxStreamDataBidiRemote
	}
	limit, streams = max(limit, peer.maxStream[id]), max(streams, peer.maxStreams[kind(uni)])
	most := max(params.MaxData, peer.maxData)
	if end > limit || a.total > most || local && id>>2 >= streams {
		w.Fail("%s: stream %d to %d, %d in all, but the peer allows %d, %d, and %d streams", s.name(), id, end, a.total, limit, most, streams)
	}
}

// watchAnswer looks for the answer to a challenge: it validates the address that
// was challenged, whichever it comes from (RFC 9000 §8.2.3).
func (e *Endpoint) watchAnswer(d *dgram.Datagram) {
	if len(e.world.answers) == 0 {
		return
	}
	for _, data := range e.world.answers[fingerprint(short(d.Data))] {
		for _, s := range e.Sessions {
			if to, ok := s.ear.challenges[data]; ok {
				e.account(to).validated = true
			}
		}
	}
}
