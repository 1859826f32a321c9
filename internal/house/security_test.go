package house

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Where SECURITY.md has its promises: items between two headings.
const (
	promisesBegin = "\n## Off the path\n"
	promisesEnd   = "\n## Simulation\n"
)

var (
	promiseTest  = regexp.MustCompile("`(?:[a-z0-9]+\\.)?((?:Test|Fuzz)\\w+)`")
	promiseProof = regexp.MustCompile("`(?:[a-z0-9]+\\.)?(?:Test|Fuzz)\\w+`|`go run ./\\w+`")
)

// TestSecurity checks SECURITY.md: every promise names what proves it, a test or a command; each
// test that it names is there and not skipped; and what it says of the size of tables is so.
func TestSecurity(t *testing.T) {
	r := everything(t)
	text, err := os.ReadFile(filepath.Join(r.root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	requirementRows, err := os.ReadFile(filepath.Join(r.root, filepath.FromSlash(requirementsTable)))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := requirements(string(requirementRows), r.sources)
	fuzz, targets := fuzzTargets(r.sources), 0
	for _, n := range fuzz {
		targets += n
	}
	lines := 0
	for _, n := range checklistLines {
		lines += n
	}
	rows, _ := checklists(t, r)
	report(t, security(string(text), checklistTests(r.sources), fuzz, map[string]int{
		"limits whose test was seen to fail when they are raised tenfold: N of N": len(limitTable(t)),
		"requirements with a test or a written exception: N of N":                 len(list),
		"lines of the checklists: all " + grouped(lines) + ", in N rows":          len(rows),
		"Attacks with their full counts: all N tests":                             attackTests(r.sources),
		"| N targets |": targets,
	}))
}

// security returns what is wrong with a text of promises, where figures are sentences with N for each number.
func security(text string, tests namedTests, fuzz map[string]int, figures map[string]int) (problems []string) {
	_, rest, began := strings.Cut(text, promisesBegin)
	promises, _, ended := strings.Cut(rest, promisesEnd)
	if !began || !ended {
		return []string{"SECURITY.md has no promises between " + strconv.Quote(promisesBegin) + " and " + strconv.Quote(promisesEnd)}
	}
	for item := range strings.SplitSeq("\n"+promises, "\n- ") {
		item, _, _ = strings.Cut(item, "\n\n") // a heading comes after the last
		if words := strings.TrimSpace(item); words != "" && !promiseProof.MatchString(words) {
			problems = append(problems, fmt.Sprintf("SECURITY.md: nothing proves %.80q", words))
		}
	}
	for _, m := range promiseTest.FindAllStringSubmatch(text, -1) {
		switch name := m[1]; {
		case strings.HasPrefix(name, "Fuzz"):
			if fuzz[name] == 0 {
				problems = append(problems, "SECURITY.md: there is no fuzz target "+name)
			}
		default:
			if p, _ := tests.lacks(name, "", ""); p != "" {
				problems = append(problems, "SECURITY.md: "+p)
			}
		}
	}
	flat := strings.Join(strings.Fields(text), " ")
	for sentence, n := range figures {
		want := strings.ReplaceAll(sentence, "N", grouped(n))
		if !strings.Contains(flat, want) {
			problems = append(problems, "SECURITY.md does not say "+strconv.Quote(want))
		}
	}
	return problems
}

// grouped writes a number with a comma before its thousands.
func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return grouped(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// fuzzTargets returns how many fuzz targets there are of each name.
func fuzzTargets(sources []*source) map[string]int {
	names := map[string]int{}
	eachTestFunc(sources, func(name string) {
		if strings.HasPrefix(name, "Fuzz") {
			names[name]++
		}
	})
	return names
}

// attackTests returns how many tests there are of attacks of the lists.
func attackTests(sources []*source) (n int) {
	eachTestFunc(sources, func(name string) {
		if attackTest.MatchString(name) {
			n++
		}
	})
	return n
}

// eachTestFunc calls f for every function of a test file.
func eachTestFunc(sources []*source, f func(name string)) {
	for _, s := range sources {
		for _, d := range s.file.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && s.isTest() && d.Recv == nil {
				f(d.Name.Name)
			}
		}
	}
}

func TestSecurityFinds(t *testing.T) {
	tests := namedTests{"TestA": {{}}, "TestSkipped": {{skips: true}}}
	text := "# T\n\n## Off the path\n\n- It holds: `TestA`.\n- It is\n  said: `a.TestGone`.\n- So: `TestSkipped`, `FuzzA`.\n\n## More\n\n- Nothing.\n\n## Simulation\n\nRows: 1,234 of 1,234.\n"
	got := security(text, tests, nil, map[string]int{"Rows: N of N": 1234, "Cells: N": 5})
	want := []string{`nothing proves "Nothing."`, "no test TestGone", "TestSkipped can be skipped", "no fuzz target FuzzA", `does not say "Cells: 5"`}
	if len(got) != len(want) {
		t.Fatalf("%q, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
	if security("## Off the path\n", nil, nil, nil) == nil {
		t.Error("a text without promises passes")
	}
}
