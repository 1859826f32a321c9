package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// image is a folder that stands for the root of the container: the endpoint, the script that starts
// it, and stand-ins for the two scripts of the base image, which note what they are called with.
type image struct {
	t   *testing.T
	dir string
}

func newImage(t *testing.T) *image {
	m := &image{t, t.TempDir()}
	if err := kit.BuildEndpoint(t.Context(), m.path("endpoint")); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("run_endpoint.sh")
	if err != nil {
		t.Fatal(err)
	}
	text := string(script)
	for _, name := range []string{"setup.sh", "wait-for-it.sh", "endpoint"} {
		if !strings.Contains(text, "/"+name) {
			t.Fatalf("run_endpoint.sh does not call /%s", name)
		}
		text = strings.ReplaceAll(text, "\n/"+name, "\n"+m.path(name))
		text = strings.ReplaceAll(text, "\t/"+name, "\t"+m.path(name))
		text = strings.ReplaceAll(text, "exec /"+name, "exec "+m.path(name))
	}
	note := "#!/bin/bash\necho \"${0##*/} $*\" >>" + m.path("calls") + "\n"
	for name, text := range map[string]string{"run_endpoint.sh": text, "setup.sh": note, "wait-for-it.sh": note} {
		if err := os.WriteFile(m.path(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *image) path(name string) string { return filepath.Join(m.dir, name) }

// entry is the image's entry point with an environment that has nothing else. The output is the
// test's.
func (m *image) entry(ctx context.Context, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", m.path("run_endpoint.sh"))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	cmd.Stdout, cmd.Stderr = m.t.Output(), m.t.Output()
	return cmd
}

// code runs a command and returns its exit code.
func (m *image) code(cmd *exec.Cmd) int {
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		m.t.Fatal(err)
	}
	return 0
}

// TestImage plays what can be without containers: what the Dockerfile copies and builds, and what
// the image's entry point does.
func TestImage(t *testing.T) {
	m := newImage(t)
	t.Run("copies", copies)
	t.Run("static", m.static)
	t.Run("compliance", m.compliance)
	t.Run("transfer", m.transfer)
}

// copies checks that what the Dockerfile copies is there.
func copies(t *testing.T) {
	list, err := kit.Dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for _, line := range list {
		args := strings.Fields(line)
		if args[0] != "COPY" || strings.HasPrefix(args[1], "--from=") {
			continue
		}
		for _, name := range args[1 : len(args)-1] {
			copies++
			if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if copies < 5 {
		t.Errorf("only %d files are copied", copies)
	}
}

// static checks that the program needs no library: the base image's may be of any age.
func (m *image) static(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // what is built here is no ELF file
	}
	f, err := elf.Open(m.path("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: it has a %v", p.Type)
		}
	}
}

// compliance is what the runner first asks each image for: a case that does not exist.
func (m *image) compliance(t *testing.T) {
	for role, calls := range map[string]string{"client": "setup.sh \nwait-for-it.sh sim:57832 -s -t 30\n", "server": "setup.sh \n"} {
		name := fmt.Sprintf("%x", rand.Uint64())
		if code := m.code(m.entry(t.Context(), "ROLE="+role, "TESTCASE="+name, "REQUESTS=https://server4:443/x")); code != exitUnsupported {
			t.Errorf("%s, %s: exit code %d, want 127", role, name, code)
		}
		got, err := os.ReadFile(m.path("calls"))
		if err != nil || string(got) != calls {
			t.Errorf("%s: the base image's scripts were called as %q (%v), want %q", role, got, err, calls)
		}
		os.Remove(m.path("calls"))
	}
}

// transfer has two containers play a case, with nothing but what the contract has and the flags that stand
// for the runner's addresses and folders. SIGTERM ends the server.
func (m *image) transfer(t *testing.T) {
	w := newSite(t)
	folders := fmt.Sprintf("-www %s -downloads %s -certs %s", filepath.Join(w.dir, "www"), filepath.Join(w.dir, "downloads"), filepath.Join(w.dir, "certs"))
	env := func(role string) []string {
		return []string{"ROLE=" + role, "TESTCASE=transfer", "SSLKEYLOGFILE=" + filepath.Join(w.dir, role+".keys"), "QLOGDIR=" + filepath.Join(w.dir, "qlog-"+role)}
	}
	server := m.entry(w.ctx, append(env("server"), fmt.Sprintf("SERVER_PARAMS=-listen 127.0.0.1:%d %s", w.port, folders))...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var urls []string
	for i := range 3 {
		urls = append(urls, fmt.Sprintf("https://%s:%d/file%d", kit.HostName, w.port, i))
	}
	if code := m.code(m.entry(w.ctx, append(env("client"), "CLIENT_PARAMS="+folders, "REQUESTS="+strings.Join(urls, " "))...)); code != exitDone {
		t.Errorf("the client's exit code is %d", code)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
	w.check(3)
}
