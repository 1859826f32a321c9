package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// checklistSections are the sections that each need a row: all of which something can be seen from outside.
var checklistSections = map[string]string{
	"9000": "2.2 3.2 3.3 3.5 4.1 4.2 4.5 4.6 5.1 5.1.1 5.1.2 5.2 5.2.1 5.2.2 6.1 6.2 7.2 7.3 7.4 7.4.1 7.5 8.1 8.1.2 8.1.3 8.1.4 " +
		"8.2.1 8.2.2 9 9.3 9.4 9.5 9.6 10.1 10.2.1 10.2.2 10.2.3 10.3 10.3.1 10.3.2 12.2 12.3 12.4 13.1 13.2.1 13.2.6 13.3 13.4 " +
		"14 14.1 14.2.1 17.1 17.2 17.2.2 17.2.3 17.2.5 17.4 18.2 19.3.1 19.4 19.5 19.6 19.7 19.8 19.9 19.10 19.11 19.13 19.14 19.15 19.16 19.17 19.20",
	"9001": "4.1.3 4.2 4.4 4.6.2 4.9 5.3 5.4.2 5.5 5.6 5.7 6 6.1 6.2 6.4 6.6 8.1 8.2 8.3 8.4 9.5",
	"9002": "5 6.1 6.2 6.4 7 7.7",
	"9114": "3.2 4.1 4.1.2 4.2 4.3 4.3.1 4.3.2 4.4 4.6 5.2 6.1 6.2 6.2.1 6.2.2 7.1 7.2.1 7.2.2 7.2.3 7.2.4 7.2.5 7.2.6 7.2.7 7.2.8 8 10.3 10.9",
	"9204": "2.1.2 2.2.1 2.2.2.1 2.2.3 3.1 3.2.2 3.2.3 4.1.1 4.2 4.4.1 4.4.3 4.5.1.1 4.5.1.2 7.1.3 7.4",
	"9218": "4 7.2",
	"9221": "3 5",
	"9297": "2.1",
	"9368": "2.1 4 8",
	"9369": "3 4 4.1 5",
}

// unlisted returns the sections that the tables have no row for.
func unlisted(tables string) (problems []string) {
	for rfc, list := range checklistSections {
		for sec := range strings.FieldsSeq(list) {
			if row := "\nRFC " + rfc + " §" + sec + "\t"; !strings.Contains(tables, row) {
				problems = append(problems, "no row for RFC "+rfc+" §"+sec)
			}
		}
	}
	return problems
}

// TestChecklists checks the tables of what the RFCs demand and can be seen from outside,
// docs/checklist*.tsv: a section, a case, what is expected, and the tests that show it, which must exist. A
// subtest is named behind a slash, by words that stand in the code.
func TestChecklists(t *testing.T) {
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(root, "docs", "checklist*.tsv"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	code, all := testCode(t, root), ""
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range checklist(string(b), code) {
			t.Errorf("%s: %s", filepath.Base(name), p)
		}
		all += string(b)
	}
	for _, p := range unlisted(all) {
		t.Error(p)
	}
}

// testCode returns all tests of the repository as one text.
func testCode(t *testing.T, root string) string {
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

var checklistSection = regexp.MustCompile(`^RFC \d{4} §\d+(\.\d+)*$`)

// checklist returns what is wrong with a table.
func checklist(table, code string) (problems []string) {
	lines := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	if lines[0] != "section\tcase\texpected\ttests" {
		return []string{"the first line is " + strconv.Quote(lines[0])}
	}
	for i, line := range lines[1:] {
		where := "line " + strconv.Itoa(i+2) + ": "
		columns := strings.Split(line, "\t")
		if len(columns) != 4 || columns[1] == "" || columns[2] == "" || !checklistSection.MatchString(columns[0]) {
			problems = append(problems, where+"want a section as RFC 9114 §4.1, a case, what is expected, and tests")
			continue
		}
		for test := range strings.SplitSeq(columns[3], ", ") {
			name, sub, _ := strings.Cut(test, "/")
			if !strings.HasPrefix(name, "Test") || !strings.Contains(code, "\nfunc "+name+"(") {
				problems = append(problems, where+"there is no test "+strconv.Quote(name))
			} else if sub != "" && !strings.Contains(code, strconv.Quote(sub)) {
				problems = append(problems, where+"there is no subtest "+strconv.Quote(sub))
			}
		}
	}
	return problems
}

func TestChecklistRule(t *testing.T) {
	const head, code = "section\tcase\texpected\ttests\n", "\nfunc TestA(t *testing.T) {\n\"a sub\""
	for table, want := range map[string]int{
		head + "RFC 1 §1\tx\ty\tTestA\n":                               1,
		head + "RFC 9000 §1.2\tx\ty\tTestA, TestA/a sub\n":             0,
		head + "RFC 9000 §1.2\tx\ty\tTestA/another, TestB\n":           2,
		head + "RFC 9000 §1.2\tx\ty\t\n":                               1,
		head + "RFC 9000 §1.2\tx\tTestA\n":                             1,
		"section\n":                                                    1,
		head + "RFC 9000 §1.2\t\ty\tTestA\nRFC 9000 §2\tx\ty\tTestA\n": 1,
	} {
		if got := checklist(table, code); len(got) != want {
			t.Errorf("%q: %q", table, got)
		}
	}
	if got := len(unlisted("head\nRFC 9221 §3\tx\nRFC 9221 §5.1\ty\n")); got != len(unlisted(""))-1 {
		t.Errorf("one row of all leaves %d of %d sections without", got, len(unlisted("")))
	}
}
