package house

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fromNode is the page for those who know the API document. The Go forms in its tables
// are those of the coverage table.
const fromNode = "docs/from-node.md"

var update = flag.Bool("update", false, "write the Go forms of "+fromNode+" anew")

// nodeRow is a line of a table: what the document calls it, our form of it, and the row
// of the acceptance list.
var nodeRow = regexp.MustCompile(`^\| (.+) \| (.+) \| ([A-Z]+-\d{3}) \|$`)

// goForms returns the page with the forms that the coverage table has, and what is
// wrong with it.
func goForms(page, table string) (string, []string) {
	forms := make(map[string]string)
	for _, line := range strings.Split(table, "\n") {
		if c := strings.Split(line, "\t"); len(c) == 4 {
			forms[c[0]] = goForm(c[1], c[3])
		}
	}
	var problems []string
	lines, seen := strings.Split(page, "\n"), make(map[string]bool)
	for i, line := range lines {
		m := nodeRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		form, ok := forms[m[3]]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s:%d: no row %s", fromNode, i+1, m[3]))
			continue
		case seen[m[3]]:
			problems = append(problems, fmt.Sprintf("%s:%d: %s a second time", fromNode, i+1, m[3]))
		case form != m[2]:
			problems = append(problems, fmt.Sprintf("%s:%d: %s is %s, not %s: run go test ./internal/house -update", fromNode, i+1, m[3], form, m[2]))
		}
		seen[m[3]] = true
		lines[i] = fmt.Sprintf("| %s | %s | %s |", m[1], form, m[3])
	}
	return strings.Join(lines, "\n"), problems
}

func goForm(symbols, status string) string {
	form := "`" + strings.ReplaceAll(symbols, ",", "`, `") + "`"
	if status == "node" {
		form += " (for a binding)"
	}
	return form
}

func TestFromNode(t *testing.T) {
	r := everything(t)
	var page, table string
	for _, f := range r.texts {
		switch f.path {
		case fromNode:
			page = string(f.data)
		case coverageTable:
			table = string(f.data)
		}
	}
	fresh, problems := goForms(page, table)
	if page == "" || !*update {
		report(t, problems)
		if len(nodeRow.FindAllString(page, -1)) == 0 && !strings.Contains(page, "| CQS-001 |") {
			t.Errorf("%s has no tables", fromNode)
		}
		return
	}
	if err := os.WriteFile(filepath.Join(r.root, fromNode), []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFromNodeFinds(t *testing.T) {
	const table = "id\tsymbol\ttest\tstatus\nEP-001\tquic.Endpoint\tquic.TestA\tworks\nEP-027\tquic.A,quic.B\tquic.TestA\tnode\nSTR-012\thttp3.A\thttp3.TestA\tworks\n"
	page := "# Page\n| Node | Go | row |\n|---|---|---|\n| QuicEndpoint | - | EP-001 |\n| ref() | - | EP-027 |\n| 'x' | - | STR-012 |\n| y | - | EP-999 |\n"
	fresh, problems := goForms(page, table)
	wantProblems(t, page, problems, []string{
		"from-node.md:4: EP-001 is `quic.Endpoint`, not -", "EP-027 is `quic.A`, `quic.B` (for a binding)", "STR-012 is `http3.A`, not -", "no row EP-999",
	})
	if _, problems := goForms(strings.Replace(fresh, "| y | - | EP-999 |\n", "", 1), table); len(problems) != 0 {
		t.Errorf("the fresh page: %v", problems)
	}
	_, problems = goForms("| a | `quic.Endpoint` | EP-001 |\n| b | `quic.Endpoint` | EP-001 |", table)
	wantProblems(t, "twice", problems, []string{"EP-001 a second time"})
}
