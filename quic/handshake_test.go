package quic

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A client whose first message is not whole costs no handshake engine and no
// place in the accept queue, and is forgotten in time.
func TestHalfClientHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.net.SetFilter(func(d *dgram.Datagram) bool { // only the very first datagram gets through
			pass := first && d.Path.Remote.Addr() != memServer.Addr()
			first = false
			return !pass
		})
		m.connect(ConnectOptions{})
		synctest.Wait()
		m.server.mu.Lock()
		s := m.server.first
		m.server.mu.Unlock()
		if s == nil {
			t.Fatal("no session")
		}
		s.mu.Lock()
		if s.tls != nil || s.server.greeted {
			t.Error("the first message is whole, or an engine was made for half of it")
		}
		s.unlock(flushNone)
		m.server.mu.Lock()
		if m.server.accepted.len() != 0 {
			t.Error("it waits to be accepted")
		}
		m.server.mu.Unlock()
		time.Sleep(15 * time.Second)
		if !s.Destroyed() {
			t.Error("the session is still there")
		}
		if n := m.server.mux.Handshakes(); n != 0 {
			t.Errorf("%d handshakes are counted", n)
		}
	})
}

// After the handshake neither end keeps an engine.
func TestEngineIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: None})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: None})
		waits := m.pair(ConnectOptions{IdleTimeout: None, Hooks: SessionHooks{SessionTicket: func(_, _ []byte) error { return nil }}})
		synctest.Wait()
		for _, s := range []*Session{&p.client.Session, &p.server.Session, &waits.client.Session, &waits.server.Session} {
			s.mu.Lock()
			if s.tls != nil {
				t.Errorf("client %v has an engine", s.client != nil)
			}
			s.unlock(flushNone)
		}
	})
}

// A client that waits for a ticket that does not come gives up.
func TestEngineWaitsForTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serverConfig()
		server.SessionTicketsDisabled = true
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: server, IdleTimeout: None})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: None, Hooks: SessionHooks{SessionTicket: func(_, _ []byte) error { return nil }}})
		engine := func() bool {
			p.client.mu.Lock()
			defer p.client.unlock(flushNone)
			return p.client.tls != nil
		}
		time.Sleep(9 * time.Second)
		if !engine() {
			t.Error("the engine is gone early")
		}
		time.Sleep(2 * time.Second)
		if engine() {
			t.Error("the engine is still there")
		}
		p.exchange(t)
	})
}

// A session that is destroyed in its handshake leaves nothing behind: the bubble
// would not end.
func TestDestroyInHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for i := range 40 {
			c := m.connect(ConnectOptions{})
			wait := make(chan error)
			go func() { wait <- c.Handshake(t.Context()) }()
			time.Sleep(time.Duration(i) * 200 * time.Microsecond)
			boom := errors.New("boom")
			c.Destroy(boom)
			if err := <-wait; err != nil && !errors.Is(err, boom) {
				t.Errorf("Handshake: %v", err)
			}
		}
		m.server.Destroy(nil)
	})
}

// A peer that goes away in silence takes nothing with it for longer than the idle
// timeout.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, _ := p.streams(t)
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		if _, err := c.Write(make([]byte, 1<<20)); !errors.As(err, new(*IdleTimeoutError)) {
			t.Errorf("Write: %v", err)
		}
		<-p.server.Closed()
		time.Sleep(time.Minute)
		for _, s := range []*Socket{m.client, m.server} {
			s.mu.Lock()
			if s.first != nil || s.alive != 0 || s.mux.Conns() != 0 {
				t.Errorf("%v, %d alive, %d routed", s.first, s.alive, s.mux.Conns())
			}
			s.mu.Unlock()
		}
	})
}
