package site

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// fuzzFolder is a folder with something in it, with something hidden, links that lead out, and
// a secret beside it.
func fuzzFolder(f *testing.F) (*os.Root, string) {
	dir := filepath.Join(f.TempDir(), "www")
	for name, data := range map[string]string{
		"a.txt": "open a", "dir/b.txt": "open b", "dir/index.html": "open index", ".hidden": "hidden", "dir/.git/config": "hidden", "../secret": "secret",
	} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o666); err != nil {
			f.Fatal(err)
		}
	}
	for name, to := range map[string]string{"out": "../secret", "up": "..", "in": "a.txt"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			f.Logf("no links here: %v", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	return root, dir
}

// FuzzPath: whatever path a request has, what comes is a file of the folder, a page about it, or
// nothing; a redirect stays on the site and leads to something.
func FuzzPath(f *testing.F) {
	root, dir := fuzzFolder(f)
	for _, s := range []string{"/", "/a.txt", "/dir", "/dir/", "/../secret", "/%2e%2e/secret", "/up/secret", "/out", "/in", "/.hidden", "/dir/.git/config", `/..\secret`, "//a.txt", "//evil.example/..", "/dir//b.txt", "a.txt", "/a.txt/", "/\x00"} {
		f.Add(s)
	}
	s := New(root, Options{})
	get := func(p string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: p}, Header: http.Header{}, Host: "example.org"}
		s.ServeHTTP(w, r)
		return w
	}
	f.Fuzz(func(t *testing.T, p string) {
		w := get(p)
		body := w.Body.String()
		if body == "secret" || body == "hidden" {
			t.Fatalf("%q gives %q", p, body)
		}
		switch w.Code {
		case http.StatusOK:
			name := filepath.Join(dir, filepath.FromSlash(path.Clean("/"+p)))
			if want, err := os.ReadFile(name); err == nil && string(want) != body {
				t.Fatalf("%q gives %q, want %q", p, body, want)
			}
		case http.StatusMovedPermanently:
			to, err := url.Parse(w.Header().Get("Location"))
			if err != nil || to.Host != "" || to.Scheme != "" || !strings.HasPrefix(to.Path, "/") || get(to.Path).Code != http.StatusOK {
				t.Fatalf("%q leads to %q, %v", p, w.Header().Get("Location"), err)
			}
		case http.StatusNotFound:
		default:
			t.Fatalf("%q is answered %d", p, w.Code)
		}
	})
}

// FuzzUpload: whatever a client calls a file, it lands in the folder that was meant, under a name
// that is printable, no longer than a name may be, not hidden, and the same when it is made anew.
func FuzzUpload(f *testing.F) {
	for _, s := range []string{"a.txt", "../../etc/passwd", `C:\x\y.txt`, ".htaccess", "-rf", "..", "", "a\x00b", "\u202etxt.exe", strings.Repeat("ü", 200) + ".tar", "x/", "con:"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, name string, hiddenToo bool) {
		got := sanitize(name, hiddenToo)
		bad := strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(`/\:*?"<>|`, r) })
		if bad || got == "" || len(got) > maxName || !filepath.IsLocal(got) || filepath.Base(got) != got {
			t.Fatalf("%q becomes %q", name, got)
		}
		if !hiddenToo && hidden(got) || got != sanitize(got, hiddenToo) {
			t.Fatalf("%q becomes %q, and that %q", name, got, sanitize(got, hiddenToo))
		}
	})
}
