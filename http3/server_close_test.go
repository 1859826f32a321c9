package http3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Shutdown lets requests that have come be answered, rejects others so that they can be made
// elsewhere, and ends idle sessions at once (RFC 9114 §4.1.1).
func TestServerShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			<-free
			_, _ = io.WriteString(w, "hello")
		})
		told := make(chan struct{})
		s.RegisterOnShutdown(func() { close(told) })
		m := newMemNet(t, s)
		goAway := make(chan int64, 1)
		c := m.dial(Options{Hooks: SessionHooks{GoAway: func(id int64) error { goAway <- id; return nil }}}, quic.ConnectOptions{KeepAlive: time.Second})
		idle := m.dialFrom("10.0.0.3:1000", Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		st := c.request(requestBlock("GET", "/"), StreamHooks{})
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("Shutdown with a request under way: %v", err)
		}
		<-told
		if err := idle.Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
			t.Errorf("the idle session: %v", err)
		}
		if id := <-goAway; id != 4 {
			t.Errorf("GOAWAY %d, want 4", id)
		}
		if _, err := c.OpenStream(t.Context(), StreamOptions{}); !errors.Is(err, errGoAway) {
			t.Errorf("OpenStream: %v", err)
		}
		q, err := c.QUIC().OpenStream(t.Context(), quic.StreamOptions{}) // as one that has crossed the GOAWAY
		must(t, err)
		_, err = q.End([]byte{1, 0})
		must(t, err)
		_, err = q.Read(make([]byte, 1))
		if !errors.Is(wrap(err), &Error{ErrorCode: RequestRejected, Remote: true}) {
			t.Errorf("a late request: %v", err)
		}
		other, err := quic.NewSocket(loopback)
		must(t, err)
		if err := s.Serve(other); err != http.ErrServerClosed || !other.Destroyed() {
			t.Errorf("Serve behind Shutdown: %v, the socket is destroyed: %v", err, other.Destroyed())
		}

		wait := make(chan error, 1)
		go func() { wait <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		close(free)
		if _, body := response(t, st); body != "hello" {
			t.Errorf("%q", body)
		}
		if err := <-wait; err != nil {
			t.Errorf("Shutdown again: %v", err)
		}
		<-c.QUIC().Closed()
		if err := c.Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
			t.Errorf("the session: %v", err)
		}
		if err := errors.Join(s.Shutdown(t.Context()), s.Close()); err != nil {
			t.Errorf("a third time, and Close: %v", err)
		}
	})
}

// Close cuts everything off.
func TestServerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			ended <- r.Context().Err()
		})
		s.RegisterOnShutdown(func() { t.Error("Close is no Shutdown") })
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{})
		st := c.open(requestBlock("GET", "/"), StreamHooks{})
		synctest.Wait()
		must(t, s.Close())
		if err := <-ended; err != context.Canceled {
			t.Errorf("the handler: %v", err)
		}
		if _, err := st.Headers(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the client: %v", err)
		}
		if err := c.Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
			t.Errorf("the session: %v", err)
		}
		if s.Address().IsValid() || s.AltSvc() != "" {
			t.Errorf("it listens at %v", s.Address())
		}
	})
}

// A server forgets sessions that have ended.
func TestServerForgetsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handler(func(w http.ResponseWriter, r *http.Request) {})
		m := newMemNet(t, s)
		count := func() int {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.sessions)
		}
		for range 3 {
			c := m.dial(Options{}, quic.ConnectOptions{})
			c.ask(requestBlock("GET", "/"))
			if n := count(); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			c.QUIC().Socket().Destroy(nil)
			if n := count(); n != 0 {
				t.Errorf("%d sessions, want 0", n)
			}
		}
	})
}

// "Connection: close" ends the session behind the response, and lets others end (RFC 9114 §4.2).
func TestServerConnectionClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-free
			} else {
				w.Header().Set("Connection", "close")
			}
			_, _ = io.WriteString(w, "hello")
		})
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{KeepAlive: time.Second})
		slow := c.request(requestBlock("GET", "/slow"), StreamHooks{})
		h, body := c.ask(requestBlock("GET", "/"))
		if body != "hello" || h.Get("connection") != "" {
			t.Errorf("%v %q", h, body)
		}
		synctest.Wait()
		if !c.leaving() || c.Err() != nil {
			t.Errorf("leaving: %v, %v", c.leaving(), c.Err())
		}
		close(free)
		if _, body := response(t, slow); body != "hello" {
			t.Errorf("%q", body)
		}
		<-c.QUIC().Closed()
		if err := c.Err(); !errors.Is(err, &Error{ErrorCode: NoError, Remote: true, Session: true}) {
			t.Errorf("the session: %v", err)
		}
	})
}

// A socket that is gone ends Serve, and so do options that cannot be.
func TestServeErrors(t *testing.T) {
	s := &Server{Handler: http.NotFoundHandler(), TLSConfig: serverTLS()}
	socket, err := quic.NewSocket(loopback)
	must(t, err)
	done := make(chan error)
	go func() { done <- s.Serve(socket) }()
	for !s.Address().IsValid() {
		runtime.Gosched()
	}
	lost := errors.New("lost")
	socket.Destroy(lost)
	if err := <-done; !errors.Is(err, lost) {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Serve(socket); err == nil || err == http.ErrServerClosed {
		t.Errorf("Serve of a socket that is over: %v", err)
	}
	for name, s := range map[string]*Server{
		"no certificate": {},
		"options":        {TLSConfig: serverTLS(), Options: Options{MaxHeaderPairs: -2}},
		"context":        {TLSConfig: serverTLS(), BaseContext: func(*quic.Socket) context.Context { return nil }},
	} {
		socket, err := quic.NewSocket(loopback)
		must(t, err)
		if err := s.Serve(socket); err == nil || err == http.ErrServerClosed {
			t.Errorf("%s: %v", name, err)
		}
		if !socket.Destroyed() {
			t.Errorf("%s: the socket is left", name)
		}
	}
}

// ListenAndServe takes both families, and tells other servers' clients where.
func TestListenAndServe(t *testing.T) {
	dir := t.TempDir()
	cert, _ := identity()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	must(t, err)
	must(t, os.WriteFile(dir+"/cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600))
	must(t, os.WriteFile(dir+"/key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))

	s := &Server{Addr: ":0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })}
	var fields []string
	front := s.Advertise(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	ask := func(major int) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.ProtoMajor = major
		front.ServeHTTP(w, r)
		fields = append(fields, w.Header().Get("Alt-Svc"))
	}
	ask(2)
	done := make(chan error)
	go func() { done <- s.ListenAndServeTLS(dir+"/cert.pem", dir+"/key.pem") }()
	for !s.Address().IsValid() {
		runtime.Gosched()
	}
	port := s.Address().Port()
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(host), port)
		if _, body := dialRaw(t, addr, Options{}, quic.ConnectOptions{}).ask(requestBlock("GET", "/")); body != "hello" {
			t.Errorf("%s: %q", host, body)
		}
	}
	ask(2)
	ask(3)
	want := `h3=":` + strings.TrimPrefix(netip.AddrPortFrom(netip.IPv4Unspecified(), port).String(), "0.0.0.0:") + `"; ma=2592000`
	if fields[0] != "" || fields[1] != want || fields[2] != "" || s.AltSvc() != want {
		t.Errorf("Alt-Svc %q, want %q", fields, want)
	}
	must(t, s.Shutdown(testContext(t)))
	if err := <-done; err != http.ErrServerClosed {
		t.Errorf("ListenAndServeTLS: %v", err)
	}
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		t.Errorf("ListenAndServe again: %v", err)
	}
	if err := new(Server).ListenAndServeTLS(dir+"/none.pem", dir+"/key.pem"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a certificate: %v", err)
	}
	taken := &Server{Addr: "127.0.0.1:99999", TLSConfig: &tls.Config{}}
	if err := taken.ListenAndServe(); err == nil || !strings.Contains(err.Error(), "127.0.0.1:99999") {
		t.Errorf("an address that cannot be: %v", err)
	}
}

// Nothing is served where there is nothing to serve on: not a port that nobody has named.
func TestServeNothing(t *testing.T) {
	s := &Server{TLSConfig: serverTLS()}
	bare := &Server{Addr: "127.0.0.1:0"}
	for option, err := range map[string]error{"ServePacketConn.c": s.ServePacketConn(nil), "Serve.socket": s.Serve(nil), "Server.TLSConfig": bare.ListenAndServe()} {
		var wrong *quic.OptionError
		if !errors.As(err, &wrong) || wrong.Option != option || s.Address().IsValid() {
			t.Errorf("%s is nil: %v, the server is at %v", option, err, s.Address())
		}
	}
}

// Any net.PacketConn will do, and is closed in the end.
func TestServePacketConn(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	s := &Server{TLSConfig: serverTLS(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })}
	done := make(chan error)
	go func() { done <- s.ServePacketConn(conn) }()
	c := dialRaw(t, conn.LocalAddr().(*net.UDPAddr).AddrPort(), Options{}, quic.ConnectOptions{})
	if _, body := c.ask(requestBlock("GET", "/")); body != c.QUIC().LocalAddr().String() {
		t.Errorf("RemoteAddr %q, want %v", body, c.QUIC().LocalAddr())
	}
	must(t, s.Shutdown(testContext(t)))
	if err := <-done; err != http.ErrServerClosed {
		t.Errorf("ServePacketConn: %v", err)
	}
	if _, _, err := conn.ReadFrom(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the conn: %v", err)
	}
}

// Contexts come from the socket and the session, and a session can be refused.
func TestServerContexts(t *testing.T) {
	type key string
	var refuse atomic.Bool
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		_, _ = io.WriteString(w, ctx.Value(key("base")).(string)+ctx.Value(key("conn")).(string))
		if ctx.Value(http.ServerContextKey).(*Server).Handler == nil {
			t.Error("another server")
		}
	})
	s.BaseContext = func(socket *quic.Socket) context.Context {
		return context.WithValue(context.Background(), key("base"), "a")
	}
	s.ConnContext = func(ctx context.Context, q *quic.ServerSession) context.Context {
		if refuse.Load() {
			return nil
		}
		return context.WithValue(ctx, key("conn"), "b")
	}
	addr, _ := startServer(t, s, loopback)
	if _, body := dialRaw(t, addr, Options{}, quic.ConnectOptions{}).ask(requestBlock("GET", "/")); body != "ab" {
		t.Errorf("%q", body)
	}
	refuse.Store(true)
	q, err := quic.Dial(testContext(t), addr.String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS()})
	if err == nil {
		<-q.Closed()
		err = q.Err()
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("a session that is refused: %v", err)
	}
}

// RemoteAddr follows a client that moves.
func TestServerRemoteAddr(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }), Options{})
	c.ask(requestBlock("GET", "/"))
	socket, err := quic.NewSocket(loopback)
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	must(t, c.QUIC().Client().SetSocket(testContext(t), socket, false))
	for ctx := testContext(t); ctx.Err() == nil; { // the client moves when it has validated the path
		if _, body := c.ask(requestBlock("GET", "/")); body == socket.Address().String() {
			return
		}
	}
	t.Errorf("RemoteAddr does not become %v", socket.Address())
}
