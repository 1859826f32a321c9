package sim_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// stack is crypto/tls as an engine.
type stack struct {
	conn       *tls.QUICConn
	parameters func() []byte
	server     bool
	failed     *wire.Error
	told       bool // of failed
}

var wallClock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newStacks returns engines of crypto/tls with a certificate made from the seed.
func newStacks(t testing.TB) func(server bool, _ func([]byte)) sim.Engine {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, NotBefore: wallClock.Add(-time.Hour), NotAfter: wallClock.Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      roots, ServerName: "server", NextProtos: []string{"sim"}, MinVersion: tls.VersionTLS13,
		Time: func() time.Time { return wallClock },
	}
	return func(server bool, _ func([]byte)) sim.Engine {
		e := &stack{server: server}
		if server {
			e.conn = tls.QUICServer(&tls.QUICConfig{TLSConfig: config})
		} else {
			e.conn = tls.QUICClient(&tls.QUICConfig{TLSConfig: config})
		}
		t.Cleanup(func() { e.conn.Close() })
		return e
	}
}

func (e *stack) Start(parameters func() []byte) {
	if e.parameters = parameters; !e.server {
		e.conn.SetTransportParameters(parameters())
	}
	e.take(e.conn.Start(context.Background()))
}

func (e *stack) Handle(level transport.Level, data []byte) {
	e.take(e.conn.HandleData(quicLevel(level), data))
}

func (e *stack) take(err error) {
	if err == nil || e.failed != nil {
		return
	}
	code := wire.InternalError
	if alert := tls.AlertError(0); errors.As(err, &alert) {
		code = wire.CryptoError(uint8(alert))
	}
	e.failed = &wire.Error{Code: code, Frame: wire.FrameCrypto, Reason: err.Error()}
}

func (e *stack) Next() (transport.TLSEvent, bool) {
	for {
		ev := e.conn.NextEvent()
		out := transport.TLSEvent{Level: transportLevel(ev.Level), Suite: ev.Suite, Data: ev.Data}
		switch ev.Kind {
		case tls.QUICNoEvent:
			if err := e.failed; err != nil && !e.told {
				e.told = true
				return transport.TLSEvent{Kind: transport.TLSError, Err: err}, true
			}
			return out, false
		case tls.QUICSetReadSecret:
			out.Kind = transport.TLSReadSecret
		case tls.QUICSetWriteSecret:
			out.Kind = transport.TLSWriteSecret
		case tls.QUICWriteData:
			out.Kind = transport.TLSWriteData
		case tls.QUICTransportParameters:
			out.Kind = transport.TLSParameters
		case tls.QUICTransportParametersRequired:
			e.conn.SetTransportParameters(e.parameters())
			continue
		case tls.QUICHandshakeDone:
			out.Kind = transport.TLSDone
			if e.server {
				e.take(e.conn.SendSessionTicket(tls.QUICSessionTicketOptions{}))
			}
		default:
			continue
		}
		return out, true
	}
}

func quicLevel(l transport.Level) tls.QUICEncryptionLevel {
	return [...]tls.QUICEncryptionLevel{
		tls.QUICEncryptionLevelInitial, tls.QUICEncryptionLevelEarly,
		tls.QUICEncryptionLevelHandshake, tls.QUICEncryptionLevelApplication,
	}[l]
}

func transportLevel(l tls.QUICEncryptionLevel) transport.Level {
	switch l {
	case tls.QUICEncryptionLevelInitial:
		return transport.LevelInitial
	case tls.QUICEncryptionLevelEarly:
		return transport.LevelEarly
	case tls.QUICEncryptionLevelHandshake:
		return transport.LevelHandshake
	}
	return transport.LevelApp
}

// tlsScene is a connection with crypto/tls at both ends; every chance of the
// process follows from the seed. It must not run beside other tests.
func tlsScene(t *testing.T, seed uint64, up, down []sim.Node) *scene {
	cryptotest.SetGlobalRandom(t, seed)
	engine := newStacks(t)
	return newScene(t, up, down, func(_ bool, s *sim.Setup) { s.Engine = engine })
}

// TestTLS runs transfers with crypto/tls over bad networks.
func TestTLS(t *testing.T) {
	for seed := range uint64(5) {
		faults := func() []sim.Node {
			return sim.Interop(sim.Loss(5, 0), sim.Corrupt(2, 0), sim.Reorder(2, 20*time.Millisecond), sim.Duplicate(2))
		}
		s := tlsScene(t, seed, faults(), faults())
		for range 4 {
			s.talk(100_000)
		}
		s.connect()
		s.run(5*time.Minute, s.done)
		s.finish()
	}
}

var update = flag.Bool("update", false, "write testdata/handshake.golden anew")

// TestHandshakeTranscript: with all randomness given a handshake is the same to
// the byte, each time and in each version of ours that does not mean to change
// it; for one that does, the flag -update writes the file anew. Another version
// of Go may have another TLS: then only repetition is checked.
func TestHandshakeTranscript(t *testing.T) {
	got := transcript(t)
	if again := transcript(t); got != again {
		t.Fatalf("two runs differ:\n%s\n%s", got, again)
	}
	file := filepath.Join("testdata", "handshake.golden")
	head := "# " + runtime.Version() + " " + runtime.GOARCH
	text := head + "\n" + got
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if then, _, _ := strings.Cut(string(want), "\n"); then != head {
		t.Logf("%s was written with %s", file, strings.TrimPrefix(then, "# "))
		return
	}
	if string(want) != text {
		t.Errorf("the handshake has changed; if it was meant to: go test ./internal/sim -run Transcript -update\ngot\n%s\nwant\n%s", text, want)
	}
}

// transcript lists the datagrams of a handshake.
func transcript(t *testing.T) string {
	s := tlsScene(t, 1, sim.Interop(), sim.Interop())
	var b strings.Builder
	s.w.See = func(now mono.Time, d dgram.Datagram) {
		way := "client"
		if d.Path.Local == serverAddr {
			way = "server"
		}
		fmt.Fprintf(&b, "%11.6f %s %4d bytes, ecn %d, %x, %s\n", time.Duration(now).Seconds(), way, len(d.Data), d.ECN, sha256.Sum256(d.Data), packets(d.Data))
	}
	s.connect()
	s.run(time.Minute, s.confirmed)
	s.w.See = nil
	s.finish()
	return b.String()
}

// packets names the packets of a datagram.
func packets(b []byte) string {
	var names []string
	for len(b) > 0 && b[0]&0x80 != 0 {
		h, ok := wire.ParseLong(b)
		if !ok {
			break
		}
		names = append(names, h.Type.String())
		b = b[h.End:]
	}
	if len(b) > 0 {
		names = append(names, wire.OneRTT.String())
	}
	return strings.Join(names, "+")
}
