package http3_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"time"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Both ends of a session that exchange header blocks.
func ExampleNewSession() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, client := exampleTLS()
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{
		ALPN: http3.ALPN,
		TLS:  server,
		Handler: func(q *quic.ServerSession) error {
			session, err := http3.NewSession(&q.Session, http3.Options{})
			if err == nil {
				go greet(ctx, session)
			}
			return err
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)

	q, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: http3.ALPN, TLS: client})
	if err != nil {
		log.Fatal(err)
	}
	session, err := http3.NewSession(&q.Session, http3.Options{})
	if err != nil {
		log.Fatal(err)
	}
	stream, err := session.OpenStream(ctx, http3.StreamOptions{})
	if err != nil {
		log.Fatal(err)
	}
	request := http3.Headers{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "localhost"},
		{Name: ":path", Value: "/greeting"},
	}
	if err := stream.SubmitInitialHeaders(request, http3.HeaderOptions{Terminal: true}); err != nil {
		log.Fatal(err)
	}
	headers, err := stream.Headers()
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(stream)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(headers.Get(":status"), string(body), stream.Trailers().Get("length"))
	if err := session.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: 200 you asked for /greeting 23
}

// greet answers requests until the session is over.
func greet(ctx context.Context, session *http3.Session) {
	for {
		stream, err := session.AcceptStream(ctx)
		if err != nil {
			return
		}
		go func() {
			request, err := stream.Headers()
			if err != nil {
				return // the stream is cancelled already
			}
			text := "you asked for " + request.Get(":path")
			_ = stream.SubmitInitialHeaders(http3.Headers{{Name: ":status", Value: "200"}}, http3.HeaderOptions{})
			_, _ = io.WriteString(stream, text) // an error comes back from what follows
			if err := stream.SubmitTrailingHeaders(http3.Headers{{Name: "length", Value: fmt.Sprint(len(text))}}); err != nil {
				stream.Destroy(err)
			}
		}()
	}
}

func ExampleParsePriority() {
	p, ok := http3.ParsePriority("u=1, i")
	fmt.Println(p.Urgency, p.Incremental, ok)
	fmt.Println(http3.Priority{Urgency: 5})
	// Output:
	// 1 true true
	// u=5
}

func ExampleCapsuleReader() {
	body, w := io.Pipe() // of a CONNECT request, say
	go func() {
		b := http3.AppendCapsule(nil, http3.CapsuleDatagram, []byte("hello"))
		_, _ = w.Write(http3.AppendCapsule(b, 0x1234, []byte("of a type that is skipped")))
		_ = w.Close()
	}()
	for capsules := http3.NewCapsuleReader(body); ; {
		kind, length, err := capsules.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		if kind == http3.CapsuleDatagram {
			value, err := io.ReadAll(capsules)
			fmt.Printf("%d bytes: %s %v\n", length, value, err)
		}
	}
	// Output: 5 bytes: hello <nil>
}

// exampleTLS returns the configurations of a server with a certificate of its own and of a client
// that trusts it.
func exampleTLS() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "localhost"}
}
