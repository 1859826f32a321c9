// Handlers shows the program's part in a handshake: resolving the server's name, choosing
// a certificate when a client says hello, giving out an OCSP response and looking at it.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/examples/selfsigned"
	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// lines prints what several goroutines have to say.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lines) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

func run(ctx context.Context, out io.Writer) error {
	say := &lines{out: out}
	cert, key, err := selfsigned.PEM("shop.example")
	if err != nil {
		return err
	}
	secure, err := securecontext.New(securecontext.Options{
		CA:        [][]byte{cert},
		Cert:      [][]byte{cert},
		Key:       []securecontext.Key{{PEM: key}},
		ECDHCurve: "P-256",
	})
	if err != nil {
		return err
	}
	socket, err := serve(ctx, secure, say)
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)

	session, err := socket.Connect(ctx, quic.ConnectOptions{
		Address:       "shop.example",
		Port:          int(socket.Address().Port()),
		ALPN:          "foo",
		SecureContext: secure,
		Lookup:        lookup,
		OCSPHandler: func(_ context.Context, _ *quic.ClientSession, data []byte) error {
			say.printf("client: the staple is %q", data)
			return nil
		},
	})
	if err != nil {
		return err
	}
	if err := session.Handshake(ctx); err != nil {
		return err
	}
	k := session.EphemeralKeyInfo()
	say.printf("client: keys were agreed on with %s %s of %d bits", k.Type, k.Name, k.Size)
	return session.Shutdown(ctx)
}

// serve makes a server that only looks at hellos, and staples.
func serve(ctx context.Context, secure *securecontext.Context, say *lines) (*quic.Socket, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1"}})
	if err != nil {
		return nil, err
	}
	err = socket.Listen(ctx, quic.ListenOptions{
		ALPN:          "foo",
		SecureContext: secure,
		ClientHelloHandler: func(_ context.Context, _ *quic.ServerSession, h quic.ClientHello) (*securecontext.Context, error) {
			say.printf("server: a client of %s wants to speak %s and offers %d suites", h.ServerName, h.ALPN, len(h.Ciphers))
			return nil, nil // the one of Listen
		},
		OCSPHandler: func(_ context.Context, _ *quic.ServerSession, r quic.OCSPRequest) (quic.OCSPResponse, error) {
			say.printf("server: asked for a staple for %s", r.ServerName)
			return quic.OCSPResponse{Data: []byte("The OCSP response")}, nil
		},
	})
	return socket, err
}

// lookup knows one host.
func lookup(_ context.Context, address string, family int) (netip.Addr, error) {
	if address != "shop.example" || family != 4 {
		return netip.Addr{}, fmt.Errorf("no IPv%d address for %q", family, address)
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
}
