package quic

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// card is a key that is code: it can be slow, or have a bug.
type card struct {
	crypto.Signer
	before func()
}

func (k card) Sign(rand io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	k.before()
	return k.Signer.Sign(rand, digest, o)
}

// hashingCard hashes by itself.
type hashingCard struct{ card }

func (k hashingCard) SignMessage(rand io.Reader, msg []byte, o crypto.SignerOpts) ([]byte, error) {
	return crypto.SignMessage(k.card, rand, msg, o)
}

func cardConfig(hashes bool, before func()) *tls.Config {
	c := serverConfig()
	key := card{c.Certificates[0].PrivateKey.(*ecdsa.PrivateKey), before}
	c.Certificates[0].PrivateKey = key
	if hashes {
		c.Certificates[0].PrivateKey = hashingCard{key}
	}
	return c
}

type panicking struct{}

func (panicking) Use([]byte, time.Time) bool                 { panic("register") }
func (panicking) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (panicking) Put(string, *tls.ClientSessionState)        { panic("cache") }
func (panicking) Write([]byte) (int, error)                  { panic("key log") }

// A panic of whatever the program has put into the handshake fails that handshake, or
// what it was for, and not the process.
func TestPanicsInHandshake(t *testing.T) {
	bug := func() { panic("a bug") }
	serverCard := func(hashes bool) func(*ListenOptions, *ConnectOptions) {
		return func(l *ListenOptions, _ *ConnectOptions) { l.TLS = cardConfig(hashes, bug) }
	}
	for name, test := range map[string]struct {
		set func(*ListenOptions, *ConnectOptions)
		ok  bool // the handshake succeeds all the same
	}{
		"signer":         {serverCard(false), false},
		"message signer": {serverCard(true), false},
		"signer of GetCertificate": {func(l *ListenOptions, _ *ConnectOptions) {
			cert := cardConfig(false, bug).Certificates[0]
			l.TLS = serverConfig()
			l.TLS.Certificates = nil
			l.TLS.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
		}, false},
		"signer of GetConfigForClient": {func(l *ListenOptions, _ *ConnectOptions) {
			l.TLS = serverConfig()
			l.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return cardConfig(false, bug), nil }
		}, false},
		"one of several": {func(l *ListenOptions, _ *ConnectOptions) {
			l.TLS = cardConfig(false, bug)
			l.TLS.Certificates = append(serverConfig().Certificates, l.TLS.Certificates...)
		}, true},
		"client's signer": {func(l *ListenOptions, o *ConnectOptions) {
			l.TLS = serverConfig()
			l.TLS.ClientAuth = tls.RequireAnyClientCert
			o.TLS.Certificates = cardConfig(false, bug).Certificates
		}, false},
		"WrapSession": {func(l *ListenOptions, _ *ConnectOptions) {
			l.TLS = serverConfig()
			l.TLS.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { panic("wrap") }
		}, true},
		"GetEncryptedClientHelloKeys": {func(l *ListenOptions, _ *ConnectOptions) {
			l.TLS = serverConfig()
			l.TLS.GetEncryptedClientHelloKeys = func(*tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) { panic("ech") }
		}, false},
		"KeyLogWriter": {func(l *ListenOptions, _ *ConnectOptions) {
			l.TLS = serverConfig()
			l.TLS.KeyLogWriter = panicking{}
		}, false},
		"ClientSessionCache": {func(_ *ListenOptions, o *ConnectOptions) { o.TLS.ClientSessionCache = panicking{} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l ListenOptions
				o := ConnectOptions{TLS: clientConfig()}
				test.set(&l, &o)
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, l)
				defer m.close()
				c := m.connect(o)
				err := c.Handshake(t.Context())
				time.Sleep(time.Second) // tickets, and the server's word about the client's certificate
				if ok := err == nil && c.Err() == nil; ok != test.ok {
					t.Errorf("%v, %v", err, c.Err())
				}
			})
		})
	}
}

// A register that panics takes no early data, and the session resumes without.
func TestReplayRegisterPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{ReplayRegister: panicking{}})
		defer m.close()
		config := clientConfig()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for i := range 2 {
			c := m.connect(ConnectOptions{TLS: config})
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if c.UsingEarlyData() || c.tlsState.DidResume != (i == 1) {
				t.Errorf("session %d: resumed %v", i, c.tlsState.DidResume)
			}
			c.Destroy(nil)
		}
	})
}

// An UnwrapSession that panics fails the handshake that has shown the ticket.
func TestUnwrapSessionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serverConfig()
		server.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { panic("unwrap") }
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{TLS: server})
		defer m.close()
		config := clientConfig()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for i := range 2 {
			c := m.connect(ConnectOptions{TLS: config})
			if err := c.Handshake(t.Context()); (err == nil) != (i == 0) {
				t.Errorf("session %d: %v", i, err)
			}
			time.Sleep(time.Second)
			c.Destroy(nil)
		}
	})
}

// While a key signs, the handshake's clock stands still.
func TestSlowSigner(t *testing.T) {
	for _, hashes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			config := cardConfig(hashes, func() { time.Sleep(time.Second) })
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: config, HandshakeTimeout: 500 * time.Millisecond})
			defer m.close()
			m.pair(ConnectOptions{})
		})
	}
}

// failingCard is a card that refuses when fails says so.
type failingCard struct {
	card
	fails func() bool
}

func (k failingCard) Sign(rand io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if k.fails() {
		return nil, errors.New("the card is broken")
	}
	return k.card.Sign(rand, digest, o)
}
