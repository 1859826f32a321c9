package house

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ban is a package whose use is forbidden or restricted on floors 0 to 3.
type ban struct {
	importPath string
	reason     string
	names      []string // forbidden; a final * stands for any ending. None: the import itself is forbidden
	only       []string // if set, all other names are forbidden
}

var bans = []ban{
	{importPath: "time", reason: "time is an input: see internal/mono", names: []string{
		"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Timer", "Ticker", "Time",
	}},
	{importPath: "context", reason: "deadlines belong to floor 4", names: []string{"WithTimeout*", "WithDeadline*"}},
	{importPath: "sync", reason: "floors 0-3 have one owner at a time"},
	{importPath: "sync/atomic", reason: "floors 0-3 have one owner at a time"},
	{importPath: "net", reason: "sockets belong to internal/udp and floor 4", names: []string{
		"Dial*", "Listen*", "File*", "Resolve*", "Lookup*", "Interface*", "Pipe", "Resolver", "DefaultResolver",
		"UDPConn", "TCPConn", "TCPListener", "UnixConn", "UnixListener", "IPConn",
	}},
	{importPath: "net/http", reason: "net/http belongs to http3"},
	{importPath: "os", reason: "floors 0-3 do not know the machine"},
	{importPath: "syscall", reason: "sockets belong to internal/udp"},
	{importPath: "golang.org/x/sys/unix", reason: "sockets belong to internal/udp"},
	{importPath: "golang.org/x/sys/windows", reason: "sockets belong to internal/udp"},
	{importPath: "crypto/rand", reason: "randomness is an input"},
	{importPath: "math/rand", reason: "randomness is an input: only generators with a given seed", only: seeded},
	{importPath: "math/rand/v2", reason: "randomness is an input: only generators with a given seed", only: seeded},
	{importPath: "hash/maphash", reason: "randomness is an input", names: []string{"MakeSeed", "Hash"}},
}

var seeded = []string{"New", "NewSource", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "Source64", "PCG", "ChaCha8", "Zipf"}

// forbids reports whether a ban covers a name of its package.
func (b *ban) forbids(name string) bool {
	if b.only != nil {
		return !slices.Contains(b.only, name)
	}
	return slices.ContainsFunc(b.names, func(n string) bool {
		prefix, open := strings.CutSuffix(n, "*")
		return name == n || open && strings.HasPrefix(name, prefix)
	})
}

// linkname is a way to a clock, a goroutine or a lock that no import shows.
var linkname = regexp.MustCompile(`^//go:linkname \S+ (runtime|time|sync|sync/atomic|internal/\S+)\.`)

// purity: no clock, goroutine, lock, socket or randomness on floors 0 to 3.
func purity(s *source) []string {
	if !pure(s.dir) || s.isTest() {
		return nil
	}
	var problems []string
	banned := make(map[string]*ban) // by the package's name in this file
	for _, spec := range s.file.Imports {
		importPath, _ := strconv.Unquote(spec.Path.Value)
		i := slices.IndexFunc(bans, func(b ban) bool { return b.importPath == importPath })
		switch {
		case spec.Name != nil && spec.Name.Name == ".":
			problems = append(problems, s.at(spec.Pos(), "import of %s without a name hides what is used", importPath))
		case importPath == "C":
			problems = append(problems, s.at(spec.Pos(), "import of C"))
		case i >= 0 && bans[i].names == nil && bans[i].only == nil:
			problems = append(problems, s.at(spec.Pos(), "import of %s: %s", importPath, bans[i].reason))
		}
	}
	for name, importPath := range s.imports() {
		if i := slices.IndexFunc(bans, func(b ban) bool { return b.importPath == importPath }); i >= 0 {
			banned[name] = &bans[i]
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			problems = append(problems, s.at(n.Pos(), "go statement: goroutines belong to floor 4"))
		case *ast.SelectorExpr:
			// An identifier that the file declares itself has an object; a package's name has none.
			id, ok := n.X.(*ast.Ident)
			if !ok || id.Obj != nil || banned[id.Name] == nil {
				break
			}
			if b := banned[id.Name]; b.forbids(n.Sel.Name) {
				problems = append(problems, s.at(n.Pos(), "%s.%s: %s", b.importPath, n.Sel.Name, b.reason))
			}
		}
		return true
	})
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if linkname.MatchString(c.Text) {
				problems = append(problems, s.at(c.Pos(), "go:linkname goes around the bans"))
			}
		}
	}
	return problems
}

func TestPurity(t *testing.T) { eachSource(t, purity) }

func TestPurityFinds(t *testing.T) {
	one := func(want ...string) []string { return want }
	wire := func(imports, body string, want []string) example {
		return example{"internal/wire/a.go", "package wire\n" + imports + "\nfunc f() { " + body + " }", want}
	}
	tryRule(t, purity, []example{
		wire(`import "time"`, `_ = time.Now()`, one("a.go:3: time.Now: time is an input")),
		wire(`import "time"`, `time.Sleep(time.Second); <-time.After(1); time.NewTimer(1)`, one("time.Sleep", "time.After", "time.NewTimer")),
		wire(`import "time"`, `f := time.Since; _ = f`, one("time.Since")),
		wire(`import clock "time"`, `var _ clock.Time`, one("time.Time")),
		wire(`import "time"`, `var d time.Duration = time.Millisecond; _ = d`, nil),
		wire(`import "time"`, `var time struct{ Now int }; _ = time.Now`, nil),
		wire(`import . "time"`, `_ = Now()`, one("without a name")),
		wire("", `go f()`, one("go statement")),
		wire("", `func() { go f() }()`, one("go statement")),
		wire(`import "sync"`, `var _ sync.Mutex`, one("import of sync")),
		wire(`import _ "sync/atomic"`, ``, one("import of sync/atomic")),
		wire(`import "net"`, `net.Dial("udp", ""); net.ListenPacket("udp", ""); net.LookupHost("")`, one("net.Dial", "net.ListenPacket", "net.LookupHost")),
		wire(`import "net"`, `var _ net.ListenConfig; var _ *net.UDPConn`, one("net.ListenConfig", "net.UDPConn")),
		wire("import (\n\"net\"\n\"net/netip\"\n)", `_ = net.ErrClosed; _ = netip.Addr{}`, nil),
		wire(`import "math/rand"`, `rand.Intn(3); rand.Seed(1)`, one("math/rand.Intn", "math/rand.Seed")),
		wire(`import "math/rand/v2"`, `rand.N(3); rand.Uint64()`, one("math/rand/v2.N", "math/rand/v2.Uint64")),
		wire(`import "math/rand/v2"`, `r := rand.New(rand.NewPCG(1, 2)); r.Uint64()`, nil),
		wire(`import "crypto/rand"`, ``, one("import of crypto/rand")),
		wire(`import "hash/maphash"`, `maphash.MakeSeed()`, one("maphash.MakeSeed")),
		wire(`import "context"`, `context.WithTimeout(nil, 0); context.WithCancel(nil)`, one("context.WithTimeout")),
		wire(`import "C"`, ``, one("import of C")),
		wire("import \"os\"\nimport \"golang.org/x/sys/unix\"", ``, one("import of os", "import of golang.org/x/sys/unix")),
		wire("//go:linkname nanotime runtime.nanotime\nfunc nanotime() int64", ``, one("go:linkname")),
		wire("//go:linkname suites crypto/tls.suites\nvar suites []int", ``, nil),
		{"internal/wire/a_test.go", "package wire\nimport \"sync\"", nil},
		{"internal/udp/a.go", "package udp\nimport \"sync\"", nil},
		{"qlog/a.go", "package qlog\nimport \"sync\"", nil},
		{"qpack/a.go", "package qpack\nimport \"sync\"", one("import of sync")},
		{"quic/a.go", "package quic\nimport \"sync\"\nfunc f() { go f() }", nil},
	})
}

// panicText: on floors 0 to 3 a panic is a bug of ours and says so. What the wire
// can cause is an error, not a panic.
func panicText(s *source) []string {
	r, ok := roomOf(s.dir)
	if !ok || r.floor > 3 || s.isTest() {
		return nil
	}
	var problems []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" && id.Obj == nil && !startsWithBug(call.Args[0]) {
			problems = append(problems, s.at(call.Pos(), `the text of a panic begins with "BUG:"`))
		}
		return true
	})
	return problems
}

// startsWithBug looks at the leftmost literal of a concatenation, or the format of a Sprintf.
func startsWithBug(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		v, err := strconv.Unquote(e.Value)
		return e.Kind == token.STRING && err == nil && strings.HasPrefix(v, "BUG: ")
	case *ast.BinaryExpr:
		return startsWithBug(e.X)
	case *ast.ParenExpr:
		return startsWithBug(e.X)
	case *ast.CallExpr:
		fun, ok := e.Fun.(*ast.SelectorExpr)
		return ok && fun.Sel.Name == "Sprintf" && len(e.Args) > 0 && startsWithBug(e.Args[0])
	}
	return false
}

func TestPanicText(t *testing.T) { eachSource(t, panicText) }

func TestPanicTextFinds(t *testing.T) {
	bad := []string{`begins with "BUG:"`}
	body := func(s string, want []string) example {
		return example{"internal/wire/a.go", "package wire\nfunc f(x int, err error) { " + s + " }", want}
	}
	tryRule(t, panicText, []example{
		body(`panic("BUG: no")`, nil),
		body(`panic("BUG: no: " + err.Error() + "!")`, nil),
		body(`panic(fmt.Sprintf("BUG: %d", x))`, nil),
		body(`panic("no")`, bad),
		body(`panic("BUG")`, bad),
		body(`panic(err)`, bad),
		body(`panic(err.Error() + "BUG: ")`, bad),
		body(`panic(fmt.Sprintf("bug: %d", x))`, bad),
		body(`panic(fmt.Sprint("BUG: ", x))`, bad),
		body(`func() { panic(x) }()`, bad),
		{"internal/udp/a.go", "package udp\nfunc f() { panic(1) }", bad},
		{"internal/wire/a_test.go", "package wire\nfunc f() { panic(1) }", nil},
		{"quic/a.go", "package quic\nfunc f() { panic(1) }", nil},
	})
}
