package recovery

import (
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Ack takes in an ACK frame of the space; delay is its ACK Delay with the
// peer's exponent applied. It returns false, and changes nothing, if the frame
// acknowledges a packet that was never sent: a PROTOCOL_VIOLATION.
func (l *Loss) Ack(now mono.Time, space Space, a wire.Ack, delay time.Duration) bool {
	l.Open(space)
	s := l.spaces[space]
	if !s.valid(a) {
		return false
	}
	l.lateAcked(now, space, a)
	t := l.match(space, a)
	raised := a.Largest > s.largestAcked
	s.largestAcked = max(s.largestAcked, a.Largest)
	if t.packets == 0 {
		return true
	}
	l.measure(now, space, a.Largest, &t, delay)
	l.countECN(now, s, &a, &t, raised)

	before := l.inFlight
	l.inFlight -= t.bytes
	l.settle(now, space)
	if t.bytes > 0 {
		l.grow(now, &t, before)
	}
	l.progress(now, space, &t)
	return true
}

// valid reports whether everything that a acknowledges was sent.
func (s *space) valid(a wire.Ack) bool {
	if a.Largest >= s.next {
		return false
	}
	if s.skips == 0 {
		return true
	}
	for start, end, ok := a.Next(); ok; start, end, ok = a.Next() {
		for _, n := range s.skipped {
			if start <= n && n < end {
				return false
			}
		}
	}
	return true
}

// tally is what one ACK frame newly acknowledged.
type tally struct {
	packets   int
	eliciting bool
	bytes     int // in flight, of this epoch

	largest    int64 // packet number
	largestOf  uint32
	largestAt  mono.Time     // send time
	order      int64         // of the latest packet of this epoch
	epochSent  mono.Time     // and when that was sent; -1: none of this epoch
	rtt        time.Duration // the sample taken, 0 if none
	markedECT0 int64         // of this epoch
	markedECT1 int64
}

// match finds the outstanding packets that a acknowledges and takes them off
// every count but the bytes in flight. Its cost is the ranges that reach the
// outstanding packets plus the packets found: settle leaves no long run of
// other records behind.
func (l *Loss) match(space Space, a wire.Ack) tally {
	s := l.spaces[space]
	t := tally{largest: -1, epochSent: -1}
	first := len(l.fates)
	live := s.sent.live()
	for start, end, ok := a.Next(); ok && len(live) > 0 && end > live[0].Number; start, end, ok = a.Next() {
		i := len(live)
		if live[i-1].Number >= end {
			i = s.sent.after(end) - s.sent.head
		}
		for i--; i >= 0 && live[i].Number >= start; i-- {
			switch p := &live[i]; p.state {
			case outstanding:
				p.state = nowAcked
				l.acked(s, p, &t)
			case tellLost: // two ACKs came before the fates were pulled
				p.state = tellBoth
				l.stats.Spurious++
				l.fates = append(l.fates, fate{index: int32(s.sent.head + i), space: space, fate: Acked})
			}
		}
		live = live[:i+1]
	}
	slices.Reverse(l.fates[first:]) // ranges descend, fates ascend
	return t
}

// acked counts one newly acknowledged packet. The first one is the largest.
func (l *Loss) acked(s *space, p *Packet, t *tally) {
	t.packets++
	if t.largest < 0 {
		t.largest, t.largestOf, t.largestAt = p.Number, p.Epoch, p.Sent
	}
	l.leave(s, p)
	t.eliciting = t.eliciting || p.AckEliciting
	l.stats.Acked++
	l.stats.AckedBytes += uint64(p.Size)
	s.ackedSent = max(s.ackedSent, p.Sent)
	if p.Epoch != l.epoch {
		return
	}
	if t.epochSent < 0 {
		t.epochSent, t.order = p.Sent, l.fullOrder(p)
	}
	if p.InFlight {
		t.bytes += int(p.Size)
	}
	switch p.ECN {
	case dgram.ECT0:
		t.markedECT0++
	case dgram.ECT1:
		t.markedECT1++
	}
}

// leave takes a packet that is no longer outstanding off the counts of
// the space, and of all paths.
func (l *Loss) leave(s *space, p *Packet) {
	if p.AckEliciting {
		s.eliciting--
	}
	if p.active() {
		l.unacked -= int(p.Size)
		l.records -= p.record()
	}
	if !p.InFlight {
		s.quiet--
	}
}

// fullOrder returns how many packets, over all spaces, were sent before p. The
// congestion controller counts rounds with it: packet numbers of different
// spaces cannot be compared.
func (l *Loss) fullOrder(p *Packet) int64 {
	return l.order - int64(uint32(l.order)-p.order)
}

// lateAcked finds the packets in a that were declared lost before. They do not
// count for anything but the release of what they carried.
func (l *Loss) lateAcked(now mono.Time, space Space, a wire.Ack) {
	s := l.spaces[space]
	keep := latePTOs * (l.rtt.pto() + l.peerAckDelay)
	for live := s.late.live(); len(live) > 0 && live[0].Sent.Add(keep) <= now; live = s.late.live() {
		s.late.packets[s.late.head].state = settled
		s.late.head++
	}
	first := len(l.fates)
	live := s.late.live()
	for start, end, ok := a.Next(); ok && len(live) > 0 && end > live[0].Number; start, end, ok = a.Next() {
		i := len(live)
		if live[i-1].Number >= end {
			i = s.late.after(end) - s.late.head
		}
		for i--; i >= 0 && live[i].Number >= start; i-- {
			p := &live[i]
			if p.state != outstanding {
				continue
			}
			p.state = settled
			l.stats.Spurious++
			l.lateRefs++
			s.ackedSent = max(s.ackedSent, p.Sent)
			if s.lostFrom <= p.Sent {
				s.lostFrom = mono.Never
			}
			l.fates = append(l.fates, fate{index: int32(s.late.head + i), space: space, fate: Acked, late: true})
		}
		live = live[:i+1]
	}
	slices.Reverse(l.fates[first:])
}

// measure takes a round-trip sample if the ACK is fit for one: the largest
// packet it names is new, it left by this path, and something in the ACK made
// the peer answer (RFC 9002 §5.1).
func (l *Loss) measure(now mono.Time, space Space, largest int64, t *tally, delay time.Duration) {
	if t.largest != largest || !t.eliciting || t.largestOf != l.epoch {
		return
	}
	switch {
	case space == Initial:
		delay = 0 // never delayed on purpose (RFC 9002 §5.3)
	case l.confirmed:
		delay = min(delay, l.peerAckDelay)
	}
	l.rtt.sample(now, now.Sub(t.largestAt), delay)
	t.rtt = l.rtt.Latest
}

// grow tells the controller what arrived.
func (l *Loss) grow(now mono.Time, t *tally, before int) {
	l.controller.OnAck(congestion.Ack{
		Now:         now,
		Bytes:       t.bytes,
		LargestSent: t.epochSent,
		LargestPN:   t.order,
		NextPN:      l.order,
		RTT:         t.rtt,
		SmoothedRTT: l.rtt.Smoothed,
		MinRTT:      l.rtt.Min,
		InFlight:    before,
		// A window with less than a datagram to spare was used (RFC 9002 §7.8).
		AppLimited: l.appLimited && before+int(l.datagram) <= l.controller.Window(),
	})
	l.updatePacer()
}

// progress is what an ACK means for the probe timer. The backoff stays at a
// client whose server may still be blocked: an Initial acknowledged says
// nothing about that (RFC 9002 §6.2.1).
func (l *Loss) progress(now mono.Time, space Space, t *tally) {
	if space == Handshake {
		l.validated = true // only who validated us acknowledges these (RFC 9002 §6.2.2.1)
	}
	l.idleFrom = now
	if t.eliciting {
		l.spaces[space].probes = 0
	}
	if l.server || l.validated {
		l.ptoCount = 0
	}
}
