package quic

import (
	"crypto/tls"
	"io"
	"net/netip"
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

// socketOn returns a socket with endpoints at addresses of the in-memory network, all but
// the first added.
func socketOn(t testing.TB, n *udp.Network, o SocketOptions, addrs ...string) *Socket {
	t.Helper()
	preferred := -1
	if o.Endpoint.Preferred {
		preferred = 0
	}
	return socketPreferring(t, n, o, preferred, addrs...)
}

// socketPreferring is socketOn with one endpoint, or with -1 none, that is Preferred.
func socketPreferring(t testing.TB, n *udp.Network, o SocketOptions, preferred int, addrs ...string) *Socket {
	t.Helper()
	var s *Socket
	for i, a := range addrs {
		kind := UDP4
		ap := netip.MustParseAddrPort(a)
		if ap.Addr().Is6() {
			kind = UDP6
		}
		c, err := n.Listen(ap)
		if err != nil {
			t.Fatal(err)
		}
		eo := EndpointOptions{Type: kind, PacketConn: memConn{c: c}, Preferred: i == preferred}
		if s == nil {
			o.Endpoint = eo
			s, err = NewSocket(o)
		} else {
			_, err = s.AddEndpoint(eo)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// wantBroken wants an endpoint whose PacketConn fails to close to end its socket with that.
func wantBroken(t *testing.T, why error) {
	t.Helper()
	mem, err := udp.NewNetwork(udp.NetworkOptions{}).Listen(netip.MustParseAddrPort("10.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	broken := &memGate{Conn: mem, open: make(chan struct{}), err: why}
	close(broken.open)
	s := newSocket(t, SocketOptions{PacketConn: memConn{c: broken}})
	mustBind(t, s.Endpoints()[0])
	if err := s.Endpoints()[0].Close(); err != why || !s.Destroyed() || s.Err() != why {
		t.Errorf("%v; the socket ended with %v", err, s.Err())
	}
}
