package h3

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
)

// caddy is a web server whose HTTP/3 is an older quic-go. It serves the files itself
// and passes the rest on to the site in this process, over HTTP/1.1.
type caddy struct{}

func (caddy) name() string   { return "Caddy" }
func (caddy) traits() traits { return traits{staticTable: true} }

const caddyfile = `{
	admin off
	auto_https off
	skip_install_trust
	storage file_system STATE
	servers {
		protocols h1 h2 h3
	}
}
https://:PORT {
	bind 127.0.0.1
	tls CERT KEY
	@site path /echo /sum /headers /hints /together/*
	reverse_proxy @site BACKEND {
		flush_interval -1
	}
	root * ROOT
	file_server
}
`

func (caddy) serve(d *duel) (*origin, error) {
	path := kit.Find(d.t, "caddy", "Debian's caddy")
	at, err := kit.FreePort()
	if err != nil {
		return nil, err
	}
	site := newSite(d.root)
	backend := httptest.NewServer(site)
	d.t.Cleanup(backend.Close)
	dir := d.t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	text := strings.NewReplacer("PORT", fmt.Sprint(at.Port()), "STATE", dir, "CERT", d.id.CertFile, "KEY", d.id.KeyFile,
		"BACKEND", backend.Listener.Addr().String(), "ROOT", d.root.dir).Replace(caddyfile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	p, err := kit.Start(d.t, cmd)
	if err != nil {
		return nil, err
	}
	return &origin{addr: at, dynamic: true, advertises: true, empty: "/empty.txt"}, p.Ready(d.ctx, at)
}

func (caddy) client(*duel) (client, error) { return nil, errNoWay }
