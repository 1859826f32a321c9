package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
)

// output is what a command has printed so far.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) text() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

// command is a command that runs in the test's process.
type command struct {
	t              *testing.T
	stdout, stderr *output
	interrupt      context.CancelFunc // Ctrl-C
	ended          chan struct{}
	status         int
}

func start(t *testing.T, args ...string) *command {
	t.Helper()
	return startWith(t, "", args...)
}

// startWith starts a command that reads stdin.
func startWith(t *testing.T, stdin string, args ...string) *command {
	t.Helper()
	return startReading(t, strings.NewReader(stdin), args...)
}

func startReading(t *testing.T, stdin io.Reader, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &command{t: t, stdout: newOutput(), stderr: newOutput(), interrupt: cancel, ended: make(chan struct{})}
	go func() {
		c.status = run(ctx, args, stdin, c.stdout, c.stderr)
		close(c.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-c.ended
	})
	return c
}

// waitFor waits until the command has printed something, and returns all that it has.
func (c *command) waitFor(o *output, part string) string {
	c.t.Helper()
	return c.waitForTimes(1, o, part)
}

// waitForTimes waits until the command has printed something n times.
func (c *command) waitForTimes(n int, o *output, part string) string {
	c.t.Helper()
	for {
		text, changed := o.text()
		if strings.Count(text, part) >= n {
			return text
		}
		select {
		case <-changed:
		case <-c.ended:
			if text, _ := o.text(); strings.Count(text, part) >= n {
				return text
			}
			c.t.Fatalf("ended with status %d without %q\n%s", c.status, part, c.all())
		}
	}
}

func (c *command) all() string {
	stdout, _ := c.stdout.text()
	stderr, _ := c.stderr.text()
	return "stdout:\n" + stdout + "stderr:\n" + stderr
}

// want waits for the end, and checks the status and that parts were printed.
func (c *command) want(status int, parts ...string) {
	c.t.Helper()
	<-c.ended
	all := c.all()
	if c.status != status {
		c.t.Errorf("status %d, want %d\n%s", c.status, status, all)
	}
	for _, p := range parts {
		if !strings.Contains(all, p) {
			c.t.Errorf("no %q in\n%s", p, all)
		}
	}
}

// wantError checks the status, and that the last word is one line on stderr with all parts.
func (c *command) wantError(status int, parts ...string) {
	c.t.Helper()
	c.want(status)
	stderr, _ := c.stderr.text()
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "cinnabar: ") {
		c.t.Errorf("the last line is %q", last)
	}
	for _, p := range parts {
		if !strings.Contains(last, p) {
			c.t.Errorf("no %q in %q", p, last)
		}
	}
}

func TestHelp(t *testing.T) {
	start(t).want(0, "Usage: cinnabar", "serve", "get", "demo", "receive", "send")
	start(t, "--help").want(0, "Usage: cinnabar")
	start(t, "--version").want(0, "cinnabar ", "go1.")
	start(t, "demo", "--help").want(0, "Usage: cinnabar demo", "--quic-version", "--quic-first", "--size", "--json", "Examples")
	start(t, "receive", "--help").want(0, "Usage: cinnabar receive", "--quic-version", "--dir", "(:4433)", "Examples")
	start(t, "send", "--help").want(0, "Usage: cinnabar send", "<host:port>", "--quic-version", "--quic-first", "--pin", "Examples")
	start(t, "serve", "--help").want(0, "Usage: cinnabar serve", "[<dir>]", "--quic-version", "(:8443)", "Examples")
	start(t, "get", "--help").want(0, "Usage: cinnabar get", "<url>", "What is asked", "--quic-version", "--quic-first", "Exit status", "Examples")
}

func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"sned"}, []string{"there is no command sned", `"send"`, "see cinnabar --help"}},
		{[]string{"get", "-x", "x"}, []string{"unknown flag -x; see cinnabar get --help"}},
		{[]string{"serve", "--cert"}, []string{"--cert: its value is missing"}},
		{[]string{"serve", "--upload", "--max-upload", "0"}, []string{"--max-upload 0 takes nothing", "leave out --upload"}},
		{[]string{"receive", "--max-size", "0"}, []string{"--max-size 0 takes nothing", "write 1G"}},
		{[]string{"serve", "--grace", "-1s"}, []string{"--grace -1s is less than nothing", "write 30s"}},
		{[]string{"demo", "--sice", "3"}, []string{`--size`, "see cinnabar demo --help"}},
		{[]string{"demo", "--size", "big"}, []string{`"big" is no size`, "256M"}},
		{[]string{"demo", "--size", "1M", "file"}, []string{"--size is for generated data"}},
		{[]string{"send"}, []string{"<host:port>", "see cinnabar send --help"}},
		{[]string{"send", "host"}, []string{"<file>"}},
		{[]string{"send", "--pin", "sha256:12", "host", "file"}, []string{"64 hexadecimal digits"}},
		{[]string{"send", "--insecure", "--ca", "x", "host", "file"}, []string{"can't be used together"}},
		{[]string{"send", ":4433", "main.go"}, []string{"host:port"}},
		{[]string{"receive", "--cert", "x"}, []string{"--key"}},
		{[]string{"receive", "--addr", "4433"}, []string{`--addr "4433" is no address`, ":4433"}},
		{[]string{"receive", "--addr", "127.0.0.1:99999"}, []string{"0 to 65535"}},
		{[]string{"send", "127.0.0.1:0", "main.go"}, []string{"1 to 65535"}},
		{[]string{"send", "127.0.0.1:x", "main.go"}, []string{"1 to 65535"}},
		{[]string{"receive", "--max-size=-1"}, []string{"is no size"}},
		{[]string{"get", "--quic-version", "v3", "x"}, []string{"--quic-version", `"v3" is no list of versions`, "v2,v1"}},
		{[]string{"serve", "--quic-version", "v1,v1"}, []string{`"v1,v1" is no list of versions`}},
		{[]string{"receive", "--quic-version", ""}, []string{`"" is no list of versions`}},
		{[]string{"get", "--quic-first", "0x1", "x"}, []string{`"0x1" is no version`, "v1 or v2"}},
		{[]string{"get", "--quic-version", "v1", "--quic-first", "v2", "x"}, []string{"--quic-first v2 is not among --quic-version v1"}},
		{[]string{"send", "--quic-version", "v2", "--quic-first", "v1", "host", "main.go"}, []string{"--quic-first v1 is not among --quic-version v2"}},
		{[]string{"demo", "--quic-version", "v2", "--quic-first", "v1"}, []string{"--quic-first v1 is not among --quic-version v2"}},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			c := start(t, tc.args...)
			c.wantError(exitUsage, tc.want...)
			if stdout, _ := c.stdout.text(); stdout != "" {
				t.Errorf("stdout: %s", stdout)
			}
		})
	}
}
