package site

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener for one connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.done); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// overHTTP1 has net/http serve a connection by a handler, in virtual time.
func overHTTP1(h http.Handler) (c net.Conn, end func()) {
	l := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
	server := &http.Server{Handler: h}
	go server.Serve(l)
	c, other := net.Pipe()
	l.conns <- other
	return c, func() { c.Close(); server.Close() }
}

// A request over HTTP/1.1 whose body does not come is answered and over after a while, also where nobody wants the body: net/http
// reads of it what a handler has left.
func TestBodyNeverComes(t *testing.T) {
	for _, head := range []string{
		"GET /a HTTP/1.1\r\nContent-Length: 1000\r\n",
		"GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
		"OPTIONS / HTTP/1.1\r\nContent-Length: 1000\r\n",
		"PATCH /a HTTP/1.1\r\nContent-Length: 1000\r\n",
		"PUT /a HTTP/1.1\r\nContent-Length: 1000\r\nSec-Fetch-Site: cross-site\r\n",
		"PUT /b HTTP/1.1\r\nContent-Length: 1000\r\n",
	} {
		t.Run(head, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dir := testSite(t, Options{Upload: true}, map[string]string{"a": "x"})
				c, end := overHTTP1(s)
				defer end()
				begin := time.Now()
				_ = c.SetDeadline(begin.Add(24 * time.Hour))
				if _, err := io.WriteString(c, head+"Host: a\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(c)
				if took := time.Since(begin); err != nil || took > 2*patience || !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
					t.Errorf("after %v: %q, %v", took, answer, err)
				}
				wantFiles(t, dir, map[string]string{"a": "x"})
			})
		})
	}
}

// What comes of an upload has a pace, or the upload is cut off: a byte now and then is none.
func TestUploadPace(t *testing.T) {
	for _, c := range []struct {
		name   string
		piece  int
		every  time.Duration
		pieces int
		status int
	}{
		{"dripping", 1, patience / 2, 1000, http.StatusBadRequest},
		{"slow", pace, patience - time.Second, 20, http.StatusCreated},
		{"little", 10, patience / 4, 3, http.StatusCreated},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dir := testSite(t, Options{Upload: true}, map[string]string{})
				conn, end := overHTTP1(s)
				wrote := make(chan struct{})
				defer func() { end(); <-wrote }()
				begin := time.Now()
				go func() {
					defer close(wrote)
					fmt.Fprintf(conn, "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", c.piece*c.pieces)
					for range c.pieces {
						time.Sleep(c.every)
						if _, err := io.WriteString(conn, strings.Repeat("x", c.piece)); err != nil {
							return
						}
					}
				}()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != c.status || c.status >= 400 && time.Since(begin) != patience {
					t.Errorf("status %d after %v, want %d", resp.StatusCode, time.Since(begin), c.status)
				}
				if parts, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || (len(parts) == 1) != (c.status == http.StatusCreated) {
					t.Errorf("files: %v, %v", parts, err)
				}
			})
		})
	}
}
