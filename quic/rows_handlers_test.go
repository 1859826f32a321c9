package quic

import (
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The Handler is given a session while its handshake is under way, and knows where it comes
// from and what it may open.
func TestHandlerRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		lo := ListenOptions{Handler: func(v *ServerSession) error {
			secure := v.HandshakeComplete()
			st, err := v.TryOpenStream(StreamOptions{})
			if st != nil || !errors.Is(err, ErrOperationFailed) {
				t.Errorf("TryOpenStream before the handshake is complete: %v", err)
			}
			// What waits for the handshake can be begun.
			go func() {
				st, err := v.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
				if err != nil || !v.HandshakeComplete() {
					t.Errorf("OpenStream: %v", err)
					return
				}
				st.End([]byte("hello"))
			}()
			if v.RemoteAddress() != netip.MustParseAddrPort("10.0.1.1:1") {
				t.Errorf("RemoteAddress is %v", v.RemoteAddress())
			}
			if n := v.MaxStreams(); n != (MaxStreams{Bidi: 7, Uni: 5}) {
				t.Errorf("MaxStreams is %+v", n)
			}
			j.add("%v secure %v", v.RemoteAddress(), secure)
			return nil
		}}
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, lo)
		defer m.close()
		noSession(t, m)
		from := m.socketAt(netip.MustParseAddrPort("10.0.1.1:1"), SocketOptions{})
		defer from.Destroy(nil)
		c, err := from.Connect(t.Context(), m.options(ConnectOptions{MaxStreamsBidi: 7, MaxStreamsUni: 5}))
		if err != nil {
			t.Fatal(err)
		}
		st, err := c.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		time.Sleep(time.Second)
		j.want(t, "10.0.1.1:1 secure false")
		covers(t, "SOC-014")
		covers(t, "SRV-002")
	})
}

// The Handler is told once of each session that is taken, and of none that is refused, for
// whatever reason.
func TestHandlerOfTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		lo := ListenOptions{Handler: func(v *ServerSession) error {
			j.add("%v secure %v", v.RemoteAddress(), v.HandshakeComplete())
			return nil
		}}
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{MaxConnections: 1}, lo)
		defer m.close()
		c, _ := m.connection("10.0.1.1", 1)
		time.Sleep(time.Second)
		j.want(t, "10.0.1.1:1 secure false")
		m.connection("10.0.1.2", 1) // the limit
		c.CloseWithError(0, "")
		time.Sleep(time.Second)
		if err := m.server.SetServerBusy(true); err != nil {
			t.Fatal(err)
		}
		m.connection("10.0.1.3", 1)
		if err := m.server.SetServerBusy(false); err != nil {
			t.Fatal(err)
		}
		if err := m.server.BlockList().AddAddress(netip.MustParseAddr("10.0.0.2")); err != nil {
			t.Fatal(err)
		}
		_ = m.connect(ConnectOptions{HandshakeTimeout: time.Second}).Handshake(t.Context())
		j.want(t)

		late := m.socketAt(netip.MustParseAddrPort("10.0.0.5:5"), SocketOptions{ValidateAddress: true, RetryTokenTimeout: time.Second})
		defer late.Destroy(nil)
		lo.TLS = serverConfig()
		if err := late.Listen(t.Context(), lo); err != nil {
			t.Fatal(err)
		}
		slow := m.raw("10.0.0.9:9")
		defer slow.conn.Close()
		slow.ask(late.Address(), someInitial(wire.MakeConnectionID([]byte("a server")), nil))
		retry, ok := wire.ParseLong(<-slow.got)
		if !ok || retry.Type != wire.Retry {
			t.Fatalf("the answer is %+v", retry)
		}
		time.Sleep(2 * time.Second)
		slow.ask(late.Address(), someInitial(retry.SCID, retry.Token))
		time.Sleep(5 * time.Millisecond)
		if st := late.Stats(); st.RetryCount != 1 || st.InvalidTokens != 1 || st.ServerSessions != 0 {
			t.Errorf("%+v", st)
		}
		j.want(t)
		covers(t, "SOC-013")
	})
}

// someInitial returns a datagram with the header of a client's first packet, and noise.
func someInitial(dcid wire.ConnectionID, token []byte) []byte {
	scid := wire.MakeConnectionID([]byte("a client"))
	b, at := wire.AppendLong(make([]byte, 0, wire.MinInitialSize), wire.Version1, wire.Initial, &dcid, &scid, token, 1)
	varint.Put2(b[at:], uint64(wire.MinInitialSize-len(b)))
	return b[:wire.MinInitialSize]
}

// A server session exists only once a listening socket has had a client's first packet.
func TestServerSessionRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if p.server.Server() != p.server || p.server.Client() != nil || p.client.Server() != nil || p.server.Socket() != m.server {
			t.Error("which end a session is")
		}
		p.exchange(t)
		// The client's socket is bound, and does not listen.
		other := m.socket(SocketOptions{})
		defer other.Destroy(nil)
		c, err := other.Connect(t.Context(), ConnectOptions{
			Address: "10.0.0.2", Port: int(m.client.Address().Port()), TLS: clientConfig(), ServerName: "localhost", HandshakeTimeout: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err == nil || m.client.Stats().ServerSessions != 0 {
			t.Errorf("a socket that does not listen takes sessions: %v", err)
		}
		covers(t, "SRV-001")
	})
}

// A Handler that takes its time holds up nobody else.
func TestHandlerMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		var running, done atomic.Int32
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Handler: func(*ServerSession) error {
			if running.Add(1) < 3 {
				<-goOn
			}
			done.Add(1)
			return nil
		}})
		defer m.close()
		for range 3 {
			c := m.connect(ConnectOptions{})
			if err := c.Handshake(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		if running.Load() != 3 || done.Load() != 1 {
			t.Errorf("%d handlers run, %d have returned", running.Load(), done.Load())
		}
		close(goOn)
		synctest.Wait()
		if done.Load() != 3 {
			t.Errorf("%d handlers have returned", done.Load())
		}
		covers(t, "SOC-015")
	})
}

// A Handler that fails, at once or later, takes its session down and no more.
func TestHandlerErrorRow(t *testing.T) {
	boom := errors.New("boom")
	fail := func() error { return boom }
	for _, test := range []struct {
		name  string
		after time.Duration
		how   func() error
		want  string
	}{
		{"error", 0, fail, "boom"},
		{"panic", 0, func() error { panic(boom) }, "quic: hook panicked: boom"},
		{"late error", time.Second, fail, "boom"},
		{"late panic", time.Second, func() error { panic(boom) }, "quic: hook panicked: boom"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var j, ours, theirs journal
			healthy := false
			var failed *Session
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{Hooks: SocketHooks{
				SessionError: func(err error, s *Session) {
					if !errors.Is(err, boom) || s.Err() == nil {
						t.Errorf("%s: SessionError(%v) of a session with %v", test.name, err, s.Err())
					}
					j.add("%v, destroyed %v, the session %v", err, s.Destroyed(), s == failed)
				},
				Error: func(err error) { j.add("socket error %v", err) },
				Close: func() { j.add("socket close") },
			}}, ListenOptions{Handler: func(v *ServerSession) error {
				if healthy {
					return nil
				}
				failed = &v.Session
				v.SetHooks(ours.session("server"))
				time.Sleep(test.after)
				return test.how()
			}})
			defer m.client.Destroy(nil)
			c := m.connect(ConnectOptions{Hooks: theirs.session("client")})
			<-c.Closed()
			time.Sleep(time.Second)
			j.want(t, test.want+", destroyed true, the session true")
			code := c.CloseCode()
			if test.after == 0 {
				ours.want(t, "server error: "+test.want, "server close")
				if code.Code != 2 || code.Family != 0 {
					t.Errorf("%s: the client sees %+v", test.name, code)
				}
				theirs.want(t, "client error: quic: session closed by the peer: CONNECTION_REFUSED", "client close")
			} else {
				ours.want(t, "server secure", "server error: "+test.want, "server close")
				if code.Code == 0 || !c.HandshakeComplete() {
					t.Errorf("%s: the client sees %+v", test.name, code)
				}
			}
			healthy = true
			next := m.connect(ConnectOptions{})
			if err := next.Handshake(t.Context()); err != nil || m.server.Destroyed() {
				t.Errorf("%s: the socket is not well: %v", test.name, err)
			}
			m.server.Destroy(nil)
			j.want(t, "socket close")
		})
	}
	covers(t, "SOC-016")
	covers(t, "SOC-017")
	covers(t, "SOC-018")
	covers(t, "SOC-019")
	covers(t, "SOC-020")
}

// A hook of the socket that fails, or panics, destroys the socket with that.
func TestSocketHookErrors(t *testing.T) {
	boom := errors.New("boom")
	fail := func() error { return boom }
	crash := func() error { panic("boom") }
	for _, hook := range []func() error{fail, crash} {
		want := "boom"
		if call(hook) != boom {
			want = "quic: hook panicked: boom"
		}
		for _, test := range []struct {
			name  string
			hooks SocketHooks
			do    func(*Socket)
		}{
			{"Ready", SocketHooks{Ready: hook}, func(*Socket) {}},
			{"Listening", SocketHooks{Listening: hook}, func(*Socket) {}},
			{"Busy", SocketHooks{Busy: func(bool) error { return hook() }}, func(s *Socket) {
				if err := s.SetServerBusy(true); err != nil {
					t.Error(err)
				}
			}},
		} {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				test.hooks.Error = func(err error) { j.add("%s: error %v", test.name, err) }
				test.hooks.Close = func() { j.add("%s: close", test.name) }
				m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
				s := m.socketAt(memServer, SocketOptions{Hooks: test.hooks})
				_ = s.Listen(t.Context(), ListenOptions{TLS: serverConfig()})
				test.do(s)
				if synctest.Wait(); !s.Destroyed() {
					t.Errorf("%s: the socket goes on", test.name)
					s.Destroy(nil)
				}
				<-s.Closed()
				j.want(t, test.name+": error "+want, test.name+": close")
				if err := s.Err(); err == nil || err.Error() != want || !s.Destroyed() {
					t.Errorf("Err is %v", err)
				}
			})
		}
	}
	for _, hook := range []func() error{fail, crash} { // on real sockets, because it takes two endpoints
		told := make(chan error, 2)
		s, err := NewSocket(SocketOptions{
			Endpoint: EndpointOptions{Address: "127.0.0.1"},
			Server:   ListenOptions{TLS: serverConfig()},
			Hooks: SocketHooks{
				EndpointClose: func(*Endpoint, error) error { return hook() },
				Error:         func(err error) { told <- err },
				Close:         func() { told <- nil },
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Destroy(nil)
		if _, err := s.AddEndpoint(EndpointOptions{Address: "127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(testContext(t), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Endpoints()[1].Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Closed():
		case <-time.After(20 * time.Second):
			t.Fatal("EndpointClose: the socket goes on")
		}
		if first, last := <-told, <-told; !errors.Is(first, boom) && first.Error() != "quic: hook panicked: boom" || last != nil {
			t.Errorf("EndpointClose: %v, then %v", first, last)
		}
		<-s.Closed()
	}
	covers(t, "X-016")
}

// A Stream hook that fails takes its stream down, any other hook its session.
func TestSessionHookErrors(t *testing.T) {
	boom := errors.New("boom")
	fail := func() error { return boom }
	crash := func() error { panic("boom") }
	for _, hook := range []func() error{fail, crash} {
		want := "boom"
		if call(hook) != boom {
			want = "quic: hook panicked: boom"
		}
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
			defer m.close()
			var given *Stream
			var j journal
			p := m.pair(ConnectOptions{Hooks: SessionHooks{Stream: func(st *Stream) error {
				if given != nil {
					return nil
				}
				given = st
				st.SetHooks(StreamHooks{Error: func(err error) { j.add("error %v", err) }, Close: func() { j.add("close") }})
				return hook()
			}}})
			st, err := p.server.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			var se *StreamError
			if _, err := st.Read(make([]byte, 1)); !errors.As(err, &se) || !se.Remote {
				t.Errorf("the peer of a destroyed stream reads %v", err)
			}
			j.want(t, "error "+want, "close")
			if p.client.Destroyed() || p.server.Destroyed() {
				t.Error("a Stream hook has taken its session down")
			}
			p.exchange(t)
			serverHookFails(t, hook, want)
		})
		for _, test := range []struct {
			name  string
			hooks SessionHooks
		}{
			{"KeyLog", SessionHooks{KeyLog: func([]byte) error { return hook() }}},
			{"Secure", SessionHooks{Secure: hook}},
			{"SessionTicket", SessionHooks{SessionTicket: func(_, _ []byte) error { return hook() }}},
			{"PathValidation", SessionHooks{PathValidation: func(bool, netip.AddrPort, netip.AddrPort) error { return hook() }}},
		} {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
				defer m.close()
				var j journal
				test.hooks.Error = func(err error) { j.add("error %v", err) }
				test.hooks.Close = func() { j.add("close") }
				c := m.connect(ConnectOptions{Hooks: test.hooks})
				if test.name == "PathValidation" {
					if err := c.Handshake(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
					next := m.socket(SocketOptions{})
					defer next.Destroy(nil)
					if err := c.SetSocket(t.Context(), next, false); err != nil {
						t.Fatal(err)
					}
				}
				<-c.Closed()
				j.want(t, "error "+want, "close")
				if err := c.Err(); err == nil || err.Error() != want || m.client.Destroyed() {
					t.Errorf("%s: Err is %v", test.name, err)
				}
			})
		}
	}
	covers(t, "X-017")
}

// noSession fails if there is a server's session without Listen, for what is no client's first
// packet, or before the Retry that is asked for was answered.
func noSession(t *testing.T, m *memNet) {
	t.Helper()
	deaf := m.socket(SocketOptions{})
	defer deaf.Destroy(nil)
	mustBind(t, deaf.Endpoints()[0])
	careful := m.socket(SocketOptions{ValidateAddress: true})
	defer careful.Destroy(nil)
	lo := ListenOptions{TLS: serverConfig(), Handler: func(*ServerSession) error {
		t.Error("a Handler is called although nobody has answered the Retry")
		return nil
	}}
	if err := careful.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	from := m.raw("10.0.1.8:8")
	defer from.conn.Close()
	first := someInitial(wire.MakeConnectionID([]byte("a server")), nil)
	from.ask(deaf.Address(), first)
	from.ask(careful.Address(), first)
	from.ask(m.server.Address(), first[:len(first)-1])
	from.ask(m.server.Address(), make([]byte, len(first)))
	time.Sleep(time.Second)
	if st := careful.Stats(); st.RetryCount != 1 {
		t.Errorf("%d times a Retry", st.RetryCount)
	}
	for _, s := range []*Socket{deaf, careful, m.server} {
		if n := s.Stats().ServerSessions; n != 0 {
			t.Errorf("%v has %d sessions", s.Address(), n)
		}
	}
}
