package cases

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	xquic "golang.org/x/net/quic"

	"github.com/cinnabar-quic/cinnabar/internal/hq"
)

// xnet is golang.org/x/net/quic, in this process. It has neither tickets nor HTTP/3 for others,
// no ECN, follows no client to another address and no server, and updates keys only by itself.
type xnet struct{}

func (xnet) name() string { return "x/net/quic" }

func (xnet) config() *xquic.Config {
	return &xquic.Config{HandshakeTimeout: 30 * time.Second, MaxIdleTimeout: 30 * time.Second}
}

func (x xnet) serve(r *round) ([]netip.AddrPort, error) {
	if r.http3 || r.moves || r.client == "resumption" || r.client == "zerortt" || r.name == "ecn" || r.speaks != nil && !slices.Equal(r.speaks, only1) || strings.HasPrefix(r.name, "rebind") {
		return nil, errUnsupported
	}
	config := x.config()
	config.TLSConfig = r.serverTLS(hq.ALPN)
	config.RequireAddressValidation = r.serverName() == "retry"
	e, err := xquic.Listen("udp", netip.AddrPortFrom(r.ip(), 0).String(), config)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { closeEndpoint(e) })
	go func() {
		for {
			conn, err := e.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				for {
					s, err := conn.AcceptStream(context.Background())
					if err != nil {
						return
					}
					go func() {
						send(r, s, s)
						s.CloseRead()
						s.CloseWrite()
					}()
				}
			}()
		}
	}()
	return []netip.AddrPort{netip.AddrPortFrom(r.ip(), e.LocalAddr().Port())}, nil
}

// closeEndpoint ends an endpoint without waiting for its peers.
func closeEndpoint(e *xquic.Endpoint) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e.Close(ctx)
}

func (x xnet) fetch(r *round) error {
	switch {
	case r.http3, r.moves, r.client == "resumption", r.client == "zerortt", r.client == "keyupdate", r.client == "chacha20", r.name == "ecn", r.offers != nil:
		return errUnsupported
	case r.client == "multiconnect":
		for i, f := range r.files {
			if err := x.session(r, []string{f}); err != nil {
				return fmt.Errorf("session %d: %w", i, err)
			}
		}
		return nil
	}
	return x.session(r, r.files)
}

func (x xnet) session(r *round, files []string) error {
	e, err := xquic.Listen("udp", netip.AddrPortFrom(r.ip(), 0).String(), nil)
	if err != nil {
		return err
	}
	defer closeEndpoint(e)
	config := x.config()
	config.TLSConfig = r.clientTLS(hq.ALPN)
	conn, err := e.Dial(r.ctx, "udp", r.at.String(), config)
	if err != nil {
		return err
	}
	defer conn.Abort(nil)
	return eachFile(files, func(name string) error {
		s, err := conn.NewStream(r.ctx)
		if err != nil {
			return err
		}
		s.SetReadContext(r.ctx)
		if _, err := fmt.Fprintf(s, "GET /%s\r\n", name); err != nil {
			return err
		}
		s.CloseWrite()
		return save(r, name, s)
	})
}
