package http3

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Transport is an http.RoundTripper over HTTP/3. Fields that http.Transport has too mean the
// same. The zero Transport is ready to use.
type Transport struct {
	TLSClientConfig *tls.Config // its ClientSessionCache, if any, makes later sessions resume, with 0-RTT

	// QUIC holds all other options of the transport: hooks, qlog, timeouts.
	QUIC    quic.ConnectOptions
	Options Options
	Socket  *quic.Socket // to connect from; nil is one for each session

	// Fallback, if not nil, is where a request goes for whose server HTTP/3 cannot be had.
	Fallback http.RoundTripper

	DisableCompression     bool
	ResponseHeaderTimeout  time.Duration
	IdleConnTimeout        time.Duration
	MaxResponseHeaderBytes int64

	mu       sync.Mutex
	sessions map[string]*Session
}

// RoundTrip sends a request and returns its response as soon as the headers are there.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	s, err := t.session(ctx, r)
	if err != nil {
		return nil, err
	}
	st, err := s.OpenStream(ctx, StreamOptions{})
	if err != nil {
		return nil, err
	}
	body := r.Body != nil && r.Body != http.NoBody
	if err := st.SubmitInitialHeaders(requestHeaders(r), HeaderOptions{Terminal: !body}); err != nil {
		return nil, err
	}
	if body {
		go func() {
			_, _ = io.Copy(st, r.Body)
			_ = st.CloseWrite()
			_ = r.Body.Close()
		}()
	}
	h, err := st.Headers()
	if err != nil {
		return nil, err
	}
	resp := &http.Response{
		Proto: "HTTP/3.0", ProtoMajor: 3, StatusCode: st.in.head.status, Request: r,
		Header: make(http.Header), ContentLength: st.in.head.length, Body: &responseBody{st},
	}
	resp.Status = strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	for _, f := range h[st.in.head.fields:] {
		resp.Header.Add(http.CanonicalHeaderKey(f.Name), f.Value)
	}
	state := s.q.ConnectionState()
	resp.TLS = &state
	return resp, nil
}

type responseBody struct{ st *Stream }

func (b *responseBody) Read(p []byte) (int, error) { return b.st.Read(p) }
func (b *responseBody) Close() error               { return b.st.Close() }

func requestHeaders(r *http.Request) Headers {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	method := r.Method
	if method == "" {
		method = "GET"
	}
	h := Headers{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: host}, {Name: ":path", Value: r.URL.RequestURI()},
	}
	for name, values := range r.Header {
		name = strings.ToLower(name)
		for _, v := range values {
			h = append(h, Field{Name: name, Value: v})
		}
	}
	return h
}

// session returns a session with the request's server.
func (t *Transport) session(ctx context.Context, r *http.Request) (*Session, error) {
	addr := r.URL.Host
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, "443")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[addr]; s != nil && s.Err() == nil && !s.leaving() {
		return s, nil
	}
	o := t.QUIC
	o.ALPN = ALPN
	o.TLS = t.TLSClientConfig
	q, err := quic.Dial(ctx, addr, o)
	if err != nil {
		return nil, err
	}
	s, err := NewSession(&q.Session, t.Options)
	if err != nil {
		return nil, err
	}
	if t.sessions == nil {
		t.sessions = make(map[string]*Session)
	}
	t.sessions[addr] = s
	return s, nil
}

// CloseIdleConnections closes sessions that carry no request.
func (t *Transport) CloseIdleConnections() {}

// Close ends all sessions at once.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sessions {
		_ = s.CloseWithError(NoError, "")
	}
	return nil
}
