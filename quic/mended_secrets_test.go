package quic

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What TLS has told of traffic secrets is overwritten once the machine has made keys of it.
func TestTLSSecretsAreErased(t *testing.T) {
	read, write, data := []byte("to read with"), []byte("to write with"), []byte("handshake bytes")
	r := &tlsRunner{out: []transport.TLSEvent{
		{Kind: transport.TLSReadSecret, Data: read}, {Kind: transport.TLSWriteSecret, Data: write}, {Kind: transport.TLSWriteData, Data: data},
	}}
	r.emptied()
	if len(r.out) > 0 || bytes.ContainsFunc(append(read, write...), func(b rune) bool { return b != 0 }) || string(data) != "handshake bytes" {
		t.Errorf("%d events, secrets %q and %q, data %q", len(r.out), read, write, data)
	}
}

// The secret behind reset tokens ends with its socket, unless a session has moved away that goes on
// making tokens of it: a frame with one may go out twice, and has to say the same.
func TestResetSecretEndsWithSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		token := func(s *Socket) wire.ResetToken {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.mux.ResetToken(wire.MakeConnectionID([]byte("an ID...")))
		}
		from, to := m.socket(SocketOptions{}), m.socket(SocketOptions{})
		defer from.Destroy(nil)
		c, err := from.Connect(t.Context(), m.options(ConnectOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.SetSocket(t.Context(), to, false); err != nil {
			t.Fatal(err)
		}
		before := token(from)
		from.Destroy(nil)
		if token(from) != before {
			t.Error("the secret of a session that has moved is gone")
		}
		before = token(to)
		to.Destroy(nil)
		if after := token(to); after == before || after == token(to) {
			t.Errorf("tokens %x and %x: the secret is still there, or none is in its place", before, after)
		}
	})
}
