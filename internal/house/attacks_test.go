package house

import (
	"fmt"
	"go/ast"
	"iter"
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

// canaries are the packages where sessions are under attack, and what their frame calls so that
// streams of other sessions are seen to end.
var canaries = map[string]string{"internal/transport": "survive", "internal/sim": "neighbour", "quic": "sing", "http3": "sing"}

// frameless are attack tests that have no session.
var frameless = map[string]string{
	"internal/wire.TestS20VersionInformationFormat": "it is of a format",
	"internal/house.TestS39HashesAreKeyed":          "it is of the source",
}

// TestAttacks checks that every attack has a test under its number, and that all but those of frameless
// stand in the frame of their package, which has a canary.
func TestAttacks(t *testing.T) {
	sources := everything(t).sources
	report(t, unframed(sources))
	report(t, mute(sources))
	numbers := map[string]bool{}
	for f := range testFuncs(sources) {
		if m := attackTest.FindStringSubmatch(f.Name.Name); m != nil {
			numbers[m[1]] = true
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

// testFuncs yields the functions in test files, and what they stand in.
func testFuncs(sources []*source) iter.Seq2[*ast.FuncDecl, *source] {
	return func(yield func(*ast.FuncDecl, *source) bool) {
		for _, s := range sources {
			for _, d := range s.file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && s.isTest() && !yield(f, s) {
					return
				}
			}
		}
	}
}

// unframed returns the attack tests that stand in no frame and have no exception, and exceptions that none needs.
func unframed(sources []*source) (problems []string) {
	needed := map[string]bool{}
	for f, s := range testFuncs(sources) {
		if f.Recv != nil || !attackTest.MatchString(f.Name.Name) || slices.ContainsFunc(frames, func(name string) bool { return calls(f, name) }) {
			continue
		}
		name := s.dir + "." + f.Name.Name
		if needed[name] = true; frameless[name] == "" {
			problems = append(problems, s.at(f.Pos(), "%s stands in no frame: it calls none of %v", f.Name.Name, frames))
		}
	}
	for name, why := range frameless {
		if !needed[name] {
			problems = append(problems, fmt.Sprintf("no test %s stands in no frame since %s", name, why))
		}
	}
	return problems
}

// mute returns the frames in whose file nothing calls the canary.
func mute(sources []*source) (problems []string) {
	for f, s := range testFuncs(sources) {
		if f.Recv != nil || !slices.Contains(frames, f.Name.Name) {
			continue
		}
		bird := canaries[s.dir]
		if bird == "" || !slices.ContainsFunc(s.file.Decls, func(d ast.Decl) bool { return calls(d, bird) }) {
			problems = append(problems, s.at(f.Pos(), "a frame without a canary, which %q is", bird))
		}
	}
	return problems
}

// calls reports whether a declaration calls a function or a method of that name.
func calls(d ast.Node, name string) (found bool) {
	ast.Inspect(d, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch f := call.Fun.(type) {
			case *ast.Ident:
				found = found || f.Name == name
			case *ast.SelectorExpr:
				found = found || f.Sel.Name == name
			}
		}
		return true
	})
	return found
}

func TestAttacksFinds(t *testing.T) {
	frame := "func besiege(t *testing.T) { sing(t) }\n"
	for _, try := range []struct {
		path, text, want string
	}{
		{"quic/a_test.go", frame + "func TestS01A(t *testing.T) { besiege(t) }", ""},
		{"quic/a_test.go", frame + "func TestS01A(t *testing.T) { t.Log() }", "TestS01A stands in no frame"},
		{"internal/wire/a_test.go", "func TestH01A(t *testing.T) {}", "TestH01A stands in no frame"},
		{"quic/a_test.go", "func besiege(t *testing.T) { t.Log() }", `a frame without a canary, which "sing" is`},
		{"quic/a_test.go", "func beset(t *testing.T) { t.Log() }", `a frame without a canary, which "sing" is`},
		{"qpack/a_test.go", frame, "a frame without a canary"},
	} {
		file := example{path: try.path, text: "package a\n" + try.text}
		sources := []*source{file.parse(t)}
		got := strings.Join(append(unframed(sources), mute(sources)...), "\n")
		got = regexp.MustCompile(`(?m)^no test .*\n?`).ReplaceAllString(got, "") // none of the exceptions is there
		if !strings.Contains(got, try.want) || (try.want == "") != (got == "") {
			t.Errorf("%s:\ngot %q\nwant %q", try.text, got, try.want)
		}
	}
}

// violationTest matches the tests of violations that have a code of their own, of the transport and of HTTP/3.
var violationTest = regexp.MustCompile(`\.Test((?:T|HS)\d\d)[A-Z]`)

// runnerCases are the cases of the interoperability runner, as their tests are called.
var runnerCases = strings.Fields("Handshake Transfer LongRTT ChaCha20 Multiplexing Retry Resumption ZeroRTT HTTP3 Blackhole KeyUpdate ECN AmplificationLimit " +
	"HandshakeLoss TransferLoss HandshakeCorruption TransferCorruption IPv6 V2 RebindPort RebindAddr ConnectionMigration")

// TestLists checks that of the violations and of the runner's cases no test vanishes unseen, or can be skipped.
func TestLists(t *testing.T) { report(t, vanished(everything(t).sources)) }

func vanished(sources []*source) (problems []string) {
	there := map[string]bool{}
	for name, test := range testsOf(sources) {
		if test.skips {
			continue
		}
		there[name] = true
		if m := violationTest.FindStringSubmatch(name); m != nil {
			there[m[1]] = true
		}
	}
	var want []string
	for list, last := range map[string]int{"T": 34, "HS": 15} {
		for n := range last {
			want = append(want, fmt.Sprintf("%s%02d", list, n+1))
		}
	}
	for _, c := range runnerCases {
		want = append(want, "internal/cases.TestInterop"+c)
	}
	for _, name := range want {
		if !there[name] {
			problems = append(problems, "no test of the name or number "+name+" that always runs")
		}
	}
	slices.Sort(problems)
	return problems
}

func TestListsFinds(t *testing.T) {
	file := example{path: "internal/cases/a_test.go", text: "package cases\nfunc TestT07A(t *testing.T) {}\nfunc TestHS15B(t *testing.T) { t.Skip() }\nfunc TestInteropV2(t *testing.T) {}"}
	got := vanished([]*source{file.parse(t)})
	if want := 34 + 15 + len(runnerCases) - 2; len(got) != want || slices.Contains(got, "no test of the name or number T07 that always runs") {
		t.Errorf("%d problems, want %d: %q", len(got), want, got)
	}
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
