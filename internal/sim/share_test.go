package sim_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

const shareSeed = 3

// rivals lets sessions with these congestion controllers send to one server over the same path of 40 ms, all they can, each
// begun so much later than the one before, and returns how many Mbit/s each has brought over in the last three quarters of that time.
func rivals(t *testing.T, up []sim.Node, long, later time.Duration, controllers ...string) []float64 {
	t.Helper()
	clientAddr, serverAddr := netip.MustParseAddrPort("10.0.0.1:50000"), netip.MustParseAddrPort("10.0.1.1:443")
	w := sim.NewWorld(shareSeed)
	setup := sim.Setup{}
	setup.Config.Params = sim.DefaultParameters()
	setup.Config.Params.MaxData, setup.Config.Params.MaxStreamDataUni = 1<<26, 1<<26
	server, client := w.Listen("server", serverAddr, setup), w.Endpoint("client", clientAddr, setup)
	w.Net.Link(clientAddr, serverAddr, append(up, sim.Delay(20*time.Millisecond, 0)), []sim.Node{sim.Delay(20*time.Millisecond, 0)})

	got, number := make([]float64, len(controllers)), map[*sim.Session]int{}
	server.OnSession = func(s *sim.Session) {
		page := make([]byte, 64<<10)
		s.Handle = func(ev *transport.Event) {
			if ev.Kind != transport.EventReadable {
				return
			}
			for n := 1; n > 0; {
				n, _ = s.Conn.Read(w.Now(), ev.Stream, page)
				if w.Now() > mono.Time(long/4) {
					got[number[s.Peer]] += float64(8*n) / 1e6 / (long * 3 / 4).Seconds()
				}
			}
		}
	}
	run := func(until time.Duration) {
		if err := w.Run(2*until, func() bool { return w.Now() >= mono.Time(until) }); err != nil {
			t.Fatalf("seed %d: %v", shareSeed, err)
		}
	}
	for i, controller := range controllers {
		if i > 0 && later > 0 {
			run(time.Duration(i) * later)
		}
		c := client.Connect(serverAddr, func(cfg *transport.Config) { cfg.CongestionControl = controller })
		number[c] = i
		page := make([]byte, 64<<10)
		c.Handle = func(ev *transport.Event) {
			st := ev.Stream
			switch ev.Kind {
			case transport.EventSecure:
				st = c.Conn.OpenStream(w.Now(), true)
				st.SetHighWater(len(page))
			case transport.EventWritable:
			default:
				return
			}
			for n := 1; n > 0; {
				n, _ = c.Conn.Write(st, page)
			}
		}
	}
	run(long)
	for _, s := range append(client.Sessions, server.Sessions...) {
		s.Do(func(c *transport.Conn, now mono.Time) { c.Destroy(now) })
	}
	return got
}

// Where packets are lost without a queue, CUBIC has what its smaller reduction gives it: at one loss in 1/p packets, a factor of 0.85
// and a line of 0.529 datagrams a round trip (RFC 9438 §4.3) make windows of 1.8 over the root of p, to Reno's 1.2. Above the window
// before the loss the line is steeper.
func TestCubicLossWithoutQueue(t *testing.T) {
	for _, percent := range []float64{0.5, 1} {
		t.Run(fmt.Sprintf("%g %%", percent), func(t *testing.T) {
			t.Parallel()
			var got []float64
			for _, controller := range []string{"cubic", "reno"} {
				got = append(got, rivals(t, []sim.Node{sim.Rate(200e6, 700), sim.Loss(percent, 3)}, time.Minute, 0, controller)...)
			}
			t.Logf("CUBIC %.2f Mbit/s, Reno %.2f", got[0], got[1])
			if got[0] < 1.4*got[1] {
				t.Errorf("seed %d: CUBIC has %.2f Mbit/s, Reno %.2f", shareSeed, got[0], got[1])
			}
		})
	}
}

// Beside a Reno flow CUBIC has little more than that where there is a queue, and up to three times as much where there is next to none
// and losses are no sign of one: whichever of them came first, and how much later the other one did.
func TestCubicSharesAQueue(t *testing.T) {
	const mbits, inPipe = 20, 66
	for _, test := range []struct {
		queued     int
		share, use float64 // at most, at least
	}{
		{inPipe, 1.4, 0.9}, {inPipe / 2, 1.4, 0.9}, {inPipe / 4, 1.4, 0.8}, {inPipe / 8, 3, 0.6}, {inPipe / 20, 3.2, 0.3},
	} {
		t.Run(fmt.Sprint(test.queued), func(t *testing.T) {
			t.Parallel()
			var cubic, reno float64
			for _, later := range []time.Duration{0, 700 * time.Millisecond, 1900 * time.Millisecond} {
				up := func() []sim.Node { return []sim.Node{sim.Rate(mbits*1e6, test.queued)} }
				first, second := rivals(t, up(), 30*time.Second, later, "cubic", "reno"), rivals(t, up(), 30*time.Second, later, "reno", "cubic")
				cubic, reno = cubic+first[0]+second[1], reno+first[1]+second[0]
			}
			share, use := cubic/reno, (cubic+reno)/(6*mbits)
			t.Logf("CUBIC has %.2f of what Reno has, both have %.2f of the path", share, use)
			if share < 0.7 || share > test.share || use < test.use {
				t.Errorf("seed %d: CUBIC has %.2f of what Reno has, and both have %.2f of the path", shareSeed, share, use)
			}
		})
	}
}
