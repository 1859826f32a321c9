package http3

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Push promises the client the response to a request that it has not made, and has the
// server's handler make it on a goroutine of its own: see http.Pusher. The target is an absolute path,
// or a URL with the scheme of this request. The error is http.ErrNotSupported if the client
// takes no pushes, if it is a push's own handler that asks or that of a CONNECT, and after this handler has returned; one
// that names what is wrong with target or options; a *quic.StateError while the handlers of 100 pushes of the
// session run; or that of Stream.PushStream.
func (w *responseWriter) Push(target string, o *http.PushOptions) error {
	x := w.x
	if x.st.push >= 0 || x.req.Method == http.MethodConnect || !x.st.s.takesPushes() {
		return http.ErrNotSupported
	}
	if o == nil {
		o = new(http.PushOptions)
	}
	h, err := x.promise(target, o)
	if err != nil {
		return err
	}
	if !x.c.beginPush() {
		return &quic.StateError{Op: "http.Pusher.Push", State: "handlers of 100 pushes are at work"}
	}
	st, err := x.st.PushStream(h, PushOptions{})
	if err != nil {
		x.c.endPush()
		return err
	}
	pushed := x.c.begin(st)
	if f := pushed.promised(h); f != nil {
		x.c.endPush()
		st.cancel(InternalError)
		return fmt.Errorf("http3: push of %q: %s", target, f.reason)
	}
	go func() {
		defer x.c.endPush()
		pushed.run()
	}()
	return nil
}

// beginPush counts the handler of a push, and reports false if there are as many as may be: a client
// can cancel pushes, but not their handlers.
func (c *serverConn) beginPush() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pushing == pushWindow {
		return false
	}
	c.pushing++
	return true
}

func (c *serverConn) endPush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushing--
}

// takesPushes reports whether the client has allowed any push (RFC 9114 §7.2.7).
func (s *Session) takesPushes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushes.limit > 0
}

// promise makes the header block of a promised request.
func (x *handling) promise(target string, o *http.PushOptions) (Headers, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme == "" && strings.HasPrefix(target, "/") && u.Host == "":
		u.Host = x.req.Host
	case u.Scheme == "":
		return nil, fmt.Errorf("http3: push of %q: the target is not an absolute URL or an absolute path", target)
	case u.Scheme != "https":
		return nil, fmt.Errorf("http3: push of %q: its scheme is not that of the request, https", target)
	case u.Host == "":
		return nil, fmt.Errorf("http3: push of %q: the URL has no host", target)
	}
	method := o.Method
	if method == "" {
		method = "GET"
	}
	if method != "GET" && method != "HEAD" {
		return nil, fmt.Errorf("http3: push of %q: method %q is not GET or HEAD", target, method)
	}
	h := Headers{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: u.Host}, {Name: ":path", Value: u.RequestURI()},
	}
	for key, values := range o.Header {
		name, ok := fieldName(key)
		if !ok {
			return nil, fmt.Errorf("http3: push of %q: %q is not the name of a field", target, key)
		}
		switch name {
		case "content-length", "content-encoding", "trailer", "te", "expect", "host",
			"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return nil, fmt.Errorf("http3: push of %q: field %s does not belong into a promised request", target, key)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return nil, fmt.Errorf("http3: push of %q: value %q of field %s", target, v, key)
			}
			h = append(h, Field{Name: name, Value: v})
		}
	}
	return h, nil
}

// promised makes the http.Request of a promise.
func (x *handling) promised(h Headers) *fault {
	m, f := parseRequest(h, false)
	if f != nil {
		return f
	}
	u, err := url.ParseRequestURI(m.path)
	if err != nil {
		return malformed("path %q", m.path)
	}
	r := http.Request{
		Method: m.method, Host: m.authority, Proto: "HTTP/3.0", ProtoMajor: 3, URL: u, RequestURI: m.path,
		Header: requestHeader(h[m.fields:]), Body: http.NoBody, RemoteAddr: x.c.remoteAddr(), TLS: x.c.tlsState(),
	}
	x.req = r.WithContext(&x.ctx)
	return nil
}
