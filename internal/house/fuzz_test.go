package house

import (
	"bytes"
	"go/ast"
	"path"
	"strings"
	"testing"
)

// What a target's corpus may be: enough to begin with, and little enough to live with.
const (
	maxCorpusFiles = 30
	maxCorpusFile  = 4 << 10 // bytes
)

// TestCorpora checks that every fuzz target has inputs in testdata/fuzz that lead to what its
// seeds do not, few and small, and that no inputs are left of a target that has gone.
func TestCorpora(t *testing.T) {
	r := everything(t)
	files := map[string]int{} // by the target's directory
	for _, f := range r.texts {
		dir := path.Dir(f.path)
		if !strings.Contains(dir, "testdata/fuzz/") {
			continue
		}
		files[dir]++
		if !bytes.HasPrefix(f.data, []byte("go test fuzz v1\n")) {
			t.Errorf("%s is no input of a fuzz target", f.path)
		}
		if len(f.data) > maxCorpusFile {
			t.Errorf("%s has %d bytes, at most %d are allowed", f.path, len(f.data), maxCorpusFile)
		}
	}
	targets := map[string]bool{}
	for _, s := range r.sources {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !s.isTest() || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			dir := path.Join(s.dir, "testdata/fuzz", f.Name.Name)
			targets[dir] = true
			if n := files[dir]; n == 0 || n > maxCorpusFiles {
				t.Errorf("%s: %s has %d inputs in testdata/fuzz, want 1 to %d", s.path, f.Name.Name, n, maxCorpusFiles)
			}
		}
	}
	if len(targets) == 0 {
		t.Error("there is no fuzz target")
	}
	for dir := range files {
		if !targets[dir] {
			t.Errorf("%s is of no target", dir)
		}
	}
}
