package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/site"
)

type serveCommand struct {
	Dir string `arg:"" optional:"" default:"." help:"Folder to serve (the current one)."`

	Listen string        `short:"l" default:":8443" placeholder:"ADDRESS" help:"Address and port to listen on, by UDP and TCP (${default})."`
	Cert   string        `and:"identity" placeholder:"FILE" help:"PEM file with a certificate and its chain. Without one, a self-signed certificate is made."`
	Key    string        `and:"identity" placeholder:"FILE" help:"PEM file with the certificate's private key."`
	Grace  time.Duration `default:"10s" placeholder:"TIME" help:"How long requests may take to finish after Ctrl-C (${default})."`

	listenVersions `embed:""`

	Stall time.Duration `default:"1m" placeholder:"TIME" help:"Cut off a client that takes less than 64 KiB of an answer in this time, 0 for never (${default})."`

	Hidden    bool     `help:"Serve names that begin with a dot, too."`
	Upload    bool     `help:"Take files: by a form on the pages of folders, and by PUT."`
	Overwrite bool     `help:"Let an upload replace a file of the same name."`
	MaxUpload byteSize `default:"1G" placeholder:"SIZE" help:"Refuse larger uploads (1 GiB)."`

	Log   string `enum:"combined,json" default:"combined" placeholder:"FORMAT" help:"Format of the log of requests on standard output: ${enum}."`
	Quiet bool   `short:"q" help:"Log nothing."`
}

// Help is shown below the flags.
func (*serveCommand) Help() string {
	return `Nothing outside of the folder is served, whatever a name or a symbolic link says. A folder with an index.html is
that page, any other is a list. If there is a file.br, file.zst or file.gz beside a file, those who can read it get it in
its place. Whoever can reach the address can read the folder, and with --upload write into it. Ctrl-C lets requests
finish, a second one does not.

Examples:

    cinnabar serve
    cinnabar serve public --listen 127.0.0.1:8443 --upload
    cinnabar serve /srv/www --listen :443 --cert cert.pem --key key.pem`
}

// Run serves until Ctrl-C.
func (c *serveCommand) Run(a *app) error {
	if c.Stall < 0 {
		return usagef("--stall %v is less than nothing; write 30s, or 0 for never", c.Stall)
	}
	if c.Grace < 0 {
		return usagef("--grace %v is less than nothing; write 30s, or 0 to cut requests off at once", c.Grace)
	}
	if c.Overwrite && !c.Upload {
		return usagef("--overwrite is about uploads; add --upload")
	}
	if c.Upload && c.MaxUpload == 0 { // which a site takes for its own choice
		return usagef("--max-upload 0 takes nothing; write 1G, or leave out --upload")
	}
	root, err := os.OpenRoot(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot serve %s: there is no such folder", c.Dir)
	}
	if err != nil {
		return fmt.Errorf("cannot serve %s: %w", c.Dir, reason(err))
	}
	defer root.Close()
	names := namesOfHost(c.Listen)
	cert, err := identity(c.Cert, c.Key, names...)
	if err != nil {
		return err
	}
	running, served := new(atomic.Int64), new(atomic.Int64)
	ports, err := bind(a.ctx, c.Listen)
	if err != nil {
		return err
	}
	folder := site.New(root, site.Options{
		Hidden: c.Hidden, Upload: c.Upload, Overwrite: c.Overwrite, MaxUpload: int64(c.MaxUpload),
	})
	w, err := newWeb(ports, cert, c.handler(a, folder, running, served), c.QUICVersion.list, a.notef)
	if err != nil {
		return err
	}
	c.announce(a, ports.address(), cert, names)
	quiet := context.AfterFunc(a.ctx, func() {
		if n := int(running.Load()); n > 0 {
			a.notef("finishing %s, for %v at most; Ctrl-C again stops at once", plural(n, "request"), c.Grace)
		}
	})
	defer quiet()
	err = w.run(a.ctx, c.Grace)
	refused := ""
	stats := folder.Stats()
	if n := stats.UploadsRefused; n > 0 {
		refused = ", " + plural(int(n), "upload") + " refused"
	}
	if n := stats.PagesRefused; n > 0 {
		refused += ", " + plural(int(n), "page") + " refused"
	}
	a.notef("stopped; %s served%s", plural(int(served.Load()), "request"), refused)
	return err
}

// handler is the site, with its log, which counts requests.
func (c *serveCommand) handler(a *app, folder *site.Site, running, served *atomic.Int64) http.Handler {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Add(-1)
		folder.ServeHTTP(w, r)
	})
	patient := site.Patient(h, c.Stall)
	return site.Log(patient, func(r *site.Record) {
		served.Add(1)
		switch {
		case c.Quiet:
		case c.Log == "json":
			a.printf("%s", r.JSON())
		default:
			a.printf("%s", r.Line())
		}
	})
}

// announce says where the site is and how to look at it.
func (c *serveCommand) announce(a *app, address *net.UDPAddr, cert tls.Certificate, names []string) {
	dir := c.Dir
	if full, err := filepath.Abs(dir); err == nil {
		dir = full
	}
	place := net.JoinHostPort(names[0], strconv.Itoa(address.Port))
	at := "https://" + place + "/"
	a.notef("serving %s at %s (HTTP/3; HTTP/2 and HTTP/1.1 over TCP); press Ctrl-C to stop", dir, at)
	if c.Cert != "" {
		return
	}
	key := fingerprintOf(cert.Leaf)
	a.notef("self-signed certificate for %s; its key's SHA-256 is %s; look with", strings.Join(names, ", "), key.base64())
	a.notef("  cinnabar get --pin %v %s", key, at)
	a.notef("  %s --user-data-dir=%s --ignore-certificate-errors-spki-list=%s --origin-to-force-quic-on=%s %s",
		chromium(), filepath.Join(os.TempDir(), "cinnabar-chromium"), key.base64(), place, at)
}

// chromium is how the browser is called here.
func chromium() string {
	switch runtime.GOOS {
	case "windows":
		return "start chrome"
	case "darwin":
		return "open -na Chromium --args"
	}
	return "chromium"
}

// namesOfHost are the names and addresses that this host can be reached by, the one
// to listen on first.
func namesOfHost(listen string) []string {
	var names []string
	add := func(name string) {
		for _, n := range names {
			if n == name {
				return
			}
		}
		names = append(names, name)
	}
	host, _, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		add(host)
	}
	add("localhost")
	if name, err := os.Hostname(); err == nil && validHost(name) {
		add(name)
	}
	add("127.0.0.1")
	add("::1")
	addresses, _ := net.InterfaceAddrs() // without them the others have to do
	for _, address := range addresses {
		if n, ok := address.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			add(n.IP.String())
		}
	}
	return names
}

// validHost reports whether a host's own name can stand in a certificate.
func validHost(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.')
	})
}

// bind takes a port for UDP and the same one for TCP.
func bind(ctx context.Context, address string) (*ports, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !validPort(port, 0) {
		return nil, usagef("--listen %q is no address with a port from 0 to 65535; write :8443 or 192.0.2.7:8443", address)
	}
	const attempts = 20 // to find a port that is free for both, if any will do
	for i := 0; ; i++ {
		p, err := bindBoth(ctx, host, port)
		switch {
		case err == nil:
			return p, nil
		case portInUse(err) && port == "0" && i < attempts:
		default:
			return nil, cannotListen(address, "--listen", err)
		}
	}
}
