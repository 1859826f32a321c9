package http3

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// rawServer is a server whose streams a test answers by itself.
type rawServer struct {
	url    string
	socket *quic.Socket

	mu       sync.Mutex
	sessions []*Session
}

// newRawServer starts one on loopback. handle is called with each request stream, on a
// goroutine of its own.
func newRawServer(t testing.TB, o Options, handle func(st *Stream), tune ...func(*quic.ListenOptions)) (*rawServer, *Transport) {
	t.Helper()
	s := new(rawServer)
	listen := quic.ListenOptions{
		ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16,
		Handler: func(q *quic.ServerSession) error {
			s.mu.Lock() // its streams may come before it is in the list
			defer s.mu.Unlock()
			h3, err := newSession(&q.Session, o, func(st *Stream) { go handle(st) })
			s.sessions = append(s.sessions, h3)
			return err
		},
	}
	for _, f := range tune {
		f(&listen)
	}
	socket, err := quic.Listen(testContext(t), "127.0.0.1:0", listen)
	if err != nil {
		t.Fatal(err)
	}
	tr := &Transport{TLSClientConfig: clientTLS()}
	t.Cleanup(func() {
		_ = tr.Close()
		socket.Destroy(nil)
	})
	s.socket, s.url = socket, "https://"+socket.Address().String()
	return s, tr
}

// count returns how many sessions there have been.
func (s *rawServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// session returns one of them, in the order in which they have come.
func (s *rawServer) session(i int) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[i]
}

// answer sends a whole response.
func answer(st *Stream, status, body string, fields ...Field) {
	_, _ = st.Headers()
	h := append(Headers{{Name: ":status", Value: status}}, fields...)
	_ = st.SubmitInitialHeaders(h, HeaderOptions{})
	if body != "" {
		_, _ = io.WriteString(st, body)
	}
	_ = st.CloseWrite()
}

// watchedBody is a request body that tells when it is read and closed.
type watchedBody struct {
	io.Reader
	closed chan struct{}
	once   sync.Once
	read   chan struct{}
	first  sync.Once
}

func newBody(r io.Reader) *watchedBody {
	return &watchedBody{Reader: r, closed: make(chan struct{}), read: make(chan struct{})}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.first.Do(func() { close(b.read) })
	return b.Reader.Read(p)
}

func (b *watchedBody) Close() error {
	b.once.Do(func() {
		close(b.closed)
		if c, ok := b.Reader.(io.Closer); ok {
			_ = c.Close()
		}
	})
	return nil
}

func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fetch makes a request and returns the response with its body.
func fetch(t testing.TB, rt http.RoundTripper, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %v: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body of %s %v: %v", r.Method, r.URL, err)
	}
	return resp, string(body)
}

// closeRested closes the sessions of a Transport when their requests are over. A request whose
// response has been read may still have a body of its own on the way.
func closeRested(t testing.TB, tr *Transport) {
	t.Helper()
	eventually(t, func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for c := range tr.all {
			if c.active > 0 {
				return false
			}
		}
		return true
	})
	tr.CloseIdleConnections()
}

func wantError(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}
