package http3

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

func handler(f http.HandlerFunc) *Server { return &Server{Handler: f} }

// Of a scheme other than HTTP's an authority and a path can be anything, and an http.Request does not tell the scheme: a
// handler would take them for those of HTTP.
func TestServerSchemes(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, r.URL) }), Options{})
	ask := func(scheme, authority, path string) (Headers, error) {
		return c.request(Headers{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: scheme}, {Name: ":authority", Value: authority}, {Name: ":path", Value: path}}, StreamHooks{}).Headers()
	}
	for _, scheme := range []string{"https", "http", "HTTPS"} {
		if h, err := ask(scheme, "localhost", "/"); err != nil || h.Get(":status") != "200" {
			t.Errorf("%s: %v, %v", scheme, h, err)
		}
	}
	for _, path := range []string{"/", "http://internal.example/admin", "*", "/a b"} {
		if _, err := ask("x", "a/../@b c", path); !errors.Is(err, &Error{ErrorCode: MessageError, Remote: true}) {
			t.Errorf("path %q of another scheme: %v", path, err)
		}
	}
}

// Trailers, declared and not, both ways.
func TestServerTrailers(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "A, x-b")
		before := len(r.Trailer["X-T"])
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, before, string(body), err, r.Trailer)
		w.Header().Set("A", "1")
		w.Header()["X-B"] = []string{"2", "3"}
		w.Header().Set(http.TrailerPrefix+"x-c", "4")
		w.Header().Set(http.TrailerPrefix+"Content-Length", "4") // is none
		w.Header().Set("X-D", "no trailer")
	}), Options{})
	st := c.open(requestBlock("POST", "/", "trailer", "x-t, X-U"), StreamHooks{})
	write(t, st, "hello")
	must(t, st.SubmitTrailingHeaders(Headers{{Name: "x-t", Value: "5"}, {Name: "x-other", Value: "6"}}))
	h, body := response(t, st)
	if want := "0hello<nil> map[X-T:[5] X-U:[]]"; body != want {
		t.Errorf("%q, want %q", body, want)
	}
	wantField(t, h, Field{Name: "trailer", Value: "A, x-b"})
	got := st.Trailers()
	slices.SortFunc(got, func(a, b Field) int { return strings.Compare(a.Name+a.Value, b.Name+b.Value) })
	want := Headers{{Name: "a", Value: "1"}, {Name: "x-b", Value: "2"}, {Name: "x-b", Value: "3"}, {Name: "x-c", Value: "4"}}
	if !slices.Equal(got, want) {
		t.Errorf("trailers %v, want %v", got, want)
	}
}

// A client that expects 100 gets it when the handler reads, and not before.
func TestServerContinue(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			t.Error("the handler sees Expect")
		}
		switch r.URL.Path {
		case "/read":
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, string(body), err)
		case "/late":
			_ = http.NewResponseController(w).Flush()
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, string(body), err)
		case "/own":
			w.WriteHeader(http.StatusContinue)
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, string(body), err)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}), Options{})
	for _, test := range []struct {
		path, status, body string
		continues          int
	}{
		{"/read", "200", "hello<nil>", 1}, {"/late", "200", "hello<nil>", 0}, {"/own", "200", "hello<nil>", 1}, {"/no", "403", "", 0},
	} {
		infos := make(chan Headers, 10)
		st := c.open(requestBlock("POST", test.path, "expect", "100-Continue"), StreamHooks{InformationalHeaders: func(h Headers) error {
			infos <- h
			return nil
		}})
		if test.continues > 0 {
			wantStatus(t, <-infos, "100")
		}
		if test.status == "200" {
			write(t, st, "hello")
			must(t, st.CloseWrite())
		}
		h, body := response(t, st)
		wantStatus(t, h, test.status)
		if body != test.body || len(infos) != 0 {
			t.Errorf("%s: %q, %d more informational responses", test.path, body, len(infos))
		}
	}
}

// Informational responses have the fields of their time.
func TestServerEarlyHints(t *testing.T) {
	book := new(logBook)
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.WriteHeader(http.StatusProcessing)
		w.WriteHeader(http.StatusSwitchingProtocols)
		_, _ = io.WriteString(w, "ok")
	})
	s.ErrorLog = log.New(book, "", 0)
	infos := make(chan Headers, 10)
	st := newRaw(t, s, Options{}).request(requestBlock("GET", "/"), StreamHooks{InformationalHeaders: func(h Headers) error {
		infos <- h
		return nil
	}})
	h, body := response(t, st)
	wantStatus(t, h, "200")
	if body != "ok" || h.Get("link") != "" {
		t.Errorf("%v %q", h, body)
	}
	if got, want := <-infos, (Headers{{Name: ":status", Value: "103"}, {Name: "link", Value: "</a.css>"}}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := <-infos, (Headers{{Name: ":status", Value: "102"}}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	wantLog(t, book, "HTTP/3 has no status 101, WriteHeader was called from "+
		"github.com/cinnabar-quic/cinnabar/http3.TestServerEarlyHints.func1 (server_raw_test.go:")
}

// What is wrong in a handler is said in the log, with the place.
func TestServerLog(t *testing.T) {
	book := new(logBook)
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/twice":
			w.WriteHeader(200)
			w.WriteHeader(404)
		case "/length":
			w.Header().Set("Content-Length", "many")
			_, _ = io.WriteString(w, "hello")
		case "/short":
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "hello")
		case "/large":
			w.Header().Set("X-Large", strings.Repeat("x", 100_000))
		case "/panic":
			panic("on purpose")
		}
	})
	s.ErrorLog = log.New(book, "", 0)
	c := newRaw(t, s, Options{}).known()
	c.ask(requestBlock("GET", "/twice"))
	wantLog(t, book, "superfluous response.WriteHeader call from github.com/cinnabar-quic/cinnabar/http3.TestServerLog.func1 (server_raw_test.go:")
	h, _ := c.ask(requestBlock("GET", "/length"))
	wantField(t, h, Field{Name: "content-length", Value: "5"})
	wantLog(t, book, `handler of GET "/length" set an invalid Content-Length of "many"`)
	for path, words := range map[string]string{
		"/short": `handler of GET "/short" wrote a body of 5 bytes, and had declared 50`,
		"/large": `handler of GET "/large" has a response that cannot be sent: header block of `,
		"/panic": "panic serving 127.0.0.1:",
	} {
		st := c.open(requestBlock("GET", path), StreamHooks{})
		_, err := st.Headers()
		if !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
			t.Errorf("%s: %v", path, err)
		}
		book.wait(words)
	}
	book.wait(": on purpose\ngoroutine ")
}

// A client that takes no response writes one line into the log, with as much of its request as that needs: in a new
// session another.
func TestServerLogOfTooLargeResponses(t *testing.T) {
	book := new(logBook)
	s := handler(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Large", strings.Repeat("x", 1000)) })
	s.ErrorLog = log.New(book, "", 0)
	addr, _ := startServer(t, s, loopback)
	for n := range 2 {
		long := fmt.Sprintf("/a\"%d%s", n, strings.Repeat("x", 5000))
		c := dialRaw(t, addr, Options{MaxHeaderListSize: 500}, quic.ConnectOptions{}).known()
		for range 3 {
			if _, err := c.open(requestBlock(strings.Repeat("M", 5000), long), StreamHooks{}).Headers(); !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
				t.Errorf("error %v", err)
			}
		}
		book.wait(fmt.Sprintf(`"/a\"%d`, n))
		_ = c.CloseWithError(NoError, "")
		if got := book.String(); strings.Count(got, "\n") != n+1 || len(got) > 600*(n+1) {
			t.Errorf("the log of %d sessions has %d lines and %d bytes", n+1, strings.Count(got, "\n"), len(got))
		}
	}
}

// Fields and pseudo-header fields of all kinds of requests (RFC 9114 §4.3.1).
func TestServerRequests(t *testing.T) {
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s url=%v path=%s cookie=%q proto=%q length=%d", r.Method, r.RequestURI, r.Host, r.URL, r.URL.Path,
			r.Header["Cookie"], r.Header[":protocol"], r.ContentLength)
	})
	s.Options.ExtendedConnect = true
	c := newRaw(t, s, Options{}).known()
	for _, test := range []struct {
		h    Headers
		want string
	}{
		{requestBlock("GET", "//a/b?c"), "GET //a/b?c host=localhost url=//a/b?c path=//a/b cookie=[] proto=[] length=0"},
		{
			requestBlock("GET", "/", "cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3"),
			`GET / host=localhost url=/ path=/ cookie=["a=1; b=2; c=3"] proto=[] length=0`,
		},
		{
			Headers{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/"}, {Name: "host", Value: "a.example"}},
			"GET / host=a.example url=/ path=/ cookie=[] proto=[] length=0",
		},
		{
			Headers{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: "b.example:80"}},
			"CONNECT b.example:80 host=b.example:80 url=//b.example:80 path= cookie=[] proto=[] length=0",
		},
		{
			append(requestBlock("CONNECT", "/chat?x"), Field{Name: ":protocol", Value: "websocket"}),
			`CONNECT /chat?x host=localhost url=/chat?x path=/chat cookie=[] proto=["websocket"] length=0`,
		},
	} {
		if _, body := c.ask(test.h); body != test.want {
			t.Errorf("\n%s, want\n%s", body, test.want)
		}
	}
	st := c.open(requestBlock("GET", "/a%zz"), StreamHooks{})
	if _, err := st.Headers(); !errors.Is(err, &Error{ErrorCode: MessageError, Remote: true}) {
		t.Errorf("a path that cannot be: %v", err)
	}
}

// A request without a body has none, whatever Read would say.
func TestServerNoBody(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Body == http.NoBody, " ", r.ContentLength)
	}), Options{})
	st, err := c.OpenStream(testContext(t), StreamOptions{})
	must(t, err)
	must(t, st.SubmitInitialHeaders(requestBlock("POST", "/"), HeaderOptions{Terminal: true}))
	if _, body := response(t, st); body != "true 0" {
		t.Errorf("with the end: %q", body)
	}
	st = c.open(requestBlock("POST", "/", "content-length", "5"), StreamHooks{})
	if _, body := response(t, st); body != "false 5" {
		t.Errorf("with a body: %q", body)
	}
}

// Headers over a limit are answered, and the session goes on (ENEMIES H-01 in spirit).
func TestServerHeadersTooLarge(t *testing.T) {
	s := handler(func(w http.ResponseWriter, r *http.Request) {})
	s.MaxHeaderBytes = 1000
	c := newRaw(t, s, Options{}).limitless()
	past := func() (n uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for h := range s.sessions {
			n += h.Stats().LimitErrors
		}
		return n
	}
	large := requestBlock("GET", "/", "x-large", strings.Repeat("&", 8000))
	many := requestBlock("GET", "/")
	for range 1001 {
		many = append(many, Field{Name: "a", Value: "b"})
	}
	for i, h := range []Headers{large, many} {
		got, body := c.ask(h)
		wantStatus(t, got, "431")
		if body == "" {
			t.Error("no words")
		}
		if n := past(); n != uint64(i)+1 {
			t.Errorf("%d refused, %d are counted", i+1, n)
		}
	}
	h, _ := c.ask(requestBlock("GET", "/"))
	wantStatus(t, h, "200")
}

// A response's priority is merged into the request's (RFC 9218 §8).
func TestServerPriority(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("X-Answer"); v != "" {
			w.Header().Set("Priority", v)
		}
		st, ok := StreamOf(w)
		if !ok {
			t.Error("no stream")
			return
		}
		u, i := st.QUIC().Priority()
		fmt.Fprint(st, u, i)
	}), Options{})
	for _, test := range []struct{ request, response, want string }{
		{"", "", "3 false"}, {"u=5, i", "", "5 true"}, {"u=5, i", "u=1", "1 true"}, {"u=5, i", "i=?0", "5 false"}, {"u=5", "?", "5 false"},
	} {
		if _, body := c.ask(requestBlock("GET", "/", "priority", test.request, "x-answer", test.response)); body != test.want {
			t.Errorf("%q and %q: %s, want %s", test.request, test.response, body, test.want)
		}
	}
}

// A handler that goes on writing when it has returned gets errors, and harms nobody.
func TestServerLateWrites(t *testing.T) {
	writers := make(chan http.ResponseWriter, 1)
	over := make(chan (<-chan struct{}), 1)
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello")
		writers <- w
		over <- r.Context().Done()
	}), Options{})
	if _, body := c.ask(requestBlock("GET", "/")); body != "hello" {
		t.Fatalf("%q", body)
	}
	w := <-writers
	<-<-over
	if n, err := io.WriteString(w, "late"); n != 0 || err != errHandlerOver {
		t.Errorf("Write: %d, %v", n, err)
	}
	if err := http.NewResponseController(w).Flush(); err != errHandlerOver {
		t.Errorf("Flush: %v", err)
	}
	if err := w.(http.Pusher).Push("/", nil); err == nil {
		t.Error("Push succeeds")
	}
	if _, ok := StreamOf(w); ok {
		t.Error("StreamOf succeeds")
	}
	w.WriteHeader(500)
	w.Header().Set("X", "y")
}

// A file that shrinks while it is sent must not look whole.
func TestServerShrinkingFile(t *testing.T) {
	errs := make(chan error, 1)
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		_, err := w.(*responseWriter).sendFile(strings.NewReader("short"), 100_000)
		errs <- err
	})
	st := newRaw(t, s, Options{}).request(requestBlock("GET", "/"), StreamHooks{})
	if err := <-errs; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("sendFile: %v", err)
	}
	_, err := st.Headers()
	if err == nil {
		_, err = io.Copy(io.Discard, st)
	}
	if !errors.Is(err, &Error{ErrorCode: InternalError, Remote: true}) {
		t.Errorf("the client reads %v", err)
	}
}

// The reader of a pipe, or of another thing without a length, is copied.
func TestServerReadFrom(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		pr, pw, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return
		}
		defer pr.Close()
		go func() {
			_, _ = io.WriteString(pw, strings.Repeat("x", 10_000))
			_ = pw.Close()
		}()
		if n, err := w.(io.ReaderFrom).ReadFrom(pr); n != 10_000 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := io.Copy(w, io.LimitReader(strings.NewReader("short"), 1000)); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}), Options{})
	if _, body := c.ask(requestBlock("GET", "/")); body != strings.Repeat("x", 10_000)+"short" {
		t.Errorf("%d bytes", len(body))
	}
}
