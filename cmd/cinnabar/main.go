// Command cinnabar shows what the library does, and does something useful with
// it: serve and get are a web server and a client over HTTP/3, receive and send move files
// between two machines, demo runs a server and a client in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
)

// The statuses that the command exits with.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell says that SIGINT ended a command
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// commands is the grammar of the command line.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Serve a folder over HTTP/3, and over HTTP/2 and HTTP/1.1 on the same port."`
	Get     getCommand     `cmd:"" help:"Fetch URLs over HTTP/3, with the options of curl."`
	Demo    demoCommand    `cmd:"" help:"Run a server and a client here, send data and get it back, and show what was measured."`
	Receive receiveCommand `cmd:"" help:"Wait for files and store them in a directory."`
	Send    sendCommand    `cmd:"" help:"Send files to a machine where receive runs."`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// app is what a command may use of the world.
type app struct {
	ctx    context.Context // ends with Ctrl-C
	stdin  io.Reader
	stdout io.Writer  // results
	stderr io.Writer  // what goes on, and errors
	mu     sync.Mutex // of both, so that lines stay whole
}

// printf writes a line of the result.
func (a *app) printf(format string, args ...any) { a.line(a.stdout, format, args) }

// notef writes a line about what goes on.
func (a *app) notef(format string, args ...any) { a.line(a.stderr, format, args) }

func (a *app) line(w io.Writer, format string, args []any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(w, format+"\n", args...)
}

// run does what args ask for, and returns the status to exit with. Errors are one
// line on stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	exited := false // by --help or --version, which would exit the process
	parser := newParser(new(commands), stdout, stderr, func(code int) { exited, status = true, code })
	selected, err := parser.Parse(attachNumbers(args))
	switch {
	case exited:
		return status
	case err != nil:
		fmt.Fprintf(stderr, "cinnabar: %s; see %s --help\n", complaint(err), commandName(err))
		return exitUsage
	}
	var coded *codedError
	err = selected.Run(&app{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr})
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		status = exitInterrupted
	case errors.As(err, &coded):
		status = coded.status
	case errors.As(err, new(*usageError)):
		status = exitUsage
	default:
		status = exitFailed
	}
	if err.Error() != "" {
		fmt.Fprintf(stderr, "cinnabar: %v\n", err)
	}
	return status
}

// attachNumbers makes --flag=-1 of --flag -1, and -m-1 of -m -1: what begins with a dash and a digit
// is never a flag.
func attachNumbers(args []string) []string {
	var out []string
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if len(out) == 0 || !negative.MatchString(arg) || !flagAlone.MatchString(out[len(out)-1]) {
			out = append(out, arg)
			continue
		}
		flag := &out[len(out)-1]
		if strings.HasPrefix(*flag, "--") {
			*flag += "="
		}
		*flag += arg
	}
	return out
}

var (
	negative  = regexp.MustCompile(`^-[0-9]`)
	flagAlone = regexp.MustCompile(`^(--[a-z][a-z-]+|-[A-Za-z]+)$`)
)

// complaint returns what is wrong with a command line that cannot be parsed.
func complaint(err error) string {
	text := err.Error()
	if word, is := strings.CutPrefix(text, "unexpected argument "); is && commandName(err) == "cinnabar" {
		return "there is no command " + word
	}
	if strings.HasSuffix(text, `but got "EOL" (<EOL>)`) {
		flag, _, _ := strings.Cut(text, ":")
		return flag + ": its value is missing"
	}
	if strings.HasPrefix(text, "unknown flag -") && !strings.HasPrefix(text, "unknown flag --") {
		text, _, _ = strings.Cut(text, ", did you mean") // every letter is like every other
	}
	return text
}

// newParser returns what fills a grammar from a command line.
func newParser(grammar *commands, stdout, stderr io.Writer, exit func(code int)) *kong.Kong {
	parser, err := kong.New(grammar,
		kong.Name("cinnabar"),
		kong.Description("Cinnabar speaks QUIC, the encrypted transport under HTTP/3."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.PostBuild(func(k *kong.Kong) error {
			k.Model.HelpFlag.Help = "Show this help."
			return nil
		}),
		kong.ExplicitGroups(getGroups),
		kong.Vars{"version": version()},
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
	)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return parser
}

// commandName returns the command that a parse error is about, as it is typed.
func commandName(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		return "cinnabar " + parse.Context.Selected().Name
	}
	return "cinnabar"
}

// errInterrupted is a command that Ctrl-C cut short.
var errInterrupted = errors.New("interrupted")

// usageError is a command line that cannot be carried out as it stands.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// codedError ends the command with a status of its own. Without a text nothing is
// printed: all is said already, or nobody wants to hear it.
type codedError struct {
	status int
	text   string
}

func (e *codedError) Error() string { return e.text }

func version() string {
	v := "unknown version"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("cinnabar %s, %s, %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
