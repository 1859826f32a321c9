package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A session that goes to and fro between two sockets leaves no more behind in their
// tables than one that has moved once.
func TestMoveToAndFro(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		next := m.socket(SocketOptions{})
		defer next.Destroy(nil)
		for i := range 12 {
			to := [2]*Socket{next, m.client}[i%2]
			if err := p.client.SetSocket(t.Context(), to, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for _, s := range []*Socket{next, m.client} {
				ids, tokens := s.owned(p.client.conn)
				if len(ids) > 8 || len(tokens) > 8 {
					t.Fatalf("after %d moves %d connection IDs and %d reset tokens lead to the session", i+1, len(ids), len(tokens))
				}
			}
		}
		p.exchange(t)
	})
}

// A Lookup that panics fails the call that has asked, and the socket can be used again.
func TestLookupPanics(t *testing.T) {
	for name, use := range map[string]func(ctx context.Context, s *Socket, e *Endpoint) error{
		"Connect": func(ctx context.Context, s *Socket, _ *Endpoint) error {
			_, err := s.Connect(ctx, ConnectOptions{TLS: clientConfig(), Address: "127.0.0.1", Port: 1})
			return err
		},
		"Listen": func(ctx context.Context, s *Socket, _ *Endpoint) error {
			return s.Listen(ctx, ListenOptions{TLS: serverConfig(), PreferredAddress: []PreferredAddress{{Address: "panic.invalid"}}})
		},
		"Bind": func(ctx context.Context, _ *Socket, e *Endpoint) error {
			_, err := e.Bind(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSocket(t, SocketOptions{
				Endpoint: EndpointOptions{Address: "panic.invalid"},
				Lookup:   func(context.Context, string, int) (netip.Addr, error) { panic("oh") },
			})
			e := s.Endpoints()[0]
			err := func() (err error) {
				defer func() {
					if v := recover(); v != nil {
						t.Errorf("%s panics: %v", name, v)
					}
				}()
				return use(t.Context(), s, e)
			}()
			var h *HandlerError
			if !errors.As(err, &h) || h.Value != "oh" {
				t.Errorf("%s: %v", name, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := use(ctx, s, e); errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s hangs the second time", name)
			}
		})
	}
}

// Nothing is sent to an address on the block list: not when the server prefers it, and not
// by a session that was there before.
func TestBlockListOutbound(t *testing.T) {
	t.Run("preferred", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newWideNet(t, SocketOptions{}, ListenOptions{PreferredAddress: widePrefs}, wideClients[0])
			defer m.close()
			blocked := wideGoals[0]
			sent := 0
			m.net.SetFilter(func(d *dgram.Datagram) bool {
				if d.Path.Local == blocked {
					sent++
				}
				return false
			})
			if err := m.client.BlockList().AddAddress(blocked.Addr()); err != nil {
				t.Fatal(err)
			}
			p := m.wide(ConnectOptions{PreferredAddressPolicy: "accept"})
			p.exchange(t)
			time.Sleep(5 * time.Second)
			p.exchange(t)
			if at := p.client.RemoteAddress(); sent > 0 || at != wideHomes[0] {
				t.Errorf("%d datagrams were sent to a blocked address; the client is at %v", sent, at)
			}
		})
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
			defer m.close()
			p := m.pair(ConnectOptions{})
			p.exchange(t)
			time.Sleep(time.Second)
			sent := 0
			m.net.SetFilter(func(d *dgram.Datagram) bool {
				if d.Path.Local == memServer {
					sent++
				}
				return false
			})
			if err := m.client.BlockList().AddAddress(memServer.Addr()); err != nil {
				t.Fatal(err)
			}
			st, err := p.client.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			<-p.client.Closed()
			if sent > 0 {
				t.Errorf("%d datagrams were sent to a blocked address", sent)
			}
		})
	})
}

// A session whose move to another socket has not come about goes on from what is left of
// that socket when the endpoint it was to have, and then its old socket, are gone.
func TestMoveToDyingEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		deaf := netip.MustParseAddrPort("10.0.0.3:1")
		m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Remote == deaf })
		next := socketOn(t, m.net, SocketOptions{}, deaf.String(), "10.0.0.4:1")
		defer next.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := next.Endpoints()[0].Close(); err != nil {
			t.Fatal(err)
		}
		p.exchange(t) // from the former socket
		m.client.Destroy(nil)
		p.exchange(t)
		if at := p.client.Address(); at != next.Address() {
			t.Errorf("the client is at %v", at)
		}
	})
}

// A socket that a session was refused by has no routes to it.
func TestMoveThatFailsLeavesNoRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		next := m.socket(SocketOptions{})
		defer next.Destroy(nil)
		if err := next.bind(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		// The endpoint goes while the session is on its way.
		c := p.client
		e, err := next.expect("test", c.conn, memServer.Addr(), m.client)
		if err != nil {
			t.Fatal(err)
		}
		e.Destroy(nil)
		if next.join(&c.Session, e) {
			t.Fatal("the session has joined an endpoint that is gone")
		}
		if n := next.mux.Conns(); n > 0 {
			t.Errorf("routes to %d sessions are left", n)
		}
	})
}

// opaqueConn is a PacketConn that does not know its own address, as that of a tunnel.
type opaqueConn struct{ net.PacketConn }

func (opaqueConn) LocalAddr() net.Addr { return &net.UnixAddr{Name: "tunnel", Net: "tunnel"} }

// A PacketConn need not have an IP address of its own to reach any, as one of several
// endpoints too.
func TestPacketConnWithoutAddress(t *testing.T) {
	ctx := testContext(t)
	server, err := Listen(ctx, "127.0.0.1:0", ListenOptions{TLS: serverConfig()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Destroy(nil)
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := newSocket(t, SocketOptions{PacketConn: opaqueConn{pc}})
	e := client.Endpoints()[0]
	c, err := client.Connect(ctx, ConnectOptions{TLS: clientConfig(), Port: int(server.Address().Port())})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Bound() || e.Address().IsValid() {
		t.Errorf("bound %v, at %v", e.Bound(), e.Address())
	}
	if err := c.Handshake(ctx); err != nil {
		t.Fatal(err)
	}
	client.Destroy(nil)
	if e.Bound() {
		t.Error("bound after the end")
	}
}
