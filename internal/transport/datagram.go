package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// datagram is one datagram being written: up to three coalesced packets, each
// opened, filled and closed; finish then pads, protects and records them. A
// packet that was given no frame leaves no trace, so that nobody needs to know
// beforehand whether there is anything to send.
type datagram struct {
	b     []byte
	limit int // size the datagram must not exceed
	padTo int // size it must reach
	pkts  [recovery.Spaces]packet
	n     int
	to    *wire.ConnectionID // of its first packet, and so of all
}

// packet is one packet of a datagram being written. Offsets are into the datagram.
type packet struct {
	typ      wire.PacketType
	space    recovery.Space
	start    int
	lengthAt int // of the Length field of a long header
	pnOff    int
	pnLen    int
	body     int // where frames begin
	end      int // after the tag
	pn       int64
	frames   int // its first record in Conn.frames

	ackEnd    int // where the frames after the ACK begin; body if there is none
	ackDue    bool
	eliciting bool
	padded    bool
	offPath   bool // a probe of another path: outside congestion control
	mtuProbe  bool
}

func (d *datagram) reset(room []byte) {
	d.b, d.limit, d.padTo, d.n = room[:0], cap(room), 0, 0
}

// room returns how many bytes of frames the open packet can still take.
func (d *datagram) room() int { return d.limit - len(d.b) - protect.Overhead }

// openPacket begins a packet of a space, to the peer's ID for the path in use.
// It returns nil if the datagram has no room for one worth sending, or goes elsewhere.
func (c *Conn) openPacket(d *datagram, sp recovery.Space) *packet {
	if sp == recovery.App && c.oneRTT.CanWrite() {
		if r := c.ids.bySeq(c.paths.active().cid); r != nil {
			return c.openPacketTo(d, sp, &r.id)
		}
	}
	return c.openPacketTo(d, sp, &c.ids.peer)
}

// apart reports whether 1-RTT packets go to another of the peer's IDs than those of the handshake:
// it has replaced that one before the handshake was confirmed.
func (c *Conn) apart() bool {
	if c.hs == nil || !c.oneRTT.CanWrite() {
		return false
	}
	r := c.ids.bySeq(c.paths.active().cid)
	return r != nil && r.id != c.ids.peer
}

func (c *Conn) openPacketTo(d *datagram, sp recovery.Space, dcid *wire.ConnectionID) *packet {
	const short, long, frames = 1 + 20 + 4, 1 + 4 + 21 + 21 + 2 + 2 + 4, 8
	need := long + frames
	var token []byte
	switch {
	case sp == recovery.App && c.oneRTT.CanWrite() && d.n == 0:
		need = short + frames
	case sp == recovery.Initial:
		token = c.hs.token
		need += len(token)
	}
	if d.limit-len(d.b) < need+protect.Overhead {
		return nil
	}
	if d.n == 0 {
		d.to = dcid
	} else if *dcid != *d.to {
		return nil // RFC 9000 §12.2: the next datagram's
	}
	pk := &d.pkts[d.n]
	d.n++
	*pk = packet{space: sp, start: len(d.b), pn: c.loss.Next(sp), frames: len(c.frames)}
	pk.pnLen = wire.PacketNumberLen(pk.pn, c.loss.LargestAcked(sp))
	switch {
	case sp == recovery.App && c.oneRTT.CanWrite():
		pk.typ = wire.OneRTT
		d.b = wire.AppendShort(d.b, dcid, c.spin, c.oneRTT.Phase(), pk.pnLen)
	default:
		pk.typ = [recovery.Spaces]wire.PacketType{wire.Initial, wire.Handshake, wire.ZeroRTT}[sp]
		version := c.version
		if pk.typ == wire.ZeroRTT {
			version = c.chosen // RFC 9369 §4.1
		}
		d.b, pk.lengthAt = wire.AppendLong(d.b, version, pk.typ, dcid, &c.self, token, pk.pnLen)
	}
	pk.pnOff = len(d.b)
	d.b = wire.AppendPacketNumber(d.b, pk.pn, pk.pnLen)
	pk.body = len(d.b)
	pk.ackEnd = pk.body
	return pk
}

// abandon takes back the packet opened last.
func (d *datagram) abandon(c *Conn, pk *packet) {
	d.b = d.b[:pk.start]
	c.frames = c.frames[:pk.frames]
	d.n--
}

// closePacket ends a packet. It is abandoned if it has no frame, or only an ACK
// that need not go yet.
func (c *Conn) closePacket(d *datagram, pk *packet) {
	if len(d.b) == pk.ackEnd && !pk.ackDue {
		d.abandon(c, pk)
		return
	}
	for pk.pnLen+len(d.b)-pk.body < 4 { // header protection samples from there (RFC 9001 §5.4.2)
		d.b = append(d.b, 0)
	}
	d.b = d.b[:len(d.b)+protect.Overhead]
	pk.end = len(d.b)
}

// record notes what the open packet carries, for the day its fate is known.
func (c *Conn) record(f recovery.Frame) { c.frames = append(c.frames, f) }

// finish pads, protects and records the packets, and returns the datagram's
// size: 0 if there is nothing in it.
func (c *Conn) finish(now mono.Time, d *datagram) int {
	if d.n == 0 {
		c.frames = c.frames[:0]
		return 0
	}
	if last := &d.pkts[d.n-1]; last.end < d.padTo {
		at := last.end - protect.Overhead
		d.b = d.b[:d.padTo]
		clear(d.b[at:])
		last.end, last.padded = d.padTo, true
	}
	for i := 0; i < d.n; i++ {
		pk := &d.pkts[i]
		if pk.typ != wire.OneRTT {
			varint.Put2(d.b[pk.lengthAt:], uint64(pk.end-pk.pnOff))
		}
		if c.qlog != nil {
			c.qlog.packetSent(c, d, pk)
		}
		c.seal(d.b[pk.start:pk.end-protect.Overhead:pk.end], pk)
	}
	for i := 0; i < d.n; i++ {
		to := len(c.frames)
		if i+1 < d.n {
			to = d.pkts[i+1].frames
		}
		c.sent(now, &d.pkts[i], c.frames[d.pkts[i].frames:to])
	}
	c.frames = c.frames[:0]
	n := len(d.b)
	d.b = nil
	return n
}

// seal protects a packet in place.
func (c *Conn) seal(pkt []byte, pk *packet) {
	pnOff := pk.pnOff - pk.start
	switch pk.typ {
	case wire.OneRTT:
		c.oneRTT.Seal(pkt, pnOff, pk.pnLen, pk.pn)
	case wire.ZeroRTT:
		c.earlySent = true
		c.hs.early.Seal(pkt, pnOff, pk.pnLen, pk.pn)
	default:
		c.hs.spaces[pk.space].sealer.Seal(pkt, pnOff, pk.pnLen, pk.pn)
	}
}

// sent tells recovery of a packet, and does what follows from its leaving.
func (c *Conn) sent(now mono.Time, pk *packet, frames []recovery.Frame) {
	eliciting := pk.eliciting
	epoch := c.loss.Epoch()
	if pk.offPath {
		epoch = recovery.OtherPath // says nothing about the path in use
	}
	p := recovery.Packet{
		Number: pk.pn, Sent: now, Size: int32(pk.end - pk.start), Epoch: epoch,
		AckEliciting: eliciting, InFlight: eliciting || pk.padded,
		Probe: pk.mtuProbe, ECN: c.marking,
	}
	quiet := c.loss.InFlight() == 0
	c.loss.Sent(now, pk.space, p, frames)
	if eliciting && quiet {
		c.idle.progress = now
	}
	if eliciting {
		c.loss.ProbeSent(pk.space)
		c.idle.spoke(now)
		c.ackOnlyRun = 0
	} else {
		c.ackOnlyRun++
	}
	c.stats.packetsSent++
	if pk.ackEnd > pk.body {
		if pk.space == recovery.App && c.acks.Expired(now) {
			c.stats.ackTimeouts++
		}
		c.acksOf(pk.space).Sent()
	}
	c.skipOf(pk.space).advance(c, pk.space)
	if pk.typ == wire.Handshake && !c.server {
		c.dropSpace(now, recovery.Initial) // RFC 9001 §4.9.1
	}
}
