package http3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// RFC 7838 §3: the values of an Alt-Svc field.
func TestParseAltSvc(t *testing.T) {
	for in, want := range map[string]string{
		`h3=":443"`:                              ":443 86400",
		`h3=":443"; ma=2592000; persist=1`:       ":443 2592000",
		`h2=":443", h3="alt.example:8443";ma=60`: "alt.example:8443 60",
		`h3=":1", h3=":2" ; ma="5"`:              ":1 86400|:2 5",
		`, h3=":1",, h3-29=":2",`:                ":1 86400",
		`h3="a\"b:1"`:                            `a"b:1 86400`,
		`h3=":1"; ma=99999999999999999999`:       ":1 86400",
		`h3=":1"; ma=9999999999999`:              ":1 31536000",
		`h2=":443"`:                              "",
		` clear `:                                "",
		`h3=":1";other=x`:                        ":1 86400",
		`h%33=":1"`:                              "",
		``:                                       "bad",
		`,`:                                      "bad",
		`Clear`:                                  "bad",
		`clear, h3=":1"`:                         "bad",
		`h3`:                                     "bad",
		`h3=`:                                    "bad",
		`h3=":1`:                                 "bad",
		`h3=":1" x`:                              "bad",
		`h3=":1"; ma`:                            "bad",
		`h3=":1";`:                               "bad",
	} {
		offers, ok := parseAltSvc(in)
		var parts []string
		for _, o := range offers {
			parts = append(parts, fmt.Sprintf("%s %d", o.authority, o.maxAge/time.Second))
		}
		got := strings.Join(parts, "|")
		if !ok {
			got = "bad"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func FuzzParseAltSvc(f *testing.F) {
	f.Add(`h2=":443", h3="alt.example:8443";ma=60; persist=1, clear`)
	f.Fuzz(func(t *testing.T, s string) {
		offers, ok := parseAltSvc(s)
		if !ok && len(offers) > 0 {
			t.Errorf("%d offers of a bad value", len(offers))
		}
		for _, o := range offers {
			if addr, ok := o.addr("origin.example:443"); ok {
				if _, _, err := net.SplitHostPort(addr); err != nil {
					t.Errorf("address %q", addr)
				}
			}
		}
	})
}

// Where an offer leads; an origin that is an address has no alternative on another host.
func TestAltOfferAddr(t *testing.T) {
	for _, c := range []struct{ authority, origin, want string }{
		{":8443", "example.com:443", "example.com:8443"},
		{"Alt.example:1", "example.com:443", "alt.example:1"},
		{":1", "[::1]:443", "[::1]:1"},
		{":1", "127.0.0.1:443", "127.0.0.1:1"},
		{"alt.example:1", "127.0.0.1:443", ""},
		{"", "example.com:443", ""},
		{"alt.example", "example.com:443", ""},
		{":0", "example.com:443", ""},
		{":65536", "example.com:443", ""},
		{"a b:1", "example.com:443", ""},
		{"B\u00dcCHER.example:1", "example.com:443", "xn--bcher-kva.example:1"},
		{"a\uff0fb.example:1", "example.com:443", ""}, // a wide slash
	} {
		o := altOffer{authority: c.authority}
		if addr, ok := o.addr(c.origin); ok != (c.want != "") || ok && addr != c.want {
			t.Errorf("%+v: %q %v", c, addr, ok)
		}
	}
}

// What is remembered of servers stays within its bounds: what ends first makes room.
func TestAltCacheBounds(t *testing.T) {
	var a altCache
	now := time.Unix(1_000_000, 0)
	for i := range maxOrigins + 10 {
		a.replace(fmt.Sprint(i), []altService{{"x:1", now.Add(time.Duration(i+1) * time.Second)}})
		a.breaks(fmt.Sprint(i), now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(a.origins) != maxOrigins || len(a.broken) != maxBroken {
		t.Errorf("%d origins, %d broken", len(a.origins), len(a.broken))
	}
	for _, i := range []int{0, 9} {
		if _, _, ok := a.find(fmt.Sprint(i), now); ok || a.isBroken(fmt.Sprint(i), now) {
			t.Errorf("%d is still there", i)
		}
	}
	if _, _, ok := a.find("10", now); !ok || !a.isBroken("10", now) {
		t.Error("10 is gone")
	}
	if _, _, ok := a.find("10", now.Add(11*time.Second)); ok || len(a.origins) != maxOrigins-1 {
		t.Errorf("fresh for too long, %d origins", len(a.origins))
	}
}

// A broken address is left alone for 5 minutes, then for twice as long each time, to 2 days.
func TestAltCacheBroken(t *testing.T) {
	var a altCache
	now := time.Unix(1_000_000, 0)
	for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 2880, 2880} {
		want *= time.Minute
		a.breaks("x:1", now)
		a.breaks("x:1", now) // of another request
		if !a.isBroken("x:1", now.Add(want-1)) || a.isBroken("x:1", now.Add(want)) {
			t.Errorf("failure %d: not broken for %v", i+1, want)
		}
		now = now.Add(want)
	}
	a.works("x:1")
	a.breaks("x:1", now)
	if a.isBroken("x:1", now.Add(5*time.Minute)) {
		t.Error("success is not remembered")
	}
}

// fakeFallback is another protocol, that answers with what it was told.
type fakeFallback struct {
	altSvc, age string
	seen        []string
	closed      int
}

func (f *fakeFallback) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
		_ = r.Body.Close()
	}
	f.seen = append(f.seen, r.Method+" "+r.URL.Scheme+" "+body)
	resp := &http.Response{StatusCode: 200, Proto: "HTTP/2.0", Header: make(http.Header), Body: http.NoBody, Request: r}
	if f.altSvc != "" {
		resp.Header.Set("Alt-Svc", f.altSvc)
		resp.Header.Set("Age", f.age)
	}
	return resp, nil
}

func (f *fakeFallback) CloseIdleConnections() { f.closed++ }

// choosing is a Transport with a Fallback, with a clock, and an origin that has a server for
// HTTP/3 at another port.
type choosing struct {
	testing.TB
	s   *rawServer
	tr  *Transport
	f   *fakeFallback
	now time.Time
}

func newChoosing(t testing.TB) *choosing {
	c := &choosing{TB: t, f: &fakeFallback{}, now: time.Unix(1_000_000, 0)}
	c.s, c.tr = newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		switch h.Get(":path") {
		case "/clear":
			answer(st, "200", "", Field{Name: "alt-svc", Value: "clear"})
		case "/misdirected":
			answer(st, "421", "", Field{Name: "alt-svc", Value: `h3=":1"`})
		default:
			answer(st, "200", "", Field{Name: "x-used", Value: h.Get("alt-used")})
		}
	})
	c.tr.Fallback, c.tr.now = c.f, func() time.Time { return c.now }
	return c
}

// want makes a request that must be answered by a protocol.
func (c *choosing) want(what, proto, method, path, body string) *http.Response {
	c.Helper()
	r := newRequest(c, method, "https://127.0.0.1:1"+path, nil)
	if body != "" {
		r.Body, r.ContentLength = newBody(strings.NewReader(body)), int64(len(body))
	}
	resp, _ := fetch(c, c.tr, r)
	if resp.Proto != proto || resp.Request != r {
		c.Errorf("%s: over %s, want %s", what, resp.Proto, proto)
	}
	return resp
}

// announce lets the other protocol say where HTTP/3 is.
func (c *choosing) announce(port, params, age string) {
	c.Helper()
	c.f.altSvc, c.f.age = fmt.Sprintf("h3=\":%s\"%s", port, params), age
	c.want("announcement", "HTTP/2.0", "GET", "/", "")
	c.f.altSvc = ""
}

// HTTP/3 is used once an origin has announced it, for as long as it has said.
func TestTransportFallback(t *testing.T) {
	c := newChoosing(t)
	const other, ours = "HTTP/2.0", "HTTP/3.0"
	announce := func() { c.announce(fmt.Sprint(c.s.socket.Address().Port()), "; ma=60", "10") }
	c.want("unknown", other, "GET", "/", "")
	announce()
	if used := c.want("announced", ours, "GET", "/", "").Header.Get("X-Used"); used != c.s.socket.Address().String() {
		t.Errorf("Alt-Used %q", used)
	}
	c.now = c.now.Add(50 * time.Second) // Age counts
	c.want("expired", other, "GET", "/", "")
	announce()
	c.want("clear", ours, "GET", "/clear", "")
	c.want("cleared", other, "GET", "/", "")
	announce()
	c.want("misdirected", other, "GET", "/misdirected", "")
	c.want("dropped", other, "GET", "/", "")

	c.f.seen = nil
	fetch(t, c.tr, newRequest(t, "GET", "http://127.0.0.1:1/", nil))
	if !slices.Equal(c.f.seen, []string{"GET http "}) {
		t.Errorf("seen %q", c.f.seen)
	}
	if c.tr.CloseIdleConnections(); c.f.closed != 1 {
		t.Error("the idle connections of Fallback were not closed")
	}
}

// Where HTTP/3 does not work the request goes back, and later ones do so at once.
func TestTransportFallbackBroken(t *testing.T) {
	c := newChoosing(t)
	const other = "HTTP/2.0"
	c.tr.QUIC.HandshakeTimeout = 50 * time.Millisecond
	c.announce(strings.TrimPrefix(silent(t), "127.0.0.1:"), "", "")
	c.f.seen = nil
	c.want("silent", other, "POST", "/", "hello")
	c.tr.QUIC.HandshakeTimeout = time.Hour // would be noticed
	c.want("broken", other, "GET", "/", "")
	c.now = c.now.Add(firstBroken)
	r := newRequest(t, "GET", "https://127.0.0.1:1/", nil)
	ctx, cancel := context.WithTimeout(r.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.tr.RoundTrip(r.WithContext(ctx)); err != context.DeadlineExceeded {
		t.Errorf("error %v", err)
	}
	c.want("broken again", other, "GET", "/", "")
	if !slices.Equal(c.f.seen, []string{"POST https hello", "GET https ", "GET https "}) {
		t.Errorf("seen %q", c.f.seen)
	}
}

// With prior knowledge HTTP/3 is tried without an announcement; an alternative on another host has
// to show the origin's certificate.
func TestTransportPriorKnowledge(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		answer(st, "200", "", Field{Name: "x-authority", Value: h.Get(":authority")})
	})
	f := &fakeFallback{}
	tr.Fallback, tr.PriorKnowledge = f, true
	if resp, _ := fetch(t, tr, newRequest(t, "GET", s.url, nil)); resp.Proto != "HTTP/3.0" {
		t.Errorf("over %s", resp.Proto)
	}
	tr.QUIC.HandshakeTimeout = 50 * time.Millisecond
	gone := "https://" + silent(t)
	for range 2 {
		if resp, _ := fetch(t, tr, newRequest(t, "GET", gone, nil)); resp.Proto != "HTTP/2.0" {
			t.Errorf("over %s", resp.Proto)
		}
	}

	tr.PriorKnowledge = false
	tr.QUIC.HandshakeTimeout = 0
	for _, c := range [][2]string{{"example.net", "HTTP/2.0"}, {"example.com", "HTTP/3.0"}} { // the former does not spoil it for the latter
		origin, proto := c[0], c[1]
		f.altSvc = fmt.Sprintf(`h3="localhost:%d"`, s.socket.Address().Port())
		url := "https://" + origin + "/"
		fetch(t, tr, newRequest(t, "GET", url, nil))
		f.altSvc = ""
		resp, _ := fetch(t, tr, newRequest(t, "GET", url, nil))
		if resp.Proto != proto || proto == "HTTP/3.0" && resp.Header.Get("X-Authority") != origin {
			t.Errorf("%s: over %s, %v", origin, resp.Proto, resp.Header)
		}
	}
}

// RFC 9114 §3.3: a connection carries requests for another origin only if its certificate is good for that one,
// and is not used else, even if it is there and goes to the right address.
func TestTransportOrigins(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		h, _ := st.Headers()
		mu.Lock()
		asked = append(asked, h.Get(":authority"))
		mu.Unlock()
		answer(st, "200", "")
	})
	f := &fakeFallback{altSvc: fmt.Sprintf(`h3="localhost:%d"`, s.socket.Address().Port())}
	tr.Fallback = f
	origins := []string{"example.com", "example.net", "localhost", "example.net", "example.com"} // the certificate is not for example.net
	for _, origin := range origins[:3] {
		fetch(t, tr, newRequest(t, "GET", "https://"+origin+"/", nil)) // tells of the alternative
	}
	f.altSvc = ""
	for _, origin := range origins {
		want := "HTTP/3.0"
		if origin == "example.net" {
			want = "HTTP/2.0"
		}
		if resp, _ := fetch(t, tr, newRequest(t, "GET", "https://"+origin+"/", nil)); resp.Proto != want {
			t.Errorf("%s: over %s, want %s", origin, resp.Proto, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"example.com", "localhost", "example.com"}; !slices.Equal(asked, want) {
		t.Errorf("the server was asked for %q, want %q", asked, want)
	}
}

// A request whose body is gone, or that may have had an effect, does not go to Fallback.
func TestTransportFallbackFinal(t *testing.T) {
	s, tr := newRawServer(t, Options{}, func(st *Stream) {
		_, _ = io.ReadAll(st)
		_ = st.s.CloseWithError(InternalError, "down")
	})
	f := &fakeFallback{}
	tr.Fallback, tr.PriorKnowledge = f, true
	_, err := tr.RoundTrip(newRequest(t, "POST", s.url, strings.NewReader("hello")))
	var cut *Error
	if !errors.As(err, &cut) || cut.ErrorCode != InternalError || !cut.Session || len(f.seen) != 0 {
		t.Errorf("error %v, fallback %q", err, f.seen)
	}
}
