//go:build cinnabar_ciphers

package quic

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

const taggedCiphers = true

// A client's list is its offer, in order. A server chooses by its own order if it is
// told to, and else by the client's. One handshake runs at a time: the lists are the process's.
func TestTaggedCipherOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newIssuer(t, "root", nil, nil)
		leaf := root.leaf(t, "server")
		for _, test := range []struct {
			client, server string
			honor          bool
			want           string
		}{
			{aes256, "", false, aes256},
			{chacha, "", false, chacha},
			{aes128, "", false, aes128},
			{"", chacha, false, chacha},
			{"", aes256, true, aes256},
			{aes256 + ":" + aes128, aes128 + ":" + aes256, true, aes128},
			{aes128 + ":" + aes256, aes256 + ":" + aes128, true, aes256},
			{aes128 + ":" + aes256 + ":" + chacha, chacha + ":" + aes256 + ":" + aes128, true, chacha},
			{aes128 + ":" + aes256, chacha + ":" + aes256, true, aes256},
			{aes256 + ":" + aes128, aes128 + ":" + aes256, false, aes256},
			{chacha + ":" + aes128 + ":" + aes256, aes128 + ":" + aes256 + ":" + chacha, false, chacha},
			{aes128, aes256 + ":" + chacha, true, ""},
		} {
			o := leaf.options(t)
			o.Ciphers, o.HonorCipherOrder = test.server, test.honor
			server := newContext(t, o)
			var offered []uint16
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{ALPN: "test", SecureContext: server})
			o = trusting(root)
			// At a client HonorCipherOrder changes nothing.
			o.Ciphers, o.HonorCipherOrder = test.client, true
			client := newContext(t, o)
			c := m.connect(ConnectOptions{ALPN: "test", SecureContext: client})
			err := c.Handshake(t.Context())
			got := tls.CipherSuiteName(c.ConnectionState().CipherSuite)
			var te *TransportError
			switch {
			case test.want == "" && (!errors.As(err, &te) || te.ErrorCode != 0x128):
				t.Errorf("client %q, server %q: %v, want handshake_failure", test.client, test.server, err)
			case test.want != "" && (err != nil || got != test.want):
				t.Errorf("client %q, server %q, honor %v: %s (%v), want %s", test.client, test.server, test.honor, got, err, test.want)
			}
			m.close()
			if test.client == "" {
				continue
			}
			// What a client offers, in the eyes of another server.
			plain := serverConfig()
			plain.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				offered = h.CipherSuites
				return nil, nil
			}
			m = newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: plain})
			_ = m.connect(ConnectOptions{ALPN: "test", SecureContext: client}).Handshake(t.Context())
			var list []string
			for _, id := range offered {
				list = append(list, tls.CipherSuiteName(id))
			}
			if s := strings.Join(list, ":"); s != test.client {
				t.Errorf("the client offers %q, want %q", s, test.client)
			}
			m.close()
		}
		// All of them again, for what comes after.
		newContext(t, securecontext.Options{Ciphers: aes128 + ":" + aes256 + ":" + chacha}).OfferCiphers(nil)
	})
}
