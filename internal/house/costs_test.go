package house

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
)

// costsHeading is above the table of what attacks cost, in SECURITY.md.
const costsHeading = "\n### What attacks cost\n"

// TestCosts checks that the table of what attacks cost is of the attacks that there are, in their words: each whose tests
// have a victim has a row, which has victims, too. Whether the figures are of today's code this cannot tell.
func TestCosts(t *testing.T) {
	r := everything(t)
	text, err := os.ReadFile(filepath.Join(r.root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	sent, err := siege.Attacks()
	if err != nil {
		t.Fatal(err)
	}
	report(t, costs(string(text), sent, besieged(r.sources)))
}

// costs returns what is wrong with the table, where victims are the attacks whose tests have one.
func costs(text string, sent map[string]string, victims map[string]bool) (problems []string) {
	say := func(format string, a ...any) { problems = append(problems, "SECURITY.md: "+fmt.Sprintf(format, a...)) }
	_, rest, ok := strings.Cut(text, costsHeading)
	if !ok {
		say("there is no heading %q", strings.TrimSpace(costsHeading))
	}
	section, _, _ := strings.Cut(rest, "\n#")
	rows, last := map[string]bool{}, ""
	for line := range strings.SplitSeq(section, "\n") {
		cells := strings.Split(line, " | ")
		id := strings.TrimPrefix(cells[0], "| ")
		if id == cells[0] || id == "" { // no row, or the first, whose first cell is empty
			continue
		}
		if len(cells) != 8 {
			say("%s has %d cells, want 8", id, len(cells))
			continue
		}
		if words, ok := sent[id]; !ok {
			say("%s is none of the attacks of attacks.tsv", id)
		} else if cells[1] != words {
			say("%s: %q is sent, and not %q", id, words, cells[1])
		}
		if cells[2] == "-" && victims[id] {
			say("%s has no victim, and its tests have", id)
		}
		if id <= last {
			say("%s stands behind %s", id, last)
		}
		rows[id], last = true, id
	}
	for _, id := range slices.Sorted(maps.Keys(sent)) {
		if victims[id] && !rows[id] {
			say("there is no row for %s, whose tests have a victim", id)
		}
	}
	return problems
}

// besieged returns the numbers of the attacks whose tests come to a victim, by way of what they name in the tests of
// their package. What an honest peer costs is measured at ends that nobody attacks.
func besieged(sources []*source) map[string]bool {
	type place struct{ dir, name string }
	decls := map[place][]ast.Decl{}
	for _, s := range sources {
		for _, d := range s.file.Decls {
			if s.isTest() {
				for _, name := range declares(d) {
					decls[place{s.dir, name}] = append(decls[place{s.dir, name}], d)
				}
			}
		}
	}
	reached := map[string]bool{}
	for f, s := range testFuncs(sources) {
		m := attackTest.FindStringSubmatch(f.Name.Name)
		if m == nil || reached[m[1]] {
			continue
		}
		seen, todo := map[string]bool{"honestPacket": true}, []string{f.Name.Name}
		for ; len(todo) > 0 && !reached[m[1]]; todo = todo[1:] {
			if seen[todo[0]] {
				continue
			}
			seen[todo[0]] = true
			for _, d := range decls[place{s.dir, todo[0]}] {
				if calls(d, "Victim") {
					reached[m[1]] = true
				}
				todo = append(todo, names(d)...)
			}
		}
	}
	return reached
}

// declares returns the functions, methods and variables that a declaration is of.
func declares(d ast.Decl) (list []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return []string{d.Name.Name}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				for _, n := range v.Names {
					list = append(list, n.Name)
				}
			}
		}
	}
	return list
}

// names returns every identifier in a declaration.
func names(d ast.Decl) (list []string) {
	ast.Inspect(d, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			list = append(list, id.Name)
		}
		return true
	})
	return list
}

func TestCostsFinds(t *testing.T) {
	sent := map[string]string{"H01": "a", "S01": "b c", "S02": "d", "S03": "e", "S04": "f"}
	victims := map[string]bool{"H01": true, "S01": true, "S03": true}
	table := func(rows ...string) string {
		return costsHeading + "\nWords.\n\n| | sent | victims | datagrams | KiB held | cost | bytes for a byte | ends |\n|---|---|---:|---:|---:|---:|---:|---|\n" +
			strings.Join(rows, "\n") + "\n\n### Another\n\n| S09 | x |\n"
	}
	const rest = " | 1 | <1 | - | - | stays |"
	h01, s01, s02, s03 := "| H01 | a | 1"+rest, "| S01 | b c | 2"+rest, "| S02 | d | -"+rest, "| S03 | e | 7"+rest
	for _, try := range []struct {
		text string
		want []string
	}{
		{table(h01, s01, s02, s03), nil},
		{table(h01, s01, s03), nil},
		{"# Security\n", []string{"no heading", "no row for H01", "no row for S01", "no row for S03"}},
		{table(h01, s01), []string{"no row for S03"}},
		{table(h01, "| S01 | b | 2"+rest, s03), []string{`"b c" is sent, and not "b"`}},
		{table(h01, s01, "| S03 | x | -"+rest), []string{`"e" is sent`, "S03 has no victim"}},
		{table(h01, s01, s03, "| S77 | x | 1"+rest), []string{"S77 is none of the attacks"}},
		{table(s01, h01, s03), []string{"H01 stands behind S01"}},
		{table(h01, s01, s01, s03), []string{"S01 stands behind S01"}},
		{table(h01, s01, "| S03 | e | 1 |"), []string{"S03 has 3 cells", "no row for S03"}},
	} {
		got := costs(try.text, sent, victims)
		if !slices.EqualFunc(got, try.want, strings.Contains) {
			t.Errorf("%s:\n%q, want %q", try.text, got, try.want)
		}
	}

	var sources []*source
	for path, text := range map[string]string{
		"quic/a_test.go": "func TestS01A(t *testing.T) { besiege(t); x := end{}; x.hit() }\nfunc besiege(t *testing.T) { honestPacket(t) }\n" +
			"func honestPacket(t *testing.T) { new(siege.Siege).Victim(t, 0) }\nfunc TestS02B(t *testing.T) { besiege(t) }\nfunc TestS03C(t *testing.T) { run(table) }",
		"quic/b_test.go":  "func (e end) hit() { e.v = s.Victim(t, 1) }\nvar table = []func(){step}\nfunc step() { new(end).hit() }",
		"http3/a_test.go": "func TestH01A(t *testing.T) { hit() }\nfunc hit() { _ = siege.Victim{} }",
	} {
		sources = append(sources, mustParse(t, path, "package a\n"+text))
	}
	if got := slices.Sorted(maps.Keys(besieged(sources))); !slices.Equal(got, []string{"S01", "S03"}) {
		t.Errorf("%q have victims", got)
	}
}
