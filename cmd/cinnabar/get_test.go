package main

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/fetch"
	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

func TestGetUsage(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args   string
		status int
		want   string
	}{
		{"", exitUsage, "<url>"},
		{"-d a -T b x", exitUsage, "only one of -d"},
		{"-I -d a x", exitUsage, "-I asks for header fields only"},
		{"-I -X GET x", exitUsage, "-I is the method HEAD"},
		{"-C - x", exitUsage, "name it with -o or -O"},
		{"-C - -o a -i x", exitUsage, "-C goes on with a body"},
		{"-C x -o a x", exitUsage, "-C x is no offset"},
		{"-C - -o a x y", exitUsage, "name one for https://y"},
		{"-o a -o b x", exitUsage, "more -o than URLs"},
		{"-O -o b x/y", exitUsage, "-O names all files"},
		{"-O x/", exitUsage, "https://x/ names no file"},
		{"-O x/a%2fb x/..", exitUsage, "names no file"},
		{"-O x/a y/a", exitUsage, "two URLs would go to a"},
		{"--parallel 0 x", exitUsage, "--parallel is 1 or more"},
		{"--retry=-1 x", exitUsage, "--retry is 0 or more"},
		{"--retry -1 x", exitUsage, "--retry is 0 or more"},
		{"-sm -1 x", exitUsage, `"-1" is no time`},
		{"-m never x", exitUsage, `"never" is no time`},
		{"-m 0 x", exitUsage, `"0" is no time`},
		{"-u me x", exitUsage, "-u me:PASSWORD"},
		{"-H x x", exitUsage, "is no header field"},
		{"--resolve a:b x", exitUsage, "HOST:PORT:ADDRESS"},
		{"--resolve \u00f9\xb9:443:::1 x", exitUsage, "is no name of a host"},
		{"--resolve \u00ad:443:::1 x", exitUsage, "is no name of a host"},
		{"--resolve [:443:::1 x", exitUsage, `"[" is no name of a host`},
		{"--resolve 192.0.2.1:443:::1 x", exitUsage, `"192.0.2.1" is no name of a host`},
		{"--resolve 127\u30020\u30020\u30021:443:::1 x", exitUsage, "is no name of a host"},
		{"--resolve *.:443:::1 x", exitUsage, "is no name of a host"},
		{"--resolve a/b:443:::1 x", exitUsage, `"a/b" is no name of a host`},
		{"https://\u00ad/", int(fetch.Malformed), "is no URL: its host is no name"},
		{"https://\ufdfa/", int(fetch.Malformed), "is no URL: its host is no name"},
		{"-k --cacert a x", exitUsage, "can't be used together"},
		{"https://", int(fetch.Malformed), "is no URL"},
		{"https://x:y/", int(fetch.Malformed), "is no URL"},
		{"https://x:99999/", int(fetch.Malformed), "its port is not from 1 to 65535"},
		{"-- -1:0", int(fetch.Malformed), "its port is not from 1 to 65535"},
		{"http://x/", int(fetch.Unsupported), "https only"},
		{"--cacert " + dir + "/none x", badCACert, "cannot read --cacert"},
		{"--keylog " + dir + " x", exitFailed, "cannot write --keylog " + dir},
		{"-T " + dir + "/none x", int(fetch.Read), "none: no such file"},
		{"-d @" + dir + "/none x", int(fetch.Read), "none: no such file"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			start(t, append([]string{"get"}, strings.Fields(tc.args)...)...).wantError(tc.status, tc.want)
		})
	}
}

func TestGetOutput(t *testing.T) {
	s := startServe(t, map[string]string{"a.txt": "A", "b c.txt": "B", "dir/index.html": "I"})
	s.get("~/a.txt", "~/b%20c.txt", "~/dir/").wantOut(0, "ABI")
	s.get("-L", "~/dir").wantOut(0, "I")
	s.get("-sI", "~/a.txt").want(0, "HTTP/3 200 OK\r\n", "content-length: 1\r\n", "content-type: text/plain; charset=utf-8\r\n")
	s.get("-i", "~/dir").want(0, "HTTP/3 301 Moved Permanently\r\n", "location: /dir/\r\n")

	to := t.TempDir()
	t.Chdir(to)
	s.get("-O", "~/a.txt", "~/b%20c.txt").wantOut(0, "")
	wantFiles(t, to, map[string]string{"a.txt": "A", "b c.txt": "B"})
	s.get("-o", "x", "-o", "-", "~/a.txt", "~/dir/", "~/b%20c.txt").wantOut(0, "IB")
	wantFiles(t, to, map[string]string{"a.txt": "A", "b c.txt": "B", "x": "A"})
	s.get("-o", filepath.Join("none", "x"), "~/a.txt").wantError(int(fetch.Write), "cannot write", "no such file")
}

// A file that was cut off is completed, and what is complete stays.
func TestGetResume(t *testing.T) {
	_, data := writeFile(t, "big", 10<<20, 0o600)
	s := startServe(t, map[string]string{"big": data, "big.gz": "x"})
	to := t.TempDir()
	t.Chdir(to)
	for _, have := range []string{"", data[:3<<20+17], data} {
		if err := os.WriteFile("big", []byte(have), 0o600); err != nil {
			t.Fatal(err)
		}
		s.get("-O", "-C", "-", "~/big").wantOut(0, "")
		wantFiles(t, to, map[string]string{"big": data})
	}
	s.waitFor(s.stdout, " 416 ")
	s.waitFor(s.stdout, " 206 ")
	s.get("-C", "10485750", "~/big").wantOut(0, data[10485750:])
	if err := os.WriteFile("big", []byte(data+"more"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.get("-O", "-C", "-", "~/big").wantError(int(fetch.Range), "is not the beginning")
	wantFiles(t, to, map[string]string{"big": data + "more"})
}

func TestGetSends(t *testing.T) {
	s := startServe(t, nil, "--upload", "--overwrite")
	stored := func(name, want string) {
		t.Helper()
		if data, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || string(data) != want {
			t.Errorf("%s has %q, %v, want %q", name, data, err, want)
		}
	}
	lines, _ := writeFile(t, "lines", 0, 0o600)
	if err := os.WriteFile(lines, []byte("c=3\r\n&d\xff=4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.get("-X", "PUT", "-d", "a=1", "-d", "b=2", "-d", "@"+lines, s.url+"form").want(0)
	stored("form", "a=1&b=2&c=3&d\xff=4")
	s.get("-X", "PUT", "--data-binary", "@"+lines, s.url+"binary").want(0)
	stored("binary", "c=3\r\n&d\xff=4\n")
	s.get("-X", "PUT", "--json", `{"a": [1, 2]}`, s.url+"json").want(0)
	stored("json", `{"a": [1, 2]}`)
	startWith(t, "in\n", "get", "--pin", s.pin, "-X", "PUT", "-d", "@-", s.url+"stdin").want(0)
	stored("stdin", "in")
	startWith(t, "in\n", "get", "--pin", s.pin, "-T", "-", s.url+"piped").want(0)
	stored("piped", "in\n")
	big, data := writeFile(t, "big", 10<<20, 0o600)
	s.get("-T", big, "~/").want(0)
	stored("big", data)
	s.get("-f", "-d", "x", "~/").wantError(22, "415")
}

func TestGetErrors(t *testing.T) {
	s := startServe(t, map[string]string{"a": "A", "dir/b": ""})
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "https://"), "/")
	_, port, _ := net.SplitHostPort(address)
	other, _ := writeCertificate(t, "127.0.0.1")

	start(t, "get", "--cacert", other, s.url+"a").wantError(60, "cannot be verified", "-k")
	start(t, "get", "--pin", "sha256:"+strings.Repeat("00", 32), s.url+"a").wantError(90, s.pin, "in between")
	start(t, "get", "-k", s.url+"a").wantOut(0, "A")
	start(t, "get", "--pin", s.pin, "--resolve", "files.example:"+port+":127.0.0.1", "https://files.example:"+port+"/a").wantOut(0, "A")
	start(t, "get", "--pin", s.pin, "--resolve", "Files.example:"+port+":127.0.0.1", "https://fileS.example:"+port+"/a").wantOut(0, "A")
	start(t, "get", "--pin", s.pin, "--resolve", "Dateien.Bücher.example:"+port+":127.0.0.1", "https://dateien.bücher.example:"+port+"/a").wantOut(0, "A")
	start(t, "get", "--pin", s.pin, "--resolve", "xn--bcher-kva.example:"+port+":127.0.0.1", "https://BÜCHER.example:"+port+"/a").wantOut(0, "A")
	start(t, "get", "--pin", s.pin, "--resolve", "*:"+port+":127.0.0.1", "--resolve", "other.example:"+port+":::1", "https://any.example:"+port+"/a").wantOut(0, "A")
	start(t, "get", "https://nowhere.invalid/").wantError(6, "cannot find nowhere.invalid")
	s.get("-L", "--max-redirs", "0", "~/dir").wantError(47, "redirects more than 0 times")
	s.get("-L", "--max-redirs", "-1", "~/a").wantOut(0, "A")

	// Of several, each is told, and the first that failed decides.
	c := s.get("-f", "~/a", "~/none", "~/a", "https://nowhere.invalid/")
	c.wantOut(22, "AA")
	c.wantError(22, "2 of 4 URLs failed")
	c.want(22, s.url+"none: the server answered HTTP/3 404 Not Found\n", "nowhere.invalid/: cannot find")
	c = s.get("-sf", "~/none")
	if c.want(22); c.all() != "stdout:\nstderr:\n" {
		t.Errorf("silent: %s", c.all())
	}
	s.get("-sSf", "~/none").wantError(22, "404")
}

func TestGetInterrupted(t *testing.T) {
	s := startServe(t, nil, "--upload")
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := startReading(t, in, "get", "--pin", s.pin, "-T", "-", s.url+"slow")
	out.WriteString("half")
	waitForEntry(s.dir)
	c.interrupt()
	out.Close()
	c.wantError(exitInterrupted, "interrupted")
	s.waitFor(s.stdout, "PUT /slow")
	wantFiles(t, s.dir, nil)
}

func TestGetShows(t *testing.T) {
	s := startServe(t, map[string]string{"a": "A", "b": "B", "c": strings.Repeat("C", 1<<20)})
	keys, log := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "log")
	c := s.get("-v", "--keylog", keys, "--trace-qlog", log, "--stats", "-u", "me:secret", "~/a")
	c.want(0, "> GET /a HTTP/3\n", "> authorization: Basic ...\n", "< HTTP/3 200 OK\n", "< content-length: 1\n",
		"* connected to 127.0.0.1 (127.0.0.1:", "* TLS 1.3, ", "ALPN h3\n", "has the key of --pin\n* its key is "+s.pin+"\n", "handshake  ")
	if text, _ := c.stderr.text(); strings.Contains(text, "secret") {
		t.Errorf("the password is shown: %s", text)
	}
	if data, err := os.ReadFile(keys); err != nil || !strings.Contains(string(data), "CLIENT_TRAFFIC_SECRET_0 ") {
		t.Errorf("key log: %q, %v", data, err)
	}
	if data, err := os.ReadFile(log); err != nil || !strings.Contains(string(data), "packet_received") {
		t.Errorf("qlog: %q, %v", data, err)
	}
	s.get("--trace-qlog", filepath.Join(log, "none"), "~/a").wantError(exitFailed, "cannot write --trace-qlog "+filepath.Join(log, "none"))

	// Several URLs need one session.
	t.Chdir(t.TempDir())
	c = s.get("-O", "--stats", "--progress", "~/a", "~/b", "~/c")
	c.want(0, "3 URLs")
	if text, _ := c.stderr.text(); !regexp.MustCompile(`session +127.0.0.1\n`).MatchString(text) || !regexp.MustCompile(`streams +3\n`).MatchString(text) {
		t.Errorf("not three streams of one session:\n%s", text)
	}
}

// startHTTP3 serves a handler over HTTP/3, and returns the arguments to ask it with.
func startHTTP3(t *testing.T, h http.HandlerFunc) (trust []string, url string) {
	t.Helper()
	cert, err := selfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := bind(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.tcp.Close()
	s, _, err := newServer(p.udp, cert, h, nil, log.New(io.Discard, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	t.Cleanup(func() {
		s.close()
		<-served
	})
	return []string{"get", "--pin", fingerprintOf(cert.Leaf).String()}, "https://" + p.address().String() + "/"
}

// An answer that is cut off is an error, what came of it stays, and it can be resumed.
func TestGetCut(t *testing.T) {
	_, data := writeFile(t, "big", 3<<20, 0o600)
	trust, url := startHTTP3(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(data))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		io.WriteString(w, data[:1<<20])
		panic(http.ErrAbortHandler)
	})
	path := filepath.Join(t.TempDir(), "big")
	get := func(args ...string) *command { return start(t, append(slices.Clip(trust), args...)...) }
	c := get("-o", path, url)
	<-c.ended
	if c.wantError(c.status, "of 3145728 bytes came", "-C - goes on from there"); c.status != int(fetch.Partial) && c.status != int(fetch.Receive) {
		t.Errorf("status %d", c.status)
	}
	part, err := os.ReadFile(path)
	if err != nil || len(part) == 0 || !strings.HasPrefix(data, string(part)) {
		t.Fatalf("%d bytes are there, %v", len(part), err)
	}
	get("-o", path, "-C", "-", url).want(0)
	if whole, err := os.ReadFile(path); err != nil || string(whole) != data {
		t.Errorf("resumed, there are %d bytes, %v", len(whole), err)
	}
}

func TestGetTimeAndRetry(t *testing.T) {
	var asked atomic.Int32
	trust, url := startHTTP3(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		if asked.Add(1) < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, "answer")
	})
	start(t, append(trust, "-m", "0.05", url+"hang")...).wantError(int(fetch.Timeout), "not complete after 50ms")
	start(t, append(trust, "-v", "--retry", "2", url)...).want(0, "answer", "* the server answered HTTP/3 503 Service Unavailable; trying again in 0s")
}

// Where HTTP/3 is not to be had, HTTP/2 is taken if that is allowed.
func TestGetFallback(t *testing.T) {
	cert, err := selfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := bind(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.udp.Close() // nobody ever reads from it
	s := newTCPServer(p.tcp, cert, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "by "+r.Proto) }), log.New(io.Discard, "", 0))
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	defer func() {
		s.close()
		<-served
	}()
	port := strconv.Itoa(p.address().Port)
	args := []string{"get", "--pin", fingerprintOf(cert.Leaf).String(), "--connect-timeout", "0.05", "--resolve", "Files.example:" + port + ":127.0.0.1", "https://fileS.example:" + port + "/"}
	start(t, args...).wantError(int(fetch.Connect), "no answer from fileS.example:"+port+" within 50ms", "--fallback")
	start(t, append(args, "-v", "--fallback")...).want(0, "by HTTP/2.0", "* HTTP/2.0 over TCP\n", "> GET /\n", "< HTTP/2 200 OK\n", "ALPN h2\n")
}

// A form of 10 MB, as a browser sends it.
func TestFormUpload(t *testing.T) {
	s := startServe(t, map[string]string{"in/mine": "mine"}, "--upload")
	_, data := writeFile(t, "big", 10<<20, 0o600)
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	part, err := m.CreateFormFile("file", "big")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(part, data)
	m.Close()
	path := filepath.Join(t.TempDir(), "form")
	if err := os.WriteFile(path, form.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.get("-L", "-H", "Content-Type: "+m.FormDataContentType(), "--data-binary", "@"+path, "~/in/").want(0, `<a href="./big">big</a>`, "10.0 MiB")
	wantFiles(t, filepath.Join(s.dir, "in"), map[string]string{"mine": "mine", "big": data})
}

func TestGetCompressed(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, "unpacked")
	z.Close()
	s := startServe(t, map[string]string{"a.txt": "plain", "a.txt.gz": packed.String()})
	s.get("--compressed", "~/a.txt").wantOut(0, "unpacked")
	s.get("~/a.txt").wantOut(0, "plain")
	s.get("-H", "Accept-Encoding: gzip", "~/a.txt").wantOut(0, packed.String())
}

// Every end of a session has words and a status of its own.
func TestGetErrorTexts(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code fetch.Code
		want string
	}{
		{&quic.HandshakeTimeoutError{After: time.Second}, fetch.Connect, "no answer from host:1 within 1s"},
		{&quic.HandshakeTimeoutError{After: time.Second, Heard: true}, fetch.Timeout, "host:1 answered, but"},
		{&quic.TransportError{ErrorCode: noSuchProtocol, Remote: true}, fetch.Connect, "not HTTP/3"},
		{&quic.TransportError{ErrorCode: 0x100 + 40, Remote: true}, fetch.Handshake, "TLS with host:1 failed"},
		{&quic.IdleTimeoutError{}, fetch.Timeout, "nothing was heard of host:1"},
		{&quic.VersionNegotiationError{}, fetch.Connect, "no version that we do"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "host"}, fetch.Certificate, "is for no name"},
		{x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"other"}}, Host: "host"}, fetch.Certificate, "is for other"},
		{&fetch.Error{Code: fetch.Read, Err: io.EOF}, fetch.Read, "EOF"},
	} {
		err := getError("host:1", fmt.Errorf("wrapped: %w", tc.err))
		var e *fetch.Error
		if !errors.As(err, &e) || e.Code != tc.code || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v gives %v, want %d and %q", tc.err, err, tc.code, tc.want)
		}
	}
	if err := getError("x", errors.New("strange")); err.Error() != "strange" {
		t.Error(err)
	}
}

// asked is a transport that answers by itself.
type asked func(r *http.Request) *http.Response

func (f asked) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// What stands in an answer's fields does nothing to the terminal that shows them, as C0 and C1 control characters would, and raw
// bytes where a terminal takes them for those. A file has them as they came.
func TestGetHeadOnTerminal(t *testing.T) {
	const evil = "a\u009b2J\x9b2J\x85\x1b[2J\u202eö"
	c := &fetch.Client{Include: true, Follow: true, MaxRedirects: 1, Transport: asked(func(r *http.Request) *http.Response {
		h := http.Header{"X": {evil}, "Y": {"z"}}
		status := http.StatusOK
		if r.URL.Path == "/" {
			h.Set("Location", "/b")
			status = http.StatusFound
		}
		return &http.Response{StatusCode: status, ProtoMajor: 3, Header: h, Body: io.NopCloser(strings.NewReader("body\r\n")), Request: r}
	})}
	for _, terminal := range []bool{true, false} {
		var out bytes.Buffer
		to, want := &fetch.Target{Writer: &out}, evil
		if terminal {
			onTerminal(to)
			want = "a?2J\ufffd2J\ufffd?[2J?ö"
		}
		if err := c.Fetch(t.Context(), &url.URL{Scheme: "https", Host: "a", Path: "/"}, to); err != nil {
			t.Fatal(err)
		}
		want = "HTTP/3 302 Found\r\nlocation: /b\r\nx: " + want + "\r\ny: z\r\n\r\nHTTP/3 200 OK\r\nx: " + want + "\r\ny: z\r\n\r\nbody\r\n"
		if out.String() != want {
			t.Errorf("%q, want %q", &out, want)
		}
	}
}

// Only what goes to a terminal is made fit for it: not the head in a file, nor what -o - asks for all the same.
func TestGetTerminalIsNoFile(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "a", Path: "/b"}
	for _, tc := range []struct {
		command  getCommand
		terminal bool
		fit      bool
	}{
		{getCommand{}, true, true},
		{getCommand{}, false, false},
		{getCommand{RemoteName: true}, true, false},
		{getCommand{Output: []string{"c"}}, true, false},
		{getCommand{Output: []string{"-"}}, true, false},
	} {
		var out bytes.Buffer
		to, err := tc.command.target(&out, tc.terminal, 0, u)
		if err != nil {
			t.Fatal(err)
		}
		if _, fit := to.Writer.(*textOnly); fit != tc.fit || (to.Line != nil) != tc.fit {
			t.Errorf("%+v: %+v", tc.command, to)
		}
	}
}

// A head does not hide from a terminal's guard that what follows is no text.
func TestGetBinaryBehindHead(t *testing.T) {
	for body, want := range map[string]string{"a\x00b": "", "text": "text"} {
		c := &fetch.Client{Include: true, Transport: asked(func(r *http.Request) *http.Response {
			return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 3, Body: io.NopCloser(strings.NewReader(body)), Request: r}
		})}
		var out bytes.Buffer
		to := &fetch.Target{Writer: &out}
		onTerminal(to)
		err := c.Fetch(t.Context(), &url.URL{Scheme: "https", Host: "a", Path: "/"}, to)
		if (err == nil) != (want != "") || err != nil && !strings.Contains(err.Error(), "-o FILE") {
			t.Errorf("%q: %v", body, err)
		}
		if want = "HTTP/3 200 OK\r\n\r\n" + want; out.String() != want {
			t.Errorf("%q, want %q", &out, want)
		}
	}
}

func TestTextOnly(t *testing.T) {
	var out bytes.Buffer
	w := &textOnly{w: &out}
	if _, err := w.Write([]byte("a\x00b")); err == nil || !strings.Contains(err.Error(), "-o FILE") {
		t.Errorf("binary: %v", err)
	}
	w.Write([]byte("text"))
	if _, err := w.Write([]byte("\x00")); err != nil || out.String() != "text\x00" {
		t.Errorf("%q, %v", &out, err)
	}
}

// What a server gives as its reason for an end does nothing to the terminal that shows it.
func TestGetErrorIsPrintable(t *testing.T) {
	trust, url := startHTTP3(t, func(w http.ResponseWriter, r *http.Request) {
		st, _ := http3.StreamOf(w)
		_ = st.Session().CloseWithError(http3.GeneralProtocolError, "\x1b]0;owned\a\u009b2J")
	})
	for _, args := range [][]string{{url}, {url, url + "2"}} {
		c := start(t, append(slices.Clip(trust), args...)...)
		<-c.ended
		if text, _ := c.stderr.text(); strings.ContainsAny(text, "\x1b\a\u009b") || !strings.Contains(text, "owned") {
			t.Errorf("%q", text)
		}
	}
}
