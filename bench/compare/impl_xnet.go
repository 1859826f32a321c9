package main

import (
	"context"
	"crypto/tls"

	xquic "golang.org/x/net/quic"
)

// xnet is golang.org/x/net/quic.
type xnet struct{}

func (xnet) config(b *bench, t *tls.Config) *xquic.Config {
	c := &xquic.Config{TLSConfig: t.Clone(), MaxBidiRemoteStreams: streamLimit}
	b.note("datagrams of 1200 bytes, without offload: the library has no setting; MaxBidiRemoteStreams raised to %d; windows are the library's (1 MiB, fixed)", streamLimit)
	c.MaxIdleTimeout = b.idleTimeout()
	return c
}

func (x xnet) listen(b *bench) (listener, error) {
	c, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	e, err := xquic.NewEndpoint(c, x.config(b, b.serverTLS))
	if err != nil {
		return nil, err
	}
	return &xnetEndpoint{Endpoint: e}, nil
}

func (x xnet) dialer(b *bench) (dialer, error) {
	c, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	e, err := xquic.NewEndpoint(c, nil)
	if err != nil {
		return nil, err
	}
	return &xnetEndpoint{Endpoint: e, conf: x.config(b, b.clientTLS)}, nil
}

type xnetEndpoint struct {
	*xquic.Endpoint
	conf *xquic.Config // to dial with
}

func (e *xnetEndpoint) addr() string { return e.LocalAddr().String() }

func (e *xnetEndpoint) accept(ctx context.Context) (session, error) {
	c, err := e.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return xnetSession{c}, nil
}

func (e *xnetEndpoint) dial(ctx context.Context, addr string) (session, error) {
	c, err := e.Dial(ctx, "udp4", addr, e.conf)
	if err != nil {
		return nil, err
	}
	return xnetSession{c}, nil
}

func (e *xnetEndpoint) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // do not wait for peers
	e.Close(ctx)
}

type xnetSession struct{ *xquic.Conn }

func (s xnetSession) open(ctx context.Context) (stream, error) {
	st, err := s.NewStream(ctx)
	return xnetStream{st}, err
}

func (s xnetSession) accept(ctx context.Context) (stream, error) {
	st, err := s.AcceptStream(ctx)
	return xnetStream{st}, err
}

func (s xnetSession) tls() tls.ConnectionState { return s.ConnectionState() }
func (s xnetSession) close()                   { s.Abort(nil) }

type xnetStream struct{ *xquic.Stream }

func (s xnetStream) finish(p []byte) error {
	if _, err := s.Write(p); err != nil {
		return err
	}
	return s.CloseWrite()
}

// done releases the stream: reading up to the end is not enough.
func (s xnetStream) done() { s.CloseRead() }
