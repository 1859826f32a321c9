package quic

// The other halves of some rows of sessions and their sockets, for the tests of these rows.

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// limitRefusals counts those whom a limit keeps out like those whom a busy socket does.
func limitRefusals(t *testing.T) {
	t.Helper()
	m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnections: 1}, ListenOptions{})
	defer m.close()
	want := func(n uint64) {
		t.Helper()
		if got := m.server.Stats().ServerBusyCount; got != n {
			t.Errorf("ServerBusyCount is %d, want %d", got, n)
		}
	}
	if _, refused := m.connection("10.0.2.1", 1); refused {
		t.Error("the first is refused")
	}
	want(0)
	for i := range uint64(2) {
		if _, refused := m.connection("10.0.2.2", uint16(1+i)); !refused {
			t.Error("MaxConnections lets another in")
		}
		want(1 + i)
	}
	if err := m.server.SetServerBusy(true); err != nil {
		t.Fatal(err)
	}
	if _, refused := m.connection("10.0.2.3", 1); !refused {
		t.Error("a busy socket takes a session")
	}
	want(3)
	if err := m.server.SetServerBusy(false); err != nil {
		t.Fatal(err)
	}
	m.server.Destroy(nil)
	want(3)
}

// addressesApart looks at a session whose ends have different addresses.
func addressesApart(t *testing.T) {
	t.Helper()
	m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
	defer m.close()
	p := m.pair(ConnectOptions{})
	here := m.client.Address()
	if here.Addr() == memServer.Addr() || here.Port() == memServer.Port() {
		t.Fatalf("both ends are at %v: the test shows nothing", here)
	}
	if a, b := p.client.Address(), p.server.Address(); a != here || b != memServer {
		t.Errorf("local addresses are %v and %v, want %v and %v", a, b, here, memServer)
	}
	if a, b := p.client.RemoteAddress(), p.server.RemoteAddress(); a != memServer || b != here {
		t.Errorf("remote addresses are %v and %v, want %v and %v", a, b, memServer, here)
	}
}

// lostInFlight has packets lost, which are in flight no more when they are taken as lost.
func lostInFlight(t *testing.T) {
	t.Helper()
	m := newMemNet(t, udp.NetworkOptions{Delay: 50 * time.Millisecond}, SocketOptions{}, ListenOptions{})
	defer m.close()
	p := m.pair(ConnectOptions{})
	time.Sleep(time.Second)
	c, err := p.client.OpenStream(t.Context(), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Local == memServer })
	c.Write(make([]byte, 8000))
	time.Sleep(10 * time.Millisecond)
	if n := p.client.Stats().BytesInFlight; n < 8000 {
		t.Errorf("%d bytes in flight, want 8000 and a little", n)
	}
	m.net.SetFilter(nil)
	time.Sleep(10 * time.Second)
	if s := p.client.Stats(); s.BytesInFlight != 0 || s.PacketsLost < 5 {
		t.Errorf("%d bytes in flight with %d packets lost, want 0 and some", s.BytesInFlight, s.PacketsLost)
	}
}

// sentForNothing looks at the bytes that a session has sent and diagnostic loss has dropped.
func sentForNothing(t *testing.T, s *Session) {
	t.Helper()
	if err := s.Socket().SetDiagnosticPacketLoss(DiagnosticPacketLoss{TX: 1}); err != nil {
		t.Fatal(err)
	}
	before, left := s.Stats().BytesSent, s.Socket().Stats().BytesSent
	s.Ping()
	synctest.Wait()
	if n := s.Stats().BytesSent; n <= before || s.Socket().Stats().BytesSent != left {
		t.Errorf("BytesSent is %d, it was %d before diagnostic loss", n, before)
	}
	if err := s.Socket().SetDiagnosticPacketLoss(DiagnosticPacketLoss{}); err != nil {
		t.Fatal(err)
	}
}

// destroyMany destroys a session with several streams, of both ends and both kinds.
func destroyMany(t *testing.T) {
	t.Helper()
	var j journal
	m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
	defer m.close()
	p := m.pair(ConnectOptions{})
	var streams []*Stream
	keep := func(st *Stream, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		st.SetHooks(StreamHooks{Close: func() { j.add("stream %d close", st.ID()) }})
		streams = append(streams, st)
	}
	for _, half := range []bool{false, false, true} {
		keep(p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: half}))
		streams[len(streams)-1].Write(make([]byte, 1000))
	}
	theirs, err := p.server.OpenStream(t.Context(), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	theirs.Write([]byte("unread"))
	keep(p.client.AcceptStream(t.Context()))
	p.client.Destroy(nil)
	synctest.Wait()
	for _, st := range streams {
		if !j.has("stream %d close", st.ID()) {
			t.Errorf("stream %d goes on: %q", st.ID(), j.lines)
		}
		if _, err := st.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("stream %d writes: %v", st.ID(), err)
		}
	}
	if len(j.lines) != len(streams) {
		t.Errorf("%q of %d streams", j.lines, len(streams))
	}
}

// noCommonProtocol is an end by TLS, which both ends tell from one of the transport.
func noCommonProtocol(t *testing.T) {
	t.Helper()
	var server *ServerSession
	m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "one", Handler: func(v *ServerSession) error {
		server = v
		return nil
	}})
	defer m.close()
	c := m.connect(ConnectOptions{ALPN: "two"})
	_ = c.Handshake(t.Context())
	synctest.Wait()
	if got := c.CloseCode(); got != (CloseCode{0x178, CloseTLS, true}) {
		t.Errorf("a client without a common protocol has CloseCode %+v", got)
	}
	if server == nil || server.CloseCode() != (CloseCode{0x178, CloseTLS, false}) {
		t.Error("the server has another CloseCode")
	}
}

// silences ends sessions after the second that one of the ends has asked for, and one that
// never heard of its server.
func silences(t *testing.T) {
	t.Helper()
	m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: time.Second})
	defer m.close()
	p := m.pair(ConnectOptions{})
	var told atomic.Int32
	for _, s := range []*Session{&p.client.Session, &p.server.Session} {
		s.SetHooks(SessionHooks{Close: func() {
			if told.Add(1); !s.Stats().IdleTimeout || s.Stats().StatelessReset {
				t.Error("IdleTimeout is false in the Close hook")
			}
		}})
	}
	time.Sleep(900 * time.Millisecond)
	if told.Load() != 0 || p.client.Stats().IdleTimeout || p.server.Stats().IdleTimeout {
		t.Error("over before the idle timeout")
	}
	time.Sleep(time.Second)
	if n := told.Load(); n != 2 {
		t.Errorf("%d ends are over after the idle timeout, want 2", n)
	}
	m.net.SetFilter(func(*dgram.Datagram) bool { return true })
	c := m.connect(ConnectOptions{HandshakeTimeout: time.Second})
	if err := c.Handshake(t.Context()); err == nil || c.Stats().IdleTimeout {
		t.Errorf("%v counts as an idle timeout", err)
	}
	m.net.SetFilter(nil)
}

// revokedTwice has the list that matters come second, and notes what the hooks hear.
func revokedTwice(t *testing.T, revoked *issuer, o securecontext.Options, list, another []byte) {
	t.Helper()
	m := serveSecure(t, revoked.options(t), ListenOptions{})
	defer m.close()
	for _, crl := range [][][]byte{{list, another}, {another, list}, {slices.Concat(another, list)}} {
		o.CRL = crl
		secure := 0
		hooks := SessionHooks{Secure: func() error { secure++; return nil }}
		c, err := m.dialSecure(o, ConnectOptions{Hooks: hooks})
		synctest.Wait()
		wantUntrusted(t, &c.Session, err, "CERT_REVOKED", 44)
		if secure != 0 {
			t.Error("the Secure hook was told of a server that is not authenticated")
		}
		c, err = m.dialSecure(o, ConnectOptions{Hooks: hooks, AllowUnauthenticated: true})
		synctest.Wait()
		wantTolerated(t, &c.Session, err, "CERT_REVOKED")
		if secure != 1 {
			t.Errorf("the Secure hook was told %d times", secure)
		}
	}
}

// serverHookFails has a hook of a server's session take it down.
func serverHookFails(t *testing.T, hook func() error, want string) {
	t.Helper()
	var j journal
	m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Hooks: SessionHooks{
		Secure: hook,
		Error:  func(err error) { j.add("error %v", err) },
		Close:  func() { j.add("close") },
	}})
	defer m.close()
	c := m.connect(ConnectOptions{})
	_ = c.Handshake(t.Context())
	synctest.Wait()
	j.want(t, "error "+want, "close")
	var te *TransportError
	if err := c.Err(); !errors.As(err, &te) || !te.Remote || m.server.Destroyed() {
		t.Errorf("the client hears %v", err)
	}
}

// destroyInPeace destroys a socket without a reason, which is nobody's error.
func destroyInPeace(t *testing.T) {
	t.Helper()
	var j, ours journal
	m := newToldNet(t, &j, ListenOptions{Hooks: ours.session("server")})
	defer m.close()
	p := m.pair(ConnectOptions{})
	st, err := p.client.OpenStream(t.Context(), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	st.Write([]byte("x"))
	synctest.Wait()
	wait := make(chan error, 1)
	go func() { wait <- m.server.Shutdown(t.Context()) }()
	synctest.Wait()
	at := m.server.Address()
	m.server.Destroy(nil)
	m.server.Destroy(errors.New("later"))
	synctest.Wait()
	if len(wait) != 1 || <-wait != nil || m.server.Err() != nil {
		t.Errorf("Shutdown has no end or a bad one: %v", m.server.Err())
	}
	j.want(t, "ready, bound true", "listening true", "endpoint <nil>", "close, destroyed true, 0 endpoints")
	if ours.has("server error: later") || ours.count("server close") != 1 || ours.count("server error") != 0 {
		t.Errorf("%q", ours.lines)
	}
	if c := p.client.CloseCode(); !p.client.Destroyed() || c != (CloseCode{0, CloseApplication, true}) {
		t.Errorf("the peer hears %v, %+v", p.client.Err(), c)
	}
	if free, err := m.net.Listen(netip.AddrPortFrom(at.Addr(), at.Port())); err != nil {
		t.Errorf("the address is not free: %v", err)
	} else {
		free.Close()
	}
}
