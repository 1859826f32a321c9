package quic

import (
	"github.com/cinnabar-quic/cinnabar/internal/histogram"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// Histogram is the distribution of what a session or a stream goes on recording, also
// readable after its end: nanoseconds or bytes, in the range 1 to 1<<63-1 (0 counts as 1).
// Count, Min, Max, Mean and StdDev are exact; so are percentiles of up to 16 values. Those of
// more are within Precision: 1/128 of a recorded value, as long as the values are within a factor of 200 of each
// other, and coarser with a wider range. The histograms of a handshake have less room (288 bytes each), and those of
// the streams of a session share theirs (36 KiB, and 144 bytes for each), so that many long streams have coarser ones.
// All methods may be called concurrently; each sees what is recorded when it is called.
type Histogram struct {
	s     *Session
	copy  func() histogram.Histogram
	reset func()
}

// now returns what is recorded.
func (h *Histogram) now() histogram.Histogram {
	h.s.mu.Lock()
	defer h.s.unlock(flushNone)
	return h.copy()
}

// Count returns how many values were recorded, without those that Exceeds counts.
func (h *Histogram) Count() uint64 {
	v := h.now()
	return v.Count()
}

// Min returns the smallest value, math.MaxInt64 if there is none (HIS-001).
func (h *Histogram) Min() int64 {
	v := h.now()
	return v.Min()
}

// Max returns the largest value, 0 if there is none (HIS-002).
func (h *Histogram) Max() int64 {
	v := h.now()
	return v.Max()
}

// Mean returns the arithmetic mean of the values, 0 if there are none (HIS-003).
func (h *Histogram) Mean() float64 {
	v := h.now()
	return v.Mean()
}

// StdDev returns the standard deviation of the values, as a whole population and not a
// sample of one; 0 if there are none (HIS-004).
func (h *Histogram) StdDev() float64 {
	v := h.now()
	return v.StdDev()
}

// Exceeds returns how many values were above the range, and so are in no other figure (HIS-005).
func (h *Histogram) Exceeds() uint64 {
	v := h.now()
	return v.Exceeds()
}

// Precision returns how far a percentile may be from the value that it stands for, as a part of that: 0 for
// up to 16 values, then 1/128, and twice as much each time that the values took more room than there is. From 1 on
// percentiles tell no more than the power of two, or less.
func (h *Histogram) Precision() float64 {
	v := h.now()
	return v.Precision()
}

// Percentile returns the value that p percent of the values do not exceed, 0 if there are
// none; it is never outside of Min to Max (HIS-006). The error is an *OptionError unless
// 0 < p <= 100.
func (h *Histogram) Percentile(p float64) (int64, error) {
	if !(p > 0 && p <= 100) { // not a number either
		return 0, &OptionError{Option: "Percentile.p", Value: p, Want: "above 0 and at most 100", code: CodeInvalidArgValue}
	}
	v := h.now()
	return v.Percentile(p), nil
}

// Percentiles returns the accumulated distribution, by percentile: 50, 75, 87.5 and so on,
// each half as far from 100 as the one before, as long as a value is above; and 100. It is
// empty if there are no values (HIS-007).
func (h *Histogram) Percentiles() map[float64]int64 {
	v := h.now()
	steps := v.Percentiles()
	m := make(map[float64]int64, len(steps))
	for _, s := range steps {
		m[s.Percentile] = s.Value
	}
	return m
}

// Reset forgets all values (HIS-008). The time to the next event is still counted from the
// last one.
func (h *Histogram) Reset() {
	h.s.mu.Lock()
	defer h.s.unlock(flushNone)
	h.reset()
}

// HandshakeAckHistogram returns the nanoseconds between acknowledgements of this end's
// handshake data (SES-056). With fewer than two of these it is empty.
func (s *Session) HandshakeAckHistogram() *Histogram { return s.histogram(transport.HandshakeAcks) }

// HandshakeContinuationHistogram returns the nanoseconds between datagrams that have
// brought handshake data of the peer's (SES-057). With fewer than two of these it is empty.
func (s *Session) HandshakeContinuationHistogram() *Histogram {
	return s.histogram(transport.HandshakePieces)
}

func (s *Session) histogram(k transport.HandshakeTimes) *Histogram {
	return &Histogram{
		s,
		func() histogram.Histogram { return s.conn.HandshakeTimes(k).Clone() }, // which is made when needed
		func() { s.conn.HandshakeTimes(k).Reset() },
	}
}

// DataAckHistogram returns the nanoseconds between acknowledgements of the stream's data
// (STR-029).
func (st *Stream) DataAckHistogram() *Histogram { return st.histogram(transport.StreamAcks) }

// DataRateHistogram returns the nanoseconds between the pieces of the stream's data that
// came in (STR-030). What comes at one instant counts as one piece, up to 16 frames of it.
func (st *Stream) DataRateHistogram() *Histogram { return st.histogram(transport.StreamRate) }

// DataSizeHistogram returns the bytes of these pieces (STR-031). Bytes that come more than
// once count once.
func (st *Stream) DataSizeHistogram() *Histogram { return st.histogram(transport.StreamSizes) }

func (st *Stream) histogram(k transport.StreamTimes) *Histogram {
	return &Histogram{
		st.s,
		func() histogram.Histogram { return st.t.Times(k) },
		func() { st.s.conn.ResetTimes(st.t, k) },
	}
}
