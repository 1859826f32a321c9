package quic

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A client that sends and leaves in order loses nothing of what the server has
// acknowledged: not on a stream that is accepted, nor on one or in a session that is not.
func TestOrderlyEndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		want := bytes.Repeat([]byte("cinnabar"), 5000)
		c := m.connect(ConnectOptions{})
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			st, err := c.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.End(want); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the server's end of the session is forgotten
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			st, err := s.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(st); err != nil || !bytes.Equal(b, want) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if n, err := st.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("after the end: %d, %v", n, err)
			}
		}
		if _, err := s.AcceptStream(t.Context()); !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("AcceptStream: %v", err)
		}
	})
}

// A stream that the end cut short is cut off, and so is everything when the peer
// reports an error.
func TestOtherEndsCutOff(t *testing.T) {
	for _, code := range []uint64{0, 7} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			defer m.close()
			p := m.pair(ConnectOptions{})
			c, s := p.streams(t)
			if _, err := c.Write([]byte("more to come")); err != nil {
				t.Fatal(err)
			}
			whole, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := whole.End([]byte("all")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := p.client.CloseWithError(code, ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var app *ApplicationError
			if n, err := s.Read(make([]byte, 100)); n != 0 || !errors.As(err, &app) || app.ErrorCode != code {
				t.Errorf("code %d: %d bytes, %v of a stream without an end", code, n, err)
			}
			st, err := p.server.AcceptStream(t.Context())
			if code != 0 {
				if !errors.As(err, &app) {
					t.Errorf("AcceptStream: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			readable := make(chan struct{}, 1)
			st.SetHooks(StreamHooks{Readable: func() error { readable <- struct{}{}; return nil }})
			<-readable
			if n, err := st.TryRead(make([]byte, 2)); n != 2 || err != nil {
				t.Errorf("TryRead: %d, %v", n, err)
			}
			_ = st.CloseRead()
			if n, err := st.Read(make([]byte, 2)); n != 0 || !errors.As(err, &app) {
				t.Errorf("after CloseRead: %d, %v", n, err)
			}
		})
	}
}
