package congestion

import "github.com/cinnabar-quic/cinnabar/internal/mono"

const renoFactor = 0.5 // kLossReductionFactor of RFC 9002 §B.1

// Reno is the NewReno controller of RFC 9002 §7.3 with the slow start of
// RFC 9406. Make one with NewReno.
type Reno struct {
	state
	acked int // bytes acknowledged since the window grew by a datagram
}

// NewReno returns a controller whose window is the initial one for datagrams of
// maxDatagram bytes.
func NewReno(maxDatagram int) *Reno { return &Reno{state: newState(maxDatagram)} }

// Name returns "reno".
func (r *Reno) Name() string { return "reno" }

// OnAck grows the window: by what was acknowledged in slow start, by one
// datagram a window in congestion avoidance (RFC 9002 §7.3).
func (r *Reno) OnAck(a Ack) {
	switch {
	case r.recovering(a):
	case r.SlowStart():
		r.slowStart(a)
	case a.AppLimited:
	default:
		r.acked = clampBytes(r.acked + clampBytes(a.Bytes))
		// RFC 3465 §2.1: counting bytes loses nothing to rounding.
		if r.acked >= r.window {
			r.acked -= r.window
			r.window = min(r.window+r.datagram, MaxWindow)
		}
		r.acked = min(r.acked, r.window)
	}
}

// OnCongestion halves the window, once in a recovery period.
func (r *Reno) OnCongestion(e Event) bool {
	if !r.reduce(e, renoFactor) {
		return false
	}
	r.acked = 0
	return true
}

// OnPersistent takes the window to two datagrams, from where slow start leads
// back to the threshold.
func (r *Reno) OnPersistent(mono.Time) {
	r.collapse(renoFactor)
	r.acked = 0
}
