package recovery

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Advance does what is due: it declares packets lost whose time has come, whose
// fates are then to be pulled, or lets the probe timeout expire, which
// Probes then tells about. It returns true for the latter.
func (l *Loss) Advance(now mono.Time) (pto bool) {
	if at := l.lossTime(); at != mono.Never {
		for i, s := range l.spaces {
			if s != nil && s.lossTime <= now {
				l.settle(now, Space(i))
			}
		}
		return false
	}
	at, space, ok := l.ptoTime()
	if !ok || at > now {
		return false
	}
	l.stats.PTOs++
	l.ptoCount = min(l.ptoCount+1, maxPTOCount)
	l.idleFrom = now
	l.oweProbes(space)
	return true
}

// oweProbes asks for two probes in the space whose timer expired, so that one
// lost datagram does not cost another period, and for one in every other space
// with something outstanding: they share a datagram (RFC 9002 §6.2.4). A client
// that only unblocks its server needs one.
func (l *Loss) oweProbes(expired Space) {
	for _, s := range l.spaces {
		if s.sends() && s.eliciting > 0 {
			s.probes = max(s.probes, 1)
		}
	}
	s := l.spaces[expired]
	s.probes = 1
	if s.eliciting > 0 {
		s.probes = 2
	}
}

// Hurry owes a probe in every space of the handshake with something outstanding that was not sent a moment
// ago, ahead of its timeout, and reports whether there is one: the peer has shown that it lacks
// something (RFC 9002 §6.2.3). Timeouts go on as they were.
func (l *Loss) Hurry(now mono.Time) (owed bool) {
	for _, s := range l.spaces[:App] {
		if s.sends() && s.eliciting > 0 && now.Sub(s.lastSent) >= hurryAfter {
			s.probes, owed = max(s.probes, 1), true
		}
	}
	return owed
}

// hurryAfter is how long a flight is given before the peer's impatience counts: its probes come in pairs.
const hurryAfter = 25 * time.Millisecond

// Probes returns how many probe packets are owed in the space. They are
// ack-eliciting, and neither congestion control nor pacing holds them.
func (l *Loss) Probes(space Space) int {
	if s := l.spaces[space]; s != nil {
		return s.probes
	}
	return 0
}

// ProbeSent says that an ack-eliciting packet went out in the space to pay for
// a probe that was owed, after Sent.
func (l *Loss) ProbeSent(space Space) {
	s := l.spaces[space]
	s.probes = max(s.probes-1, 0)
}

// Deadline returns when Advance has something to do: the loss timer if it is
// set, else the probe timeout, else Never. It may lie in the past.
func (l *Loss) Deadline() mono.Time {
	if at := l.lossTime(); at != mono.Never {
		return at
	}
	if at, _, ok := l.ptoTime(); ok {
		return at
	}
	return mono.Never
}

func (l *Loss) lossTime() mono.Time {
	at := l.app.lossTime
	for _, s := range l.spaces[:App] {
		if s != nil {
			at = min(at, s.lossTime)
		}
	}
	return at
}

// ptoTime returns when the probe timeout expires and in which space (RFC 9002 §6.2).
func (l *Loss) ptoTime() (at mono.Time, space Space, ok bool) {
	if l.blocked {
		return // a probe could not be sent
	}
	for i, s := range l.spaces {
		if !s.sends() || s.eliciting == 0 || Space(i) == App && !l.confirmed {
			continue
		}
		t := max(s.lastSent, l.restarted).Add(backoff(l.PTO(Space(i)), int(l.ptoCount)))
		if !ok || t < at {
			at, space, ok = t, Space(i), true
		}
	}
	if ok || l.server || l.validated || l.firstSent == mono.Never {
		return at, space, ok
	}
	// The server may be waiting for credit to send: it is for the client to
	// keep talking, with nothing in flight (RFC 9002 §6.2.2.1).
	if l.spaces[Handshake].sends() {
		space = Handshake
	}
	return l.idleFrom.Add(backoff(l.PTO(space), int(l.ptoCount))), space, true
}

// PTO returns the probe timeout of the space without backoff. It has the
// peer's max_ack_delay in it for App once the handshake is confirmed.
func (l *Loss) PTO(space Space) time.Duration {
	d := l.rtt.pto()
	if space == App && l.confirmed {
		d += l.peerAckDelay
	}
	return d
}

// PTOCount returns how many probe timeouts expired in a row without an answer.
func (l *Loss) PTOCount() int { return int(l.ptoCount) }

// SetAmplificationLimited says whether a server may send nothing more until
// the client does: the probe timer is off meanwhile, and if it would have
// expired the Deadline is in the past afterwards.
func (l *Loss) SetAmplificationLimited(blocked bool) { l.blocked = blocked }

// SetPeerValidated says, at a client, that the server has validated our
// address. An acknowledgment in the Handshake space says so by itself.
func (l *Loss) SetPeerValidated() { l.validated = true }

// Confirmed says that the handshake is confirmed (RFC 9001 §4.1.2): App gets a
// probe timer and the peer is held to its max_ack_delay.
func (l *Loss) Confirmed() { l.confirmed, l.validated = true, true }

// HasKeys says whether packets of the space can be sent; probes are asked for
// only where they can. Initial starts with keys, the others without.
func (l *Loss) HasKeys(space Space, has bool) {
	l.Open(space)
	l.spaces[space].keys = has
}

// sends reports whether the space is there and has keys.
func (s *space) sends() bool { return s != nil && s.keys }

// PeerAckDelay returns the max_ack_delay of the peer that timers count with.
func (l *Loss) PeerAckDelay() time.Duration { return l.peerAckDelay }

// SetPeerAckDelay sets the peer's max_ack_delay.
func (l *Loss) SetPeerAckDelay(max time.Duration) { l.peerAckDelay = bound(max) }
