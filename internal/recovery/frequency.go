package recovery

import "time"

// Frequency is when App packets are acknowledged, as the one who sends them may ask
// for (draft-ietf-quic-ack-frequency §4).
type Frequency struct {
	Threshold int64         // how many ack-eliciting packets may come without an ACK
	MaxDelay  time.Duration // how long one may wait for it
	Reorder   int64         // by how many numbers out of order makes it go at once; 0: never
}

// DefaultFrequency returns what holds until the peer asks for something else: every
// second packet is answered, and any out of order at once (RFC 9000 §13.2). maxDelay is
// the max_ack_delay of the one who answers.
func DefaultFrequency(maxDelay time.Duration) Frequency {
	return Frequency{Threshold: 1, MaxDelay: maxDelay, Reorder: 1}
}

// MinAckDelay is the shortest delay of ACKs that the peer may ask us for: timers of an
// idle process are late by up to timerLate, and half of it should be a delay.
const (
	MinAckDelay = 2 * timerLate
	timerLate   = time.Millisecond
)

// SetFrequency makes ACKs of App go as the peer asks. An ACK that waits is not put off,
// and the packet that asks is the first to count. Timers are set a little early, so that
// the delay asked for is kept.
func (a *Acks) SetFrequency(f Frequency) {
	a.when = f
	a.when.MaxDelay = bound(max(f.MaxDelay-timerLate, 0))
}

// AnswerAtOnce makes the packet between Taking and Received, if it is ack-eliciting, one
// that is acknowledged at once.
func (a *Acks) AnswerAtOnce() { a.urgent = true }
