package http3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"

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
