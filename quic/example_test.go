package quic_test

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

	"github.com/cinnabar-quic/cinnabar/quic"
)

// certificate makes a self-signed certificate for localhost, and configurations
// for a server that has it and a client that trusts it.
func certificate() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// A server that answers each stream in capitals, and its client.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	serverTLS, clientTLS := certificate()

	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{ALPN: "echo", TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)
	go func() {
		for {
			session, err := socket.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					stream, err := session.AcceptStream(ctx)
					if err != nil {
						return // the client has closed the session
					}
					go func() {
						io.Copy(stream, stream)
						stream.Close()
					}()
				}
			}()
		}
	}()

	session, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: "echo", TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	stream, err := session.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		log.Fatal(err)
	}
	stream.End([]byte("hello"))
	answer, err := io.ReadAll(stream)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer)
	if err := session.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: hello
}

// One socket that serves and connects, here to itself.
func ExampleSocket() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	serverTLS, clientTLS := certificate()

	socket, err := quic.NewSocket(quic.SocketOptions{
		Endpoint: quic.EndpointOptions{Address: "127.0.0.1"},
		Server: quic.ListenOptions{
			ALPN: "hello",
			TLS:  serverTLS,
			// The server greets every client on a stream of its own.
			Handler: func(session *quic.ServerSession) error {
				stream, err := session.OpenStream(ctx, quic.StreamOptions{HalfOpen: true})
				if err != nil {
					return err
				}
				_, err = stream.End([]byte("hi from the server!"))
				return err
			},
		},
		Client: quic.ConnectOptions{ALPN: "hello", TLS: clientTLS},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)
	if err := socket.Listen(ctx, quic.ListenOptions{}); err != nil {
		log.Fatal(err)
	}

	session, err := socket.Connect(ctx, quic.ConnectOptions{Port: int(socket.Address().Port())})
	if err != nil {
		log.Fatal(err)
	}
	stream, err := session.AcceptStream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := io.ReadAll(stream)
	fmt.Printf("%s %v\n", greeting, err)
	stats := socket.Stats()
	fmt.Println(stats.ClientSessions, "client session,", stats.ServerSessions, "server session")
	// Output:
	// hi from the server! <nil>
	// 1 client session, 1 server session
}

// pair returns both ends of a session.
func pair(ctx context.Context) (client *quic.ClientSession, server *quic.ServerSession, end func()) {
	serverTLS, clientTLS := certificate()
	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{ALPN: "x", TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	client, err = quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: "x", TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	server, err = socket.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return client, server, func() { socket.Destroy(nil) }
}

// The two sides of a stream end one after the other.
func ExampleStream_CloseWrite() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, server, end := pair(ctx)
	defer end()

	go func() {
		stream, err := server.AcceptStream(ctx)
		if err != nil {
			log.Fatal(err)
		}
		question, _ := io.ReadAll(stream) // until CloseWrite
		fmt.Fprintf(stream, "%d bytes", len(question))
		stream.Close()
	}()

	stream, err := client.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(stream, "how long is this?")
	stream.CloseWrite()
	answer, _ := io.ReadAll(stream)
	fmt.Printf("%s\n", answer)
	// Output: 17 bytes
}

// Cutting a stream off tells the peer a number.
func ExampleStream_Reset() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, server, end := pair(ctx)
	defer end()

	stream, err := client.OpenStream(ctx, quic.StreamOptions{HalfOpen: true})
	if err != nil {
		log.Fatal(err)
	}
	stream.Write([]byte("never mind"))
	stream.Reset(42)

	other, err := server.AcceptStream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	_, err = io.ReadAll(other)
	fmt.Println(err)
	// Output: quic: stream 2 was cut off by the peer with code 0x2a
}

// A session's hooks are told in order, the end last.
func ExampleSessionHooks() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	serverTLS, clientTLS := certificate()
	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{ALPN: "x", TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Destroy(nil)

	closed := make(chan bool)
	session, err := quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{
		ALPN: "x",
		TLS:  clientTLS,
		Hooks: quic.SessionHooks{
			Secure: func() error { fmt.Println("secure"); return nil },
			Error:  func(err error) { fmt.Println("error:", err) },
			Close:  func() { fmt.Println("close"); close(closed) },
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	session.Destroy(fmt.Errorf("had enough"))
	<-closed
	// Output:
	// secure
	// error: had enough
	// close
}
