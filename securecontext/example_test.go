package securecontext_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// Both ends of a connection, from PEM.
func ExampleNew() {
	certPEM, keyPEM := selfSigned("example.com")
	server, err := securecontext.New(securecontext.Options{
		Cert: [][]byte{certPEM},
		Key:  []securecontext.Key{{PEM: keyPEM}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := securecontext.New(securecontext.Options{CA: [][]byte{certPEM}, ECDHCurve: "P-256"})
	if err != nil {
		fmt.Println(err)
		return
	}
	a, b := net.Pipe()
	go tls.Server(a, server.Config()).Handshake()
	config := client.Config()
	config.ServerName = "example.com"
	conn := tls.Client(b, config)
	if err := conn.Handshake(); err != nil {
		fmt.Println(err)
		return
	}
	state := conn.ConnectionState()
	fmt.Println(tls.VersionName(state.Version), state.CurveID)
	// Output: TLS 1.3 CurveP256
}

// What is wrong with the options is told at once, with its place.
func ExampleError() {
	_, err := securecontext.New(securecontext.Options{Ciphers: "TLS_AES_128_GCM_SHA256:RC4"})
	fmt.Println(err)
	// Output: securecontext: Options.Ciphers is "TLS_AES_128_GCM_SHA256:RC4": "RC4" is none of TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256
}

// selfSigned makes a certificate that is its own authority.
func selfSigned(name string) (certPEM, keyPEM []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
