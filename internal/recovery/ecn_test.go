package recovery

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// mark sends n packets marked as the path wants.
func (s *script) mark(n int) {
	s.t.Helper()
	for range n {
		s.send(App, func(p *Packet) { p.ECN = s.l.ECN() })
	}
}

// reports makes the peer's next ACKs carry these counts.
func (s *script) reports(ect0, ect1, ce uint64) {
	s.ecn = &wire.ECNCounts{ECT0: ect0, ECT1: ect1, CE: ce}
}

func (s *script) wantECN(ecn dgram.ECN, failures uint64) {
	s.t.Helper()
	equal(s.t, "codepoint", s.l.ECN(), ecn)
	equal(s.t, "ECN failures", s.l.Stats().ECNFailures, failures)
}

// RFC 9000 §13.4, §13.4.2: ten packets are marked, then none until one of these is
// acknowledged with counts that add up, then all.
func TestECNValidation(t *testing.T) {
	s := newScript(t)
	s.mark(8)
	s.wantECN(dgram.ECT0, 0)
	s.mark(4)
	s.wantECN(dgram.NotECT, 0)
	s.reports(6, 0, 0)
	s.ack(App, "0-5")
	s.want("0-5 acked")
	s.wantECN(dgram.ECT0, 0)
	s.reports(10, 0, 0)
	s.ack(App, "0-11")
	s.want("6-11 acked")
	s.mark(20)
	s.wantECN(dgram.ECT0, 0)
	s.reports(30, 0, 0)
	s.ack(App, "0-31")
	s.want("12-31 acked")
	s.wantECN(dgram.ECT0, 0)
}

// RFC 9002 §7.1: an increase of the CE count is a congestion event, one in a
// recovery period.
func TestECNCongestion(t *testing.T) {
	s := newScript(t)
	s.mark(12)
	s.at(50 * ms)
	s.reports(5, 0, 1)
	s.ack(App, "0-5")
	s.want("0-5 acked")
	equal(t, "reductions", s.cc.reductions, 1)
	s.reports(7, 0, 3)
	s.ack(App, "0-11")
	s.want("6-11 acked")
	equal(t, "reductions", s.cc.reductions, 1)
	s.wantECN(dgram.ECT0, 0)
	s.at(60 * ms)
	s.mark(2)
	s.at(120 * ms)
	s.reports(7, 0, 3) // the same count again, for two new packets
	s.ack(App, "12")
	s.want("12 acked")
	s.wantECN(dgram.NotECT, 1)
	equal(t, "reductions", s.cc.reductions, 1)
	s.reports(7, 0, 100) // marks on a path that failed say nothing
	s.ack(App, "12-13")
	s.want("13 acked")
	equal(t, "reductions", s.cc.reductions, 1)
}

func TestECNCongestionNewPeriod(t *testing.T) {
	s := newScript(t)
	s.mark(4)
	s.at(50 * ms)
	s.reports(1, 0, 1)
	s.ack(App, "0-1")
	s.want("0-1 acked")
	s.at(60 * ms)
	s.mark(1)
	s.at(110 * ms)
	s.reports(3, 0, 2)
	s.ack(App, "0-4")
	s.want("2-4 acked")
	equal(t, "reductions", s.cc.reductions, 2)
	equal(t, "congestion events", s.l.Stats().CongestionEvents, 2)
}

// RFC 9000 §13.4.2.1, §13.4.2.2: the lies and accidents that end the use of ECN. In all
// cases ten marked packets were sent, then four without a mark.
func TestECNFails(t *testing.T) {
	for _, tc := range []struct {
		name  string
		story func(s *script)
	}{
		{"no counts", func(s *script) { s.ack(App, "0-3") }},
		{"too few", func(s *script) { s.reports(3, 0, 0); s.ack(App, "0-3") }},
		{"marks as ECT(1)", func(s *script) { s.reports(0, 4, 0); s.ack(App, "0-3") }},
		{"ECT(1) that was never sent", func(s *script) { s.reports(4, 1, 0); s.ack(App, "0-3") }},
		{"more than were sent", func(s *script) { s.reports(11, 0, 0); s.ack(App, "0-13") }},
		{"more than were sent, with CE", func(s *script) { s.reports(10, 0, 1); s.ack(App, "0-13") }},
		{"absurd", func(s *script) { s.reports(1<<62-1, 1<<62-1, 1<<62-1); s.ack(App, "0-3") }},
		{"falling", func(s *script) {
			s.reports(4, 0, 0)
			s.ack(App, "0-3")
			s.pull()
			s.reports(3, 0, 5)
			s.ack(App, "0-4")
		}},
		{"falling to nothing", func(s *script) {
			s.reports(10, 0, 0)
			s.ack(App, "0-9")
			s.pull()
			s.reports(0, 0, 0)
			s.ack(App, "0-10")
		}},
		{"stops reporting", func(s *script) {
			s.reports(4, 0, 0)
			s.ack(App, "0-3")
			s.pull()
			s.ecn = nil
			s.ack(App, "0-4")
		}},
		{"everything CE", func(s *script) { s.reports(0, 0, 10); s.ack(App, "0-9") }},
		{"all marked packets lost", func(s *script) { s.ack(App, "13"); s.pull(); s.expire() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript(t)
			s.sendN(10, App, ect0)
			s.sendN(4, App)
			s.at(20 * ms)
			tc.story(s)
			s.pull()
			s.wantECN(dgram.NotECT, 1)
			window := s.l.Window()
			if window > 14*size+10*size {
				t.Errorf("window is %d", window)
			}
			s.reports(10, 0, 0) // too late
			s.ack(App, "0-13")
			s.pull()
			s.wantECN(dgram.NotECT, 1)
		})
	}
}

// RFC 9000 §13.4.2.1: what is no failure.
func TestECNTolerates(t *testing.T) {
	t.Run("an ACK that was overtaken", func(t *testing.T) {
		s := newScript(t)
		s.mark(4)
		s.reports(3, 0, 0) // without 1, or without 2
		s.ack(App, "0 3")
		s.want("0 acked, 3 acked")
		s.reports(1, 0, 0)
		s.ack(App, "0-1")
		s.want("1 acked")
		s.reports(0, 9, 9)
		s.ack(App, "0-3") // raises nothing
		s.want("2 acked")
		s.mark(1)
		s.reports(5, 0, 0)
		s.ack(App, "0-4")
		s.want("4 acked")
		s.wantECN(dgram.ECT0, 0)
	})
	t.Run("an ACK that was lost", func(t *testing.T) {
		s := newScript(t)
		s.mark(6)
		s.reports(6, 0, 0) // all counted, two named
		s.ack(App, "4-5")
		s.want("0-2 lost, 4-5 acked")
		s.wantECN(dgram.ECT0, 0)
		s.ack(App, "0-5")
		s.want("0-3 acked")
		s.wantECN(dgram.ECT0, 0)
	})
	t.Run("a peer that reports nothing, unasked", func(t *testing.T) {
		s := newScript(t)
		s.sendN(4, App)
		s.ack(App, "0-3")
		s.want("0-3 acked")
		s.wantECN(dgram.ECT0, 0)
	})
	t.Run("some marked packets lost", func(t *testing.T) {
		s := newScript(t)
		s.mark(14)
		s.reports(1, 0, 0)
		s.ack(App, "9 13")
		s.want("0-8 lost, 9 acked, 10 lost, 13 acked")
		s.wantECN(dgram.ECT0, 0)
		s.ecn = nil
		s.expire()
		s.want("11-12 lost")
	})
}

// RFC 9000 §13.4.2: validation is for a path. Another path gets its chance, and
// packets of the old one do not spoil it.
func TestECNOnNewPath(t *testing.T) {
	s := newScript(t)
	s.mark(10)
	s.ack(App, "0")
	s.want("0 acked")
	s.wantECN(dgram.NotECT, 1)
	s.cc = newSpy()
	s.l.ResetPath(s.now, s.cc)
	s.wantECN(dgram.ECT0, 1)
	s.ack(App, "0-9") // the old path wipes marks
	s.want("1-9 acked")
	s.wantECN(dgram.ECT0, 1)
	s.mark(10)
	s.wantECN(dgram.NotECT, 1)
	s.reports(5, 0, 0)
	s.ack(App, "0-14")
	s.want("10-14 acked")
	s.wantECN(dgram.ECT0, 1)

	s.reports(10, 0, 0)
	s.ack(App, "0-19")
	s.want("15-19 acked")
	s.send(App, otherPath) // a CE mark on another path is none of ours
	s.at(10 * ms)
	s.reports(10, 0, 1)
	s.ack(App, "0-20")
	s.want("20 acked")
	equal(t, "reductions", s.cc.reductions, 0)
	s.wantECN(dgram.ECT0, 1)
}

// Marked packets that were discarded undecided are not counted as tests.
func TestECNDiscardedTests(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.sendN(10, Initial, ect0)
	s.wantECN(dgram.NotECT, 0)
	s.l.DropSpace(s.now, Initial)
	s.wantECN(dgram.ECT0, 0)
}

// Each space has counts of its own (RFC 9000 §13.4.1).
func TestECNCountsBySpace(t *testing.T) {
	s := newHandshake(t, Config{Server: true})
	s.sendN(2, Initial, ect0)
	s.sendN(2, Handshake, ect0)
	s.reports(2, 0, 0)
	s.ack(Initial, "0-1")
	s.want("I0-1 acked")
	s.ack(Handshake, "0-1")
	s.want("H0-1 acked")
	s.wantECN(dgram.ECT0, 0)
}
