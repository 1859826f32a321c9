package sim_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// A client says hello over a bad network, and the server takes it.
func Example() {
	clientAddr, serverAddr := netip.MustParseAddrPort("10.0.0.1:50000"), netip.MustParseAddrPort("10.0.1.1:443")
	w := sim.NewWorld(1)
	server := w.Listen("server", serverAddr, sim.Setup{})
	client := w.Endpoint("client", clientAddr, sim.Setup{})
	w.Net.Link(clientAddr, serverAddr, sim.Interop(sim.Loss(10, 0)), sim.Interop(sim.Reorder(10, time.Millisecond)))

	var got []byte
	server.OnSession = func(s *sim.Session) {
		s.Handle = func(ev *transport.Event) {
			if ev.Kind == transport.EventReadable {
				b := make([]byte, 100)
				n, _ := s.Conn.Read(w.Now(), ev.Stream, b)
				got = append(got, b[:n]...)
			}
		}
	}
	c := client.Connect(serverAddr)
	c.Handle = func(ev *transport.Event) {
		if ev.Kind == transport.EventSecure {
			s := c.Conn.OpenStream(w.Now(), true)
			c.Conn.Write(s, []byte("hello"))
			c.Conn.CloseWrite(s)
		}
	}
	fmt.Println(w.Run(time.Minute, func() bool { return len(got) == 5 }))
	fmt.Printf("%s\n", got)

	c.Do(func(c *transport.Conn, now mono.Time) { c.Close(now, true, 0, "") })
	fmt.Println(w.Run(time.Hour, nil), w.Finish())
	// Output:
	// <nil>
	// hello
	// <nil> <nil>
}
