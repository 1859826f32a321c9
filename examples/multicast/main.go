// Multicast chooses the interface that multicast leaves by: for IPv4 by an address of the
// interface, for IPv6 by its name, or on Windows its number, after a percent sign.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/cinnabar-quic/cinnabar/quic"
)

func main() {
	iface := flag.String("interface", "127.0.0.1", `as "10.0.0.2", "::%eth1" or "::%2"`)
	flag.Parse()
	if err := run(context.Background(), *iface, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, iface string, out io.Writer) error {
	family := quic.UDP4
	if strings.Contains(iface, ":") {
		family = quic.UDP6
	}
	ready := make(chan error, 1)
	var socket *quic.Socket
	socket, err := quic.NewSocket(quic.SocketOptions{
		Endpoint: quic.EndpointOptions{Type: family},
		Hooks: quic.SocketHooks{Ready: func() error {
			ready <- socket.Endpoints()[0].SetMulticastInterface(iface)
			return nil
		}},
	})
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	bound, err := socket.Endpoints()[0].Bind(ctx)
	if err != nil {
		return err
	}
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("multicast by %s: %w", iface, err)
	}
	fmt.Fprintf(out, "multicast of %v leaves by %s\n", bound.Addr(), iface)
	return nil
}
