package http3

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// halfType opens a unidirectional stream of which nobody can say what it is, and leaves it so.
func halfType(t testing.TB, s *Session) (id int64) {
	t.Helper()
	st, err := s.q.TryOpenStream(quic.StreamOptions{HalfOpen: true})
	if err != nil {
		t.Error(err)
		return -1
	}
	if _, err := st.TryWrite([]byte{0x40}); err != nil {
		t.Error(err)
	}
	return st.ID()
}

// holds makes a server of raw streams keep its sessions alive.
func holds(o *quic.ListenOptions) { o.KeepAlive = time.Second }

// onlyConn returns the one session that a Transport has.
func onlyConn(t testing.TB, tr *Transport) *clientConn {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.all) != 1 {
		t.Fatalf("%d sessions", len(tr.all))
	}
	for c := range tr.all {
		return c
	}
	return nil
}

// hasStream reports whether a session has a stream.
func hasStream(s *Session, id int64) bool {
	for _, q := range s.q.Streams() {
		if q.ID() == id {
			return true
		}
	}
	return false
}

// Close ends the sessions, too, that were to end in peace and that their server holds, and with them the sockets that
// were let go.
func TestTransportCloseReachesHeldSessions(t *testing.T) {
	held := make(chan int64, 1)
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		held <- halfType(t, st.s)
		answer(st, "200", "x")
	}, holds)
	fetch(t, tr, newRequest(t, "GET", s.url, nil))
	c, id := onlyConn(t, tr), <-held
	eventually(t, func() bool { return hasStream(c.s, id) })
	tr.mu.Lock()
	socket := tr.sockets[0]
	tr.mu.Unlock()
	tr.CloseIdleConnections()
	if !c.s.q.Closing() || c.s.Err() != nil {
		t.Fatalf("the session is not held: %v", c.s.Err())
	}
	tr.mu.Lock()
	if tr.sockets[0] != nil {
		t.Error("a Transport without requests keeps its socket")
	}
	tr.mu.Unlock()
	must(t, tr.Close())
	if c.s.Err() == nil {
		t.Error("Close has left a session")
	}
	select {
	case <-socket.Closed():
	case <-testContext(t).Done():
		t.Error("Close has left a socket")
	}
}

// newMemRaw is newRawServer on an in-memory network.
func newMemRaw(t testing.TB, handle func(st *Stream)) (*rawServer, *Transport) {
	t.Helper()
	m := &memNet{t, udp.NewNetwork(udp.NetworkOptions{})}
	s := &rawServer{url: "https://" + memServer.String()}
	socket, err := quic.NewSocket(m.at(memServer))
	must(t, err)
	must(t, socket.Listen(t.Context(), quic.ListenOptions{
		ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, KeepAlive: time.Second,
		Handler: func(q *quic.ServerSession) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			h3, err := newSession(&q.Session, Options{}, func(st *Stream) { go handle(st) })
			s.sessions = append(s.sessions, h3)
			return err
		},
	}))
	own, err := quic.NewSocket(m.at(memClient))
	must(t, err)
	tr := &Transport{TLSClientConfig: clientTLS(), QUIC: quic.ConnectOptions{ServerName: "localhost"}, Socket: own}
	t.Cleanup(func() {
		_ = tr.Close()
		own.Destroy(nil)
		socket.Destroy(nil)
	})
	return s, tr
}

// A server that leaves a stream half open and keeps the session alive cannot hold a session of which the Transport has
// let go, however that came: it ends after a while.
func TestTransportClosePatience(t *testing.T) {
	patience := time.Duration(limits.Bound(t, "http3-close-patience"))
	for _, c := range []struct {
		name  string
		ask   func(*http.Request)
		begin func(*Transport, *Session) // of the end
		wait  time.Duration              // until then
	}{
		{"idle connections", nil, func(tr *Transport, _ *Session) { tr.CloseIdleConnections() }, 0},
		{"goaway", nil, func(_ *Transport, server *Session) { server.GoAway() }, 0},
		{"request closes", func(r *http.Request) { r.Close = true }, nil, 0},
		{"idle timeout", nil, nil, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, tr := newMemRaw(t, func(st *Stream) {
					halfType(t, st.s)
					answer(st, "200", "x")
				})
				tr.IdleConnTimeout = c.wait
				r := newRequest(t, "GET", s.url, nil)
				if c.ask != nil {
					c.ask(r)
				}
				resp, err := tr.RoundTrip(r)
				must(t, err)
				conn := onlyConn(t, tr)
				_, err = io.Copy(io.Discard, resp.Body)
				must(t, err)
				start := time.Now()
				if c.begin != nil {
					c.begin(tr, s.session(0))
				}
				select {
				case <-s.session(0).q.Closed():
				case <-time.After(time.Hour):
					t.Fatal("the server still has the session after an hour")
				}
				after(t, start, c.wait+patience)
				synctest.Wait()
				if err := s.session(0).Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
					t.Errorf("the session ends with %v", err)
				}
				if n := conn.s.Stats().LimitErrors; n != 1 {
					t.Errorf("%d errors are counted", n)
				}
				tr.mu.Lock()
				defer tr.mu.Unlock()
				if len(tr.all) != 0 {
					t.Errorf("%d sessions are left", len(tr.all))
				}
			})
		})
	}
}

// A tunnel that only the program writes into any more is not cut off, although its session takes no request: it ends
// with the tunnel.
func TestTransportClosesBehindTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := make(chan string, 1)
		s, tr := newMemRaw(t, func(st *Stream) {
			answer(st, "200", "")
			b, _ := io.ReadAll(st)
			heard <- string(b)
		})
		r := newRequest(t, "CONNECT", s.url, nil)
		r.Host = "example.com:80"
		resp, err := tr.RoundTrip(r)
		must(t, err)
		st, ok := StreamOfResponse(resp)
		if !ok {
			t.Fatal("no stream")
		}
		if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		tr.CloseIdleConnections()
		for range 30 {
			time.Sleep(time.Second)
			write(t, st, "x")
		}
		must(t, st.CloseWrite())
		if got := <-heard; len(got) != 30 {
			t.Errorf("%d bytes have come", len(got))
		}
		start := time.Now()
		<-s.session(0).q.Closed()
		after(t, start, 0)
		must(t, resp.Body.Close())
	})
}
