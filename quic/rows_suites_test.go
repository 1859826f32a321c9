package quic

import (
	"bytes"
	"crypto/tls"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

const (
	aes128 = "TLS_AES_128_GCM_SHA256"
	aes256 = "TLS_AES_256_GCM_SHA384"
	chacha = "TLS_CHACHA20_POLY1305_SHA256"
)

// The suite that was negotiated is one of those listed at both ends, or there is no
// session. In any build.
func TestSuites(t *testing.T) {
	listedSuites(t)
	covers(t, "CON-005")
	covers(t, "LIS-004")
}

func listedSuites(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		leaf := root.leaf(t, "server")
		own := func() uint16 { // what crypto/tls chooses without lists
			m := serveSecure(t, leaf.options(t), ListenOptions{})
			defer m.close()
			c, err := m.dialSecure(trusting(root), ConnectOptions{})
			wantVerified(t, &c.Session, err)
			return c.ConnectionState().CipherSuite
		}()
		names := securecontext.Ciphers()
		names = slices.DeleteFunc(names, func(name string) bool { return name == tls.CipherSuiteName(own) })
		listed := tls.CipherSuiteName(own)
		for _, name := range []string{listed, names[0] + ":" + names[1], aes128 + ":" + aes256 + ":" + chacha} {
			o := trusting(root)
			o.Ciphers = name
			client, err := securecontext.New(o)
			if err != nil {
				t.Fatal(err)
			}
			o = leaf.options(t)
			o.Ciphers = name
			server, err := securecontext.New(o)
			if err != nil {
				t.Fatal(err)
			}
			listed := strings.Split(name, ":")
			fine := slices.Contains(listed, tls.CipherSuiteName(own))
			for _, suite := range securecontext.Ciphers() {
				id := map[string]uint16{aes128: tls.TLS_AES_128_GCM_SHA256, aes256: tls.TLS_AES_256_GCM_SHA384, chacha: tls.TLS_CHACHA20_POLY1305_SHA256}[suite]
				if is := slices.Contains(listed, suite); client.AllowsCipher(id) != is || server.AllowsCipher(id) != is {
					t.Errorf("%s listed, %s allowed: %v and %v", name, suite, client.AllowsCipher(id), server.AllowsCipher(id))
				}
			}
			var wrong *securecontext.CipherError

			m := serveSecure(t, leaf.options(t), ListenOptions{})
			c := m.connect(ConnectOptions{ALPN: "test", SecureContext: client})
			err = c.Handshake(t.Context())
			got := tls.CipherSuiteName(c.ConnectionState().CipherSuite)
			switch {
			case err == nil && !slices.Contains(listed, got):
				t.Errorf("client: %s was negotiated, listed is %s", got, name)
			case err != nil && (fine || !errors.As(err, &wrong) || wrong.Suite != own || !errors.Is(err, &TransportError{ErrorCode: 0x128})):
				t.Errorf("client: with %s listed: %v", name, err)
			}
			m.close()

			var last lastServer
			m = newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "test", SecureContext: server, Handler: last.handler})
			c, err = m.dialSecure(trusting(root), ConnectOptions{})
			synctest.Wait()
			got = tls.CipherSuiteName(c.ConnectionState().CipherSuite)
			switch serr := last.get().Err(); {
			case err == nil && !slices.Contains(listed, got):
				t.Errorf("server: %s was negotiated, listed is %s", got, name)
			case err != nil && (fine || !errors.As(serr, &wrong) || wrong.Suite != own || !errors.Is(err, &TransportError{ErrorCode: 0x128, Remote: true})):
				t.Errorf("server: with %s listed: %v, at the client %v", name, serr, err)
			}
			m.close()
		}
	})
}

// The order of suites is crypto/tls's alone in an ordinary build: the options that
// need another say what to build with, and in that build they act.
func TestCipherOrder(t *testing.T) {
	listedSuites(t)
	for _, list := range []string{"nonsense", aes128 + ":nonsense", "nonsense:" + aes128, strings.ToLower(aes128), aes128 + ":"} {
		_, err := securecontext.New(securecontext.Options{Ciphers: list})
		if wantCode(t, err, securecontext.CodeInvalidArgValue); err != nil && !strings.Contains(err.Error(), "Options.Ciphers") {
			t.Errorf("%q: %v", list, err)
		}
	}
	covers(t, "CON-005")
	root := newIssuer(t, "root", nil, nil)
	o := root.leaf(t, "server").options(t)
	o.HonorCipherOrder = true
	sc := newContext(t, o)
	if !taggedCiphers {
		s, err := NewSocket(SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Destroy(nil)
		err = s.Listen(t.Context(), ListenOptions{ALPN: "test", SecureContext: sc})
		wantBad(t, err, "ListenOptions.SecureContext", securecontext.CodeInvalidArgValue)
		if !strings.Contains(err.Error(), "HonorCipherOrder") || !strings.Contains(err.Error(), "-tags cinnabar_ciphers") || s.Bound() {
			t.Errorf("%v, bound %v", err, s.Bound())
		}
		_, err = securecontext.New(securecontext.Options{Ciphers: chacha + ":" + aes128})
		if wantCode(t, err, securecontext.CodeInvalidArgValue); err != nil && !strings.Contains(err.Error(), "-tags cinnabar_ciphers") {
			t.Errorf("an order that cannot be had: %v", err)
		}
	}
	out, err := exec.Command("go", "test", "-vet=off", "-count", "1", "-timeout", "120s", "-tags", "cinnabar_ciphers", "-run", "^TestTaggedCipherOrder$", "-v", ".").CombinedOutput()
	covers(t, "CON-005")
	covers(t, "CON-012")
	covers(t, "LIS-004")
	covers(t, "LIS-013")
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestTaggedCipherOrder")) {
		t.Errorf("with the tag: %v\n%s", err, out)
	}
}
