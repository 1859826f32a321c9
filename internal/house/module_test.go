package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/cinnabar-quic/cinnabar"

// source is a Go file, its path relative to the root of the repository.
type source struct {
	path   string
	dir    string // of path; "." for the root
	nested bool   // belongs to a module of its own, such as bench
	text   []byte
	fset   *token.FileSet
	file   *ast.File
}

func parseSource(name string, text []byte) (*source, error) {
	s := &source{path: name, dir: path.Dir(name), text: text, fset: token.NewFileSet()}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments)
	return s, err
}

func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// at makes a problem of something at a position of the file.
func (s *source) at(pos token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(pos).Line, fmt.Sprintf(format, args...))
}

// imports returns the path of every import, by the name it has in the file.
func (s *source) imports() map[string]string {
	names := make(map[string]string)
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if isVersion(name) {
			name = path.Base(path.Dir(p)) // math/rand/v2 is package rand
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func isVersion(s string) bool {
	_, err := strconv.Atoi(strings.TrimPrefix(s, "v"))
	return err == nil && s[0] == 'v'
}

// text is any file that is not binary.
type text struct {
	path string
	data []byte
}

// repository is what the rules run over.
type repository struct {
	root    string
	sources []*source
	texts   []text // Go files among them
	broken  []string
}

// loadRepository reads everything there is, in whatever state of completion.
var loadRepository = sync.OnceValues(func() (*repository, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	r := &repository{root: root}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // it went while we looked
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return r.load(name, filepath.ToSlash(rel))
	})
	return r, err
})

// findRoot goes up to the directory that holds the product's go.mod.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		data, readErr := os.ReadFile(filepath.Join(dir, "go.mod"))
		if readErr == nil && slices.Contains(strings.Split(string(data), "\n"), "module "+modulePath) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			err = fmt.Errorf("no go.mod of %s above the test", modulePath)
		}
		dir = up
	}
	return "", err
}

func (r *repository) load(name, rel string) error {
	info, err := os.Stat(name)
	if err != nil || info.Size() > 4<<20 {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	if slices.Contains(data[:min(len(data), 8<<10)], 0) {
		return nil // binary
	}
	r.texts = append(r.texts, text{rel, data})
	if !strings.HasSuffix(rel, ".go") || slices.Contains(strings.Split(path.Dir(rel), "/"), "testdata") {
		return nil
	}
	s, err := parseSource(rel, data)
	if err != nil {
		r.broken = append(r.broken, err.Error())
		return nil
	}
	s.nested = r.inNestedModule(s.dir)
	r.sources = append(r.sources, s)
	return nil
}

func (r *repository) inNestedModule(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(dir), "go.mod")); err == nil {
			return true
		}
	}
	return false
}

// everything returns the repository, loaded once for all tests.
func everything(t *testing.T) *repository {
	t.Helper()
	r, err := loadRepository()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.sources) == 0 {
		t.Fatal("no Go file found")
	}
	return r
}

// eachSource runs a rule over every Go file.
func eachSource(t *testing.T, rule func(*source) []string) {
	t.Helper()
	for _, s := range everything(t).sources {
		report(t, rule(s))
	}
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// example is a file that a rule is tried on, and what the rule must say of it.
type example struct {
	path string
	text string
	want []string // a part of each problem, in order
}

func (e *example) parse(t *testing.T) *source {
	t.Helper()
	s, err := parseSource(e.path, []byte(e.text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tryRule checks that a rule finds in each example what it should, and no more.
func tryRule(t *testing.T, rule func(*source) []string, examples []example) {
	t.Helper()
	for _, e := range examples {
		wantProblems(t, e.path+"\n"+e.text, rule(e.parse(t)), e.want)
	}
}

func wantProblems(t *testing.T, what string, got, want []string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		ok = ok && strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("%s\ngave %d problems:\n\t%s\nwant %d:\n\t%s", what,
			len(got), strings.Join(got, "\n\t"), len(want), strings.Join(want, "\n\t"))
	}
}

// Every Go file can be parsed: what cannot is out of reach of the other rules.
func TestParses(t *testing.T) {
	report(t, everything(t).broken)
	if _, err := parseSource("bad.go", []byte("package")); err == nil {
		t.Error("half a file parses")
	}
}

// The repository is found whole: this file is in it, and so is a nested module's if there is one.
func TestLoadsRepository(t *testing.T) {
	r := everything(t)
	i := slices.IndexFunc(r.sources, func(s *source) bool { return s.path == "internal/house/module_test.go" })
	if i < 0 || r.sources[i].nested || !r.sources[i].isTest() {
		t.Error("this file is missing or taken for another kind")
	}
	for _, s := range r.sources {
		if s.nested && !strings.HasPrefix(s.path, "bench/") && !strings.HasPrefix(s.path, "interop/") {
			t.Errorf("%s: only bench and interop are modules of their own", s.path)
		}
	}
}
