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
