package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// checklists have a line for each thing that a peer may do against the RFCs, or that
// an onlooker may hold against us: section, case, expected, tests.
var checklists = []string{"docs/checklist.tsv", "docs/checklist-http3.tsv"}

// checklist: each row has four cells, none empty, and tests that exist and are not
// skipped; no case stands there twice.
func checklist(name, table string, tests map[string]*coverTest) []string {
	var problems []string
	seen := make(map[string]bool)
	for i, line := range strings.Split(strings.TrimSuffix(table, "\n"), "\n") {
		tell := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("%s:%d: ", name, i+1)+fmt.Sprintf(format, args...))
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 4 {
			tell("%d cells, want section, case, expected, tests", len(cells))
			continue
		}
		if i == 0 {
			continue
		}
		for _, cell := range cells[:3] {
			if strings.TrimSpace(cell) == "" {
				tell("an empty cell")
			}
		}
		if key := cells[0] + cells[1]; seen[key] {
			tell("a second row for %s, %s", cells[0], cells[1])
		} else {
			seen[key] = true
		}
		named := strings.Fields(cells[3])
		if len(named) == 0 {
			tell("no test")
		}
		for _, n := range named {
			if t := tests[n]; t == nil {
				tell("no test %q", n)
			} else if t.skips {
				tell("%s can be skipped", n)
			}
		}
	}
	return problems
}

// byName returns the tests under their names alone. Of tests with the same name in
// several packages, one that skips counts.
func byName(tests map[string]*coverTest) map[string]*coverTest {
	names := make(map[string]*coverTest)
	for full, t := range tests {
		name := full[strings.LastIndexByte(full, '.')+1:]
		if names[name] == nil || t.skips {
			names[name] = t
		}
	}
	return names
}

// Every row of the checklists has a test that exists and runs.
func TestChecklist(t *testing.T) {
	r := everything(t)
	tests, found := byName(testsOf(r.sources)), 0
	for _, f := range r.texts {
		if slices.Contains(checklists, f.path) {
			report(t, checklist(f.path, string(f.data), tests))
			found++
		}
	}
	if found == 0 {
		t.Errorf("none of %q is there", checklists)
	}
}

func TestChecklistFinds(t *testing.T) {
	tests := map[string]*coverTest{"TestGood": {}, "TestSkipped": {skips: true}}
	table := "section\tcase\texpected\ttests\n" +
		"RFC 1 §1\ta case\t0x0a\tTestGood\n" +
		"RFC 1 §1\ta case\t0x0b\tTestGood\n" +
		"RFC 1 §2\t\t0x0a\tTestGood\n" +
		"RFC 1 §3\tno test\t0x0a\t\n" +
		"RFC 1 §4\tgone\t0x0a\tTestGood TestGone\n" +
		"RFC 1 §5\tskipped\t0x0a\tTestSkipped\n" +
		"RFC 1 §6\tthree cells\tTestGood\n"
	want := []string{
		"list:3: a second row for RFC 1 §1, a case", "list:4: an empty cell", "list:5: no test",
		`list:6: no test "TestGone"`, "list:7: TestSkipped can be skipped",
		"list:8: 3 cells, want section, case, expected, tests",
	}
	if got := checklist("list", table, tests); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
