package h3

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// netHTTP is Cinnabar by its http3.Server and http3.Transport.
type netHTTP struct{}

func (netHTTP) name() string   { return "Cinnabar" }
func (netHTTP) traits() traits { return traits{inside: true} }

func (netHTTP) serve(d *duel) (*origin, error) {
	listening := make(chan struct{})
	socket, err := quic.NewSocket(quic.SocketOptions{
		Endpoint: quic.EndpointOptions{Address: "127.0.0.1"},
		Hooks: quic.SocketHooks{Listening: func() error {
			close(listening)
			return nil
		}},
	})
	if err != nil {
		return nil, err
	}
	site := newSite(d.root)
	s := &http3.Server{Handler: site, TLSConfig: d.id.Server(), Options: http3.Options{ExtendedConnect: true}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(socket) }()
	d.t.Cleanup(func() {
		s.Close()
		socket.Destroy(nil)
	})
	select {
	case <-listening:
	case err := <-done:
		return nil, err
	}
	return &origin{
		addr:      socket.Address(),
		dynamic:   true,
		empty:     "/empty.txt",
		trailers:  true,
		tunnels:   true,
		pushes:    true,
		saysEarly: true,
		ranks:     true,
		site:      site,
		shutdown:  s.Shutdown,
	}, nil
}

func (netHTTP) client(d *duel) (client, error) { return &transport{d, newTickets()}, nil }

// transport is a client.
type transport struct {
	d       *duel
	tickets *tickets
}

// dial returns a new http3.Transport, and its socket.
func (c *transport) dial(early bool) (*http3.Transport, *quic.Socket, error) {
	socket, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Address: "127.0.0.1"}})
	if err != nil {
		return nil, nil, err
	}
	t := &http3.Transport{TLSClientConfig: c.d.id.Client(), Socket: socket}
	t.TLSClientConfig.ClientSessionCache = c.tickets
	t.QUIC.DisableEarlyData = !early
	return t, socket, nil
}

func (c *transport) open() (http.RoundTripper, func() int, func(), error) {
	t, socket, err := c.dial(false)
	return t, func() int { return int(socket.Stats().ClientSessions) }, func() {
		t.Close()
		socket.Destroy(nil)
	}, err
}

func (c *transport) run(ctx context.Context, to netip.AddrPort, p plan) (report, error) {
	if p.pushes > 0 {
		return report{}, errNoWay
	}
	t, socket, err := c.dial(p.early)
	if err != nil {
		return report{}, err
	}
	defer socket.Destroy(nil)
	defer t.Close()
	var resumed bool
	var early *bool
	answers, err := trip(ctx, t, to, p, func(r *http.Request, a ask, _ bool) error {
		if a.protocol != "" {
			r.Header.Set(":protocol", a.protocol)
		}
		return nil
	}, func(resp *http.Response) {
		resumed = resp.TLS.DidResume
		if st, ok := http3.StreamOfResponse(resp); ok {
			early = new(st.Session().QUIC().EarlyDataAccepted())
		}
	})
	if err != nil {
		return report{}, err
	}
	if p.ticket {
		if err := c.tickets.wait(ctx); err != nil {
			return report{}, err
		}
	}
	return report{answers: answers, connections: int(socket.Stats().ClientSessions), resumed: resumed, early: early}, nil
}
