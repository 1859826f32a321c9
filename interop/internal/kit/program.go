package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// RequireVariable is the environment variable that makes a missing program a failure.
const RequireVariable = "CINNABAR_INTEROP_REQUIRE"

// PythonVariable is the environment variable with the path of a Python that has aioquic.
const PythonVariable = "CINNABAR_INTEROP_PYTHON"

const (
	stopGrace = 5 * time.Second // from asking a program to end until it is killed
	logTail   = 6_000           // bytes of a program's log that a failure shows
)

// Find returns the path of a program. If there is none, the test is skipped with the
// name of the package that has it, or fails where RequireVariable says so.
func Find(t testing.TB, program, origin string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrNotFound) { // Debian keeps servers where only root looks
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		missing(t, fmt.Sprintf("%s is not installed: it is in %s", program, origin))
	}
	return path
}

// Python returns the path of a Python that has aioquic, on the terms of Find.
func Python(t testing.TB) string {
	t.Helper()
	path := os.Getenv(PythonVariable)
	if path == "" {
		path = "python3"
	}
	if err := imports(path); err != nil {
		missing(t, fmt.Sprintf("%s has no aioquic (%v): install python3 and python3-venv, pip install aioquic in a virtual environment, and set %s to its python",
			path, err, PythonVariable))
	}
	return path
}

// imports tries once whether a Python has aioquic.
var imports = func() func(string) error {
	tried := make(map[string]error)
	return func(path string) error {
		err, ok := tried[path]
		if !ok {
			out, failed := exec.Command(path, "-c", "import aioquic").CombinedOutput()
			if failed != nil {
				err = fmt.Errorf("%w: %s", failed, bytes.TrimSpace(out))
			}
			tried[path] = err
		}
		return err
	}
}()

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(RequireVariable) != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Process is a program that runs as long as a test.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string // path
	done chan struct{}
	err  error // once done is closed
}

// Start starts a program. Its output, as far as the caller does not take it, is a file
// whose end is shown if the test fails. It is stopped when the test is over.
func Start(t testing.TB, cmd *exec.Cmd) (*Process, error) {
	t.Helper()
	p := &Process{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	log, err := os.CreateTemp(t.TempDir(), p.name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.log = log.Name()
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = log
	}
	cmd.WaitDelay = stopGrace
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s, the end of its output:\n%s", p.name, p.tail())
		}
	})
	return p, nil
}

// Done returns a channel that is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the program ended, once it has.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Stop asks the program to end, and kills it if it takes too long.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(stopGrace, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.done
}

// Log opens what the program has said so far.
func (p *Process) Log() (io.ReadCloser, error) { return os.Open(p.log) }

func (p *Process) tail() []byte {
	f, err := os.Open(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	defer f.Close()
	if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
		f.Seek(0, io.SeekStart) // shorter than that
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}
