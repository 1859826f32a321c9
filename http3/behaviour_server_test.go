package http3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var serverBehaviours = []behaviour{
	{
		name:    "a request's protocol",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) },
		run: func(e *behaving) {
			if resp, body := e.get("/"); body != e.proto || resp.Proto != e.proto {
				e.Errorf("%q %q", body, resp.Proto)
			}
		},
	},
	{
		name:    "fields that nobody has set",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>hello") },
		run: func(e *behaving) {
			resp, _ := e.get("/")
			if resp.ContentLength != 11 || resp.Header.Get("Content-Length") != "11" {
				e.Errorf("Content-Length %d, %q", resp.ContentLength, resp.Header.Get("Content-Length"))
			}
			if got := resp.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
				e.Errorf("Content-Type %q", got)
			}
			if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
				e.Errorf("Date: %v", err)
			}
		},
	},
	{
		name: "fields that are not wanted",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			w.Header().Set("Content-Encoding", "x-none") // no sniffing then
			_, _ = io.WriteString(w, "<html>hello")
		},
		run: func(e *behaving) {
			resp, _ := e.get("/")
			for _, name := range []string{"Date", "Content-Type"} {
				if v, ok := resp.Header[name]; ok {
					e.Errorf("%s: %q", name, v)
				}
			}
		},
	},
	{
		name:    "no body at all",
		handler: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-A", "1") },
		run: func(e *behaving) {
			resp, body := e.get("/")
			if resp.StatusCode != 200 || resp.ContentLength != 0 || resp.Header.Get("X-A") != "1" || body != "" {
				e.Errorf("%v %q", resp, body)
			}
			if v, ok := resp.Header["Content-Type"]; ok {
				e.Errorf("Content-Type %q", v)
			}
		},
	},
	{
		name: "a long body has no length",
		handler: func(w http.ResponseWriter, r *http.Request) {
			for range 1000 {
				_, _ = io.WriteString(w, "0123456789")
			}
		},
		run: func(e *behaving) {
			resp, body := e.get("/")
			if resp.ContentLength != -1 || body != strings.Repeat("0123456789", 1000) {
				e.Errorf("Content-Length %d, %d bytes", resp.ContentLength, len(body))
			}
		},
	},
	{
		name: "a declared length",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000")
			for range 1000 {
				_, _ = io.WriteString(w, "0123456789")
			}
		},
		run: func(e *behaving) {
			if resp, body := e.get("/"); resp.ContentLength != 10000 || len(body) != 10000 {
				e.Errorf("Content-Length %d, %d bytes", resp.ContentLength, len(body))
			}
		},
	},
	{
		name: "Flush and both ways at once",
		handler: func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			if err := errors.Join(rc.EnableFullDuplex(), rc.Flush()); err != nil {
				_, _ = io.WriteString(w, err.Error())
			}
			b := make([]byte, 100)
			for {
				n, err := r.Body.Read(b)
				if err != nil {
					return
				}
				_, _ = w.Write(bytes.ToUpper(b[:n]))
				w.(http.Flusher).Flush()
			}
		},
		run: func(e *behaving) {
			pr, pw := io.Pipe()
			req, _ := http.NewRequest("POST", e.url+"/", pr)
			resp, err := e.client.Do(req)
			if err != nil {
				e.Fatal(err)
			}
			defer resp.Body.Close()
			for _, word := range []string{"one", "two", "three"} {
				_, _ = io.WriteString(pw, word)
				b := make([]byte, len(word))
				if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != strings.ToUpper(word) {
					e.Fatalf("%q, %v", b, err)
				}
			}
			_ = pw.Close()
			if b, err := io.ReadAll(resp.Body); len(b) != 0 || err != nil {
				e.Errorf("%q, %v", b, err)
			}
		},
	},
	{
		name: "HEAD",
		handler: func(w http.ResponseWriter, r *http.Request) {
			if n, err := io.WriteString(w, "hello"); n != 5 || err != nil {
				panic(err)
			}
		},
		run: func(e *behaving) {
			resp, err := e.client.Head(e.url + "/")
			if err != nil {
				e.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if resp.ContentLength != 5 || len(body) != 0 || err != nil || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				e.Errorf("%v %q %v", resp, body, err)
			}
		},
	},
	{
		name: "HEAD of a long body",
		handler: func(w http.ResponseWriter, r *http.Request) {
			for range 1000 {
				_, _ = io.WriteString(w, "0123456789") // HTTP/2 of net/http fails when it has sent the headers
			}
		},
		run: func(e *behaving) {
			resp, err := e.client.Head(e.url + "/")
			if err != nil {
				e.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); len(body) != 0 || err != nil {
				e.Errorf("%v %q %v", resp, body, err)
			}
		},
	},
	statusWithoutBody(http.StatusNoContent),
	statusWithoutBody(http.StatusNotModified),
	{
		name:   "too much body",
		server: quiet,
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			if _, err := io.WriteString(w, "hello"); err != nil {
				panic(err)
			}
			w.(http.Flusher).Flush()
			if n, err := io.WriteString(w, "!"); n != 0 || err == nil {
				panic("more than was declared")
			}
		},
		run: func(e *behaving) {
			if _, body := e.get("/"); body != "hello" {
				e.Errorf("%q", body)
			}
		},
	},
	{
		name:   "too little body",
		server: quiet,
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
		},
		run: func(e *behaving) { e.wantBroken("/") },
	},
	{
		name:    "a panic",
		server:  quiet,
		handler: func(w http.ResponseWriter, r *http.Request) { panic("on purpose") },
		run:     func(e *behaving) { e.wantBroken("/") },
	},
	{
		name: "ErrAbortHandler behind headers",
		handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half a res")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		server: loudIsFatal,
		run:    func(e *behaving) { e.wantBroken("/") },
	},
	{
		name: "fields of HTTP/1.1 and values that cannot be",
		handler: func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			for _, name := range []string{"Proxy-Connection", "Keep-Alive", "Upgrade"} {
				if r.ProtoMajor == 3 { // HTTP/2 of net/http sends them
					h.Set(name, "x")
				}
			}
			h.Set("Connection", "keep-alive")
			h.Set("Transfer-Encoding", "chunked")
			h["X-Bad"] = []string{"a\nb", "c\x00"}
			h["X Bad"] = []string{"a"}
			h["X-Good"] = []string{"a\nb", "c"}
			h["x-low"] = []string{"d"}
		},
		run: func(e *behaving) {
			resp, _ := e.get("/")
			for name, want := range map[string]string{"X-Good": "c", "X-Low": "d", "X-Bad": "", "X bad": "", "Connection": "",
				"Transfer-Encoding": "", "Proxy-Connection": "", "Keep-Alive": "", "Upgrade": ""} {
				if got := strings.Join(resp.Header[name], ","); got != want {
					e.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		},
	},
	{
		name: "the first status counts, and the fields at that time",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-A", "before")
			w.WriteHeader(404)
			w.Header().Set("X-A", "behind")
			w.Header().Set("X-B", "behind")
			w.WriteHeader(500)
		},
		server: quiet,
		run: func(e *behaving) {
			if resp, _ := e.get("/"); resp.StatusCode != 404 || resp.Header.Get("X-A") != "before" || resp.Header.Get("X-B") != "" {
				e.Errorf("%v", resp)
			}
		},
	},
	{
		name: "a status that cannot be",
		handler: func(w http.ResponseWriter, r *http.Request) {
			defer func() { fmt.Fprint(w, recover()) }()
			w.WriteHeader(99)
		},
		run: func(e *behaving) {
			if _, body := e.get("/"); body != "invalid WriteHeader code 99" {
				e.Errorf("%q", body)
			}
		},
	},
	{
		name: "what a request has",
		handler: func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			local, _ := ctx.Value(http.LocalAddrContextKey).(net.Addr)
			_, _, err := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintln(w, r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.URL.Host == "", "https://"+r.Host == "https://"+local.String(),
				r.Header["X-A"], r.Header.Get("Host") == "", ctx.Value(http.ServerContextKey) != nil, err, r.ContentLength, r.Body != nil,
				r.TLS.HandshakeComplete, r.TLS.Version == 0x304, len(r.Trailer))
		},
		run: func(e *behaving) {
			req, _ := http.NewRequest("GET", e.url+"/a%20b?c=d", nil)
			req.Header["X-A"] = []string{"1", "2"}
			_, body := e.do(req)
			if want := "GET /a%20b?c=d /a b c=d true true [1 2] true true <nil> 0 true true true 0\n"; body != want {
				e.Errorf("\n%s want\n%s", body, want)
			}
		},
	},
	{
		name:    "OPTIONS *",
		handler: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		run: func(e *behaving) {
			u, _ := url.Parse(e.url)
			resp, _ := e.do(&http.Request{Method: "OPTIONS", URL: &url.URL{Scheme: "https", Host: u.Host, Opaque: "*"}})
			if resp.StatusCode != 200 || resp.ContentLength != 0 {
				e.Errorf("%v", resp)
			}
		},
	},
	{
		name: "MaxBytesReader",
		handler: func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 5))
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		},
		run: func(e *behaving) {
			resp, err := e.client.Post(e.url+"/", "text/plain", strings.NewReader("0123456789"))
			if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
				e.Fatalf("%v, %v", resp, err)
			}
			resp.Body.Close()
		},
	},
	{
		name:    "a body that nobody reads",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "no, thanks") },
		run: func(e *behaving) {
			resp, err := e.client.Post(e.url+"/", "text/plain", io.LimitReader(zeros{}, 10<<20))
			if err != nil {
				e.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != "no, thanks" || err != nil {
				e.Errorf("%q, %v", body, err)
			}
		},
	},
	contextOfClient(),
	contextOfHandler(),
	{
		name: "a file, and parts of it",
		handler: func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, r.URL.Query().Get("name"))
		},
		run: func(e *behaving) {
			content := bytes.Repeat([]byte("0123456789abcdef"), 20000)
			name := e.TempDir() + "/file.bin"
			if err := os.WriteFile(name, content, 0o600); err != nil {
				e.Fatal(err)
			}
			resp, body := e.get("/?name=" + name)
			if resp.ContentLength != int64(len(content)) || body != string(content) {
				e.Errorf("Content-Length %d, %d bytes", resp.ContentLength, len(body))
			}
			req, _ := http.NewRequest("GET", e.url+"/?name="+name, nil)
			req.Header.Set("Range", "bytes=100-200099")
			resp, body = e.do(req)
			if resp.StatusCode != 206 || body != string(content[100:200100]) {
				e.Errorf("status %d, %d bytes", resp.StatusCode, len(body))
			}
		},
	},
	{
		name: "a file copied behind other bytes, without a type",
		handler: func(w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(r.URL.Query().Get("name"))
			if err != nil {
				panic(err)
			}
			defer f.Close()
			if r.URL.Query().Has("before") {
				_, _ = io.WriteString(w, "before")
			}
			var file io.Reader = f
			if r.Method == "HEAD" {
				file = io.LimitReader(f, 20000) // as http.ServeContent has it, and not by the file's WriteTo
			}
			if n, err := io.Copy(w, file); n != 10000 || err != nil {
				panic(err)
			}
			_, _ = io.WriteString(w, "behind")
		},
		run: func(e *behaving) {
			content := "<html>" + strings.Repeat("x", 10000-6)
			name := e.TempDir() + "/file"
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				e.Fatal(err)
			}
			resp, body := e.get("/?name=" + name)
			if got := resp.Header.Get("Content-Type"); got != "text/html; charset=utf-8" || body != content+"behind" {
				e.Errorf("%q, %d bytes", got, len(body))
			}
			req, _ := http.NewRequest("HEAD", e.url+"/?name="+name, nil)
			resp, body = e.do(req)
			if got := resp.Header.Get("Content-Type"); got != "text/html; charset=utf-8" || resp.ContentLength >= 0 && resp.ContentLength != 10006 || body != "" {
				e.Errorf("HEAD: %q, a length of %d, %d bytes", got, resp.ContentLength, len(body))
			}
			resp, body = e.get("/?before&name=" + name)
			if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" || body != "before"+content+"behind" {
				e.Errorf("%q, %d bytes", got, len(body))
			}
		},
	},
	{
		name: "a read deadline of the handler's",
		handler: func(w http.ResponseWriter, r *http.Request) {
			err := http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
			_, rerr := r.Body.Read(make([]byte, 1))
			fmt.Fprint(w, err, errors.Is(rerr, os.ErrDeadlineExceeded))
		},
		run: func(e *behaving) {
			pr, pw := io.Pipe()
			defer pw.Close()
			resp, err := e.client.Post(e.url+"/", "text/plain", pr)
			if err != nil {
				e.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != "<nil> true" || err != nil {
				e.Errorf("%q, %v", body, err)
			}
		},
	},
	{
		name:   "a write deadline of the handler's",
		server: quiet,
		handler: func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
				panic(err)
			}
			<-r.Context().Done()
		},
		run: func(e *behaving) { e.wantBroken("/") },
	},
	{
		name: "a body that was closed",
		handler: func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			_, err := r.Body.Read(make([]byte, 1))
			fmt.Fprint(w, err != nil && err != io.EOF)
		},
		run: func(e *behaving) {
			resp, err := e.client.Post(e.url+"/", "text/plain", strings.NewReader("hello"))
			if err != nil {
				e.Fatal(err)
			}
			defer resp.Body.Close()
			if body, _ := io.ReadAll(resp.Body); string(body) != "true" {
				e.Errorf("%q", body)
			}
		},
	},
}

// get makes a request that must succeed, and returns the body.
func (e *behaving) get(path string) (*http.Response, string) {
	e.Helper()
	req, err := http.NewRequest("GET", e.url+path, nil)
	if err != nil {
		e.Fatal(err)
	}
	return e.do(req)
}

func (e *behaving) do(req *http.Request) (*http.Response, string) {
	e.Helper()
	resp, err := e.client.Do(req)
	if err != nil {
		e.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.Fatal(err)
	}
	return resp, string(body)
}

// wantBroken makes a request whose response must not look whole.
func (e *behaving) wantBroken(path string) {
	e.Helper()
	resp, err := e.client.Get(e.url + path)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		e.Errorf("the response came whole: %q", body)
	}
}

// statusWithoutBody is a status with which a body cannot be written.
func statusWithoutBody(status int) behaviour {
	return behaviour{
		name: fmt.Sprintf("status %d has no body", status),
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			if n, err := io.WriteString(w, "hello"); n != 0 || err != http.ErrBodyNotAllowed {
				panic(fmt.Sprintf("%d, %v", n, err))
			}
		},
		run: func(e *behaving) {
			resp, body := e.get("/")
			if resp.StatusCode != status || body != "" || resp.Header.Get("Content-Length") != "" {
				e.Errorf("%v %q", resp, body)
			}
		},
	}
}

// contextOfClient is a client that goes away in the middle of a response.
func contextOfClient() behaviour {
	gone := make(chan error, 2)
	return behaviour{
		name: "the context ends when the client goes away",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			<-ctx.Done()
			gone <- r.Context().Err()
		},
		run: func(e *behaving) {
			resp, err := e.client.Get(e.url + "/")
			if err != nil {
				e.Fatal(err)
			}
			_ = resp.Body.Close()
			if err := <-gone; err != context.Canceled {
				e.Errorf("Err: %v", err)
			}
		},
	}
}

// contextOfHandler is a context that somebody keeps.
func contextOfHandler() behaviour {
	kept := make(chan context.Context, 2)
	return behaviour{
		name: "the context ends with the handler",
		handler: func(w http.ResponseWriter, r *http.Request) {
			if err := r.Context().Err(); err != nil {
				panic(err)
			}
			kept <- r.Context()
		},
		run: func(e *behaving) {
			e.get("/")
			ctx := <-kept
			<-ctx.Done()
			if err := ctx.Err(); err != context.Canceled {
				e.Errorf("Err: %v", err)
			}
		},
	}
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// quiet makes the server's log go nowhere.
func quiet(s *tuning) { s.logTo(io.Discard) }

// loudIsFatal makes a log line an error.
func loudIsFatal(s *tuning) { s.logTo(loud{}) }

type loud struct{}

func (loud) Write(p []byte) (int, error) { panic("a log line: " + string(p)) }

func (s *tuning) logTo(w io.Writer) {
	l := log.New(w, "", 0)
	if s.http2Server != nil {
		s.http2Server.ErrorLog = l
	} else {
		s.http3Server.ErrorLog = l
	}
}

// logBook is a log that can be read.
type logBook struct {
	mu    sync.Mutex
	b     bytes.Buffer
	lines chan struct{} // closed by the next one; nil while nobody waits
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines != nil {
		close(l.lines)
		l.lines = nil
	}
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wait waits for a line that is written after the client can see why.
func (l *logBook) wait(words string) {
	for {
		l.mu.Lock()
		there := strings.Contains(l.b.String(), words)
		if l.lines == nil {
			l.lines = make(chan struct{})
		}
		lines := l.lines
		l.mu.Unlock()
		if there {
			return
		}
		<-lines
	}
}

// wantLog checks that a log has a line with certain words.
func wantLog(t testing.TB, l *logBook, words string) {
	t.Helper()
	if got := l.String(); !strings.Contains(got, words) {
		t.Errorf("the log has no %q:\n%s", words, got)
	}
}
