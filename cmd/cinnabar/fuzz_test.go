package main

import (
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/cmd/cinnabar/internal/fetch"
	"github.com/cinnabar-quic/cinnabar/internal/hostname"
)

// FuzzArguments: a text from the command line or from the other end is refused, or what becomes of
// it is fit for use: a URL that can be asked, a field that can be sent, a name that stays in its folder.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{
		"example.org/a?b#c", "https://u:p@example.org:8443", "http://x", "https://[::1]:443/", "https://x:99999", "://", "X-A: b", "X-A;", "X-A:", "a\r\nb: c",
		"report.pdf", "../x", "a\x00b", "example.org:443:127.0.0.1", "*:443:[::1]", "x:443:", "https://x/%2e%2e", "https://x/a/..",
		"Bücher.example:443:127.0.0.1", "[:1:::", "*.:443:127.0.0.1", "127\u30020\u30020\u30021:443:::1", "xn--.\u212a:443:::1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := parseURL(s); err == nil {
			again, err := parseURL(u.String())
			if u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" || err != nil || again.String() != u.String() {
				t.Fatalf("%q is %v, and that %v, %v", s, u, again, err)
			}
			remoteName(t, u)
		}
		if field, err := fetch.ParseField(s); err == nil {
			if !httpguts.ValidHeaderFieldName(field.Name) || field.Name != http.CanonicalHeaderKey(field.Name) || strings.ContainsAny(field.Value, "\r\n\x00") {
				t.Fatalf("%q is field %+v", s, field)
			}
		}
		if checkName(s) == nil && (!filepath.IsLocal(s) || filepath.Base(s) != s || strings.ContainsFunc(s, unicode.IsControl) || len(s) > maxName) {
			t.Fatalf("%q is a name", s)
		}
		if places, err := parseResolve([]string{s}); err == nil {
			host, rest, _ := strings.Cut(s, ":")
			port, address, _ := strings.Cut(rest, ":")
			ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
			ascii, hostErr := hostname.ASCII(host)
			if err != nil || hostErr != nil || len(places) != 1 || places.find(host, port) != ip || places.find(strings.ToUpper(ascii), port) != ip ||
				host != "*" && places.find("x"+ascii, port).IsValid() {
				t.Fatalf("%q is %v", s, places)
			}
		}
	})
}

// remoteName checks the file that -O makes of a URL.
func remoteName(t *testing.T, u *url.URL) {
	c := &getCommand{RemoteName: true}
	to, err := c.target(nil, false, 0, u)
	if err == nil && (to.Path == "" || !filepath.IsLocal(to.Path) || filepath.Base(to.Path) != to.Path) {
		t.Fatalf("%v is kept in %q", u, to.Path)
	}
}
