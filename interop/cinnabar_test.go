package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// cinnabar is this repository.
type cinnabar struct{}

func (cinnabar) name() string { return "Cinnabar" }

func (cinnabar) socket(o options) (*quic.Socket, error) {
	so := quic.SocketOptions{
		Endpoint:        quic.EndpointOptions{Address: "127.0.0.1"},
		ValidateAddress: o.retry,
	}
	if o.resetKey != [32]byte{} {
		so.StatelessResetSecret = o.resetKey[:16]
	}
	return quic.NewSocket(so)
}

func (c cinnabar) listen(ctx context.Context, o options) (server, error) {
	s, err := c.socket(o)
	if err != nil {
		return nil, err
	}
	err = s.Listen(ctx, quic.ListenOptions{
		TLS:                  o.tls,
		Versions:             o.versions(),
		DisableEarlyData:     !o.early,
		HandshakeTimeout:     patience,
		IdleTimeout:          patience,
		MaxStreamsBidi:       o.streams,
		MaxStreamsUni:        o.streams,
		MaxDatagramFrameSize: o.datagramSize(),
	})
	return &cinnabarServer{s, o.early}, err
}

func (c cinnabar) client(_ context.Context, o options) (client, error) {
	s, err := c.socket(o)
	return &cinnabarClient{s, o}, err
}

// datagramSize is quic.ConnectOptions.MaxDatagramFrameSize: any that fits a packet, or none.
func (o *options) datagramSize() int {
	if o.datagrams {
		return 65_535
	}
	return 0
}

type cinnabarServer struct {
	socket *quic.Socket
	early  bool
}

func (s *cinnabarServer) addr() netip.AddrPort { return s.socket.Address() }

func (s *cinnabarServer) accept(ctx context.Context) (conn, error) {
	v, err := s.socket.Accept(ctx)
	if err != nil {
		return nil, err
	}
	if !s.early && !v.HandshakeComplete() {
		return nil, errors.New("session accepted before its handshake was done")
	}
	return &cinnabarConn{Session: &v.Session}, nil
}

// Close implements server.
func (s *cinnabarServer) Close() error {
	s.socket.Destroy(nil)
	return nil
}

type cinnabarClient struct {
	socket *quic.Socket
	opts   options
}

func (c *cinnabarClient) dial(ctx context.Context, to netip.AddrPort, early bool) (conn, error) {
	v, err := c.socket.Connect(ctx, quic.ConnectOptions{
		Address:              to.Addr().String(),
		Port:                 int(to.Port()),
		TLS:                  c.opts.tls,
		Versions:             c.opts.versions(),
		DisableEarlyData:     !early,
		HandshakeTimeout:     patience,
		IdleTimeout:          patience,
		MaxStreamsBidi:       c.opts.streams,
		MaxStreamsUni:        c.opts.streams,
		MaxDatagramFrameSize: c.opts.datagramSize(),
	})
	if err != nil {
		return nil, err
	}
	got := &cinnabarConn{Session: &v.Session}
	if early {
		return got, nil
	}
	return got, got.handshake(ctx)
}

// Close implements client.
func (c *cinnabarClient) Close() error {
	c.socket.Destroy(nil)
	return nil
}

// cinnabarConn is a conn. The sockets are those that it has moved to.
type cinnabarConn struct {
	*quic.Session
	moved []*quic.Socket
}

func (c *cinnabarConn) handshake(ctx context.Context) error {
	return cinnabarFailure(c.Handshake(ctx))
}

func (c *cinnabarConn) secure() bool { return c.HandshakeComplete() }

func (c *cinnabarConn) open(ctx context.Context, uni bool) (stream, error) {
	s, err := c.OpenStream(ctx, quic.StreamOptions{HalfOpen: uni})
	return cinnabarStream{s}, cinnabarFailure(err)
}

func (c *cinnabarConn) accept(ctx context.Context, uni bool) (stream, error) {
	s, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, cinnabarFailure(err)
	}
	if s.Unidirectional() != uni {
		return nil, fmt.Errorf("accepted stream %d, unidirectional %t, want the other kind", s.ID(), !uni)
	}
	return cinnabarStream{s}, nil
}

func (c *cinnabarConn) tls() tls.ConnectionState { return c.ConnectionState() }
func (c *cinnabarConn) usedEarly() bool          { return c.EarlyDataAccepted() }
func (c *cinnabarConn) remote() netip.AddrPort   { return c.RemoteAddress() }

// updateKey starts an update, unless the last one or the handshake is not confirmed yet.
func (c *cinnabarConn) updateKey() (bool, error) {
	if !c.HandshakeConfirmed() {
		return false, nil
	}
	return c.UpdateKey()
}

func (c *cinnabarConn) close(code uint64, reason string) {
	c.CloseWithError(code, reason)
	for _, s := range c.moved {
		s.Destroy(nil)
	}
}

func (c *cinnabarConn) ended(ctx context.Context) error {
	select {
	case <-c.Closed():
		return cinnabarFailure(c.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cinnabarConn) move(ctx context.Context, rebinding bool) (netip.AddrPort, error) {
	s, err := cinnabar{}.socket(options{})
	if err != nil {
		return netip.AddrPort{}, err
	}
	c.moved = append(c.moved, s)
	if err := c.Client().SetSocket(ctx, s, rebinding); err != nil {
		return netip.AddrPort{}, err
	}
	return s.Address(), nil
}

// cinnabarStream is a stream of either kind.
type cinnabarStream struct{ *quic.Stream }

func (s cinnabarStream) id() int64 { return s.ID() }

// Read implements io.Reader.
func (s cinnabarStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	return n, cinnabarFailure(err)
}

// Write implements io.Writer.
func (s cinnabarStream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	return n, cinnabarFailure(err)
}

func (s cinnabarStream) finish() error     { return cinnabarFailure(s.CloseWrite()) }
func (s cinnabarStream) reset(code uint64) { s.Reset(code) }
func (s cinnabarStream) stop(code uint64)  { s.Stop(code) }

// early reports whether the stack says that the stream's data came as 0-RTT.
func (s cinnabarStream) early() bool { return s.Early() }

// cinnabarFailure puts an error into common terms if there are any.
func cinnabarFailure(err error) error {
	var (
		app    *quic.ApplicationError
		tr     *quic.TransportError
		reset  *quic.StatelessResetError
		vn     *quic.VersionNegotiationError
		stream *quic.StreamError
	)
	switch {
	case errors.As(err, &stream):
		return &failure{byPeerStream, stream.ErrorCode, stream.Remote, "", err}
	case errors.As(err, &app):
		return &failure{byApplication, app.ErrorCode, app.Remote, app.Reason, err}
	case errors.As(err, &tr):
		return &failure{byTransport, tr.ErrorCode, tr.Remote, tr.Reason, err}
	case errors.As(err, &reset):
		return &failure{byStatelessReset, 0, true, "", err}
	case errors.As(err, &vn):
		return &failure{byVersion, 0, true, "", err}
	}
	return err
}
