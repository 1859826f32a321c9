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

// coverageTable has a line for each row of the API's acceptance list: what of ours
// the row is, which test proves it, and how far that is.
const coverageTable = "docs/api-coverage.tsv"

// acceptance is how many rows each part of the acceptance list has. Their ids are
// the part and a number from 001 on.
var acceptance = map[string]int{
	"ADD": 6, "BLK": 4, "CHE": 10, "CLI": 20, "CON": 48, "CQS": 20, "DPL": 2, "EP": 47, "HIS": 8, "LIS": 41,
	"LKP": 6, "OCS": 11, "PSH": 3, "SES": 106, "SFD": 3, "SFI": 4, "SOC": 68, "SRV": 2, "STR": 64, "X": 22,
}

// statuses are what a row can be: it works; or it exists only in a JavaScript event
// loop, and what a binding needs for it works.
var statuses = []string{"works", "node"}

// coverage: every row of the acceptance list has a line in the table, and the
// symbols and the test that the line names exist; the test is not skipped and says
// itself that it covers the row.
func coverage(table string, sources []*source) []string {
	symbols, tests := symbolsOf(sources), testsOf(sources)
	seen := make(map[string]bool)
	var problems []string
	for i, line := range strings.Split(strings.TrimSuffix(table, "\n"), "\n") {
		cells := strings.Split(line, "\t")
		if len(cells) != 4 {
			problems = append(problems, fmt.Sprintf("%s:%d: %d cells, want id, symbol, test, status", coverageTable, i+1, len(cells)))
			continue
		}
		if i == 0 {
			continue
		}
		r := coverageRow{cells[0], cells[1], cells[2], cells[3]}
		for _, p := range r.check(symbols, tests) {
			problems = append(problems, fmt.Sprintf("%s:%d: %s: %s", coverageTable, i+1, r.id, p))
		}
		if seen[r.id] {
			problems = append(problems, fmt.Sprintf("%s:%d: %s: a second line", coverageTable, i+1, r.id))
		}
		seen[r.id] = true
	}
	return append(problems, missingRows(seen)...)
}

func missingRows(seen map[string]bool) []string {
	var problems []string
	for part, n := range acceptance {
		for i := range n {
			if id := fmt.Sprintf("%s-%03d", part, i+1); !seen[id] {
				problems = append(problems, fmt.Sprintf("%s: %s: no line", coverageTable, id))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

type coverageRow struct{ id, symbol, test, status string }

func (r coverageRow) check(symbols map[string]bool, tests map[string]*coverTest) []string {
	var problems []string
	part, number, _ := strings.Cut(r.id, "-")
	if n, err := strconv.Atoi(number); err != nil || len(number) != 3 || n < 1 || n > acceptance[part] {
		problems = append(problems, "no such row")
	}
	if !slices.Contains(statuses, r.status) {
		return append(problems, fmt.Sprintf("status %q, want one of %q", r.status, statuses))
	}
	for _, s := range strings.Split(r.symbol, ",") {
		if !symbols[s] {
			problems = append(problems, fmt.Sprintf("no symbol %q", s))
		}
	}
	switch t := tests[r.test]; {
	case t == nil:
		problems = append(problems, fmt.Sprintf("no test %q", r.test))
	case t.skips:
		problems = append(problems, fmt.Sprintf("%s can be skipped", r.test))
	case !t.covers[r.id]:
		problems = append(problems, fmt.Sprintf("%s does not call covers(t, %q)", r.test, r.id))
	}
	return problems
}

// symbolsOf returns the exported names of the packages that users import, as
// "quic.Listen" and "quic.Socket.Close", with what embedding promotes.
func symbolsOf(sources []*source) map[string]bool {
	symbols := make(map[string]bool)
	embeds := make(map[string][]string) // by type, what it embeds
	for _, s := range sources {
		if s.nested || s.isTest() || strings.HasPrefix(s.dir, "internal/") {
			continue
		}
		pkg := path.Base(s.dir)
		if strings.HasPrefix(s.dir, "examples/") {
			symbols[s.dir] = true
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					name = receiverType(d.Recv.List[0].Type) + "." + name
				}
				symbols[pkg+"."+name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declared(pkg, spec, symbols, embeds)
				}
			}
		}
	}
	promote(symbols, embeds)
	return symbols
}

// declared notes what a declaration of types, constants or variables names.
func declared(pkg string, spec ast.Spec, symbols map[string]bool, embeds map[string][]string) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			symbols[pkg+"."+n.Name] = true
		}
	case *ast.TypeSpec:
		name := pkg + "." + spec.Name.Name
		symbols[name] = true
		var members *ast.FieldList
		switch t := spec.Type.(type) {
		case *ast.StructType:
			members = t.Fields
		case *ast.InterfaceType:
			members = t.Methods
		default:
			return
		}
		for _, f := range members.List {
			if len(f.Names) == 0 {
				embeds[name] = append(embeds[name], pkg+"."+receiverType(f.Type))
			}
			for _, n := range f.Names {
				symbols[name+"."+n.Name] = true
			}
		}
	}
}

// promote gives types the members of those that they embed.
func promote(symbols map[string]bool, embeds map[string][]string) {
	for range 3 { // embedding goes no deeper here
		for outer, list := range embeds {
			for _, inner := range list {
				for name := range symbols {
					if member, ok := strings.CutPrefix(name, inner+"."); ok {
						symbols[outer+"."+member] = true
					}
				}
			}
		}
	}
}

// coverTest is a test and the rows that it says it covers.
type coverTest struct {
	skips  bool
	covers map[string]bool
}

// testsOf returns the tests of the repository, as "quic.TestListen".
func testsOf(sources []*source) map[string]*coverTest {
	tests := make(map[string]*coverTest)
	for _, s := range sources {
		if s.nested || !s.isTest() {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			tests[s.dir+"."+f.Name.Name] = coveredBy(f)
		}
	}
	return tests
}

func coveredBy(f *ast.FuncDecl) *coverTest {
	t := &coverTest{covers: make(map[string]bool)}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fun := call.Fun.(type) {
		case *ast.Ident:
			if id, ok := literal(call, 1); fun.Name == "covers" && ok {
				t.covers[id] = true
			}
		case *ast.SelectorExpr:
			if _, ok := fun.X.(*ast.Ident); ok { // t.Skip, and no method of something that a test has
				t.skips = t.skips || slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, fun.Sel.Name)
			}
		}
		return true
	})
	return t
}

// literal returns an argument of a call that is written out as a string.
func literal(call *ast.CallExpr, i int) (string, bool) {
	if len(call.Args) <= i {
		return "", false
	}
	lit, ok := call.Args[i].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

func TestCoverage(t *testing.T) {
	r := everything(t)
	for _, f := range r.texts {
		if f.path == coverageTable {
			report(t, coverage(string(f.data), r.sources))
			return
		}
	}
	t.Errorf("%s is missing", coverageTable)
}

func TestCoverageFinds(t *testing.T) {
	api := example{path: "quic/a.go", text: "package quic\ntype Base struct { Value any }\nfunc (*Base) Close() {}\ntype Socket struct { *Base }\nconst None = -1"}
	test := example{path: "quic/a_test.go", text: `package quic
func TestA(t *testing.T) { covers(t, "BLK-001"); covers(t, "BLK-002"); t.Run("", func(t *testing.T) { covers(t, "BLK-003") }) }
func TestSkips(t *testing.T) { covers(t, "BLK-004"); t.Skip() }
func TestMore(t *testing.T) { covers(t, "BLK-004") }
func TestLoops(t *testing.T) { for _, id := range ids { covers(t, id) } }`}
	other := example{path: "http3/a.go", text: "package http3\ntype Session struct{}"}
	sources := []*source{api.parse(t), other.parse(t), test.parse(t)}
	const good = "id\tsymbol\ttest\tstatus\n" +
		"BLK-001\tquic.Socket.Close,quic.None\tquic.TestA\tworks\n" +
		"BLK-002\tquic.Socket.Value\tquic.TestA\tnode\n" +
		"BLK-003\tquic.Base\tquic.TestA\tworks\n" +
		"BLK-004\thttp3.Session\tquic.TestMore\tworks\n"
	tries := []struct{ old, new, want string }{
		{"", "", ""},
		{"BLK-003", "BLK-005", "BLK-005: no such row"},
		{"BLK-003", "BLK-001", "a second line"},
		{"\tworks", "", "3 cells"},
		{"\tworks", "\ttodo", `status "todo"`},
		{"quic.Base", "quic.Basis", `no symbol "quic.Basis"`},
		{"quic.Socket.Close,", "quic.Socket.Open,", `no symbol "quic.Socket.Open"`},
		{"quic.TestA\tnode", "quic.TestB\tnode", `no test "quic.TestB"`},
		{"quic.TestA\tnode", "quic.TestLoops\tnode", `does not call covers(t, "BLK-002")`},
		{"quic.TestMore", "quic.TestSkips", "TestSkips can be skipped"},
		{"http3.Session\tquic.TestMore\tworks", "-\t-\thttp3", `status "http3"`},
		{"http3.Session", "http3.Transport", `no symbol "http3.Transport"`},
		{"BLK-004\thttp3.Session\tquic.TestMore\tworks\n", "", "BLK-004: no line"},
	}
	for _, try := range tries {
		table := strings.Replace(good, try.old, try.new, 1)
		problems := slices.DeleteFunc(coverage(table, sources), func(p string) bool {
			return strings.Contains(p, "no line") && !strings.Contains(p, "BLK-004")
		})
		if got := strings.Join(problems, "\n"); !strings.Contains(got, try.want) || (try.want == "") != (got == "") {
			t.Errorf("%q instead of %q: got\n%s\nwant %q", try.new, try.old, got, try.want)
		}
	}
}
