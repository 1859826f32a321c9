package quic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"testing/synctest"

	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// RFC 9001 §4.1.3: nothing may follow the message that ends a level, be it in the same frame or in one that
// comes while TLS is still at work on it.
func TestS38BehindALevel(t *testing.T) {
	besiege(t, 1<<20)
	for _, tt := range []struct {
		name    string
		message byte
		byte    byte
		typ     wire.PacketType
		server  bool // is attacked
	}{
		{"ClientHello", 1, evil.TLSEndOfEarlyData, wire.Initial, true},
		{"ServerHello", 2, evil.TLSEndOfEarlyData, wire.Initial, false},
		{"Finished of a server", 20, evil.TLSEndOfEarlyData, wire.Handshake, false},
		{"Finished of a client", 20, evil.TLSEndOfEarlyData, wire.Handshake, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := evilRun{edit: func(typ wire.PacketType, data []byte) []byte {
				if typ == tt.typ && (data[0] == tt.message || finished(data)) {
					data = append(data, tt.byte)
				}
				return data
			}}
			if got := run.errorOf(t, tt.server); got != wire.ProtocolViolation {
				t.Errorf("closed with %v", got)
			}
		})
	}
}

// S-38: a byte behind a ClientHello comes while the program is asked about that.
func TestS38BehindAClientHello(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{
			ClientHelloHandler: func(context.Context, *ServerSession, ClientHello) (*securecontext.Context, error) {
				<-answer
				return nil, nil
			},
		})
		defer m.close()
		e := newEvilEnd(t, m)
		defer e.conn.Close()
		e.attackServer(evilRun{})
		defer e.Close()
		e.talk()
		e.wantBehind(wire.Initial, answer)
	})
}

// S-38: and one behind a server's Finished, while the program looks at its certificate.
func TestS38BehindAFinished(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		config := clientConfig()
		config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
			<-answer
			return nil
		}
		e := newEvilEnd(t, m)
		defer e.conn.Close()
		e.attackClient(evilRun{client: ConnectOptions{TLS: config}})
		defer e.Close()
		e.talk()
		e.wantBehind(wire.Handshake, answer)
	})
}

// wantBehind sends a byte behind all that TLS has, which waits for the answer of a callback.
func (e *evilEnd) wantBehind(typ wire.PacketType, answer chan struct{}) {
	e.Insert(typ, []byte{evil.TLSEndOfEarlyData})
	e.talk()
	close(answer)
	e.talk()
	if e.Closed == nil || e.Closed.App || wire.ErrorCode(e.Closed.Code) != wire.ProtocolViolation {
		e.t.Errorf("closed with %+v of TLS: %v", e.Closed, e.Err)
		return
	}
	e.net.attacked.Ended(wire.ErrorCode(e.Closed.Code).String())
}

// A ClientHello and a ServerHello may come twice: behind a HelloRetryRequest (RFC 8446 §4.1.4), and before
// the session is.
func TestHelloRetryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := serverConfig(), clientConfig()
		server.CurvePreferences = []tls.CurveID{tls.CurveP521}
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP521}
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: server})
		defer m.close()
		p := m.pair(ConnectOptions{TLS: client})
		p.exchange(t)
		if state := p.client.ConnectionState(); !state.HelloRetryRequest {
			t.Error("no HelloRetryRequest")
		}
	})
}
