package congestion

import (
	"math"
	"math/bits"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

const (
	// A burst is as long as a timer may be late and still cost no throughput,
	// and a quarter millisecond for the batch that the timer was set for.
	burstTime  = 1250 * time.Microsecond
	timerSlack = time.Millisecond

	maxRate    = 1 << 40                // no limit: bytes a second far above any path, of which a burst fits 31 bits
	initialRTT = 333 * time.Millisecond // RFC 9002 §6.2.2
)

// Pacer is a token bucket that spreads what the congestion window allows over
// the round trip (RFC 9002 §7.7). It is used by value; Init makes it ready.
//
// Tokens are counted in billionths of a byte, which is what a rate in bytes a
// second earns in a whole number of nanoseconds: nothing is lost to rounding,
// however often one looks.
type Pacer struct {
	tokens   int64 // may be negative: sent on credit
	last     mono.Time
	rate     int64 // bytes a second, at least 1
	burst    int   // most bytes that may leave at once, whole datagrams
	debt     int   // most bytes that may be sent on credit
	datagram int
}

const tokensPerByte = 1e9

// Init makes the pacer ready for a path whose datagrams have at most
// maxDatagram bytes. A whole initial window may leave at once.
func (p *Pacer) Init(now mono.Time, maxDatagram int) {
	*p = Pacer{last: now, datagram: max(maxDatagram, 1)}
	p.Update(InitialWindow(p.datagram), initialRTT, true)
	p.tokens = int64(p.burst) * tokensPerByte
}

// Update sets the rate to 1.25 windows a round trip, and to 2 in slow start,
// where the window may double in one. The window is in bytes.
func (p *Pacer) Update(window int, srtt time.Duration, slowStart bool) {
	gain := uint64(5)
	if slowStart {
		gain = 8
	}
	bytes := uint64(min(max(window, 1), MaxWindow)) * gain
	rate := mulDiv(bytes, uint64(time.Second), 4*uint64(min(max(srtt, 1), time.Hour)))
	p.rate = int64(min(max(rate, 1), maxRate))
	p.limit()
}

// SetMaxDatagram tells the size in bytes that datagrams may have from now on.
func (p *Pacer) SetMaxDatagram(size int) {
	p.datagram = max(size, 1)
	p.limit()
}

// Budget returns how many bytes may leave now, a whole number of datagrams.
func (p *Pacer) Budget(now mono.Time) int {
	p.fill(now)
	if p.tokens <= 0 {
		return 0
	}
	n := int(p.tokens / tokensPerByte)
	return n - n%p.datagram
}

// Sent takes n bytes out of the bucket. Probes may go without a budget
// (RFC 9002 §7.5): what is sent on credit delays what follows a little.
func (p *Pacer) Sent(now mono.Time, n int) {
	p.fill(now)
	p.tokens -= int64(clampBytes(n)) * tokensPerByte
	p.limit()
}

// Next returns when a worthwhile batch may leave: now if it may already. Such a
// batch is full, or 1.25 ms of the rate, or less where a timer that fires a millisecond
// late would find the bucket full; it is one datagram at least.
func (p *Pacer) Next(now mono.Time) mono.Time {
	p.fill(now)
	missing := int64(p.batch())*tokensPerByte - p.tokens
	if missing <= 0 {
		return now
	}
	return now.Add(time.Duration((missing + p.rate - 1) / p.rate))
}

// Rate returns the pacing rate in bytes a second.
func (p *Pacer) Rate() int64 { return p.rate }

func (p *Pacer) batch() int {
	return max(min(p.earned(burstTime), p.burst-p.earned(timerSlack), dgram.FullBatch), p.datagram)
}

// limit derives the size of the bucket from the rate and spills what no longer
// fits. Credit is limited to what the rate soon pays back, so that nobody starves.
func (p *Pacer) limit() {
	p.burst = max(InitialWindow(p.datagram), p.earned(burstTime))
	p.burst -= p.burst % p.datagram
	p.debt = max(2*p.datagram, p.earned(burstTime))
	p.tokens = max(min(p.tokens, int64(p.burst)*tokensPerByte), -int64(p.debt)*tokensPerByte)
}

// fill adds what the rate has earned since the last look.
func (p *Pacer) fill(now mono.Time) {
	if now <= p.last {
		return
	}
	hi, lo := bits.Mul64(uint64(now.Sub(p.last)), uint64(p.rate))
	p.last = now
	full := int64(p.burst) * tokensPerByte
	if hi > 0 || lo >= uint64(full-p.tokens) {
		p.tokens = full
		return
	}
	p.tokens += int64(lo)
}

// earned returns how many bytes the rate is worth in the time d.
func (p *Pacer) earned(d time.Duration) int {
	return int(mulDiv(uint64(p.rate), uint64(d), uint64(time.Second)))
}

// mulDiv returns a*b/c, and the largest uint64 where that is too large.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, c)
	return q
}
