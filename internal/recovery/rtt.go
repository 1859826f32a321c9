package recovery

import (
	"math"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// RTT is the round-trip time estimate of one path (RFC 9002 §5).
type RTT struct {
	Latest   time.Duration // newest sample, 0 before the first
	Smoothed time.Duration
	Var      time.Duration // mean deviation
	Min      time.Duration // 0 before the first sample
	First    mono.Time     // when the first sample was taken; Never before it
	Samples  int
}

// init forgets every sample and starts from an assumption.
func (r *RTT) init(assumed time.Duration) {
	assumed = bound(assumed)
	*r = RTT{Smoothed: assumed, Var: assumed / 2, First: mono.Never}
}

// sample takes in one measurement. The delay that the peer reports is
// subtracted only where that leaves no less than the smallest round trip ever
// measured here: a peer cannot lie the estimate down (RFC 9002 §5.3). Nor can it make
// it hours long, and with it all that waits for probe timeouts.
func (r *RTT) sample(now mono.Time, latest, delay time.Duration) {
	latest, delay = min(bound(latest), maxSample), bound(delay)
	r.Latest = latest
	r.Samples++
	if r.Samples == 1 {
		r.Min, r.Smoothed, r.Var, r.First = latest, latest, latest/2, now
		return
	}
	r.Min = min(r.Min, latest)
	adjusted := latest
	if latest-delay >= r.Min {
		adjusted = latest - delay
	}
	// The deviation is taken from the old mean, as in RFC 9002 §A.7 and RFC 6298.
	r.Var = (3*r.Var + (r.Smoothed - adjusted).Abs()) / 4
	r.Smoothed = (7*r.Smoothed + adjusted) / 8
}

// pto is the probe timeout without the peer's delay and without backoff.
func (r *RTT) pto() time.Duration { return r.Smoothed + max(4*r.Var, granularity) }

// lossDelay is the time threshold of RFC 9002 §6.1.2: 9/8 of a round trip.
func (r *RTT) lossDelay() time.Duration {
	rtt := max(r.Smoothed, r.Latest)
	return max(rtt+rtt/8, granularity)
}

// bound cuts a duration to what the arithmetic here can bear.
func bound(d time.Duration) time.Duration { return min(max(d, 0), longest) }

// backoff returns d doubled count times, saturating.
func backoff(d time.Duration, count int) time.Duration {
	if d > math.MaxInt64>>min(count, maxPTOCount) {
		return math.MaxInt64
	}
	return d << count
}
