package recovery

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// DropSpace forgets a space whose keys were discarded: its packets leave the
// flight without a fate, and the timers start over (RFC 9002 §6.4).
func (l *Loss) DropSpace(now mono.Time, space Space) {
	l.forget(space)
	l.spaces[space].keys = false
	l.ptoCount = 0
	l.idleFrom, l.restarted = now, now
}

// AppOnly gives back the memory of Initial and Handshake. Both were dropped, and are not
// to be named again but to Probes.
func (l *Loss) AppOnly() { l.spaces = [Spaces]*space{App: &l.app} }

// EarlyRejected forgets the App packets that went out as 0-RTT and that the
// server refused: without fates, since their streams start over. Numbers go on.
func (l *Loss) EarlyRejected() { l.forget(App) }

// forget drops everything outstanding, remembered or undelivered in a space.
func (l *Loss) forget(space Space) {
	s := l.spaces[space]
	for i := range s.sent.live() {
		p := &s.sent.live()[i]
		if p.state == outstanding && p.active() {
			l.unacked -= int(p.Size)
			l.records -= p.record()
		}
		if p.state != outstanding || p.Epoch != l.epoch {
			continue
		}
		if p.InFlight {
			l.inFlight -= int(p.Size)
		}
		if p.ECN != dgram.NotECT {
			l.ecn.marked-- // neither arrived nor lost: not tested
		}
	}
	s.sent.drop()
	s.late.drop()
	s.lossTime, s.lostFrom, s.ackedSent = mono.Never, mono.Never, -1
	s.eliciting, s.quiet, s.probes = 0, 0, 0

	kept := l.fates[:l.fateAt]
	l.lateRefs = 0
	for _, f := range l.fates[l.fateAt:] {
		if f.space == space {
			continue
		}
		kept = append(kept, f)
		if f.late {
			l.lateRefs++
		}
	}
	l.fates = kept
}

// RetryRestart is for a client that got a Retry: all that is outstanding in
// Initial and App gets the fate Lost, to be sent again, but as if the
// connection had only begun: congestion, ECN and the probe timer forget it
// (RFC 9002 §6.3). Packet numbers go on. If the Retry answers one
// Initial and no other, it is a first idea of the round-trip time.
func (l *Loss) RetryRestart(now mono.Time) {
	for _, space := range [...]Space{Initial, App} {
		s := l.spaces[space]
		for i := s.sent.head; i < len(s.sent.packets); i++ {
			if p := &s.sent.packets[i]; p.state == outstanding {
				p.state = tellAcked // not to be remembered: no ACK can come
				l.leave(s, p)
				l.fates = append(l.fates, fate{index: int32(i), space: space, fate: Lost})
			}
		}
		s.lossTime, s.lostFrom, s.probes = mono.Never, mono.Never, 0
	}
	l.inFlight = 0
	l.ecn = ecn{}
	if l.ptoCount == 0 && l.firstSent != mono.Never {
		l.SetInitialRTT(max(now.Sub(l.firstSent), granularity))
	}
	l.ptoCount = 0
	l.idleFrom = now
}

// ResetPath switches to another path (RFC 9000 §9.4): a new round-trip
// estimate, a new controller, ECN to be validated again. Packets of another
// epoch still get their fates, but touch none of these. None of the new epoch has left yet,
// so that no record need be looked at: a peer may change the path with every packet.
func (l *Loss) ResetPath(now mono.Time, c congestion.Controller) {
	l.widest = max(l.widest, l.controller.Window(), l.inFlight) // probes and a window that shrank leave more in flight
	l.epoch++
	l.controller = c
	l.rtt.init(l.initialRTT)
	l.ecn = ecn{}
	l.inFlight = 0
	for _, s := range l.spaces {
		if s != nil {
			s.lostFrom, s.ackedSent = mono.Never, -1
		}
	}
	l.ptoCount = 0
	l.idleFrom = now
	l.owed = 0
	l.pacer.Init(now, int(l.datagram))
	l.updatePacer()
}

// SetInitialRTT replaces the assumed round-trip time, as long as none was
// measured: with that of an earlier connection, or of a path validation
// (RFC 9002 §6.2.2).
func (l *Loss) SetInitialRTT(rtt time.Duration) {
	if l.rtt.Samples == 0 {
		l.rtt.init(rtt)
		l.updatePacer()
	}
}

// Epoch returns the number of the path in use.
func (l *Loss) Epoch() uint32 { return l.epoch }

// CanSend returns how many bytes of the congestion window are free, negative
// when probes or a reduced window have overdrawn it. What still waits on paths that were left
// does not count, up to the largest window that one of them had: a peer that moves with
// every packet and acknowledges none would make us remember packets without end.
// Nor would the bytes be a bound where packets or frames are small, as a peer makes them whose limits rise by a byte.
func (l *Loss) CanSend() int {
	w := l.controller.Window()
	n := min(w-l.inFlight, w+l.widest-l.unacked)
	if l.Crowded() {
		return min(n, 0)
	}
	return n
}

// Crowded reports whether there are too many records of packets in flight: half as many bytes of them as of the
// window, which full packets of up to twenty frames never come near. Probes are to bring nothing new then.
// What waits on paths that were left may take as much again. The store is up to four times as large.
func (l *Loss) Crowded() bool {
	most := max(l.controller.Window()/2, minRecords)
	if l.widest > 0 {
		most += max(l.widest/2, minRecords)
	}
	return int(l.records) >= most
}

// InFlight returns the bytes in flight on this path.
func (l *Loss) InFlight() int { return l.inFlight }

// Window returns the congestion window in bytes.
func (l *Loss) Window() int { return l.controller.Window() }

// SmoothedRTT returns the smoothed round-trip time, or what is assumed for it.
func (l *Loss) SmoothedRTT() time.Duration { return l.rtt.Smoothed }

// RTT returns the whole round-trip estimate.
func (l *Loss) RTT() RTT { return l.rtt }

// LargestAcked returns the largest packet number that the peer has
// acknowledged in the space, -1 if none.
func (l *Loss) LargestAcked(space Space) int64 { return l.spaces[space].largestAcked }

// SetAppLimited says whether the last transmission ended because there was
// nothing more to send: then the window was not used and does not grow.
// An end for pacing or for the window itself is no such end; one for the records of small packets is.
func (l *Loss) SetAppLimited(limited bool) {
	l.appLimited = limited || l.Crowded()
}

// SetMaxDatagram says how large datagrams may be from now on, in bytes.
func (l *Loss) SetMaxDatagram(n int) {
	l.datagram = int32(n)
	l.controller.SetMaxDatagram(n)
	l.Pacer().SetMaxDatagram(n)
	l.updatePacer()
}

// Controller returns the congestion controller of this path, to be looked at.
func (l *Loss) Controller() congestion.Controller { return l.controller }

// Stats returns the counts since Init.
func (l *Loss) Stats() Stats { return l.stats }

// Arrivals counts the packets that are known to have arrived, in time or after they
// were taken as lost.
func (l *Loss) Arrivals() uint64 { return l.stats.Acked + l.stats.Spurious }
