package transport

import (
	"bytes"
	"crypto/subtle"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Receive takes a datagram. Its packets are decrypted in place. It reports false if
// none of them was of use: no key fits, or they are malformed.
func (c *Conn) Receive(now mono.Time, d *dgram.Datagram) bool {
	var t train
	if !c.joins(&t, d) {
		return c.receiveOne(now, d)
	}
	used := c.receiveNext(now, &t, d)
	c.trainEnds(now, &t)
	return used
}

// receiveOne is Receive for a datagram that is part of no train.
func (c *Conn) receiveOne(now mono.Time, d *dgram.Datagram) bool {
	if c.life.state == gone {
		return false
	}
	if c.qlog == nil {
		return c.receive(now, d)
	}
	c.qlog.datagramReceived(now, d)
	used := c.receive(now, d)
	c.qlog.catchUp(c)
	return used
}

func (c *Conn) receive(now mono.Time, d *dgram.Datagram) bool {
	c.stats.datagramsReceived++
	c.stats.bytesReceived += uint64(len(d.Data))
	if c.life.state != active {
		c.receiveClosed(now, d)
		return true
	}
	if !c.paths.arrive(c, d) {
		c.ignore(d.Data, dropRejected, "from an address that is no path's")
		return false
	}
	if c.qlog != nil {
		c.qlog.onPath(c, d.Path)
	}
	taken, ignored := c.stats.packetsReceived, c.stats.packetsIgnored
	c.receivePackets(now, d, false)
	used := c.stats.packetsIgnored == ignored || c.stats.packetsReceived != taken
	if c.life.state == active && c.stats.packetsReceived == taken && c.isStatelessReset(d) {
		c.resetBy(now, d) // whatever form it has (RFC 9000 §10.3)
	}
	c.settle(now)
	return used
}

// The reserved bits in the first byte of a packet (RFC 9000 §17.2, §17.3.1).
const (
	reservedLong  = 0x0c
	reservedShort = 0x18
)

// receivePackets takes the coalesced packets of a datagram one by one (RFC 9000
// §12.2). replayed says that they waited here for their keys.
func (c *Conn) receivePackets(now mono.Time, d *dgram.Datagram, replayed bool) {
	var dcid wire.ConnectionID
	for b := d.Data; len(b) > 0 && c.life.state == active; {
		coalesced := len(b) != len(d.Data)
		if b[0]&0x80 == 0 {
			if coalesced && !bytes.HasPrefix(b[1:], dcid.Bytes()) {
				c.ignore(b, dropInvalid, otherID)
				return
			}
			c.receiveShort(now, d, b, replayed)
			return
		}
		h, ok := wire.ParseLong(b)
		if !ok {
			if !coalesced && c.receiveOtherVersion(now, d.Data) {
				c.stats.packetsIgnored++ // no packet of a version of ours
				return
			}
			c.ignore(b, dropUnsupported, "no packet of a version that we speak")
			return
		}
		if coalesced && h.DCID != dcid {
			c.ignore(b[:h.End], dropInvalid, otherID)
			return
		}
		dcid = h.DCID
		c.receiveLong(now, d, b[:h.End], &h, replayed)
		b = b[h.End:]
	}
}

// receiveLong takes one long-header packet, which fills pkt.
func (c *Conn) receiveLong(now mono.Time, d *dgram.Datagram, pkt []byte, h *wire.LongHeader, replayed bool) {
	if h.Type == wire.Retry {
		c.receiveRetry(now, pkt, h)
		return
	}
	if c.hs == nil {
		c.ignore(pkt, dropKeyless, "the handshake is over")
		return
	}
	if !c.acceptsLong(h, len(d.Data), replayed) {
		c.ignore(pkt, dropInvalid, "header does not fit the connection")
		return
	}
	var opener *protect.Opener
	sp := recovery.App
	switch h.Type {
	case wire.Initial:
		sp = recovery.Initial
		opener = c.initialOpener(h.Version)
	case wire.Handshake:
		sp = recovery.Handshake
		if s := c.hs.spaces[sp]; s != nil {
			opener = s.opener
		}
	case wire.ZeroRTT:
		opener = c.hs.earlyIn
	}
	if opener == nil {
		if c.keysMayCome(h.Type) {
			c.keepUndecryptable(d, pkt)
		} else {
			c.ignore(pkt, dropKeyless, "")
		}
		return
	}
	acks := c.acksOf(sp)
	o, ok := opener.Open(pkt, h.PNOffset, acks.Largest())
	if !ok {
		c.undecryptable(now, d, pkt)
		return
	}
	if h.Version != c.version && !c.server && sp == recovery.Initial {
		c.follow(h.Version)
	}
	if !c.ids.peerFixed {
		c.ids.peerChose(c, h.SCID) // RFC 9000 §7.2: the peer's choice, in its first authentic packet
	}
	p := received{now: now, d: d, pkt: pkt, space: sp, typ: h.Type, replayed: replayed}
	if c.process(&p, &o, reservedLong) && h.Type == wire.Handshake && c.server {
		// The client has our Handshake keys, so it owns its address and needs no
		// Initial packets any more (RFC 9000 §8.1, RFC 9001 §4.9.1).
		if c.qlog != nil && !c.paths.active().validated {
			c.qlog.setState("peer_validated")
		}
		c.paths.active().validated = true
		c.dropSpace(now, recovery.Initial)
	}
}

// acceptsLong reports whether the packet's header fits the connection.
func (c *Conn) acceptsLong(h *wire.LongHeader, datagram int, replayed bool) bool {
	switch {
	case c.ids.peerFixed && h.SCID != c.ids.peer:
		return false // RFC 9000 §7.2
	case c.server && h.Type == wire.Initial && datagram < wire.MinInitialSize && !replayed:
		return false // RFC 9000 §14.1
	case !c.server && h.Type == wire.Initial && len(h.Token) > 0:
		return false // RFC 9000 §17.2.2
	case h.Type == wire.ZeroRTT:
		return c.server && h.Version == c.chosen // RFC 9369 §4.1
	case h.Type == wire.Handshake:
		return h.Version == c.version || !c.hs.versions.known // RFC 9369 §4.1
	}
	return true
}

// keysMayCome reports whether keys for the packet type are still to be expected.
func (c *Conn) keysMayCome(t wire.PacketType) bool {
	s := c.hs.spaces[recovery.Handshake]
	switch t {
	case wire.Handshake:
		return s == nil || !s.gone
	case wire.ZeroRTT:
		return c.server && (s == nil || s.sealer == nil)
	}
	return false
}

// receiveShort takes a 1-RTT packet, the last of its datagram.
func (c *Conn) receiveShort(now mono.Time, d *dgram.Datagram, pkt []byte, replayed bool) {
	if pkt[0]&0x40 == 0 || len(pkt) < 1+connIDLen {
		c.undecryptable(now, d, pkt)
		return
	}
	if !c.oneRTT.CanRead() || !c.secure { // RFC 9001 §5.7
		if !c.isStatelessReset(d) {
			c.keepUndecryptable(d, pkt)
			return
		}
		c.undecryptable(now, d, pkt)
		return
	}
	updates := c.oneRTT.Updates()
	if c.qlog != nil && c.oneRTT.DiscardAt() <= now {
		c.qlog.previousGone(c)
	}
	o, result := c.oneRTT.Open(now, pkt, 1+connIDLen, c.acks.Largest())
	c.receiveOpened(now, d, pkt, &o, result, updates, replayed)
}

// receiveOpened takes what was made of a 1-RTT packet. updates is how many key updates there
// were before.
func (c *Conn) receiveOpened(now mono.Time, d *dgram.Datagram, pkt []byte, o *protect.Opened, result protect.OpenResult, updates int, replayed bool) {
	switch result {
	case protect.OpenDropped:
		c.undecryptable(now, d, pkt)
		return
	case protect.OpenKeyUpdateError:
		c.fail(now, frameError(wire.KeyUpdateError, 0, "packet under old keys after newer ones"))
		return
	case protect.OpenLimit:
		c.fail(now, frameError(wire.AEADLimitReached, 0, "too many packets failed authentication"))
		return
	case protect.OpenUpdated:
		c.keyUpdated(now, updates)
	}
	p := received{now: now, d: d, pkt: pkt, space: recovery.App, typ: wire.OneRTT, replayed: replayed, dcid: pkt[1 : 1+connIDLen]}
	c.process(&p, o, reservedShort)
}

// undecryptable counts a packet that no key fits, and looks whether it is a
// stateless reset (RFC 9000 §10.3.1).
func (c *Conn) undecryptable(now mono.Time, d *dgram.Datagram, pkt []byte) {
	if c.isStatelessReset(d) {
		c.resetBy(now, d)
		return
	}
	c.ignore(pkt, dropUnopened, "")
}

// resetBy ends the connection, whose peer has lost its state.
func (c *Conn) resetBy(now mono.Time, d *dgram.Datagram) {
	if c.qlog != nil {
		c.qlog.resetReceived(d.Data)
	}
	c.enterDraining(now, &CloseReason{Kind: CloseReset})
}

// ignore counts a packet that is of no use.
func (c *Conn) ignore(pkt []byte, trigger, details string) {
	c.stats.packetsIgnored++
	if c.qlog != nil {
		c.qlog.packetDropped(pkt, trigger, details)
	}
}

const otherID = "coalesced with packets to another connection ID"

func (c *Conn) isStatelessReset(d *dgram.Datagram) bool {
	const smallest = 5 + 16
	return len(d.Data) >= smallest && c.ids.isResetToken(d.Data[len(d.Data)-16:])
}

func (c *Conn) acksOf(sp recovery.Space) *recovery.Acks {
	if sp == recovery.App {
		return &c.acks
	}
	return &c.hs.spaces[sp].acks
}

// received is one authenticated packet on its way through the frame handlers.
type received struct {
	now   mono.Time
	d     *dgram.Datagram
	pkt   []byte // all of it, decrypted
	space recovery.Space
	typ   wire.PacketType
	dcid  []byte // 1-RTT: the connection ID it was sent to
	first byte   // of the header, unprotected

	eliciting  bool
	nonProbing bool
	replayed   bool // it waited for its keys

	says   bool // there is a frame that is more than an ACK or a PING
	useful bool // something has changed for the better
	idle   int  // PING frames, and ACK frames without news
	cost   int  // tokens of the budget
	wasted wire.FrameType
}

// own returns the sequence number of our connection ID that the packet was
// sent to, -1 if it is none of the present ones.
func (p *received) own(c *Conn) int64 {
	if seq, ok := c.ids.isLocal(p.dcid); ok {
		return seq
	}
	return -1
}

// process takes an authenticated packet: duplicates and forbidden headers stop
// here, frames act, and then the packet is acknowledged. It reports whether the
// packet was taken.
func (c *Conn) process(p *received, o *protect.Opened, reserved byte) bool {
	acks := c.acksOf(p.space)
	if acks.Seen(o.PN) {
		c.stats.duplicates++
		if c.qlog != nil {
			c.qlog.packetRefused(c, p, o, dropDuplicate, "")
		}
		return false
	}
	switch {
	case o.First&reserved != 0:
		return c.refuse(p, o, "reserved header bits are set")
	case len(o.Payload) == 0:
		return c.refuse(p, o, "packet without a frame")
	}
	c.stats.packetsReceived++
	if c.qlog != nil {
		c.qlog.packetReceived(c, p, o)
	}
	if c.hs != nil {
		c.hs.heard = true
	}
	p.first = o.First
	acks.Taking(o.PN)
	if err := c.dispatch(p, o.Payload); err != nil {
		c.fail(p.now, err)
		return false
	}
	if c.life.state != active {
		return true
	}
	if !c.charge(p) {
		return false
	}
	newest := o.PN > acks.Largest()
	if p.space == recovery.App || c.hs != nil && !c.hs.spaces[p.space].gone {
		c.acksOf(p.space).Received(p.now, o.PN, p.eliciting, p.d.ECN)
	}
	c.idle.heard(p.now)
	if p.space != recovery.App && p.eliciting && !p.useful && p.cost > 0 {
		c.hurry(p.now)
	}
	if p.typ == wire.OneRTT {
		c.paths.confirmPeer(c, p, newest)
	}
	return true
}

// refuse closes the connection for a packet whose form breaks the rules.
func (c *Conn) refuse(p *received, o *protect.Opened, reason string) bool {
	if c.qlog != nil {
		c.qlog.packetRefused(c, p, o, dropInvalid, reason)
	}
	c.fail(p.now, frameError(wire.ProtocolViolation, 0, reason))
	return false
}

// receiveRetry takes a Retry packet (RFC 9000 §17.2.5): at most one, before
// anything else, and only with a right tag.
func (c *Conn) receiveRetry(now mono.Time, pkt []byte, h *wire.LongHeader) {
	ignore := c.server || c.hs == nil || h.Version != c.chosen || c.hs.heard || c.ids.retried ||
		len(h.Token) == 0 || len(h.Token) > maxTokenLen || h.SCID == c.ids.peer || len(pkt) < 16
	if !ignore {
		original := c.ids.original
		tag := protect.RetryTag(h.Version, &original, pkt[:len(pkt)-16])
		ignore = subtle.ConstantTimeCompare(tag[:], pkt[len(pkt)-16:]) == 0
	}
	if ignore {
		c.ignore(pkt, dropInvalid, "Retry out of place")
		return
	}
	if c.qlog != nil {
		c.qlog.retryReceived(pkt, h)
	}
	c.ids.retried, c.ids.retry = true, h.SCID
	c.hs.token = append([]byte(nil), h.Token...)
	c.ids.peerInitial(h.SCID)
	c.dropOtherInitial()
	c.setInitialKeys(h.SCID)
	c.loss.RetryRestart(now)
	c.idle.heard(now)
}
