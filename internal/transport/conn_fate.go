package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// settle lets everything that recovery has found out about sent packets take
// effect. Acknowledged and lost go the same way (RFC 9000 §13.3).
func (c *Conn) settle(now mono.Time) {
	if c.settles++; c.settles == 0 {
		c.settles++
	}
	for {
		sp, p, frames, fate, ok := c.loss.NextFate()
		if !ok {
			break
		}
		if c.life.state != active {
			continue
		}
		if c.qlog != nil {
			c.qlog.fate(c, sp, p, frames, fate)
		}
		arrived := fate == recovery.Acked
		if arrived {
			c.idle.progress = now
		}
		if p.Epoch == c.loss.Epoch() {
			c.mtu.settle(c, p, arrived)
		}
		for i := range frames {
			if !arrived && isRepeated(frames[i].Kind) {
				c.stats.lossRetransmits++
			}
			c.settleFrame(now, sp, p.Number, &frames[i], arrived)
		}
	}
	if c.life.state == active {
		c.streams.settle(c)
	}
	if c.qlog != nil {
		c.qlog.flushAcked()
	}
}

// isRepeated reports whether a lost frame of the kind is sent again (RFC 9000 §13.3).
func isRepeated(kind uint8) bool {
	return kind != sentAck && kind != sentPing && kind != sentPathProbe && kind != sentDatagrams
}

// settleFrame tells the owner of one frame whether packet n brought it over.
func (c *Conn) settleFrame(now mono.Time, sp recovery.Space, n int64, f *recovery.Frame, arrived bool) {
	switch f.Kind {
	case sentStream, sentReset, sentStop, sentMaxStreamData, sentStreamBlocked:
		if st := c.streams.find(f.ID); st != nil {
			c.settleStream(now, st, n, f, arrived)
		}
	case sentAck:
		if arrived {
			c.ackArrived(sp, f.Off)
		}
	case sentCrypto:
		c.settleCrypto(now, sp, f, arrived)
	case sentPathProbe:
		c.paths.probes = max(c.paths.probes-1, 0) // a late ACK tells the fate of a lost packet again
	case sentAckFrequency:
		c.asking.settle(c, n, arrived)
	case sentDatagrams:
		c.datagrams.settle(c, uint64(f.ID), int(f.Len), arrived)
	case sentNewConnectionID:
		c.ids.settleNew(f.Off, n, arrived)
	case sentRetireConnectionID:
		c.ids.settleRetire(f.Off, n, arrived)
	default:
		if s := c.signalOf(f); s != nil {
			s.settle(n, arrived)
		}
	}
}

func (c *Conn) ackArrived(sp recovery.Space, largest int64) {
	if sp == recovery.App || c.hs != nil {
		c.acksOf(sp).Acked(largest)
	}
}

func (c *Conn) settleCrypto(now mono.Time, sp recovery.Space, f *recovery.Frame, arrived bool) {
	if arrived {
		c.cryptoAcked(now, sp)
	}
	s := c.cryptoOut(levelOf(sp))
	switch {
	case s == nil:
	case arrived:
		s.Acked(f.Off, int(f.Len), false)
	default:
		s.Lost(f.Off, int(f.Len), false)
	}
}

// signalOf returns the signal behind a frame of the connection as a whole, nil
// for frames that nobody waits for.
func (c *Conn) signalOf(f *recovery.Frame) *signal {
	switch f.Kind {
	case sentMaxData:
		return &c.flow.maxData
	case sentDataBlocked:
		return &c.flow.dataBlocked
	case sentMaxStreams:
		return &c.streams.grants[f.Flag]
	case sentStreamsBlocked:
		return &c.streams.blocked[f.Flag]
	case sentHandshakeDone:
		return &c.control.handshakeDone
	case sentNewToken:
		return &c.control.newToken
	case sentAckFrequency:
		return &c.asking.signal
	}
	return nil
}

// settleStream is settleFrame for the frames of a stream.
func (c *Conn) settleStream(now mono.Time, st *Stream, n int64, f *recovery.Frame, arrived bool) {
	if c.qlog != nil {
		defer c.qlog.streamStates(st, qlog.Remote)
	}
	switch f.Kind {
	case sentStream:
		if arrived {
			before := st.send.AckedPrefix()
			kept := st.send.Retained()
			if st.send.Acked(f.Off, int(f.Len), f.Flag != 0) {
				c.streams.enqueue(c, st)
			}
			c.streams.retained -= kept - st.send.Retained()
			if f.Len > 0 {
				st.dataAcked(&c.streams.pages, now, c.settles)
			}
			if st.watched && st.send.AckedPrefix() > before {
				c.tellAcked(st)
			}
			c.sendDone(st)
			return
		}
		st.send.Lost(f.Off, int(f.Len), f.Flag != 0)
		c.streams.enqueue(c, st)
	case sentReset:
		if arrived {
			st.send.ResetAcked()
			c.sendDone(st)
			return
		}
		st.send.ResetLost()
		c.streams.enqueueControl(st)
	default:
		s := &st.maxData
		if f.Kind == sentStop {
			s = &st.stop
		} else if f.Kind == sentStreamBlocked {
			s = &st.blocked
		}
		s.settle(n, arrived)
		if !arrived {
			c.reviveStream(st, f.Kind)
		}
	}
}

// reviveStream makes a lost control frame of a stream go again if it still says anything.
func (c *Conn) reviveStream(st *Stream, kind uint8) {
	if kind == sentStreamBlocked {
		st.send.LostBlocked()
	}
	c.streams.enqueueControl(st)
}

// sendDone looks whether the peer has everything.
func (c *Conn) sendDone(st *Stream) {
	if !st.send.Done() || st.acked {
		return
	}
	st.acked = true
	c.tellAcked(st)
	c.reap(st)
}

// tellAcked says that the peer has acknowledged something, once until that is heard.
func (c *Conn) tellAcked(st *Stream) {
	if !st.progress {
		st.progress = true
		c.events.push(Event{Kind: EventStreamAcked, Stream: st})
	}
}

// resend makes the contents of a packet that may be lost go again in a probe;
// the packet itself stays in flight (RFC 9002 §6.2.4).
func (c *Conn) resend(sp recovery.Space, f *recovery.Frame) {
	if isRepeated(f.Kind) {
		c.stats.lossRetransmits++
	}
	switch f.Kind {
	case sentStream:
		if st := c.streams.find(f.ID); st != nil {
			st.send.Lost(f.Off, int(f.Len), f.Flag != 0)
			c.streams.enqueue(c, st)
		}
	case sentReset:
		if st := c.streams.find(f.ID); st != nil {
			st.send.ResetLost()
			c.streams.enqueueControl(st)
		}
	case sentStreamBlocked:
		if st := c.streams.find(f.ID); st != nil {
			c.reviveStream(st, f.Kind)
		}
	case sentStop, sentMaxStreamData:
		if st := c.streams.find(f.ID); st != nil {
			if f.Kind == sentStop {
				st.stop.resend()
			} else {
				st.maxData.resend()
			}
			c.streams.enqueueControl(st)
		}
	case sentCrypto:
		c.settleCrypto(0, sp, f, false)
	case sentNewConnectionID:
		for i := range c.ids.local {
			if l := &c.ids.local[i]; l.seq == f.Off {
				l.sent.resend()
			}
		}
	case sentRetireConnectionID:
		for i := range c.ids.retire {
			if r := &c.ids.retire[i]; r.seq == f.Off {
				r.sent.resend()
			}
		}
	default:
		if s := c.signalOf(f); s != nil {
			s.resend()
		}
	}
}
