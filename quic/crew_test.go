package quic

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// However many handshakes come at once, few goroutines wait for more, and not for long.
func TestCrewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		const clients = 60
		var wg sync.WaitGroup
		for range clients {
			c := m.connect(ConnectOptions{})
			wg.Go(func() {
				if err := c.Handshake(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		most := int32(4 * runtime.GOMAXPROCS(0))
		for _, s := range []*Socket{m.client, m.server} {
			if n := s.crew.idle.Load(); n < 1 || n > most {
				t.Errorf("%d goroutines wait for handshakes, want 1 to %d", n, most)
			}
		}
		time.Sleep(crewPatience)
		synctest.Wait()
		for _, s := range []*Socket{m.client, m.server} {
			if n := s.crew.idle.Load(); n != 0 {
				t.Errorf("%d goroutines still wait", n)
			}
		}
	})
}
