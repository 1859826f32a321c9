package site

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who may upload, and not overwrite, cannot put something in a file's place by a precompressed twin.
func TestUploadOfTwin(t *testing.T) {
	s, dir := testSite(t, Options{Upload: true}, map[string]string{"app.js": "good", "old.js.gz": "packed"})
	for _, name := range []string{"app.js.br", "app.js.zst", "app.js.gz"} {
		want(t, ask(s, "PUT", "/"+name, strings.NewReader("evil")), http.StatusConflict, "app.js")
		body, kind := form(name, "evil")
		want(t, ask(s, "POST", "/", body, kind), http.StatusConflict, "app.js")
	}
	w := ask(s, "GET", "/app.js", nil, "Accept-Encoding: br, zstd, gzip")
	want(t, w, 200, "good", "Content-Encoding:")
	want(t, ask(s, "PUT", "/other.gz", strings.NewReader("fine")), http.StatusCreated, "")
	s.options.Overwrite = true
	want(t, ask(s, "PUT", "/app.js.br", strings.NewReader("new")), http.StatusCreated, "")
	if _, err := os.Stat(filepath.Join(dir, "app.js.br")); err != nil {
		t.Error(err)
	}
}

// Nor can the twin be there first, or come while the file does: it would be served for the file.
func TestUploadBesideTwin(t *testing.T) {
	s, dir := testSite(t, Options{Upload: true}, map[string]string{})
	for i, suffix := range []string{".br", ".zst", ".gz"} {
		name := "/" + string(rune('a'+i)) + ".js"
		want(t, ask(s, "PUT", name+suffix, strings.NewReader("evil")), http.StatusCreated, "")
		want(t, ask(s, "PUT", name, strings.NewReader("good")), http.StatusConflict, name[1:]+suffix)
	}
	during := readerFunc(func([]byte) (int, error) {
		want(t, ask(s, "PUT", "/d.js.gz", strings.NewReader("evil")), http.StatusCreated, "")
		return 0, io.EOF
	})
	want(t, ask(s, "PUT", "/d.js", during), http.StatusConflict, "d.js.gz")
	wantFiles(t, dir, map[string]string{"a.js.br": "evil", "b.js.zst": "evil", "c.js.gz": "evil", "d.js.gz": "evil"})
	s.options.Overwrite = true
	want(t, ask(s, "PUT", "/a.js", strings.NewReader("good")), http.StatusCreated, "")
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A name is hidden whichever slash stands before its dot: on some systems both are one.
func TestHiddenBehindBackslash(t *testing.T) {
	for name, want := range map[string]bool{`a\.git\config`: true, `a/.git`: true, `.git`: true, `a\b.c`: false, `a.b/c`: false} {
		if hidden(name) != want {
			t.Errorf("hidden(%q) is %v", name, !want)
		}
	}
}

// What a client says of itself does nothing to a terminal that shows the log.
func TestLogJSONIsPrintable(t *testing.T) {
	r := Record{Agent: "a\u009b2Jb\x7fc\u202ed\"\\ü日", Referer: "\u0085"}
	line := r.JSON()
	if strings.ContainsAny(line, "\u009b\x7f\u202e\u0085") || !strings.Contains(line, `a\u009b2Jb\u007fc\u202ed\"\\ü日`) {
		t.Errorf("%q", line)
	}
}
