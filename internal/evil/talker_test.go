package evil

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// certificate returns a new certificate for no name at all.
func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Two talkers complete a handshake, and have 1-RTT keys that fit, through an update.
func TestTalkers(t *testing.T) {
	original := wire.MakeConnectionID([]byte("original"))
	client := NewTalker(NewPeer(Client, original, wire.MakeConnectionID([]byte("client"))),
		&tls.Config{NextProtos: []string{"x"}, InsecureSkipVerify: true}, []byte("of the client"), nil)
	defer client.Close()
	server := NewTalker(NewPeer(Server, original, wire.MakeConnectionID([]byte("server"))),
		&tls.Config{NextProtos: []string{"x"}, Certificates: []tls.Certificate{certificate(t)}}, []byte("of the server"), nil)
	defer server.Close()
	server.DCID = client.ID
	for range 4 {
		for _, d := range client.Speak() {
			server.Hear(0, d)
		}
		for _, d := range server.Speak() {
			client.Hear(0, d)
		}
	}
	if !client.Done || !server.Done || client.Err != nil || server.Err != nil {
		t.Fatalf("client %t %v, server %t %v", client.Done, client.Err, server.Done, server.Err)
	}
	if string(client.Params) != "of the server" || string(server.Params) != "of the client" {
		t.Errorf("parameters %q, %q", client.Params, server.Params)
	}
	if _, err := server.Receive(0, client.Say(wire.OneRTT, wire.Ping{})); err != nil {
		t.Fatal(err)
	}
	client.OneRTT.Acked(1 << 40)
	client.OneRTT.Update()
	p, err := server.Receive(mono.Time(0), client.Say(wire.OneRTT, wire.Ping{}))
	if err != nil || p[0].First&4 == 0 {
		t.Errorf("%+v, %v", p, err)
	}
}
