package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/internal/hq"
	"github.com/cinnabar-quic/cinnabar/quic"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// serve serves until the context ends.
func (e *endpoint) serve(ctx context.Context, o *serverOptions) error {
	root, err := os.OpenRoot(e.www)
	if err != nil {
		return err
	}
	defer root.Close()
	listen, err := e.listenOptions(o)
	if err != nil {
		return err
	}
	socket, err := e.socket(o)
	if err != nil {
		return err
	}
	defer socket.Destroy(nil)
	if o.http3 {
		return e.serveHTTP3(ctx, socket, listen, root)
	}
	if err := socket.Listen(ctx, listen); err != nil {
		return err
	}
	fmt.Fprintf(e.log, "endpoint: listening on %v\n", socket.Address())
	open := func(path string) (io.ReadCloser, error) { return root.Open(strings.TrimPrefix(path, "/")) }
	for {
		s, err := socket.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go hq.Serve(ctx, &s.Session, open)
	}
}

func (e *endpoint) serveHTTP3(ctx context.Context, socket *quic.Socket, listen quic.ListenOptions, root *os.Root) error {
	s := &http3.Server{TLSConfig: listen.TLS, QUIC: listen, Handler: http.FileServerFS(root.FS())}
	s.QUIC.TLS = nil
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(socket); ctx.Err() == nil {
		return err
	}
	return nil
}

func (e *endpoint) listenOptions(o *serverOptions) (quic.ListenOptions, error) {
	certFile, keyFile := filepath.Join(e.certs, "cert.pem"), filepath.Join(e.certs, "priv.key")
	listen := quic.ListenOptions{Hooks: e.hooks(), HandshakeTimeout: patience, IdleTimeout: patience, Versions: o.versions}
	if e.versions != nil {
		listen.Versions = e.versions
	}
	if o.moves {
		for at := range strings.SplitSeq(e.preferred, ",") {
			a, err := netip.ParseAddrPort(at)
			if err != nil {
				return listen, fmt.Errorf("-preferred: %w", err)
			}
			p := quic.PreferredAddress{Address: a.Addr().String(), Port: int(a.Port()), Type: family(a.Addr())}
			listen.PreferredAddress = append(listen.PreferredAddress, p)
		}
	}
	if o.suite != "" {
		cert, err := os.ReadFile(certFile)
		if err != nil {
			return listen, err
		}
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return listen, err
		}
		listen.ALPN = hq.ALPN
		listen.SecureContext, err = securecontext.New(securecontext.Options{
			Cert: [][]byte{cert}, Key: []securecontext.Key{{PEM: key}}, Ciphers: o.suite,
		})
		return listen, err
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	listen.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{hq.ALPN}}
	return listen, err
}

// socket opens the server's port, and the second one if there is a preferred address.
func (e *endpoint) socket(o *serverOptions) (*quic.Socket, error) {
	so := e.socketOptions()
	so.ValidateAddress = o.retry
	so.MaxConnectionsPerHost = 1000
	var err error
	if so.Endpoint, err = endpointOptions(e.listen); err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	s, err := quic.NewSocket(so)
	if err != nil || !o.moves {
		return s, err
	}
	second, err := endpointOptions(e.second)
	if err == nil {
		_, err = s.AddEndpoint(second)
	}
	if err != nil {
		s.Destroy(nil)
		return nil, fmt.Errorf("-second: %w", err)
	}
	return s, nil
}

// endpointOptions takes an address apart: without a host it is for both families.
func endpointOptions(address string) (quic.EndpointOptions, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return quic.EndpointOptions{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	o := quic.EndpointOptions{Address: cmp.Or(host, "::"), Port: int(n), Type: quic.UDP6}
	if ip, perr := netip.ParseAddr(host); perr == nil && ip.Is4() {
		o.Type = quic.UDP4
	}
	return o, err
}
