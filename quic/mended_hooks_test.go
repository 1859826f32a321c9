package quic

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A Stream hook takes the place of AcceptStream, also of calls that wait already.
func TestStreamHookEndsAcceptStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		failed := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := p.server.AcceptStream(t.Context())
				failed <- err
			}()
		}
		synctest.Wait()
		hooked := make(chan *Stream, 1)
		p.server.SetHooks(SessionHooks{Stream: func(st *Stream) error { hooked <- st; return nil }})
		for range 2 {
			if err := <-failed; !errors.Is(err, ErrInvalidState) || errors.Is(err, net.ErrClosed) {
				t.Errorf("AcceptStream: %v", err)
			}
		}
		c, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-hooked
	})
}

// Nothing is told to a socket's hooks after its Close, though a Handler may run on.
func TestCloseIsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		goOn := make(chan struct{})
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{Hooks: SocketHooks{
			SessionError: func(error, *Session) { told = append(told, "SessionError") },
			Close:        func() { told = append(told, "Close") },
		}}, ListenOptions{Handler: func(*ServerSession) error {
			<-goOn
			return errors.New("too late")
		}})
		m.connect(ConnectOptions{})
		synctest.Wait()
		m.close()
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		if len(told) != 1 || told[0] != "Close" {
			t.Errorf("told %q", told)
		}
	})
}
