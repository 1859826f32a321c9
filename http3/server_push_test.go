package http3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Push has the same handler make the promised response (RFC 9114 §4.6, §7.2.5).
func TestServerPush(t *testing.T) {
	promised := make(chan struct{})
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/probe":
			tellPushes(w)
		case "/":
			o := &http.PushOptions{Header: http.Header{"X-A": {"1"}}}
			if err := errors.Join(w.(http.Pusher).Push("/style.css?x", o), w.(http.Pusher).Push("https://localhost/b", &http.PushOptions{Method: "HEAD"})); err != nil {
				t.Errorf("Push: %v", err)
			}
			_, _ = io.WriteString(w, "page")
		default:
			<-promised
			if err := w.(http.Pusher).Push("/again", nil); err != http.ErrNotSupported {
				t.Errorf("Push of a push: %v", err)
			}
			if r.Method == "HEAD" {
				return
			}
			fmt.Fprint(w, r.Method, r.Host, r.RequestURI, r.Header["X-A"], r.Body == http.NoBody, r.RemoteAddr != "", r.TLS != nil)
		}
	}), Options{})
	c.waitPushes(t)
	promises := make(chan Headers, 2)
	st := c.request(requestBlock("GET", "/"), StreamHooks{PushHeaders: func(h Headers, _ int64) error { promises <- h; return nil }})
	if _, body := response(t, st); body != "page" {
		t.Errorf("%q", body)
	}
	if h := <-promises; h.Get(":path") != "/style.css?x" || h.Get("x-a") != "1" || h.Get(":authority") != "localhost" {
		t.Errorf("promise %v", h)
	}
	if h := <-promises; h.Get(":path") != "/b" || h.Get(":method") != "HEAD" {
		t.Errorf("promise %v", h)
	}
	close(promised)
	for range 2 {
		pushed, err := c.AcceptStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		h, body := response(t, pushed)
		wantStatus(t, h, "200")
		want := "GETlocalhost/style.css?x[1] true true true"
		if pushed.Promised().Get(":method") == "HEAD" {
			want = ""
		}
		if body != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
}

// waitPushes waits until the server knows that it may push: MAX_PUSH_ID goes with SETTINGS, but
// the first request can overtake it.
func (c *raw) waitPushes(t testing.TB) {
	t.Helper()
	c.known()
	for range 100 {
		if h, _ := c.ask(requestBlock("GET", "/probe")); h.Get("x-pushes") != "false" {
			return
		}
	}
	t.Fatal("the server does not know that it may push")
}

// tellPushes tells a probe whether the client takes pushes.
func tellPushes(w http.ResponseWriter) {
	w.Header().Set("X-Pushes", fmt.Sprint(w.(*responseWriter).x.st.s.takesPushes()))
}

// What may not be promised is refused with words (RFC 9114 §4.6).
func TestServerPushRules(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		tellPushes(w)
		for _, test := range []struct {
			target string
			o      *http.PushOptions
		}{
			{"relative", nil}, {"http://localhost/", nil}, {"https:///x", nil}, {"//host/x", nil}, {"%zz", nil},
			{"/", &http.PushOptions{Method: "POST"}},
			{"/", &http.PushOptions{Header: http.Header{":path": {"/"}}}},
			{"/", &http.PushOptions{Header: http.Header{"Host": {"a"}}}},
			{"/", &http.PushOptions{Header: http.Header{"Content-Length": {"1"}}}},
			{"/", &http.PushOptions{Header: http.Header{"Te": {"trailers"}}}},
			{"/", &http.PushOptions{Header: http.Header{"Connection": {"close"}}}},
			{"/", &http.PushOptions{Header: http.Header{"X Y": {"a"}}}},
			{"/", &http.PushOptions{Header: http.Header{"X": {"a\nb"}}}},
		} {
			if err := w.(http.Pusher).Push(test.target, test.o); err == nil || w.Header().Get("X-Pushes") == "true" && err == http.ErrNotSupported {
				t.Errorf("Push(%q, %v): %v", test.target, test.o, err)
			}
		}
	}), Options{})
	c.waitPushes(t)
}

// A client that takes no pushes makes Push say so.
func TestServerPushNotSupported(t *testing.T) {
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, w.(http.Pusher).Push("/x", nil) == http.ErrNotSupported)
	}), Options{MaxPushes: quic.None})
	if _, body := c.ask(requestBlock("GET", "/")); body != "true" {
		t.Errorf("%q", body)
	}
}
