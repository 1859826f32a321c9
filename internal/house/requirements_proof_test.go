package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// proof is a test as the table of requirements wants it.
type proof struct {
	skips   bool              // it can be skipped, or runs only where a variable of the environment says so
	cites   map[string]bool   // in its doc comment and its body, as "9000 §4.1"
	entries map[string]string // of its package
}

// proofs returns the tests and fuzz targets that there are, as "transport.TestStreams".
func proofs(sources []*source) map[string]*proof {
	tests, entries := make(map[string]*proof), make(map[string]map[string]string)
	for _, s := range sources {
		if s.nested || !s.isTest() {
			continue
		}
		if entries[s.dir] == nil {
			entries[s.dir] = make(map[string]string)
		}
		lines := strings.Split(string(s.text), "\n")
		for _, d := range s.file.Decls {
			s.addEntries(d, lines, entries[s.dir])
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Body != nil && isTestName(f.Name.Name) {
				tests[path.Base(s.dir)+"."+f.Name.Name] = &proof{
					skips: coveredBy(f).skips || readsEnvironment(f), cites: cited(s.docOf(d) + s.between(d.Pos(), d.End())), entries: entries[s.dir],
				}
			}
		}
	}
	return tests
}

// lacks says what is wrong with a test that the table names, and whether it cites the section: in its doc comment, its
// body, or the table that its subtest stands in.
func (p *proof) lacks(test, rfc, sec string) (problem string, cites bool) {
	name, sub, _ := strings.Cut(test, "/")
	switch entry, ok := "", true; {
	case p == nil:
		return "no test " + name, false
	case p.skips:
		return name + " can be skipped, or runs only where the environment says so", false
	case sub != "":
		if entry, ok = p.entries[sub]; !ok {
			return "no subtest " + strconv.Quote(sub) + " in the package of " + name, false
		}
		return "", p.cites[rfc+" §"+sec] || cited(entry)[rfc+" §"+sec]
	}
	return "", p.cites[rfc+" §"+sec]
}

// prove looks for what is wrong with the tests of a requirement, and puts those that cite its section in front.
func (r *requirement) prove(tests map[string]*proof) (problems []string) {
	var proven, others []string
	for _, t := range r.tests {
		name, _, _ := strings.Cut(t, "/")
		problem, cites := tests[name].lacks(t, r.rfc, r.section)
		if problem != "" {
			problems = append(problems, problem)
		}
		if cites {
			proven = append(proven, t)
		} else {
			others = append(others, t)
		}
	}
	slices.Sort(proven)
	slices.Sort(others)
	r.tests, r.proven = append(proven, others...), len(proven) > 0
	return problems
}

// unproven returns the requirements that no test cites.
func unproven(list []requirement) (problems []string) {
	for _, r := range list {
		if r.exception == "" && !r.proven {
			problems = append(problems, fmt.Sprintf("%s:%d: RFC %s §%s: %s: none of %s cites it", requirementsTable, r.line, r.rfc, r.section, r.text, few(r.tests, len(r.tests))))
		}
	}
	return problems
}

// cited are the sections that a text cites, as "9000 §4.1".
func cited(text string) map[string]bool {
	set := make(map[string]bool)
	for _, m := range sectionCite.FindAllStringSubmatch(wrapped.ReplaceAllString(text, " "), -1) {
		for _, sec := range section.FindAllString(m[2], -1) {
			set[m[1]+" §"+sec] = true
		}
	}
	return set
}

// readsEnvironment finds the helper processes that stand in a test.
func readsEnvironment(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if ok && (sel.Sel.Name == "Getenv" || sel.Sel.Name == "LookupEnv") {
			x, ok := sel.X.(*ast.Ident)
			found = found || ok && x.Name == "os"
		}
		return true
	})
	return found
}

// docOf returns the doc comment of a declaration.
func (s *source) docOf(d ast.Decl) string {
	var doc *ast.CommentGroup
	switch d := d.(type) {
	case *ast.FuncDecl:
		doc = d.Doc
	case *ast.GenDecl:
		doc = d.Doc
	}
	if doc == nil {
		return ""
	}
	return s.between(doc.Pos(), doc.End()) + "\n"
}

func (s *source) between(from, to token.Pos) string {
	return string(s.text[s.fset.Position(from).Offset:s.fset.Position(to).Offset])
}

// addEntries notes the strings that a declaration writes out, each with what is said of it: the entry of a table or the call that it
// stands in, the comment that heads that, and the doc comment of the declaration.
func (s *source) addEntries(d ast.Decl, lines []string, entries map[string]string) {
	doc := s.docOf(d)
	var stack []ast.Node
	ast.Inspect(d, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if name, err := strconv.Unquote(lit.Value); err == nil {
			i := len(stack) - 1
			for i > 0 && !isEntry(stack[i]) {
				i--
			}
			entries[name] += doc + s.headed(stack[i], d, lines) + "\n"
		}
		return true
	})
}

func isEntry(n ast.Node) bool {
	switch n.(type) {
	case *ast.CompositeLit, *ast.CallExpr, *ast.KeyValueExpr, *ast.ValueSpec:
		return true
	}
	return false
}

// headed returns the lines of an entry under the comment that heads it: in a table that is the nearest above, which
// stands for all entries up to the next comment; elsewhere only the one right above.
func (s *source) headed(n ast.Node, within ast.Decl, lines []string) string {
	isComment := func(i int) bool { return strings.HasPrefix(strings.TrimSpace(lines[i]), "//") }
	top := s.fset.Position(within.Pos()).Line - 1
	first, last := s.fset.Position(n.Pos()).Line-1, s.fset.Position(n.End()).Line
	end := first
	if _, ok := n.(*ast.CompositeLit); ok {
		for end > top && !isComment(end-1) {
			end--
		}
	}
	start := end
	for start > top && isComment(start-1) {
		start--
	}
	return strings.Join(lines[start:end], "\n") + "\n" + strings.Join(lines[first:last], "\n")
}

// The rule finds what it is there to find.
func TestProofs(t *testing.T) {
	tests := proofs([]*source{mustParse(t, "internal/a/a_test.go", `package a

// RFC 9000 §4.1.
func TestDoc(t *testing.T) {}

func TestBody(t *testing.T) { _ = 1 // RFC 9000
	// §4.2
}

func TestSkipped(t *testing.T) { t.Skip() } // RFC 9000 §4.1

func TestHelper(t *testing.T) { if os.Getenv("A") == "" { return } }

func TestNone(t *testing.T) {}

var table = []entry{
	// RFC 9000 §5.1: heads two.
	{"a", 1},
	{"b", 2}, // RFC 9000 §5.2
	// And this nothing.
	{"c", 3},
}
`)})
	for _, try := range []struct {
		test, sec, problem string
		cites              bool
	}{
		{"a.TestDoc", "4.1", "", true},
		{"a.TestDoc", "4", "", false},
		{"a.TestBody", "4.2", "", true},
		{"a.TestBody", "4.1", "", false},
		{"a.TestSkipped", "4.1", "can be skipped", false},
		{"a.TestHelper", "4.1", "environment", false},
		{"a.TestGone", "4.1", "no test", false},
		{"a.TestNone/a", "5.1", "", true},
		{"a.TestNone/a", "5.2", "", false},
		{"a.TestNone/b", "5.1", "", true},
		{"a.TestNone/b", "5.2", "", true},
		{"a.TestNone/c", "5.1", "", false},
		{"a.TestDoc/c", "4.1", "", true},
		{"a.TestNone/d", "5.1", "no subtest", false},
	} {
		name, _, _ := strings.Cut(try.test, "/")
		problem, cites := tests[name].lacks(try.test, "9000", try.sec)
		if !strings.Contains(problem, try.problem) || (problem == "") != (try.problem == "") || cites != try.cites {
			t.Errorf("%s for §%s: %q, cites %v", try.test, try.sec, problem, cites)
		}
	}
}
