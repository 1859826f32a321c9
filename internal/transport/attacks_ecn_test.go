package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A peer that lies about marks never has a larger window than one that tells the truth: either nothing is marked any
// more (RFC 9000 §13.4.2), or the window falls (RFC 9002 §7.1).
// RFC 9000 §13.4.
func TestS44ECNLies(t *testing.T) {
	besiege(t, 0)
	type counts = wire.ECNCounts
	first := counts{} // what the liar had seen when it began to lie
	for _, lie := range []struct {
		name  string
		says  func(came counts) *counts
		falls bool // the window, and marking goes on
	}{
		{"all CE from now on", func(c counts) *counts { return &counts{ECT0: first.ECT0, CE: c.ECT0 - first.ECT0} }, true},
		{"all CE ever", func(c counts) *counts { return &counts{CE: c.ECT0} }, false},
		{"more CE than packets", func(c counts) *counts { return &counts{ECT0: c.ECT0, CE: 1} }, false},
		{"CE without end", func(c counts) *counts { return &counts{ECT0: c.ECT0, CE: 1<<62 - 1} }, false},
		{"falling", func(c counts) *counts { return &counts{ECT0: first.ECT0 - 1} }, false},
		{"standing still", func(counts) *counts { return &counts{ECT0: first.ECT0} }, false},
		{"more than was sent", func(c counts) *counts { return &counts{ECT0: c.ECT0 + 1} }, false},
		{"without end", func(counts) *counts { return &counts{ECT0: 1<<62 - 1, ECT1: 1<<62 - 1, CE: 1<<62 - 1} }, false},
		{"the other mark", func(c counts) *counts { return &counts{ECT1: c.ECT0} }, false},
		{"both marks", func(c counts) *counts { return &counts{ECT0: c.ECT0, ECT1: c.ECT0} }, false},
		{"no more reports", func(counts) *counts { return nil }, false},
	} {
		t.Run(lie.name, func(t *testing.T) {
			bothSides(t, func(t *testing.T, s side) {
				truth := func(came counts) *counts { return &came }
				honestly := func(p *fakePeer) { p.reports = truth }
				liar, honest := newTestConn(t, s, wide, noIdle, honestly), newTestConn(t, s, wide, noIdle, honestly)
				to, too := liar.open(bidi), honest.open(bidi)
				round := func(n int) {
					liar.fill(to)
					honest.fill(too)
					for _, tc := range []*testConn{liar, honest} {
						tc.advance(10 * time.Millisecond)
						tc.ack(wire.OneRTT)
					}
					if l, h := liar.conn.loss.Window(), honest.conn.loss.Window(); l > h {
						t.Fatalf("round %d: a window of %d, an honest peer has %d", n, l, h)
					}
				}
				for n := range 2 {
					round(n)
				}
				if st := liar.conn.Stats(); st.ECNFailures > 0 || liar.conn.loss.ECN() != dgram.ECT0 || liar.conn.loss.Window() != honest.conn.loss.Window() {
					t.Fatalf("before the lie: %+v", st)
				}
				first, liar.peer.reports = liar.peer.marks[2], lie.says
				for n := range 4 {
					window := liar.conn.loss.Window()
					round(2 + n)
					// What left at the very instant of a reduction belongs to that, so every second round falls here.
					if now := liar.conn.loss.Window(); lie.falls && n%2 == 0 && now > window*7/8 {
						t.Errorf("round %d: a window of %d, after %d", n, now, window)
					} else if lie.falls && now > window+wire.MinInitialSize {
						t.Errorf("round %d: a window of %d, after %d", n, now, window)
					}
				}
				if failed := liar.conn.Stats().ECNFailures; failed > 1 || (failed == 0) != lie.falls || (liar.conn.loss.ECN() == dgram.ECT0) != lie.falls {
					t.Errorf("%d times validation failed, and packets have the mark %v", failed, liar.conn.loss.ECN())
				}
				liar.peer.reports = truth // which comes too late, and of CE is one more lie
				round(6)
				if st := liar.conn.Stats(); st.ECNFailures != 1 || liar.conn.loss.ECN() != dgram.NotECT {
					t.Errorf("after the lie: %d times validation failed, and packets have the mark %v", st.ECNFailures, liar.conn.loss.ECN())
				}
				liar.clear()
				honest.clear()
			})
		})
	}
}
