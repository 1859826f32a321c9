// Keylog appends the secrets of a session to a file, from which Wireshark can decrypt a
// capture of it. The file is ssl-keys.log unless -file names another.
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
	file := flag.String("file", "ssl-keys.log", "where the secrets go")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, *file, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, file string, out io.Writer) error {
	keys, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer keys.Close()
	socket, secure, err := serve(ctx)
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)

	lines, closed := 0, make(chan bool)
	session, err := socket.Connect(ctx, quic.ConnectOptions{
		Address:       "localhost",
		Port:          int(socket.Address().Port()),
		ALPN:          "foo",
		SecureContext: secure,
		Hooks: quic.SessionHooks{
			KeyLog: func(line []byte) error {
				lines++
				_, err := keys.Write(line)
				return err
			},
			Close: func() { close(closed) },
		},
	})
	if err != nil {
		return err
	}
	if err := session.Handshake(ctx); err != nil {
		return err
	}
	if err := session.Shutdown(ctx); err != nil {
		return err
	}
	select {
	case <-closed: // the last hook has run
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Fprintf(out, "%d secrets\n", lines)
	return keys.Close()
}

// serve makes a server for one visit.
func serve(ctx context.Context) (*quic.Socket, *securecontext.Context, error) {
	secure, err := selfsigned.Context("localhost")
	if err != nil {
		return nil, nil, err
	}
	socket, err := quic.NewSocket(quic.SocketOptions{})
	if err != nil {
		return nil, nil, err
	}
	err = socket.Listen(ctx, quic.ListenOptions{ALPN: "foo", SecureContext: secure})
	return socket, secure, err
}
