package transport

import (
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// lifeState is where a connection stands between birth and oblivion.
//
//	active ──our close──▶ closing ──3 PTO──▶ gone
//	   └──peer's close, reset, version──▶ draining ──3 PTO──▶ gone
//	   └──idle, handshake timeout, destroy──────────────────▶ gone
type lifeState uint8

const (
	active   lifeState = iota
	closing            // we answer packets with our CONNECTION_CLOSE (RFC 9000 §10.2.1)
	draining           // we say nothing (RFC 9000 §10.2.2)
	gone               // EventGone is out
)

// life is the end of a connection (RFC 9000 §10).
type life struct {
	state  lifeState
	owed   bool         // a CONNECTION_CLOSE is to be sent
	behind bool         // its 1-RTT packet is, after the others: it goes to another ID
	reason *CloseReason // in closing: what CONNECTION_CLOSE says
	until  mono.Time    // end of closing and draining

	received int // packets since the last one
	interval int // packets that must come before the next one
}

// Close ends the connection at once (RFC 9000 §10.2) with an application's or,
// if app is false, a transport error code. Streams are dead from now on.
func (c *Conn) Close(now mono.Time, app bool, code uint64, reason string) {
	c.enterClosing(now, CloseReason{Kind: CloseLocal, App: app, Code: code, Reason: reason})
}

// Destroy forgets the connection without a word to the peer.
func (c *Conn) Destroy(now mono.Time) {
	c.enterGone(now, &CloseReason{Kind: CloseSilent})
}

// fail closes the connection because the peer broke a rule (RFC 9000 §11.1).
func (c *Conn) fail(now mono.Time, err *wire.Error) {
	c.enterClosing(now, CloseReason{Kind: CloseLocal, Code: uint64(err.Code), Frame: err.Frame, Reason: err.Reason, Limit: pastLimit(err)})
}

// pastLimit reports whether an error is that the peer sent more than we take. RFC 9000
// has codes for the limits that are advertised; where a bound is our own affair, the
// code is INTERNAL_ERROR and a frame has met it.
func pastLimit(err *wire.Error) bool {
	switch err.Code {
	case wire.FlowControlError, wire.StreamLimitError, wire.ConnectionIDLimitError, wire.CryptoBufferExceeded:
		return true
	case wire.InternalError:
		return err.Frame != 0
	}
	return false
}

func (c *Conn) enterClosing(now mono.Time, reason CloseReason) {
	if c.life.state != active {
		return
	}
	if c.held() { // nobody has heard of us: there is nobody to tell
		c.enterGone(now, &reason)
		return
	}
	c.life.reason = &reason
	c.life.owed, c.life.interval = true, 1
	c.end(now, closing, &reason)
}

func (c *Conn) enterDraining(now mono.Time, reason *CloseReason) {
	if c.life.state == active {
		c.end(now, draining, reason)
	}
}

func (c *Conn) enterGone(now mono.Time, reason *CloseReason) {
	if c.life.state == active {
		c.end(now, draining, reason)
	}
	if c.life.state != gone {
		c.life.state = gone
		c.life.until = mono.Never
		c.eraseKeys()
		if c.qlog != nil {
			c.qlog.at(now)
			c.qlog.setState("closed")
		}
		c.events.push(Event{Kind: EventGone})
	}
}

// end leaves the active state: everything but what closing needs is released.
func (c *Conn) end(now mono.Time, state lifeState, reason *CloseReason) {
	c.life.state = state
	c.life.until = now.Add(3 * c.closePTO())
	c.stats.closed = now
	orderly := reason.Kind == ClosePeer && (reason.Code == uint64(wire.NoError) || reason.App && c.Orderly(reason.Code))
	c.streams.release(c, orderly)
	c.datagrams.release(c, orderly)
	if c.postOut != nil {
		c.postOut.Release()
	}
	if c.postIn != nil {
		c.postIn.Release()
	}
	c.postOut, c.postIn = nil, nil
	c.waiting = waiting{}
	if c.hs != nil {
		c.hs.hello = nil
		for _, s := range c.hs.spaces {
			if s != nil {
				s.crypto.release()
			}
		}
	}
	if c.qlog != nil {
		c.qlog.at(now)
		c.qlog.closed(reason)
	}
	c.events.push(Event{Kind: EventClosed, Detail: &Detail{Close: reason}})
}

// errorCodes are what an application's protocol means by its codes.
type errorCodes struct {
	none     uint64   // an end in order, as 0 is
	failures []uint64 // any other, if there are some; if not, all that are left are
}

// SetErrorCodes says with which code the application closes when all is well, beside 0; and
// with which ones when it is not, if all others mean no more than the first.
func (c *Conn) SetErrorCodes(none uint64, failures []uint64) { c.codes = &errorCodes{none, failures} }

// Orderly reports whether the application's peer closes with a code when nothing is wrong.
func (c *Conn) Orderly(code uint64) bool {
	k := c.codes
	return code == 0 || k != nil && (code == k.none || len(k.failures) > 0 && !slices.Contains(k.failures, code))
}

// KeepUnidirectional lets what has come on the peer's unidirectional streams be read also when the
// connection has ended in order.
func (c *Conn) KeepUnidirectional() { c.keepUni = true }

func (c *Conn) closePTO() time.Duration { return c.loss.PTO(recovery.App) }

// onClose takes the peer's CONNECTION_CLOSE.
func (c *Conn) onClose(now mono.Time, f wire.Close) {
	c.enterDraining(now, &CloseReason{Kind: ClosePeer, App: f.App, Code: f.Code, Frame: f.Frame, Reason: string(f.Reason)})
}

// receiveClosed takes a datagram after the end. While closing, every so many
// packets are answered, and the number doubles (RFC 9000 §10.2.1).
func (c *Conn) receiveClosed(now mono.Time, d *dgram.Datagram) {
	if c.qlog != nil {
		c.qlog.packetDropped(d.Data, dropOther, "the connection is closed")
	}
	if c.life.state != closing || !c.paths.arrive(c, d) {
		return
	}
	if c.isStatelessReset(d) || c.peerClosed(now, d) {
		c.life.state = draining
		if c.qlog != nil {
			c.qlog.setState("draining")
		}
		return
	}
	c.life.received++
	if c.life.received >= c.life.interval {
		c.life.received = 0
		c.life.interval *= 2
		c.life.owed = true
	}
}

// peerClosed reports whether a datagram that came while closing holds the
// peer's own CONNECTION_CLOSE in a 1-RTT packet; then there is no more to say.
func (c *Conn) peerClosed(now mono.Time, d *dgram.Datagram) bool {
	b := d.Data
	if len(b) < 1+connIDLen || b[0]&0xc0 != 0x40 || !c.oneRTT.CanRead() {
		return false
	}
	o, result := c.oneRTT.Open(now, b, 1+connIDLen, c.acks.Largest())
	return result != 0 && wire.HasClose(o.Payload)
}

// transmitClose writes the one datagram that tells the peer of our close: at
// every level that the peer may be able to read (RFC 9000 §10.2.3). Where its packets have
// two destinations, it writes the second one's with the next call (RFC 9000 §12.2).
func (c *Conn) transmitClose(now mono.Time, b *dgram.Batch) bool {
	all := c.life.owed
	if !all && !c.life.behind {
		return false
	}
	c.life.owed, c.life.behind = false, false
	p := c.paths.active()
	room := b.Next(min(c.mtu.size, p.allowance()))
	if room == nil || cap(room) < 64 {
		return false
	}
	c.marking = dgram.NotECT
	d := &datagram{}
	d.reset(room)
	for sp := recovery.Initial; sp < recovery.App && c.hs != nil && all; sp++ {
		if s := c.hs.spaces[sp]; s != nil && s.sealer != nil && !(sp == recovery.Initial && c.confirmedKeys()) {
			c.appendClose(d, sp)
		}
	}
	if c.oneRTT.CanWrite() {
		c.appendClose(d, recovery.App)
	}
	if d.n > 0 && d.pkts[0].typ == wire.Initial && !c.server {
		d.padTo = min(wire.MinInitialSize, d.limit)
	}
	n := c.finish(now, d)
	if n == 0 {
		return false
	}
	c.commit(b, p, n)
	b.Close()
	c.life.behind = all && c.apart()
	return true
}

// confirmedKeys reports whether the peer is known to have 1-RTT keys.
func (c *Conn) confirmedKeys() bool { return c.secure && c.server }

// appendClose writes a packet with our CONNECTION_CLOSE. Before 1-RTT an
// application's code and words would be readable by anyone, so a plain
// APPLICATION_ERROR stands for them.
func (c *Conn) appendClose(d *datagram, sp recovery.Space) {
	r := c.life.reason
	f := wire.Close{App: r.App, Code: r.Code, Frame: r.Frame, Reason: []byte(r.Reason)}
	if sp != recovery.App && r.App {
		f = wire.Close{Code: uint64(wire.ApplicationError)}
	}
	pk := c.openPacket(d, sp)
	if pk == nil {
		return
	}
	const header, coalesced = 1 + 8 + 8 + 4, 128
	left := d.room() - header
	if sp != recovery.App {
		left = min(left, coalesced) // the next level's packet needs room, too
	}
	if len(f.Reason) > left {
		f.Reason = f.Reason[:max(left, 0)]
	}
	d.b = f.Append(d.b)
	c.closePacket(d, pk)
}
