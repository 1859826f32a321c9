package sim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/sim"
)

// upload sends size bytes from a client over a bottleneck of 200 Mbit/s with a round trip
// of 40 ms, and returns how long that took and how many datagrams the server answered with.
func upload(t *testing.T, controller string, size int64, frequency bool, faults func() []sim.Node) (time.Duration, uint64) {
	t.Helper()
	up := append([]sim.Node{sim.Rate(200e6, 400), sim.Delay(20*time.Millisecond, 0)}, faults()...)
	s := newScene(t, up, []sim.Node{sim.Delay(20*time.Millisecond, 0)}, func(_ bool, s *sim.Setup) {
		s.Config.CongestionControl = controller
		if !frequency {
			s.Config.Params.HasMinAckDelay, s.Config.Params.MinAckDelay = false, 0
		}
	})
	s.streams = []*streamPlan{{legs: [2]*leg{
		{size: size, stop: -1, write: 60_000, read: 60_000}, {key: 1, size: 1, stop: -1, write: 1, read: 1},
	}}}
	s.total = size + 1
	s.connect()
	s.run(10*time.Minute, func() bool { return s.moved == s.total })
	took, answers := s.w.Now().Sub(0), s.c.Peer.Conn.Stats().DatagramsSent
	s.run(time.Minute, s.done)
	s.finish()
	return took, answers
}

// Bulk is hardly slower for asking for fewer ACKs, whether slow start ends by HyStart++ or
// by loss, with random loss and with marks: a window that opens in 64 steps is on average
// half a step behind. And where the window is large, the ACKs are far fewer.
func TestAckFrequencyGoodput(t *testing.T) {
	for _, test := range []struct {
		name   string
		size   int64
		fewer  uint64 // how many times fewer datagrams the receiver sends, at least
		faults func() []sim.Node
	}{
		{"clean", 50e6, 6, func() []sim.Node { return nil }},
		{"short", 2e6, 1, func() []sim.Node { return nil }},
		{"loss of 0.1 %", 20e6, 1, func() []sim.Node { return []sim.Node{sim.Loss(0.1, 3)} }},
		{"loss of 1 %, which no window outgrows", 10e6, 0, func() []sim.Node { return []sim.Node{sim.Loss(1, 3)} }},
		{"marks", 20e6, 2, func() []sim.Node { return []sim.Node{sim.Mark(0.05)} }},
	} {
		for _, controller := range []string{"cubic", "reno"} {
			t.Run(fmt.Sprint(test.name, ", ", controller), func(t *testing.T) {
				t.Parallel()
				with, few := upload(t, controller, test.size, true, test.faults)
				without, many := upload(t, controller, test.size, false, test.faults)
				t.Logf("with: %v, %d datagrams; without: %v, %d", with, few, without, many)
				if with > without+without/100 {
					t.Errorf("%v with the extension, %v without", with, without)
				}
				if few*test.fewer > many {
					t.Errorf("%d datagrams with the extension, %d without", few, many)
				}
			})
		}
	}
}
