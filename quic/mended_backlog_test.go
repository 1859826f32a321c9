package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// wantTurnedAway wants a client that the server has refused.
func wantTurnedAway(t *testing.T, c *ClientSession) {
	t.Helper()
	if err := c.Err(); !errors.Is(err, &TransportError{ErrorCode: 2, Remote: true}) || c.CloseCode() != (CloseCode{2, CloseTransport, true}) {
		t.Errorf("a refused client ends with %v, %+v", err, c.CloseCode())
	}
}

// queueAndTally returns how many sessions wait for Accept, and how many there are.
func (m *memNet) queueAndTally() (int, tally) {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	return m.server.accepted.len(), m.server.servers
}

// wantNobody wants a server that counts no session any more.
func (m *memNet) wantNobody() {
	m.t.Helper()
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	if s := m.server; s.servers != (tally{}) || len(s.hosts) != 0 || s.accepted.len() != 0 || s.mux.Handshakes() != 0 {
		m.t.Errorf("%+v, %d hosts, %d to accept, %d handshakes when all is over", s.servers, len(s.hosts), s.accepted.len(), s.mux.Handshakes())
	}
}

// Handshakes that all begin while nothing waits for Accept fill the queue as far as it goes. The others are
// refused, and take up nothing.
func TestBacklogAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 40
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{MaxConnectionsPerHost: 4 * acceptBacklog}, ListenOptions{IdleTimeout: time.Hour})
		defer m.close()
		most := m.server.backlog
		var clients []*ClientSession
		for range most + more {
			clients = append(clients, m.connect(ConnectOptions{IdleTimeout: time.Hour}))
		}
		time.Sleep(time.Second) // the queue only grows: what it is now is what it ever was
		if n, all := m.queueAndTally(); n != most || all != (tally{proven: most}) {
			t.Errorf("%d wait, %+v, want %d", n, all, most)
		}
		if n := m.server.Stats().ServerBusyCount; n != more {
			t.Errorf("%d are counted as refused, want %d", n, more)
		}
		taken := make(map[string]*ClientSession)
		for _, c := range clients {
			if c.Err() == nil {
				taken[string(c.OriginalConnectionID())] = c
			} else {
				wantTurnedAway(t, c)
			}
		}
		if len(taken) != most {
			t.Errorf("%d clients have a session, want %d", len(taken), most)
		}
		for range most {
			v, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if id := string(v.OriginalConnectionID()); taken[id] == nil || v.Err() != nil || !v.HandshakeComplete() {
				t.Errorf("accepted %x, which ended with %v", id, v.Err())
			} else {
				delete(taken, id)
			}
			v.Destroy(nil)
		}
		m.pair(ConnectOptions{}).client.Destroy(nil) // there is room again
		time.Sleep(time.Minute)
		m.wantNobody()
	})
}

// The hooks of a session that is refused hear of its end, and not that it is secure.
func TestBacklogRefusesBeforeSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var secure, over atomic.Int32
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: SessionHooks{
			Secure: func() error { secure.Add(1); return nil },
			Close:  func() { over.Add(1) },
		}})
		defer m.close()
		m.server.backlog = 3
		for range 5 {
			m.connect(ConnectOptions{})
		}
		time.Sleep(time.Second)
		if secure.Load() != 3 || over.Load() != 2 {
			t.Errorf("%d sessions are secure, %d over; want 3 and 2", secure.Load(), over.Load())
		}
		for range 3 {
			if _, err := m.server.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		m.pair(ConnectOptions{}).exchange(t)
	})
}

// The queue is for Accept: a Handler is given every session.
func TestHandlerHasNoBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := make(chan struct{}, 10)
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{
			Handler: func(*ServerSession) error { taken <- struct{}{}; return nil },
		})
		defer m.close()
		m.server.backlog = 1
		for range 5 {
			m.connect(ConnectOptions{})
		}
		time.Sleep(time.Second)
		if n, all := m.queueAndTally(); len(taken) != 5 || n != 0 || all != (tally{proven: 5}) {
			t.Errorf("%d were handled, %d wait, %+v", len(taken), n, all)
		}
	})
}

// Sessions that come with early data are offered sooner, and refused then, with their data.
func TestBacklogOfEarlyData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var holds atomic.Bool // keeps TLS from the next client's hello, until there is a release
		release := make(chan struct{})
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{
			ClientHelloHandler: func(context.Context, *ServerSession, ClientHello) (*securecontext.Context, error) {
				if holds.Swap(false) {
					<-release
				}
				return nil, nil
			},
		})
		defer m.close()
		client := clientConfig()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		p := m.pair(ConnectOptions{TLS: client})
		p.exchange(t)
		time.Sleep(time.Second) // the ticket comes
		_ = p.client.CloseWithError(0, "")
		time.Sleep(time.Second)
		m.server.backlog = 1

		holds.Store(true)
		c := m.connect(ConnectOptions{TLS: client})
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End([]byte("early"))
		time.Sleep(2 * time.Millisecond) // it has come, and TLS waits
		waits := m.connect(ConnectOptions{})
		if err := waits.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		if n, _ := m.queueAndTally(); n != 1 || m.server.Stats().ServerBusyCount != 0 {
			t.Fatalf("%d wait, %d refused", n, m.server.Stats().ServerBusyCount)
		}
		m.server.mu.Lock()
		sessions := m.server.sessions()
		m.server.mu.Unlock()
		i := slices.IndexFunc(sessions, func(v *Session) bool { return string(v.OriginalConnectionID()) == string(c.OriginalConnectionID()) })
		if i < 0 {
			t.Fatal("the one with early data is not there")
		}
		held := sessions[i]
		close(release)
		time.Sleep(10 * time.Millisecond)
		if n, all := m.queueAndTally(); n != 1 || all != (tally{proven: 1}) || m.server.Stats().ServerBusyCount != 1 {
			t.Errorf("%d wait, %+v, %d refused", n, all, m.server.Stats().ServerBusyCount)
		}
		held.mu.Lock()
		early := held.conn.UsingEarlyData()
		held.unlock(flushNone)
		if !early || held.server.HandshakeComplete() || !held.server.Destroyed() {
			t.Errorf("early data %v, handshake complete %v, over %v", early, held.server.HandshakeComplete(), held.server.Destroyed())
		}
		wantTurnedAway(t, c)
		v, err := m.server.Accept(t.Context())
		if err != nil || string(v.OriginalConnectionID()) != string(waits.OriginalConnectionID()) {
			t.Errorf("accepted %v, %v", v, err)
		}
		waits.Destroy(nil)
		time.Sleep(time.Minute)
		m.wantNobody()
	})
}
