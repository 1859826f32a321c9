// Events shows what a socket tells its hooks: that it is busy or not, that the handler of
// a session has failed, that it is gone. The options of its server are given with the
// socket, so that Listen needs none.
package main

import (
	"context"
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
	secure, err := selfsigned.Context("localhost")
	if err != nil {
		return err
	}
	failed := make(chan bool)
	socket, err := quic.NewSocket(quic.SocketOptions{
		Server: quic.ListenOptions{
			ALPN:          "foo",
			SecureContext: secure,
			Handler:       func(*quic.ServerSession) error { return errors.New("boom") },
		},
		Client: quic.ConnectOptions{ALPN: "foo", SecureContext: secure},
		Hooks: quic.SocketHooks{
			Busy: func(busy bool) error {
				fmt.Fprintln(out, "server is busy:", busy)
				return nil
			},
			SessionError: func(err error, session *quic.Session) {
				fmt.Fprintf(out, "error: %v; the session is destroyed: %v\n", err, session.Destroyed())
				close(failed)
			},
		},
	})
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	socket.SetServerBusy(true)
	socket.SetServerBusy(false)
	if err := socket.Listen(ctx, quic.ListenOptions{}); err != nil {
		return err
	}

	session, err := socket.Connect(ctx, quic.ConnectOptions{Address: "localhost", Port: int(socket.Address().Port())})
	if err != nil {
		return err
	}
	select {
	case <-failed:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-session.Closed():
		fmt.Fprintln(out, "client: the session is over")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
