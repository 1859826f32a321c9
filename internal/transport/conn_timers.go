package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// timer is a reason for a connection to wake up by itself.
type timer uint8

const (
	timerLoss      timer = iota // a packet counts as lost, or a probe is due (RFC 9002 §6)
	timerAck                    // an ACK is due that was delayed (RFC 9000 §13.2.1) or waited for TLS
	timerPace                   // the pacer lets the next batch go (RFC 9002 §7.7)
	timerIdle                   // nothing heard for too long (RFC 9000 §10.1)
	timerProgress               // the peer talks but acknowledges nothing
	timerKeepAlive              // a PING keeps the connection alive (RFC 9000 §10.1.2)
	timerHandshake              // the handshake took too long
	timerPath                   // a path did not answer its challenge (RFC 9000 §8.2.4)
	timerKeys                   // the previous 1-RTT keys go (RFC 9001 §6.5)
	timerMTU                    // discovery tries a larger datagram again (RFC 8899 §5.3)
	timerOriginal               // late first packets of the client are no longer ours (RFC 9000 §5.2.2)
	timerLate                   // late packets to retired connection IDs are no longer ours (RFC 9000 §5.1.2)
	timerRest                   // nothing went on for a while: memory of busier times goes
	timerGone                   // closing or draining is over (RFC 9000 §10.2)
	timers
)

// Deadline returns when Advance wants to be called, mono.Never if not at all.
// It may lie in the past.
func (c *Conn) Deadline() mono.Time {
	first := mono.Never
	if c.held() && c.life.state == active {
		return first
	}
	for t := timer(0); t < timers; t++ {
		first = min(first, c.when(t))
	}
	return first
}

// when returns the time of one timer, mono.Never if it is not set.
func (c *Conn) when(t timer) mono.Time {
	if c.life.state != active {
		if t == timerGone {
			return c.life.until
		}
		return mono.Never
	}
	switch t {
	case timerLoss:
		return c.loss.Deadline()
	case timerAck:
		at := mono.Never
		if c.hs != nil {
			at = c.hs.ackAt()
		}
		if p := c.paths.active(); c.oneRTT.CanWrite() && p.allowance() >= c.smallestDatagram() {
			at = min(at, c.acks.Deadline())
		}
		return at
	case timerPace:
		return c.paceUntil
	case timerIdle:
		return c.idle.deadline(c)
	case timerProgress:
		return c.progressAt()
	case timerKeepAlive:
		return c.idle.keepAliveAt(c)
	case timerHandshake:
		if c.hs != nil && !c.hs.paused && !c.secure {
			return c.hs.deadline
		}
	case timerPath:
		return c.paths.deadline()
	case timerKeys:
		return c.oneRTT.DiscardAt()
	case timerMTU:
		return c.mtu.raiseAt
	case timerOriginal:
		return c.ids.originalUntil
	case timerLate:
		return c.ids.lateUntil()
	case timerRest:
		return c.idle.restAt(c)
	}
	return mono.Never
}

// Advance tells the connection the time, and lets every timer that has run out act.
func (c *Conn) Advance(now mono.Time) {
	if c.held() && c.life.state == active {
		return
	}
	if c.qlog != nil {
		c.qlog.at(now)
	}
	for t := timer(0); t < timers; t++ {
		if c.when(t) <= now {
			if c.qlog != nil && t != timerRest {
				c.qlog.expired(t)
			}
			c.fire(now, t)
		}
	}
	if c.qlog != nil {
		c.qlog.catchUp(c)
	}
}

func (c *Conn) fire(now mono.Time, t timer) {
	switch t {
	case timerLoss:
		if c.loss.Advance(now) {
			c.probe()
			c.mtu.onPTO(c)
		}
		c.settle(now)
	case timerAck: // Transmit sees that the ACK is due
		if c.hs != nil && c.hs.patience <= now {
			c.hs.patience = 0
		}
	case timerPace:
		c.paceUntil = mono.Never
	case timerIdle:
		c.enterGone(now, c.idle.reason(c))
	case timerProgress:
		c.enterClosing(now, CloseReason{
			Kind: CloseLocal, Code: uint64(wire.ProtocolViolation), Frame: wire.FrameAck, Reason: "nothing was acknowledged for too long", Limit: true,
		})
	case timerKeepAlive:
		c.idle.lastPing = now
		c.Ping()
	case timerHandshake:
		c.enterGone(now, &CloseReason{Kind: CloseHandshakeTimeout})
	case timerPath:
		c.paths.expire(c, now)
	case timerKeys:
		if c.qlog != nil {
			c.qlog.previousGone(c)
		}
		c.oneRTT.Discard(now)
	case timerMTU:
		c.mtu.raise()
	case timerOriginal:
		c.ids.originalUntil = mono.Never
		c.events.push(Event{Kind: EventRetired, Detail: &Detail{CID: c.ids.original}})
	case timerLate:
		c.ids.dropLate(c, 0)
	case timerRest:
		c.rest()
	case timerGone:
		c.enterGone(now, nil)
	}
}

// rest gives back what memory a connection without anything in flight holds for the next
// packet: to have it again costs a few allocations, and most connections idle most of the time.
func (c *Conn) rest() {
	c.idle.rests = true
	c.loss.Trim()
	c.frames = nil
	c.events.rest()
	if len(c.streams.table) == 0 {
		c.streams.table, c.streams.last = make(map[int64]*Stream), nil
	}
	if q := c.datagrams; q != nil && q.out.count+q.in.count == 0 {
		q.out.chunks, q.in.chunks = nil, nil
	}
}

// probe makes something worth sending again in every space that owes a probe
// packet: what its oldest packets carried (RFC 9002 §6.2.4).
func (c *Conn) probe() {
	for sp := recovery.Initial; sp < recovery.Spaces; sp++ {
		for i := 0; i < c.loss.Probes(sp); i++ {
			frames, ok := c.loss.Unacked(sp, i)
			if !ok {
				break
			}
			if c.qlog != nil {
				c.qlog.retransmit(c, frames)
			}
			for j := range frames {
				c.resend(sp, &frames[j])
			}
		}
	}
}

// hurry sends handshake bytes again although no timer has run out: a peer that repeats itself lacks them, and may ask by
// timers that are much shorter than ours, having measured the round trip. It is done a few times only, since a peer that is
// just impatient, on a long path, makes us send in vain (RFC 9002 §6.2.3).
func (c *Conn) hurry(now mono.Time) {
	if c.hs != nil && c.hs.hurries < maxHurries && c.loss.Hurry(now) {
		c.hs.hurries++
		c.probe()
	}
}

// idle is the idle timeout and keep-alive (RFC 9000 §10.1).
type idle struct {
	progress  mono.Time // something was acknowledged, or the first packet to acknowledge was sent
	heardAt   mono.Time // a packet was processed
	last      mono.Time // the same, or the first eliciting one sent since
	lastPing  mono.Time
	sent      bool // something eliciting was sent since last
	rests     bool // nothing was heard or said since Conn.rest
	keepAlive time.Duration
}

func (s *idle) init(now mono.Time, keepAlive time.Duration) { s.last, s.keepAlive = now, keepAlive }

// heard restarts the timer: a packet was processed.
func (s *idle) heard(now mono.Time) { s.heardAt, s.last, s.sent, s.rests = now, now, false, false }

// spoke restarts the timer if this is the first eliciting packet since one was heard.
func (s *idle) spoke(now mono.Time) {
	s.rests = false
	if !s.sent {
		s.last, s.sent = now, true
	}
}

// restAt returns when the connection has had nothing to do for restAfter.
func (s *idle) restAt(c *Conn) mono.Time {
	if s.rests || c.hs != nil || c.loss.InFlight() > 0 {
		return mono.Never
	}
	return max(s.last, s.heardAt).Add(restAfter)
}

// restAfter is how much silence it takes for memory to be given back.
const restAfter = time.Second

// timeout returns the effective timeout, 0 if there is none: the smaller of
// both ends' but never less than three PTOs.
func (s *idle) timeout(c *Conn) time.Duration {
	ours, theirs := c.params.MaxIdleTimeout, time.Duration(0)
	if c.peerKnown {
		theirs = c.peer.MaxIdleTimeout
	}
	d := ours
	if d == 0 || theirs != 0 && theirs < d {
		d = theirs
	}
	if d == 0 {
		return 0
	}
	return max(d, 3*c.loss.PTO(recovery.App))
}

func (s *idle) deadline(c *Conn) mono.Time {
	if d := s.timeout(c); d > 0 {
		return s.last.Add(d)
	}
	return mono.Never
}

// reason returns how the end by this timer is to be called: before the peer was heard
// at all, it is a handshake that has failed.
func (s *idle) reason(c *Conn) *CloseReason {
	if !c.Heard() {
		return &CloseReason{Kind: CloseHandshakeTimeout}
	}
	return &CloseReason{Kind: CloseIdle}
}

// progressAt returns when patience ends with a peer that is heard but acknowledges
// nothing, so that what waits for it does not wait for ever. One that is not heard
// is the idle timer's matter.
func (c *Conn) progressAt() mono.Time {
	if c.loss.InFlight() == 0 || c.loss.PTOCount() < zombiePTOs || c.idle.heardAt.Sub(c.idle.progress) <= zombieTime {
		return mono.Never
	}
	return c.idle.progress.Add(max(zombieTime, c.idle.timeout(c)))
}

func (s *idle) keepAliveAt(c *Conn) mono.Time {
	if s.keepAlive == 0 || !c.confirmed {
		return mono.Never
	}
	d := s.keepAlive
	if t := s.timeout(c); t > 0 {
		d = min(d, t/2)
	}
	return max(s.last, s.lastPing).Add(d)
}
