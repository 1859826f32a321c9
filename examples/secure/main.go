// Secure waits for the end of the handshake with hooks: each end of a session uses its
// streams as soon as its Secure hook is told. The client connects to the server of this
// process, or with -address and -port to another one that speaks "foo".
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
	address := flag.String("address", "", "host name or IP address of a server; none is our own")
	port := flag.Int("port", 4567, "UDP port of the server")
	local := flag.Int("local", 1234, "UDP port of the client, 0 for any")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, *address, *port, *local, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address string, port, local int, out io.Writer) error {
	var secure *securecontext.Context // nil: the system's roots
	if address == "" {
		socket, own, err := serve(ctx)
		if err != nil {
			return err
		}
		defer socket.Destroy(nil)
		address, port, secure = "localhost", int(socket.Address().Port()), own
	}
	return visit(ctx, address, port, local, secure, out)
}

// serve makes a default socket a server of "foo". It returns what a client has to trust.
func serve(ctx context.Context) (*quic.Socket, *securecontext.Context, error) {
	secure, err := selfsigned.Context("localhost")
	if err != nil {
		return nil, nil, err
	}
	socket, err := quic.NewSocket(quic.SocketOptions{})
	if err != nil {
		return nil, nil, err
	}
	err = socket.Listen(ctx, quic.ListenOptions{
		ALPN:          "foo",
		SecureContext: secure,
		Handler: func(session *quic.ServerSession) error {
			session.SetHooks(quic.SessionHooks{Secure: func() error {
				_, _, err := createStreams(ctx, &session.Session, "server")
				return err
			}})
			return nil
		},
	})
	return socket, secure, err
}

// createStreams opens a stream of each kind and says on both who does.
func createStreams(ctx context.Context, session *quic.Session, who string) (both, one *quic.Stream, err error) {
	if both, err = session.OpenStream(ctx, quic.StreamOptions{}); err != nil {
		return nil, nil, err
	}
	if one, err = session.OpenStream(ctx, quic.StreamOptions{HalfOpen: true}); err != nil {
		return nil, nil, err
	}
	for _, stream := range []*quic.Stream{both, one} {
		if _, err = stream.End([]byte("a stream of the " + who + "'s")); err != nil {
			return nil, nil, err
		}
	}
	return both, one, nil
}

// visit connects, opens streams when the session is secure, and prints what the server
// says on its own.
func visit(ctx context.Context, address string, port, local int, secure *securecontext.Context, out io.Writer) error {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Port: local}})
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	opened := make(chan string, 1)
	var session *quic.ClientSession
	made := make(chan bool)
	session, err = socket.Connect(ctx, quic.ConnectOptions{
		Address:       address,
		Port:          port,
		ALPN:          "foo",
		SecureContext: secure,
		Hooks: quic.SessionHooks{Secure: func() error {
			<-made // Connect has returned the session
			both, one, err := createStreams(ctx, &session.Session, "client")
			if err != nil {
				return err
			}
			opened <- fmt.Sprintf("client: opened %d, bidirectional: %v, and %d, bidirectional: %v",
				both.ID(), both.Bidirectional(), one.ID(), one.Bidirectional())
			return nil
		}},
	})
	close(made)
	if err != nil {
		return err
	}
	if err := session.Handshake(ctx); err != nil {
		return err
	}
	select {
	case line := <-opened:
		fmt.Fprintln(out, line)
	case <-session.Closed():
		return session.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	for range 2 {
		stream, err := session.AcceptStream(ctx)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(stream)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "client: stream %d: %s\n", stream.ID(), said)
		if stream.CanWrite() {
			stream.CloseWrite()
		}
	}
	return session.CloseWithError(0, "")
}
