package main

import (
	"net"
	"net/http"
)

// http2 is HTTP/2 over TLS over TCP, from net/http.
type http2 struct{}

func (http2) only() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	return p
}

func (h2 http2) serve(b *bench, h http.Handler) (*webServer, error) {
	l, err := tcp{}.socket(b)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: h, TLSConfig: b.serverTLS.Clone(), Protocols: h2.only()}
	s.TLSConfig.NextProtos = nil // net/http sets it
	b.serveUntilClosed(func() error { return s.ServeTLS(l, "", "") })
	return &webServer{addr: l.Addr().String(), close: func() { s.Close() }}, nil
}

func (h2 http2) client(b *bench) (*webClient, error) {
	b.note("HTTP/2 on one connection; nothing had to be raised (250 streams at once); windows are the library's (4 MiB a stream, 1 GiB a connection)")
	d := net.Dialer{Control: tcp{}.control}
	t := &http.Transport{DialContext: d.DialContext, TLSClientConfig: b.clientTLS.Clone(), Protocols: h2.only()}
	t.TLSClientConfig.NextProtos = nil // net/http sets it
	return &webClient{RoundTripper: t, major: 2, close: t.CloseIdleConnections}, nil
}
