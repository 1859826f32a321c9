package http3

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// startServer starts a server on a socket, and returns where it listens. What Serve returns
// comes on done; in the end it must be http.ErrServerClosed.
func startServer(t testing.TB, s *Server, o quic.SocketOptions) (addr netip.AddrPort, done <-chan error) {
	t.Helper()
	listening := make(chan struct{})
	o.Hooks.Listening = func() error { close(listening); return nil }
	socket, err := quic.NewSocket(o)
	if err != nil {
		t.Fatal(err)
	}
	if s.TLSConfig == nil {
		s.TLSConfig = serverTLS()
	}
	ended := make(chan error, 2)
	go func() {
		err := s.Serve(socket)
		ended <- err
		ended <- err
	}()
	<-listening
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return socket.Address(), ended
}

var loopback = quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1"}}

// raw is a client of package http3's own streams: it can do what a Transport does not.
type raw struct {
	t testing.TB
	*Session
	q *quic.ClientSession
}

// newRaw starts a server on loopback and connects to it.
func newRaw(t testing.TB, s *Server, o Options) *raw {
	t.Helper()
	addr, _ := startServer(t, s, loopback)
	return dialRaw(t, addr, o, quic.ConnectOptions{})
}

func dialRaw(t testing.TB, addr netip.AddrPort, o Options, co quic.ConnectOptions) *raw {
	t.Helper()
	co.ALPN, co.TLS = ALPN, clientTLS()
	if co.MaxStreamsUni == 0 {
		co.MaxStreamsUni = 103
	}
	q, err := quic.Dial(testContext(t), addr.String(), co)
	if err != nil {
		t.Fatal(err)
	}
	return rawOn(t, q, o)
}

func rawOn(t testing.TB, q *quic.ClientSession, o Options) *raw {
	t.Helper()
	t.Cleanup(func() { q.Destroy(nil) })
	c, err := NewSession(&q.Session, o)
	if err != nil {
		t.Fatal(err)
	}
	return &raw{t, c, q}
}

// known waits for the server's SETTINGS.
func (c *raw) known() *raw {
	c.t.Helper()
	if _, err := c.Settings(testContext(c.t)); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// limitless forgets what the server has said of its limits.
func (c *raw) limitless() *raw {
	c.known()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.MaxFieldSectionSize = varint.Max
	return c
}

// requestBlock makes a request's header block, with more fields as names and values in turn.
func requestBlock(method, path string, more ...string) Headers {
	h := Headers{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "localhost"}, {Name: ":path", Value: path},
	}
	for i := 0; i < len(more); i += 2 {
		h = append(h, Field{Name: more[i], Value: more[i+1]})
	}
	return h
}

// open sends the header block of a request, which stays open.
func (c *raw) open(h Headers, hooks StreamHooks) *Stream {
	c.t.Helper()
	st, err := c.OpenStream(testContext(c.t), StreamOptions{Hooks: hooks})
	if err != nil {
		c.t.Fatal(err)
	}
	must(c.t, st.SubmitInitialHeaders(h, HeaderOptions{}))
	return st
}

// request sends the header block of a request that ends with it. To end it later may be too late: a
// server that has answered already asks for no more, and then CloseWrite fails.
func (c *raw) request(h Headers, hooks StreamHooks) *Stream {
	c.t.Helper()
	st, err := c.OpenStream(testContext(c.t), StreamOptions{Hooks: hooks})
	if err != nil {
		c.t.Fatal(err)
	}
	must(c.t, st.SubmitInitialHeaders(h, HeaderOptions{Terminal: true}))
	return st
}

// ask makes a request without a body, and returns its response.
func (c *raw) ask(h Headers) (Headers, string) {
	c.t.Helper()
	return response(c.t, c.request(h, StreamHooks{}))
}

// response reads a response to its end.
func response(t testing.TB, st *Stream) (Headers, string) {
	t.Helper()
	h, err := st.Headers()
	if err != nil {
		t.Fatalf("Headers: %v", err)
	}
	body, err := io.ReadAll(st)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return h, string(body)
}

func wantStatus(t testing.TB, h Headers, status string) {
	t.Helper()
	if got := h.Get(":status"); got != status {
		t.Errorf("status %s, want %s", got, status)
	}
}

func wantField(t testing.TB, h Headers, want ...Field) {
	t.Helper()
	for _, f := range want {
		if !slices.Contains(h, f) {
			t.Errorf("no %v in %v", f, h)
		}
	}
}

// memConn puts a socket on an in-memory network, for tests in bubbles.
type memConn struct {
	net.PacketConn
	c udp.Conn
}

func (m memConn) UDPConn() udp.Conn { return m.c }
func (m memConn) Close() error      { return m.c.Close() }

// memNet is an in-memory network with a server.
type memNet struct {
	t   testing.TB
	net *udp.Network
}

var memServer, memClient = netip.MustParseAddrPort("10.0.0.1:4433"), netip.MustParseAddrPort("10.0.0.2:1000")

func newMemNet(t testing.TB, s *Server) *memNet {
	t.Helper()
	m := &memNet{t, udp.NewNetwork(udp.NetworkOptions{})}
	perch(s)
	startServer(t, s, m.at(memServer))
	canary(t, m.sing)
	return m
}

// perch makes the server of an attack test answer canaries, beside what its handler does.
func perch(s *Server) {
	if h := s.Handler; besieged != nil {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/canary" {
				_, _ = io.WriteString(w, "tweet")
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// sing is a canary on a session of its own.
func (m *memNet) sing() {
	m.t.Helper()
	socket, err := quic.NewSocket(m.at(netip.MustParseAddrPort("10.0.0.7:7777")))
	must(m.t, err)
	defer socket.Destroy(nil)
	q, err := socket.Connect(testContext(m.t), m.options(quic.ConnectOptions{}))
	must(m.t, err)
	must(m.t, q.Handshake(testContext(m.t)))
	rawOn(m.t, q, Options{}).sing()
}

// sing is a canary on a session that there is.
func (c *raw) sing() {
	c.t.Helper()
	if _, body := c.ask(requestBlock("GET", "/canary")); body != "tweet" {
		c.t.Errorf("the canary sings %q", body)
	}
}

func (m *memNet) at(addr netip.AddrPort) quic.SocketOptions {
	m.t.Helper()
	c, err := m.net.Listen(addr)
	if err != nil {
		m.t.Fatal(err)
	}
	return quic.SocketOptions{PacketConn: memConn{c: c}}
}

// dial connects a client.
func (m *memNet) dial(o Options, co quic.ConnectOptions) *raw {
	m.t.Helper()
	return m.dialFrom(memClient.String(), o, co)
}

func (m *memNet) options(o quic.ConnectOptions) quic.ConnectOptions {
	o.Address, o.Port, o.ALPN, o.TLS, o.ServerName = memServer.Addr().String(), int(memServer.Port()), ALPN, clientTLS(), "localhost"
	return o
}

// dialFrom connects a client from an address.
func (m *memNet) dialFrom(addr string, o Options, co quic.ConnectOptions) *raw {
	m.t.Helper()
	socket, err := quic.NewSocket(m.at(netip.MustParseAddrPort(addr)))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { socket.Destroy(nil) })
	q, err := socket.Connect(m.t.Context(), m.options(co))
	if err != nil {
		m.t.Fatal(err)
	}
	if err := q.Handshake(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	watch(m.t, &q.Session)
	return rawOn(m.t, q, o)
}
