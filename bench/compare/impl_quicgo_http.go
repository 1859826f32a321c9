package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// quicGoHTTP is the HTTP/3 of quic-go.
type quicGoHTTP struct{}

func (quicGoHTTP) serve(b *bench, h http.Handler) (*webServer, error) {
	c, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	conf := quicGo{}.config(b)
	conf.Allow0RTT = true // as in a server without a configuration
	s := &http3.Server{Handler: h, TLSConfig: b.serverTLS.Clone(), QUICConfig: conf}
	b.serveUntilClosed(func() error { return s.Serve(c) })
	return &webServer{addr: c.LocalAddr().String(), close: func() {
		s.Close()
		c.Close()
	}}, nil
}

func (quicGoHTTP) client(b *bench) (*webClient, error) {
	c, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	tr := &quicgo.Transport{Conn: c}
	conf := quicGo{}.config(b)
	conf.MaxIncomingStreams = 0 // http3 makes it none
	t := &http3.Transport{
		TLSClientConfig: b.clientTLS.Clone(),
		QUICConfig:      conf,
		// Without Dial, the transport would open a socket with other buffers.
		Dial: func(ctx context.Context, addr string, tlsConf *tls.Config, conf *quicgo.Config) (*quicgo.Conn, error) {
			to, err := net.ResolveUDPAddr("udp4", addr)
			if err != nil {
				return nil, err
			}
			return tr.DialEarly(ctx, to, tlsConf, conf)
		},
	}
	return &webClient{RoundTripper: t, major: 3, close: func() {
		t.Close()
		tr.Close()
	}}, nil
}
