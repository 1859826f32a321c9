package house

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirementsTable has a line for each MUST of the RFCs that the stack is made from: the
// RFC, its section, what is required in our words, the tests that fail without it, one of which cites the section,
// and why it is not for us or not tested, if it is not. A subtest stands behind a slash. Its order is that of the RFCs.
const requirementsTable = "docs/requirements.tsv"

// requirementsReport is made from the table and from the citations in code and tests.
const requirementsReport = "docs/rfc-coverage.md"

// requirement is a line of the table.
type requirement struct {
	line               int
	rfc, section, text string
	tests              []string // "transport.TestStreams", "http3.TestAttacksOnServer/upper case"
	proven             bool     // one of them cites the section; such stand in front
	code               []string // files that cite the section, or the nearest one around it
	exception          string
}

// sectionCites are the files that cite a section, by "9000 §4.1".
type sectionCites map[string][]string

var (
	sectionCite = regexp.MustCompile(`RFC (\d{4}) ((?:§ ?[0-9A-Z]+(?:\.[0-9]+)*(?:, | and |, and )?)+)`)
	section     = regexp.MustCompile(`[0-9A-Z]+(?:\.[0-9]+)*`)
	wrapped     = regexp.MustCompile(`\n\s*// ?`)
)

// tools are the directories of what tries the stack out, watches it or is made with it: a citation there is no code
// that does what a section asks for.
var tools = []string{
	"cmd", "examples", "interop", "qlog",
	"internal/cases", "internal/evil", "internal/hq", "internal/house", "internal/siege", "internal/sim", "internal/site", "internal/trace",
}

// isProduct reports whether a file is code of the stack, and not only words about it.
func (s *source) isProduct() bool {
	return !s.isTest() && !s.nested && path.Base(s.path) != "doc.go" && !slices.ContainsFunc(tools, func(dir string) bool {
		return s.dir == dir || strings.HasPrefix(s.dir, dir+"/")
	})
}

func citationsOf(sources []*source) sectionCites {
	c := sectionCites{}
	for _, s := range sources {
		if !s.isProduct() {
			continue
		}
		for key := range cited(string(s.text)) {
			c[key] = append(c[key], s.path) // the sources are in order
		}
	}
	return c
}

func isTestName(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")
}

// nearest returns who cites a section, or else one that it is in.
func nearest(of sectionCites, rfc, sec string) []string {
	for {
		if list := of[rfc+" §"+sec]; len(list) > 0 {
			return list
		}
		i := strings.LastIndexByte(sec, '.')
		if i < 0 {
			return nil
		}
		sec = sec[:i]
	}
}

// parseRequirements reads the table.
func parseRequirements(table string) (list []requirement, problems []string) {
	for i, line := range strings.Split(strings.TrimSuffix(table, "\n"), "\n") {
		cells := strings.Split(line, "\t")
		if len(cells) != 5 {
			problems = append(problems, fmt.Sprintf("%s:%d: %d cells, want rfc, section, requirement, tests, exception", requirementsTable, i+1, len(cells)))
			continue
		}
		if i == 0 {
			continue
		}
		r := requirement{line: i + 1, rfc: cells[0], section: cells[1], text: cells[2], exception: cells[4]}
		if cells[3] != "" {
			r.tests = strings.Split(cells[3], ",")
		}
		if r.text == "" || section.FindString(r.section) != r.section {
			problems = append(problems, fmt.Sprintf("%s:%d: no requirement, or no section %q", requirementsTable, i+1, r.section))
		}
		list = append(list, r)
	}
	return list, problems
}

// requirements: every MUST has code, and names a test, or says why not.
func requirements(table string, sources []*source) (list []requirement, problems []string) {
	list, problems = parseRequirements(table)
	cites, tests := citationsOf(sources), proofs(sources)
	for i := range list {
		r := &list[i]
		at := fmt.Sprintf("%s:%d: RFC %s §%s", requirementsTable, r.line, r.rfc, r.section)
		for _, p := range r.prove(tests) {
			problems = append(problems, at+": "+p)
		}
		r.code = nearest(cites, r.rfc, r.section)
		if r.exception == "" && len(r.tests) == 0 {
			problems = append(problems, at+": it names no test, and there is no exception")
		}
		if r.exception == "" && len(r.code) == 0 {
			problems = append(problems, at+": no code cites it")
		}
	}
	return list, problems
}

// report writes the list for readers.
func coverageReport(list []requirement) string {
	var b strings.Builder
	b.WriteString("# What the RFCs require, and where that is\n\n" +
		"Made from [requirements.tsv](requirements.tsv) and the citations in code and tests; `go test ./internal/house -run Requirements -update` writes it anew.\n" +
		"A row is a MUST of the RFC, in our words; code is the files of the stack itself that cite its section, or the nearest one around it; a test is one that fails without it, a subtest behind a slash, first those that cite the section.\n\n" +
		"| RFC | requirements | with tests | exceptions |\n|---|---|---|---|\n")
	var rfcs []string
	for _, r := range list {
		if !slices.Contains(rfcs, r.rfc) {
			rfcs = append(rfcs, r.rfc)
		}
	}
	for _, rfc := range rfcs {
		var all, tested, not int
		for _, r := range list {
			if r.rfc != rfc {
				continue
			}
			all++
			if r.exception != "" {
				not++
			} else if len(r.tests) > 0 {
				tested++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", rfc, all, tested, not)
	}
	for _, rfc := range rfcs {
		fmt.Fprintf(&b, "\n## RFC %s\n\n| § | requirement | code | tests |\n|---|---|---|---|\n", rfc)
		for _, r := range list {
			if r.rfc != rfc {
				continue
			}
			if r.exception != "" {
				fmt.Fprintf(&b, "| %s | %s | | %s |\n", r.section, r.text, r.exception)
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.section, r.text, few(r.code, 3), few(r.tests, len(r.tests)))
		}
	}
	return b.String()
}

// few names the first of a list, and says how many more there are.
func few(list []string, most int) string {
	more := ""
	if len(list) > most {
		list, more = list[:most], fmt.Sprintf(" and %d more", len(list)-most)
	}
	return "`" + strings.Join(list, "`, `") + "`" + more
}

func TestRequirements(t *testing.T) {
	r := everything(t)
	table, err := os.ReadFile(filepath.Join(r.root, filepath.FromSlash(requirementsTable)))
	if err != nil {
		t.Fatal(err)
	}
	list, problems := requirements(string(table), r.sources)
	report(t, problems)
	report(t, unproven(list))
	file := filepath.Join(r.root, filepath.FromSlash(requirementsReport))
	if *update {
		if err := os.WriteFile(file, []byte(coverageReport(list)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if was, err := os.ReadFile(file); err != nil || string(was) != coverageReport(list) {
		t.Errorf("%s is not up to date: go test ./internal/house -run Requirements -update (%v)", requirementsReport, err)
	}
}

func mustParse(t *testing.T, name, text string) *source {
	s, err := parseSource(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The rule finds what it is there to find.
func TestRequirementsRule(t *testing.T) {
	sources := []*source{
		mustParse(t, "internal/a/a.go", "package a\n\n// F does as RFC 9000\n// §4.1 and §4.2 say.\nfunc F() {}\n"),
		mustParse(t, "internal/a/a_test.go", "package a\n\n// RFC 9000 §4.1.\nfunc TestF(t *testing.T) {}\n\nvar names = \"a sub\"\n"),
	}
	head := "rfc\tsection\trequirement\ttests\texception\n"
	for line, want := range map[string]int{
		"9000\t4.1\tis so\t\t":                        1,
		"9000\t4.2\tis so\ta.TestF\t":                 0,
		"9000\t4.2\tis so\ta.TestF/a sub,a.TestF\t":   0,
		"9000\t4.2\tis so\ta.TestF/another,a.TestF\t": 1,
		"9000\t4.2.7\tis so\ta.TestF\t":               0,
		"9000\t4.2\tis so\ta.TestG\t":                 1,
		"9000\t5\tis so\t\t":                          2,
		"9000\t5\tis so\t\tnot for us":                0,
		"9000\t4.1\t\ta.TestF\t":                      1,
		"9000\t4.1\tis so\t":                          1,
	} {
		if _, problems := requirements(head+line+"\n", sources); len(problems) != want {
			t.Errorf("%q: %q, want %d problems", line, problems, want)
		}
	}
}
