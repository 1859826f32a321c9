package congestion

import (
	"math"
	"time"
)

// The constants of RFC 9406 §4.3. Four milliseconds are more than the jitter
// that batched sending causes on paths with a small RTT, so these stay in slow
// start until they lose a packet. There is no limit L on the growth by a single
// acknowledgment: what it lets go is paced.
const (
	minRTTThreshold  = 4 * time.Millisecond
	maxRTTThreshold  = 16 * time.Millisecond // no limit: of RFC 9406
	rttSamples       = 8
	cssGrowthDivisor = 4
	cssRounds        = 5

	noRTT = time.Duration(math.MaxInt64)
)

// hystart watches the delay of the rounds of slow start (RFC 9406 §4.2). When
// a round's lowest RTT has risen, it goes on as conservative slow start (CSS)
// for some rounds and then either ends slow start or, when the delay was only
// jitter, goes back to the normal one.
type hystart struct {
	end      int64         // first packet after the round
	last     time.Duration // lowest RTT in the round before this one
	current  time.Duration // lowest RTT in this round
	samples  int           // how many RTT samples this round has
	baseline time.Duration // lowest RTT in the round that led to CSS, noRTT outside of CSS
	rounds   int           // rounds done in CSS
}

func newHystart() hystart {
	return hystart{last: noRTT, current: noRTT, baseline: noRTT}
}

// ack returns by how many bytes the window grows and whether slow start is over.
func (h *hystart) ack(a Ack) (grow int, over bool) {
	if a.LargestPN >= h.end && h.round(a) {
		return 0, true
	}
	grow = a.Bytes
	if h.css() {
		grow /= cssGrowthDivisor
	}
	if a.RTT > 0 {
		h.current = min(h.current, a.RTT)
		h.samples++
	}
	if h.samples >= rttSamples && !a.AppLimited {
		h.judge()
	}
	return grow, false
}

// judge compares this round's delay with the last round's, or in CSS with the
// one that made us careful.
func (h *hystart) judge() {
	switch {
	case h.css():
		if h.current < h.baseline {
			h.baseline, h.rounds = noRTT, 0
		}
	case h.last != noRTT:
		rise := max(minRTTThreshold, min(h.last/8, maxRTTThreshold))
		if h.current-h.last >= rise {
			h.baseline = h.current
		}
	}
}

// round begins a round, which lasts until something sent after now is
// acknowledged, and says whether the one before it was the last of CSS. The
// round in which CSS began counts, a round that did not use the window does
// not: its delay is not of our making.
func (h *hystart) round(a Ack) (over bool) {
	h.end = a.NextPN
	h.last, h.current, h.samples = h.current, noRTT, 0
	if !h.css() || a.AppLimited {
		return false
	}
	h.rounds++
	return h.rounds >= cssRounds
}

func (h *hystart) css() bool { return h.baseline != noRTT }
