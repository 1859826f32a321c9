package house

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// attackTest matches the tests against the attacks of the two lists, S for the transport and H for HTTP/3.
var attackTest = regexp.MustCompile(`^Test([SH]\d\d)[A-Z]`)

// frames are what makes a test an attack test: it sees to what must hold whatever the attack.
var frames = []string{"besiege", "beset"}

// framedDirs are the packages where sessions are under attack, and the canary that their frame lets sing.
var framedDirs = map[string]string{"internal/transport": "survive", "internal/sim": "neighbour", "quic": "sing", "http3": "another"}

// frameless are attack tests without a session, by what they are of.
var frameless = map[string]string{
	"internal/wire.TestS20VersionInformationFormat": "a format",
	"internal/house.TestS39HashesAreKeyed":          "the source",
}

// TestAttacks checks that every attack has a test under its number, and that all but those of
// frameless stand in the frame of their package.
func TestAttacks(t *testing.T) {
	numbers := map[string]bool{}
	for _, s := range everything(t).sources {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasSuffix(s.path, "_test.go") {
				continue
			}
			if m := attackTest.FindStringSubmatch(f.Name.Name); m != nil {
				numbers[m[1]] = true
				if slices.Contains([]string{"internal/transport", "quic", "http3"}, s.dir) && !framed(f) {
					t.Errorf("%s: %s stands in no frame: it calls none of %v", s.path, f.Name.Name, frames)
				}
			}
		}
	}
	for list, last := range map[string]int{"S": 55, "H": 23} {
		for n := 1; n <= last; n++ {
			if id := fmt.Sprintf("%s%02d", list, n); !numbers[id] {
				t.Errorf("no test has the number %s", id)
			}
		}
	}
}

// framed reports whether a function calls one of frames.
func framed(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			name, ok := call.Fun.(*ast.Ident)
			found = found || ok && slices.Contains(frames, name.Name)
		}
		return true
	})
	return found
}

// TestS39HashesAreKeyed checks that nothing of ours hashes what a peer chooses without a key: there
// are Go's maps, whose seed is of the process, and cryptography.
func TestS39HashesAreKeyed(t *testing.T) {
	for _, s := range everything(t).sources {
		if s.nested || strings.HasSuffix(s.path, "_test.go") || s.dir == "internal/sim" {
			continue
		}
		for _, i := range s.file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(path, "hash/") && path != "hash/maphash" {
				t.Errorf("%s imports %s, which has no key: whoever knows it chooses what collides", s.path, path)
			}
		}
	}
}
