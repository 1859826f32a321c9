package quic

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Who sends first packets in a host's name keeps that host out of nothing.
func TestForgedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: 10}, ListenOptions{})
		defer m.close()
		// What the server answers never comes: the forger is elsewhere.
		m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Remote == memServer })
		for range 30 {
			m.connect(ConnectOptions{})
			synctest.Wait()
		}
		synctest.Wait()
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		m.client.Destroy(nil) // and nobody hears of it
		synctest.Wait()
		m.net.SetFilter(nil)
		m.server.mu.Lock()
		unproven, n := m.server.servers.unproven, m.server.servers.proven
		m.server.mu.Unlock()
		if unproven != 5 || n != 0 {
			t.Errorf("%d and %d sessions, want 5 without a proof of their address", unproven, n)
		}
		m.client = m.socket(SocketOptions{})
		p := m.pair(ConnectOptions{})
		if m.server.Stats().RetryCount == 0 {
			t.Error("nobody was asked for a Retry")
		}
		m.server.mu.Lock()
		n = m.server.servers.proven
		m.server.mu.Unlock()
		if n == 0 {
			t.Error("the client that got through does not count")
		}
		p.client.Destroy(nil)
	})
}

// A limit holds also for clients that come at the same time.
func TestLimitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{MaxConnections: 3}, ListenOptions{})
		defer m.close()
		for range 9 {
			m.connect(ConnectOptions{})
		}
		time.Sleep(time.Second)
		m.server.mu.Lock()
		n, queued := m.server.servers, m.server.accepted.len()
		m.server.mu.Unlock()
		if n != (tally{proven: 3}) || queued != 3 {
			t.Errorf("%+v, %d to accept, want 3", n, queued)
		}
		if st := m.server.Stats(); st.ServerBusyCount == 0 {
			t.Errorf("nobody was refused: %+v", st)
		}
		for range 3 {
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.Destroy(nil)
		}
		synctest.Wait()
		m.server.mu.Lock()
		defer m.server.mu.Unlock()
		if m.server.servers != (tally{}) || len(m.server.hosts) != 0 {
			t.Errorf("%+v, %d hosts are counted when all is over", m.server.servers, len(m.server.hosts))
		}
	})
}

// Sessions that are over without having got through a handshake call for Retry as if
// they were alive.
func TestEndedHandshakesCount(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 1,100 sessions")
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: 5000}, ListenOptions{})
		defer m.close()
		m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Remote == memServer })
		for range 1100 {
			c := m.connect(ConnectOptions{})
			c.Destroy(nil)
		}
		synctest.Wait()
		n, handshakes := m.linked()
		if n > 1000 || handshakes != n {
			t.Errorf("%d sessions, %d handshakes", n, handshakes)
		}
		if m.server.Stats().RetryCount == 0 {
			t.Error("nobody was asked for a Retry")
		}
		time.Sleep(time.Minute)
		if n, handshakes := m.linked(); n != 0 || handshakes != 0 || m.server.lingering.len() != 0 {
			t.Errorf("%d sessions, %d handshakes, %d lingering after a minute", n, handshakes, m.server.lingering.len())
		}
	})
}

// Sessions that are over are kept for a while, but not any number of them.
func TestS51Lingering(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{MaxConnectionsPerHost: 10_000}, ListenOptions{})
		defer m.close()
		most := limits.Bound(t, "lingering")
		var pairs []*pair
		for range most + 20 {
			pairs = append(pairs, m.pair(ConnectOptions{}))
		}
		for _, p := range pairs {
			p.client.Destroy(nil)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n, _ := m.linked(); n != most {
			t.Errorf("%d sessions that are over, want the last %d", n, most)
		}
		time.Sleep(time.Minute)
		if n, _ := m.linked(); n != 0 || m.server.lingering.len() != 0 {
			t.Errorf("%d sessions, %d lingering after a minute", n, m.server.lingering.len())
		}
	})
}

// linked returns how many sessions the server knows, and how many handshakes it counts.
func (m *memNet) linked() (n, handshakes int) {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	for v := m.server.first; v != nil; v = v.nextInSocket {
		n++
	}
	return n, m.server.mux.Handshakes()
}
