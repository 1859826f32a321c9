package http3

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/internal/hostname"
)

// userAgent is what requests say that say nothing themselves.
const userAgent = "cinnabar-http3/1.0"

// checkRequest returns why a request cannot be sent by HTTP/3, whoever the server is.
func checkRequest(r *http.Request) error {
	switch {
	case r.URL == nil:
		return errors.New("http3: Request.URL is nil")
	case r.Header == nil:
		return errors.New("http3: Request.Header is nil")
	case r.URL.Scheme == "http":
		return errors.New("http3: scheme \"http\" is not encrypted and HTTP/3 always is: use https, or set Transport.Fallback")
	case r.URL.Scheme != "https":
		return fmt.Errorf("http3: unsupported scheme %q, want https", r.URL.Scheme)
	case r.URL.Hostname() == "": // RFC 9110 §4.2.2
		return errors.New("http3: no host in Request.URL")
	case r.Method != "" && !httpguts.ValidHeaderFieldName(r.Method):
		return fmt.Errorf("http3: invalid method %q", r.Method)
	}
	if _, err := hostname.ASCII(r.URL.Hostname()); err != nil {
		return fmt.Errorf("http3: host %q in Request.URL: %w", r.URL.Hostname(), err)
	}
	if err := checkFields("header", r.Header); err != nil {
		return err
	}
	if err := checkFields("trailer", r.Trailer); err != nil {
		return err
	}
	if r.Method == http.MethodConnect && len(r.Trailer) > 0 {
		return errors.New("http3: a CONNECT request has no trailers")
	}
	for name := range r.Trailer {
		switch http.CanonicalHeaderKey(name) {
		case "Transfer-Encoding", "Trailer", "Content-Length":
			return fmt.Errorf("http3: field %s cannot be a trailer", name)
		}
	}
	if protocol := r.Header[protocolField]; len(protocol) > 0 && r.Method != http.MethodConnect {
		return fmt.Errorf("http3: header field :protocol in a %s request, which only CONNECT can have", method(r))
	}
	return checkConnection(r.Header)
}

// protocolField is where a request says what an extended CONNECT is for (RFC 9220).
const protocolField = ":protocol"

// checkFields checks names and values. Errors do not show values: they may be secret.
func checkFields(what string, h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) && (name != protocolField || what != "header") {
			return fmt.Errorf("http3: invalid %s field name %q", what, name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("http3: invalid value of %s field %q", what, name)
			}
		}
	}
	return nil
}

// checkConnection refuses wishes for a connection that HTTP/3 cannot fulfil. Those that
// mean nothing more are dropped later (RFC 9114 §4.2).
func checkConnection(h http.Header) error {
	bad := func(name string, allowed ...string) error {
		v := h[name]
		if len(v) == 0 || len(v) == 1 && slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, v[0]) }) {
			return nil
		}
		return fmt.Errorf("http3: header field %s is %q, which HTTP/3 does not have", name, v)
	}
	return errors.Join(
		bad("Upgrade", "", "chunked"),
		bad("Transfer-Encoding", "", "chunked"),
		bad("Connection", "", "close", "keep-alive"),
	)
}

func method(r *http.Request) string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// bodyLength returns how long the body of a request is, -1 if that is not known.
func bodyLength(r *http.Request) int64 {
	switch {
	case !hasBody(r):
		return 0
	case r.ContentLength != 0:
		return r.ContentLength
	}
	return -1
}

// originOf returns the host and port that a request's URL names, the host in ASCII.
func originOf(r *http.Request) string { return withPort(r.URL.Host) }

func withPort(authority string) string {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]"), ""
	}
	ascii, _ := hostname.ASCII(host) // checkRequest has seen that there is one
	if ascii == host && port != "" {
		return authority
	}
	return net.JoinHostPort(ascii, cmp.Or(port, "443"))
}

// inASCII returns an authority with its host in ASCII, in the form in which it is looked up.
func inASCII(authority string) (string, error) {
	if hostname.IsASCII(authority) {
		return authority, nil
	}
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		return hostname.ASCII(authority)
	}
	host, err = hostname.ASCII(host)
	return net.JoinHostPort(host, port), err
}

// requestFields collects the header block of a request. They are pooled: what is sent is copied.
type requestFields struct {
	h     Headers
	trace func(name string, value []string)
}

var fieldsPool = sync.Pool{New: func() any { return &requestFields{h: make(Headers, 0, 24)} }}

func (f *requestFields) free() {
	clear(f.h)
	f.h, f.trace = f.h[:0], nil
	fieldsPool.Put(f)
}

func (f *requestFields) add(name, value string) {
	f.h = append(f.h, Field{Name: name, Value: value})
	if f.trace != nil {
		f.trace(name, []string{value})
	}
}

// collect makes the header block of a request that checkRequest has found good. alternative is
// the authority that is used in place of the origin's, if any (RFC 7838 §5).
func (f *requestFields) collect(r *http.Request, gzip bool, alternative string) error {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		f.trace = trace.WroteHeaderField
	}
	written := cmp.Or(r.Host, r.URL.Host)
	host, err := inASCII(written)
	if err != nil {
		return fmt.Errorf("http3: host %q: %w", written, err)
	}
	if !httpguts.ValidHostHeader(host) {
		return fmt.Errorf("http3: invalid host %q", host)
	}
	protocol := r.Header.Get(protocolField)
	if r.Method == http.MethodConnect && protocol == "" {
		host = withPort(host) // RFC 9110 §9.3.6
	}
	f.add(":authority", host)
	f.add(":method", method(r))
	if r.Method != http.MethodConnect || protocol != "" {
		path, err := requestPath(r, host)
		if err != nil {
			return err
		}
		f.add(":path", path)
		f.add(":scheme", "https")
	}
	if protocol != "" {
		f.add(protocolField, protocol)
	}
	if len(r.Trailer) > 0 {
		names := make([]string, 0, len(r.Trailer))
		for name := range r.Trailer {
			names = append(names, http.CanonicalHeaderKey(name))
		}
		slices.Sort(names)
		f.add("trailer", strings.Join(names, ","))
	}
	f.ordinary(r.Header)
	f.implied(r, gzip, alternative)
	return nil
}

// requestPath returns what goes into :path.
func requestPath(r *http.Request, host string) (string, error) {
	path := r.URL.RequestURI()
	if strings.HasPrefix(path, "/") || path == "*" {
		return path, nil
	}
	if rest := strings.TrimPrefix(path, "https://"+host); strings.HasPrefix(rest, "/") {
		return rest, nil // of URL.Opaque
	}
	return "", fmt.Errorf("http3: path %q of the request does not begin with a slash", path)
}

// ordinary adds what the program has set. What the Transport says itself, and what is
// about connections of HTTP/1.1, is left out.
func (f *requestFields) ordinary(h http.Header) {
	for name, values := range h {
		lower, ok := fieldName(name)
		if !ok {
			continue // :protocol, which is no field; all others have been checked
		}
		switch lower {
		case "host", "content-length", "connection", "proxy-connection", "transfer-encoding", "upgrade", "keep-alive":
			continue
		case "user-agent":
			if len(values) > 0 && values[0] != "" {
				f.add(lower, values[0])
			}
			continue
		case "cookie":
			f.crumbs(values)
			continue
		case "te":
			if httpguts.HeaderValuesContainsToken(values, "trailers") {
				f.add(lower, "trailers") // RFC 9114 §4.2: nothing else
			}
			continue
		}
		for _, v := range values {
			f.add(lower, v)
		}
	}
}

// crumbs adds cookies one by one: that compresses better (RFC 9114 §4.2.1).
func (f *requestFields) crumbs(values []string) {
	for _, v := range values {
		for v != "" {
			crumb, rest, _ := strings.Cut(v, ";")
			f.add("cookie", crumb)
			v = strings.TrimLeft(rest, " ")
		}
	}
}

// implied adds what the Transport says itself.
func (f *requestFields) implied(r *http.Request, gzip bool, alternative string) {
	switch n := bodyLength(r); {
	case n > 0:
		f.add("content-length", strconv.FormatInt(n, 10))
	case n == 0:
		switch r.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			f.add("content-length", "0")
		}
	}
	if gzip {
		f.add("accept-encoding", "gzip")
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		f.add("user-agent", userAgent)
	}
	if alternative != "" {
		f.add("alt-used", alternative)
	}
}

// wantsGzip reports whether the Transport asks for a compressed response by itself: not for a part
// of something, which could not be decompressed, nor where there is no body.
func (t *Transport) wantsGzip(r *http.Request) bool {
	return !t.DisableCompression && len(r.Header["Accept-Encoding"]) == 0 && len(r.Header["Range"]) == 0 &&
		r.Method != http.MethodHead && r.Method != http.MethodConnect
}
