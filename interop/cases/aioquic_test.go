package cases

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cinnabar-quic/cinnabar/internal/hq"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// aioquic is a Python library; testdata has a client and a server that use it. It marks nothing
// for ECN, and its server has no preferred address.
type aioquic struct{}

func (aioquic) name() string { return "aioquic" }

// aioquicPlan is what the scripts are told.
type aioquicPlan struct {
	Host     string   `json:"host"`
	ALPN     string   `json:"alpn"`
	Versions []uint32 `json:"versions"` // most preferred first; none is the library's choice

	// The server's.
	Cert  string `json:"cert"`
	Key   string `json:"key"`
	WWW   string `json:"www"`
	Retry bool   `json:"retry"`

	// The client's.
	Port      uint16     `json:"port"`
	Name      string     `json:"name"`
	Roots     string     `json:"roots"`
	Downloads string     `json:"downloads"`
	Sessions  [][]string `json:"sessions"` // the files of each
	First     uint32     `json:"first"`    // version, if there are Versions
	Resume    bool       `json:"resume"`   // a session waits for a ticket, and the next uses it
	Early     bool       `json:"early"`
	Update    bool       `json:"update"`
	ChaCha20  bool       `json:"chacha20"`
}

func (r *round) aioquicPlan(versions []uint32) aioquicPlan {
	p := aioquicPlan{Host: r.ip().String(), ALPN: hq.ALPN, Versions: versions}
	if r.http3 {
		p.ALPN = "h3"
	}
	return p
}

func (aioquic) python(r *round, script string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.ctx, kit.Python(r.t), append([]string{filepath.Join("testdata", script)}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

func (a aioquic) serve(r *round) ([]netip.AddrPort, error) {
	if r.moves || r.name == "ecn" {
		return nil, errUnsupported
	}
	plan := r.aioquicPlan(r.speaks)
	plan.Cert, plan.Key, plan.WWW, plan.Retry = r.id.CertFile, r.id.KeyFile, r.path("www"), r.serverName() == "retry"
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	cmd := a.python(r, "server.py", string(text))
	stdin, err := cmd.StdinPipe() // the server ends with it
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { stdin.Close() })
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	cmd.Stdout = w
	p, err := kit.Start(r.t, cmd)
	w.Close()
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n') // ends with the process at the latest
	if err != nil {
		return nil, fmt.Errorf("the server has not told its port: %w; %v", err, p.Err())
	}
	port, err := strconv.ParseUint(strings.TrimSpace(line), 10, 16)
	return []netip.AddrPort{netip.AddrPortFrom(r.ip(), uint16(port))}, err
}

func (a aioquic) fetch(r *round) error {
	if r.name == "ecn" {
		return errUnsupported
	}
	versions := r.offers
	if r.unknown {
		versions = []uint32{reserved, trace.Version1}
	}
	plan := r.aioquicPlan(versions)
	plan.Port, plan.Name, plan.Roots, plan.Downloads = r.at.Port(), kit.HostName, r.id.RootFile, r.path("downloads")
	if plan.First = r.first; r.unknown {
		plan.First = reserved
	}
	plan.Sessions = [][]string{r.files}
	switch r.client {
	case "multiconnect":
		plan.Sessions = nil
		for _, f := range r.files {
			plan.Sessions = append(plan.Sessions, []string{f})
		}
	case "resumption", "zerortt":
		plan.Sessions = [][]string{r.files[:1], r.files[1:]}
		plan.Resume, plan.Early = true, r.client == "zerortt"
	}
	plan.Update, plan.ChaCha20 = r.client == "keyupdate", r.client == "chacha20"
	in, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	cmd := a.python(r, "client.py")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if r.ctx.Err() != nil {
		return errors.Join(r.ctx.Err(), err)
	}
	if err != nil {
		return fmt.Errorf("client.py: %w: %.2000s", err, out)
	}
	return nil
}
