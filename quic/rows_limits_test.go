package quic

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// connection makes a session from a socket of a host of its own, and reports whether it was
// refused as the API document says.
func (m *memNet) connection(host string, port uint16) (c *ClientSession, refused bool) {
	m.t.Helper()
	s := m.socketAt(netip.AddrPortFrom(netip.MustParseAddr(host), port), SocketOptions{})
	m.t.Cleanup(func() { s.Destroy(nil) })
	o := m.options(ConnectOptions{})
	if s.opts.PacketConn.(memConn).c.LocalAddr().Addr().Is6() {
		o.Address, o.Type = m.server.Address().Addr().String(), UDP6
	}
	c, err := s.Connect(m.t.Context(), o)
	if err != nil {
		m.t.Fatal(err)
	}
	secure := 0
	c.SetHooks(SessionHooks{Secure: func() error { secure++; return nil }})
	err = c.Handshake(m.t.Context())
	synctest.Wait()
	if err == nil {
		return c, false
	}
	<-c.Closed()
	var te *TransportError
	if !errors.As(err, &te) || !te.Remote || c.CloseCode() != (CloseCode{2, CloseTransport, true}) || secure != 0 || c.HandshakeComplete() {
		m.t.Errorf("a refused client ends with %v, %+v, secure %d", err, c.CloseCode(), secure)
	}
	return c, true
}

func TestMaxConnections(t *testing.T) {
	most := limits.Bound(t, "sessions")
	synctest.Test(t, func(t *testing.T) {
		var alive []*ServerSession
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnections: 3}, ListenOptions{
			Handler: func(v *ServerSession) error { alive = append(alive, v); return nil },
		})
		defer m.close()
		for i, host := range []string{"10.0.1.1", "10.0.1.2", "10.0.1.3"} {
			if _, refused := m.connection(host, 1); refused {
				t.Errorf("session %d is refused", i)
			}
		}
		if _, refused := m.connection("10.0.1.4", 1); !refused || len(alive) != 3 || m.server.Stats().ServerBusyCount != 1 {
			t.Errorf("refused %v, %d sessions, %+v", refused, len(alive), m.server.Stats())
		}
		// Sessions that go out do not count.
		if err := m.client.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		out, err := m.server.Connect(t.Context(), ConnectOptions{Address: "10.0.0.2", Port: int(m.client.Address().Port()), TLS: clientConfig(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Handshake(t.Context()); err != nil {
			t.Errorf("a full server cannot connect: %v", err)
		}
		alive[1].Destroy(nil)
		synctest.Wait()
		if _, refused := m.connection("10.0.1.4", 2); refused || len(alive) != 4 {
			t.Errorf("a place that was given back is not free: %d sessions", len(alive))
		}
		if _, refused := m.connection("10.0.1.5", 1); !refused || m.server.Stats().ServerBusyCount != 2 {
			t.Errorf("refused %v, %+v", refused, m.server.Stats())
		}
		for _, n := range []int{None, -5, 1 << 53} {
			_, err := NewSocket(SocketOptions{MaxConnections: n})
			wantOption(t, err, "SocketOptions.MaxConnections", CodeOutOfRange)
			if err == nil || !strings.Contains(err.Error(), "1 to 9007199254740991, or 0 for no limit") {
				t.Errorf("%v names no range", err)
			}
		}
		for _, n := range []int{1, most} {
			s, err := NewSocket(SocketOptions{MaxConnections: n, MaxConnectionsPerHost: n})
			if err != nil {
				t.Fatal(err)
			}
			s.Destroy(nil)
		}
		if m.client.opts.MaxConnections != most {
			t.Errorf("the default is %d", m.client.opts.MaxConnections)
		}
		covers(t, "CQS-009")
	})
}

func TestMaxConnectionsPerHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, most := range []int{5, 0} {
			limit := most
			if most == 0 {
				limit = limits.Bound(t, "sessions-per-host") // the default
			}
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: most}, ListenOptions{})
			var clients []*ClientSession
			for i := range limit {
				c, refused := m.connection("10.0.1.1", uint16(5001+i))
				if refused {
					t.Fatalf("session %d of %d is refused", i, limit)
				}
				clients = append(clients, c)
			}
			if _, refused := m.connection("10.0.1.1", 999); !refused || m.server.Stats().ServerBusyCount != 1 {
				t.Errorf("the session after %d: refused %v, %+v", limit, refused, m.server.Stats())
			}
			for i, c := range clients {
				if c.Destroyed() {
					t.Errorf("session %d is gone", i)
				}
			}
			if _, refused := m.connection("10.0.1.2", 5001); refused {
				t.Error("another host is refused")
			}
			m.wantNetworks(limit)
			clients[0].CloseWithError(0, "")
			synctest.Wait()
			if _, refused := m.connection("10.0.1.1", 1000); refused {
				t.Error("a place that was given back is not free")
			}
			if n := m.server.Stats().ServerBusyCount; n != 1 {
				t.Errorf("ServerBusyCount is %d", n)
			}
			m.close()
		}
		for _, n := range []int{None, -5, 1 << 53} {
			_, err := NewSocket(SocketOptions{MaxConnectionsPerHost: n})
			wantOption(t, err, "SocketOptions.MaxConnectionsPerHost", CodeOutOfRange)
			if err == nil || !strings.Contains(err.Error(), "1 to 9007199254740991") {
				t.Errorf("%v names no range", err)
			}
		}
		for _, n := range []int{1, 1<<53 - 1} {
			s, err := NewSocket(SocketOptions{MaxConnectionsPerHost: n})
			if err != nil {
				t.Fatal(err)
			}
			s.Destroy(nil)
		}
		covers(t, "CQS-010")
	})
}

// wantNetworks says that all addresses of an IPv6 network of 64 bits are one host, which may have so many sessions.
func (m *memNet) wantNetworks(limit int) {
	m.t.Helper()
	busy := func() uint64 { return m.server.Stats().ServerBusyCount }
	before := busy()
	server := m.server
	six := m.socketAt(netip.MustParseAddrPort("[2001:db8::1]:4433"), SocketOptions{MaxConnectionsPerHost: limit})
	defer six.Destroy(nil)
	if err := six.Listen(m.t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		m.t.Fatal(err)
	}
	m.server = six
	defer func() { m.server = server }()
	host := netip.MustParseAddr("2001:db8:0:1::").As16()
	refusedAt := func(n int) bool {
		host[8], host[14], host[15] = byte(n), byte(n>>8), byte(n) // neighbours, and far ones
		_, refused := m.connection(netip.AddrFrom16(host).String(), 1)
		return refused
	}
	for n := range limit {
		if refusedAt(n) {
			m.t.Fatalf("session %d of %d of a network is refused", n, limit)
		}
	}
	if !refusedAt(limit) || busy() != 1 {
		m.t.Errorf("the session after %d of a network is not refused, %d were", limit, busy())
	}
	if host[7]++; refusedAt(limit) {
		m.t.Error("another network is refused")
	}
	if m.server = server; busy() != before {
		m.t.Error("refused at another socket")
	}
}

func TestServerBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		taken := 0
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{Hooks: SocketHooks{
			Busy: func(busy bool) error { j.add("busy %v", busy); return nil },
		}}, ListenOptions{Handler: func(*ServerSession) error { taken++; return nil }})
		defer m.close()
		if m.server.ServerBusy() {
			t.Error("a new socket is busy")
		}
		there, refused := m.connection("10.0.1.1", 1)
		if refused || taken != 1 {
			t.Error("a socket that is not busy refuses")
		}
		set := func(busy bool) {
			t.Helper()
			if err := m.server.SetServerBusy(busy); err != nil || m.server.ServerBusy() != busy {
				t.Errorf("SetServerBusy(%v): %v", busy, err)
			}
		}
		set(false)
		j.want(t)
		set(true)
		set(true)
		j.want(t, "busy true")
		if _, refused := m.connection("10.0.1.2", 5001); !refused || taken != 1 {
			t.Errorf("a busy socket takes a session: %d handlers", taken)
		}
		covers(t, "SOC-056")
		if n := m.server.Stats().ServerBusyCount; n != 1 {
			t.Errorf("ServerBusyCount is %d after one refusal", n)
		}
		limitRefusals(t)
		covers(t, "SOC-057")
		if err := there.Ping(); err != nil || there.Destroyed() {
			t.Error("a session from before is gone")
		}
		set(false)
		set(true)
		set(false)
		j.want(t, "busy false", "busy true", "busy false")
		covers(t, "SOC-004")
		if _, refused := m.connection("10.0.1.2", 2); refused || taken != 2 {
			t.Error("a socket that is not busy any more refuses")
		}
		m.server.Destroy(nil)
		err := m.server.SetServerBusy(true)
		if !errors.Is(err, ErrInvalidState) || m.server.ServerBusy() {
			t.Errorf("after the end: %v, %v", err, m.server.ServerBusy())
		}
		wantCode(t, err, CodeInvalidState)
		j.want(t)
		time.Sleep(time.Second)
		covers(t, "SOC-055")
	})
}
