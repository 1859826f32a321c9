package site

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

var changed = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

// testSite makes a site of a folder with these files, all changed at the same time.
// Beside the folder lies a file "secret".
func testSite(t *testing.T, o Options, files map[string]string) (s *Site, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "www")
	files["../secret"] = "secret"
	for name, data := range files {
		full := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o777), os.WriteFile(full, []byte(data), 0o666), os.Chtimes(full, changed, changed)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return New(root, o), dir
}

// ask sends a request. fields are "Name: value".
func ask(s http.Handler, method, target string, body io.Reader, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://example.org/", body)
	if path, query, _ := strings.Cut(target, "?"); strings.HasPrefix(path, "/") {
		r = httptest.NewRequest(method, target, body)
		r.URL.RawQuery = query
	}
	r.Host = "example.org"
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// want checks an answer: its status, parts of its body, and fields as "Name: value", where
// no value means no field.
func want(t *testing.T, w *httptest.ResponseRecorder, status int, body string, fields ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d", w.Code, status)
	}
	if !strings.Contains(w.Body.String(), body) {
		t.Errorf("no %q in %q", body, w.Body)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		if got := w.Header().Get(name); got != strings.TrimSpace(value) {
			t.Errorf("%s: %q, want %q", name, got, strings.TrimSpace(value))
		}
	}
}

const text = "0123456789"

func TestFiles(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{
		"a.txt": text, "dir/b.html": "<b>", "dir/index.html": "<i>", "empty": "", "größe &.txt": "x", ".hidden": "x", "dir/.git/x": "x",
	})
	tag10 := ask(s, "GET", "/a.txt", nil).Header().Get("ETag")
	if len(tag10) < 10 || tag10[0] != '"' {
		t.Errorf("ETag %s", tag10)
	}
	const date = "Wed, 04 Mar 2026 05:06:07 GMT"
	for _, tc := range []struct {
		name, method, target string
		fields               []string
		status               int
		body                 string
		want                 []string
	}{
		{"file", "GET", "/a.txt", nil, 200, text, []string{"Content-Type: text/plain; charset=utf-8", "Content-Length: 10", "Accept-Ranges: bytes", "Last-Modified: " + date, "X-Content-Type-Options: nosniff", "Cache-Control: no-cache", "Vary:"}},
		{"empty file", "GET", "/empty", nil, 200, "", []string{"Content-Length: 0"}},
		{"name in UTF-8", "GET", "/gr%C3%B6%C3%9Fe%20&.txt", nil, 200, "x", nil},
		{"head", "HEAD", "/a.txt", nil, 200, "", []string{"Content-Length: 10", "ETag: " + tag10}},
		{"range", "GET", "/a.txt", []string{"Range: bytes=2-4"}, 206, "234", []string{"Content-Range: bytes 2-4/10", "Content-Length: 3"}},
		{"end", "GET", "/a.txt", []string{"Range: bytes=-2"}, 206, "89", []string{"Content-Range: bytes 8-9/10"}},
		{"two ranges", "GET", "/a.txt", []string{"Range: bytes=0-0,9-9"}, 206, "Content-Range: bytes 9-9/10", nil},
		{"no such range", "GET", "/a.txt", []string{"Range: bytes=10-"}, 416, "", []string{"Content-Range: bytes */10"}},
		{"if-range, the same", "GET", "/a.txt", []string{"Range: bytes=2-4", "If-Range: " + tag10}, 206, "234", nil},
		{"if-range, another", "GET", "/a.txt", []string{"Range: bytes=2-4", `If-Range: "x"`}, 200, text, nil},
		{"not changed, by tag", "GET", "/a.txt", []string{`If-None-Match: "x", W/` + tag10}, 304, "", []string{"ETag: " + tag10, "Content-Length:"}},
		{"changed, by tag", "GET", "/a.txt", []string{`If-None-Match: "x"`, "If-Modified-Since: " + date}, 200, text, nil},
		{"not changed, by date", "GET", "/a.txt", []string{"If-Modified-Since: " + date}, 304, "", nil},
		{"precondition", "GET", "/a.txt", []string{`If-Match: "x"`}, 412, "", nil},
		{"index.html", "GET", "/dir/", nil, 200, "<i>", []string{"Content-Type: text/html; charset=utf-8"}},
		{"index.html by name", "GET", "/dir/index.html", nil, 200, "<i>", nil},
		{"no slash", "GET", "/dir?a=b", nil, 301, "", []string{"Location: /dir/?a=b"}},
		{"too much slash", "GET", "/a.txt/", nil, 301, "", []string{"Location: /a.txt"}},
		{"doubled slashes", "GET", "//dir//b.html", nil, 301, "", []string{"Location: /dir/b.html"}},
		{"no open redirect", "GET", "//dir/..//dir", nil, 301, "", []string{"Location: /dir/"}},
		{"nothing", "GET", "/none", nil, 404, "nothing of this name", []string{"X-Content-Type-Options: nosniff"}},
		{"below a file", "GET", "/a.txt/b", nil, 404, "", nil},
		{"page for people", "GET", "/none", []string{"Accept: text/html"}, 404, "<h2>404 Not Found</h2>", []string{"Content-Security-Policy: " + pagePolicy}},
		{"outside", "GET", "/../secret", nil, 404, "", nil},
		{"outside, escaped", "GET", "/dir/%2e%2e/%2e%2e/secret", nil, 404, "", nil},
		{"a zero byte", "GET", "/a.txt%00", nil, 404, "", nil},
		{"too long", "GET", "/" + strings.Repeat("x", 5000), nil, 404, "", nil},
		{"hidden", "GET", "/.hidden", nil, 404, "", nil},
		{"in a hidden folder", "GET", "/dir/.git/x", nil, 404, "", nil},
		{"options", "OPTIONS", "/a.txt", nil, 204, "", []string{"Allow: GET, HEAD, OPTIONS"}},
		{"other methods", "DELETE", "/a.txt", nil, 405, "DELETE", []string{"Allow: GET, HEAD, OPTIONS"}},
		{"no uploads", "PUT", "/new", nil, 405, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := ask(s, tc.method, tc.target, nil, tc.fields...)
			want(t, w, tc.status, tc.body, tc.want...)
			if tc.method == "HEAD" && w.Body.Len() > 0 {
				t.Errorf("HEAD has a body")
			}
		})
	}
}

func TestHiddenOption(t *testing.T) {
	s, _ := testSite(t, Options{Hidden: true}, map[string]string{".hidden": "x"})
	want(t, ask(s, "GET", "/.hidden", nil), 200, "x")
	want(t, ask(s, "GET", "/", nil), 200, ">.hidden<")
}

// A link may lead within the folder, but not out of it.
func TestLinks(t *testing.T) {
	s, dir := testSite(t, Options{}, map[string]string{"a.txt": text})
	if err := errors.Join(os.Symlink("a.txt", filepath.Join(dir, "in")), os.Symlink("../secret", filepath.Join(dir, "out")),
		os.Symlink("..", filepath.Join(dir, "up")), os.Symlink("round", filepath.Join(dir, "round"))); err != nil {
		t.Skip("this system has no symbolic links for us:", err)
	}
	want(t, ask(s, "GET", "/in", nil), 200, text)
	for _, path := range []string{"/out", "/up/secret", "/up/", "/round"} {
		want(t, ask(s, "GET", path, nil), 404, "")
	}
	page := ask(s, "GET", "/", nil).Body.String()
	if !strings.Contains(page, ">in<") || strings.Contains(page, ">out<") || strings.Contains(page, ">up/<") {
		t.Errorf("the page lists what cannot be had:\n%s", page)
	}
}

func TestEncodings(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{
		"a.js": "plain", "a.js.br": "brotli", "a.js.gz": "gzip!!", "a.js.zst": "zstd", "b": "<!doctype html>", "b.gz": "gzip", "c.js": "alone",
	})
	for _, tc := range []struct{ path, accept, body, coding string }{
		{"/a.js", "", "plain", ""},
		{"/a.js", "gzip, deflate, br, zstd", "brotli", "br"},
		{"/a.js", "gzip, br;q=0.5", "gzip!!", "gzip"},
		{"/a.js", "BR;Q=0.5, zstd;q=0.7", "zstd", "zstd"},
		{"/a.js", "*", "brotli", "br"},
		{"/a.js", "br;q=0, *;q=0.1", "zstd", "zstd"},
		{"/a.js", "gzip;q=0.5, identity", "plain", ""},
		{"/a.js", "gzip;q=0, identity;q=0", "plain", ""},
		{"/a.js", "gzip;q=7, br;q=x", "plain", ""},
		{"/a.js", "deflate", "plain", ""},
		{"/b", "gzip", "gzip", "gzip"},
	} {
		var fields []string
		if tc.accept != "" {
			fields = []string{"Accept-Encoding: " + tc.accept}
		}
		want(t, ask(s, "GET", tc.path, nil, fields...), 200, tc.body, "Content-Encoding: "+tc.coding, "Vary: Accept-Encoding")
	}
	want(t, ask(s, "GET", "/c.js", nil, "Accept-Encoding: gzip"), 200, "alone", "Content-Encoding:", "Vary:")
	want(t, ask(s, "GET", "/a.js.gz", nil), 200, "gzip!!", "Content-Type: application/gzip", "Content-Encoding:")

	// Each encoding is a representation of its own: length, tag, ranges.
	gz := ask(s, "GET", "/b", nil, "Accept-Encoding: gzip")
	want(t, gz, 200, "gzip", "Content-Length: 4", "Content-Type: text/html; charset=utf-8")
	tag := gz.Header().Get("ETag")
	if plain := ask(s, "GET", "/b", nil).Header().Get("ETag"); tag == plain || tag == "" {
		t.Errorf("ETag %s of gzip, %s of the plain file", tag, plain)
	}
	want(t, ask(s, "GET", "/b", nil, "Accept-Encoding: gzip", "If-None-Match: "+tag), 304, "", "Vary: Accept-Encoding", "Content-Length:")
	want(t, ask(s, "GET", "/b", nil, "Accept-Encoding: gzip", "Range: bytes=1-2"), 206, "zi", "Content-Range: bytes 1-2/4", "Content-Length: 2")
	want(t, ask(s, "GET", "/b", nil, "If-None-Match: "+tag), 200, "<!doctype", "Content-Length: 15")
}

func TestTypeOf(t *testing.T) {
	for _, tc := range []struct{ name, head, want string }{
		{"a.HTML", "x", "text/html; charset=utf-8"},
		{"a.mjs", "x", "text/javascript; charset=utf-8"},
		{"a.wasm", "x", "application/wasm"},
		{"a.json", "{}", "application/json"},
		{"a.txt", "gr\xf6\xdfe in Latin-1", "text/plain"},
		{"a.txt", "größ\xc3", "text/plain; charset=utf-8"}, // cut within a character
		{"a.txt", "", "text/plain; charset=utf-8"},
		{"README", "just text", "text/plain; charset=utf-8"},
		{"page", "<!DOCTYPE html>", "text/html; charset=utf-8"},
		{"picture", "\x89PNG\r\n\x1a\n", "image/png"},
		{"data", "\x00\x01\x02", "application/octet-stream"},
	} {
		if got := typeOf(tc.name, []byte(tc.head)); got != tc.want {
			t.Errorf("%s %q: %s, want %s", tc.name, tc.head, got, tc.want)
		}
	}
}

func TestIndex(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{
		"dir/a2.txt": "xx", "dir/a10.txt": "x", "dir/B.txt": strings.Repeat("x", 3000), "dir/zub/x": "",
		"dir/<i>&.txt": "xxxx", "dir/javascript:x": "xxxxx", "dir/.hidden": "",
	})
	w := ask(s, "GET", "/dir/", nil)
	page := w.Body.String()
	inOrder := func(page string, parts ...string) {
		t.Helper()
		rest := page
		for _, p := range parts {
			_, after, ok := strings.Cut(rest, p)
			if !ok {
				t.Fatalf("no %q where it should be in\n%s", p, page)
			}
			rest = after
		}
	}
	inOrder(page, `href="../"`, `href="./zub/" class="dir">zub/<`, ">&lt;i&gt;&amp;.txt<", ">a2.txt<", ">a10.txt<", ">B.txt<", "2.9 KiB", `href="./javascript:x"`)
	inOrder(page, `<a href="/">example.org/</a>`, `<a href="/dir/">dir/</a>`)
	inOrder(page, `aria-sort="ascending"><a href="?sort=-name">Name`, "HTTP/1.1", "over TCP", "1 folder, 5 files, 2.9 KiB")
	if strings.Contains(page, "<i>") || strings.Contains(page, ".hidden") || strings.Contains(page, "<form") {
		t.Error(page)
	}
	inOrder(ask(s, "GET", "/dir/?sort=size", nil).Body.String(), ">zub/<", ">a10.txt<", ">a2.txt<", ">B.txt<")
	inOrder(ask(s, "GET", "/dir/?sort=-size", nil).Body.String(), ">zub/<", ">B.txt<", ">a2.txt<", ">a10.txt<")
	inOrder(ask(s, "GET", "/dir/?sort=changed", nil).Body.String(), `aria-sort="ascending"><a href="?sort=-changed"`)
	inOrder(ask(s, "GET", "/dir/?sort=nonsense", nil).Body.String(), ">a2.txt<", ">a10.txt<")

	want(t, w, 200, pageCSS, "Content-Type: text/html; charset=utf-8", "Content-Security-Policy: "+pagePolicy)
	want(t, ask(s, "GET", "/dir/", nil, "If-None-Match: "+w.Header().Get("ETag")), 304, "")
	head := ask(s, "HEAD", "/dir/", nil)
	want(t, head, 200, "", "Content-Type: text/html; charset=utf-8", "Content-Length:")
	if head.Body.Len() > 0 {
		t.Errorf("HEAD: %d bytes", head.Body.Len())
	}
}

// The page tells what it came over.
func TestIndexShowsProtocol(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{})
	r := httptest.NewRequest("GET", "/", nil)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/3.0", 3, 0
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	want(t, w, 200, `<strong class="h3">HTTP/3</strong> over QUIC with TLS 1.3, X25519MLKEM768`)
	want(t, w, 200, "Nothing here yet")
}

func TestNothingToWaitFor(t *testing.T) {
	s, dir := testSite(t, Options{}, map[string]string{})
	if err := makePipe(filepath.Join(dir, "pipe")); err != nil {
		t.Skip("this system has no named pipes for us:", err)
	}
	want(t, ask(s, "GET", "/pipe", nil), 404, "")
	want(t, ask(s, "GET", "/", nil), 200, "Nothing here yet")
}

func TestForbidden(t *testing.T) {
	s, dir := testSite(t, Options{}, map[string]string{"a": "x"})
	if err := os.Chmod(filepath.Join(dir, "a"), 0); err != nil {
		t.Fatal(err)
	}
	status := 403
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		status = 200 // root can read everything
	}
	want(t, ask(s, "GET", "/a", nil), status, "")
}

// form is a form with files, and its content type. The names alternate with data.
func form(files ...string) (*bytes.Buffer, string) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	m.WriteField("comment", "no file")
	for i := 0; i < len(files); i += 2 {
		part, _ := m.CreatePart(map[string][]string{"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": "file", "filename": files[i]})}})
		io.WriteString(part, files[i+1])
	}
	m.Close()
	return &b, "Content-Type: " + m.FormDataContentType()
}

func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		if w, ok := want[e.Name()]; !ok && !e.IsDir() {
			t.Errorf("%s is there", e.Name())
		} else if ok && w != string(data) {
			t.Errorf("%s has %q, want %q", e.Name(), data, w)
		}
		delete(want, e.Name())
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}

func TestPost(t *testing.T) {
	s, dir := testSite(t, Options{Upload: true, MaxUpload: 4000}, map[string]string{"in/mine": "mine"})
	in := filepath.Join(dir, "in")
	want(t, ask(s, "GET", "/in/", nil), 200, `<form method="post" enctype="multipart/form-data">`)
	body, kind := form("new.txt", "x", "größe & so", strings.Repeat("y", 2000), `..\..\evil`, "", "../../evil2", "", ".profile", "z", "a\nb", "")
	want(t, ask(s, "POST", "/in/", body, kind), 303, "", "Location: /in/")
	stored := func() map[string]string {
		return map[string]string{"mine": "mine", "new.txt": "x", "größe & so": strings.Repeat("y", 2000), "evil": "", "evil2": "", "profile": "z", "a_b": ""}
	}
	wantFiles(t, in, stored())
	wantFiles(t, filepath.Dir(dir), map[string]string{"secret": "secret"})

	for _, tc := range []struct {
		name   string
		path   string
		body   func() (*bytes.Buffer, string)
		fields []string
		status int
		text   string
	}{
		{"exists", "/in/", func() (*bytes.Buffer, string) { return form("mine", "x") }, nil, 409, "mine is there already"},
		{"folder of this name", "/", func() (*bytes.Buffer, string) { return form("in", "x") }, nil, 409, "in is there already"},
		{"too much", "/in/", func() (*bytes.Buffer, string) { return form("big", strings.Repeat("x", 5000)) }, nil, 413, "3.9 KiB"},
		{"nothing", "/in/", func() (*bytes.Buffer, string) { return form() }, nil, 400, "No file"},
		{"no form", "/in/", func() (*bytes.Buffer, string) { return bytes.NewBufferString("x"), "Content-Type: text/plain" }, nil, 415, "multipart/form-data"},
		{"no such folder", "/none/", func() (*bytes.Buffer, string) { return form("a", "x") }, nil, 404, ""},
		{"hidden folder", "/.git/", func() (*bytes.Buffer, string) { return form("a", "x") }, nil, 404, ""},
		{"a file", "/in/mine", func() (*bytes.Buffer, string) { return form("a", "x") }, nil, 409, "not a folder"},
		{"from another site", "/in/", func() (*bytes.Buffer, string) { return form("a", "x") }, []string{"Sec-Fetch-Site: cross-site"}, 403, "another site"},
		{"cut", "/in/", func() (*bytes.Buffer, string) { b, k := form("a", "xxxxxx"); b.Truncate(b.Len() - 70); return b, k }, nil, 400, "did not come whole"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body, kind := tc.body()
			want(t, ask(s, "POST", tc.path, body, append(tc.fields, kind)...), tc.status, tc.text)
			wantFiles(t, in, stored())
		})
	}
	// Without a length that could be refused at once, the body is read up to the limit.
	body, kind = form("big", strings.Repeat("x", 5000))
	want(t, ask(s, "POST", "/in/", io.MultiReader(body), kind), 413, "3.9 KiB")
	wantFiles(t, in, stored())
	if most := limits.Bound(t, "form-files"); s.maxFiles != most {
		t.Errorf("a form may bring %d files, want %d", s.maxFiles, most)
	}
	s.maxFiles = 2 // what comes of one more is the same
	body, kind = form("one", "1", "two", "2", "three", "3")
	before := s.Stats().UploadsRefused
	want(t, ask(s, "POST", "/in/", body, kind), 413, "More than 2 files")
	if n := s.Stats().UploadsRefused - before; n != 1 {
		t.Errorf("%d refusals are counted", n)
	}
	wantFiles(t, in, with(stored(), map[string]string{"one": "1", "two": "2"}))
}

func with(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}

func TestPut(t *testing.T) {
	s, dir := testSite(t, Options{Upload: true, MaxUpload: 100}, map[string]string{"mine": "mine"})
	put := func(path, data string) *httptest.ResponseRecorder {
		return ask(s, "PUT", path, strings.NewReader(data))
	}
	want(t, put("/new%20one.txt", "x"), 201, "", "Location: /new%20one.txt")
	want(t, put("/mine", "x"), 409, "mine is there already")
	want(t, put("/", "x"), 400, "no name")
	want(t, put("/.hidden", "x"), 400, "no name")
	want(t, put("/a%5cb", "x"), 400, "no name")
	want(t, put("/none/a", "x"), 404, "")
	want(t, put("/big", strings.Repeat("x", 101)), 413, "100 B")
	want(t, ask(s, "PUT", "/cut", io.MultiReader(strings.NewReader("x"), failing{})), 400, "did not come whole")
	wantFiles(t, dir, map[string]string{"mine": "mine", "new one.txt": "x"})
	want(t, ask(s, "OPTIONS", "/", nil), 204, "", "Allow: GET, HEAD, OPTIONS, POST, PUT")

	s, dir = testSite(t, Options{Upload: true, Overwrite: true}, map[string]string{"mine": "mine"})
	want(t, put("/mine", "yours"), 204, "")
	wantFiles(t, dir, map[string]string{"mine": "yours"})
}

// failing is a body whose sender goes away.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("gone") }

// A page leads to each folder on the way, unless there are many, or the path is long.
func TestCrumbs(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{"a.txt": "x"})
	links := func(path string) int {
		t.Helper()
		w := ask(s, "GET", path, nil, "Accept: text/html")
		want(t, w, 404, strings.TrimPrefix(path, "/"))
		if n := w.Body.Len(); n > 300<<10+3*len(path) {
			t.Errorf("a page of %d bytes for a path of %d", n, len(path))
		}
		return strings.Count(w.Body.String(), `<a href="/`)
	}
	most, longest := limits.Bound(t, "page-crumbs"), limits.Bound(t, "page-path")
	for depth, want := range map[int]int{1: 3, most: most + 2, most + 1: 1, 100_000: 1} {
		if n := links("/" + strings.Repeat("d/", depth) + "x"); n != want {
			t.Errorf("%d links for %d folders, want %d", n, depth, want)
		}
	}
	for n, want := range map[int]int{longest: 3, longest + 1: 1} {
		if got := links("/d/" + strings.Repeat("x", n-2)); got != want {
			t.Errorf("%d links for a path of %d bytes, want %d", got, n, want)
		}
	}
}

// So many ranges may be asked for at once, of a file or of a page; with more it is the whole.
func TestRanges(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{"a.txt": "0123456789abcdefghij"})
	most := limits.Bound(t, "ranges")
	for n, status := range map[int]int{1: 206, most: 206, most + 1: 200, 1000: 200} {
		ranges := "Range: bytes=" + strings.Repeat("0-0,", n-1) + "1-1"
		want(t, ask(s, "GET", "/a.txt", nil, ranges), status, "1")
		want(t, ask(s, "GET", "/", nil, ranges), status, "")
	}
	if w := ask(s, "GET", "/a.txt", nil, "Range: bytes="+strings.Repeat("0-0,", most)+"1-1"); w.Body.String() != "0123456789abcdefghij" {
		t.Errorf("too many ranges: %q", w.Body)
	}
}

// A page lists so many files, and says that there are more. A request that is given up before its page is made
// is not answered, and HEAD needs none.
func TestListing(t *testing.T) {
	most := limits.Bound(t, "listed")
	s, dir := testSite(t, Options{}, map[string]string{})
	for i := range most {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	listed := func() (n int, more bool) {
		page := ask(s, "GET", "/", nil).Body.String()
		return strings.Count(page, `href="./`), strings.Contains(page, ", and more")
	}
	if n, more := listed(); n != most || more {
		t.Errorf("%d of %d files are listed, more: %v", n, most, more)
	}
	if err := os.WriteFile(filepath.Join(dir, "one more"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if n, more := listed(); n != most || !more {
		t.Errorf("%d of %d files are listed, more: %v", n, most+1, more)
	}

	s.ServeHTTP(watched{httptest.NewRecorder(), func() {
		if len(s.listing) > 0 {
			t.Error("who reads a page slowly keeps all others from being made")
		}
	}}, httptest.NewRequest("GET", "/", nil))

	s.listing <- struct{}{} // one is being made
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	if w.Body.Len() != 0 {
		t.Errorf("who has given up gets %d bytes", w.Body.Len())
	}
	want(t, ask(s, "HEAD", "/", nil), 200, "", "Content-Type: text/html; charset=utf-8", "Content-Security-Policy: "+pagePolicy)
	<-s.listing
}

// watched is a ResponseWriter that tells of what is written.
type watched struct {
	http.ResponseWriter
	wrote func()
}

func (w watched) Write(p []byte) (int, error) {
	w.wrote()
	return w.ResponseWriter.Write(p)
}

// However many codings a client names, few are looked at.
func TestAccepted(t *testing.T) {
	most := limits.Bound(t, "accept-encoding")
	for n := most - 1; n <= most; n++ {
		if q := accepted([]string{strings.Repeat("x,", n-1) + "x", "br"}); (q["br"] > 0) != (n < most) {
			t.Errorf("behind %d others: %v", n, q)
		}
	}
}

func TestSanitize(t *testing.T) {
	long, most := strings.Repeat("ö", 200), limits.Bound(t, "upload-name")
	for in, want := range map[string]string{
		"a.txt": "a.txt", "/etc/passwd": "passwd", `C:\x\a.txt`: "a.txt", "..": "upload", "": "upload", "...": "upload",
		"-rf": "rf", ".-.x": "x", "a:b": "a_b", "\x1b[2J": "_[2J", "\xff": "_", "a. ": "a", "/": "_",
		long + ".txt": long[:most-5] + ".txt", long: long[:most-1],
	} {
		if got := sanitize(in, false); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := sanitize(".profile", true); got != ".profile" {
		t.Errorf("hidden names become %q", got)
	}
}

func TestLog(t *testing.T) {
	s, _ := testSite(t, Options{}, map[string]string{"a.txt": text})
	var got []*Record
	h := Log(s, func(r *Record) { got = append(got, r) })
	ask(h, "GET", "/a.txt?q=\"", nil, "Referer: https://example.org/\x1b", "User-Agent: test")
	ask(h, "HEAD", "/", nil)
	ask(h, "GET", "/none", nil)
	ask(Log(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(r *Record) { got = append(got, r) }), "GET", "/", nil)
	func() {
		defer func() { recover() }()
		ask(Log(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), func(r *Record) { got = append(got, r) }), "GET", "/", nil)
	}()
	type seen struct {
		status int
		bytes  int64
		cut    bool
	}
	for i, want := range []seen{{200, 10, false}, {200, 0, false}, {404, 31, false}, {200, 0, false}, {200, 0, true}} {
		if r := got[i]; (seen{r.Status, r.Bytes, r.Cut}) != want {
			t.Errorf("request %d: %+v, want %+v", i, r, want)
		}
	}
	r := *got[0]
	r.Time, r.Duration = changed, 1234567*time.Nanosecond
	const line = `192.0.2.1 - - [04/Mar/2026:05:06:07 +0000] "GET /a.txt?q=\" HTTP/1.1" 200 10 "https://example.org/\x1b" "test" 1.23ms`
	if r.Line() != line {
		t.Errorf("%s, want\n%s", r.Line(), line)
	}
	r.Cut, r.Agent = true, ""
	if want := strings.Replace(line, `"test"`, `"-"`, 1) + " cut"; r.Line() != want {
		t.Errorf("%s, want\n%s", r.Line(), want)
	}
	const asJSON = `{"time":"2026-03-04T05:06:07.000000008Z","remote":"192.0.2.1","method":"GET","target":"/a.txt?q=\"","protocol":"HTTP/1.1","status":200,"bytes":10,"seconds":0.001234567,"referer":"https://example.org/\u001b","cut":true}`
	if r.JSON() != asJSON {
		t.Errorf("%s, want\n%s", r.JSON(), asJSON)
	}
}

// Who may not is told what: not that a name cannot be read that was to be written.
func TestPermissionDenied(t *testing.T) {
	for method, want := range map[string]string{
		http.MethodGet: "may not read it", http.MethodHead: "", http.MethodPut: "may not write there", http.MethodPost: "may not write there",
	} {
		s, w := new(Site), httptest.NewRecorder()
		s.failOpen(w, httptest.NewRequest(method, "/a", nil), &fs.PathError{Op: "open", Path: "a", Err: syscall.EACCES})
		if body := w.Body.String(); w.Code != http.StatusForbidden || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %q", method, w.Code, body)
		}
	}
}
