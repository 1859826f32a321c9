package house

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// docComments: in packages that users import, every exported name has a comment
// that starts with it. The constants of one group may share the group's comment,
// which go doc shows with them.
func docComments(s *source) []string {
	public := !s.nested && !s.isTest() && s.file.Name.Name != "main" &&
		!slices.Contains(strings.Split(s.path, "/"), "internal")
	if !public {
		return nil
	}
	var problems []string
	check := func(name *ast.Ident, label string, docs ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return startsWithName(d, name.Name) }) {
			problems = append(problems, s.at(name.Pos(), "%s has no comment that starts with its name", label))
		}
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiverType(d.Recv.List[0].Type)) {
				check(d.Name, functionName(d), d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				// A declaration without parentheses lends its comment to what it declares.
				var doc *ast.CommentGroup
				if d.Lparen == token.NoPos {
					doc = d.Doc
				} else if d.Tok == token.CONST && d.Doc != nil {
					continue
				}
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					check(spec.Name, spec.Name.Name, doc, spec.Doc)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						check(name, name.Name, doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
	return problems
}

// startsWithName allows an article before the name, as go doc does.
func startsWithName(doc *ast.CommentGroup, name string) bool {
	if doc == nil {
		return false
	}
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 1 && strings.TrimRight(words[0], ",:;") == name
}

func TestDocComments(t *testing.T) { eachSource(t, docComments) }

func TestDocCommentsFinds(t *testing.T) {
	quic := func(body string, want ...string) example {
		return example{"quic/a.go", "package quic\n" + body, want}
	}
	tryRule(t, docComments, []example{
		quic("// F does.\nfunc F() {}\nfunc f() {}"),
		quic("func F() {}", "a.go:2: F has no comment"),
		quic("// Does.\nfunc F() {}", "F has no comment"),
		quic("// Fx does.\nfunc F() {}", "F has no comment"),
		quic("// F\nfunc F() {}", "F has no comment"),
		quic("// A T is.\ntype T struct{}\nfunc (t *T) M() {}", "T.M has no comment"),
		quic("type t struct{}\nfunc (t *t) M() {}"),
		quic("// T, the best, is.\ntype T[A any] struct{}\nfunc (t *T[A]) M() {}", "T.M has no comment"),
		quic("type T struct{}", "T has no comment"),
		quic("// C counts.\nconst C = 1\n// V varies.\nvar V = 1"),
		quic("const C = 1\nvar V = 1", "C has no comment", "V has no comment"),
		quic("const (\n\tC = 1 // C counts.\n\t// D counts too.\n\tD = 2\n\tE = 3\n)", "E has no comment"),
		quic("// Some constants.\nconst (\n\tC = 1\n\tD = 2\n)"),
		quic("// Some variables.\nvar (\n\tV = 1\n)", "V has no comment"),
		quic("// Some types.\ntype (\n\tT int\n\t// U is.\n\tU int\n)", "T has no comment"),
		{"quic/a_test.go", "package quic\nfunc F() {}", nil},
		{"internal/wire/a.go", "package wire\nfunc F() {}", nil},
		{"quic/internal/a.go", "package internal\nfunc F() {}", nil},
		{"cmd/cinnabar/a.go", "package main\nfunc F() {}", nil},
	})
}

// packageComments: every package says what it is, once.
func packageComments(sources []*source) []string {
	type pkg struct {
		first *source
		docs  int
	}
	pkgs := make(map[string]*pkg)
	var dirs []string
	for _, s := range sources {
		if s.isTest() {
			continue
		}
		p := pkgs[s.dir]
		if p == nil {
			p = &pkg{first: s}
			pkgs[s.dir] = p
			dirs = append(dirs, s.dir)
		}
		if startsWithName(s.file.Doc, "Package") || s.file.Name.Name == "main" && s.file.Doc != nil {
			p.docs++
		}
	}
	var problems []string
	for _, dir := range dirs {
		if p := pkgs[dir]; p.docs != 1 {
			problems = append(problems, p.first.at(p.first.file.Package, "package %s has %d package comments, want 1", dir, p.docs))
		}
	}
	return problems
}

func TestPackageComments(t *testing.T) { report(t, packageComments(everything(t).sources)) }

func TestPackageCommentsFinds(t *testing.T) {
	parse := func(path, text string) *source { return (&example{path, text, nil}).parse(t) }
	got := packageComments([]*source{
		parse("a/a.go", "// Package a is.\npackage a"), parse("a/b.go", "package a"),
		parse("b/a.go", "// License.\n\npackage b"), parse("b/a_test.go", "// Package b is.\npackage b"),
		parse("c/a.go", "// Package c is.\npackage c"), parse("c/b.go", "// Package c is.\npackage c"),
		parse("cmd/d/a.go", "// D does.\npackage main"),
	})
	wantProblems(t, "packages", got, []string{"package b has 0", "package c has 2"})
}
