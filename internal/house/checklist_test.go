package house

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checklistSections are the sections that each need a row: all of which something can be seen from outside.
var checklistSections = map[string]string{
	"9000": "2.2 3.2 3.3 3.5 4.1 4.2 4.5 4.6 5.1 5.1.1 5.1.2 5.2 5.2.1 5.2.2 6.1 6.2 7.2 7.3 7.4 7.4.1 7.5 8.1 8.1.2 8.1.3 8.1.4 " +
		"8.2.1 8.2.2 9 9.3 9.4 9.5 9.6 10.1 10.2.1 10.2.2 10.2.3 10.3 10.3.1 10.3.2 12.2 12.3 12.4 13.1 13.2.1 13.2.6 13.3 13.4 " +
		"14 14.1 14.2.1 17.1 17.2 17.2.2 17.2.3 17.2.5 17.4 18.2 19.3.1 19.4 19.5 19.6 19.7 19.8 19.9 19.10 19.11 19.13 19.14 19.15 19.16 19.17 19.20",
	"9001": "4.1.3 4.2 4.4 4.6.1 4.6.2 4.9 5.3 5.4.2 5.5 5.6 5.7 6 6.1 6.2 6.4 6.6 8.1 8.2 8.3 8.4 9.5",
	"9002": "5 6.1 6.2 6.4 7 7.7",
	"9114": "3.2 4.1 4.1.2 4.2 4.3 4.3.1 4.3.2 4.4 4.6 5.2 6.1 6.2 6.2.1 6.2.2 7.1 7.2.1 7.2.2 7.2.3 7.2.4 7.2.4.2 7.2.5 7.2.6 7.2.7 7.2.8 8 10.3 10.9",
	"9204": "2.1.2 2.2.1 2.2.2.1 2.2.3 3.1 3.2.2 3.2.3 4.1.1 4.2 4.4.1 4.4.3 4.5.1.1 4.5.1.2 7.1.3 7.4",
	"9218": "4 7.2",
	"9221": "3 5",
	"9297": "2.1",
	"9368": "2.1 4 8",
	"9369": "3 4 4.1 5",
}

// checklistLines are how many lines the list of what can be seen has for each part, which an RFC names; one line may
// be of several sections, and of a smaller RFC beside it. Each has its number, from 01 on, and a row at least.
var checklistLines = map[string]int{"9000": 67, "9001": 19, "9002": 6, "9114": 23, "9204": 11, "9218": 3, "9221": 3, "9369": 6}

// unlisted returns the sections and the lines that the tables have no row for.
func unlisted(rows []checklistRow) (problems []string) {
	sections, lines := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		sections[r.section], lines[r.line] = true, true
	}
	for rfc, list := range checklistSections {
		for sec := range strings.FieldsSeq(list) {
			if sec = "RFC " + rfc + " §" + sec; !sections[sec] {
				problems = append(problems, "no row for "+sec)
			}
		}
	}
	for part, n := range checklistLines {
		for i := range n {
			if line := fmt.Sprintf("%s-%02d", part, i+1); !lines[line] {
				problems = append(problems, "no row for line "+line)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// TestChecklists checks the tables of what the RFCs demand and can be seen from outside,
// docs/checklist*.tsv: the line of the list that a row is of, empty if it is one more; a section, a case, what is
// expected, and the tests that show it, which must exist and not be skipped, and one of which cites the section. A
// subtest is named behind a slash, by a string of its package.
func TestChecklists(t *testing.T) {
	r := everything(t)
	all, problems := checklists(t, r)
	report(t, append(problems, unlisted(all)...))
}

// checklists returns the rows of all tables, and what is wrong with them.
func checklists(t *testing.T, r *repository) (all []checklistRow, problems []string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(r.root, "docs", "checklist*.tsv"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rows, wrong := checklist(string(b), r.sources)
		for _, p := range wrong {
			problems = append(problems, filepath.Base(name)+": "+p)
		}
		all = append(all, rows...)
	}
	return all, problems
}

type checklistRow struct{ line, section string }

var (
	checklistSection = regexp.MustCompile(`^RFC \d{4} §\d+(\.\d+)*$`)
	checklistLine    = regexp.MustCompile(`^(\d{4})-(\d\d)$`)
)

// checklist returns the rows of a table, and what is wrong with it.
func checklist(table string, sources []*source) (rows []checklistRow, problems []string) {
	lines := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	if lines[0] != "line\tsection\tcase\texpected\ttests" {
		return nil, []string{"the first line is " + strconv.Quote(lines[0])}
	}
	tests := checklistTests(sources)
	for i, line := range lines[1:] {
		where := "line " + strconv.Itoa(i+2) + ": "
		columns := strings.Split(line, "\t")
		if len(columns) != 5 || columns[2] == "" || columns[3] == "" || !checklistSection.MatchString(columns[1]) {
			problems = append(problems, where+"want a line of the list or nothing, a section as RFC 9114 §4.1, a case, what is expected, and tests")
			continue
		}
		if id := checklistLine.FindStringSubmatch(columns[0]); columns[0] != "" && (id == nil || atoi(id[2]) < 1 || atoi(id[2]) > checklistLines[id[1]]) {
			problems = append(problems, where+"the list has no line "+strconv.Quote(columns[0]))
		}
		rows = append(rows, checklistRow{columns[0], columns[1]})
		for _, p := range tests.lacking(strings.Split(columns[4], ", "), columns[1]) {
			problems = append(problems, where+p)
		}
	}
	return rows, problems
}

// lacking returns what is wrong with the tests of a row: with each, and that none of those that run cites the section.
func (n namedTests) lacking(list []string, sec string) (problems []string) {
	rfc, number, _ := strings.Cut(strings.TrimPrefix(sec, "RFC "), " §")
	proven, sound := false, true
	for _, test := range list {
		problem, cites := n.lacks(test, rfc, number)
		if problem != "" {
			problems, sound = append(problems, problem), false
		}
		proven = proven || cites
	}
	if sound && !proven {
		problems = append(problems, fmt.Sprintf("none of %s cites %s", few(list, len(list)), sec))
	}
	return problems
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // of digits
	return n
}

// namedTests are tests by their bare name: if several packages have one of a name, of any of them.
type namedTests map[string][]*proof

func checklistTests(sources []*source) namedTests {
	named := namedTests{}
	for id, p := range proofs(sources) {
		_, name, _ := strings.Cut(id, ".")
		named[name] = append(named[name], p)
	}
	return named
}

// lacks says what is wrong with the name of a test, "" if nothing, and whether the test cites the section.
func (n namedTests) lacks(test, rfc, sec string) (problem string, cites bool) {
	name, _, _ := strings.Cut(test, "/")
	list := n[name]
	if len(list) == 0 {
		list = []*proof{nil} // whose lacks says so
	}
	runs := false
	for _, p := range list {
		lacking, by := p.lacks(test, rfc, sec)
		if lacking == "" {
			runs, cites = true, cites || by
		} else if problem == "" || lacking < problem {
			problem = lacking // the first of them, whatever their order
		}
	}
	if runs {
		problem = ""
	}
	return problem, cites
}

func TestChecklistRule(t *testing.T) {
	sources := []*source{
		mustParse(t, "internal/a/a_test.go", `package a

// RFC 9000 §1.2, §2.
func TestA(t *testing.T) {}

func TestNone(t *testing.T) {}

var names = []entry{
	{"a sub"}, // RFC 9000 §3
	{"another sub"},
}

func TestSkipped(t *testing.T) { t.Skip() } // RFC 9000 §1.2

func TestTwice(t *testing.T) { t.Skip() }
`),
		mustParse(t, "internal/b/b_test.go", "package b\n\n// RFC 9000 §1.2\nfunc TestTwice(t *testing.T) {}\n"),
	}
	const head = "line\tsection\tcase\texpected\ttests\n"
	for table, want := range map[string]int{
		head + "\tRFC 1 §1\tx\ty\tTestA\n":                     1,
		head + "\tRFC 9000 §1.2\tx\ty\tTestA, TestA/a sub\n":   0,
		head + "\tRFC 9000 §1.2\tx\ty\tTestA/another, TestB\n": 2,
		head + "\tRFC 9000 §1.2\tx\ty\tTestA, TestSkipped\n":   1,
		head + "\tRFC 9000 §1.2\tx\ty\tTestTwice\n":            0,
		head + "\tRFC 9000 §1.2\tx\ty\t\n":                     1,
		head + "\tRFC 9000 §1.2\tx\tTestA\n":                   1,
		head + "\tRFC 9000 §1.2\tx\ty\tTestNone\n":             1,
		head + "\tRFC 9000 §1.2\tx\ty\tTestNone, TestA\n":      0,
		head + "\tRFC 9000 §1\tx\ty\tTestA\n":                  1,
		head + "\tRFC 9001 §1.2\tx\ty\tTestA\n":                1,
		head + "\tRFC 9000 §3\tx\ty\tTestNone/a sub\n":         0,
		head + "\tRFC 9000 §3\tx\ty\tTestNone/another sub\n":   1,
		head + "9000-67\tRFC 9000 §1.2\tx\ty\tTestA\n":         0,
		head + "9000-68\tRFC 9000 §1.2\tx\ty\tTestA\n":         1,
		head + "9000-00\tRFC 9000 §1.2\tx\ty\tTestA\n":         1,
		head + "seven\tRFC 9000 §1.2\tx\ty\tTestA\n":           1,
		"section\n": 1,
		head + "\tRFC 9000 §1.2\t\ty\tTestA\n9000-01\tRFC 9000 §2\tx\ty\tTestA\n": 1,
	} {
		if _, got := checklist(table, sources); len(got) != want {
			t.Errorf("%q: %q", table, got)
		}
	}
	if got := len(unlisted([]checklistRow{{"9000-03", "RFC 9221 §3"}, {"9000-03", "RFC 9221 §5.1"}})); got != len(unlisted(nil))-2 {
		t.Errorf("a section and a line leave %d of %d without", got, len(unlisted(nil)))
	}
}
