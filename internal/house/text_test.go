package house

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// registries matches the hosts that packages, images and modules are fetched
// from. Where that is belongs to whoever builds, so no file names one. The
// pattern is put together so that this file does not name one either.
var registries = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	`proxy\.golang` + `\.org`, `sum\.golang` + `\.org`, `go` + `proxy\.(io|cn)`,
	`pypi` + `\.org`, `python` + `hosted\.org`, `registry\.npm` + `js\.org`, `registry\.yarn` + `pkg\.com`,
	`(static\.|index\.)?crates` + `\.io`, `ruby` + `gems\.org`, `repo[0-9]*\.maven` + `\.org`,
	`(registry-1\.|hub\.)?docker` + `\.(io|com)`, `gh` + `cr\.io`, `quay` + `\.io`, `g` + `cr\.io`,
	`(deb|security)\.debian` + `\.org`, `archive\.ubuntu` + `\.com`, `[a-z0-9.-]*artifact` + `ory[a-z0-9-]*\.[a-z.]+`,
}, `|`) + `)\b`)

func namesRegistry(f text) []string {
	var problems []string
	for i, line := range strings.Split(string(f.data), "\n") {
		if host := registries.FindString(line); host != "" {
			problems = append(problems, fmt.Sprintf("%s:%d: names the registry host %s", f.path, i+1, host))
		}
	}
	return problems
}

func TestNamesNoRegistry(t *testing.T) {
	for _, f := range everything(t).texts {
		report(t, namesRegistry(f))
	}
}

func TestNamesNoRegistryFinds(t *testing.T) {
	bad := strings.Join([]string{
		"GOPROXY=https://proxy.golang" + ".org,direct", "see https://go.dev and pkg.go.dev/net",
		"FROM docker" + ".io/library/golang", "FROM golang:1.26", "pip install -i https://pypi" + ".org/simple",
		"curl https://acme.artifact" + "ory.example.com/go", "github.com/golang/go",
	}, "\n")
	wantProblems(t, bad, namesRegistry(text{"Dockerfile", []byte(bad)}),
		[]string{"Dockerfile:1: ", "Dockerfile:3: ", "Dockerfile:5: ", "Dockerfile:6: "})
}

var (
	// anyCitation finds whatever is meant to be one. What is part of a file name
	// or an address is none.
	anyCitation  = regexp.MustCompile(`(^|[^\w/])(RFC[ -]?|[Rr]fc[ -])\d+`)
	goodCitation = regexp.MustCompile(`RFC \d{4}$`)
	// badSection finds a section that does not follow with its sign, and a sign
	// that a section does not follow.
	badSection = regexp.MustCompile(`RFC \d{4}(,|'s)? \(?((?i:sections?|sect\.?|sec\.?) ?[0-9A-Z]|[0-9]+\.[0-9]|§[^0-9A-Z])`)
)

// citations: a citation reads RFC NNNN §N.N, so that one search finds all that
// stands on a section.
func citations(where, prose string) []string {
	var problems []string
	prose = strings.Join(strings.Fields(prose), " ") // a citation may break over lines
	for _, c := range anyCitation.FindAllString(prose, -1) {
		if !goodCitation.MatchString(c) {
			problems = append(problems, fmt.Sprintf("%s: %q should read RFC NNNN", where, strings.TrimLeft(c, " (")))
		}
	}
	for _, c := range badSection.FindAllString(prose, -1) {
		problems = append(problems, fmt.Sprintf("%s: %q should read RFC NNNN §N", where, c))
	}
	return problems
}

func commentCitations(s *source) []string {
	var problems []string
	for _, group := range s.file.Comments {
		problems = append(problems, citations(fmt.Sprintf("%s:%d", s.path, s.fset.Position(group.Pos()).Line), group.Text())...)
	}
	return problems
}

func TestCitations(t *testing.T) {
	eachSource(t, commentCitations)
	for _, f := range everything(t).texts {
		if strings.HasSuffix(f.path, ".md") {
			report(t, citations(f.path, string(f.data)))
		}
	}
}

func TestCitationsFinds(t *testing.T) {
	comment := func(text string, want ...string) example {
		return example{"a.go", "package p\n\n/*\n" + text + "\n*/\n", want}
	}
	tryRule(t, commentCitations, []example{
		comment("RFC 9000 §5 to §10, and RFC 9001 §A.2. See RFC 9002."),
		comment("RFC 9000\n§13.2.1 breaks over lines"),
		comment("see https://www.rfc-editor.org/rfc/rfc9000 and rfc9000.txt"),
		comment("RFC 9000's table 3; RFC 9002 Appendix A; RFC 9000 figure 2"),
		comment("the section of RFC 9000 that says so, and the sections after"),
		comment("RFC9000 §5", `a.go:3: "RFC9000" should read RFC NNNN`),
		comment("(rfc 9000)", `"rfc 9000"`),
		comment("RFC-9000", `"RFC-9000"`),
		comment("RFC 900", `"RFC 900"`),
		comment("RFC 9000 section 5.1", `should read RFC NNNN §N`),
		comment("RFC 9000, Section 5.1", `should read RFC NNNN §N`),
		comment("RFC 9000\nsec. 5", `should read RFC NNNN §N`),
		comment("RFC 9000 5.1", `should read RFC NNNN §N`),
		comment("RFC 9000 (section 5)", `should read RFC NNNN §N`),
		comment("RFC 9000 §§5", `should read RFC NNNN §N`),
		comment("RFC 9000 § 5.1", `should read RFC NNNN §N`),
	})
}
