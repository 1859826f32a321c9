package quic

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// With KeepUnidirectional, who waits for a unidirectional stream is served while the session is closing, whether
// the wait began before that or after.
func TestKeepUnidirectionalServesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{MaxStreamsUni: 1, MaxStreamsBidi: 1})
		defer m.close()
		p := m.pair(ConnectOptions{})
		p.client.KeepUnidirectional()
		p.server.KeepUnidirectional()
		work, _ := p.streams(t) // which keeps the session from ending
		open := func() *Stream {
			st, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
			if err != nil {
				t.Error(err)
				return nil
			}
			_, _ = st.End([]byte("x"))
			return st
		}
		open()
		done, refused := make(chan *Stream, 2), make(chan error, 1)
		go func() { done <- open() }()
		go func() {
			_, err := p.client.OpenStream(t.Context(), StreamOptions{})
			refused <- err
		}()
		synctest.Wait()
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		var state *StateError
		if err := <-refused; !errors.As(err, &state) {
			t.Errorf("a bidirectional stream: %v", err)
		}
		go func() { done <- open() }()
		for range 3 {
			st, err := p.server.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if b := make([]byte, 2); true {
				_, _ = st.Read(b)
				_, _ = st.Read(b)
			}
		}
		for range 2 {
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("nobody is given the stream")
			}
		}
		work.Destroy(nil)
	})
}
