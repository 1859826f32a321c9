package quic

// The other halves of some rows' contracts, for the tests of these rows.

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// closeInSteps looks at an endpoint before its Close is through.
func closeInSteps(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := udp.NewNetwork(udp.NetworkOptions{})
		mem, err := n.Listen(netip.MustParseAddrPort("10.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		g := &memGate{Conn: mem, open: make(chan struct{})}
		s, err := NewSocket(SocketOptions{PacketConn: memConn{c: g}})
		if err != nil {
			t.Fatal(err)
		}
		e := s.Endpoints()[0]
		mustBind(t, e)
		done := make(chan error, 1)
		go func() { done <- e.Close() }()
		synctest.Wait()
		if len(done) != 0 || !e.Destroyed() || e.Bound() {
			t.Errorf("while Close waits: destroyed %v, bound %v", e.Destroyed(), e.Bound())
		}
		_, err = e.Bind(t.Context())
		wantState(t, "Bind while Close waits", err)
		covers(t, "EP-017")
		close(g.open)
		if err := <-done; err != nil || !e.Destroyed() {
			t.Errorf("%v, destroyed %v", err, e.Destroyed())
		}
	})
}

// overrunAll has a client that remembers another limit send more than all streams together
// may carry.
func overrunAll(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: 10 * time.Millisecond}, SocketOptions{}, ListenOptions{MaxData: 4000})
		defer m.close()
		r := m.first(ConnectOptions{})
		p, perr := wire.ParseParameters(r.params, true)
		if perr != nil {
			t.Fatal(perr)
		}
		p.MaxData = 1 << 40
		c := m.connect(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: p.Append(nil)})
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.TryWrite(make([]byte, 8000))
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-s.Closed()
		if cc := s.CloseCode(); cc != (CloseCode{3, CloseTransport, false}) {
			t.Errorf("a client sends more than all streams may carry, and the server's CloseCode is %+v", cc)
		}
	})
}

// shutDownBroken destroys a session with an error while it shuts down: that is no end in
// order.
func shutDownBroken(t *testing.T, m *memNet) {
	t.Helper()
	boom := errors.New("boom")
	waits := make(chan error, 1)
	p := m.pair(ConnectOptions{})
	p.streams(t)
	go func() { waits <- p.client.Shutdown(t.Context()) }()
	time.Sleep(time.Second)
	p.client.Destroy(boom)
	if err := <-waits; err != boom {
		t.Errorf("Shutdown of a session that is destroyed: %v, want what it is destroyed with", err)
	}
}

// destroyInSteps looks at a socket before its Destroy is through.
func destroyInSteps(t *testing.T, m *memNet) {
	t.Helper()
	mem, err := m.net.Listen(netip.MustParseAddrPort("10.0.0.77:7"))
	if err != nil {
		t.Fatal(err)
	}
	g := &memGate{Conn: mem, open: make(chan struct{})}
	s, err := NewSocket(SocketOptions{PacketConn: memConn{c: g}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil || s.Destroyed() {
		t.Errorf("%v, destroyed %v", err, s.Destroyed())
	}
	go s.Destroy(nil)
	synctest.Wait()
	select {
	case <-s.Closed():
		t.Error("Destroy is through: the test shows nothing")
	default:
	}
	if !s.Destroyed() {
		t.Error("not destroyed while Destroy is at it")
	}
	close(g.open)
	<-s.Closed()
}

// askedByDefault checks that a client with a certificate is not asked for it.
func askedByDefault(t *testing.T, server securecontext.Options, root, leaf *issuer) {
	t.Helper()
	client := leaf.options(t)
	client.CA = [][]byte{root.pem()}
	m := serveSecure(t, server, ListenOptions{})
	defer m.close()
	if _, err := m.dialSecure(client, ConnectOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := m.server.Accept(t.Context())
	if err != nil || len(s.ConnectionState().PeerCertificates) != 0 || s.PeerCertificate(false) != nil {
		t.Errorf("%v: a client was asked for its certificate", err)
	}
}

// leftFrom checks that a session uses the endpoint of its family, of a socket that has IPv4
// first and IPv6 second.
func leftFrom(t *testing.T, client *Socket, c *ClientSession, s *ServerSession) {
	t.Helper()
	from := client.Endpoints()[0]
	if s.Address().Addr().Is6() {
		from = client.Endpoints()[1]
	}
	if c.Address() != from.Address() || s.RemoteAddress() != from.Address() || c.endpoint != from {
		t.Errorf("%v: the client is at %v, seen at %v, want %v", s.Address(), c.Address(), s.RemoteAddress(), from.Address())
	}
}

// meet connects to an address, and returns both ends.
func meet(t testing.TB, client, server *Socket, to string) (*ClientSession, *ServerSession) {
	t.Helper()
	ap := netip.MustParseAddrPort(to)
	o := ConnectOptions{Address: ap.Addr().String(), Port: int(ap.Port()), TLS: clientConfig(), ServerName: "localhost"}
	if ap.Addr().Is6() {
		o.Type = UDP6
	}
	c, err := client.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := server.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// boundNoMore ends a bound endpoint, beside another.
func boundNoMore(t *testing.T, e, other *Endpoint) {
	t.Helper()
	e.Destroy(nil)
	if e.Bound() || !other.Bound() {
		t.Errorf("bound after the end: %v, and the other one: %v", e.Bound(), other.Bound())
	}
	covers(t, "EP-015")
}

// refusesToJoin checks what AddMembership refuses, and ends the endpoint.
func refusesToJoin(t *testing.T, e *Endpoint) {
	t.Helper()
	var oe *OptionError
	if err := e.AddMembership("", "127.0.0.1"); !errors.As(err, &oe) || oe.Code() != CodeMissingArgs || !strings.Contains(err.Error(), "AddMembership") {
		t.Errorf("joined nothing: %v", err)
	}
	e.Destroy(nil)
	wantState(t, "joined after the end", e.AddMembership("239.9.9.9", "127.0.0.1"))
}
