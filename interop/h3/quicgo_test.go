package h3

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// quicGo is quic-go's http3.
type quicGo struct{}

func (quicGo) name() string   { return "quic-go" }
func (quicGo) traits() traits { return traits{staticTable: true, inside: true} }

func (quicGo) serve(d *duel) (*origin, error) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	site := newSite(d.root)
	s := &http3.Server{
		Handler:    site,
		TLSConfig:  http3.ConfigureTLSConfig(d.id.Server()),
		QUICConfig: &quicgo.Config{Allow0RTT: true},
	}
	go s.Serve(udp)
	d.t.Cleanup(func() {
		s.Close()
		udp.Close()
	})
	return &origin{
		addr:      udp.LocalAddr().(*net.UDPAddr).AddrPort(),
		dynamic:   true,
		empty:     "/empty.txt",
		trailers:  true,
		tunnels:   true,
		saysEarly: true,
		site:      site,
		shutdown:  s.Shutdown,
	}, nil
}

func (quicGo) client(d *duel) (client, error) {
	c := &quicGoClient{tls: d.id.Client(), tickets: newTickets()}
	c.tls.ClientSessionCache = c.tickets
	return c, nil
}

type quicGoClient struct {
	tls     *tls.Config
	tickets *tickets
}

// quicGoConns are the connections of a client.
type quicGoConns struct {
	mu   sync.Mutex
	list []*quicgo.Conn
}

func (c *quicGoConns) add(conn *quicgo.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, conn)
}

func (c *quicGoConns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.list)
}

func (c *quicGoConns) first() *quicgo.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list[0]
}

func (c *quicGoClient) dial() (*http3.Transport, *quicGoConns) {
	conns := new(quicGoConns)
	return &http3.Transport{
		TLSClientConfig: c.tls,
		QUICConfig:      &quicgo.Config{},
		Dial: func(ctx context.Context, addr string, tc *tls.Config, qc *quicgo.Config) (*quicgo.Conn, error) {
			conn, err := quicgo.DialAddrEarly(ctx, addr, tc, qc)
			if err == nil {
				conns.add(conn)
			}
			return conn, err
		},
	}, conns
}

func (c *quicGoClient) open() (http.RoundTripper, func() int, func(), error) {
	t, conns := c.dial()
	return t, conns.count, func() { t.Close() }, nil
}

func (c *quicGoClient) run(ctx context.Context, to netip.AddrPort, p plan) (report, error) {
	if p.pushes > 0 {
		return report{}, errNoWay
	}
	t, conns := c.dial()
	defer t.Close()
	answers, err := trip(ctx, t, to, p, func(r *http.Request, a ask, early bool) error {
		if early {
			r.Method = http3.MethodGet0RTT
		}
		if a.protocol != "" {
			r.Proto = a.protocol
		}
		return nil
	}, func(*http.Response) {})
	if err != nil {
		return report{}, err
	}
	if p.ticket {
		if err := c.tickets.wait(ctx); err != nil {
			return report{}, err
		}
	}
	state := conns.first().ConnectionState()
	return report{
		answers:     answers,
		connections: conns.count(),
		resumed:     state.TLS.DidResume,
		early:       new(state.Used0RTT),
	}, nil
}
