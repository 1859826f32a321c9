package main

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
)

// tcp is TLS 1.3 over TCP from crypto/tls and net: a session has one stream,
// which is the connection itself and lasts as long.
type tcp struct{}

// control sets the buffers before connections exist, since the window's scale follows from them.
func (tcp) control(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { setBuffers(int(fd)) })
}

func (t tcp) socket(b *bench) (net.Listener, error) {
	lc := net.ListenConfig{Control: t.control}
	l, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	noteBuffers(b, l.(*net.TCPListener))
	return l, nil
}

func (t tcp) listen(b *bench) (listener, error) {
	l, err := t.socket(b)
	if err != nil {
		return nil, err
	}
	return &tcpListener{l, b.serverTLS}, nil
}

func (t tcp) dialer(b *bench) (dialer, error) {
	return &tcpDialer{net.Dialer{Control: t.control}, b.clientTLS}, nil
}

type tcpListener struct {
	net.Listener
	tls *tls.Config
}

func (l *tcpListener) addr() string { return l.Addr().String() }
func (l *tcpListener) close()       { l.Close() }

func (l *tcpListener) accept(context.Context) (session, error) {
	c, err := l.Accept()
	if err != nil {
		return nil, err
	}
	return &tcpSession{tls.Server(c, l.tls)}, nil
}

type tcpDialer struct {
	net.Dialer
	tls *tls.Config
}

func (d *tcpDialer) close() {}

func (d *tcpDialer) dial(ctx context.Context, addr string) (session, error) {
	c, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	s := &tcpSession{tls.Client(c, d.tls)}
	return s, s.conn.HandshakeContext(ctx)
}

type tcpSession struct{ conn *tls.Conn }

func (s *tcpSession) open(context.Context) (stream, error) { return tcpStream{s.conn}, nil }

func (s *tcpSession) accept(ctx context.Context) (stream, error) {
	return tcpStream{s.conn}, s.conn.HandshakeContext(ctx)
}

func (s *tcpSession) tls() tls.ConnectionState { return s.conn.ConnectionState() }
func (s *tcpSession) close()                   { s.conn.Close() }

type tcpStream struct{ *tls.Conn }

func (s tcpStream) finish(p []byte) error {
	if _, err := s.Write(p); err != nil {
		return err
	}
	return s.CloseWrite()
}

func (s tcpStream) done() {}
