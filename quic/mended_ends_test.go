package quic

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A server that does not answer is a handshake that failed, however short the idle
// timeout is.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Filter: func(d *dgram.Datagram) bool { return d.Path.Remote == memServer }}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c, err := m.client.Connect(t.Context(), m.options(ConnectOptions{IdleTimeout: 2 * time.Second}))
		if err != nil {
			t.Fatal(err)
		}
		var timeout *HandshakeTimeoutError
		if err := c.Handshake(t.Context()); !errors.As(err, &timeout) {
			t.Errorf("Handshake: %v", err)
		}
	})
}

// Calls on a socket that is closing find net.ErrClosed, as accept loops expect.
func TestClosingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		p.streams(t) // without them the sessions would be over at once, and not closing
		if err := m.server.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.server.Accept(t.Context()); !errors.Is(err, net.ErrClosed) || !errors.Is(err, ErrInvalidState) {
			t.Errorf("Accept: %v", err)
		}
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.client.OpenStream(t.Context(), StreamOptions{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("OpenStream: %v", err)
		}
	})
}
