package main

import (
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// FuzzInputs: what the runner says is refused or is fit for use: versions that are read the same when they are
// written again, an address to listen at, and a file for each URL, which is in the downloads.
func FuzzInputs(f *testing.F) {
	for _, s := range []string{"v1,v2", ",v2,", "v3", ":443", "127.0.0.1:1", "[::1]:65536", "https://server4:443/a", "https://a/../../x", "https://a/..", "a\x00b", "https://a/%2e%2e%2fx", "https://a/dir/"} {
		f.Add(s)
	}
	out := filepath.Join(f.TempDir(), "downloads")
	if err := os.Mkdir(out, 0o777); err != nil {
		f.Fatal(err)
	}
	e := &endpoint{downloads: out}
	f.Fuzz(func(t *testing.T, s string) {
		var list, again versions
		if list.Set(s) == nil && (again.Set(list.String()) != nil || !slices.Equal(list, again)) {
			t.Fatalf("%q is %v, and that %v", s, list, again)
		}
		if o, err := endpointOptions(s); err == nil && (o.Port < 0 || o.Port > 65535 || o.Address == "" || o.Type != quic.UDP4 && o.Type != quic.UDP6) {
			t.Fatalf("%q is %+v", s, o)
		}
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		saved := e.save(u, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }) == nil
		name := path.Base(u.Path)
		entries, err := os.ReadDir(out)
		if beside, _ := os.ReadDir(filepath.Dir(out)); err != nil || len(beside) != 1 || saved != (len(entries) == 1) || saved && (entries[0].Name() != name || strings.Contains(name, "/")) {
			t.Fatalf("%q is saved %v: %v, %v", s, saved, entries, beside)
		}
		if saved {
			if err := os.Remove(filepath.Join(out, name)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
