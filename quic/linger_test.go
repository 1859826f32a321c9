package quic

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A session that lingers ends when its last stream has been over for that long; one whose
// streams ended long before, or never were, at once; and one whose peer closes, with that.
func TestLinger(t *testing.T) {
	for _, test := range []struct {
		name           string
		stream         bool
		before         time.Duration // between the stream's end and Close
		peerCloses     bool
		atLeast, below time.Duration // from Close to the end
	}{
		{"just over", true, 0, false, 1500 * time.Millisecond, 2 * time.Second},
		{"over for a while", true, time.Second, false, 500 * time.Millisecond, time.Second},
		{"long over", true, 3 * time.Second, false, 0, 100 * time.Millisecond},
		{"no stream", false, 0, false, 0, 100 * time.Millisecond},
		{"the peer closes", true, 0, true, 0, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
				defer m.close()
				p := m.pair(ConnectOptions{})
				p.server.SetLinger(1500 * time.Millisecond)
				if test.stream {
					client, server := p.streams(t)
					for _, st := range []*Stream{client, server} {
						if err := st.CloseWrite(); err != nil {
							t.Fatal(err)
						}
					}
					for _, st := range []*Stream{client, server} {
						if _, err := io.ReadAll(st); err != nil {
							t.Fatal(err)
						}
					}
					<-server.Closed()
				}
				time.Sleep(test.before)
				begin := time.Now()
				if err := p.server.Close(); err != nil {
					t.Fatal(err)
				}
				if test.peerCloses {
					if err := p.client.Close(); err != nil {
						t.Fatal(err)
					}
				}
				<-p.server.Closed()
				if d := time.Since(begin); d < test.atLeast || d >= test.below {
					t.Errorf("it ends after %v, want %v or more and less than %v", d, test.atLeast, test.below)
				}
			})
		})
	}
}
