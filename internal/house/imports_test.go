package house

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is a package of the plan. Imports point strictly down.
type room struct {
	dir   string
	floor int
	leaf  bool // on a low floor, yet near the machine: it may have locks, clocks or sockets
}

// testFloor is above everything: what only tests use. What they share is right below it.
const testFloor = 9

var rooms = []room{
	{dir: "internal/mono", floor: 0},
	{dir: "internal/varint", floor: 0},
	{dir: "internal/ranges", floor: 0},
	{dir: "internal/dgram", floor: 0},
	{dir: "internal/limits", floor: 0},
	{dir: "internal/histogram", floor: 1},
	{dir: "internal/hostname", floor: 1},
	{dir: "internal/wire", floor: 1},
	{dir: "internal/congestion", floor: 1},
	{dir: "internal/udp", floor: 1, leaf: true},
	{dir: "qlog", floor: 1, leaf: true},
	{dir: "qpack", floor: 1},
	{dir: "securecontext", floor: 1, leaf: true},
	{dir: "internal/protect", floor: 2},
	{dir: "internal/stream", floor: 2},
	{dir: "internal/recovery", floor: 2},
	{dir: "internal/transport", floor: 3},
	{dir: "quic", floor: 4},
	{dir: "http3", floor: 5},
	{dir: "cmd/cinnabar/internal/site", floor: 5},
	{dir: "cmd/cinnabar/internal/fetch", floor: 5},
	{dir: "cmd/cinnabar", floor: 6},
	{dir: "examples/selfsigned", floor: 5},
	{dir: "examples/echo", floor: 6},
	{dir: "examples/events", floor: 6},
	{dir: "examples/handlers", floor: 6},
	{dir: "examples/headers", floor: 6},
	{dir: "examples/hello", floor: 6},
	{dir: "examples/keylog", floor: 6},
	{dir: "examples/multicast", floor: 6},
	{dir: "examples/secure", floor: 6},
	{dir: "internal/trace", floor: testFloor - 1},
	{dir: "internal/hq", floor: testFloor - 1},
	{dir: "internal/siege", floor: testFloor - 1},
	{dir: "internal/siege/costs", floor: testFloor},
	{dir: "internal/cases", floor: testFloor},
	{dir: "internal/sim", floor: testFloor},
	{dir: "internal/evil", floor: testFloor},
	{dir: "internal/house", floor: testFloor},
}

func roomOf(dir string) (room, bool) {
	i := slices.IndexFunc(rooms, func(r room) bool { return r.dir == dir })
	if i < 0 {
		return room{}, false
	}
	return rooms[i], true
}

// pure reports whether the bans on clocks, goroutines, locks, sockets and
// randomness hold in a package.
func pure(dir string) bool {
	r, ok := roomOf(dir)
	return ok && r.floor <= 3 && !r.leaf
}

// http3Imports is all of ours that http3 may use.
var http3Imports = []string{"quic", "qpack", "qlog", "internal/hostname", "internal/varint"}

// peers are other QUIC stacks, which bench and interop compare with: they must
// not become dependencies of the product.
var peers = []string{"github.com/quic-go/", "github.com/lucas-clemente/", "golang.org/x/net/quic", "golang.org/x/net/internal/quic"}

func isPeer(importPath string) bool {
	return slices.ContainsFunc(peers, func(p string) bool {
		return strings.HasPrefix(importPath+"/", strings.TrimSuffix(p, "/")+"/")
	})
}

func ourPackage(importPath string) (dir string, ok bool) {
	if importPath == modulePath {
		return ".", true
	}
	return strings.CutPrefix(importPath, modulePath+"/")
}

// importLaw: imports point strictly down. A test may also import its own package,
// the simulator, the evil peer, the frame of attacks and the reader of traces.
func importLaw(s *source) []string {
	if s.nested {
		return nil
	}
	here, ok := roomOf(s.dir)
	if !ok {
		return []string{s.at(s.file.Package, "package %s has no floor: give it one in internal/house", s.dir)}
	}
	var problems []string
	for _, spec := range s.file.Imports {
		importPath, _ := strconv.Unquote(spec.Path.Value)
		if isPeer(importPath) {
			problems = append(problems, s.at(spec.Pos(), "%s is for bench and interop only", importPath))
		}
		dir, ours := ourPackage(importPath)
		if !ours {
			continue
		}
		there, ok := roomOf(dir)
		switch {
		case !ok:
			problems = append(problems, s.at(spec.Pos(), "%s has no floor", dir))
		case here.dir == "internal/transport" && dir == "internal/udp":
			problems = append(problems, s.at(spec.Pos(), "transport and udp know only dgram"))
		case s.isTest() && (dir == s.dir || slices.Contains([]string{"internal/sim", "internal/evil", "internal/siege", "internal/trace"}, dir)):
		case there.floor >= here.floor:
			problems = append(problems, s.at(spec.Pos(), "%s, floor %d, imports %s, floor %d", s.dir, here.floor, dir, there.floor))
		case here.dir == "http3" && !s.isTest() && !slices.Contains(http3Imports, dir):
			problems = append(problems, s.at(spec.Pos(), "http3 imports %s: of ours it may only use %s", dir, strings.Join(http3Imports, ", ")))
		}
	}
	return problems
}

func TestImportLaw(t *testing.T) { eachSource(t, importLaw) }

func TestImportLawFinds(t *testing.T) {
	const ours = `import "` + modulePath + `/`
	tryRule(t, importLaw, []example{
		{"internal/wire/a.go", "package wire\n" + ours + `internal/varint"`, nil},
		{"internal/protect/a.go", "package protect\n" + ours + `internal/stream"`, []string{"floor 2, imports internal/stream, floor 2"}},
		{"internal/mono/a.go", "package mono\n" + ours + `quic"`, []string{"a.go:2: internal/mono, floor 0, imports quic, floor 4"}},
		{"internal/transport/a.go", "package transport\n" + ours + `internal/udp"`, []string{"know only dgram"}},
		{"internal/transport/a_test.go", "package transport\n" + ours + `internal/udp"`, []string{"know only dgram"}},
		{"internal/transport/a_test.go", "package transport\n" + ours + `internal/sim"`, nil},
		{"internal/transport/a.go", "package transport\n" + ours + `internal/sim"`, []string{"imports internal/sim, floor 9"}},
		{"internal/transport/a_test.go", "package transport\n" + ours + `internal/evil"`, nil},
		{"internal/transport/a.go", "package transport\n" + ours + `internal/evil"`, []string{"imports internal/evil, floor 9"}},
		{"internal/transport/a_test.go", "package transport\n" + ours + `internal/siege"`, nil},
		{"internal/transport/a.go", "package transport\n" + ours + `internal/siege"`, []string{"imports internal/siege, floor 8"}},
		{"quic/a_test.go", "package quic_test\n" + ours + `quic"`, nil},
		{"quic/a_test.go", "package quic_test\n" + ours + `http3"`, []string{"floor 4, imports http3"}},
		{"quic/a.go", "package quic\n" + ours + `internal/udp"`, nil},
		{"http3/a.go", "package http3\n" + ours + `qpack"` + "\n" + ours + `internal/varint"`, nil},
		{"http3/a.go", "package http3\n" + ours + `internal/wire"`, []string{"of ours it may only use"}},
		{"http3/a.go", "package http3\n" + ours + `internal/transport"`, []string{"of ours it may only use"}},
		{"http3/a_test.go", "package http3\n" + ours + `securecontext"`, nil},
		{"quic/a.go", "package quic\n" + ours + `internal/shed"`, []string{"internal/shed has no floor"}},
		{"internal/shed/a.go", "package shed", []string{"package internal/shed has no floor"}},
		{"quic/a.go", `package quic; import "github.com/quic-go/quic-go"`, []string{"bench and interop only"}},
		{"quic/a_test.go", `package quic; import "golang.org/x/net/quic"`, []string{"bench and interop only"}},
		{"quic/a.go", `package quic; import "golang.org/x/net/quic/qlog"`, []string{"bench and interop only"}},
		{"qpack/a.go", `package qpack; import "golang.org/x/net/http2/hpack"`, nil},
	})
}

// peerRequirement: go.mod of the product requires no peer either.
func peerRequirement(goMod text) []string {
	var problems []string
	for i, line := range strings.Split(string(goMod.data), "\n") {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) > 1 && isPeer(fields[0]) {
			problems = append(problems, goMod.path+":"+strconv.Itoa(i+1)+": "+fields[0]+" is for bench and interop only")
		}
	}
	return problems
}

func TestPeerRequirement(t *testing.T) {
	for _, f := range everything(t).texts {
		if f.path == "go.mod" {
			report(t, peerRequirement(f))
		}
	}
	bad := text{"go.mod", []byte("module x\n\nrequire github.com/quic-go/quic-go v0.65.0\nrequire (\n\tgolang.org/x/net v1.0.0\n)\n")}
	wantProblems(t, "a bad go.mod", peerRequirement(bad), []string{"go.mod:3: github.com/quic-go/quic-go"})
}
