package quic

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A keep-alive without its unit is refused, or no flood.
func TestKeepAliveFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		_, err := m.client.Connect(t.Context(), m.options(ConnectOptions{KeepAlive: 30}))
		var o *OptionError
		if !errors.As(err, &o) || o.Option != "ConnectOptions.KeepAlive" || o.Code() != CodeOutOfRange {
			t.Errorf("KeepAlive of 30 ns: %v", err)
		}
		p := m.pair(ConnectOptions{})
		p.client.SetKeepAlive(1)
		before := p.client.Stats().PacketsSent
		time.Sleep(time.Second)
		if n := p.client.Stats().PacketsSent - before; n == 0 || n > 20 {
			t.Errorf("%d packets in an idle second", n)
		}
	})
}
