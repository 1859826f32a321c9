package quic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// An endpoint that is closed has given its port back.
func TestEndpointClose(t *testing.T) {
	var addr netip.AddrPort
	for range 20 { // the port is free each time
		s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", Port: int(addr.Port())}})
		other := add(t, s, EndpointOptions{Address: "127.0.0.1"})
		if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		e := s.Endpoints()[0]
		addr = e.Address()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatalf("the port is not free: %v", err)
		}
		c.Close()
		covers(t, "EP-016")
		if !e.Destroyed() || e.Bound() || e.Closing() || e.Address().IsValid() || s.Destroyed() || !slices.Equal(s.Endpoints(), []*Endpoint{other}) {
			t.Fatalf("destroyed %v, closing %v, at %v", e.Destroyed(), e.Closing(), e.Address())
		}
		covers(t, "EP-017")
		covers(t, "EP-015")
		wantState(t, "Close after the end", e.Close())
		covers(t, "EP-016")
		_, err = e.Bind(t.Context())
		wantState(t, "Bind after the end", err)
		covers(t, "EP-017")
		if !answers(t, other.Address()) {
			t.Fatal("the other endpoint is dead")
		}
		s.Destroy(nil)
	}
	closeInSteps(t)
}

// gate is a PacketConn whose Close waits, and counts what it is given.
type gate struct {
	net.PacketConn
	closing chan struct{} // closed when Close is called
	open    chan struct{} // lets it go on
	err     error

	mu   sync.Mutex
	sent int
	late int // sent after the Close
	once sync.Once
	shut bool
}

func newGate(c net.PacketConn) *gate {
	return &gate{PacketConn: c, closing: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) WriteTo(b []byte, a net.Addr) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent++
	if g.shut {
		g.late++
	}
	return g.PacketConn.WriteTo(b, a)
}

func (g *gate) Close() error {
	g.once.Do(func() {
		g.mu.Lock()
		g.shut = true
		g.mu.Unlock()
		close(g.closing)
		<-g.open
		g.PacketConn.Close()
	})
	return g.err
}

func gated(t *testing.T) *gate {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newGate(c)
}

// memGate is a conn of the in-memory network whose Close waits.
type memGate struct {
	udp.Conn
	open chan struct{}
	err  error
}

func (g *memGate) Close() error {
	<-g.open
	g.Conn.Close()
	return g.err
}

// destroyedWith destroys the endpoints of a socket one after the other, while no Close
// waits: the hook is told the reason each time, the socket that of the last one.
func destroyedWith(t *testing.T, reason error) {
	t.Helper()
	var told closings
	s := newSocket(t, SocketOptions{Hooks: SocketHooks{EndpointClose: told.hook}})
	add(t, s, EndpointOptions{})
	list := s.Endpoints()
	list[1].Destroy(reason)
	if s.Destroyed() {
		t.Error("the first endpoint has taken the socket along")
	}
	list[0].Destroy(reason)
	if !s.Destroyed() || s.Err() != reason {
		t.Errorf("destroyed %v with %v, want %v", s.Destroyed(), s.Err(), reason)
	}
	synced(s)
	if got, want := told.all(), []closing{{list[1], reason, false}, {list[0], reason, false}}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	covers(t, "EP-020")
}

// While Close waits it says so, other calls of it wait for the same result, and an
// error that Destroy brings meanwhile is that.
func TestEndpointCloseWaits(t *testing.T) {
	boom := errors.New("boom")
	destroyedWith(t, boom)
	destroyedWith(t, nil)
	for _, c := range []struct {
		name    string
		destroy error // given to Destroy while Close waits
		fails   error // of the PacketConn
		last    bool
		want    error
	}{
		{name: "plain"},
		{name: "destroyed", destroy: boom, want: boom},
		{name: "failed", fails: boom, want: boom},
		{name: "last", destroy: boom, last: true, want: boom},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told closings
				n := udp.NewNetwork(udp.NetworkOptions{})
				mem, err := n.Listen(netip.MustParseAddrPort("10.0.0.1:1"))
				if err != nil {
					t.Fatal(err)
				}
				g := &memGate{Conn: mem, open: make(chan struct{}), err: c.fails}
				s, err := NewSocket(SocketOptions{PacketConn: memConn{c: g}, Hooks: SocketHooks{EndpointClose: told.hook}})
				if err != nil {
					t.Fatal(err)
				}
				if !c.last {
					mem, err := n.Listen(netip.MustParseAddrPort("10.0.0.1:2"))
					if err != nil {
						t.Fatal(err)
					}
					add(t, s, EndpointOptions{PacketConn: memConn{c: mem}})
				}
				if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
					t.Fatal(err)
				}
				e := s.Endpoints()[0]
				results := make(chan error, 2)
				go func() { results <- e.Close() }()
				synctest.Wait()
				if !e.Closing() || !e.Destroyed() || len(told.all()) != 0 || slices.Contains(s.Endpoints(), e) {
					t.Errorf("closing %v, destroyed %v, told %v", e.Closing(), e.Destroyed(), told.all())
				}
				covers(t, "EP-018")
				covers(t, "EP-017")
				go func() { results <- e.Close() }()
				synctest.Wait()
				if len(results) != 0 {
					t.Error("a second Close did not wait")
				}
				if c.destroy != nil {
					e.Destroy(c.destroy)
					e.Destroy(errors.New("too late"))
				}
				close(g.open)
				a, b := <-results, <-results
				if a != c.want || b != c.want {
					t.Errorf("Close returned %v and %v, want %v", a, b, c.want)
				}
				wantGone(t, n, e, "10.0.0.1:1")
				covers(t, "EP-016")
				covers(t, "EP-020")
				if e.Closing() {
					t.Error("closing for ever")
				}
				covers(t, "EP-018")
				if c.last {
					<-s.Closed()
					if s.Err() != boom {
						t.Errorf("the socket ended with %v", s.Err())
					}
					covers(t, "EP-020")
				}
				s.Destroy(nil)
				synctest.Wait()
				list := told.all()
				if len(list) == 0 || list[0] != (closing{e, c.want, false}) {
					t.Errorf("told %v", list)
				}
				covers(t, "EP-020")
			})
		})
	}
}

// An endpoint's end is told once, with its error, when the endpoint is off the list; the
// last one's is the socket's.
func TestEndpointDestroy(t *testing.T) {
	t.Run("flushes", TestEndpointDestroyFlushes)
	boom := errors.New("boom")
	var told closings
	failed := make(chan error, 1)
	s := newSocket(t, SocketOptions{
		Endpoint: EndpointOptions{Address: "127.0.0.1"},
		Hooks:    SocketHooks{EndpointClose: told.hook, Error: func(err error) { failed <- err }},
	})
	add(t, s, EndpointOptions{Address: "127.0.0.1"})
	add(t, s, EndpointOptions{Address: "127.0.0.1"})
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	list := s.Endpoints()
	addr := list[1].Address()
	list[1].Destroy(nil)
	list[1].Destroy(boom)
	if !list[1].Destroyed() || list[1].Bound() || !slices.Equal(s.Endpoints(), []*Endpoint{list[0], list[2]}) || s.Destroyed() {
		t.Errorf("destroyed %v; the rest are %v", list[1].Destroyed(), s.Endpoints())
	}
	covers(t, "EP-021")
	covers(t, "SOC-043")
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	c.Close()
	covers(t, "EP-019")
	list[0].Destroy(boom)
	if s.Destroyed() || !answers(t, list[2].Address()) {
		t.Error("the last endpoint does not work")
	}
	list[2].Destroy(boom)
	if !s.Destroyed() || s.Err() != boom {
		t.Fatalf("without endpoints: destroyed %v with %v", s.Destroyed(), s.Err())
	}
	came(t, s.Closed())
	if err := came(t, failed); err != boom {
		t.Errorf("the socket's Error hook was told %v", err)
	}
	covers(t, "SOC-009")
	covers(t, "EP-020")
	synced(s)
	got := told.all()
	want := []closing{{list[1], nil, false}, {list[0], boom, false}, {list[2], boom, false}}
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	covers(t, "SOC-006")
	covers(t, "SOC-007")
	covers(t, "SOC-008")
	covers(t, "EP-019")

	// Without an error the socket ends without one.
	told = closings{}
	s = newSocket(t, SocketOptions{Hooks: SocketHooks{EndpointClose: told.hook}})
	e := s.Endpoints()[0]
	if err := e.Close(); err != nil || !s.Destroyed() || s.Err() != nil {
		t.Errorf("%v; the socket ended with %v", err, s.Err())
	}
	wantBroken(t, boom) // what its own close fails with counts too
	covers(t, "SOC-009")

	// The socket's end is the endpoints', from the call on.
	g := gated(t)
	s = newSocket(t, SocketOptions{PacketConn: g})
	e = s.Endpoints()[0]
	if e.Destroyed() {
		t.Error("destroyed before anything was called")
	}
	go s.Destroy(nil)
	<-g.closing
	if !e.Destroyed() {
		t.Error("an endpoint outlives its socket")
	}
	close(g.open)
	<-s.Closed()
	covers(t, "EP-021")
}

// synced waits until the hooks of a socket that is destroyed have run.
func synced(s *Socket) {
	done := make(chan struct{})
	s.tell(func() { close(done) })
	<-done
}

// What was handed to an endpoint to send leaves before its end.
func TestEndpointDestroyFlushes(t *testing.T) {
	g := gated(t)
	close(g.open)
	to, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	s := newSocket(t, SocketOptions{PacketConn: g})
	add(t, s, EndpointOptions{Address: "127.0.0.1"})
	e := s.Endpoints()[0]
	mustBind(t, e)
	g.mu.Lock() // WriteTo waits
	b := batchTo(e, to.LocalAddr().(*net.UDPAddr).AddrPort(), "one")
	for range 10 {
		if err := e.send(b); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		e.Destroy(nil)
		close(done)
	}()
	for !e.Destroyed() {
	}
	g.mu.Unlock()
	<-done
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sent != 10 || g.late != 0 {
		t.Errorf("%d of 10 datagrams were sent, %d of them after the end", g.sent, g.late)
	}
	covers(t, "EP-019")
}

// A read error ends the endpoint, and the socket only if it was the last.
func TestEndpointReadError(t *testing.T) {
	var told closings
	s := newSocket(t, SocketOptions{PacketConn: gated(t), Hooks: SocketHooks{EndpointClose: told.hook}})
	e := add(t, s, EndpointOptions{Address: "127.0.0.1"})
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	g := s.Endpoints()[0].opts.PacketConn.(*gate)
	close(g.open)
	g.PacketConn.Close() // not by us
	for !slices.Equal(s.Endpoints(), []*Endpoint{e}) {
		time.Sleep(time.Millisecond)
	}
	if s.Destroyed() || !answers(t, e.Address()) {
		t.Error("the other endpoint does not work")
	}
}

// talk opens a stream, and sends something there and back.
func talk(t testing.TB, c *ClientSession, s *ServerSession) {
	t.Helper()
	st, err := c.OpenStream(t.Context(), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.End([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	peer, err := s.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(peer); string(b) != "ping" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := peer.End([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(st); string(b) != "pong" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
}

// Several endpoints carry traffic at once, of both families and with the same port; what
// comes in through one is answered from there.
func TestSeveralEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})
		addrs := []string{"10.0.0.1:443", "10.0.0.9:443", "[fd00::1]:443"}
		server := socketOn(t, n, SocketOptions{}, addrs...)
		defer server.Destroy(nil)
		if err := server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		client := socketOn(t, n, SocketOptions{}, "10.0.0.2:1000", "[fd00::2]:1000")
		defer client.Destroy(nil)
		for i, a := range addrs {
			before := server.Endpoints()[i].stats()
			c, s := meet(t, client, server, a)
			talk(t, c, s)
			leftFrom(t, client, c, s)
			if s.Address().String() != a || c.RemoteAddress().String() != a || s.endpoint != server.Endpoints()[i] {
				t.Errorf("%s: the session is at %v, seen at %v", a, s.Address(), c.RemoteAddress())
			}
			after := server.Endpoints()[i].stats()
			if after.Received == before.Received || after.Sent == before.Sent {
				t.Errorf("%s: the endpoint has received %d and sent %d datagrams", a, after.Received, after.Sent)
			}
		}
		for i, e := range server.Endpoints() {
			if d := e.stats(); d.Sent > 2*d.Received { // each answers for itself only
				t.Errorf("endpoint %d sent %d datagrams for %d", i, d.Sent, d.Received)
			}
		}
		covers(t, "EP-001")

		// Answers without a session too.
		for _, a := range addrs {
			ap := netip.MustParseAddrPort(a)
			from, err := n.Listen(netip.AddrPortFrom(ap.Addr().Next(), 5))
			if err != nil {
				t.Fatal(err)
			}
			sendInitialTo(t, from, ap)
			buf, slab := receiveOne(t, from)
			if buf.Path.Remote != ap {
				t.Errorf("asked at %v, answered from %v", ap, buf.Path.Remote)
			}
			slabs.Put(slab)
			from.Close()
		}
		covers(t, "EP-001")
	})
}

// A session leaves by the first endpoint whose family fits, or by the preferred one.
func TestEndpointPreferred(t *testing.T) {
	// The one of the socket's options is the first, and is checked as others are.
	_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Port: -1}})
	wantOptionError(t, err, "ERR_SOCKET_BAD_PORT", "SocketOptions.Endpoint.Port")
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.5"}})
	if a := mustBind(t, s.Endpoints()[0]); a.Addr().String() != "127.0.0.5" {
		t.Errorf("the first endpoint is at %v", a)
	}
	synctest.Test(t, func(t *testing.T) {
		n := udp.NewNetwork(udp.NetworkOptions{})
		server := socketOn(t, n, SocketOptions{}, "10.0.0.1:443", "[fd00::1]:443")
		defer server.Destroy(nil)
		if err := server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			preferred  int // -1 for none
			four, six  string
			mappedOnly bool
		}{
			{preferred: -1, four: "10.0.0.2:7", six: "[fd00::2]:7"},
			{preferred: 0, four: "10.0.0.2:7", six: "[fd00::2]:7"},
			{preferred: 2, four: "10.0.0.3:7", six: "[fd00::2]:7"},
			{preferred: 3, four: "10.0.0.2:7", six: "[fd00::3]:7"},
		} {
			client := socketPreferring(t, n, SocketOptions{}, c.preferred, "[fd00::2]:7", "10.0.0.2:7", "10.0.0.3:7", "[fd00::3]:7")
			for _, to := range []struct{ addr, from string }{{"10.0.0.1:443", c.four}, {"[fd00::1]:443", c.six}} {
				v, s := meet(t, client, server, to.addr)
				if v.Address().String() != to.from || s.RemoteAddress().String() != to.from {
					t.Errorf("preferred %d: to %s from %v, seen as %v, want %s", c.preferred, to.addr, v.Address(), s.RemoteAddress(), to.from)
				}
			}
			client.Destroy(nil)
		}
		covers(t, "CQS-004")
		covers(t, "X-008")

		// No family fits.
		only := socketOn(t, n, SocketOptions{}, "10.0.0.2:7")
		defer only.Destroy(nil)
		_, err := only.Connect(t.Context(), ConnectOptions{Address: "fd00::1", Port: 443, Type: UDP6, TLS: clientConfig()})
		var oe *OperationError
		if !errors.As(err, &oe) || only.Stats().PacketsSent != 0 {
			t.Errorf("%v, %d datagrams", err, only.Stats().PacketsSent)
		}
	})
}

// Sessions on an endpoint that is closed while others stay: clients move to another one
// if there is one for them, the rest end.
func TestEndpointCloseWithSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})
		server := socketOn(t, n, SocketOptions{}, "10.0.0.1:443", "10.0.0.9:443")
		defer server.Destroy(nil)
		if err := server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		client := socketOn(t, n, SocketOptions{}, "10.0.0.2:1000", "10.0.0.3:1000")
		defer client.Destroy(nil)
		c, s := meet(t, client, server, "10.0.0.1:443")
		time.Sleep(time.Second)
		if err := client.Endpoints()[0].Close(); err != nil {
			t.Fatal(err)
		}
		talk(t, c, s)
		time.Sleep(5 * time.Second)
		talk(t, c, s)
		if c.Address().String() != "10.0.0.3:1000" || s.RemoteAddress().String() != "10.0.0.3:1000" || c.endpoint != client.Endpoints()[0] {
			t.Errorf("the client is at %v, seen at %v", c.Address(), s.RemoteAddress())
		}

		// The server's other sessions go on; those on the endpoint end, and their clients know.
		c2, s2 := meet(t, client, server, "10.0.0.9:443")
		time.Sleep(time.Second)
		if err := server.Endpoints()[0].Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Err(); !errors.Is(err, net.ErrClosed) || !errors.Is(err, ErrInvalidState) {
			t.Errorf("the server's session ended with %v", err)
		}
		<-c.Closed()
		var te *TransportError
		if err := c.Err(); !errors.As(err, &te) || te.ErrorCode != 0 || !te.Remote {
			t.Errorf("the client's session ended with %v", err)
		}
		talk(t, c2, s2)

		// With an error, that is what ends them.
		boom := errors.New("boom")
		socketWith2 := socketOn(t, n, SocketOptions{}, "10.0.0.5:1", "[fd00::5]:1")
		defer socketWith2.Destroy(nil)
		c3, _ := meet(t, socketWith2, server, "10.0.0.9:443")
		socketWith2.Endpoints()[0].Destroy(boom)
		if c3.Err() != boom || c3.life != sessionGone {
			t.Errorf("ended with %v", c3.Err())
		}
		if len(socketWith2.sessions()) != 0 || socketWith2.alive != 0 || socketWith2.Destroyed() {
			t.Error("the session has left something behind")
		}
		covers(t, "EP-020")
	})
}

// A client that comes to another endpoint of the server's is answered from there: the
// addresses are one server's.
func TestMigrateBetweenEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})
		server := socketOn(t, n, SocketOptions{}, "10.0.0.1:443", "10.0.0.9:443")
		defer server.Destroy(nil)
		lo := ListenOptions{TLS: serverConfig(), PreferredAddress: []PreferredAddress{{Address: "10.0.0.9", Port: 443}}}
		if err := server.Listen(t.Context(), lo); err != nil {
			t.Fatal(err)
		}
		client := socketOn(t, n, SocketOptions{Client: ConnectOptions{PreferredAddressPolicy: "accept"}}, "10.0.0.2:1000")
		defer client.Destroy(nil)
		c, s := meet(t, client, server, "10.0.0.1:443")
		time.Sleep(5 * time.Second)
		talk(t, c, s)
		if c.RemoteAddress().String() != "10.0.0.9:443" || s.Address().String() != "10.0.0.9:443" || s.endpoint != server.Endpoints()[1] {
			t.Errorf("the client goes to %v, the server is at %v", c.RemoteAddress(), s.Address())
		}
		server.Endpoints()[0].Destroy(nil) // it lives elsewhere now
		talk(t, c, s)
		if s.Err() != nil {
			t.Error(s.Err())
		}
	})
}

// ref and unref are for event loops; what is left of them is that they fail after the end.
func TestEndpointRef(t *testing.T) {
	s := newSocket(t, SocketOptions{})
	e := s.Endpoints()[0]
	if e.Destroyed() || s.Destroyed() {
		t.Error("destroyed at first")
	}
	covers(t, "EP-027")
	covers(t, "EP-028")
	covers(t, "SOC-053")
	covers(t, "SOC-054")
	s.Destroy(nil)
	if !e.Destroyed() || !s.Destroyed() {
		t.Error("not destroyed after the end")
	}
	covers(t, "EP-027")
	covers(t, "EP-028")
	covers(t, "SOC-053")
	covers(t, "SOC-054")
}

// Two sockets have one port only if both allow it.
func TestEndpointReuseAddr(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		a := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", ReuseAddr: reuse}}).Endpoints()[0]
		addr := mustBind(t, a)
		b := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", Port: int(addr.Port()), ReuseAddr: reuse}}).Endpoints()[0]
		_, err := b.Bind(context.Background())
		if reuse && err != nil || !reuse && !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("reuse %v: %v", reuse, err)
		}
	}
	covers(t, "X-007")
}

// batchTo returns a batch of one datagram from an endpoint.
func batchTo(e *Endpoint, to netip.AddrPort, text string) *dgram.Batch {
	b := dgram.NewBatch(make([]byte, 0, 1500))
	b.Commit(copy(b.Next(1500)[:len(text)], text))
	b.Path = dgram.Path{Local: e.local, Remote: to}
	return b
}

// sendInitialTo sends what a client of another version would.
func sendInitialTo(t *testing.T, c udp.Conn, to netip.AddrPort) {
	t.Helper()
	b := dgram.NewBatch(make([]byte, 0, 1200))
	p := b.Next(1200)[:1200]
	copy(p, []byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1})
	b.Commit(len(p))
	b.Path = dgram.Path{Local: c.LocalAddr(), Remote: to}
	if err := c.Send(b); err != nil {
		t.Fatal(err)
	}
}

func receiveOne(t *testing.T, c udp.Conn) (dgram.Datagram, []byte) {
	t.Helper()
	var d [2 * dgram.MaxSegments]dgram.Datagram
	n, slab, err := c.Receive(&slabs, d[:])
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	return d[0], slab
}
