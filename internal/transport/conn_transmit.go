package transport

import (
	"math"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What a sent packet carried, as recovery remembers it (recovery.Frame.Kind).
const (
	sentAck                uint8 = iota // Off: largest packet number acknowledged
	sentCrypto                          // Off, Len
	sentStream                          // ID, Off, Len; Flag 1: FIN
	sentReset                           // ID
	sentStop                            // ID
	sentMaxStreamData                   // ID
	sentStreamBlocked                   // ID
	sentMaxData                         //
	sentMaxStreams                      // Flag: kind of stream
	sentDataBlocked                     //
	sentStreamsBlocked                  // Flag: kind of stream
	sentNewConnectionID                 // Off: sequence number
	sentRetireConnectionID              // Off: sequence number
	sentHandshakeDone                   //
	sentNewToken                        //
	sentPing                            // or IMMEDIATE_ACK
	sentPathProbe                       // a challenge, or on a path not in use
	sentDatagrams                       // ID: number of the first, Len: how many
	sentAckFrequency                    //
)

// Transmit writes the next batch of datagrams, all for b.Path, and reports
// whether there is one. b must be empty. It is called again until it reports false.
func (c *Conn) Transmit(now mono.Time, b *dgram.Batch) bool {
	if c.qlog != nil {
		return c.qlog.transmit(c, now, b)
	}
	return c.transmit(now, b)
}

func (c *Conn) transmit(now mono.Time, b *dgram.Batch) bool {
	switch c.life.state {
	case closing:
		return c.transmitClose(now, b)
	case draining, gone:
		return false
	}
	if c.held() {
		return false
	}
	if c.loss.Next(recovery.App) > lastPacketNumber-dgram.MaxSegments { // RFC 9000 §12.3: no word of it, for that would need a number
		c.enterDraining(now, &CloseReason{Kind: CloseSilent})
		return false
	}
	if c.transmitProbe(now, b) {
		return true
	}
	if c.oneRTT.WantUpdate() && !c.UpdateKey(now) && c.oneRTT.SendLimit() {
		c.fail(now, frameError(wire.AEADLimitReached, 0, "no key left to protect packets with"))
		return c.transmitClose(now, b)
	}
	p := c.paths.active()
	c.marking = c.codepoint(p)
	some, reserve := c.transmitMTUProbe(now, b, p)
	if some {
		return true
	}
	c.transmitBatch(now, b, p, reserve)
	if b.Empty() && c.server && c.hs != nil {
		c.hs.rest()
	}
	return !b.Empty()
}

// permit is what of a packet may leave by the windows' leave.
type permit uint8

const (
	owedOnly permit = iota // acknowledgements, and probes that are owed
	noData                 // all but stream data
	all
)

// transmitBatch fills the batch as far as the congestion window, but for what is
// reserved, the pacer and the address validation rule let it.
func (c *Conn) transmitBatch(now mono.Time, b *dgram.Batch, p *path, reserve int) {
	pace := math.MaxInt
	if !c.cfg.DisablePacing {
		pace = c.loss.Pacer().Budget(now)
	}
	leave := all
	if c.holds(now, pace, c.loss.CanSend()-reserve) {
		leave = noData
	}
	for {
		size := c.mtu.size
		if allowance := p.allowance(); allowance < size {
			if allowance < c.smallestDatagram() {
				c.loss.SetAmplificationLimited(true)
				if c.qlog != nil {
					c.qlog.block(blockedAmplification, true)
				}
				return
			}
			size = allowance
		}
		c.loss.SetAmplificationLimited(false)
		if c.qlog != nil {
			c.qlog.block(blockedAmplification, false)
		}
		room := b.Next(size)
		if room == nil {
			return
		}
		window := c.loss.CanSend() - reserve
		if window < min(size, c.mtu.size) || pace <= 0 {
			leave = owedOnly
		}
		n := c.writeDatagram(now, room, leave)
		if n == 0 {
			c.loss.SetAppLimited(leave == all)
			paced := pace <= 0 || leave == noData && pace < window
			if c.paceUntil = mono.Never; paced {
				c.paceUntil = c.loss.Pacer().Next(now)
			}
			if c.qlog != nil {
				c.qlog.paused(c, leave == all, paced)
			}
			return
		}
		c.commit(b, p, n)
		if n < size && c.apart() {
			b.Close() // it is short for want of its 1-RTT packet, which is not to be as short
		}
		pace -= n
		if leave == all {
			pace -= c.transmitRun(now, b, p, reserve, pace)
		}
	}
}

// holds reports whether stream data waits until more of it may leave at once: the pacer, or the
// window, is open by less than a batch is worth, and time, or the acknowledgement of what
// is under way, opens it further.
func (c *Conn) holds(now mono.Time, pace, window int) bool {
	st, flight := c.streams.ready.next(), c.loss.InFlight()
	if st == nil || flight == 0 || c.loss.Probes(recovery.App) > 0 || c.datagrams.waits() {
		return false
	}
	_, left := st.send.Fresh(c.fresh())
	if left <= int64(min(pace, window)) {
		return false
	}
	if pace < window {
		return c.loss.Pacer().Next(now) > now
	}
	whole := c.loss.Window()
	return window < min(dgram.FullBatch, whole/8) && flight >= whole/2
}

// commit adds a finished datagram of n bytes for a path to the batch.
func (c *Conn) commit(b *dgram.Batch, p *path, n int) {
	if b.Empty() {
		b.Path, b.ECN = p.addr, c.marking
	}
	b.Commit(n)
	p.sent += int64(n)
	c.stats.datagramsSent++
	c.stats.bytesSent += uint64(n)
}

// codepoint returns the ECN codepoint for datagrams on a path. Only the path in
// use is marked, because the peer counts marks over all paths together.
func (c *Conn) codepoint(p *path) dgram.ECN {
	if c.cfg.DisableECN || p != c.paths.active() {
		return dgram.NotECT
	}
	return c.loss.ECN()
}

// smallestDatagram returns the allowance below which nothing is sent to an
// address that is not validated: during the handshake datagrams are padded. Later there is room for
// an ACK frame, whatever its numbers, since one that is due and has no room would be asked for without end.
func (c *Conn) smallestDatagram() int {
	if c.hs != nil {
		return wire.MinInitialSize
	}
	return 1 + wire.MaxConnectionIDLen + 4 + smallestAck + protect.Overhead
}

const smallestAck = 1 + 8 + 8 + 1 + 8 + 3*8 // no limit: room for a frame with one range and ECN counts

// writeDatagram writes one datagram and returns its size, 0 if there is nothing
// to send that has leave to go.
func (c *Conn) writeDatagram(now mono.Time, room []byte, leave permit) int {
	d := &datagram{}
	d.reset(room)
	if c.hs != nil {
		c.writeHandshakePacket(now, d, recovery.Initial, leave)
		c.writeHandshakePacket(now, d, recovery.Handshake, leave)
	}
	if c.oneRTT.CanWrite() || c.writesEarly() {
		c.writeAppPacket(now, d, leave)
	}
	if d.n > 0 && d.pkts[0].typ == wire.Initial && (!c.server || d.pkts[0].eliciting) {
		d.padTo = wire.MinInitialSize // RFC 9000 §14.1, RFC 9001 §9.3
	}
	return c.finish(now, d)
}

// writesEarly reports whether application data goes in 0-RTT packets. With the server's
// parameters that is over, since its new limits are for 1-RTT packets, whose keys follow with
// its Finished (RFC 9000 §7.4.1).
func (c *Conn) writesEarly() bool { return c.hs != nil && c.hs.early != nil && !c.peerKnown }

// writeHandshakePacket writes an Initial or Handshake packet: acknowledgements,
// then handshake bytes.
func (c *Conn) writeHandshakePacket(now mono.Time, d *datagram, sp recovery.Space, leave permit) {
	s := c.hs.spaces[sp]
	if s == nil || s.sealer == nil {
		return
	}
	pk := c.openPacket(d, sp)
	if pk == nil {
		return
	}
	c.appendAck(now, d, pk, &s.acks, handshakeAckExponent)
	pk.ackDue = pk.ackDue && c.hs.patience <= now
	probe := c.loss.Probes(sp) > 0
	if leave > owedOnly || probe || c.handshakeStuck(sp) {
		c.appendCrypto(d, pk, &s.crypto.out)
		if probe && !pk.eliciting {
			c.appendPing(d, pk)
		}
	}
	c.closePacket(d, pk)
}

// handshakeStuck reports whether handshake bytes go out although the congestion
// window is full: if the packets that fill it cannot be acknowledged before the
// peer has them, no timer but an idle one would end that. So it is when a lost
// Initial packet stands behind Handshake packets, which goes along with their
// probes, and when a client's lost Finished stands behind 1-RTT packets, which
// have no probe timer yet (RFC 9002 §6.2.1).
func (c *Conn) handshakeStuck(sp recovery.Space) bool {
	return sp == recovery.Initial && c.loss.Probes(recovery.Handshake) > 0 || c.loss.Deadline() == mono.Never
}

// writeAppPacket writes a 1-RTT or 0-RTT packet. The order of frames: what the
// peer waits for first (ACK, handshake, limits), then what frees memory on its
// side, then data: datagrams, and streams (appendData).
func (c *Conn) writeAppPacket(now mono.Time, d *datagram, leave permit) {
	pk := c.openPacket(d, recovery.App)
	if pk == nil {
		return
	}
	if pk.typ == wire.OneRTT {
		c.appendAck(now, d, pk, &c.acks, c.params.AckDelayExponent)
	}
	probe := c.loss.Probes(recovery.App) > 0
	switch {
	case leave == owedOnly && probe && c.loss.Crowded():
		c.appendPing(d, pk)
	case leave > owedOnly || probe:
		c.makeRoom(d, pk)
		if pk.typ == wire.OneRTT {
			c.appendControl(now, d, pk)
			if probe {
				c.appendImmediateAck(d, pk)
			}
		}
		c.flow.append(c, d, pk)
		c.streams.appendControl(c, now, d, pk)
		if leave != noData {
			c.appendData(d, pk)
		}
		if probe && !pk.eliciting || c.ackOnlyRun >= ackOnlyPing && pk.ackDue && !pk.eliciting {
			c.appendPing(d, pk)
		}
	}
	c.closePacket(d, pk)
}

// handshakeAckExponent is the ack_delay_exponent of Initial and Handshake packets, both ways: the default. A peer
// may have to read them before it knows our parameters, and does not know then which it is to be
// (RFC 9000 §18.2).
const handshakeAckExponent = 3 // no limit: of the format

func (c *Conn) appendAck(now mono.Time, d *datagram, pk *packet, acks *recovery.Acks, exponent uint8) {
	if !acks.Wanted() {
		return
	}
	b, ok := acks.Append(d.b, d.room(), now, exponent)
	if !ok {
		return
	}
	d.b = b
	pk.ackEnd = len(b)
	pk.ackDue = acks.Due(now)
	c.record(recovery.Frame{Kind: sentAck, Off: acks.Largest()})
}

func (c *Conn) appendPing(d *datagram, pk *packet) {
	if d.room() < 1 {
		return
	}
	d.b = wire.Ping{}.Append(d.b)
	pk.eliciting = true
	c.record(recovery.Frame{Kind: sentPing, Off: pk.pn})
}

func (c *Conn) appendCrypto(d *datagram, pk *packet, s *stream.Send) {
	for d.room() > 16 {
		off, n, _, _, ok := s.Next(d.room(), math.MaxInt64)
		if !ok {
			return
		}
		n = min(n, d.room()-wire.CryptoHeaderLen(off, n))
		d.b = wire.AppendCryptoHeader(d.b, off, n)
		at := len(d.b)
		d.b = d.b[:at+n]
		s.Take(d.b[at:], off, n, false)
		pk.eliciting = true
		c.record(recovery.Frame{Kind: sentCrypto, Off: off, Len: uint32(n)})
	}
}

// control is the control frames that belong to the connection as a whole.
type control struct {
	ping          signal
	handshakeDone signal
	newToken      signal
}

// Largest sizes of control frames, checked before one is written.
const (
	maxFrameLen    = 1 + 3*8                 // no limit: room for a frame
	maxNewIDLen    = 1 + 8 + 8 + 1 + 20 + 16 // no limit: room for a frame
	maxNewTokenLen = 1 + 2 + 128             // no limit: room for a frame
)

func (c *Conn) appendControl(now mono.Time, d *datagram, pk *packet) {
	if c.control.handshakeDone.wanted() && d.room() >= maxFrameLen {
		d.b = wire.HandshakeDone{}.Append(d.b)
		c.mark(pk, &c.control.handshakeDone, recovery.Frame{Kind: sentHandshakeDone})
	}
	if c.postOut != nil {
		c.appendCrypto(d, pk, c.postOut)
	}
	for i := range c.ids.retire {
		if r := &c.ids.retire[i]; r.sent.wanted() && d.room() >= maxFrameLen {
			d.b = wire.RetireConnectionID{Seq: r.seq}.Append(d.b)
			c.mark(pk, &r.sent, recovery.Frame{Kind: sentRetireConnectionID, Off: r.seq})
		}
	}
	for i := range c.ids.local {
		if l := &c.ids.local[i]; l.sent.wanted() && d.room() >= maxNewIDLen {
			d.b = wire.NewConnectionID{Seq: l.seq, ID: l.id, Token: c.cfg.ResetToken(l.id)}.Append(d.b)
			c.ids.localSent = max(c.ids.localSent, l.seq)
			c.mark(pk, &l.sent, recovery.Frame{Kind: sentNewConnectionID, Off: l.seq})
		}
	}
	if c.control.newToken.wanted() && d.room() >= maxNewTokenLen {
		token := c.cfg.Tokens.New(now, c.version, c.paths.active().addr.Remote.Addr())
		d.b = wire.NewToken{Token: token}.Append(d.b)
		c.mark(pk, &c.control.newToken, recovery.Frame{Kind: sentNewToken})
	}
	if c.control.ping.wanted() && d.room() >= 1 {
		d.b = wire.Ping{}.Append(d.b)
		c.mark(pk, &c.control.ping, recovery.Frame{Kind: sentPing, Off: pk.pn})
	}
	c.asking.append(c, d, pk)
}

// mark notes that a packet carries a control frame.
func (c *Conn) mark(pk *packet, s *signal, f recovery.Frame) {
	s.sent(pk.pn)
	pk.eliciting = true
	c.record(f)
}

// skip leaves out packet numbers at random, in each space, so that a peer that acknowledges
// what it did not receive gives itself away (RFC 9000 §21.4). The larger the
// window, the more packets one lie could cover, and the rarer skips need to be.
type skip struct{ next int64 } // 0: not chosen yet

const skipFrom, skipWithin = 64, 192 // the first one is past so many packets, and within so many more

func (s *skip) init(c *Conn) { s.next = skipFrom + int64(c.random64()%skipWithin) }

// skipOf returns the traps of a space. Those of a handshake, which is hardly ever that long, are chosen when it comes there.
func (c *Conn) skipOf(sp recovery.Space) *skip {
	if sp == recovery.App {
		return &c.skip
	}
	return &c.hs.spaces[sp].skip
}

func (s *skip) advance(c *Conn, sp recovery.Space) {
	n := c.loss.Next(sp)
	if s.next == 0 && n >= skipFrom {
		s.next = n + int64(c.random64()%skipWithin)
	}
	if s.next == 0 || n < s.next {
		return
	}
	c.loss.Skip(sp)
	inWindow := int64(c.loss.Window() / c.mtu.size)
	s.next = n + 64 + inWindow + int64(c.random64()%uint64(64+inWindow))
}
