package http3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Options that say nothing never switch the verification of certificates off.
func TestZeroOptionsVerify(t *testing.T) {
	url, _ := newServer(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	want := func(name string, err error) {
		t.Helper()
		if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tr := range map[string]*Transport{"Transport": {}, "Transport.TLSClientConfig": {TLSClientConfig: new(tls.Config)}} {
		r, err := http.NewRequest("GET", url, nil)
		must(t, err)
		resp, err := tr.RoundTrip(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		want(name, err)
		must(t, tr.Close())
	}
	for name, o := range map[string]quic.ConnectOptions{"ConnectOptions": {ALPN: ALPN}, "ConnectOptions.TLS": {ALPN: ALPN, TLS: new(tls.Config)}} {
		_, err := quic.Dial(testContext(t), strings.TrimPrefix(url, "https://"), o)
		want(name, err)
	}
}

// S-26: a request that somebody sends on from another address comes from where the client is known to be, until that
// address has answered.
func TestS26RemoteAddrIsValidated(t *testing.T) {
	beset(t, floodBound)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, handler(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }))
		c := m.dial(Options{}, quic.ConnectOptions{}).known()
		ask := func(when string, want netip.AddrPort) {
			t.Helper()
			if _, body := c.ask(requestBlock("GET", "/")); body != want.String() {
				t.Errorf("%s, a request comes from %q, want %v", when, body, want)
			}
		}
		ask("at first", memClient)
		time.Sleep(time.Second)
		fake, next := netip.MustParseAddrPort("10.6.6.6:666"), netip.MustParseAddrPort("10.9.9.9:8888")
		var spoofed, tried atomic.Int64
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Remote == memClient && spoofed.Add(1) == 1 {
				d.Path.Remote = fake
			}
			if d.Path.Local == fake {
				tried.Add(1)
				return true
			}
			return false
		})
		ask("forwarded by somebody", memClient)
		time.Sleep(10 * time.Second)
		if ask("when that is over", memClient); tried.Load() == 0 {
			t.Error("nothing went to the other address: the test shows nothing")
		}
		m.net.SetFilter(func(d *dgram.Datagram) bool { // a NAT that has changed its mind
			switch {
			case d.Path.Remote == memClient:
				d.Path.Remote = next
			case d.Path.Local == next:
				d.Path.Local = memClient
			}
			return false
		})
		c.ask(requestBlock("GET", "/")) // from either: its handler may run before or after the new address has answered
		time.Sleep(10 * time.Second)
		ask("when it has moved", next)
	})
}

// namesOfTenants asks a server of several tenants, with a certificate for any of their names, by names in
// any case, by none, and for one tenant under the name of another.
func namesOfTenants(t *testing.T, configs bool) {
	own, pool := identity()
	tenants, _ := certify("*.tenant.example")
	pool = pool.Clone()
	pool.AddCert(tenants.Leaf)
	s := handler(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		if asked := r.TLS.ServerName; !strings.EqualFold(host, asked) && (asked != "" || net.ParseIP(host) == nil) {
			w.WriteHeader(http.StatusMisdirectedRequest)
		}
		_, _ = io.WriteString(w, r.TLS.ServerName)
	})
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{own, tenants}}
	seen := make(chan string, 10)
	if configs {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{own}, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if seen <- h.ServerName; strings.HasSuffix(strings.ToLower(h.ServerName), ".tenant.example") {
				return &tls.Config{Certificates: []tls.Certificate{tenants}}, nil
			}
			return nil, nil
		}}
	}
	url, _ := newServer(t, s)
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "https://"), ":")
	for _, test := range []struct {
		sni, host string
		status    int // 0: the certificate is not for the name
		wild      bool
	}{
		{"a.tenant.example", "a.tenant.example", 200, true},
		{"A.Tenant.EXAMPLE", "a.tenant.example", 200, true},
		{"a.tenant.example", "A.TENANT.example", 200, true},
		{"a.tenant.example", "b.tenant.example", 421, true},
		{"LOCALHOST", "localhost", 200, false},
		{"localhost", "a.tenant.example", 421, false},
		{"", "127.0.0.1", 200, false},
		{"", "a.tenant.example", 421, false},
		{"a.b.tenant.example", "a.b.tenant.example", 0, false},
	} {
		tr := &Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: test.sni}}
		r := newRequest(t, "GET", url, nil)
		r.Host = test.host + ":" + port
		resp, err := tr.RoundTrip(r)
		if wrong := (x509.HostnameError{}); test.status == 0 {
			if !errors.As(err, &wrong) {
				t.Errorf("%+v: %v", test, err)
			}
		} else {
			must(t, err)
			name, err := io.ReadAll(resp.Body)
			if resp.StatusCode != test.status || string(name) != test.sni || err != nil {
				t.Errorf("%+v: %d, TLS was asked for %q, %v", test, resp.StatusCode, name, err)
			}
			if names := resp.TLS.PeerCertificates[0].DNSNames; (names[0] == "*.tenant.example") != test.wild {
				t.Errorf("%+v: a certificate for %q", test, names)
			}
		}
		must(t, tr.Close())
		if configs {
			if name := <-seen; name != test.sni {
				t.Errorf("%+v: GetConfigForClient sees %q", test, name)
			}
		}
	}
}
