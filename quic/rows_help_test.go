package quic

import (
	"crypto/tls"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// withProtos returns a server's configuration with other application protocols.
func withProtos(protos ...string) *tls.Config {
	c := serverConfig()
	c.NextProtos = protos
	return c
}

// The end of a stream goes by itself, also where there is no data with it.
func TestEndAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := p.streams(t)
		time.Sleep(time.Second)
		c.End(nil)
		if b, err := io.ReadAll(s); len(b) != 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}
