package http3

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var clientBehaviours = slices.Concat(requestBehaviours, responseBehaviours, endingBehaviours)

// request makes one for the behaviour's server.
func (e *behaving) request(method, path string, body io.Reader) *http.Request {
	e.Helper()
	return newRequest(e, method, e.url+path, body)
}

// fetch makes a request by the transport alone.
func (e *behaving) fetch(r *http.Request) (*http.Response, string) {
	e.Helper()
	return fetch(e, e.client.Transport, r)
}

// fails makes a request that must fail, and returns how.
func (e *behaving) fails(r *http.Request) error {
	e.Helper()
	resp, err := e.client.Transport.RoundTrip(r)
	if err == nil {
		_ = resp.Body.Close()
		e.Errorf("%s %v: %s, want an error", r.Method, r.URL, resp.Status)
	}
	return err
}

// echoRequest answers with what the request looks like at the server.
func echoRequest(w http.ResponseWriter, r *http.Request) {
	var names []string
	for name, values := range r.Header {
		names = append(names, fmt.Sprintf("%s=%s", name, strings.Join(values, "|")))
	}
	slices.Sort(names)
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %d %v %q %v", r.Method, r.Host, r.RequestURI, r.ContentLength, names, body, err)
}

var requestBehaviours = []behaviour{
	{
		name:    "requests that cannot be sent fail, and their body is closed",
		handler: func(http.ResponseWriter, *http.Request) {},
		run: func(e *behaving) {
			for name, change := range map[string]func(r *http.Request){
				"scheme":     func(r *http.Request) { r.URL.Scheme = "gopher" },
				"host":       func(r *http.Request) { r.URL.Host = "" },
				"name":       func(r *http.Request) { r.Header["A B"] = []string{"1"} },
				"value":      func(r *http.Request) { r.Header["A"] = []string{"\n"} },
				"header":     func(r *http.Request) { r.Header = nil },
				"trailer":    func(r *http.Request) { r.Trailer = http.Header{"Content-Length": nil} },
				"upgrade":    func(r *http.Request) { r.Header.Set("Upgrade", "x") },
				"connection": func(r *http.Request) { r.Header.Set("Connection", "x") },
				"protocol":   func(r *http.Request) { r.Header[":protocol"] = []string{"x"} },
			} {
				body := newBody(strings.NewReader("hello"))
				r := e.request("POST", "/", body)
				change(r)
				if err := e.fails(r); err == nil {
					e.Errorf("%s: no error", name)
				}
				<-body.closed
			}
		},
	},
	{
		name:    "what a request looks like",
		handler: echoRequest,
		run: func(e *behaving) {
			for _, c := range []struct {
				method, path, body string // of unknown length if it begins with a tilde
				name               string // of a header field
				values             []string
				want               string
			}{
				{"", "", "", "", nil, `GET HOST / 0 [] ""`},
				{"GET", "/a%2Fb?c=d%20e#f", "", "", nil, `GET HOST /a%2Fb?c=d%20e 0 [] ""`},
				{"OPTIONS", "?x", "", "", nil, `OPTIONS HOST /?x 0 [] ""`},
				{"GET", "//double", "", "", nil, `GET HOST //double 0 [] ""`},
				{"BREW", "/pot", "", "", nil, `BREW HOST /pot 0 [] ""`},
				{"DELETE", "/", "", "", nil, `DELETE HOST / 0 [] ""`},
				{"POST", "/", "", "", nil, `POST HOST / 0 [Content-Length=0] ""`},
				{"PUT", "/", "", "", nil, `PUT HOST / 0 [Content-Length=0] ""`},
				{"POST", "/", "hello", "", nil, `POST HOST / 5 [Content-Length=5] "hello"`},
				{"GET", "/", "hello", "", nil, `GET HOST / 5 [Content-Length=5] "hello"`},
				{"POST", "/", "~hello", "", nil, `POST HOST / -1 [] "hello"`},
				{"GET", "/", "", "Host", []string{"evil.example"}, `GET HOST / 0 [] ""`},
				{"GET", "/", "", "Content-Length", []string{"7"}, `GET HOST / 0 [] ""`},
				{"GET", "/", "", "Connection", []string{"keep-alive"}, `GET HOST / 0 [] ""`},
				{"GET", "/", "", "Keep-Alive", []string{"1"}, `GET HOST / 0 [] ""`},
				{"GET", "/", "", "Transfer-Encoding", []string{"chunked"}, `GET HOST / 0 [] ""`},
				{"GET", "/", "", "Cookie", []string{"a=1; b=2;c=3"}, `GET HOST / 0 [Cookie=a=1; b=2; c=3] ""`},
				{"GET", "/", "", "X-Many", []string{"1", "2", ""}, `GET HOST / 0 [X-Many=1|2|] ""`},
				{"GET", "/", "", "x-small", []string{"é"}, `GET HOST / 0 [X-Small=é] ""`},
				{"GET", "/", "", "User-Agent", []string{"me", "ignored"}, `GET HOST / 0 [User-Agent=me] ""`},
				{"GET", "/", "", "Te", []string{"trailers"}, `GET HOST / 0 [Te=trailers] ""`},
				{"GET", "/", "", "Range", []string{"bytes=1-"}, `GET HOST / 0 [Range=bytes=1-] ""`},
				{"GET", "/", "", "Accept-Encoding", []string{"br"}, `GET HOST / 0 [Accept-Encoding=br] ""`},
			} {
				body, unknown := strings.CutPrefix(c.body, "~")
				r := e.request(c.method, c.path, nil)
				if unknown {
					r.Body = newBody(strings.NewReader(body))
				} else if body != "" {
					r = e.request(c.method, c.path, strings.NewReader(body))
				}
				r.Header["User-Agent"] = nil
				if c.name != "" {
					r.Header[c.name] = c.values
				}
				_, got := e.fetch(r)
				got = strings.Replace(got, strings.TrimPrefix(e.url, "https://"), "HOST", 1)
				got = strings.Replace(strings.Replace(got, "Accept-Encoding=gzip", "", 1), "[ ", "[", 1)
				if got != c.want+" <nil>" {
					e.Errorf("%s, want %s", got, c.want)
				}
			}
		},
	},
	{
		name:    "a host of the program's own",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) },
		run: func(e *behaving) {
			for host, want := range map[string]string{"other.example:1": "other.example:1", "bücher.example": "xn--bcher-kva.example"} {
				r := e.request("GET", "/", nil)
				r.Host = host
				if _, got := e.fetch(r); got != want {
					e.Errorf("host %q, want %q", got, want)
				}
			}
		},
	},
	{
		name:    "a name for the client",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.UserAgent()) },
		run: func(e *behaving) {
			if _, got := e.fetch(e.request("GET", "/", nil)); got == "" {
				e.Error("no User-Agent")
			}
			r := e.request("GET", "/", nil)
			r.Header.Set("User-Agent", "")
			if _, got := e.fetch(r); got != "" {
				e.Errorf("User-Agent %q", got)
			}
		},
	},
	{
		name: "a body and a response at once",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(flushing{w}, r.Body)
		},
		run: func(e *behaving) {
			pr, pw := io.Pipe()
			resp, err := e.client.Transport.RoundTrip(e.request("POST", "/", pr))
			must(e, err)
			for _, word := range []string{"one", "two"} {
				write(e, pw, word)
				got := make([]byte, 3)
				if _, err := io.ReadFull(resp.Body, got); string(got) != word || err != nil {
					e.Errorf("%q %v", got, err)
				}
			}
			must(e, pw.Close())
			if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil {
				e.Errorf("%q %v", rest, err)
			}
		},
	},
	{
		name:    "an expectation that is not answered",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		client: func(t *tuning) {
			if t.http2Transport != nil {
				t.http2Transport.ExpectContinueTimeout = time.Millisecond
			} else {
				t.http3Transport.ExpectContinueTimeout = time.Millisecond
			}
		},
		run: func(e *behaving) {
			r := e.request("POST", "/", strings.NewReader("hello"))
			r.Header.Set("Expect", "100-continue")
			if _, body := e.fetch(r); body != "hello" {
				e.Errorf("body %q", body)
			}
		},
	},
	{
		name: "a redirection with its body",
		handler: func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.URL.Path == "/" {
				w.Header().Set("Location", "/there")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			_, _ = w.Write(body)
		},
		run: func(e *behaving) {
			resp, err := e.client.Do(e.request("POST", "/", strings.NewReader("hello")))
			must(e, err)
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != "hello" || err != nil || resp.Request.URL.Path != "/there" {
				e.Errorf("%q %v %v", body, err, resp.Request.URL)
			}
		},
	},
}

// flushing flushes after each write, where the writer can.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	_ = http.NewResponseController(f.w).Flush()
	return n, err
}

var responseBehaviours = []behaviour{
	{
		name: "what a response looks like",
		handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["X-Twice"] = []string{"1", "2"}
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "hello")
		},
		run: func(e *behaving) {
			r := e.request("GET", "/", nil)
			resp, body := e.fetch(r)
			if resp.Status != "200 OK" || resp.StatusCode != 200 || resp.Proto != e.proto || !slices.Equal(resp.Header["X-Twice"], []string{"1", "2"}) ||
				resp.ContentLength != 5 || resp.Request != r || resp.TLS == nil || !resp.TLS.HandshakeComplete || resp.Uncompressed || body != "hello" {
				e.Errorf("%+v %q", resp, body)
			}
		},
	},
	{
		name: "responses without a body",
		handler: func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/204":
				w.WriteHeader(204)
			case "/304":
				w.Header().Set("Etag", `"x"`)
				w.WriteHeader(304)
			case "/head":
				w.Header().Set("Content-Length", "1000")
			case "/empty":
				w.Header().Set("Content-Length", "0")
			}
		},
		run: func(e *behaving) {
			for _, c := range []struct {
				method, path string
				status       int
				length       int64
			}{{"GET", "/204", 204, 0}, {"GET", "/304", 304, 0}, {"HEAD", "/head", 200, 1000}, {"GET", "/empty", 200, 0}} {
				resp, body := e.fetch(e.request(c.method, c.path, nil))
				if resp.StatusCode != c.status || resp.ContentLength != c.length || body != "" {
					e.Errorf("%s: %d, length %d, %q", c.path, resp.StatusCode, resp.ContentLength, body)
				}
			}
		},
	},
	{
		name: "compression",
		handler: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "gzip" {
				_, _ = io.WriteString(w, "plain")
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, "packed")
			_ = z.Close()
		},
		run: func(e *behaving) {
			resp, body := e.fetch(e.request("GET", "/", nil))
			if body != "packed" || !resp.Uncompressed || resp.Header.Get("Content-Encoding") != "" || resp.ContentLength != -1 {
				e.Errorf("%q %+v", body, resp)
			}
			r := e.request("GET", "/", nil)
			r.Header.Set("Range", "bytes=0-")
			if resp, body := e.fetch(r); body != "plain" || resp.Uncompressed {
				e.Errorf("%q %+v", body, resp)
			}
			r = e.request("GET", "/", nil)
			r.Header.Set("Accept-Encoding", "gzip")
			if resp, body := e.fetch(r); body == "packed" || resp.Uncompressed || resp.Header.Get("Content-Encoding") != "gzip" {
				e.Errorf("%q %+v", body, resp)
			}
		},
	},
	{
		name: "many requests at once",
		handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.URL.Query().Get("n"))
		},
		run: func(e *behaving) {
			var wg sync.WaitGroup
			for i := range 300 {
				wg.Go(func() {
					resp, err := e.client.Get(fmt.Sprintf("%s/?n=%d", e.url, i))
					if err != nil {
						e.Error(err)
						return
					}
					defer resp.Body.Close()
					if body, err := io.ReadAll(resp.Body); string(body) != fmt.Sprint(i) || err != nil {
						e.Errorf("%q %v", body, err)
					}
				})
			}
			wg.Wait()
		},
	},
	{
		name:    "what a trace is told",
		handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		run: func(e *behaving) {
			for _, reused := range []bool{false, true} {
				var mu sync.Mutex
				told := make(map[string]int)
				note := func(what string) {
					mu.Lock()
					defer mu.Unlock()
					told[what]++
				}
				r := e.request("POST", "/", strings.NewReader("hello"))
				r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
					GetConn:              func(hostPort string) { note("get " + hostPort) },
					GotConn:              func(i httptrace.GotConnInfo) { note(fmt.Sprintf("got %v %v", i.Reused, i.Conn.RemoteAddr())) },
					TLSHandshakeStart:    func() { note("handshake") },
					WroteHeaderField:     func(name string, _ []string) { note("field " + name) },
					WroteHeaders:         func() { note("headers") },
					WroteRequest:         func(i httptrace.WroteRequestInfo) { note(fmt.Sprint("request ", i.Err)) },
					GotFirstResponseByte: func() { note("first byte") },
				}))
				e.fetch(r)
				host := strings.TrimPrefix(e.url, "https://")
				want := []string{"get " + host, fmt.Sprintf("got %v %s", reused, host), "field :method", "field content-length", "headers", "request <nil>", "first byte"}
				if !reused {
					want = append(want, "handshake")
				}
				mu.Lock()
				for _, what := range want {
					if told[what] != 1 {
						e.Errorf("%q is not told once: %v", what, told)
					}
				}
				mu.Unlock()
			}
		},
	},
}

// stall answers with headers, and then waits for the client to go.
func stall(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/headers" {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
	}
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// endless is a request body that ends when it is closed.
func (e *behaving) endless(path string) (*http.Request, *watchedBody) {
	pr, _ := io.Pipe()
	body := newBody(pr)
	return e.request("POST", path, body), body
}

var endingBehaviours = []behaviour{
	{
		name:    "a context that ends before the response",
		handler: stall,
		run: func(e *behaving) {
			r, body := e.endless("/headers")
			ctx, cancel := context.WithCancel(r.Context())
			go func() {
				<-body.read
				cancel()
			}()
			if err := e.fails(r.WithContext(ctx)); !errors.Is(err, context.Canceled) {
				e.Errorf("error %v", err)
			}
			<-body.closed
		},
	},
	{
		name:    "a context that has ended",
		handler: func(http.ResponseWriter, *http.Request) { panic("a request came") },
		run: func(e *behaving) {
			body := newBody(strings.NewReader("x"))
			r := e.request("POST", "/", body)
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			if err := e.fails(r.WithContext(ctx)); !errors.Is(err, context.Canceled) {
				e.Errorf("error %v", err)
			}
			<-body.closed
		},
	},
	{
		name:    "a context that ends within the response",
		handler: stall,
		run: func(e *behaving) {
			r := e.request("GET", "/", nil)
			ctx, cancel := context.WithCancel(r.Context())
			resp, err := e.client.Transport.RoundTrip(r.WithContext(ctx))
			must(e, err)
			_, err = io.ReadFull(resp.Body, make([]byte, 5))
			must(e, err)
			cancel()
			if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
				e.Errorf("error %v", err)
			}
			must(e, resp.Body.Close())
		},
	},
	{
		name:    "a Client's Timeout",
		handler: stall,
		run: func(e *behaving) {
			r, body := e.endless("/headers")
			c := &http.Client{Transport: e.client.Transport, Timeout: 20 * time.Millisecond}
			_, err := c.Do(r)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				e.Errorf("error %v", err)
			}
			<-body.closed
		},
	},
	{
		name:    "a response that is closed early",
		handler: stall,
		run: func(e *behaving) {
			r, body := e.endless("/")
			resp, err := e.client.Transport.RoundTrip(r)
			must(e, err)
			must(e, resp.Body.Close())
			must(e, resp.Body.Close())
			if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
				e.Errorf("a read after Close: %v", err)
			}
			<-body.closed
		},
	},
	{
		name: "headers that do not come",
		handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
		client: func(t *tuning) {
			if t.http2Transport != nil {
				t.http2Transport.ResponseHeaderTimeout = time.Millisecond
			} else {
				t.http3Transport.ResponseHeaderTimeout = time.Millisecond
			}
		},
		run: func(e *behaving) {
			for _, body := range []string{"", "hello"} {
				var timeout net.Error
				if err := e.fails(e.request("POST", "/", strings.NewReader(body))); !errors.As(err, &timeout) || !timeout.Timeout() {
					e.Errorf("error %v", err)
				}
			}
		},
	},
	{
		name: "a server that has heard enough",
		handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/413" {
				w.WriteHeader(413)
			}
			_, _ = io.WriteString(w, "enough")
		},
		run: func(e *behaving) {
			for _, path := range []string{"/", "/413"} {
				pr, pw := io.Pipe()
				body := newBody(pr)
				go func() {
					for {
						if _, err := pw.Write(make([]byte, 32<<10)); err != nil {
							return
						}
					}
				}()
				if _, got := e.fetch(e.request("POST", path, body)); got != "enough" {
					e.Errorf("%q", got)
				}
				<-body.closed
			}
		},
	},
	{
		name:    "a body that cannot be read",
		handler: echoRequest,
		run: func(e *behaving) {
			broken := errors.New("broken")
			body := newBody(io.MultiReader(strings.NewReader("hello"), &failing{broken}))
			if err := e.fails(e.request("POST", "/", body)); !errors.Is(err, broken) {
				e.Errorf("error %v", err)
			}
			<-body.closed
		},
	},
	{
		name:    "Request.Cancel",
		handler: stall,
		run: func(e *behaving) {
			r, body := e.endless("/headers")
			cancel := make(chan struct{})
			//lint:ignore SA1019 old programs use it
			r.Cancel = cancel
			go func() {
				<-body.read
				close(cancel)
			}()
			if err := e.fails(r); err != nil && !strings.Contains(err.Error(), "cancel") {
				e.Errorf("error %v", err)
			}
			<-body.closed
		},
	},
	{
		name: "idle connections are closed, and new ones made",
		handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.RemoteAddr)
		},
		run: func(e *behaving) {
			var conns atomic.Int32
			for range 3 {
				for range 2 {
					r := e.request("GET", "/", nil)
					e.fetch(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
						GotConn: func(i httptrace.GotConnInfo) {
							if !i.Reused {
								conns.Add(1)
							}
						},
					})))
				}
				e.client.CloseIdleConnections()
			}
			if n := conns.Load(); n != 3 {
				e.Errorf("%d connections", n)
			}
		},
	},
}
