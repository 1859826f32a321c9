package main

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync/atomic"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// cinnabar is this repository.
type cinnabar struct{}

func (cinnabar) socket(b *bench, hooks quic.SocketHooks) (*quic.Socket, error) {
	b.note("datagrams of %d bytes at most (MaxUDPPayloadSize of both ends) but in bulk-jumbo; MaxStreamsBidi raised to %d, MaxConnectionsPerHost to %d; windows are the library's (256 KiB growing a stream, 1 MiB a session)", datagramSize, streamLimit, hostLimit)
	return quic.NewSocket(quic.SocketOptions{
		Endpoint:              quic.EndpointOptions{Address: "127.0.0.1", ReceiveBuffer: socketBuffer, SendBuffer: socketBuffer},
		MaxConnectionsPerHost: hostLimit,
		Hooks:                 hooks,
		Logf:                  b.note,
	})
}

// congestion is the congestion control of both ends, "" for the library's, which is Reno.
func (cinnabar) congestion(b *bench) string {
	if b.Workload == "bulk-loss" {
		b.note("bulk-loss: congestion control is CUBIC at both ends (CongestionAlgorithm)")
		return "cubic"
	}
	return ""
}

// largestDatagram is what both ends take at most. In bulk-jumbo that is all that IPv4 carries
// in one batch, so that nothing but the path limits datagrams.
func (cinnabar) largestDatagram(b *bench) int {
	if b.Workload == "bulk-jumbo" {
		return 65_487
	}
	return datagramSize
}

// triedDatagram is what path MTU discovery tries at most.
func (c cinnabar) triedDatagram(b *bench) int { return min(c.largestDatagram(b), 65_487) }

func (c cinnabar) listen(b *bench) (listener, error) {
	s, err := c.socket(b, quic.SocketHooks{})
	if err != nil {
		return nil, err
	}
	err = s.Listen(context.Background(), quic.ListenOptions{
		TLS:                 b.serverTLS.Clone(),
		CongestionAlgorithm: c.congestion(b),
		MaxUDPPayloadSize:   c.largestDatagram(b),
		MaxDatagramSize:     c.triedDatagram(b),
		MaxStreamsBidi:      streamLimit,
		IdleTimeout:         b.idleTimeout(),
	})
	return &cinnabarListener{s: s, b: b}, err
}

func (c cinnabar) dialer(b *bench) (dialer, error) {
	s, err := c.socket(b, quic.SocketHooks{})
	if err != nil {
		return nil, err
	}
	return &cinnabarDialer{s, quic.ConnectOptions{
		TLS:                 b.clientTLS.Clone(),
		ServerName:          serverName,
		CongestionAlgorithm: c.congestion(b),
		MaxUDPPayloadSize:   c.largestDatagram(b),
		MaxDatagramSize:     c.triedDatagram(b),
		IdleTimeout:         b.idleTimeout(),
	}}, nil
}

type cinnabarListener struct {
	s    *quic.Socket
	b    *bench
	last atomic.Pointer[quic.ServerSession]
}

func (l *cinnabarListener) addr() string { return l.s.Address().String() }

func (l *cinnabarListener) accept(ctx context.Context) (session, error) {
	s, err := l.s.Accept(ctx)
	if err != nil {
		return nil, err
	}
	l.last.Store(s)
	return cinnabarSession{&s.Session}, nil
}

func (l *cinnabarListener) close() {
	if s := l.last.Load(); s != nil && l.b.Workload == "bulk-jumbo" {
		l.b.note("bulk-jumbo: datagrams of %d bytes at the end of the transfer", s.Stats().MTU)
	}
	l.s.Destroy(nil)
}

type cinnabarDialer struct {
	s *quic.Socket
	o quic.ConnectOptions
}

func (d *cinnabarDialer) close() { d.s.Destroy(nil) }

func (d *cinnabarDialer) dial(ctx context.Context, addr string) (session, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	o := d.o
	o.Address, o.Port = to.Addr().String(), int(to.Port())
	s, err := d.s.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return cinnabarSession{&s.Session}, s.Handshake(ctx)
}

type cinnabarSession struct{ *quic.Session }

func (s cinnabarSession) open(ctx context.Context) (stream, error) {
	st, err := s.OpenStream(ctx, quic.StreamOptions{})
	return cinnabarStream{st}, err
}

func (s cinnabarSession) accept(ctx context.Context) (stream, error) {
	st, err := s.AcceptStream(ctx)
	return cinnabarStream{st}, err
}

func (s cinnabarSession) tls() tls.ConnectionState { return s.ConnectionState() }
func (s cinnabarSession) close()                   { s.CloseWithError(0, "") }

type cinnabarStream struct{ *quic.Stream }

func (s cinnabarStream) finish(p []byte) error {
	_, err := s.End(p)
	return err
}

func (s cinnabarStream) done() {}
