package house

import (
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// secretNames are names of what an attacker must not guess bit by bit: how long a comparison
// with it takes must not tell how much of a guess was right.
var secretNames = regexp.MustCompile(`(?i)(reset_?token|token|secret|mac|tag|ticket|digest|key|password|passphrase|pin|fingerprint|sum)s?$`)

// secretsCompared lists comparisons that may take what time they like: file and expression, and
// the reason.
var secretsCompared = map[string]string{
	"cmd/cinnabar/body.go: sum != want":                          "the hash of a file: who sends the one has sent the other too",
	"cmd/cinnabar/demo.go: client.sum != server.sum":             "hashes of what the demo made up",
	"cmd/cinnabar/demo.go: out.sum != e.sum":                     "likewise",
	"internal/transport/conn_frames.go: t == wire.FrameNewToken": "a type of frames",
	"qpack/insert.go: *place == tag":                             "of a table of our own words, for speed: RFC 9204 §7.1 has the limits of that",
	"quic/ticket.go: c != keys":                                  "which set of keys it is, not what they are",
	"quic/session_tls.go: kind != newSessionTicket":              "a type of messages",
	"quic/session_tls.go: e.Kind == transport.TLSReadSecret":     "a kind of events",
	"quic/session_tls.go: e.Kind == transport.TLSWriteSecret":    "a kind of events",
	"securecontext/cost.go: v.Tag == asn1.TagOctetString":        "a type of ASN.1",
	"securecontext/cost.go: v.Tag == asn1.TagInteger":            "a type of ASN.1",
}

// comparers are functions of the standard library that stop at the first difference.
var comparers = map[string]bool{
	"bytes.Equal": true, "bytes.Compare": true, "bytes.HasPrefix": true, "slices.Equal": true, "slices.Contains": true, "slices.Index": true,
	"strings.EqualFold": true, "strings.Compare": true, "strings.HasPrefix": true, "bytes.EqualFold": true, "slices.Compare": true, "cmp.Compare": true,
	"reflect.DeepEqual": true,
}

// secretUses returns comparisons of secrets in a file that are not in constant time, switches over them,
// look-ups by them, and maps with reset tokens as keys.
func secretUses(file *ast.File) (found []string) {
	report := func(e ast.Expr) { found = append(found, types.ExprString(e)) }
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && !fixed(n.X) && !fixed(n.Y) && (secret(n.X) || secret(n.Y)) {
				report(n)
			}
		case *ast.CallExpr:
			if comparers[types.ExprString(n.Fun)] && len(n.Args) == 2 && (secret(n.Args[0]) || secret(n.Args[1])) {
				report(n)
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && switched(n) {
				found = append(found, "switch "+types.ExprString(n.Tag))
			}
		case *ast.IndexExpr:
			if secret(n.Index) {
				report(n)
			}
		case *ast.MapType:
			if secretType(n.Key) {
				report(n)
			}
		}
		return true
	})
	return found
}

// switched reports whether a switch compares a secret with anything that is not fixed.
func switched(s *ast.SwitchStmt) bool {
	for _, c := range s.Body.List {
		for _, e := range c.(*ast.CaseClause).List {
			if !fixed(e) && (secret(s.Tag) || secret(e)) {
				return true
			}
		}
	}
	return false
}

// secretType reports whether a type is that of reset tokens, by which nothing is looked up.
func secretType(e ast.Expr) bool { return strings.HasSuffix(types.ExprString(e), "ResetToken") }

// secret reports whether an expression names a secret, or is part of one or all of it in another form.
func secret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretNames.MatchString(e.Name)
	case *ast.SelectorExpr:
		return secretNames.MatchString(e.Sel.Name)
	case *ast.SliceExpr:
		return secret(e.X)
	case *ast.ParenExpr:
		return secret(e.X)
	case *ast.StarExpr:
		return secret(e.X)
	case *ast.CallExpr: // a conversion, or a function that says what it returns
		return len(e.Args) == 1 && conversion(e.Fun) && secret(e.Args[0]) || secret(e.Fun)
	}
	return false
}

func conversion(fun ast.Expr) bool {
	name := types.ExprString(fun)
	return name == "string" || strings.HasPrefix(name, "[") || secretType(fun)
}

// fixed reports whether an expression is nil, a literal, or a zero value of one.
func fixed(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.CompositeLit:
		return true
	case *ast.ParenExpr:
		return fixed(e.X)
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "true" || e.Name == "false"
	}
	return false
}

// Secrets are compared in constant time, or there is a reason why that does not matter (RFC 9000 §10.3.1).
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	used := map[string]bool{}
	for _, s := range everything(t).sources {
		if s.nested || s.isTest() || slices.Contains([]string{"internal/evil", "internal/sim", "internal/trace"}, s.dir) {
			continue
		}
		for _, expr := range secretUses(s.file) {
			id := s.path + ": " + expr
			if secretsCompared[id] == "" {
				t.Errorf("%s: use crypto/subtle, hmac.Equal or ResetToken.Equal", id)
			}
			used[id] = true
		}
	}
	for id := range secretsCompared {
		if !used[id] {
			t.Errorf("%s: no such comparison any more", id)
		}
	}
}
