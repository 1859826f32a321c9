package quic

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A datagram that only looks like a client's first one makes no session: not one
// that is counted against a limit, nor one that a hook hears of.
func TestS15JunkInitial(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Int64
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: 1},
			ListenOptions{Hooks: SessionHooks{Close: func() { closed.Add(1) }}})
		defer m.close()
		odd, err := m.net.Listen(netip.MustParseAddrPort("10.0.0.3:9"))
		if err != nil {
			t.Fatal(err)
		}
		defer odd.Close()
		for range 3 {
			sendInitial(t, odd, wire.Version1)
			synctest.Wait()
			if n := len(m.server.hosts); n != 0 {
				t.Fatalf("%d hosts have sessions", n)
			}
		}
		if st := m.server.Stats(); st.ServerSessions != 0 || st.PacketsIgnored != 3 || st.PacketsReceived != 0 {
			t.Errorf("%+v", st)
		}
		if n := closed.Load(); n != 0 {
			t.Errorf("Close hook called %d times", n)
		}
		p := m.pair(ConnectOptions{})
		p.client.Destroy(nil)
		time.Sleep(time.Minute)
		m.canaries()
	})
}
