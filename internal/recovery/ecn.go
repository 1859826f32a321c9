package recovery

import (
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// ecn is the validation of one path (RFC 9000 §13.4.2). The first ten packets
// are marked; then marking waits until one of them is acknowledged with counts
// that add up.
type ecn struct {
	state  ecnState
	marked int64 // packets sent with a mark
	acked  int64 // of these
	lost   int64 // of these
	ce     int64 // CE marks reported
}

type ecnState uint8

const (
	ecnTesting ecnState = iota
	ecnCapable
	ecnFailed
)

// ecnTests is how many packets are marked before the path has proven itself.
const ecnTests = 10

// counts are numbers of packets in one space by codepoint.
type counts struct{ ect0, ect1, ce uint64 }

// ECN returns the codepoint to mark packets with that leave now by this path.
func (l *Loss) ECN() dgram.ECN {
	switch {
	case l.ecn.state == ecnCapable, l.ecn.state == ecnTesting && l.ecn.marked < ecnTests:
		return dgram.ECT0
	}
	return dgram.NotECT
}

// marked counts n packets like p that leave with a mark.
func (l *Loss) marked(s *space, p *Packet, n int) {
	switch p.ECN {
	case dgram.ECT0:
		s.ecnSent.ect0 += uint64(n)
	case dgram.ECT1:
		s.ecnSent.ect1 += uint64(n)
	default:
		panic("BUG: packet sent with a CE mark")
	}
	if p.Epoch == l.epoch {
		l.ecn.marked += int64(n)
	}
}

// countECN holds the counts of an ACK frame against what it newly acknowledges.
// A frame that does not raise the largest acknowledged number may have been
// overtaken, and proves nothing. Only packets of this path can prove it
// wrong, but the counts are followed always: they go on over a migration.
func (l *Loss) countECN(now mono.Time, s *space, a *wire.Ack, t *tally, raised bool) {
	marks := t.markedECT0 + t.markedECT1
	l.ecn.acked += marks
	if !raised {
		return
	}
	before := s.ecnCount
	if a.ECN {
		s.ecnCount = counts{a.ECT0, a.ECT1, a.CE}
	}
	if l.ecn.state == ecnFailed || !a.ECN && marks == 0 {
		return
	}
	if !a.ECN || !s.plausible(before, t) {
		l.failECN()
		return
	}
	newCE := s.ecnCount.ce - before.ce
	l.ecn.ce += int64(newCE)
	if l.ecn.acked >= ecnTests && l.ecn.ce >= l.ecn.acked {
		l.failECN() // a path that marks everything is broken, not congested (RFC 9000 §A.4)
		return
	}
	if marks > 0 {
		l.ecn.state = ecnCapable
	}
	// RFC 9002 §B.7: as if the largest acknowledged packet had been lost.
	if newCE > 0 && t.largestOf == l.epoch {
		l.congested(now, t.largestAt)
	}
}

// plausible reports whether the reported counts can be true (RFC 9000
// §13.4.2.1): they never fall, they rise at least by what this frame newly
// acknowledges, and they do not exceed what was sent.
func (s *space) plausible(before counts, t *tally) bool {
	now, sent := s.ecnCount, s.ecnSent
	if now.ect0 < before.ect0 || now.ect1 < before.ect1 || now.ce < before.ce {
		return false
	}
	ce := now.ce - before.ce
	if now.ect0-before.ect0+ce < uint64(t.markedECT0) || now.ect1-before.ect1+ce < uint64(t.markedECT1) {
		return false
	}
	// Each below 2^62, so the sum cannot wrap.
	return now.ect0 <= sent.ect0 && now.ect1 <= sent.ect1 && now.ect0+now.ect1+now.ce <= sent.ect0+sent.ect1
}

// checkMarkedLost gives up marking when the marked packets, and all of them,
// were lost: perhaps something on the path drops them for the mark.
func (l *Loss) checkMarkedLost() {
	e := &l.ecn
	if e.state == ecnTesting && e.marked >= ecnTests && e.lost >= e.marked {
		l.failECN()
	}
}

func (l *Loss) failECN() {
	l.ecn.state = ecnFailed
	l.stats.ECNFailures++
}
