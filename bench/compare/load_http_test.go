package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// newSite returns a site without a server.
func newSite() *site {
	return &site{b: &bench{}, server: &webServer{addr: "localhost"}}
}

// answered returns what the handler answers to a request from addr.
func (s *site) answered(addr, path string) *http.Response {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.RemoteAddr = addr
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w.Result()
}

// respond is a RoundTripper that has one response for all.
type respond http.Response

func (r *respond) RoundTrip(*http.Request) (*http.Response, error) { return (*http.Response)(r), nil }

// TestResponseIsChecked breaks a response in every way that HTTP might.
func TestResponseIsChecked(t *testing.T) {
	r := request{number: 12345, size: 3*ioChunk + 17}
	s := newSite()
	for _, c := range []struct {
		name  string
		spoil func(*http.Response)
		want  string // in the error; none if empty
	}{
		{"good", func(*http.Response) {}, ""},
		{"of another version", func(r *http.Response) { r.Proto, r.ProtoMajor = "HTTP/1.1", 1 }, "over HTTP/1.1"},
		{"in clear", func(r *http.Response) { r.TLS = nil }, "TLS: false"},
		{"failed", func(r *http.Response) { r.StatusCode, r.Status = 503, "503 Service Unavailable" }, "503"},
		{"of unknown length", func(r *http.Response) { r.ContentLength = -1 }, "-1 bytes"},
		{"short", func(r *http.Response) { r.Body = io.NopCloser(io.LimitReader(r.Body, 5000)) }, "5000 bytes of"},
		{"long", func(r *http.Response) { r.Body = io.NopCloser(io.MultiReader(r.Body, strings.NewReader("x"))) }, "more than"},
		{"moved", func(r *http.Response) { io.CopyN(io.Discard, r.Body, 1) }, errContent.Error()},
	} {
		resp := s.answered("client:1", r.path())
		resp.Proto, resp.ProtoMajor, resp.TLS = "HTTP/3.0", 3, new(tls.ConnectionState)
		c.spoil(resp)
		s.client = &webClient{RoundTripper: (*respond)(resp), major: 3}
		err := s.get(t.Context(), r, make([]byte, 5000))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("a response %s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if s.b.serverErr != nil {
		t.Error(s.b.serverErr)
	}
}

// TestRequestIsChecked sends what must fail a run at the serving end.
func TestRequestIsChecked(t *testing.T) {
	for _, c := range []struct{ name, addr, path string }{
		{"on a second connection", "client:2", "/1/2"},
		{"from nowhere", "", "/1/2"},
		{"without a number", "client:1", "/x/2"},
		{"without a size", "client:1", "/1"},
		{"with a negative size", "client:1", "/1/-2"},
	} {
		s := newSite()
		if resp := s.answered("client:1", "/1/2"); resp.StatusCode != http.StatusOK || s.b.serverErr != nil {
			t.Fatalf("a good request: %s, %v", resp.Status, s.b.serverErr)
		}
		if resp := s.answered(c.addr, c.path); resp.StatusCode != http.StatusBadRequest || s.b.serverErr == nil {
			t.Errorf("a request %s: %s, %v", c.name, resp.Status, s.b.serverErr)
		}
	}
}

func TestResponseHeader(t *testing.T) {
	resp := newSite().answered("client:1", request{number: 7, size: 20}.path())
	body, _ := io.ReadAll(resp.Body)
	if !bytes.Equal(body, content(request{number: 7}.offset(), 20)) {
		t.Errorf("body %x", body)
	}
	if h := resp.Header; h.Get("Content-Length") != "20" || h.Get("Content-Type") != "application/octet-stream" || len(h) != 2 {
		t.Errorf("header %v", h)
	}
}
