package http3

import (
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

// request makes an http.Request of a header block that has been checked.
func (x *handling) request(h Headers) *fault {
	m := &x.st.in.head
	c := x.c
	tunnel := m.method == "CONNECT" && m.protocol == ""
	if !tunnel && !m.web() {
		return malformed("scheme %q, of which an http.Request does not tell", m.scheme)
	}
	if h.crumbs() > maxCookie {
		return errTooLarge
	}
	r := http.Request{
		Method: m.method, Host: m.authority, Proto: "HTTP/3.0", ProtoMajor: 3,
		ContentLength: m.length, RemoteAddr: c.remoteAddr(), TLS: c.tlsState(), RequestURI: m.path,
	}
	if tunnel {
		r.URL, r.RequestURI = &url.URL{Host: m.authority}, m.authority
	} else {
		u, err := url.ParseRequestURI(m.path)
		if err != nil {
			return malformed("path %q", m.path)
		}
		r.URL = u
	}
	r.Header = requestHeader(h[m.fields:])
	if m.protocol != "" {
		r.Header[":protocol"] = []string{m.protocol} // as net/http has it with HTTP/2
	}
	r.Trailer = announced(r.Header)
	x.body.trailer = r.Trailer
	if token(r.Header["Expect"], "100-continue") {
		delete(r.Header, "Expect")
		x.body.expected.Store(true)
	}
	if r.Body = &x.body; x.st.noBody() {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	x.req = r.WithContext(&x.ctx)
	return nil
}

// noBody reports whether the message is known to end here, before any body.
func (st *Stream) noBody() bool {
	st.in.mu.Lock()
	defer st.unlockIn()
	p, err := st.next(false)
	return err == nil && p == partEnd && st.in.got == 0 && st.in.trailers == nil
}

// maxCookie is how many bytes a cookie may have that comes in several fields, which become one: they can be references to
// an entry, and what one field brings must have been sent.
const maxCookie = 64 << 10

// crumbs returns how many bytes the fields of a cookie have when they are one, 0 if there is no more than that.
func (h Headers) crumbs() int {
	fields, n := 0, 0
	for i := range h {
		if h[i].Name == "cookie" {
			fields++
			n += len(h[i].Value) + len("; ")
		}
	}
	if fields < 2 {
		return 0
	}
	return n - len("; ")
}

// requestHeader makes an http.Header of fields. Fields that come once, which is most, share
// the memory of their values.
func requestHeader(h Headers) http.Header {
	header := make(http.Header, h.runs())
	values := make([]string, len(h))
	cookies := 0
	for i := range h {
		switch h[i].Name {
		case "host":
			continue
		case "cookie":
			cookies++
		}
		name := headerKey(h[i].Name)
		if before, ok := header[name]; ok {
			header[name] = append(before, h[i].Value)
			continue
		}
		values[i] = h[i].Value
		header[name] = values[i : i+1 : i+1]
	}
	if cookies > 1 { // RFC 9114 §4.2.1
		header["Cookie"] = []string{strings.Join(header["Cookie"], "; ")}
	}
	return header
}

// announced returns the map of what the Trailer field declares, whose values come
// behind the body. nil is none.
func announced(h http.Header) http.Header {
	t := declaredTrailers(h["Trailer"])
	delete(h, "Trailer")
	return t
}

// maxTrailers is how many names of trailers are looked at in one message: a field of many names costs less
// than they do.
const maxTrailers = 1000

// maxTrailerNames is how many bytes of such names are looked at: a few that are long, again and again, cost no less.
const maxTrailerNames = 16 << 10

// declaredTrailers makes a map of the names that Trailer fields have, nil if there are none. What cannot
// be a trailer is left out.
func declaredTrailers(values []string) http.Header {
	var t http.Header
	left := maxTrailerNames
	for name := range elements(values, maxTrailers) {
		if left -= len(name); left < 0 {
			break
		}
		name = http.CanonicalHeaderKey(name)
		if !httpguts.ValidHeaderFieldName(name) || name == "Transfer-Encoding" || name == "Trailer" || name == "Content-Length" {
			continue
		}
		if t == nil {
			t = make(http.Header)
		}
		t[name] = nil
	}
	return t
}

// elements are those of a list field (RFC 9110 §5.6.1), as many as are looked at, empty ones among them: in
// a field of the largest size there is room for half a million.
func elements(values []string, most int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range values {
			for e := range strings.SplitSeq(v, ",") {
				if most--; most < 0 || !yield(strings.Trim(e, " \t")) {
					return
				}
			}
		}
	}
}

// requestBody is the Body of a request.
type requestBody struct {
	x        *handling
	trailer  http.Header // what was declared
	expected atomic.Bool // the client waits for a 100
	closed   atomic.Bool
	filled   atomic.Bool // the trailers are in place
}

// Read reads from the body. Before the first byte the client is told to go on, if it waits
// for that (RFC 9110 §10.1.1).
func (b *requestBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.expected.Load() && b.expected.CompareAndSwap(true, false) {
		b.x.w.goOn()
	}
	n, err := b.x.st.Read(p)
	if err == io.EOF && b.trailer != nil && !b.filled.Swap(true) {
		for _, f := range b.x.st.Trailers() {
			name := headerKey(f.Name)
			if _, declared := b.trailer[name]; declared {
				b.trailer[name] = append(b.trailer[name], f.Value)
			}
		}
	}
	return n, err
}

// Close ends the reading. The client is asked to stop when the response is complete.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}
