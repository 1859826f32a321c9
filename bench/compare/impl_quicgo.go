package main

import (
	"context"
	"crypto/tls"
	"net"

	quicgo "github.com/quic-go/quic-go"
)

// quicGo is github.com/quic-go/quic-go.
type quicGo struct{}

func (quicGo) config(b *bench) *quicgo.Config {
	c := &quicgo.Config{
		InitialPacketSize:       datagramSize,
		DisablePathMTUDiscovery: true,
		MaxIncomingStreams:      streamLimit,
	}
	switch b.Workload {
	case "bulk-jumbo":
		b.note("bulk-jumbo: datagrams of %d bytes as in bulk, the library's upper limit, which path MTU discovery does not pass", datagramSize)
	case "bulk-loss":
		b.note("bulk-loss: congestion control is the library's Reno, which falls to 0.7 of the window and has no setting")
	}
	b.note("datagrams of %d bytes, path MTU discovery off; MaxIncomingStreams raised to %d; windows are the library's (512 KiB growing to 6 MiB a stream, 15 MiB a connection)", datagramSize, streamLimit)
	c.MaxIdleTimeout = b.idleTimeout()
	return c
}

func (q quicGo) listen(b *bench) (listener, error) {
	c, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	tr := &quicgo.Transport{Conn: c}
	l, err := tr.Listen(b.serverTLS.Clone(), q.config(b))
	if err != nil {
		return nil, err
	}
	return &quicGoListener{tr, l}, nil
}

func (q quicGo) dialer(b *bench) (dialer, error) {
	c, err := listenUDP(b)
	if err != nil {
		return nil, err
	}
	return &quicGoDialer{&quicgo.Transport{Conn: c}, b.clientTLS.Clone(), q.config(b)}, nil
}

type quicGoListener struct {
	tr *quicgo.Transport
	l  *quicgo.Listener
}

func (l *quicGoListener) addr() string { return l.l.Addr().String() }

func (l *quicGoListener) accept(ctx context.Context) (session, error) {
	c, err := l.l.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return quicGoSession{c}, nil
}

func (l *quicGoListener) close() {
	l.l.Close()
	l.tr.Close()
}

type quicGoDialer struct {
	tr   *quicgo.Transport
	tls  *tls.Config
	conf *quicgo.Config
}

func (d *quicGoDialer) dial(ctx context.Context, addr string) (session, error) {
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	c, err := d.tr.Dial(ctx, to, d.tls, d.conf)
	if err != nil {
		return nil, err
	}
	return quicGoSession{c}, nil
}

func (d *quicGoDialer) close() { d.tr.Close() }

type quicGoSession struct{ *quicgo.Conn }

func (s quicGoSession) open(ctx context.Context) (stream, error) {
	st, err := s.OpenStreamSync(ctx)
	return quicGoStream{st}, err
}

func (s quicGoSession) accept(ctx context.Context) (stream, error) {
	st, err := s.AcceptStream(ctx)
	return quicGoStream{st}, err
}

func (s quicGoSession) tls() tls.ConnectionState { return s.ConnectionState().TLS }
func (s quicGoSession) close()                   { s.CloseWithError(0, "") }

type quicGoStream struct{ *quicgo.Stream }

func (s quicGoStream) finish(p []byte) error {
	if _, err := s.Write(p); err != nil {
		return err
	}
	return s.Close()
}

func (s quicGoStream) done() {}
