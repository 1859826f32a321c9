// Hello is the first program of the API document: a server that greets every client on
// a stream of its own and answers each stream of the client's, and a client that pays it
// a visit. Both are in this process; the server's port is 1234 unless -port says another.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/cinnabar-quic/cinnabar/examples/selfsigned"
	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

func main() {
	port := flag.Int("port", 1234, "UDP port of the server, 0 for any")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, *port, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, port int, out io.Writer) error {
	cert, key, err := selfsigned.PEM("localhost")
	if err != nil {
		return err
	}
	server, err := serve(ctx, port, cert, key)
	if err != nil {
		return err
	}
	defer server.Destroy(nil)
	fmt.Fprintln(out, "The socket is listening for sessions!")
	if err := visit(ctx, int(server.Address().Port()), cert, out); err != nil {
		return err
	}
	return server.Shutdown(ctx)
}

// serve makes a server that speaks the application protocol "hello".
func serve(ctx context.Context, port int, cert, key []byte) (*quic.Socket, error) {
	secure, err := securecontext.New(securecontext.Options{
		Cert: [][]byte{cert},
		Key:  []securecontext.Key{{PEM: key}},
	})
	if err != nil {
		return nil, err
	}
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Port: port}})
	if err != nil {
		return nil, err
	}
	err = socket.Listen(ctx, quic.ListenOptions{
		ALPN:          "hello",
		SecureContext: secure,
		Handler: func(session *quic.ServerSession) error {
			session.SetHooks(quic.SessionHooks{Stream: func(stream *quic.Stream) error {
				go answer(stream) // hooks take turns: what waits goes elsewhere
				return nil
			}})
			go greet(ctx, session)
			return nil
		},
	})
	return socket, err
}

// greet opens a stream that only the server writes on, when the handshake is done.
func greet(ctx context.Context, session *quic.ServerSession) {
	stream, err := session.OpenStream(ctx, quic.StreamOptions{HalfOpen: true})
	if err != nil {
		return // the client has gone
	}
	io.WriteString(stream, "hi ")
	stream.End([]byte("from the server!"))
}

// answer says hello on a stream of the client's, and hears it out.
func answer(stream *quic.Stream) {
	if stream.Bidirectional() {
		stream.End([]byte("Hello World"))
	}
	io.Copy(io.Discard, stream)
}

// visit connects to the server and prints what it says.
func visit(ctx context.Context, port int, ca []byte, out io.Writer) error {
	secure, err := securecontext.New(securecontext.Options{CA: [][]byte{ca}})
	if err != nil {
		return err
	}
	socket, err := quic.NewSocket(quic.SocketOptions{})
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	session, err := socket.Connect(ctx, quic.ConnectOptions{
		Address:       "localhost",
		Port:          port,
		ALPN:          "hello",
		SecureContext: secure,
	})
	if err != nil {
		return err
	}
	greeting, err := session.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if err := hear(greeting, out); err != nil {
		return err
	}
	stream, err := session.OpenStream(ctx, quic.StreamOptions{}) // bidirectional
	if err != nil {
		return err
	}
	if _, err := stream.End([]byte("good day")); err != nil {
		return err
	}
	if err := hear(stream, out); err != nil {
		return err
	}
	return session.Shutdown(ctx)
}

// hear prints what comes on a stream until its end.
func hear(stream *quic.Stream, out io.Writer) error {
	said, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "client: stream %d: %s\n", stream.ID(), said)
	return nil
}
