package cases

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// program is the endpoint, built once.
var program struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "endpoint")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program.path = filepath.Join(dir, "endpoint")
	flag.Parse()
	if err := flag.Set("test.parallel", fmt.Sprint(atOnce)); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// build returns the path of the endpoint program, built as for its image.
func build(t *testing.T) (string, error) {
	program.once.Do(func() {
		program.err = kit.BuildEndpoint(t.Context(), program.path)
	})
	return program.path, program.err
}

// cinnabar is the endpoint program, by the runner's contract.
type cinnabar struct{}

func (cinnabar) name() string { return "Cinnabar" }

func (cinnabar) command(r *round, role, testcase string, args ...string) (*exec.Cmd, error) {
	path, err := build(r.t)
	if err != nil {
		return nil, err
	}
	if r.http3 {
		args = append(args, "-http3")
	}
	if versions := r.offers; testcase != "v2" { // which says it all
		if role == "server" {
			versions = r.speaks
		}
		args = append(args, "-versions", spelled(versions...))
		if role == "client" {
			args = append(args, "-first", spelled(r.first))
		}
	}
	args = append(args, "-www", r.path("www"), "-downloads", r.path("downloads"), "-certs", r.path("certs"), "-servername", kit.HostName)
	cmd := exec.CommandContext(r.ctx, path, args...)
	cmd.Env = append(os.Environ(), "ROLE="+role, "TESTCASE="+testcase, "REQUESTS="+strings.Join(r.urls(), " "), "SSLKEYLOGFILE="+r.path("keys"), "QLOGDIR="+r.qlogs())
	return cmd, nil
}

func (c cinnabar) serve(r *round) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for range 2 {
		at, err := kit.FreePort()
		if err != nil {
			return nil, err
		}
		list = append(list, netip.AddrPortFrom(r.ip(), at.Port()))
	}
	cmd, err := c.command(r, "server", r.serverName(), "-listen", list[0].String(), "-second", list[1].String(), "-preferred", r.away.String())
	if err != nil {
		return nil, err
	}
	ready := &listener{up: make(chan struct{})}
	cmd.Stderr = ready
	p, err := kit.Start(r.t, cmd)
	if err != nil {
		return nil, err
	}
	if r.http3 {
		return list, p.Ready(r.ctx, list[0])
	}
	select {
	case <-ready.up:
		return list, nil
	case <-p.Done():
		return nil, fmt.Errorf("the server has ended: %w: %s", p.Err(), ready.text.String())
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
}

// spelled writes versions as the endpoint takes them.
func spelled(versions ...uint32) string {
	var names []string
	for _, v := range versions {
		switch v {
		case trace.Version1:
			names = append(names, "v1")
		case trace.Version2:
			names = append(names, "v2")
		}
	}
	return strings.Join(names, ",")
}

// listener waits for a server to say that it listens. Only the command writes to it.
type listener struct {
	up   chan struct{}
	once sync.Once
	text strings.Builder
}

// Write implements io.Writer.
func (l *listener) Write(b []byte) (int, error) {
	l.text.Write(b)
	if strings.Contains(l.text.String(), "listening") {
		l.once.Do(func() { close(l.up) })
	}
	return len(b), nil
}

func (c cinnabar) fetch(r *round) error {
	cmd, err := c.command(r, "client", r.client)
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 127 {
		return errUnsupported
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
