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
	maxRTTThreshold  = 16 * time.Millisecond
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
	end      int64         // last packet of the round, -1 before the first round
	last     time.Duration // lowest RTT in the round before this one
	current  time.Duration // lowest RTT in this round
	samples  int           // how many RTT samples this round has
	baseline time.Duration // lowest RTT in the round that led to CSS, noRTT outside of CSS
	rounds   int           // rounds begun in CSS
}

func newHystart() hystart {
	return hystart{end: -1, last: noRTT, current: noRTT, baseline: noRTT}
}

// ack returns by how many bytes the window grows and whether slow start is over.
func (h *hystart) ack(a Ack) (grow int, over bool) {
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
	if h.end < 0 {
		h.end = a.NextPN - 1
		return grow, false
	}
	if a.LargestPN < h.end {
		return grow, false
	}
	return grow, h.round(a)
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

// round ends a round and says whether it was the last one of CSS. The round in
// which CSS began counts, a round that did not use the window does not: its
// delay is not of our making.
func (h *hystart) round(a Ack) (over bool) {
	h.end = a.NextPN - 1
	h.last, h.current, h.samples = h.current, noRTT, 0
	if !h.css() || a.AppLimited {
		return false
	}
	h.rounds++
	return h.rounds >= cssRounds
}

func (h *hystart) css() bool { return h.baseline != noRTT }
