package congestion

import (
	"math"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// The constants of RFC 9438 §4.1, §4.3 and §4.6.
const (
	cubicC      = 0.4 // segments per cubed second
	cubicFactor = 0.7
	cubicAlpha  = 3 * (1 - cubicFactor) / (1 + cubicFactor)
)

// emptyFactor is what the window is multiplied by where that leaves no queue
// behind. RFC 8511 §3.1 has the same for marks, which come of short queues.
const emptyFactor = 0.85

// maxGap is the longest pause between two acknowledgments that may count as
// time in which the window was used, unless two round trips are longer.
const maxGap = 100 * time.Millisecond // no limit: a time of ours

// Cubic is the controller of RFC 9438 with the slow start of RFC 9406, fast
// convergence, and a smaller reduction where there is no queue to drain. Make
// one with NewCubic.
//
// All windows are in bytes, where the RFC counts segments: C is then C times
// the datagram size. Products are rounded by explicit conversions before they
// are added, so that no compiler fuses them and every machine computes the
// same window.
type Cubic struct {
	state
	peak    float64       // W_max: the plateau of the curve, 0 if the next epoch has none
	prior   float64       // cwnd_prior: the window at the last reduction
	reno    float64       // W_est: what Reno would have
	k       float64       // seconds from the start of the epoch to the plateau
	elapsed time.Duration // t: time in this epoch during which the window was used
	last    mono.Time     // the acknowledgment up to which elapsed counts
	part    float64       // the fraction of a byte by which the window is too small
	epoch   bool          // a curve has been drawn for this stage of congestion avoidance
}

// NewCubic returns a controller whose window is the initial one for datagrams
// of maxDatagram bytes.
func NewCubic(maxDatagram int) *Cubic { return &Cubic{state: newState(maxDatagram)} }

// Name returns "cubic".
func (c *Cubic) Name() string { return "cubic" }

// OnAck grows the window: by what was acknowledged in slow start, along the
// cubic curve or Reno's line in congestion avoidance.
func (c *Cubic) OnAck(a Ack) {
	switch {
	case c.recovering(a):
	case c.SlowStart():
		c.slowStart(a)
	default:
		if !c.epoch {
			c.begin(a.Now)
		}
		c.advance(a)
		if !a.AppLimited {
			c.avoid(a)
		}
	}
}

// OnCongestion takes the window to 0.7 of what it was, or 0.85, once in a
// recovery period.
func (c *Cubic) OnCongestion(e Event) bool {
	before, factor := float64(c.window), c.decrease(e)
	if !c.reduce(e, factor) {
		return false
	}
	// RFC 9438 §4.7: a window that did not get back to its last peak shares the
	// path with a newcomer, and leaves it some room.
	if before < c.peak {
		c.peak = before * ((1 + factor) / 2)
	} else {
		c.peak = before
	}
	c.prior = before
	c.epoch = false
	return true
}

// decrease returns what the window is multiplied by. Where round trips are
// hardly longer than the shortest one, so that the path holds no more than a
// smaller reduction drains, packets are lost for other reasons than a full
// queue, or the queue is so short that a larger reduction leaves the path idle.
// This is not what RFC 9438 §4.6 recommends for every path, nor is the line of
// §4.3 Reno's with it. Marks are no dearer than losses: whoever hides them would
// gain. The first slow start has overshot, perhaps by the whole window.
func (c *Cubic) decrease(e Event) float64 {
	empty := e.MinRTT > 0 && e.RTT-e.MinRTT <= maxRTTThreshold && float64(e.MinRTT) >= emptyFactor*float64(e.RTT)
	if empty && c.threshold != infinite {
		return emptyFactor
	}
	return cubicFactor
}

// OnPersistent takes the window to two datagrams. Slow start leads back to the
// threshold, where a curve without plateau begins (RFC 9438 §4.8).
func (c *Cubic) OnPersistent(mono.Time) {
	if c.threshold == infinite {
		c.prior = float64(c.window)
	}
	c.collapse(cubicFactor)
	c.peak = 0
	c.epoch = false
}

// SetMaxDatagram changes the unit that the curve is drawn in; the rest of the
// way to the plateau gets a curve of its own.
func (c *Cubic) SetMaxDatagram(size int) {
	c.state.SetMaxDatagram(size)
	c.epoch = false
}

// begin draws the curve for a stage of congestion avoidance (RFC 9438 §4.2).
// Without a reduction before it, or above the last peak, it is the convex half
// only (§4.10).
func (c *Cubic) begin(now mono.Time) {
	start := float64(c.window)
	c.peak = max(c.peak, start)
	c.k = math.Cbrt((c.peak - start) / c.scale())
	c.reno = start
	c.elapsed, c.last, c.part = 0, now, 0
	c.epoch = true
}

// advance moves t. RFC 9438 §5.8: time in which the application had nothing to
// send does not count, or the window would leap after an idle period. A pause
// longer than round trips explain is such a time too.
func (c *Cubic) advance(a Ack) {
	gap := max(a.Now.Sub(c.last), 0)
	c.last = max(c.last, a.Now)
	if a.AppLimited {
		return
	}
	c.elapsed += min(gap, max(maxGap, 2*min(a.SmoothedRTT, time.Hour)), math.MaxInt64-c.elapsed)
}

// avoid grows the window by one acknowledgment's share (RFC 9438 §4.3-§4.5).
// The RFC's step for an acknowledged segment is taken as often as segments were
// acknowledged, but never beyond the target.
func (c *Cubic) avoid(a Ack) {
	window := float64(c.window) + c.part
	share := float64(min(clampBytes(a.Bytes), c.window)) / window

	alpha := cubicAlpha
	if c.reno >= c.prior {
		alpha = 1
	}
	c.reno += float64(alpha * share * float64(c.datagram))

	t := c.elapsed.Seconds()
	if c.curve(t) < c.reno {
		window = max(window, c.reno)
	} else {
		target := min(max(c.curve(t+a.SmoothedRTT.Seconds()), window), 1.5*window)
		window += float64((target - window) * share)
	}
	window = min(window, MaxWindow)
	c.reno = min(c.reno, MaxWindow)
	c.window = int(window)
	c.part = window - float64(c.window)
}

// curve is W_cubic, in bytes, t seconds into the epoch.
func (c *Cubic) curve(t float64) float64 {
	d := t - c.k
	return float64(c.scale()*d*d*d) + c.peak
}

func (c *Cubic) scale() float64 { return cubicC * float64(c.datagram) }
