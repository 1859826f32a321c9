package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"slices"
	"testing"
)

const (
	maxFileLines     = 700
	maxFunctionLines = 80
)

// exception excuses one file, or one function of it, from a limit on size.
type exception struct {
	path     string
	function string // as in T.Method; empty for the file
	reason   string
}

// exceptions may grow only with a reason that a reader would accept.
var exceptions = []exception{}

// sizes: no file over 700 lines, no function over 80 but the exceptions, and no
// exception that is not needed.
func sizes(sources []*source, exceptions []exception) []string {
	var problems []string
	needed := make(map[int]bool)
	check := func(s *source, function string, lines, limit int, problem string) {
		if lines <= limit {
			return
		}
		for i, e := range exceptions {
			if e.path == s.path && e.function == function {
				needed[i] = true
				return
			}
		}
		problems = append(problems, fmt.Sprintf("%s: %d lines, over %d", problem, lines, limit))
	}
	for _, s := range sources {
		check(s, "", bytes.Count(s.text, []byte("\n")), maxFileLines, s.path)
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name, lines := functionName(f), s.lines(f)
			for _, sub := range subtests(s, f) {
				lines -= s.lines(sub) - 1
				check(s, name, s.lines(sub), maxFunctionLines, s.at(sub.Pos(), "a subtest of %s", name))
			}
			check(s, name, lines, maxFunctionLines, s.at(f.Pos(), "%s", name))
		}
	}
	for i, e := range exceptions {
		if e.reason == "" {
			problems = append(problems, fmt.Sprintf("exception for %s %s: no reason", e.path, e.function))
		}
		if !needed[i] {
			problems = append(problems, fmt.Sprintf("exception for %s %s: no longer needed", e.path, e.function))
		}
	}
	return problems
}

func (s *source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// subtests returns the functions that a test hands to Run. Each is read on its
// own, so that each is measured on its own.
func subtests(s *source, f *ast.FuncDecl) []ast.Node {
	if !s.isTest() {
		return nil
	}
	var subs []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		run, isSelector := call.Fun.(*ast.SelectorExpr)
		sub, isLiteral := call.Args[1].(*ast.FuncLit)
		if !isSelector || !isLiteral || run.Sel.Name != "Run" {
			return true
		}
		subs = append(subs, sub)
		return false
	})
	return subs
}

// functionName is F, or T.M for a method of T or *T.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	return receiverType(f.Recv.List[0].Type) + "." + f.Name.Name
}

func receiverType(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return receiverType(e.X)
	case *ast.ParenExpr:
		return receiverType(e.X)
	case *ast.IndexExpr:
		return receiverType(e.X)
	case *ast.IndexListExpr:
		return receiverType(e.X)
	}
	return "?"
}

func TestSizes(t *testing.T) { report(t, sizes(everything(t).sources, exceptions)) }

func TestSizesFinds(t *testing.T) {
	lines := func(n int) string { return string(bytes.Repeat([]byte("\n"), n)) }
	function := func(head string, n int) string { return "package p\n" + head + " {" + lines(n-1) + "}\n" }
	long := example{"p/long.go", "package p" + lines(701), nil}
	for _, tc := range []struct {
		name       string
		text       string
		exceptions []exception
		want       []string
	}{
		{"a file that just fits", "package p" + lines(700), nil, nil},
		{"a long file", long.text, nil, []string{"p/a.go: 701 lines, over 700"}},
		{"an excused file", long.text, []exception{{"p/a.go", "", "a table"}}, nil},
		{"excused without a reason", long.text, []exception{{"p/a.go", "", ""}}, []string{"no reason"}},
		{"the wrong file excused", long.text, []exception{{"p/b.go", "", "a table"}}, []string{"p/a.go: 701", "p/b.go : no longer needed"}},
		{"a function that just fits", function("func f()", 80), nil, nil},
		{"a long function", function("func f()", 81), nil, []string{"p/a.go:2: f: 81 lines, over 80"}},
		{"a long method", function("func (t *T[A, B]) m()", 90), nil, []string{"T.m: 90 lines"}},
		{"a comment does not count", "package p\n/*" + lines(90) + "*/\n" + function("func f()", 3)[10:], nil, nil},
		{"an excused method", function("func (t T) m()", 90), []exception{{"p/a.go", "T.m", "a table"}}, nil},
		{"a function that became shorter", function("func f()", 20), []exception{{"p/a.go", "f", "a table"}}, []string{"p/a.go f: no longer needed"}},
	} {
		e := example{"p/a.go", tc.text, nil}
		wantProblems(t, tc.name, sizes([]*source{e.parse(t)}, tc.exceptions), tc.want)
	}
	subtests := func(n ...int) string {
		text := "package p\nfunc TestF(t *testing.T) {\n"
		for _, n := range n {
			text += "t.Run(``, func(t *testing.T) {" + lines(n-1) + "})\n"
		}
		return text + "}\n"
	}
	for _, tc := range []example{
		{"p/a_test.go", subtests(50, 80), nil},
		{"p/a_test.go", subtests(50, 81), []string{"p/a_test.go:53: a subtest of TestF: 81 lines"}},
		{"p/a_test.go", subtests(slices.Repeat([]int{1}, 79)...), []string{"TestF: 81 lines"}},
		{"p/a.go", subtests(50, 50), []string{"TestF: 102 lines"}},
	} {
		wantProblems(t, tc.text, sizes([]*source{tc.parse(t)}, nil), tc.want)
	}
}

// formatted: every file is as gofmt would have it.
func formatted(s *source) []string {
	got, err := format.Source(s.text)
	if err != nil {
		return []string{s.path + ": " + err.Error()}
	}
	if !bytes.Equal(got, s.text) {
		return []string{s.path + ": not gofmt-ed"}
	}
	return nil
}

func TestFormatted(t *testing.T) { eachSource(t, formatted) }

func TestFormattedFinds(t *testing.T) {
	bad := []string{"a.go: not gofmt-ed"}
	tryRule(t, formatted, []example{
		{"a.go", "package p\n\nvar x = 1\n", nil},
		{"a.go", "package p\n\nvar x=1\n", bad},
		{"a.go", "package p\n\nvar x = 1", bad},
		{"a.go", "package p\n\nimport (\n\t\"b\"\n\t\"a\"\n)\n", bad},
	})
}
