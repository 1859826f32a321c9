package quic

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// The socket that Dial makes goes with its session; one that the session has moved to
// is the program's, and so are the other sessions there.
func TestDialedSessionMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		own, next := m.client, m.socket(SocketOptions{})
		defer next.Destroy(nil)
		c, err := own.connect(t.Context(), m.options(ConnectOptions{}), true) // as Dial does
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		m.client = next
		other := m.pair(ConnectOptions{})
		if err := c.SetSocket(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if own.Destroyed() {
			t.Error("the socket is gone before the session")
		}
		if err := c.CloseWithError(0, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if next.Destroyed() || other.client.Destroyed() {
			t.Error("the end of the session took the program's socket with it")
		}
		if !own.Destroyed() {
			t.Error("the socket of the session's own is still there")
		}
	})
}
