package quic

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// S-26: whoever copies a packet from another address does not become the peer that the program is shown. Both ends show
// what they began with from the first packet on, the victim's address while somebody else's is tried, and a new
// one from the moment that it has answered; a session that is over goes on showing the last.
func TestS26RemoteAddrIsValidated(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		var early atomic.Value
		config := serverConfig()
		config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			early.Store(h.Conn.RemoteAddr().String())
			return nil, nil
		}
		m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{TLS: config})
		defer m.close()
		fake, next := netip.MustParseAddrPort("10.6.6.6:666"), netip.MustParseAddrPort("10.9.9.9:8888")
		c := m.connect(ConnectOptions{})
		real := m.client.Address()
		if at := c.RemoteAddress(); at != memServer || c.RemoteAddr().String() != memServer.String() {
			t.Errorf("before it has heard anything, a client is with %v and %v, want %v", at, c.RemoteAddr(), memServer)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at := early.Load(); at != real.String() {
			t.Errorf("GetConfigForClient sees a client at %v, want %v", at, real)
		}
		v, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shows := func(when string, want netip.AddrPort) {
			t.Helper()
			if at := v.RemoteAddress(); at != want || v.RemoteAddr().String() != want.String() {
				t.Errorf("%s: the client is shown at %v and %v, want %v", when, at, v.RemoteAddr(), want)
			}
		}
		shows("after the handshake", real)
		time.Sleep(time.Second)

		var spoofed, tried atomic.Int64
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			switch {
			case d.Path.Local == fake:
				tried.Add(1)
				return true
			case d.Path.Remote == real && spoofed.Add(1) == 1:
				d.Path.Remote = fake // and the client falls silent
			case d.Path.Remote == real:
				return true
			}
			return false
		})
		if err := c.Ping(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			time.Sleep(20 * time.Millisecond)
			shows("while somebody else's address is tried", real)
		}
		if tried.Load() == 0 {
			t.Error("nothing went to the other address: the test shows nothing")
		}
		m.net.SetFilter(nil)
		time.Sleep(5 * time.Second)
		shows("when that has not answered", real)

		m.nat(real, next)
		if err := c.Ping(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Millisecond)
		synctest.Wait()
		shows("before the new address has answered", real)
		time.Sleep(2 * time.Second)
		shows("once it has", next)
		m.canaries(&pair{m.server, c, v})
		v.Destroy(nil)
		if at := v.RemoteAddress(); at.IsValid() || v.RemoteAddr().String() != next.String() {
			t.Errorf("a session that is over shows %v and %v, want nothing and %v", at, v.RemoteAddr(), next)
		}
	})
}
