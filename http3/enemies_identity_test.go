package http3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
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
		ask("as the client moves", memClient)
		time.Sleep(10 * time.Second)
		ask("when it has moved", next)
	})
}
