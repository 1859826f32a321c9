package recovery

import (
	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// settle walks the packets up to the largest acknowledged one, in order. It
// queues the fates of those that this ACK acknowledged, declares lost those
// that were sent three packets or 9/8 of a round trip before (RFC 9002 §6.1),
// and sets the loss timer for the rest, of which there are at most two.
func (l *Loss) settle(now mono.Time, space Space) {
	s := l.spaces[space]
	s.lossTime = mono.Never
	limit, delay := s.lostBelow(), l.rtt.lossDelay()
	v := verdict{sent: -1}
	cut, i := false, s.sent.head
	for ; i < len(s.sent.packets) && s.sent.packets[i].Number <= s.largestAcked; i++ {
		p := &s.sent.packets[i]
		switch p.state {
		case nowAcked:
			p.state, cut = tellAcked, true
			l.fates = append(l.fates, fate{index: int32(i), space: space, fate: Acked})
		case outstanding:
			p.cut, cut = p.cut || cut, false
			if at := p.Sent.Add(delay); p.Number >= limit && at > now {
				s.lossTime = min(s.lossTime, at)
				continue
			}
			p.state = tellLost
			l.fates = append(l.fates, fate{index: int32(i), space: space, fate: Lost})
			l.lost(space, p, &v)
		}
	}
	if cut {
		s.cutAt(i)
	}
	l.react(now, &v)
}

// cutAt notes that a packet was acknowledged before the one at index i, which
// may be yet to come.
func (s *space) cutAt(i int) {
	for ; i < len(s.sent.packets); i++ {
		if p := &s.sent.packets[i]; p.state == outstanding {
			p.cut = true
			return
		}
	}
	s.cut = true
}

// lostBelow returns the packet number below which every packet is lost by the
// packet threshold: three packets were sent later, up to one that has arrived.
// Numbers that were skipped are not packets.
func (s *space) lostBelow() int64 {
	n := s.largestAcked + 1
	for later := 0; later < packetThreshold && n > 0; {
		n--
		if !s.wasSkipped(n) {
			later++
		}
	}
	return n
}

func (s *space) wasSkipped(n int64) bool {
	for _, k := range s.skipped {
		if k == n {
			return true
		}
	}
	return false
}

// verdict is what one pass over a space found about the path.
type verdict struct {
	sent       mono.Time // latest send time of a loss that counts; -1: none
	persistent bool
}

// lost counts one packet that was declared lost.
func (l *Loss) lost(space Space, p *Packet, v *verdict) {
	s := l.spaces[space]
	l.leave(s, p)
	if p.cut {
		s.lostFrom = mono.Never
	}
	if p.Probe {
		l.stats.ProbesLost++
	} else {
		l.stats.Lost++
		l.stats.LostBytes += uint64(p.Size)
	}
	if p.Epoch != l.epoch {
		return
	}
	if p.InFlight {
		l.inFlight -= int(p.Size)
	}
	if p.ECN != dgram.NotECT {
		l.ecn.lost++
	}
	if p.Probe || !p.InFlight {
		return
	}
	v.sent = max(v.sent, p.Sent)
	if p.AckEliciting {
		v.persistent = l.persists(space, p) || v.persistent
	}
}

// persists reports whether with p the losses span persistent congestion
// (RFC 9002 §7.6): everything sent for three PTOs is lost, in all spaces.
// Only packets sent after the first round-trip sample count. A run of losses
// goes on over several calls, since the loss timer finds the last ones later.
// Packets of a space are declared lost in order, so an acknowledged one within
// the run shows as a cut before the next lost one. In another space it shows by
// its send time, where the latest stands for all: that errs on the gentle side.
func (l *Loss) persists(space Space, p *Packet) bool {
	s := l.spaces[space]
	if p.Sent <= l.rtt.First {
		return false
	}
	from := s.lostFrom
	for i, other := range l.spaces {
		if other != nil && other.ackedSent > from && i != int(space) {
			from = mono.Never // something sent in between arrived
		}
	}
	if from == mono.Never || from > p.Sent {
		s.lostFrom = p.Sent
		return false
	}
	if p.Sent.Sub(from) <= persistence*(l.rtt.pto()+l.peerAckDelay) {
		return false
	}
	s.lostFrom = p.Sent // the next run starts here
	return true
}

// congested tells the controller that a packet was lost or marked that was sent at that time, and counts what comes of it.
// The latest round trip is as it was measured: a peer that overstates its delay hides no queue.
func (l *Loss) congested(now, sent mono.Time) {
	e := congestion.Event{Now: now, Sent: sent, NextPN: l.order, RTT: max(l.rtt.Smoothed, l.rtt.Latest), MinRTT: l.rtt.Min}
	if l.controller.OnCongestion(e) {
		l.stats.CongestionEvents++
	}
}

// react tells the controller about the losses of one pass.
func (l *Loss) react(now mono.Time, v *verdict) {
	l.checkMarkedLost()
	if v.sent < 0 {
		return
	}
	l.congested(now, v.sent)
	if v.persistent {
		l.stats.PersistentCongestion++
		l.controller.OnPersistent(now)
		l.rtt.Min = l.rtt.Latest // RFC 9002 §5.2: the path may have become another
	}
	l.updatePacer()
}
