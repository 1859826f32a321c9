package quic

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A Shutdown whose peer has vanished does not claim that all is well.
func TestShutdownWithoutPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Bool
		m := newMemNet(t, udp.NetworkOptions{Filter: func(*dgram.Datagram) bool { return cut.Load() }},
			SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: 2 * time.Second})
		c, _ := p.streams(t)
		cut.Store(true)
		if _, err := c.Write(make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		var idle *IdleTimeoutError
		if err := p.client.Shutdown(t.Context()); !errors.As(err, &idle) {
			t.Errorf("Shutdown: %v, though the peer has acknowledged nothing", err)
		}
	})
}

// A Shutdown that the peer's orderly end comes before has nothing to complain of.
func TestShutdownEndedByPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		p.streams(t)
		done := make(chan error, 1)
		go func() { done <- p.client.Shutdown(t.Context()) }()
		synctest.Wait()
		if err := p.server.CloseWithError(0, ""); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}
