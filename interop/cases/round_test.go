package cases

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// errUnsupported is what an implementation says to a case that it cannot play.
var errUnsupported = errors.New("unsupported")

// implementation is one that can be either end of a case, or says errUnsupported.
type implementation interface {
	name() string
	// serve starts a server of the case, for as long as the test runs, and returns its
	// addresses: a second one if it has a preferred address.
	serve(r *round) ([]netip.AddrPort, error)
	// fetch plays the client, whose server is at r.at: it saves r.files in r.path("downloads").
	fetch(r *round) error
}

// round is one case between two implementations.
type round struct {
	*testcase
	t     *testing.T
	ctx   context.Context
	dir   string
	files []string // names
	at    netip.AddrPort
	away  netip.AddrPort // the preferred address, as clients see it
	http3 bool           // one end speaks nothing else
	id    *kit.Chain
}

// limit is how long a case may take: as long as the runner gives the longest, and usually less.
var limit = scaled(5*time.Minute, 2*time.Minute)

// play plays a case, and returns what was wrong.
func play(t *testing.T, c *testcase, client, server implementation) error {
	r := &round{testcase: c, t: t, dir: t.TempDir(), http3: c.name == "http3"}
	for _, i := range []implementation{client, server} {
		_, only3 := i.(ngtcp2)
		r.http3 = r.http3 || only3
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r.ctx = ctx
	if err := r.prepare(); err != nil {
		return err
	}
	seed, fronts := rand.Uint64(), 1
	if c.moves {
		fronts = 2
	}
	p, err := newProxy(seed, c, fronts)
	if err != nil {
		return err
	}
	defer p.Close()
	r.at = p.fronts[0].conn.LocalAddr()
	r.away = p.fronts[fronts-1].conn.LocalAddr()
	servers, err := server.serve(r)
	if err != nil {
		return err
	}
	p.serve(servers)
	err = client.fetch(r)
	if err == nil {
		err = r.compare()
	}
	if errors.Is(err, errUnsupported) {
		return err
	}
	keys, _ := os.ReadFile(r.path("keys"))
	run := p.run(keys)
	t.Logf("%v, amplification %.3f, %v", time.Since(p.start).Round(time.Millisecond), run.Amplification(), p)
	err = errors.Join(err, c.checks(run), bounded(server, run))
	return errors.Join(err, r.keep(client.name()+" to "+server.name(), run, err))
}

// changes reports whether the server goes on in another version than the client has begun in,
// which some know no way to do but Version Negotiation.
func (r *round) changes() bool {
	return slices.Contains(r.speaks, r.first) && r.speaks[0] != r.first
}

func (r *round) path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

// prepare makes folders, files and certificates.
func (r *round) prepare() error {
	for _, name := range []string{"www", "downloads", "certs", "qlog"} {
		if err := os.Mkdir(r.path(name), 0o755); err != nil {
			return err
		}
	}
	for i, size := range r.sizes {
		name := fmt.Sprintf("file%d", i)
		if r.long {
			name += strings.Repeat("x", 250-len(name))
		}
		r.files = append(r.files, name)
		if err := (kit.Content{Seed: uint64(i), Size: int64(size)}).Save(r.path("www", name)); err != nil {
			return err
		}
	}
	var names []string
	if r.chain > 0 {
		for i := range 20 {
			names = append(names, fmt.Sprintf("%s%02d.example", strings.Repeat(strings.Repeat("a", 59)+".", 4), i))
		}
	}
	var err error
	r.id, err = kit.NewChain(r.path("certs"), r.chain, names)
	return err
}

// urls returns what the client asks for.
func (r *round) urls() []string {
	var list []string
	for _, f := range r.files {
		list = append(list, fmt.Sprintf("https://%v/%s", r.at, f))
	}
	return list
}

// compare looks whether all files have arrived.
func (r *round) compare() error {
	for i, name := range r.files {
		f, err := os.Open(r.path("downloads", name))
		if err != nil {
			return err
		}
		got, err := kit.DigestOf(f)
		f.Close()
		if want := (kit.Content{Seed: uint64(i), Size: int64(r.sizes[i])}).Digest(); err != nil || got != want {
			return fmt.Errorf("%s: %+v arrived, want %+v (%v)", name, got, want, err)
		}
	}
	return nil
}

// serverTLS and clientTLS are for the implementations in Go.
func (r *round) serverTLS(alpn string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{r.id.Certificate}, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}
}

func (r *round) clientTLS(alpn string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(r.id.Root)
	return &tls.Config{RootCAs: roots, ServerName: kit.HostName, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}
}
