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
	code := testCode(t, root)
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range checklist(string(b), code) {
			t.Errorf("%s: %s", filepath.Base(name), p)
		}
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
}
