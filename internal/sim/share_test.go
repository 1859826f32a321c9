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

// rivals lets sessions with these congestion controllers send to one server over the same path of 40 ms, all they can, and
// returns how many Mbit/s each has brought over in the last three quarters of that time.
func rivals(t *testing.T, up []sim.Node, long time.Duration, controllers ...string) []float64 {
	t.Helper()
	const seed = 3
	clientAddr, serverAddr := netip.MustParseAddrPort("10.0.0.1:50000"), netip.MustParseAddrPort("10.0.1.1:443")
	w := sim.NewWorld(seed)
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
	for i, controller := range controllers {
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
	if err := w.Run(2*long, func() bool { return w.Now() > mono.Time(long) }); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, s := range append(client.Sessions, server.Sessions...) {
		s.Do(func(c *transport.Conn, now mono.Time) { c.Destroy(now) })
	}
	return got
}

// Where packets are lost without a queue, CUBIC has what its smaller reduction gives it: with Reno's line of 0.529 datagrams a
// round trip (RFC 9438 §4.3), a factor of 0.85 and a loss for each 1/p packets, windows are 1.8 to Reno's 1.2 over the root of p.
func TestCubicLossWithoutQueue(t *testing.T) {
	for _, percent := range []float64{0.5, 1} {
		t.Run(fmt.Sprintf("%g %%", percent), func(t *testing.T) {
			t.Parallel()
			var got []float64
			for _, controller := range []string{"cubic", "reno"} {
				got = append(got, rivals(t, []sim.Node{sim.Rate(200e6, 700), sim.Loss(percent, 3)}, 60*time.Second, controller)...)
			}
			t.Logf("CUBIC %.2f Mbit/s, Reno %.2f", got[0], got[1])
			if got[0] < 1.5*got[1] {
				t.Errorf("CUBIC has %.2f Mbit/s, Reno %.2f", got[0], got[1])
			}
		})
	}
}

// Where there is a queue, CUBIC takes no more of it from Reno than RFC 9438 makes it: up to twice as much, as the two fall in and out of step.
func TestCubicSharesAQueue(t *testing.T) {
	const mbits, inPipe = 20, 66
	for _, queued := range []int{inPipe / 2, inPipe} {
		t.Run(fmt.Sprint(queued), func(t *testing.T) {
			t.Parallel()
			got := rivals(t, []sim.Node{sim.Rate(mbits*1e6, queued)}, 80*time.Second, "cubic", "reno")
			t.Logf("CUBIC %.2f Mbit/s, Reno %.2f", got[0], got[1])
			if share := got[0] / got[1]; share < 0.5 || share > 2 {
				t.Errorf("CUBIC has %.2f of what Reno has", share)
			}
			if got[0]+got[1] < 0.9*mbits {
				t.Errorf("%.2f Mbit/s of %d", got[0]+got[1], mbits)
			}
		})
	}
}
