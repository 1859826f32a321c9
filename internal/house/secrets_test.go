package house

import (
	"go/ast"
	"go/parser"
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
	"cmd/cinnabar/identity.go: got != *t.Pin":                    "the hash of a certificate, which everybody may see",
	"cmd/cinnabar/demo.go: client.sum != server.sum":             "hashes of what the demo made up",
	"cmd/cinnabar/demo.go: out.sum != e.sum":                     "likewise",
	"cmd/cinnabar/internal/fetch/version.go: v.etag != w.etag":   "the ETag of an answer, which its server has told",
	"http3/field_names.go: wireNames[key]":                       "the name of a field",
	"http3/response_fields.go: w.header[key]":                    "the name of a field",
	"http3/transport_dial.go: t.worked[key]":                     "the name of a server",
	"http3/transport_pool.go: t.conns[c.key]":                    "the name of a server",
	"http3/transport_pool.go: t.conns[key]":                      "the name of a server",
	"http3/transport_pool.go: t.dials[key]":                      "the name of a server",
	"internal/transport/conn_frames.go: t == wire.FrameNewToken": "a type of frames",
	"internal/transport/mux_stateless.go: u.young[tokenKey(b)]":  "the hash of a token that is authentic already",
	"qpack/encoder.go: e.pairs[key]":                             "of fields of our own, as *place == tag is",
	"qpack/insert.go: e.pairs[key]":                              "likewise",
	"qpack/insert.go: *place == tag":                             "of a table of our own words, for speed: RFC 9204 §7.1 has the limits of that",
	"quic/ticket.go: c != keys":                                  "which set of keys it is, not what they are",
	"quic/tokens.go: t.byKey[key]":                               "the name and address of a server",
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
	return secret(s.Tag) && slices.ContainsFunc(s.Body.List, func(c ast.Stmt) bool {
		return slices.ContainsFunc(c.(*ast.CaseClause).List, func(e ast.Expr) bool { return !fixed(e) })
	})
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

func TestSecretUses(t *testing.T) {
	const uses = `package p
func f() {
	_ = token == guess
	_ = guess != h.Sum(nil)
	_ = ResetToken(id) == guess
	_ = *s.token == guess
	switch token {
	case guess:
	}
	_ = bytes.Equal(token, guess)
	_ = slices.Equal(guess, s.resetToken[:])
	_ = sessions[token]
	_ = sessions[string(token)]
	var _ map[wire.ResetToken]*Conn
	_ = token == nil || len(token) == n || hmac.Equal(token, guess) || token.Equal(guess)
	_ = subtle.ConstantTimeCompare(token, guess) == 1
	_ = sessions[id]
	switch token {
	case "":
	}
	switch id {
	case other:
	}
}`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", uses, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"token == guess", "guess != h.Sum(nil)", "ResetToken(id) == guess", "*s.token == guess", "switch token", "bytes.Equal(token, guess)",
		"slices.Equal(guess, s.resetToken[:])", "sessions[token]", "sessions[string(token)]", "map[wire.ResetToken]*Conn",
	}
	if got := secretUses(file); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
