// Package mono is the house's notion of time: nanoseconds since a start that
// only floor 4 knows. Everything below is handed a Time and returns one.
package mono

import (
	"math"
	"time"
)

// Time is a point in time, in nanoseconds since the start of the clock.
// The zero Time is the start itself.
type Time int64

// Never is later than every other Time: the deadline of a timer that is not set.
const Never Time = math.MaxInt64

// Add returns t+d, saturating at Never. Never plus anything is Never.
func (t Time) Add(d time.Duration) Time {
	if t == Never {
		return Never
	}
	u := t + Time(d)
	if d > 0 && u < t {
		return Never
	}
	return u
}

// Sub returns the duration t-u, saturating at the ends of time.Duration.
func (t Time) Sub(u Time) time.Duration {
	d := time.Duration(t - u)
	switch {
	case t > u && d < 0:
		return math.MaxInt64
	case t < u && d > 0:
		return math.MinInt64
	}
	return d
}

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t > u }

// Min returns the earliest of the given times, Never if there are none.
func Min(times ...Time) Time {
	first := Never
	for _, t := range times {
		first = min(first, t)
	}
	return first
}
