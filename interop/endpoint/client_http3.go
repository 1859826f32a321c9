package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/cinnabar-quic/cinnabar/http3"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// browser is a client over HTTP/3, with a socket of its own.
type browser struct {
	e         *endpoint
	socket    *quic.Socket
	transport *http3.Transport
}

func (e *endpoint) browser(ctx context.Context, o quic.ConnectOptions, cache tls.ClientSessionCache) (*browser, error) {
	u, err := e.target()
	if err != nil {
		return nil, err
	}
	roots, err := e.roots()
	if err != nil {
		return nil, err
	}
	socket, _, err := e.socketTo(ctx, u)
	if err != nil {
		return nil, err
	}
	o.Hooks.KeyLog = e.hooks().KeyLog
	o.HandshakeTimeout, o.IdleTimeout = patience, patience
	o.PreferredAddressPolicy = "accept"
	o.KeepAlive = keepAlive
	e.choose(&o)
	o.QLog = e.qlogDir != ""
	return &browser{e, socket, &http3.Transport{
		TLSClientConfig: &tls.Config{ServerName: e.serverName, RootCAs: roots, InsecureSkipVerify: roots == nil, ClientSessionCache: cache, Time: wholeSeconds},
		Socket:          socket,
		QUIC:            o,
	}}, nil
}

func (b *browser) close() {
	b.transport.Close()
	b.socket.Destroy(nil)
}

// fetch fetches files at once.
func (b *browser) fetch(ctx context.Context, requests []string) error {
	client := &http.Client{Transport: b.transport}
	errs := make(chan error, len(requests))
	for _, r := range requests {
		go func() { errs <- b.request(ctx, client, r) }()
	}
	for range requests {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func (b *browser) request(ctx context.Context, c *http.Client, request string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, request, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", request, res.Status)
	}
	return b.e.save(r.URL, func(w io.Writer) error {
		_, err := io.Copy(w, res.Body)
		return err
	})
}

// once3 fetches files at once over one session.
func (e *endpoint) once3(ctx context.Context, requests []string) error {
	b, err := e.browser(ctx, quic.ConnectOptions{}, nil)
	if err != nil {
		return err
	}
	defer b.close()
	return b.fetch(ctx, requests)
}

// again3 fetches the first file, and the others over a session that resumes that one.
func (e *endpoint) again3(ctx context.Context, o quic.ConnectOptions) error {
	if len(e.requests) < 2 {
		return errors.New("REQUESTS has less than two URLs")
	}
	cache := tls.NewLRUClientSessionCache(1)
	tickets := make(chan struct{}, 1)
	first := o
	first.Hooks.SessionTicket = func(_, _ []byte) error {
		select {
		case tickets <- struct{}{}:
		default:
		}
		return nil
	}
	for _, part := range []struct {
		o        quic.ConnectOptions
		requests []string
	}{{first, e.requests[:1]}, {o, e.requests[1:]}} {
		b, err := e.browser(ctx, part.o, cache)
		if err != nil {
			return err
		}
		err = b.fetch(ctx, part.requests)
		if err == nil && part.o.Hooks.SessionTicket != nil {
			select {
			case <-tickets:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		b.close()
		if err != nil {
			return err
		}
	}
	return nil
}
