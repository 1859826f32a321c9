package http3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// A server that is restarted with its secrets, as the users of a Transport see it: a request on the
// old session is sent again if that can do no harm, on a new session, which is resumed without a Retry, and
// early data is taken. What could be processed twice fails, and says why.
func TestRestart(t *testing.T) {
	register := quic.NewReplayRegister(0)
	cache := &tickets{tls.NewLRUClientSessionCache(4), make(chan struct{}, 1)}
	type sessionKey struct{}
	serve := func(port int) (*Server, *quic.Socket) {
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			session := r.Context().Value(sessionKey{}).(*quic.ServerSession)
			_ = session.Handshake(r.Context())
			fmt.Fprint(w, session.ConnectionState().DidResume, " ", session.EarlyDataAccepted())
		})
		s.ConnContext = func(ctx context.Context, q *quic.ServerSession) context.Context {
			return context.WithValue(ctx, sessionKey{}, q)
		}
		s.TLSConfig = serverTLS()
		s.QUIC.TicketKeys, s.QUIC.ReplayRegister = [][32]byte{{7}}, register
		socket, err := quic.NewSocket(quic.SocketOptions{
			Endpoint:             quic.EndpointOptions{Address: "127.0.0.1", Port: port},
			StatelessResetSecret: []byte("reset secret of "), TokenSecret: bytes.Repeat([]byte("token"), 7)[:32],
			ValidateAddress: true, MaxStatelessResetsPerHost: 1000,
		})
		must(t, err)
		go func() { _ = s.Serve(socket) }()
		eventually(t, socket.Listening)
		t.Cleanup(func() { _ = s.Close() })
		return s, socket
	}
	s, socket := serve(0)
	port := int(socket.Address().Port())
	restart := func() { // without a word to the clients
		must(t, socket.SetDiagnosticPacketLoss(quic.DiagnosticPacketLoss{TX: 1}))
		_ = s.Close()
		<-socket.Closed()
		s, socket = serve(port)
	}
	tr := &Transport{TLSClientConfig: clientTLS()}
	tr.TLSClientConfig.ClientSessionCache = cache
	defer tr.Close()
	url := fmt.Sprintf("https://localhost:%d/", port)
	tr.QUIC.TokenStore = quic.NewTokenStore(0) // which outlives the sockets that sessions have
	get := func(what, want string) {
		t.Helper()
		if _, body := fetch(t, tr, newRequest(t, "GET", url, nil)); body != want {
			t.Errorf("%s: resumed and early: %s, want %s", what, body, want)
		}
		<-cache.came
	}
	get("first", "false false")
	restart()
	if _, body := fetch(t, tr, newRequest(t, "GET", url, nil)); !strings.HasPrefix(body, "true ") {
		t.Errorf("after a restart: resumed and early: %s", body)
	}
	<-cache.came
	if st := socket.Stats(); st.StatelessResetCount == 0 || st.RetryCount != 0 || st.ServerSessions != 1 {
		t.Errorf("after a restart: %+v", st)
	}
	restart()
	tr.CloseIdleConnections() // so that the next session is begun with the request, and not after it
	get("a new session after a restart", "true true")
	if st := socket.Stats(); st.RetryCount != 0 || st.ServerSessions != 1 {
		t.Errorf("a new session after a restart: %+v", st)
	}
	restart()
	switch resp, err := tr.RoundTrip(newRequest(t, "POST", url, strings.NewReader("once"))); {
	case err == nil: // an acknowledgement that was late has found out before, and the request has a new session
		resp.Body.Close()
		if st := socket.Stats(); st.StatelessResetCount != 1 || st.ServerSessions != 1 {
			t.Errorf("a POST behind a reset: %+v", st)
		}
	case !errors.As(err, new(*quic.StatelessResetError)):
		t.Errorf("a POST on a session that is reset: %v", err)
	}
}

// A handler that panics ends its request, is written to the error log, and costs its session
// neither itself nor credit for streams.
func TestHandlerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/late":
				write(t, w, "half")
				w.(http.Flusher).Flush()
				panic("a late bug")
			case "/bug":
				panic("a bug")
			}
			fmt.Fprint(w, "well")
		})
		s.ErrorLog = log.New(&said, "", 0)
		m := newMemNet(t, s)
		c := m.dial(Options{}, quic.ConnectOptions{})
		other := m.dialFrom("10.0.0.3:1000", Options{}, quic.ConnectOptions{})
		const times = 150 // more than there may be streams at a time
		for i := range times {
			st := c.request(requestBlock("GET", []string{"/bug", "/late"}[i%2]), StreamHooks{})
			_, err := st.Headers()
			if err == nil { // the reset has not overtaken it
				_, err = io.Copy(io.Discard, st)
			}
			if !isCut(err, InternalError) {
				t.Fatalf("time %d: %v", i, err)
			}
		}
		for _, c := range []*raw{c, other} {
			if _, body := c.ask(requestBlock("GET", "/")); body != "well" {
				t.Errorf("%q", body)
			}
		}
		synctest.Wait()
		if n := strings.Count(said.String(), "a bug") + strings.Count(said.String(), "a late bug"); n != times {
			t.Errorf("the log tells of %d panics, want %d", n, times)
		}
	})
}

// A handler that blocks for ten seconds holds up its own request; others of its session and of
// other sessions are served meanwhile.
func TestHandlerBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, handler(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(10 * time.Second)
			}
			fmt.Fprint(w, r.URL.Path)
		}))
		c := m.dial(Options{}, quic.ConnectOptions{})
		start := time.Now()
		slow := c.request(requestBlock("GET", "/slow"), StreamHooks{})
		synctest.Wait()
		for _, c := range []*raw{c, m.dialFrom("10.0.0.3:1000", Options{}, quic.ConnectOptions{})} {
			for range 150 {
				if _, body := c.ask(requestBlock("GET", "/quick")); body != "/quick" {
					t.Errorf("%q", body)
				}
			}
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the others were served after %v", d)
		}
		if _, body := response(t, slow); body != "/slow" {
			t.Errorf("%q", body)
		}
		after(t, start, 10*time.Second)
	})
}

// Requests whose handlers do not return are as many as streams may be open, and end with their
// session; a ResponseWriter that a handler leaks is dead when the handler has returned.
func TestHandlerLeaksStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 20
		returned, late := make(chan error, 2*most), make(chan error, 1)
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/stuck": // it neither reads nor answers
				<-r.Context().Done()
				returned <- context.Cause(r.Context())
			case "/leak":
				go func() {
					time.Sleep(time.Second)
					_, err := w.Write([]byte("late"))
					late <- err
				}()
			}
		})
		s.QUIC.MaxStreamsBidi = most
		m := newMemNet(t, s)
		c := m.dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		other := m.dialFrom("10.0.0.3:1000", Options{}, quic.ConnectOptions{})
		if _, body := other.ask(requestBlock("GET", "/leak")); body != "" {
			t.Errorf("%q", body)
		}
		if err := <-late; err == nil {
			t.Error("a handler that has returned can write")
		}
		var stuck []*Stream
		for range most {
			stuck = append(stuck, c.open(requestBlock("POST", "/stuck"), StreamHooks{}))
		}
		time.Sleep(time.Second) // all have come: the bodies would take the credit of requests behind them
		for _, st := range stuck {
			go io.Copy(st, zeros{})
		}
		time.Sleep(time.Second)
		if st, err := c.TryOpenStream(StreamOptions{}); err == nil {
			t.Errorf("stream %d is one too many", st.ID())
		}
		if n := len(returned); n != 0 {
			t.Errorf("%d handlers have returned", n)
		}
		if _, body := other.ask(requestBlock("GET", "/")); body != "" {
			t.Errorf("%q", body)
		}
		c.QUIC().Destroy(nil)
		for range most {
			if err := <-returned; err == nil {
				t.Error("the context of a handler ends without a cause")
			}
		}
		for _, st := range stuck {
			if _, err := st.Headers(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a request that was never answered: %v", err)
			}
		}
		if _, body := other.ask(requestBlock("GET", "/")); body != "" {
			t.Errorf("%q", body)
		}
	})
}

// Streams that a program leaks which uses sessions itself are bounded and end likewise.
func TestSessionLeaksStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 20
		n := udp.NewNetwork(udp.NetworkOptions{})
		m := &memNet{t, n}
		socket, err := quic.NewSocket(m.at(memServer))
		must(t, err)
		defer socket.Destroy(nil)
		leaked := make(chan *Stream, 2*most)
		ended := make(chan error)
		must(t, socket.Listen(t.Context(), quic.ListenOptions{
			ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, MaxStreamsBidi: most,
			Handler: func(q *quic.ServerSession) error {
				s, err := NewSession(&q.Session, Options{})
				if err != nil {
					return err
				}
				go func() {
					for {
						st, err := s.AcceptStream(context.Background())
						if err != nil {
							ended <- err
							return
						}
						leaked <- st
					}
				}()
				return nil
			},
		}))
		c := m.dial(Options{}, quic.ConnectOptions{})
		for range most {
			st := c.open(requestBlock("POST", "/"), StreamHooks{})
			go io.Copy(st, zeros{})
		}
		time.Sleep(time.Second)
		if _, err := c.TryOpenStream(StreamOptions{}); err == nil || len(leaked) != most {
			t.Errorf("%d streams have come, and there may be more: %v", len(leaked), err)
		}
		c.QUIC().Destroy(nil)
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("AcceptStream ends with %v", err)
		}
		close(leaked)
		for st := range leaked {
			if _, err := io.Copy(io.Discard, st); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a leaked stream ends with %v", err)
			}
		}
	})
}
