package house

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// limited are the packages in which every constant with the name of a limit is one of
// the table's, or says in its comment that it is "no limit".
var limited = []string{
	"internal/wire", "internal/congestion", "internal/protect", "internal/stream", "internal/recovery", "internal/transport", "internal/udp",
	"quic", "qpack", "qlog",
	"http3", "cmd/cinnabar", "cmd/cinnabar/internal/site",
}

// limitName is how limits are called here: by their beginnings, or by ends that hardly anything else has.
var limitName = regexp.MustCompile(`^([mM](ax|ost)[A-Z]|budget|free[A-Z]|(in|out)box|crypto[A-Z]|zombie|useless|qlogUn|default(Tokens|Replays|MaxData|MaxStreamData|HandshakeTimeout|TableCapacity|BlockedStreams|(Header|Message|Response)[A-Z]\w*|.*Streams(Bidi|Uni))$|server.*Streams)|(Window|Backlog|Burst|Rate|Cost|Above|PerHost|PerID|Unread|Probes)$`)

// constSpec is a constant of one name and a value of its own.
type constSpec struct {
	s    *source
	name string
	expr ast.Expr
	note string // comment at its end or above it
}

// constantsOf returns the package-level constants of the product, as "internal/wire.maxStreams".
func constantsOf(sources []*source) map[string]*constSpec {
	all := make(map[string]*constSpec)
	for _, s := range sources {
		if s.nested || s.isTest() {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				if len(v.Names) == 1 && len(v.Values) == 1 {
					note := v.Comment.Text() + v.Doc.Text()
					if len(g.Specs) == 1 {
						note += g.Doc.Text()
					}
					all[s.dir+"."+v.Names[0].Name] = &constSpec{s, v.Names[0].Name, v.Values[0], note}
				}
			}
		}
	}
	return all
}

// units are what durations are written in.
var units = map[string]time.Duration{
	"Nanosecond": 1, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
	"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
}

// evaluate returns the value of a constant expression, nil if it is beyond this.
func evaluate(all map[string]*constSpec, dir string, e ast.Expr) constant.Value {
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return evaluate(all, dir, e.X)
	case *ast.Ident:
		if c := all[dir+"."+e.Name]; c != nil {
			return evaluate(all, dir, c.expr)
		}
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && x.Name == "time" && units[e.Sel.Name] > 0 {
			return constant.MakeInt64(int64(units[e.Sel.Name]))
		} else if ok {
			for name, c := range all {
				if strings.HasSuffix("/"+name, "/"+x.Name+"."+e.Sel.Name) {
					return evaluate(all, c.s.dir, c.expr)
				}
			}
		}
	case *ast.BinaryExpr:
		x, y := evaluate(all, dir, e.X), evaluate(all, dir, e.Y)
		if x == nil || y == nil {
			return nil
		}
		switch e.Op {
		case token.SHL:
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(n))
		case token.QUO:
			return constant.BinaryOp(x, token.QUO_ASSIGN, y)
		case token.ADD, token.SUB, token.MUL:
			return constant.BinaryOp(x, e.Op, y)
		}
	}
	return nil
}

// silent is how a row begins that needs no figure (package limits says why). loud is what shows that the
// peer loses something all the same: the code of an error, or a verb for what becomes of what has come.
var (
	silent = regexp.MustCompile(`^(forgets|asks no more)\b`)
	loud   = regexp.MustCompile(`_(ERROR|EXCEEDED|LOAD|REFUSED|FAILED)\b|\b(STOP_SENDING|[45]\d\d|ends (the|a)|drops|refuses|rejects|ignores|fails|answers|cuts|takes)\b`)
)

// limitRows: each row names a constant with that value, a figure of the public stats
// and a test that says that it goes to the bound.
func limitRows(rows []limits.Row, sources []*source) []string {
	all, symbols := constantsOf(sources), symbolsOf(sources)
	tests := boundsOf(sources)
	seen := make(map[string]bool)
	var problems []string
	for _, r := range rows {
		bad := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("limits.tsv:%d: %s: %s", r.Line, r.ID, fmt.Sprintf(format, args...)))
		}
		if seen[r.ID] {
			bad("a second line")
		}
		seen[r.ID] = true
		if c := all[r.Bound]; c == nil {
			bad("no constant %q", r.Bound)
		} else if v := evaluate(all, c.s.dir, c.expr); v == nil || v.ExactString() != strconv.Itoa(r.Value) {
			bad("%s is %v, not %d", r.Bound, v, r.Value)
		}
		if r.Counter != "-" && (!strings.Contains(r.Counter, "Stats.") || !symbols[r.Counter]) {
			bad("no figure %q in the stats", r.Counter)
		}
		if r.Counter == "-" && (!silent.MatchString(r.Beyond) || loud.MatchString(r.Beyond)) {
			bad("beyond the bound it %s, and no figure tells", r.Beyond)
		}
		switch t := tests[r.Test]; {
		case t == nil:
			bad("no test %q", r.Test)
		case t.skips:
			bad("%s can be skipped", r.Test)
		case !t.covers[r.ID]:
			bad("%s does not call limits.Bound(t, %q)", r.Test, r.ID)
		}
	}
	return problems
}

// boundsOf returns the tests of the repository and the limits that each goes to.
func boundsOf(sources []*source) map[string]*coverTest {
	tests := testsOf(sources)
	for _, s := range sources {
		if s.nested || !s.isTest() {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || tests[s.dir+"."+f.Name.Name] == nil {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				fun, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || fun.Sel.Name != "Bound" {
					return true
				}
				if x, ok := fun.X.(*ast.Ident); ok && x.Name == "limits" {
					if id, ok := literal(call, 1); ok {
						tests[s.dir+"."+f.Name.Name].covers[id] = true
					}
				}
				return true
			})
		}
	}
	return tests
}

// limitsWithoutRow: a constant with the name of a limit has a row, or says why not.
func limitsWithoutRow(rows []limits.Row, sources []*source) []string {
	var problems []string
	for name, c := range constantsOf(sources) {
		if !slices.Contains(limited, c.s.dir) || !limitName.MatchString(c.name) || strings.Contains(c.note, "no limit:") {
			continue
		}
		if !slices.ContainsFunc(rows, func(r limits.Row) bool { return r.Bound == name }) {
			problems = append(problems, c.s.at(c.expr.Pos(), "%s has no row in internal/limits/limits.tsv; if no peer can get there, its comment begins \"no limit:\"", name))
		}
	}
	slices.Sort(problems)
	return problems
}

func limitTable(t *testing.T) []limits.Row {
	rows, err := limits.Rows()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestLimits(t *testing.T) {
	r := everything(t)
	report(t, limitRows(limitTable(t), r.sources))
	report(t, limitsWithoutRow(limitTable(t), r.sources))
}

func TestLimitsFinds(t *testing.T) {
	product := example{path: "quic/a.go", text: "package quic\nimport \"time\"\nconst (\n\tmaxA = 4 << 10\n\tfew = 3\n\tmaxB = few * time.Second\n\tmaxC = 1 // no limit: of ours\n)\ntype SocketStats struct { Dropped int }"}
	test := example{path: "quic/a_test.go", text: `package quic
func TestA(t *testing.T) { limits.Bound(t, "a"); limits.Bound(t, "b") }
func TestSkips(t *testing.T) { limits.Bound(t, "a"); t.Skip() }`}
	sources := []*source{product.parse(t), test.parse(t)}
	good := []limits.Row{
		{Line: 2, ID: "a", Bound: "quic.maxA", Value: 4096, Counter: "quic.SocketStats.Dropped", Beyond: "drops", Test: "quic.TestA"},
		{Line: 3, ID: "b", Bound: "quic.maxB", Value: int(3 * time.Second), Counter: "-", Beyond: "forgets the oldest", Test: "quic.TestA"},
	}
	tries := []struct {
		change func(rows []limits.Row)
		want   string
	}{
		{func([]limits.Row) {}, ""},
		{func(r []limits.Row) { r[1].ID = "a" }, "limits.tsv:3: a: a second line"},
		{func(r []limits.Row) { r[0].Bound = "quic.maxX" }, `no constant "quic.maxX"`},
		{func(r []limits.Row) { r[0].Value = 4097 }, "quic.maxA is 4096, not 4097"},
		{func(r []limits.Row) { r[1].Value = 3 }, "quic.maxB is 3000000000, not 3"},
		{func(r []limits.Row) { r[0].Counter = "quic.SocketStats.Lost" }, `no figure "quic.SocketStats.Lost"`},
		{func(r []limits.Row) { r[0].Counter = "-" }, "beyond the bound it drops, and no figure tells"},
		{func(r []limits.Row) { r[1].Beyond = "says nothing" }, "no figure tells"},
		{func(r []limits.Row) { r[1].Beyond = "asks no more memory: H3_FRAME_ERROR" }, "no figure tells"},
		{func(r []limits.Row) { r[1].Beyond = "asks no more: STOP_SENDING" }, "no figure tells"},
		{func(r []limits.Row) { r[1].Beyond = "forgets all, and takes no others" }, "no figure tells"},
		{func(r []limits.Row) { r[1].Beyond = "asks no more: ends the session" }, "no figure tells"},
		{func(r []limits.Row) { r[1].Beyond = "asks no more: the window grows no more" }, ""},
		{func(r []limits.Row) { r[1].Beyond = "forgets the one that ends first" }, ""},
		{func(r []limits.Row) { r[0].Test = "quic.TestB" }, `no test "quic.TestB"`},
		{func(r []limits.Row) { r[0].Test = "quic.TestSkips" }, "TestSkips can be skipped"},
		{func(r []limits.Row) { r[0].ID = "c" }, `TestA does not call limits.Bound(t, "c")`},
		{func(r []limits.Row) { r[0].Bound = "quic.maxB" }, "quic.maxA has no row"},
	}
	for name, limit := range map[string]bool{
		"maxA": true, "MaxA": true, "mostA": true, "budgetBurst": true, "resetCost": true, "pushWindow": true, "outboxBytes": true,
		"acceptBacklog": true, "defaultPerHost": true, "qlogUnread": true, "serverStreamsUni": true, "defaultMaxStreamsBidi": true, "defaultMaxData": true, "oldProbes": true,
		"maximal": false, "FrameMaxStreamsUni": false, "ackDelay": false, "freeze": false,
	} {
		if limitName.MatchString(name) != limit {
			t.Errorf("%s is the name of a limit: %v, want %v", name, !limit, limit)
		}
	}
	for _, try := range tries {
		rows := slices.Clone(good)
		try.change(rows)
		got := strings.Join(append(limitRows(rows, sources), limitsWithoutRow(rows, sources)...), "\n")
		if !strings.Contains(got, try.want) || (try.want == "") != (got == "") {
			t.Errorf("got\n%s\nwant %q", got, try.want)
		}
	}
}

// TestLimitsMatter raises one limit after the other tenfold and wants its test to fail.
// It builds the packages of the table again for every row, so it only runs when
// CINNABAR_LIMITS is set: to 1 for all rows, or to patterns of the ids of some, with
// commas between them ("http3-*,paths").
func TestLimitsMatter(t *testing.T) {
	chosen := os.Getenv("CINNABAR_LIMITS")
	if chosen == "" {
		t.Log("CINNABAR_LIMITS is not set: no limit is raised")
		return
	}
	all, root := constantsOf(everything(t).sources), everything(t).root
	raised, failed := 0, atomic.Int64{}
	t.Cleanup(func() { t.Logf("%d of %d limits have a test that fails when they are raised", failed.Load(), raised) })
	for _, r := range limitTable(t) {
		if chosen != "1" && !slices.ContainsFunc(strings.Split(chosen, ","), func(pattern string) bool { ok, _ := path.Match(pattern, r.ID); return ok }) {
			continue
		}
		raised++
		t.Run(r.ID, func(t *testing.T) {
			t.Parallel()
			said, err := wantFailure(t.TempDir(), root, r, all[r.Bound])
			if err != nil {
				t.Fatalf("limits.tsv:%d: %v", r.Line, err)
			}
			failed.Add(1)
			t.Log(said)
		})
	}
	if raised == 0 {
		t.Errorf("CINNABAR_LIMITS=%s: no such row", chosen)
	}
}

// failure is where a test says why it fails.
var failure = regexp.MustCompile(`(?m)^ +\w+_test\.go:\d+: .*$|^panic: .*$`)

// wantFailure runs the test of a row with ten times its bound, and returns what it says.
func wantFailure(dir, root string, r limits.Row, c *constSpec) (string, error) {
	if c == nil {
		return "", fmt.Errorf("no constant %q", r.Bound)
	}
	file, _ := filepath.Abs(filepath.Join(root, c.s.path))
	start, end := c.s.fset.Position(c.expr.Pos()).Offset, c.s.fset.Position(c.expr.End()).Offset
	changed := string(c.s.text[:start]) + "10 * (" + string(c.s.text[start:end]) + ")" + string(c.s.text[end:])
	replacement, overlay := filepath.Join(dir, "raised.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: replacement}})
	if err != nil {
		return "", err
	}
	for name, data := range map[string][]byte{replacement: []byte(changed), overlay: list} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return "", err
		}
	}
	pkg, test := r.Test[:strings.LastIndexByte(r.Test, '.')], r.Test[strings.LastIndexByte(r.Test, '.')+1:]
	cmd := exec.Command("go", "test", "-vet", "off", "-ldflags", "-s -w", "-overlay", overlay, "-count", "1", "-timeout", "2m", "-run", "^"+test+"$", "./"+pkg)
	cmd.Dir = root
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CINNABAR_") })
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return "", fmt.Errorf("%s passes with ten times %s", r.Test, r.Bound)
	case !strings.Contains(string(out), "--- FAIL: "+test) || strings.Contains(string(out), "panic: test timed out"):
		return "", fmt.Errorf("%s does not come to a verdict with ten times %s:\n%.4000s", r.Test, r.Bound, out)
	}
	return fmt.Sprintf("%.200s", strings.TrimSpace(failure.FindString(string(out)))), nil
}
