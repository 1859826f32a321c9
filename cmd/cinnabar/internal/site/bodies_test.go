package site

import (
	"bufio"
	"context"
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

// overHTTP has net/http serve a connection by a handler, in virtual time.
func overHTTP(h http.Handler) (c net.Conn, end func()) {
	l := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
	server := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
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
				c, end := overHTTP(s)
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
				conn, end := overHTTP(s)
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

// twice is a handler that reads as much of an upload as it wants, works, and reads the rest.
func twice(s *Site, first int64, work time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in := s.body(w, r)
		n, err := io.CopyN(io.Discard, in, first)
		if err == nil {
			time.Sleep(work)
			n, err = io.Copy(io.Discard, in)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, n)
	}
}

// What the server does between two reads is no time of its client's, whose upload goes on afterwards: neither while nothing is
// read nor by the next read is it cut off.
func TestUploadWhileServerWorks(t *testing.T) {
	const size = 3 * 20 << 10 // no more than a piece
	for _, version := range []int{1, 2} {
		for _, c := range []struct {
			name   string
			every  time.Duration // KiB of the upload is due
			work   time.Duration
			status int
		}{
			{"at once", 0, patience + time.Second, http.StatusOK},
			{"slowly", patience / 30, 5 * patience / 3, http.StatusOK}, // it takes two minutes, of which 20 s are waited for
			{"too slowly", patience / 59, time.Second, http.StatusBadRequest},
		} {
			t.Run(fmt.Sprintf("HTTP/%d %s", version, c.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, _ := testSite(t, Options{Upload: true}, map[string]string{})
					conn, end := overHTTP(twice(s, 2<<10, c.work))
					body, out := io.Pipe()
					wrote := make(chan struct{})
					defer func() { end(); body.Close(); <-wrote }()
					go func() {
						defer close(wrote)
						defer out.Close()
						begin := time.Now()
						for i := range size >> 10 {
							time.Sleep(time.Until(begin.Add(time.Duration(i+1) * c.every)))
							if _, err := out.Write(make([]byte, 1<<10)); err != nil {
								return
							}
						}
					}()
					client := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }, Protocols: new(http.Protocols)}
					defer client.CloseIdleConnections()
					client.Protocols.SetHTTP1(version == 1)
					client.Protocols.SetUnencryptedHTTP2(version == 2)
					r, err := http.NewRequestWithContext(t.Context(), "PUT", "http://a/a", body)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := client.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					if resp.StatusCode != c.status || resp.ProtoMajor != version {
						t.Errorf("status %d by HTTP/%d, want %d", resp.StatusCode, resp.ProtoMajor, c.status)
					}
				})
			})
		}
	}
}
