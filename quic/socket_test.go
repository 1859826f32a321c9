package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A socket takes no port before it needs one (CQS-017, SOC-026).
func TestSocketStartsUnbound(t *testing.T) {
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Bound() || s.Pending() || s.Destroyed() || s.Listening() || s.Closing() || s.ServerBusy() || s.Address().IsValid() {
		t.Error("a new socket is not idle")
	}
	if e := s.Endpoints(); len(e) != 1 || e[0].Bound() || e[0].Address().IsValid() || e[0].Socket() != s {
		t.Errorf("endpoints %v", e)
	}
	st := s.Stats()
	if st.BoundDuration != 0 || st.ListenDuration != 0 {
		t.Errorf("%+v", st)
	}
	st.Duration = 0
	if st != (SocketStats{}) {
		t.Errorf("%+v", st)
	}
	if _, err := s.Accept(testContext(t)); !errors.Is(err, ErrInvalidState) {
		t.Errorf("Accept: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-s.Closed()
	if _, err := s.Connect(testContext(t), ConnectOptions{Port: 1, TLS: clientConfig()}); !errors.Is(err, ErrInvalidState) {
		t.Errorf("Connect: %v", err)
	}
	if err := s.Listen(testContext(t), ListenOptions{TLS: serverConfig()}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
}

func TestListenTwice(t *testing.T) {
	ctx := testContext(t)
	s, err := NewSocket(SocketOptions{Server: ListenOptions{TLS: serverConfig()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	if err := s.Listen(ctx, ListenOptions{IdleTimeout: -5}); err == nil || s.Bound() || s.Listening() {
		t.Errorf("Listen with a bad option: %v, bound %v", err, s.Bound())
	}
	if err := s.Listen(ctx, ListenOptions{}); err != nil { // all from SocketOptions.Server
		t.Fatal(err)
	}
	if !s.Bound() || !s.Listening() || s.Address().Port() == 0 {
		t.Error("not listening")
	}
	if err := s.Listen(ctx, ListenOptions{}); !errors.Is(err, ErrInvalidState) {
		t.Errorf("second Listen: %v", err)
	}
	// The port is free again when Destroy returns.
	addr := s.Address()
	s.Destroy(nil)
	again, err := Listen(ctx, netip.AddrPortFrom(loopback(UDP4), addr.Port()).String(), ListenOptions{TLS: serverConfig()})
	if err != nil {
		t.Fatal(err)
	}
	again.Destroy(nil)
}

func TestPortInUse(t *testing.T) {
	ctx := testContext(t)
	a, err := Listen(ctx, "127.0.0.1:0", ListenOptions{TLS: serverConfig()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Destroy(nil)
	if _, err = Listen(ctx, a.Address().String(), ListenOptions{TLS: serverConfig()}); err == nil {
		t.Fatal("two sockets have one port")
	}
	var op *net.OpError
	if !errors.As(err, &op) {
		t.Errorf("error is %v", err)
	}
}

// The limits on sessions, and the switch that refuses them all.
func TestSessionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnections: 3, MaxConnectionsPerHost: 2}, ListenOptions{})
		defer m.close()
		a, b := m.pair(ConnectOptions{}), m.pair(ConnectOptions{})
		refused := func(want bool) {
			t.Helper()
			c := m.connect(ConnectOptions{})
			err := c.Handshake(t.Context())
			if want != errors.Is(err, &TransportError{ErrorCode: 2, Remote: true}) {
				t.Errorf("Handshake: %v", err)
			}
			if want && c.CloseCode() != (CloseCode{2, CloseTransport, true}) {
				t.Errorf("CloseCode is %+v", c.CloseCode())
			}
			synctest.Wait() // the ClientHello has two datagrams, and both count
		}
		refused(true)
		if n := m.server.Stats().ServerBusyCount; n != 1 {
			t.Errorf("ServerBusyCount is %d", n)
		}
		a.client.CloseWithError(0, "")
		<-a.server.Closed() // gives its place back
		refused(false)
		m.server.SetServerBusy(true)
		b.client.CloseWithError(0, "")
		<-b.server.Closed()
		refused(true)
		m.server.SetServerBusy(false)
		refused(false)
		st := m.server.Stats()
		if st.ServerSessions != 4 || st.ServerBusyCount != 2 {
			t.Errorf("%+v", st)
		}
		if st := m.client.Stats(); st.ClientSessions != 6 || st.PacketsSent == 0 || st.PacketsReceived == 0 || st.BytesSent == 0 || st.BytesReceived == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Sessions that nobody accepts do not pile up without end, and those that ended in
// the queue are not handed out.
func TestAcceptBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.server.backlog = 3
		var clients []*ClientSession
		for i := range 5 {
			c := m.connect(ConnectOptions{})
			if err := c.Handshake(t.Context()); (err != nil) != (i >= 3) {
				t.Errorf("session %d: %v", i, err)
			}
			synctest.Wait()
			clients = append(clients, c)
		}
		clients[0].CloseWithError(0, "")
		synctest.Wait()
		for i := range 2 {
			v, err := m.server.Accept(t.Context())
			if err != nil || v.RemoteAddress() != clients[i+1].Address() || v.Destroyed() {
				t.Errorf("session %d: %v, %v", i, v.RemoteAddress(), err)
			}
		}
		m.pair(ConnectOptions{}).exchange(t)
	})
}

// Address validation costs a Retry the first time, and a token saves it later.
func TestValidateAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{ValidateAddress: true}, ListenOptions{})
		defer m.close()
		m.pair(ConnectOptions{}).exchange(t)
		first := m.server.Stats().RetryCount // one for each datagram that the hello fills
		if first == 0 {
			t.Error("no retry")
		}
		time.Sleep(time.Second)
		m.pair(ConnectOptions{}).exchange(t)
		if n := m.server.Stats().RetryCount; n != first {
			t.Errorf("%d retries, then %d: the token was not used", first, n)
		}
	})
}

func TestDualStack(t *testing.T) {
	ctx := testContext(t)
	s, err := Listen(ctx, ":0", ListenOptions{TLS: serverConfig()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	hosts := []string{"127.0.0.1", "localhost"}
	if s.Address().Addr().Is6() {
		hosts = append(hosts, "::1")
	}
	for _, host := range hosts {
		c, err := Dial(ctx, netip.AddrPortFrom(netip.Addr{}, s.Address().Port()).String(), ConnectOptions{TLS: clientConfig()})
		if err == nil {
			c.Destroy(nil)
			t.Error("dialled nowhere")
		}
		c, err = Dial(ctx, net.JoinHostPort(host, portOf(s)), ConnectOptions{TLS: clientConfig()})
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		v, err := s.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		(&pair{s, c, v}).exchange(t)
		if c.RemoteAddress().Port() != s.Address().Port() || v.RemoteAddress() != netip.AddrPortFrom(v.RemoteAddress().Addr(), c.Address().Port()) {
			t.Errorf("addresses %v %v", c.RemoteAddress(), v.RemoteAddress())
		}
		if v.Address().Addr().IsUnspecified() {
			t.Errorf("server's address is %v", v.Address())
		}
		c.Destroy(nil)
	}
}

func portOf(s *Socket) string { _, p, _ := net.SplitHostPort(s.Address().String()); return p }

// Any net.PacketConn will do.
func TestForeignPacketConn(t *testing.T) {
	ctx := testContext(t)
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSocket(SocketOptions{PacketConn: struct{ net.PacketConn }{pc}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	if err := s.Listen(ctx, ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ctx, s.Address().String(), ConnectOptions{TLS: clientConfig()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy(nil)
	v, err := s.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	(&pair{s, c, v}).exchange(t)
}

// One socket is client and server at the same time, of several others.
func TestSocketBothWays(t *testing.T) {
	ctx := testContext(t)
	options := SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}, Server: ListenOptions{TLS: serverConfig()}, Client: ConnectOptions{TLS: clientConfig()}}
	var sockets [3]*Socket
	for i := range sockets {
		s, err := NewSocket(options)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Destroy(nil)
		if err := s.Listen(ctx, ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		sockets[i] = s
	}
	for i, from := range sockets {
		for j, to := range sockets {
			if i == j {
				continue
			}
			c, err := from.Connect(ctx, ConnectOptions{Port: int(to.Address().Port())})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Handshake(ctx); err != nil {
				t.Fatal(err)
			}
			v, err := to.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if c.Socket() != from || v.Socket() != to {
				t.Error("sockets are mixed up")
			}
			(&pair{to, c, v}).exchange(t)
		}
	}
	for _, s := range sockets {
		if st := s.Stats(); st.ClientSessions != 2 || st.ServerSessions != 2 {
			t.Errorf("%+v", st)
		}
	}
}

func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		o := m.options(ConnectOptions{})
		o.Address, o.ServerName = "localhost", ""
		o.Lookup = func(ctx context.Context, address string, family int) (netip.Addr, error) {
			if address != "localhost" || family != 4 {
				t.Errorf("Lookup(%q, %d)", address, family)
			}
			return memServer.Addr(), nil
		}
		c, err := m.client.Connect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil || c.ServerName() != "localhost" {
			t.Errorf("%v, %q", err, c.ServerName())
		}
		boom := errors.New("boom")
		o.Lookup = func(context.Context, string, int) (netip.Addr, error) { return netip.Addr{}, boom }
		if _, err := m.client.Connect(t.Context(), o); err != boom {
			t.Errorf("Connect: %v", err)
		}
	})
}

// A client moves to another socket and loses nothing, with and without asking first.
func TestSetSocket(t *testing.T) {
	for _, rebinding := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{Hooks: SessionHooks{
				PathValidation: func(ok bool, local, remote netip.AddrPort) error {
					j.add("%v %v from %v", ok, local, remote)
					return nil
				},
			}})
			defer m.close()
			p := m.pair(ConnectOptions{})
			c, s := p.streams(t)
			time.Sleep(100 * time.Millisecond) // for the server's connection IDs
			next := m.socket(SocketOptions{})
			defer next.Destroy(nil)
			before := p.server.RemoteAddress()
			if err := p.client.SetSocket(t.Context(), next, rebinding); err != nil {
				t.Fatal(err)
			}
			if p.client.Socket() != next {
				t.Error("Socket is not the new one")
			}
			c.Write([]byte("moved"))
			if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if !slices.Contains(j.lines, fmt.Sprintf("true %v from %v", memServer, next.Address())) {
				t.Errorf("validated %q", j.lines) // the former path is tried again too (RFC 9000 §9.3.3)
			}
			if err := m.client.Close(); err != nil {
				t.Error(err)
			}
			<-m.client.Closed() // the session is not its any more
			if after := p.server.RemoteAddress(); after == before || after.Port() != next.Address().Port() {
				t.Errorf("server sees %v, before %v", after, before)
			}
			go s.End(make([]byte, 100_000))
			if b, err := io.ReadAll(c); len(b) != 100_000 || err != nil {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if st := next.Stats(); st.ClientSessions != 1 || st.PacketsReceived == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestUpdateKey(t *testing.T) {
	inBubble(t, ListenOptions{}, ConnectOptions{}, func(t *testing.T, p *pair) {
		time.Sleep(time.Second)
		for i := range 3 {
			if ok, err := p.client.UpdateKey(); !ok || err != nil {
				t.Fatalf("update %d: %v, %v", i, ok, err)
			}
			if ok, err := p.client.UpdateKey(); ok || err != nil {
				t.Errorf("update %d at once again: %v, %v", i, ok, err)
			}
			p.exchange(t)
			time.Sleep(time.Second)
		}
		a, b := p.client.Stats().KeyUpdateCount, p.server.Stats().KeyUpdateCount
		if a != 3 || b != 3 {
			t.Errorf("%d and %d updates, want 3", a, b)
		}
		p.client.CloseWithError(0, "")
		if _, err := p.client.UpdateKey(); !errors.Is(err, ErrInvalidState) {
			t.Errorf("UpdateKey afterwards: %v", err)
		}
		if err := p.client.Ping(); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Ping afterwards: %v", err)
		}
	})
}

// What the last session of a socket that dialled for itself leaves behind: nothing.
func TestDialOwnsItsSocket(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	s := p.client.Socket()
	if err := p.client.CloseWithError(4, "bye"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Closed():
	case <-testContext(t).Done():
		t.Fatal("the socket is still there")
	}
	<-p.server.Closed()
	var app *ApplicationError
	if err := p.server.Err(); !errors.As(err, &app) || *app != (ApplicationError{4, "bye", true}) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("the peer sees %v", err)
	}
	if err := p.client.Err(); !errors.Is(err, &ApplicationError{ErrorCode: 4}) {
		t.Errorf("Err is %v", err)
	}
}

// A server that speaks other versions only ends a client's session with an error that
// lists them.
func TestNoCommonVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udp.NewNetwork(udp.NetworkOptions{})
		m := &memNet{t: t, net: n}
		m.client = m.socket(SocketOptions{})
		defer m.client.Destroy(nil)
		odd, err := n.Listen(memServer)
		if err != nil {
			t.Fatal(err)
		}
		defer odd.Close()
		c := m.connect(ConnectOptions{})
		var in [128]dgram.Datagram
		_, slab, err := odd.Receive(&slabs, in[:])
		if err != nil {
			t.Fatal(err)
		}
		inv, ok := wire.ParseInvariant(in[0].Data, 0)
		if !ok {
			t.Fatal("the first packet is none")
		}
		b := dgram.NewBatch(make([]byte, 0, 1200))
		b.Commit(len(wire.AppendVersionNegotiation(b.Next(1200), 0x80, inv.SCID, inv.DCID, 0xfaceb002, 2)))
		b.Path = in[0].Path
		slabs.Put(slab)
		if err := odd.Send(b); err != nil {
			t.Fatal(err)
		}
		err = c.Handshake(t.Context())
		var v *VersionNegotiationError
		if !errors.As(err, &v) || v.Version != 1 || !slices.Equal(v.RequestedVersions, []uint32{0xfaceb002, 2}) || !slices.Equal(v.SupportedVersions, []uint32{1, 0x6b3343cf}) {
			t.Errorf("Handshake: %v", err)
		}
		wantCode(t, err, CodeVersionNegotiation)
	})
}

// Version negotiation and refusals are answered without a session.
func TestVersionNegotiation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		odd, err := m.net.Listen(netip.MustParseAddrPort("10.0.0.9:9"))
		if err != nil {
			t.Fatal(err)
		}
		defer odd.Close()
		sendInitial(t, odd, 0x12345678)
		synctest.Wait()
		if st := m.server.Stats(); st.VersionNegotiations != 1 || st.ServerSessions != 0 {
			t.Errorf("%+v", st)
		}
	})
}
