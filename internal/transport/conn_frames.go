package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// dispatch reads the frames of a packet and lets each act, in order (RFC 9000 §12.4).
func (c *Conn) dispatch(p *received, payload []byte) *wire.Error {
	cur := varint.NewCursor(payload)
	for cur.Len() > 0 && c.life.state == active {
		t, minimal := wire.ParseType(&cur)
		switch {
		case cur.Failed():
			return frameError(wire.FrameEncodingError, 0, "truncated frame type")
		case !t.Known():
			return frameError(wire.FrameEncodingError, t, "unknown frame type")
		case !minimal:
			return frameError(wire.ProtocolViolation, t, "frame type in more bytes than needed")
		case !t.Permitted(p.typ):
			return frameError(wire.ProtocolViolation, t, "frame not allowed in a packet of this type")
		}
		p.eliciting = p.eliciting || t.AckEliciting()
		p.nonProbing = p.nonProbing || !t.Probing()
		p.says = p.says || t > wire.FrameAckECN
		var err *wire.Error
		if t.IsStream() {
			if f := wire.ParseStream(&cur, t); !cur.Failed() {
				err = c.onStream(p, f)
			}
		} else {
			err = c.onFrame(p, t, &cur)
		}
		if cur.Failed() {
			return frameError(wire.FrameEncodingError, t, "malformed frame")
		}
		if err != nil {
			if err.Frame == 0 {
				err.Frame = t
			}
			return err
		}
	}
	return nil
}

// onFrame parses one frame that is not STREAM and lets it act. A frame that did
// not parse has no effect.
func (c *Conn) onFrame(p *received, t wire.FrameType, cur *varint.Cursor) *wire.Error {
	switch t {
	case wire.FramePadding:
		wire.SkipPadding(cur)
	case wire.FramePing:
		p.idleFrame(t)
	case wire.FrameAck, wire.FrameAckECN:
		if f := wire.ParseAck(cur, t); !cur.Failed() {
			return c.onAck(p, f)
		}
	case wire.FrameCrypto:
		if f := wire.ParseCrypto(cur); !cur.Failed() {
			return c.onCrypto(p, f)
		}
	case wire.FrameResetStream, wire.FrameStopSending, wire.FrameMaxStreamData, wire.FrameStreamDataBlocked:
		return c.onStreamFrame(p, t, cur)
	case wire.FrameMaxData, wire.FrameMaxStreamsBidi, wire.FrameMaxStreamsUni,
		wire.FrameDataBlocked, wire.FrameStreamsBlockedBidi, wire.FrameStreamsBlockedUni:
		c.onLimitFrame(p, t, cur)
	case wire.FrameNewToken, wire.FrameHandshakeDone:
		return c.onServerFrame(p, t, cur)
	case wire.FrameNewConnectionID:
		if f := wire.ParseNewConnectionID(cur); !cur.Failed() {
			return c.ids.onNew(c, p, f)
		}
	case wire.FrameRetireConnectionID:
		if p.typ == wire.ZeroRTT {
			return frameError(wire.ProtocolViolation, t, "a client in 0-RTT has no connection ID to retire") // RFC 9000 §12.5
		}
		if f := wire.ParseRetireConnectionID(cur); !cur.Failed() {
			p.waste(t, uselessWork) // it makes us issue another one, or is old
			return c.ids.onRetire(c, p.now, f.Seq, p.own(c))
		}
	case wire.FramePathChallenge:
		if f := wire.ParsePathChallenge(cur); !cur.Failed() {
			p.waste(t, uselessWork) // an answer of full size for a few bytes
			c.paths.onChallenge(c, p.now, p.d, f.Data)
		}
	case wire.FramePathResponse:
		if f := wire.ParsePathResponse(cur); !cur.Failed() {
			p.wasteUnless(c.paths.onResponse(c, p.now, f.Data), t)
		}
	case wire.FrameConnectionClose, wire.FrameApplicationClose:
		if f := wire.ParseClose(cur, t); !cur.Failed() {
			c.onClose(p.now, f)
		}
	case wire.FrameImmediateAck, wire.FrameAckFrequency:
		p.waste(t, 1)
		return c.onAckRequest(t, cur)
	case wire.FrameDatagram, wire.FrameDatagramLen:
		if c.params.MaxDatagramFrame == 0 {
			return frameError(wire.ProtocolViolation, t, "frame was not negotiated") // RFC 9221 §3
		}
		before := cur.Len()
		if f := wire.ParseDatagram(cur, t); !cur.Failed() {
			p.useful = true
			return c.onDatagram(p, f, 1+before-cur.Len())
		}
	}
	return nil
}

func (c *Conn) onAck(p *received, f wire.Ack) *wire.Error {
	exponent := uint8(handshakeAckExponent)
	if p.space == recovery.App && c.peerKnown {
		exponent = c.peer.AckDelayExponent
	}
	if p.typ == wire.OneRTT && c.oneRTT.StaleAck(p.first, f.Largest) {
		return frameError(wire.KeyUpdateError, wire.FrameAck, "acknowledges a packet of newer keys under old ones")
	}
	before := c.loss.Arrivals()
	if !c.loss.Ack(p.now, p.space, f, ackDelay(f.Delay, exponent)) {
		return frameError(wire.ProtocolViolation, wire.FrameAck, "acknowledges a packet that was not sent")
	}
	if c.loss.Arrivals() != before {
		p.useful = true
	} else {
		p.idleFrame(wire.FrameAck)
	}
	if p.space != recovery.Initial && !c.server {
		c.loss.SetPeerValidated() // an ACK in the Handshake space or later (RFC 9002 §6.2.2.1)
	}
	if p.typ == wire.OneRTT {
		c.oneRTT.Acked(c.loss.LargestAcked(recovery.App))
	}
	c.settle(p.now)
	c.asking.tune(c)
	return nil
}

// onAckRequest takes the frames of draft-ietf-quic-ack-frequency, which to an endpoint
// that has not offered that extension are as unknown as any.
func (c *Conn) onAckRequest(t wire.FrameType, cur *varint.Cursor) *wire.Error {
	if !c.params.HasMinAckDelay {
		return frameError(wire.FrameEncodingError, t, "frame was not negotiated")
	}
	if t == wire.FrameImmediateAck {
		c.acks.AnswerAtOnce()
		return nil
	}
	if f := wire.ParseAckFrequency(cur); !cur.Failed() {
		return c.onAckFrequency(f)
	}
	return nil
}

// ackDelay converts the field of an ACK frame, in units of 2^exponent
// microseconds, without overflow.
func ackDelay(v uint64, exponent uint8) time.Duration {
	const most = uint64(time.Hour / time.Microsecond)
	if v > most>>exponent {
		return time.Hour
	}
	return time.Duration(v<<exponent) * time.Microsecond
}

// onStreamFrame takes the frames that name a stream, but STREAM itself.
func (c *Conn) onStreamFrame(p *received, t wire.FrameType, cur *varint.Cursor) *wire.Error {
	switch t {
	case wire.FrameResetStream:
		if f := wire.ParseResetStream(cur); !cur.Failed() {
			return c.onReset(p, f)
		}
	case wire.FrameStopSending:
		if f := wire.ParseStopSending(cur); !cur.Failed() {
			return c.onStopSending(p, f)
		}
	case wire.FrameMaxStreamData:
		if f := wire.ParseMaxStreamData(cur); !cur.Failed() {
			return c.onMaxStreamData(p, f)
		}
	case wire.FrameStreamDataBlocked:
		if f := wire.ParseStreamDataBlocked(cur); !cur.Failed() {
			return c.onStreamDataBlocked(p, f)
		}
	}
	return nil
}

// onLimitFrame takes the frames about connection-wide limits.
func (c *Conn) onLimitFrame(p *received, t wire.FrameType, cur *varint.Cursor) {
	switch t {
	case wire.FrameMaxData:
		f := wire.ParseMaxData(cur)
		if cur.Failed() {
			return
		}
		spent := c.flow.out.Left() == 0 // else nobody waits for this limit, and to ask all streams each time would be dear
		if p.raised(c.flow.out.Add(f.Max), t) && spent {
			c.flow.dataBlocked.clear()
			if c.qlog != nil {
				c.qlog.block(blockedConnection, false)
			}
			c.streams.unblock(c)
		}
	case wire.FrameMaxStreamsBidi, wire.FrameMaxStreamsUni:
		if f := wire.ParseMaxStreams(cur, t); !cur.Failed() {
			p.raised(c.streams.setMax(c, f.Uni, f.Max), t)
		}
	case wire.FrameDataBlocked:
		if f := wire.ParseDataBlocked(cur); !cur.Failed() {
			p.blockedAt(f.Limit, c.flow.in.Limit(), &c.flow.peerBlocked, t)
			c.flow.asked()
		}
	case wire.FrameStreamsBlockedBidi, wire.FrameStreamsBlockedUni:
		if f := wire.ParseStreamsBlocked(cur, t); !cur.Failed() {
			p.blockedAt(f.Limit, c.streams.granted[kind(f.Uni)], &c.streams.peerBlocked[kind(f.Uni)], t)
			c.streams.grant(c, f.Uni, true)
		}
	}
}

// onServerFrame takes the frames that only a server may send.
func (c *Conn) onServerFrame(p *received, t wire.FrameType, cur *varint.Cursor) *wire.Error {
	if t == wire.FrameNewToken {
		f := wire.ParseNewToken(cur)
		if c.server {
			return frameError(wire.ProtocolViolation, t, "only servers send it")
		}
		p.waste(t, 1)
		if !cur.Failed() && len(f.Token) <= maxTokenLen {
			c.events.push(Event{Kind: EventNewToken, Detail: &Detail{Data: append([]byte(nil), f.Token...)}})
		}
		return nil
	}
	if c.server {
		return frameError(wire.ProtocolViolation, t, "only servers send it")
	}
	p.wasteUnless(!c.confirmed, t)
	c.confirm(p.now)
	return nil
}
