package quic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// socketHooks tells a journal everything, with the state of the socket at the time.
func (j *journal) socket(s **Socket) SocketHooks {
	return SocketHooks{
		Ready:         func() error { j.add("ready, bound %v", (*s).Bound()); return nil },
		Listening:     func() error { j.add("listening %v", (*s).Listening()); return nil },
		Busy:          func(b bool) error { j.add("busy %v", b); return nil },
		EndpointClose: func(_ *Endpoint, err error) error { j.add("endpoint %v", err); return nil },
		Error:         func(err error) { j.add("error %v", err) },
		Close:         func() { j.add("close, destroyed %v, %d endpoints", (*s).Destroyed(), len((*s).Endpoints())) },
	}
}

// newToldNet returns a network with a server whose hooks tell the journal.
func newToldNet(t *testing.T, j *journal, lo ListenOptions) *memNet {
	t.Helper()
	m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
	m.server = m.socketAt(memServer, SocketOptions{Hooks: j.socket(&m.server)})
	m.client = m.socket(SocketOptions{})
	lo.TLS = serverConfig()
	if err := m.server.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	return m
}

// The hooks of a socket, in order and once each, whatever brings them about.
func TestSocketEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		var s *Socket
		s = m.socket(SocketOptions{Hooks: j.socket(&s), Server: ListenOptions{TLS: serverConfig()}})
		j.want(t)
		if err := s.Listen(t.Context(), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		j.want(t, "ready, bound true", "listening true")
		if _, err := s.Connect(t.Context(), m.options(ConnectOptions{})); err != nil {
			t.Fatal(err)
		}
		j.want(t)
		s.Destroy(nil)
		j.want(t, "endpoint <nil>", "close, destroyed true, 0 endpoints")
		s.Destroy(errors.New("too late"))
		if err := s.Close(); err == nil {
			t.Error("Close after the end succeeds")
		}
		j.want(t)
		covers(t, "SOC-005")

		// A connect makes ready too, and a listen that comes later only listens.
		s = m.socket(SocketOptions{Hooks: j.socket(&s), Server: ListenOptions{TLS: serverConfig()}})
		for range 2 {
			if _, err := s.Connect(t.Context(), m.options(ConnectOptions{})); err != nil {
				t.Fatal(err)
			}
		}
		j.want(t, "ready, bound true")
		covers(t, "SOC-012")
		if err := s.Listen(t.Context(), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		j.want(t, "listening true")
		boom := errors.New("boom")
		s.Destroy(boom)
		s.Destroy(errors.New("too late"))
		j.want(t, "endpoint boom", "error boom", "close, destroyed true, 0 endpoints")
		if s.Err() != boom {
			t.Errorf("Err is %v", s.Err())
		}
		covers(t, "SOC-010")
	})
}

// waitingSocket makes a socket whose binding waits for its resolver.
func waitingSocket(t *testing.T, h SocketHooks) (s *Socket, asked chan struct{}, answer chan error) {
	t.Helper()
	asked, answer = make(chan struct{}, 10), make(chan error, 10)
	s, err := NewSocket(SocketOptions{
		Endpoint: EndpointOptions{Address: "here.example"},
		Lookup: func(context.Context, string, int) (netip.Addr, error) {
			asked <- struct{}{}
			return netip.MustParseAddr("127.0.0.1"), <-answer
		},
		Server: ListenOptions{TLS: serverConfig()},
		Hooks:  h,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Destroy(nil) })
	return s, asked, answer
}

// Calls of Listen while one is at it share its result; after that there is none.
func TestListenPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // to see calls wait; the socket is a real one
		testListenPending(t, nil)
	})
	synctest.Test(t, func(t *testing.T) { testListenPending(t, errors.New("boom")) })
	covers(t, "SOC-045")
	covers(t, "SOC-046")
}

func testListenPending(t *testing.T, want error) {
	ready, listening, busy := make(chan bool, 10), make(chan bool, 10), make(chan bool, 10)
	s, asked, answer := waitingSocket(t, SocketHooks{
		Ready:     func() error { ready <- true; return nil },
		Listening: func() error { listening <- true; return nil },
		Busy:      func(bool) error { busy <- true; return nil },
	})
	defer s.Destroy(nil)
	results := make(chan error, 3)
	for range 3 {
		go func() { results <- s.Listen(t.Context(), ListenOptions{}) }()
	}
	synctest.Wait()
	if !s.Pending() || s.Listening() || s.Bound() || len(results) != 0 || len(asked) != 1 {
		t.Errorf("pending %v, listening %v, bound %v, %d lookups, %d results", s.Pending(), s.Listening(), s.Bound(), len(asked), len(results))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Listen(gone, ListenOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context is over waits: %v", err)
	}
	answer <- want
	for range 3 {
		if err := <-results; err != want {
			t.Errorf("Listen: %v, want %v", err, want)
		}
	}
	if len(asked) != 1 || s.Listening() != (want == nil) {
		t.Errorf("%d lookups, listening %v", len(asked), s.Listening())
	}
	if want != nil {
		return
	}
	<-ready
	<-listening
	_ = s.SetServerBusy(true) // a second telling would come before this one
	<-busy
	err := s.Listen(t.Context(), ListenOptions{})
	if !errors.Is(err, ErrInvalidState) || !s.Listening() {
		t.Errorf("Listen again: %v", err)
	}
	wantCode(t, err, CodeInvalidState)
	s.Destroy(nil)
	if len(ready) != 0 || len(listening) != 0 {
		t.Error("a hook is told twice")
	}
}

// Listening is told once of a Listen that succeeds, and not if the socket's end comes first.
func TestListenOvertaken(t *testing.T) {
	for _, end := range []func(*Socket){
		nil,
		func(s *Socket) { s.Destroy(nil) },
		func(s *Socket) { _ = s.Close() },
	} {
		told := make(chan string, 10)
		s, asked, answer := waitingSocket(t, SocketHooks{
			Ready:     func() error { told <- "ready"; return nil },
			Listening: func() error { told <- "listening"; return nil },
			Close:     func() { told <- "close" },
		})
		result := make(chan error, 1)
		go func() { result <- s.Listen(testContext(t), ListenOptions{}) }()
		came(t, asked)
		if end == nil {
			answer <- nil
			if err := <-result; err != nil {
				t.Errorf("Listen: %v", err)
			}
			s.Destroy(nil)
			if a, b, c := came(t, told), came(t, told), came(t, told); a != "ready" || b != "listening" || c != "close" || len(told) != 0 {
				t.Errorf("hooks say %s, %s, %s", a, b, c)
			}
			continue
		}
		end(s)
		answer <- nil
		if err := <-result; !errors.Is(err, ErrInvalidState) || s.Listening() || s.Bound() {
			t.Errorf("Listen: %v", err)
		}
		if first := came(t, told); first != "close" || len(told) != 0 {
			t.Errorf("the first hook is %s", first)
		}
	}
	covers(t, "SOC-011")
}

func TestListenRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
		var s *Socket
		s = m.socketAt(memServer, SocketOptions{Hooks: j.socket(&s)})
		m.server, m.client = s, m.socket(SocketOptions{})
		defer m.close()
		if s.Listening() {
			t.Error("a new socket listens")
		}
		for _, o := range []ListenOptions{{}, {TLS: serverConfig(), MaxData: -9}, {TLS: clientConfig()}} {
			if err := s.Listen(t.Context(), o); err == nil || s.Listening() || s.Bound() {
				t.Errorf("Listen with bad options: %v, listening %v, bound %v", err, s.Listening(), s.Bound())
			}
		}
		j.want(t)
		if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil || !s.Listening() || !s.Bound() {
			t.Fatalf("Listen: %v", err)
		}
		j.want(t, "ready, bound true", "listening true")
		p := m.pair(ConnectOptions{})
		p.exchange(t)
		if !m.client.Bound() || m.client.Listening() {
			t.Error("a socket that only connects listens")
		}
		covers(t, "SOC-044")
		by := m.socketAt(netip.MustParseAddrPort("10.0.0.77:7"), SocketOptions{Server: ListenOptions{TLS: serverConfig(), MaxStreamsUni: 7}})
		defer by.Destroy(nil)
		if err := by.Listen(t.Context(), ListenOptions{}); err != nil { // the options are the socket's
			t.Fatal(err)
		}
		c, err := m.client.Connect(t.Context(), ConnectOptions{Address: "10.0.0.77", Port: 7, TLS: clientConfig(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil || c.MaxStreams().Uni != 7 {
			t.Errorf("%v, %+v", err, c.MaxStreams())
		}
		covers(t, "SOC-044")
		st, _ := p.streams(t)
		if err := s.Close(); err != nil || s.Listening() || s.Destroyed() {
			t.Errorf("closing: %v, listening %v", err, s.Listening())
		}
		st.Destroy(nil)
		s.Destroy(nil)
		if s.Listening() {
			t.Error("a destroyed socket listens")
		}
		covers(t, "SOC-048")
	})
}

// Close asks every session for its graceful end.
func TestSocketCloseRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var client journal
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: None})
		s := m.server
		defer m.close()
		idle, busy := m.pair(ConnectOptions{IdleTimeout: None, Hooks: client.session("client")}), m.pair(ConnectOptions{IdleTimeout: None})
		out, err := s.Connect(t.Context(), ConnectOptions{Address: "10.0.0.2", Port: 1, TLS: clientConfig(), HandshakeTimeout: time.Hour, IdleTimeout: None})
		if err != nil {
			t.Fatal(err)
		}
		busy.streams(t)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !idle.server.Destroyed() || !idle.client.Destroyed() || !out.Destroyed() {
			t.Error("an idle session is still there")
		}
		if code := idle.client.CloseCode(); code != (CloseCode{0, CloseApplication, true}) {
			t.Errorf("the idle client sees %+v", code)
		}
		client.want(t, "client secure", "client close")
		if !busy.server.Closing() || busy.server.Destroyed() || s.Destroyed() {
			t.Error("a session with a stream does not wait for it")
		}
		covers(t, "SOC-033")
	})
}

// refusesAll checks that a socket which is closing or gone takes no calls.
func (m *memNet) refusesAll(s *Socket) {
	m.t.Helper()
	for what, err := range map[string]error{
		"Listen":  s.Listen(m.t.Context(), ListenOptions{TLS: serverConfig()}),
		"Connect": second(s.Connect(m.t.Context(), m.options(ConnectOptions{}))),
		"Accept":  second(s.Accept(m.t.Context())),
	} {
		if !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) {
			m.t.Errorf("%s: %v", what, err)
		}
		wantCode(m.t, err, CodeInvalidState)
	}
}

func second[T any](_ T, err error) error { return err }

// While a socket closes it takes nobody new, and its end comes when the last session's does.
func TestSocketClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newToldNet(t, &j, ListenOptions{IdleTimeout: None})
		s := m.server
		defer m.close()
		j.want(t, "ready, bound true", "listening true")
		busy := m.pair(ConnectOptions{IdleTimeout: None})
		theirs, ours := busy.streams(t)
		if s.Closing() {
			t.Error("closing before Close")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !s.Closing() || !s.Bound() {
			t.Errorf("closing %v, bound %v", s.Closing(), s.Bound())
		}
		covers(t, "X-014")
		m.refusesAll(s)
		late := m.connect(ConnectOptions{HandshakeTimeout: time.Second})
		if err := late.Handshake(t.Context()); err == nil || s.Stats().ServerSessions != 1 {
			t.Errorf("a closing socket takes a session: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		waits := make(chan error, 2)
		patience, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		for range 2 {
			go func() { waits <- s.Shutdown(patience) }()
		}
		time.Sleep(time.Hour)
		if len(waits) != 0 || s.Destroyed() {
			t.Error("the socket does not wait for its session")
		}
		if _, err := ours.End([]byte("bye")); err != nil {
			t.Error(err)
		}
		theirs.CloseWrite()
		if b, err := io.ReadAll(theirs); string(b) != "bye" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		_, _ = io.Copy(io.Discard, ours)
		for range 2 {
			if err := <-waits; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}
		j.want(t, "endpoint <nil>", "close, destroyed true, 0 endpoints")
		if err := busy.client.Err(); !errors.Is(err, &ApplicationError{Remote: true}) || s.Closing() || !s.Destroyed() {
			t.Errorf("the busy client sees %v", err)
		}
		covers(t, "SOC-031")
		m.refusesAll(s)
		covers(t, "SOC-034")
		for what, err := range map[string]error{"Close": s.Close(), "Shutdown": s.Shutdown(t.Context())} {
			if !errors.Is(err, ErrInvalidState) {
				t.Errorf("%s after the end: %v", what, err)
			}
			wantCode(t, err, CodeInvalidState)
		}
		covers(t, "SOC-035")
	})
}

// A socket that has nothing to wait for is gone at once.
func TestSocketCloseIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		unbound := m.socket(SocketOptions{})
		used := m.socket(SocketOptions{})
		c, err := used.Connect(t.Context(), m.options(ConnectOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Destroy(nil)
		synctest.Wait()
		start := time.Now()
		for range 2 { // Close does not wait, nor is there anything to wait for
			s := m.socket(SocketOptions{})
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if synctest.Wait(); !s.Destroyed() {
				t.Fatal("a socket without sessions is not destroyed by Close")
			}
		}
		for _, s := range []*Socket{unbound, used, m.server} {
			if err := s.Shutdown(t.Context()); err != nil || !s.Destroyed() || s.Bound() {
				t.Errorf("Shutdown: %v, destroyed %v", err, s.Destroyed())
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		covers(t, "SOC-032")
	})
}

func TestSocketDestroyRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		var j, ours, out journal
		m := newToldNet(t, &j, ListenOptions{Hooks: ours.session("server")})
		s := m.server
		defer m.close()
		if err := m.client.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		c, err := s.Connect(t.Context(), ConnectOptions{
			Address: "10.0.0.2", Port: int(m.client.Address().Port()), TLS: clientConfig(), ServerName: "localhost", Hooks: out.session("out"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.OpenStream(t.Context(), StreamOptions{}); err != nil { // or it would be over with Shutdown
			t.Fatal(err)
		}
		theirs, err := m.client.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := m.pair(ConnectOptions{IdleTimeout: time.Hour})
		st, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		ours.want(t, "server secure", "server stream 0")
		wait := make(chan error, 1)
		go func() { wait <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		j.want(t, "ready, bound true", "listening true")
		if s.Destroyed() || !s.Closing() {
			t.Errorf("while it closes: destroyed %v, closing %v", s.Destroyed(), s.Closing())
		}
		s.Destroy(boom)
		if !s.Destroyed() || s.Err() != boom {
			t.Errorf("destroyed %v, Err is %v", s.Destroyed(), s.Err())
		}
		covers(t, "SOC-041")
		s.Destroy(errors.New("later"))
		if err := <-wait; err != boom {
			t.Errorf("Shutdown: %v", err)
		}
		j.want(t, "endpoint boom", "error boom", "close, destroyed true, 0 endpoints")
		ours.want(t, "server error: boom", "server close")
		if p.server.Err() != boom || c.Err() != boom || !slices.Contains(out.lines, "out error: boom") {
			t.Errorf("the sessions end with %v and %v: %q", p.server.Err(), c.Err(), out.lines)
		}
		covers(t, "SOC-040")
		var te *TransportError
		if err := theirs.Err(); !errors.As(err, &te) || !te.Remote || te.ErrorCode == 0 {
			t.Errorf("the server of its client hears %v", err)
		}
		if err := p.client.Err(); !errors.As(err, &te) || !te.Remote || te.ErrorCode == 0 {
			t.Errorf("the peer hears %v", err)
		}
		if _, err := st.Write([]byte("x")); err == nil {
			t.Error("the peer's stream goes on")
		}
		if !slices.Contains(out.lines, "out close") || !c.Destroyed() {
			t.Errorf("the client's session: %q", out.lines)
		}
		destroyInPeace(t)
		covers(t, "SOC-039")
		destroyInSteps(t, m)
		covers(t, "SOC-041")
	})
}

// Durations run from what they are named for, and stop at the end.
func TestSocketDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
		other := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer other.close()
		s := m.socketAt(memServer, SocketOptions{Server: ListenOptions{TLS: serverConfig()}})
		want := func(all, bound, listening time.Duration) {
			t.Helper()
			st := s.Stats()
			if st.Duration != all || s.Duration() != all || st.BoundDuration != bound || st.ListenDuration != listening {
				t.Errorf("%v, %v, bound %v, listening %v", st.Duration, s.Duration(), st.BoundDuration, st.ListenDuration)
			}
		}
		want(0, 0, 0)
		time.Sleep(time.Second)
		want(time.Second, 0, 0)
		c, err := s.Connect(t.Context(), ConnectOptions{Port: 1, TLS: clientConfig()}) // binds
		if err != nil {
			t.Fatal(err)
		}
		defer c.Destroy(nil)
		time.Sleep(time.Second)
		want(2*time.Second, time.Second, 0)
		if err := s.Listen(t.Context(), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		want(5*time.Second, 4*time.Second, 3*time.Second)
		s.Destroy(nil)
		time.Sleep(time.Hour)
		want(5*time.Second, 4*time.Second, 3*time.Second)
		covers(t, "SOC-042")
		covers(t, "SOC-027")
		covers(t, "SOC-047")
	})
}

// A Listen whose context ends leaves the socket as it was: one that waits takes over, and
// a later one begins anew.
func TestListenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked, answer := waitingSocket(t, SocketHooks{})
		defer s.Destroy(nil)
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			results := make(chan error, 1)
			go func() { results <- s.Listen(ctx, ListenOptions{}) }()
			<-asked
			cancel()
			answer <- context.Canceled // what a resolver says then
			if err := <-results; !errors.Is(err, context.Canceled) || s.Destroyed() || s.Pending() {
				t.Fatalf("Listen: %v, destroyed %v", err, s.Destroyed())
			}
		}
		answer <- nil
		if err := s.Listen(t.Context(), ListenOptions{}); err != nil || !s.Listening() {
			t.Errorf("Listen at last: %v", err)
		}
	})
}
