package fetch

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// world is a transport that leads to a handler, without a network.
type world struct {
	http.Handler
	asked []string // "METHOD host path", and what was sent
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.asked = append(w.asked, strings.TrimSpace(fmt.Sprintf("%s %s%s %s", r.Method, r.URL.Host, r.URL.RequestURI(), body)))
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request, resp.Proto, resp.ProtoMajor, resp.ProtoMinor = r, "HTTP/3.0", 3, 0
	if e := resp.Header.Get("Test-Cut"); e != "" {
		resp.Body = io.NopCloser(io.MultiReader(resp.Body, cut{}))
	}
	return resp, nil
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

const digits = "0123456789"

// testWorld serves what the tests ask for.
func testWorld() *world {
	mux := http.NewServeMux()
	file := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader(digits))
	}
	mux.HandleFunc("/file", file)
	mux.HandleFunc("/whole", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, digits) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Test-Cut", "yes")
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, digits[:4])
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, digits[:4])
	})
	mux.HandleFunc("/odd-range", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-9/10")
		w.WriteHeader(206)
		io.WriteString(w, digits)
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
		}
		w.WriteHeader(code)
		io.WriteString(w, "status")
	})
	mux.HandleFunc("/hops/{n}", func(w http.ResponseWriter, r *http.Request) {
		n := 0
		if fmt.Sscan(r.PathValue("n"), &n); n > 0 {
			http.Redirect(w, r, fmt.Sprint(n-1), http.StatusFound)
		}
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, digits)
		z.Close()
		packed(w, "gzip", b.Bytes())
	})
	mux.HandleFunc("/deflate", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		io.WriteString(z, digits)
		z.Close()
		packed(w, "deflate", b.Bytes())
	})
	mux.HandleFunc("/not-gzip", func(w http.ResponseWriter, r *http.Request) { packed(w, "gzip", []byte(digits+digits)) })
	mux.HandleFunc("/br", func(w http.ResponseWriter, r *http.Request) { packed(w, "br", []byte("x")) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "host:", r.Host)
		eachField(r.Header, func(name, value string) { fmt.Fprintf(w, "%s: %s\n", name, value) })
	})
	return &world{Handler: mux}
}

func packed(w http.ResponseWriter, coding string, data []byte) {
	w.Header().Set("Content-Encoding", coding)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Write(data)
}

func fetch(t *testing.T, c *Client, address string, to *Target) error {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return c.Fetch(t.Context(), u, to)
}

// get fetches to memory.
func get(t *testing.T, c *Client, path string) (string, error) {
	t.Helper()
	if c.Transport == nil {
		c.Transport = testWorld()
	}
	var out bytes.Buffer
	err := fetch(t, c, "https://one.example"+path, &Target{Writer: &out})
	return out.String(), err
}

// wantCode checks an error's code and text.
func wantCode(t *testing.T, err error, code Code, parts ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%v, want code %d", err, code)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("no %q in %q", p, err)
		}
	}
}

func TestFetch(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client Client
		path   string
		want   string
		code   Code
	}{
		{"body", Client{}, "/file", digits, 0},
		{"with head", Client{Include: true}, "/file", "HTTP/3 200 OK\r\naccept-ranges: bytes\r\ncontent-length: 10\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n" + digits, 0},
		{"head only", Client{Include: true, Request: Request{Method: "HEAD"}}, "/file", "HTTP/3 200 OK\r\naccept-ranges: bytes\r\ncontent-length: 10\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n", 0},
		{"an error is an answer", Client{}, "/status/404", "status", 0},
		{"unless it is to fail", Client{Fail: true}, "/status/404", "", Status},
		{"cut", Client{}, "/cut", "0123", Partial},
		{"short", Client{}, "/short", "0123", Partial},
		{"gzip", Client{Compressed: true}, "/gzip", digits, 0},
		{"deflate", Client{Compressed: true}, "/deflate", digits, 0},
		{"not gzip", Client{Compressed: true}, "/not-gzip", "", Encoding},
		{"not asked for", Client{Compressed: true}, "/br", "", Encoding},
		{"as it comes", Client{}, "/br", "x", 0},
		{"no method", Client{Request: Request{Method: "A B"}}, "/file", "", Malformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := get(t, &tc.client, tc.path)
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if tc.code != 0 {
				wantCode(t, err, tc.code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	_, err := get(t, &Client{}, "/cut")
	wantCode(t, err, Partial, "only 4 of 10 bytes came")
}

func TestFields(t *testing.T) {
	field := func(text string) Field {
		f, err := ParseField(text)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	c := &Client{Request: Request{Agent: "agent", User: "me:secret:too", Fields: []Field{
		field("x-a: 1"), field("X-A: 2"), field("Empty;"), field("Accept:"), field("Host: other"), field("Cookie: a=b"), field("X-Colon: a:b"),
	}}, Compressed: true}
	got, err := get(t, c, "/echo")
	const want = "host: other\naccept-encoding: gzip, deflate\nauthorization: Basic bWU6c2VjcmV0OnRvbw==\ncookie: a=b\nempty: \nuser-agent: agent\nx-a: 1\nx-a: 2\nx-colon: a:b\n"
	if got != want || err != nil {
		t.Errorf("%v, %s, want\n%s", err, got, want)
	}
	// Another host gets no credentials; its own, in the URL, it gets.
	got, _ = get(t, &Client{Request: c.Request, Follow: true, MaxRedirects: 1}, "/status/302?to=https://two.example/echo")
	if strings.Contains(got, "authorization") || strings.Contains(got, "cookie") || !strings.Contains(got, "host: two.example") || !strings.Contains(got, "x-colon") {
		t.Errorf("another host got\n%s", got)
	}
	for _, to := range []string{"https://one.example:444/echo", "https://two.example/status/302%3Fto=https://one.example/echo"} {
		got, _ = get(t, &Client{Request: c.Request, Follow: true, MaxRedirects: 2}, "/status/302?to="+to)
		if strings.Contains(got, "authorization") || !strings.Contains(got, "x-colon") {
			t.Errorf("by way of %s came\n%s", to, got)
		}
	}
	got, _ = get(t, &Client{Request: c.Request, Follow: true, MaxRedirects: 1}, "/status/302?to=/echo")
	if !strings.Contains(got, "authorization") {
		t.Errorf("the same host got\n%s", got)
	}
	var out bytes.Buffer
	fetch(t, &Client{Transport: testWorld()}, "https://a:b@one.example/echo", &Target{Writer: &out})
	if !strings.Contains(out.String(), "authorization: Basic YTpi") {
		t.Errorf("the name in the URL gives %s", &out)
	}
	for _, bad := range []string{"", "x", ":", "a b: c", "a: b\x00", ";", "ä: b"} {
		if f, err := ParseField(bad); err == nil {
			t.Errorf("%q is %+v", bad, f)
		}
	}
}

// Hosts are the same if DNS finds them under one name, and only then: credentials go there.
func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://one.example", "https://ONE.example:443/a", true},
		{"https://b\u00fccher.example", "https://xn--bcher-kva.example/", true},
		{"https://[2001:DB8::1]", "https://[2001:db8::1]/", true},
		{"https://fa\u00df.de", "https://fa\u1e9e.de", false}, // of which one is fass.de
		{"https://one.example", "https://two.example", false},
		{"https://one.example", "https://one.example:444", false},
	} {
		a, errA := url.Parse(c.a)
		b, errB := url.Parse(c.b)
		if errA != nil || errB != nil || sameOrigin(a, b) != c.same || sameOrigin(b, a) != c.same {
			t.Errorf("%+v", c)
		}
	}
}

func TestRedirects(t *testing.T) {
	data := func() Request { return Request{Body: DataBody([]byte("a=b"), "text/x")} }
	file, err := FileBody(writeFile(t, "f", "data"))
	if err != nil {
		t.Fatal(err)
	}
	stream := StreamBody(strings.NewReader("stream"))
	for _, tc := range []struct {
		status  int
		request Request
		want    string // the second request
		code    Code
	}{
		{301, Request{}, "GET one.example/file", 0},
		{302, data(), "GET one.example/file", 0},
		{301, data(), "GET one.example/file", 0},
		{303, data(), "GET one.example/file", 0},
		{303, Request{Method: "PUT", Body: data().Body}, "GET one.example/file", 0},
		{303, Request{Method: "HEAD"}, "HEAD one.example/file", 0},
		{302, Request{Method: "PUT", Body: data().Body}, "PUT one.example/file a=b", 0},
		{307, data(), "POST one.example/file a=b", 0},
		{308, Request{Body: file}, "PUT one.example/file data", 0},
		{307, Request{Body: stream}, "", Rewind},
		{304, Request{}, "", 0},
	} {
		w := testWorld()
		_, err := get(t, &Client{Transport: w, Request: tc.request, Follow: true, MaxRedirects: 5}, fmt.Sprintf("/status/%d?to=/file", tc.status))
		if tc.code != 0 {
			wantCode(t, err, tc.code)
		} else if err != nil {
			t.Errorf("%d: %v", tc.status, err)
		}
		second := ""
		if len(w.asked) == 2 {
			second = w.asked[1]
		}
		if second != tc.want {
			t.Errorf("after %d and %q comes %q, want %q", tc.status, w.asked[0], second, tc.want)
		}
	}
}

func TestRedirectLimits(t *testing.T) {
	follow := func(most int, path string) (string, error) {
		return get(t, &Client{Follow: true, MaxRedirects: most}, path)
	}
	if _, err := follow(3, "/hops/3"); err != nil {
		t.Error(err)
	}
	if _, err := follow(-1, "/hops/30"); err != nil {
		t.Error(err)
	}
	w := testWorld()
	_, err := get(t, &Client{Transport: w, Follow: true, MaxRedirects: 3}, "/hops/4")
	wantCode(t, err, Redirects, "more than 3 times", "--max-redirs")
	if len(w.asked) != 4 {
		t.Errorf("asked %q", w.asked)
	}
	_, err = follow(0, "/status/301?to=/file")
	wantCode(t, err, Redirects)
	_, err = follow(3, "/status/301?to=http://one.example/")
	wantCode(t, err, Unsupported, "http://one.example/")
	_, err = follow(3, "/status/301?to=%25zz")
	wantCode(t, err, Malformed)
	for _, host := range []string{"", ":443", "%C2%AD", "a%EF%BC%8Fb.example"} { // a soft hyphen, a wide slash
		_, err = follow(3, "/status/301?to=https://"+host+"/")
		wantCode(t, err, Malformed, "host is no name")
	}
	if got, err := get(t, &Client{}, "/status/301?to=/file"); got != "status" || err != nil {
		t.Errorf("without Follow: %q, %v", got, err)
	}
	got, _ := get(t, &Client{Follow: true, Include: true, MaxRedirects: 1}, "/status/301?to=/whole")
	if !strings.HasPrefix(got, "HTTP/3 301 Moved Permanently\r\n") || strings.Contains(got, "status\r\n") || !strings.Contains(got, "HTTP/3 200 OK\r\n") {
		t.Errorf("heads: %s", got)
	}
}

func writeFile(t *testing.T, name, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResume(t *testing.T) {
	for _, tc := range []struct {
		name   string
		have   string
		resume Resume
		path   string
		want   string
		code   Code
		text   string
	}{
		{"some", digits[:4], FromSize, "/file", digits, 0, ""},
		{"all", digits, FromSize, "/file", digits, 0, ""},
		{"nothing", "", FromSize, "/file", digits, 0, ""},
		{"too much", digits + "x", FromSize, "/file", digits + "x", Range, "is not the beginning"},
		{"from a byte", "01XXX", 2, "/file", digits, 0, ""},
		{"from beyond", "01", 5, "/file", "01", Range, "has only 2 bytes"},
		{"no resumption", digits[:4], FromSize, "/whole", digits[:4], Range, "leave out -C"},
		{"wrong range", digits[:4], FromSize, "/odd-range", digits[:4], Range, "bytes 0-9/10"},
		{"not found", digits[:4], FromSize, "/status/404", digits[:4], Status, "404 Not Found"},
		{"anew", "XXXXXXXXXXXXXXXX", FromStart, "/file", digits, 0, ""},
		{"cut", "XXXXXXXX", FromStart, "/cut", digits[:4], Partial, "the 4 bytes that came, and -C -"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, "f", tc.have)
			err := fetch(t, &Client{Transport: testWorld()}, "https://one.example"+tc.path, &Target{Path: path, Resume: tc.resume})
			if data, _ := os.ReadFile(path); string(data) != tc.want {
				t.Errorf("the file has %q, want %q", data, tc.want)
			}
			if tc.code != 0 {
				wantCode(t, err, tc.code, tc.text)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	whole := writeFile(t, "whole", digits) // 416 is no failure of a file that has all
	if err := fetch(t, &Client{Transport: testWorld(), Fail: true}, "https://one.example/file", &Target{Path: whole, Resume: FromSize}); err != nil {
		t.Errorf("what is complete, with -f: %v", err)
	}
	err := fetch(t, &Client{Transport: testWorld(), Fail: true}, "https://one.example/status/416", &Target{Path: whole, Resume: FromSize})
	wantCode(t, err, Status, "416")
	none := filepath.Join(t.TempDir(), "none")
	err = fetch(t, &Client{Transport: testWorld()}, "https://one.example/file", &Target{Path: none, Resume: FromSize})
	if data, _ := os.ReadFile(none); err != nil || string(data) != digits {
		t.Errorf("%v, %q", err, data)
	}
	var out bytes.Buffer
	if err := fetch(t, &Client{Transport: testWorld()}, "https://one.example/file", &Target{Writer: &out, Resume: 7}); err != nil || out.String() != "789" {
		t.Errorf("%v, %q", err, &out)
	}
}

func TestBadTargets(t *testing.T) {
	err := fetch(t, &Client{Transport: testWorld()}, "https://one.example/file", &Target{Path: filepath.Join(t.TempDir(), "none", "f")})
	wantCode(t, err, Write, "no such file")
	err = fetch(t, &Client{Transport: testWorld()}, "https://one.example/file", &Target{Writer: full{}})
	wantCode(t, err, Write, "the output", "disk full")
	_, err = FileBody(t.TempDir())
	wantCode(t, err, Read, "directory")
	_, err = FileBody(filepath.Join(t.TempDir(), "none"))
	wantCode(t, err, Read)
	_, err = get(t, &Client{Request: Request{Body: StreamBody(unreadable{})}}, "/echo")
	wantCode(t, err, Read, "broken tape")
}

// What ends because everything is interrupted is not whole.
func TestInterruptedBody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := StreamBody(strings.NewReader("ab")).reader(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if data, err := io.ReadAll(r); string(data) != "ab" || !errors.Is(err, context.Canceled) {
		t.Errorf("%q, %v", data, err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, errors.New("broken tape") }

func TestRetry(t *testing.T) {
	var waits []time.Duration
	var answers []int
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := answers[0]
		answers = answers[1:]
		switch status {
		case 429:
			w.Header().Set("Retry-After", "7")
		case 0:
			w.Header().Set("Test-Cut", "yes")
			io.WriteString(w, "half")
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, status)
	})
	client := func(retries int, a ...int) *Client {
		waits, answers = nil, a
		return &Client{Transport: &world{Handler: handler}, Retries: retries, Wait: func(_ context.Context, d time.Duration) error {
			waits = append(waits, d)
			return nil
		}}
	}
	got, err := get(t, client(5, 503, 503, 429, 200), "/")
	if got != "200" || err != nil || !slices.Equal(waits, []time.Duration{time.Second, 2 * time.Second, 7 * time.Second}) {
		t.Errorf("%q, %v, waited %v", got, err, waits)
	}
	if got, err = get(t, client(1, 503, 502), "/"); got != "502" || err != nil {
		t.Errorf("at last: %q, %v", got, err)
	}
	if got, err = get(t, client(5, 404), "/"); got != "404" || err != nil {
		t.Errorf("what will not pass: %q, %v", got, err)
	}
	// What has gone to a writer cannot be taken back; a file is begun anew.
	got, err = get(t, client(5, 0, 200), "/")
	if wantCode(t, err, Partial); got != "half" {
		t.Errorf("%q", got)
	}
	path := writeFile(t, "f", "")
	err = fetch(t, client(5, 0, 200), "https://one.example/", &Target{Path: path})
	if data, _ := os.ReadFile(path); string(data) != "200" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

func TestTime(t *testing.T) {
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := &Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		hang(nil, r)
		return nil, r.Context().Err()
	}), MaxTime: time.Millisecond}
	_, err := get(t, c, "/")
	wantCode(t, err, Timeout, "not complete after 1ms")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Fetch(ctx, &url.URL{Scheme: "https", Host: "one.example"}, &Target{Writer: io.Discard}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := new(Client).wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	if err := new(Client).wait(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "x", Err: "no such host"}}, Resolve},
		{&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, Connect},
		{syscall.ECONNREFUSED, Connect},
		{x509.UnknownAuthorityError{}, Certificate},
		{x509.HostnameError{Certificate: new(x509.Certificate), Host: "x"}, Certificate},
		{fmt.Errorf("a: %w", context.DeadlineExceeded), Timeout},
		{fmt.Errorf("a: %w", io.ErrUnexpectedEOF), Partial},
		{errors.New("strange"), Receive},
		{fmt.Errorf("a: %w", &Error{Read, io.EOF}), Read},
	} {
		if got := classify(tc.err).Code; got != tc.want {
			t.Errorf("%v is %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestTrace(t *testing.T) {
	var lines []string
	c := &Client{Protocol: "HTTP/3", Follow: true, MaxRedirects: 1, Trace: func(line string) { lines = append(lines, line) },
		Request: Request{Agent: "agent", User: "a:b", Body: DataBody([]byte("xy"), "text/x")}}
	if _, err := get(t, c, "/status/307?to=/echo"); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines, "\n")
	for _, want := range []string{
		"> POST /status/307?to=/echo HTTP/3\n> accept: */*\n> authorization: Basic ...\n> content-length: 2\n> content-type: text/x\n> host: one.example\n> user-agent: agent\n>\n",
		"< HTTP/3 307 Temporary Redirect\n< location: /echo\n<\n* following to https://one.example/echo\n> POST /echo HTTP/3\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s\nin %s", want, got)
		}
	}
}

// counter is a Progress.
type counter struct{ expected, added int64 }

func (c *counter) Expect(n int64) { c.expected += n }
func (c *counter) Add(n int)      { c.added += int64(n) }

func TestProgress(t *testing.T) {
	var down, up counter
	get(t, &Client{Progress: &down}, "/file")
	body, _ := FileBody(writeFile(t, "f", "12345"))
	get(t, &Client{Progress: &up, Request: Request{Body: body}}, "/status/204")
	if down != (counter{10, 10}) || up.added < 5 || up.expected < 5-1 {
		t.Errorf("down %+v, up %+v", down, up)
	}
}
