package cases

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"

	"github.com/cinnabar-quic/cinnabar/internal/trace"
	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// ngtcp2 is the pair of example programs of ngtcp2 and nghttp3, with GnuTLS. They speak HTTP/3
// only, and their version 2 of QUIC is a draft's.
type ngtcp2 struct{}

func (ngtcp2) name() string { return "ngtcp2" }

func (ngtcp2) serve(r *round) ([]netip.AddrPort, error) {
	if r.client == "keyupdate" || r.speaks != nil && !slices.Contains(r.speaks, trace.Version1) || r.speaks != nil && len(r.speaks) > 1 {
		return nil, errUnsupported
	}
	var list []netip.AddrPort
	for range 2 {
		at, err := kit.FreePort()
		if err != nil {
			return nil, err
		}
		list = append(list, netip.AddrPortFrom(r.ip(), at.Port()))
	}
	args := []string{"--quiet", "--no-quic-dump", "--no-http-dump", "--htdocs=" + r.path("www"), "--max-streams-bidi=100"}
	if r.serverName() == "retry" {
		args = append(args, "--validate-addr")
	}
	if r.moves {
		return nil, errUnsupported // it listens on the preferred address itself, so that no proxy fits between
	}
	args = append(args, list[0].Addr().String(), strconv.Itoa(int(list[0].Port())), r.id.KeyFile, r.id.CertFile)
	p, err := kit.Start(r.t, exec.Command(kit.Find(r.t, "gtlsserver", "Debian's ngtcp2-server"), args...))
	if err != nil {
		return nil, err
	}
	return list[:1], p.Ready(r.ctx, list[0])
}

func (n ngtcp2) fetch(r *round) error {
	if r.offers != nil && !r.unknown {
		return errUnsupported
	}
	groups := [][]string{r.urls()}
	var args []string
	if r.unknown {
		args = append(args, fmt.Sprintf("--version=%#x", reserved), "--preferred-versions=v1")
	}
	switch r.client {
	case "multiconnect":
		groups = nil
		for _, u := range r.urls() {
			groups = append(groups, []string{u})
		}
	case "resumption":
		args = append(args, "--disable-early-data")
		fallthrough
	case "zerortt":
		groups = [][]string{r.urls()[:1], r.urls()[1:]}
		args = append(args, "--session-file="+r.path("session"), "--tp-file="+r.path("parameters"))
	case "chacha20":
		args = append(args, "--ciphers=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305")
	case "keyupdate":
		args = append(args, "--key-update=100ms")
	}
	for i, urls := range groups {
		if err := n.session(r, args, urls); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
	}
	return nil
}

func (ngtcp2) session(r *round, more, urls []string) error {
	args := append([]string{"--quiet", "--no-quic-dump", "--no-http-dump", "--exit-on-all-streams-close", "--timeout=30s", "--handshake-timeout=30s",
		"--download=" + r.path("downloads"), "--sni=" + kit.HostName}, more...)
	args = append(append(args, r.at.Addr().String(), strconv.Itoa(int(r.at.Port()))), urls...)
	out, err := exec.CommandContext(r.ctx, kit.Find(r.t, "gtlsclient", "Debian's ngtcp2-client"), args...).CombinedOutput()
	if r.ctx.Err() != nil {
		return errors.Join(r.ctx.Err(), err)
	}
	if err != nil {
		return fmt.Errorf("gtlsclient: %w: %.2000s", err, out)
	}
	return nil
}
