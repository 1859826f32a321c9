package stream

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// Window is the credit that we grant a peer, for one stream or for the
// connection (RFC 9000 §4.1). It follows the bytes that the application
// consumes, and grows when they are consumed so fast that the peer, a round
// trip away, could run dry. The zero Window is unusable until Init.
type Window struct {
	limit int64
	size  int64
	max   int64
	total int64     // consumed so far
	since mono.Time // start of the round trip that is being measured
	mark  int64     // consumed before it
}

// Init sets the credit that the transport parameters grant, and the size in
// bytes that the window may grow to.
func (w *Window) Init(size, maxSize int64) {
	*w = Window{limit: size, size: size, max: max(size, maxSize)}
}

// Limit returns the offset, or sum of offsets, that the peer may send up to.
func (w *Window) Limit() int64 { return w.limit }

// Size returns how many bytes the window spans.
func (w *Window) Size() int64 { return w.size }

// Consumed says that the application has consumed total bytes by now. It
// returns the new limit, and whether it is time to tell the peer: that is when
// half of the window is used, whether it is blocked or not (RFC 9000 §4.2). The limit counts as granted from then on.
//
// The size doubles until it is at least four times what is consumed in a round
// trip. A sender in slow start sends twice as much in the next one, and its
// credit for that is on the way when half of the window is left: so the window
// is never what holds a fast peer back, until it has its maximum size.
//
// Up to ampleWindow a round trip lasts rtt, as it is now. To go further it counts as shortest,
// the least that was ever seen: what rtt is above that is a queue, which a larger window
// would only make longer, for everything that stands in it.
func (w *Window) Consumed(now mono.Time, total int64, rtt, shortest time.Duration) (newLimit int64, update bool) {
	if now.Sub(w.since) >= rtt {
		w.since, w.mark = now, w.total
	}
	w.total = total
	for rtt > 0 && 0 < w.size && w.size < w.max && w.perTrip(total-w.mark, rtt, shortest) > w.size/4 {
		w.size = min(2*w.size, w.max)
	}
	if w.limit-total > w.size/2 {
		return w.limit, false
	}
	limit := min(total+w.size, varint.Max)
	if limit <= w.limit {
		return w.limit, false
	}
	w.limit = limit
	return limit, true
}

// ampleWindow keeps a peer on the same host or network busy while the application here has no turn.
const ampleWindow = 1 << 20 // no limit: of how a window grows

// perTrip returns what is consumed in a round trip, if it is n bytes in the time rtt.
func (w *Window) perTrip(n int64, rtt, shortest time.Duration) int64 {
	if w.size < ampleWindow || shortest >= rtt {
		return n
	}
	return int64(float64(n) * float64(shortest) / float64(rtt))
}

// Extend grants all that Consumed has saved up for a larger step, and reports whether
// that is anything.
func (w *Window) Extend() (newLimit int64, update bool) {
	limit := min(w.total+w.size, varint.Max)
	if limit <= w.limit {
		return w.limit, false
	}
	w.limit = limit
	return limit, true
}

// Credit is what a peer grants us for all streams together (RFC 9000 §4.1).
// The zero Credit grants nothing.
type Credit struct {
	max, used int64
	told      int64 // limit+1 that DATA_BLOCKED was last sent for
}

// Init sets the credit that the peer's transport parameters grant. Nothing of
// it is used.
func (c *Credit) Init(max int64) { *c = Credit{max: max} }

// Max returns the limit, in bytes over all streams.
func (c *Credit) Max() int64 { return c.max }

// Used returns how many bytes are used up.
func (c *Credit) Used() int64 { return c.used }

// Left returns how many bytes may still be sent.
func (c *Credit) Left() int64 { return c.max - c.used }

// Add raises the limit to max, as MAX_DATA says, and reports whether that is
// more than before. A limit never falls.
func (c *Credit) Add(max int64) bool {
	if max <= c.max {
		return false
	}
	c.max = max
	return true
}

// Take uses up n bytes.
func (c *Credit) Take(n int64) {
	c.used += n
	if c.used > c.max {
		panic("BUG: connection flow control limit exceeded")
	}
}

// Blocked returns the limit for a DATA_BLOCKED frame, once for each limit that
// is used up. The caller asks when it has data that waits for credit.
func (c *Credit) Blocked() (limit int64, ok bool) {
	if c.used < c.max || c.told == c.max+1 {
		return 0, false
	}
	c.told = c.max + 1
	return c.max, true
}

// LostBlocked says that a DATA_BLOCKED frame was lost: Blocked answers again.
func (c *Credit) LostBlocked() { c.told = 0 }
