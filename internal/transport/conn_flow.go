package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// flow is flow control over all streams together (RFC 9000 §4.1).
type flow struct {
	in       stream.Window // what we grant
	received int64         // sum of the highest offsets of all streams
	consumed int64         // of that, what the application is done with
	maxData  signal

	peerBlocked int64 // see received.blockedAt

	out         stream.Credit // what the peer grants
	dataBlocked signal
	blockedAt   int64
}

func (f *flow) init(c *Conn) {
	f.in.Init(c.params.MaxData, max(c.params.MaxData, c.cfg.maxConnWindow()))
}

// receive counts n bytes that no stream had seen, and reports whether the
// limit allows them.
func (f *flow) receive(n int64) bool {
	if !f.allows(n) {
		return false
	}
	f.received += n
	return true
}

// allows reports whether the limit allows n bytes that no stream had seen.
func (f *flow) allows(n int64) bool { return f.received+n <= f.in.Limit() }

// consume counts n bytes of a stream that the application is done with. If the peer has no
// credit left and nothing of the stream is left to read, the peer gets what there is at
// once: the application may wait for that stream, and leave others unread until it ends.
func (f *flow) consume(now mono.Time, n int64, rtt, shortest time.Duration, s *Stream) {
	f.consumed += n
	_, update := f.in.Consumed(now, f.consumed, rtt, shortest)
	if !update && f.received == f.in.Limit() && s.recv.Readable() == 0 {
		_, update = f.in.Extend()
	}
	if update {
		f.maxData.want()
	}
}

// asked is a peer that has no credit left and more to send.
func (f *flow) asked() {
	f.in.Extend()
	f.maxData.want()
}

// restart forgets what was sent, after 0-RTT was refused.
func (f *flow) restart() { f.out, f.blockedAt = stream.Credit{}, 0 }

// append writes the frames about the connection's limits.
func (f *flow) append(c *Conn, d *datagram, pk *packet) {
	if f.maxData.wanted() && d.room() >= maxFrameLen {
		d.b = wire.MaxData{Max: f.in.Limit()}.Append(d.b)
		c.mark(pk, &f.maxData, recovery.Frame{Kind: sentMaxData})
	}
	if f.dataBlocked.wanted() && d.room() >= maxFrameLen {
		d.b = wire.DataBlocked{Limit: f.blockedAt}.Append(d.b)
		c.mark(pk, &f.dataBlocked, recovery.Frame{Kind: sentDataBlocked})
	}
	s := &c.streams
	for k, uni := range [2]bool{false, true} {
		// A raised stream limit rides along with whatever else the packet carries.
		if limit := min(s.peerLimit[k]+s.peerDone[k], 1<<60); pk.eliciting && limit > s.granted[k] {
			s.granted[k] = limit
			s.grants[k].want()
		}
		if s.grants[k].wanted() && d.room() >= maxFrameLen {
			d.b = wire.MaxStreams{Uni: uni, Max: s.granted[k]}.Append(d.b)
			c.mark(pk, &s.grants[k], recovery.Frame{Kind: sentMaxStreams, Flag: uint8(k)})
		}
		if s.blocked[k].wanted() && d.room() >= maxFrameLen {
			d.b = wire.StreamsBlocked{Uni: uni, Limit: s.max[k]}.Append(d.b)
			c.mark(pk, &s.blocked[k], recovery.Frame{Kind: sentStreamsBlocked, Flag: uint8(k)})
		}
	}
}
