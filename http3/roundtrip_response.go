package http3

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// response waits for the headers of the response, and for informational ones before.
func (x *exchange) response() (*http.Response, error) {
	for {
		h, final, err := x.st.nextHeaders()
		if err != nil {
			return nil, err
		}
		if !x.heard {
			x.heard = true
			if x.trace != nil && x.trace.GotFirstResponseByte != nil {
				x.trace.GotFirstResponseByte()
			}
		}
		if !final {
			if err := x.informational(h); err != nil {
				return nil, err
			}
			continue
		}
		x.begins()
		return x.final(h)
	}
}

// nextHeaders waits for the next header block: an informational one, or the final one.
func (st *Stream) nextHeaders() (h Headers, final bool, err error) {
	r := &st.in
	r.mu.Lock()
	defer st.unlockIn()
	for r.headers == nil {
		p, err := st.next(true)
		switch {
		case err != nil:
			return nil, false, err
		case p == partInfo:
			return r.info, false, nil
		case p == partEnd:
			return nil, false, io.ErrUnexpectedEOF
		}
	}
	return r.headers, true, nil
}

// atEnd reports whether the end of the message is the next thing, and has come.
func (st *Stream) atEnd() bool {
	st.in.mu.Lock()
	defer st.unlockIn()
	p, err := st.next(false)
	return p == partEnd && err == nil
}

// begins is told that the final headers have come.
func (x *exchange) begins() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begun = true
	if x.timer != nil {
		x.timer.Stop()
	}
}

// informational tells of a response with a status of 1xx.
func (x *exchange) informational(h Headers) error {
	m, f := parseResponse(h)
	if f != nil {
		return f.error()
	}
	if x.trace != nil && x.trace.Got1xxResponse != nil {
		if err := x.trace.Got1xxResponse(m.status, textproto.MIMEHeader(headerOf(h[m.fields:]))); err != nil {
			return err
		}
	}
	if m.status == http.StatusContinue {
		if x.trace != nil && x.trace.Got100Continue != nil {
			x.trace.Got100Continue()
		}
		if x.up != nil {
			x.up.proceed()
		}
	}
	return nil
}

// headerOf makes an http.Header of fields. The values share memory.
func headerOf(fields []Field) http.Header {
	h := make(http.Header, Headers(fields).runs())
	values := make([]string, len(fields))
	for i := range fields {
		name := headerKey(fields[i].Name)
		if old := h[name]; old != nil {
			h[name] = append(old, fields[i].Value)
			continue
		}
		values[i] = fields[i].Value
		h[name] = values[i : i+1 : i+1]
	}
	return h
}

// final makes the response.
func (x *exchange) final(h Headers) (*http.Response, error) {
	m := &x.st.in.head
	resp := &http.Response{
		Proto: "HTTP/3.0", ProtoMajor: 3, StatusCode: m.status, Status: status(m.status),
		Header: headerOf(h[m.fields:]), ContentLength: m.length, Request: x.r, TLS: x.c.tls(),
	}
	if declared, ok := resp.Header["Trailer"]; ok {
		delete(resp.Header, "Trailer")
		resp.Trailer = declaredTrailers(declared)
	}
	if x.st.in.tunnel {
		resp.ContentLength = -1 // RFC 9110 §9.3.6
	}
	x.resp = resp
	if x.up != nil {
		if m.status > 299 {
			x.up.stop() // as net/http has it: an error is the answer to what has come
		} else {
			x.up.proceed()
		}
	}
	if bodiless(method(x.r), m.status) && !x.st.in.tunnel || x.st.atEnd() {
		return resp, x.bodiless(m)
	}
	resp.Body = x
	if x.gzip && strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		delete(resp.Header, "Content-Encoding")
		delete(resp.Header, "Content-Length")
		resp.ContentLength, resp.Uncompressed = -1, true
		resp.Body = &gunzip{x: x}
	}
	return resp, nil
}

func status(code int) string {
	if code == http.StatusOK {
		return "200 OK"
	}
	return strconv.Itoa(code) + " " + http.StatusText(code)
}

// Read reads the body of the response.
func (x *exchange) Read(p []byte) (int, error) {
	if x.left || x.whole.Load() {
		return 0, io.EOF
	}
	return x.read(p)
}

func (x *exchange) read(p []byte) (int, error) {
	if cut := x.cause.Load(); cut != nil {
		return 0, x.over(cut.err) // although something may be there
	}
	n, err := x.st.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		if x.whole.Swap(true) {
			return n, err
		}
		if !x.left { // the program has the response already
			x.trailers()
		}
		if x.up != nil && x.up.stopped() || x.open && x.resp.StatusCode > 299 {
			x.st.Reset(NoError) // the rest of the request is not needed, and there is no tunnel
		}
	} else if errors.Is(err, os.ErrDeadlineExceeded) && x.cause.Load() == nil {
		return n, err // of SetReadDeadline, which may be set again
	}
	return n, x.over(err)
}

// trailers fills in Response.Trailer.
func (x *exchange) trailers() {
	for _, f := range x.st.Trailers() {
		if x.resp.Trailer == nil {
			x.resp.Trailer = make(http.Header)
		}
		name := headerKey(f.Name)
		x.resp.Trailer[name] = append(x.resp.Trailer[name], f.Value)
	}
}

// Close ends the exchange: what is still to come of the request or the response does not.
func (x *exchange) Close() error {
	switch {
	case x.halves.Load() > 0:
		x.fail(http.ErrBodyReadAfterClose)
		if x.ended.CompareAndSwap(false, true) {
			x.half()
		}
	case x.open && writeError(x.st.q) == nil:
		x.st.Reset(RequestCancelled) // nobody else would
	}
	return nil
}

// Stream returns the stream of the exchange.
func (x *exchange) Stream() *Stream { return x.st }

// StreamOfResponse returns the stream that a response of a Transport has come on, false if
// request and response have ended already or the body is somebody else's: that of a Client with a Timeout, say, or of
// another protocol. It is for what a program does after a CONNECT beside reading the Body: write, set
// deadlines, end the sides one by one. Response.Body must still be closed: that cuts off what is then still to be written,
// unless CloseWrite has ended it.
func StreamOfResponse(resp *http.Response) (*Stream, bool) {
	b, ok := resp.Body.(interface{ Stream() *Stream })
	if !ok {
		return nil, false
	}
	st := b.Stream()
	return st, st != nil
}

// gunzip is a body that is decompressed as it is read.
type gunzip struct {
	x      *exchange
	z      *gzip.Reader
	err    error
	closed atomic.Bool
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if g.err != nil {
		return 0, g.err
	}
	if g.z == nil {
		z, err := gzip.NewReader(g.x)
		if err != nil {
			g.err = err
			return 0, err
		}
		g.z = z
	}
	n, err := g.z.Read(p)
	g.err = err
	return n, err
}

func (g *gunzip) Close() error {
	g.closed.Store(true)
	return g.x.Close()
}

// stopping is a body that ends the watch over Request.Cancel.
type stopping struct {
	io.ReadCloser
	stop func()
}

func stopsWith(body io.ReadCloser, stop func()) io.ReadCloser {
	if body == http.NoBody {
		stop()
		return body
	}
	return &stopping{body, stop}
}

func (s *stopping) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.stop()
	}
	return n, err
}

func (s *stopping) Close() error {
	err := s.ReadCloser.Close()
	s.stop()
	return err
}

func (s *stopping) Stream() *Stream {
	st, _ := StreamOfResponse(&http.Response{Body: s.ReadCloser})
	return st
}
