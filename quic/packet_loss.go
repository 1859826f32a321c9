package quic

import (
	"math/rand/v2"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// DiagnosticPacketLoss is how many datagrams a socket loses on purpose, so that a
// program can be tried on a bad network. Both rates are 0 to 1, where 1 is every one.
type DiagnosticPacketLoss struct {
	RX float64 // of those received: dropped before they are looked at or counted (DPL-001)
	TX float64 // of those to be sent: dropped in place of it; sessions count them as sent (DPL-002)
}

// SetDiagnosticPacketLoss replaces both rates of loss; the zero DiagnosticPacketLoss
// ends it (SOC-059). The error is an *OptionError if a rate is not 0 to 1, and nothing is
// changed then, or a *StateError if the socket is destroyed.
func (s *Socket) SetDiagnosticPacketLoss(l DiagnosticPacketLoss) error {
	c := &checker{in: "DiagnosticPacketLoss"}
	c.rate("RX", l.RX)
	c.rate("TX", l.TX)
	if err := c.result(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == socketDestroyed {
		return s.stateError("Socket.SetDiagnosticPacketLoss")
	}
	if l == (DiagnosticPacketLoss{}) {
		s.loss.Store(nil)
	} else {
		s.loss.Store(&l)
	}
	return nil
}

func (c *checker) rate(option string, v float64) {
	if !(v >= 0 && v <= 1) { // NaN too
		c.fail(option, v, CodeOutOfRange, "0 to 1")
	}
}

// hit reports whether a rate strikes this time. It always does at 1 and never at 0.
func hit(rate float64) bool { return rand.Float64() < rate }

// thin drops datagrams of a batch that is to be sent.
func (l *DiagnosticPacketLoss) thin(b *dgram.Batch) {
	b.Filter(func() bool { return !hit(l.TX) })
}

// screened reports whether datagrams have to be looked at before anybody else does.
func (s *Socket) screened() bool { return s.loss.Load() != nil || !s.block.empty() }

// screen reports whether a datagram that has come is to be dropped unread. It is called
// under the socket's lock.
func (s *Socket) screen(d *dgram.Datagram) bool {
	if l := s.loss.Load(); l != nil && hit(l.RX) {
		return true
	}
	if s.block.Check(d.Path.Remote.Addr()) {
		s.counts.ignored++
		return true
	}
	return false
}
