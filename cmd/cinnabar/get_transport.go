package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// getTransport is what get asks through.
type getTransport struct {
	rt     http.RoundTripper
	close  func()
	keylog io.Closer
}

// newTransport makes the transport that a command line asks for. trace may be nil.
func newTransport(c *getCommand, trace func(string)) (*getTransport, error) {
	config, err := (&trust{CA: c.CACert, Pin: c.Pin, Insecure: c.Insecure}).config("--cacert")
	if err != nil {
		return nil, &codedError{badCACert, err.Error()}
	}
	t := &getTransport{}
	if c.Keylog != "" {
		f, err := os.OpenFile(c.Keylog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot write --keylog: %w", reason(err))
		}
		config.KeyLogWriter, t.keylog = f, f
	}
	places, err := parseResolve(c.Resolve)
	if err != nil {
		return nil, err
	}
	h2 := newFallback(config, places)
	t.rt, t.close = h2, h2.CloseIdleConnections
	return t, nil
}

// newFallback is for servers without HTTP/3.
func newFallback(config *tls.Config, places map[string]string) *http.Transport {
	dialer := new(net.Dialer)
	return &http.Transport{
		Proxy:              http.ProxyFromEnvironment,
		TLSClientConfig:    config.Clone(),
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if place, ok := places[address]; ok {
				address = place
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}

// RoundTrip sends a request.
func (t *getTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.rt.RoundTrip(r)
	if err != nil {
		return nil, getError(r.URL.Host, err)
	}
	return resp, nil
}

// finish closes all sessions, and shows what is wanted of them.
func (t *getTransport) finish(a *app) error {
	t.close()
	if t.keylog != nil {
		return t.keylog.Close()
	}
	return nil
}

// parseResolve reads --resolve: what is to be dialled for a host and port.
func parseResolve(list []string) (map[string]string, error) {
	places := make(map[string]string)
	for _, text := range list {
		host, rest, _ := strings.Cut(text, ":")
		port, address, _ := strings.Cut(rest, ":")
		ip := net.ParseIP(strings.Trim(address, "[]"))
		if host == "" || !validPort(port, 1) || ip == nil {
			return nil, usagef("--resolve %q is not HOST:PORT:ADDRESS, such as example.org:443:192.0.2.7", text)
		}
		places[net.JoinHostPort(host, port)] = net.JoinHostPort(ip.String(), port)
	}
	return places, nil
}
