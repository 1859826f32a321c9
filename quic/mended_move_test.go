package quic

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A move that fails changes nothing: a socket that the session came from, and that
// its path is still on, goes on carrying it.
func TestMoveThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		time.Sleep(100 * time.Millisecond) // for the server's connection IDs
		next := m.socket(SocketOptions{})
		defer next.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		// The path is the former one until the new one is validated, and while
		// that is under way there is no connection ID for another.
		var failed error
		for failed == nil {
			if failed = p.client.SetSocket(t.Context(), m.client, false); failed == nil {
				failed = p.client.SetSocket(t.Context(), next, false)
			}
		}
		go s.Write([]byte("are you there"))
		if _, err := io.ReadFull(c, make([]byte, 13)); err != nil {
			t.Fatal(err)
		}
		if n := next.Stats().StatelessResetCount + m.client.Stats().StatelessResetCount; n != 0 {
			t.Errorf("%d packets were answered with stateless resets", n)
		}
	})
}

// A socket that a session came to, and whose endpoint went while the path was on the
// socket before, forgets the session as the others do.
func TestMoveOnFromWhereNoPathWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(100 * time.Millisecond)
		second, third := socketOn(t, m.net, SocketOptions{}, "10.0.0.9:9", "[2001:db8::9]:9"), m.socket(SocketOptions{})
		defer second.Destroy(nil)
		defer third.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), second, false); err != nil {
			t.Fatal(err)
		}
		second.Endpoints()[0].Destroy(nil)
		time.Sleep(5 * time.Second)
		if err := p.client.SetSocket(t.Context(), third, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		p.exchange(t)
		p.client.Destroy(nil)
		time.Sleep(10 * time.Second) // of answering what is late
		for i, s := range []*Socket{m.client, second, third} {
			s.mu.Lock()
			n := s.mux.Conns()
			s.mu.Unlock()
			if n != 0 {
				t.Errorf("socket %d still routes to %d sessions", i, n)
			}
		}
	})
}
