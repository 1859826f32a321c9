package recovery

import (
	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Pacer returns the pacer of this path, to be asked for Budget and Next. Its
// Sent and Update are called from here alone.
func (l *Loss) Pacer() *congestion.Pacer {
	if l.owed > 0 {
		l.pacer.Sent(l.owedAt, l.owed)
		l.owed = 0
	}
	return &l.pacer
}

// charge counts bytes in flight for the pacer. A batch of packets leaves at one
// time and is charged as one: the pacer's arithmetic costs as much as the rest of Sent.
func (l *Loss) charge(now mono.Time, n int) {
	if now != l.owedAt {
		l.Pacer()
		l.owedAt = now
	}
	l.owed += n
}

// updatePacer follows the window and the round-trip time.
func (l *Loss) updatePacer() {
	l.Pacer().Update(l.controller.Window(), l.rtt.Smoothed, l.controller.SlowStart())
}
