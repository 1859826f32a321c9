package browser

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	quicgo "github.com/quic-go/quic-go"
	quicgohttp3 "github.com/quic-go/quic-go/http3"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/interop/internal/kit"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// place is where a server serves what as whom. Nobody else has the port.
type place struct {
	at  netip.AddrPort
	id  *kit.Identity
	dir string
}

// running is a server that serves a place.
type running struct {
	stop   func() error
	stored func(name string) (kit.Digest, error) // an upload
}

// serverKind is a way to serve a place.
type serverKind struct {
	name  string
	start func(context.Context, testing.TB, place) (running, error)
}

func servers() []serverKind {
	list := []serverKind{{"http3.Server", startServer}, {"cinnabar serve", startCommand}}
	if os.Getenv("CINNABAR_INTEROP_ALIKE") != "" {
		list = []serverKind{{"quic-go", startQuicGo}}
	}
	return list
}

// startServer serves with package http3 in this process.
func startServer(_ context.Context, _ testing.TB, p place) (running, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: p.at.Addr().String(), Port: int(p.at.Port())}})
	if err != nil {
		return running{}, err
	}
	site := newSite(p.dir)
	s := &http3.Server{Handler: site, TLSConfig: p.id.Server()}
	done := make(chan error, 1)
	go func() { done <- s.Serve(socket) }()
	return running{
		stop: func() error {
			s.Close()
			socket.Destroy(nil)
			<-done
			return nil
		},
		stored: site.stored,
	}, nil
}

// startCommand runs the command of this repository.
func startCommand(ctx context.Context, t testing.TB, p place) (running, error) {
	program := filepath.Join(t.TempDir(), "cinnabar")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/cinnabar")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return running{}, fmt.Errorf("building the command: %w\n%s", err, out)
	}
	c, err := kit.Start(t, exec.Command(program, "serve", p.dir, "--listen", p.at.String(), "--upload", "--cert", p.id.CertFile, "--key", p.id.KeyFile))
	if err != nil {
		return running{}, err
	}
	return running{
		stop: func() error {
			c.Stop()
			return nil
		},
		stored: func(name string) (kit.Digest, error) {
			f, err := os.Open(filepath.Join(p.dir, "in", name))
			if err != nil {
				return kit.Digest{}, err
			}
			defer f.Close()
			return kit.DigestOf(f)
		},
	}, c.Ready(ctx, p.at)
}

// startQuicGo is the control: a test that fails with it, too, is itself at fault.
func startQuicGo(_ context.Context, _ testing.TB, p place) (running, error) {
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(p.at))
	if err != nil {
		return running{}, err
	}
	site := newSite(p.dir)
	s := &quicgohttp3.Server{Handler: site, TLSConfig: quicgohttp3.ConfigureTLSConfig(p.id.Server()), QUICConfig: &quicgo.Config{}}
	go s.Serve(udp)
	return running{
		stop: func() error {
			err := s.Close()
			udp.Close()
			return err
		},
		stored: site.stored,
	}, nil
}
