package http3

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// serverConn is what the requests of a session have in common.
type serverConn struct {
	server *Server
	h3     *Session
	q      *quic.ServerSession
	ctx    context.Context
}

// serve answers one request, on a goroutine of its own.
func (c *serverConn) serve(st *Stream) {
	h, err := st.Headers()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	r, f := c.request(ctx, st, h)
	if f != nil {
		st.cancel(f.code)
		return
	}
	w := &responseWriter{st: st, header: make(http.Header)}
	handler := c.server.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	handler.ServeHTTP(w, r)
	w.finish()
	_ = st.Close()
}

// request makes an http.Request of a header block that has been checked.
func (c *serverConn) request(ctx context.Context, st *Stream, h Headers) (*http.Request, *fault) {
	m := &st.in.head
	state := c.q.ConnectionState()
	r := &http.Request{
		Method: m.method, Host: m.authority, Proto: "HTTP/3.0", ProtoMajor: 3,
		Header: make(http.Header, len(h)), ContentLength: m.length,
		RemoteAddr: c.q.RemoteAddr().String(), TLS: &state, RequestURI: m.path,
	}
	for _, f := range h[m.fields:] {
		switch f.Name {
		case "host":
		case "cookie": // RFC 9114 §4.2.1
			if v := r.Header["Cookie"]; len(v) > 0 {
				v[0] += "; " + f.Value
				continue
			}
			fallthrough
		default:
			r.Header.Add(http.CanonicalHeaderKey(f.Name), f.Value)
		}
	}
	if m.method == "CONNECT" && m.protocol == "" {
		r.URL, r.RequestURI = &url.URL{Host: m.authority}, m.authority
	} else {
		u, err := url.ParseRequestURI(m.path)
		if err != nil {
			return nil, malformed("path %q", m.path)
		}
		r.URL = u
	}
	r.Body = &requestBody{st: st}
	return r.WithContext(ctx), nil
}

type requestBody struct{ st *Stream }

func (b *requestBody) Read(p []byte) (int, error) { return b.st.Read(p) }
func (b *requestBody) Close() error               { return nil }

// responseWriter is the http.ResponseWriter of a request.
type responseWriter struct {
	st     *Stream
	header http.Header
	wrote  bool
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	_ = w.st.SubmitInitialHeaders(responseHeaders(status, w.header), HeaderOptions{})
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.st.Write(p)
}

func (w *responseWriter) finish() {
	w.WriteHeader(http.StatusOK)
	_ = w.st.CloseWrite()
}

func responseHeaders(status int, header http.Header) Headers {
	h := Headers{{Name: ":status", Value: strconv.Itoa(status)}}
	for name, values := range header {
		name = strings.ToLower(name)
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				h = append(h, Field{Name: name, Value: v})
			}
		}
	}
	return h
}

var _ = tls.VersionTLS13
