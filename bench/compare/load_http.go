package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// A web is HTTP over an implementation; overHTTP runs the same handler and the
// same client over each.
type web interface {
	// serve answers requests with h until the server is closed.
	serve(b *bench, h http.Handler) (*webServer, error)
	// client returns the one client that all requests of a measurement come from.
	client(b *bench) (*webClient, error)
}

// webServer is a server that is serving.
type webServer struct {
	addr  string
	close func()
}

// webClient is a client and the version of HTTP that it must be answered in.
type webClient struct {
	http.RoundTripper
	major int
	close func()
}

// overHTTP runs the workloads over a web.
type overHTTP struct{ web }

// requests makes small requests on one connection.
func (o overHTTP) requests(ctx context.Context, b *bench, atOnce int) error {
	s, err := o.open(ctx, b)
	if err != nil {
		return err
	}
	defer s.close()
	return b.requests(atOnce, func(number uint64, buf []byte) error {
		return s.get(ctx, request{number: number, size: answerSize}, buf)
	})
}

// bulk asks for one long response.
func (o overHTTP) bulk(ctx context.Context, b *bench) error {
	s, err := o.open(ctx, b)
	if err != nil {
		return err
	}
	defer s.close()
	return b.transfer(func(r request, buf []byte) error { return s.get(ctx, r, buf) })
}

// site is the two sides of a measurement, and the handler.
type site struct {
	b      *bench
	server *webServer
	client *webClient
	peer   atomic.Pointer[string] // address of the client's one connection
}

// open makes the two sides and a first request, alone, so that there is a
// connection which all others share.
func (o overHTTP) open(ctx context.Context, b *bench) (*site, error) {
	s := &site{b: b}
	var err error
	if s.server, err = o.serve(b, s); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	if s.client, err = o.client(b); err != nil {
		return nil, fmt.Errorf("client endpoint: %w", err)
	}
	resp, err := s.fetch(ctx, request{size: answerSize}, make([]byte, ioChunk))
	if err != nil {
		return nil, err
	}
	b.note("HTTP responses have the fields %s", fields(resp.Header))
	return s, b.sawTLS(*resp.TLS)
}

func (s *site) close() {
	s.client.close()
	s.server.close()
}

// ServeHTTP answers with the part of the pattern that the path asks for. What
// could not be compared fails the run here; what a server does not send, a client misses.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := parsePath(r.URL.Path)
	if err == nil {
		err = s.samePeer(r)
	}
	if err != nil {
		s.b.failServer(err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(q.size, 10))
	for off, end := q.offset(), q.offset()+q.size; off < end; {
		n, err := w.Write(content(off, int(min(end-off, ioChunk))))
		if err != nil {
			return
		}
		off += int64(n)
	}
}

// samePeer fails when requests come over more than one connection.
func (s *site) samePeer(r *http.Request) error {
	p := s.peer.Load()
	if p == nil { // the first, which is alone
		first := r.RemoteAddr
		p = &first
		s.peer.Store(p)
		s.b.note("HTTP requests have the fields %s", fields(r.Header))
	}
	if r.RemoteAddr == "" || r.RemoteAddr != *p {
		return fmt.Errorf("a request from %q, the first from %q: all must share a connection", r.RemoteAddr, *p)
	}
	return nil
}

// fields lists the names of a header, so that people can see whether all send the same.
func fields(h http.Header) string {
	if len(h) == 0 {
		return "(none)"
	}
	return strings.Join(slices.Sorted(maps.Keys(h)), ", ")
}

// get makes one request and checks the response.
func (s *site) get(ctx context.Context, r request, buf []byte) error {
	_, err := s.fetch(ctx, r, buf)
	return err
}

// fetch is get that returns the response, whose body is read and closed.
func (s *site) fetch(ctx context.Context, r request, buf []byte) (*http.Response, error) {
	req := &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Scheme: "https", Host: s.server.addr, Path: r.path()},
		Header: make(http.Header),
	}
	resp, err := s.client.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != s.client.major || resp.ContentLength != r.size || resp.TLS == nil {
		return nil, fmt.Errorf("response: %s over %s with %d bytes (TLS: %t), want 200 over HTTP/%d with %d",
			resp.Status, resp.Proto, resp.ContentLength, resp.TLS != nil, s.client.major, r.size)
	}
	return resp, readAnswer(resp.Body, r, buf, true)
}

// path is the request as a URL's path.
func (r request) path() string {
	return "/" + strconv.FormatUint(r.number, 10) + "/" + strconv.FormatInt(r.size, 10)
}

func parsePath(p string) (request, error) {
	number, size, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return request{}, fmt.Errorf("request for %q: %w", p, err)
	}
	length, err := strconv.ParseUint(size, 10, 63)
	if err != nil {
		return request{}, fmt.Errorf("request for %q: %w", p, err)
	}
	return request{number: n, size: int64(length)}, nil
}

// serveUntilClosed runs a server's Serve in the background: that it ends otherwise fails the run.
func (b *bench) serveUntilClosed(serve func() error) {
	go func() {
		if err := serve(); err != http.ErrServerClosed {
			b.failServer(err)
		}
	}()
}
