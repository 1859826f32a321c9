// Echo is the program of the README: a server that sends back what it is sent, and a
// client that asks it something.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/cinnabar-quic/cinnabar/examples/selfsigned"
	"github.com/cinnabar-quic/cinnabar/quic"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	cert, key, err := selfsigned.PEM("localhost")
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(cert) {
		return errors.New("no certificate in what was just made")
	}
	socket, err := quic.Listen(ctx, "localhost:0", quic.ListenOptions{
		ALPN: "echo",
		TLS:  &tls.Config{Certificates: []tls.Certificate{pair}},
	})
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	go serve(ctx, socket)
	answer, err := ask(ctx, socket.Address().String(), &tls.Config{RootCAs: trusted, ServerName: "localhost"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, answer)
	return nil
}

// serve echoes until the socket is closed.
func serve(ctx context.Context, socket *quic.Socket) {
	for {
		session, err := socket.Accept(ctx)
		if err != nil {
			return
		}
		go func() {
			for {
				stream, err := session.AcceptStream(ctx)
				if err != nil {
					return // the session is over
				}
				go func() {
					defer stream.Close()
					io.Copy(stream, stream)
				}()
			}
		}()
	}
}

// ask sends a question to an echo server and returns what comes back.
func ask(ctx context.Context, address string, config *tls.Config) (string, error) {
	session, err := quic.Dial(ctx, address, quic.ConnectOptions{ALPN: "echo", TLS: config})
	if err != nil {
		return "", err
	}
	defer session.Close()
	stream, err := session.OpenStream(ctx, quic.StreamOptions{})
	if err != nil {
		return "", err
	}
	fmt.Fprint(stream, "hello")
	stream.CloseWrite()
	answer, err := io.ReadAll(stream)
	return string(answer), err
}
