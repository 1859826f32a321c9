// Package congestion decides how much may be in flight and how fast it may
// leave: RFC 9002 §7 with the NewReno controller, CUBIC (RFC 9438), the
// HyStart++ slow start that both share (RFC 9406), and the pacer.
package congestion

import (
	"math"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Ack is what one acknowledgment tells a controller. It gathers all packets
// that the acknowledgment newly covers.
type Ack struct {
	Now         mono.Time
	Bytes       int           // newly acknowledged bytes that were in flight
	LargestSent mono.Time     // when the largest newly acknowledged packet was sent
	LargestPN   int64         // its number, or any ordinal that counts the packets of all spaces as they are sent
	NextPN      int64         // the number that the next packet sent will have, counted likewise
	RTT         time.Duration // the sample this acknowledgment gave, 0 if it gave none
	SmoothedRTT time.Duration
	MinRTT      time.Duration
	InFlight    int  // bytes in flight before this acknowledgment
	AppLimited  bool // the window was not used in full, so it must not grow (RFC 9002 §7.8)
}

// Event tells a controller that a packet was lost or marked CE.
type Event struct {
	Now    mono.Time
	Sent   mono.Time     // when that packet was sent, the last one if there were several
	NextPN int64         // as in Ack
	RTT    time.Duration // the smoothed or the latest one, whichever is longer
	MinRTT time.Duration // 0 if there was no sample yet
}

// Controller keeps a congestion window. One controller serves one path
// (RFC 9002 §7) and is not safe for concurrent use.
type Controller interface {
	// OnAck takes an acknowledgment that covers packets of this path.
	OnAck(a Ack)
	// OnCongestion takes a loss or a mark. It reduces the window at most once in
	// a recovery period (RFC 9002 §7.3.2) and says whether it did so now.
	OnCongestion(e Event) bool
	// OnPersistent takes the window to its minimum (RFC 9002 §7.6.2). The
	// losses that established persistent congestion go to OnCongestion first.
	OnPersistent(now mono.Time)
	// Window returns the congestion window in bytes.
	Window() int
	// SlowStart reports whether the window is below the threshold.
	SlowStart() bool
	// SetMaxDatagram tells the size in bytes that datagrams may have from now
	// on: the windows of RFC 9002 §7.2 are counted in it.
	SetMaxDatagram(size int)
	// Threshold returns the slow start threshold in bytes, math.MaxInt while
	// there is none.
	Threshold() int
	// Name returns the algorithm's name in lower case.
	Name() string
}

const (
	// MaxWindow is the largest congestion window, in bytes. It bounds all
	// arithmetic here: twice the window still fits an int of 32 bits.
	MaxWindow = 1<<30 - 1

	infinite = math.MaxInt              // the threshold before the first congestion event
	longAgo  = mono.Time(math.MinInt64) // the recovery period before the first one
)

// InitialWindow returns the window a path starts with, in bytes, when its
// datagrams have at most maxDatagram bytes (RFC 9002 §7.2).
func InitialWindow(maxDatagram int) int {
	return min(10*maxDatagram, max(14_720, 2*maxDatagram))
}

// MinimumWindow returns the smallest window that congestion may lead to, in
// bytes (RFC 9002 §7.2).
func MinimumWindow(maxDatagram int) int { return 2 * maxDatagram }

// state is what the controllers have in common: everything but the curve on
// which the window grows in congestion avoidance.
type state struct {
	datagram  int // largest datagram
	window    int
	threshold int
	slow      hystart

	// The recovery period began at this time, with this packet number next.
	recovery   mono.Time
	recoveryPN int64
}

func newState(maxDatagram int) state {
	return state{
		datagram:  maxDatagram,
		window:    InitialWindow(maxDatagram),
		threshold: infinite,
		slow:      newHystart(),
		recovery:  longAgo,
	}
}

func (s *state) Window() int     { return s.window }
func (s *state) Threshold() int  { return s.threshold }
func (s *state) SlowStart() bool { return s.window < s.threshold }

func (s *state) SetMaxDatagram(size int) {
	shrunk := size < s.datagram
	s.datagram = size
	switch {
	case s.threshold != infinite:
		s.window = max(s.window, MinimumWindow(size))
	case shrunk:
		s.window = InitialWindow(size)
	default:
		s.window = max(s.window, InitialWindow(size))
	}
}

// recovering reports whether the acknowledgment is for packets sent before the
// last reduction: they say nothing about the reduced window. A retransmission
// often leaves at the very instant of the reduction, then its number tells.
func (s *state) recovering(a Ack) bool {
	return a.LargestSent < s.recovery || a.LargestSent == s.recovery && a.LargestPN < s.recoveryPN
}

// reduce starts a recovery period with factor times the window, unless the
// packet of the event belongs to the period that has begun already.
func (s *state) reduce(e Event, factor float64) bool {
	if e.Sent <= s.recovery {
		return false
	}
	s.recovery, s.recoveryPN = e.Now, e.NextPN
	s.threshold = max(int(float64(s.window)*factor), MinimumWindow(s.datagram))
	s.window = s.threshold
	return true
}

// collapse answers persistent congestion. It ends the recovery period, so that
// slow start can begin at once (RFC 9002 §B.8). The threshold is the one that
// the losses have led to; factor makes one if there were none.
func (s *state) collapse(factor float64) {
	if s.threshold == infinite {
		s.threshold = max(int(float64(s.window)*factor), MinimumWindow(s.datagram))
	}
	s.window = MinimumWindow(s.datagram)
	s.recovery = longAgo
}

// slowStart grows the window below the threshold. Only the first slow start,
// the one that has no threshold, looks for rising delay (RFC 9406 §4.3).
func (s *state) slowStart(a Ack) {
	grow, over := a.Bytes, false
	if s.threshold == infinite {
		grow, over = s.slow.ack(a)
	}
	if !a.AppLimited {
		s.window = min(s.window+clampBytes(grow), s.threshold, MaxWindow)
	}
	if over {
		s.threshold = s.window
	}
}

// clampBytes bounds a byte count, so that it can be added to a window.
func clampBytes(n int) int { return min(max(n, 0), MaxWindow) }
