package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/fetch"
)

// A full disk fails what was to be written to it, by name, and neither what else the session brings nor the command.
func TestGetFullDisk(t *testing.T) {
	const full = "no space left on device"
	_, big := writeFile(t, "big", 4<<20, 0o600)
	s := startServe(t, map[string]string{"big": big, "a.txt": "A"})
	to := t.TempDir()
	t.Chdir(to)
	s.get("-o", "/dev/full", "~/big").wantError(int(fetch.Write), "cannot write /dev/full: "+full)
	c := s.get("-o", "/dev/full", "-o", "whole", "-o", "a", "~/big", "~/big", "~/a.txt")
	c.want(int(fetch.Write), "/big: cannot write /dev/full: "+full, "1 of 3 URLs failed")
	wantFiles(t, to, map[string]string{"whole": big, "a": "A"})

	disk, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	stderr := newOutput()
	status := run(t.Context(), []string{"get", "--pin", s.pin, s.url + "big"}, strings.NewReader(""), disk, stderr)
	if text, _ := stderr.text(); status != int(fetch.Write) || !strings.Contains(text, "cannot write the output: "+full) {
		t.Errorf("standard output on a full disk: status %d, %s", status, text)
	}
	for _, log := range []string{"--trace-qlog", "--keylog"} {
		c := s.get(log, "/dev/full", "~/big")
		c.want(exitFailed, "cannot write "+log+" /dev/full: "+full)
		if out, _ := c.stdout.text(); out != big {
			t.Errorf("with %s on a full disk %d bytes come of %d", log, len(out), len(big))
		}
	}
}

// A directory in which nobody can make files, not even root, is refused before a sender comes.
func TestReceiveWhereNothingCanBeMade(t *testing.T) {
	start(t, "receive", "--dir", "/sys/kernel", "--addr", "127.0.0.1:0").wantError(exitFailed, "cannot store files in /sys/kernel: no file can be made there: ")
}

// limitedGet is the variable that makes the test binary a command that cannot write more than
// 1 MiB to a file: its arguments.
const limitedGet = "CINNABAR_TEST_LIMITED_GET"

// TestLimitedGet is the command of TestGetDiskFillsUp, and nothing by itself.
func TestLimitedGet(t *testing.T) {
	args := os.Getenv(limitedGet)
	if args == "" {
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // or writing would not return
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	os.Exit(run(context.Background(), strings.Fields(args), strings.NewReader(""), io.Discard, os.Stderr))
}

// What a file had room for stays, the error says how much that is, and -C - goes on from there
// when there is room again.
func TestGetDiskFillsUp(t *testing.T) {
	_, big := writeFile(t, "big", 4<<20, 0o600)
	s := startServe(t, map[string]string{"big": big})
	to := t.TempDir()
	t.Chdir(to)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLimitedGet$")
	cmd.Env = append(os.Environ(), limitedGet+"=get -O --pin "+s.pin+" "+s.url+"big")
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != int(fetch.Write) ||
		!strings.Contains(string(out), "cannot write big: file too large; big has the 1048576 bytes that came, and -C - goes on from there") {
		t.Errorf("status %d, %s", status, out)
	}
	wantFiles(t, to, map[string]string{"big": big[:1<<20]})
	s.get("-O", "-C", "-", "~/big").wantOut(0, "")
	wantFiles(t, to, map[string]string{"big": big})
}
