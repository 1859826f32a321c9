package quic

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// The end of what a writer wrote leaves with what it writes next, and soon if that is
// nothing: at once if it has written only once, within a millisecond if it went on and on, and
// without delay if somebody waits for it or the stream ends.
func TestEndOfLargeWrites(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     StreamOptions
		write func(st *Stream) error
		size  int
		most  time.Duration
	}{
		{"one large write", StreamOptions{}, writes(1), 64 << 10, 0},
		{"many of them", StreamOptions{}, writes(3), 3 * 64 << 10, spareTime},
		{"and the end of the stream", StreamOptions{}, func(st *Stream) error {
			_ = writes(3)(st)
			return st.CloseWrite()
		}, 3 * 64 << 10, 0},
		{"nothing may be left", StreamOptions{HighWaterMark: None}, writes(3), 3 * 64 << 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const delay = 2 * time.Millisecond
				m := newMemNet(t, udp.NetworkOptions{Delay: delay}, SocketOptions{}, ListenOptions{})
				defer m.close()
				p := m.pair(ConnectOptions{})
				st, err := p.client.OpenStream(t.Context(), c.o)
				if err != nil {
					t.Fatal(err)
				}
				go func() { _ = writes(80)(st) }() // so that no window is in the way
				peer, err := p.server.AcceptStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.CopyN(io.Discard, peer, 80*64<<10); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				start := time.Now()
				go func() { _ = c.write(st) }()
				if _, err := io.CopyN(io.Discard, peer, int64(c.size)); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start) - delay; d > c.most {
					t.Errorf("all was there after %v more than the delay, want %v at most", d, c.most)
				}
			})
		})
	}
}

// writes returns a function that writes 64 KiB so many times.
func writes(times int) func(st *Stream) error {
	return func(st *Stream) error {
		for range times {
			if _, err := st.Write(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
		return nil
	}
}
