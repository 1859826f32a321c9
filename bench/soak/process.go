package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is one with clients.
type process struct {
	*exec.Cmd
	stdin   io.WriteCloser
	address netip.AddrPort // of its socket
}

// start starts a process, whose clients come one after the other until the ramp is over.
func (s *server) start(ctx context.Context, o options, seed uint64, ramp time.Duration) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{Cmd: exec.CommandContext(ctx, self, "-client", s.socket.Address().String(), "-seed", fmt.Sprint(seed), "-ramp", ramp.String(),
		"-idle", o.idle.String(), "-processes", "1", "-sessions", fmt.Sprint(o.sessions/o.processes), "-churn", fmt.Sprint(max(1, o.churn/o.processes)))}
	p.Stderr = s.log
	if p.stdin, err = p.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	if _, err := p.stdin.Write(s.cert); err != nil {
		return nil, errors.Join(err, p.end())
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if p.address, err = netip.ParseAddrPort(strings.TrimSpace(line)); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// kill kills the process, and is an error if it had ended before.
func (p *process) kill() error {
	if err := p.Process.Kill(); err != nil {
		return err
	}
	p.end()
	if s, ok := p.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
		return nil
	}
	return fmt.Errorf("a process of clients has ended by itself: %v", p.ProcessState)
}

// end waits for the process, which ends when its standard input does.
func (p *process) end() error {
	p.stdin.Close()
	return p.Wait()
}

// complaints tells how often clients have failed of what, which a busy machine makes them
// do, and is an error if a process has said anything else.
func (s *server) complaints() (n int, _ error) {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return 0, err
	}
	failed := make(map[string]int)
	var odd []string
	for line := range strings.Lines(string(text)) {
		if what, ok := strings.CutPrefix(line, "client: "); ok {
			failed[port.ReplaceAllString(strings.TrimSpace(what), "")]++
			n++
		} else {
			odd = append(odd, line)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(failed)) {
		fmt.Printf("%6d times at a client: %s\n", failed[what], what)
	}
	if len(odd) > 0 {
		return n, fmt.Errorf("processes of clients say\n%s", strings.Join(odd[:min(100, len(odd))], ""))
	}
	return n, nil
}

// port is a port or a time, which make equal complaints differ.
var port = regexp.MustCompile(`:[0-9]+| within [0-9.]+s`)
