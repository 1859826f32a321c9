package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// patience is the handshake and idle timeout at both ends: what a machine with much
// else to do does not exceed.
const patience = 30 * time.Second

// quicGo is github.com/quic-go/quic-go.
type quicGo struct{}

func (quicGo) name() string { return "quic-go" }

func (quicGo) config(o options) *quicgo.Config {
	c := &quicgo.Config{
		HandshakeIdleTimeout:  patience,
		MaxIdleTimeout:        patience,
		MaxIncomingStreams:    o.streams,
		MaxIncomingUniStreams: o.streams,
		Allow0RTT:             o.early,
		EnableDatagrams:       o.datagrams,
	}
	if o.journal != nil {
		c.Tracer = o.journal.tracer
	}
	return c
}

func (q quicGo) transport(o options) (*quicgo.Transport, error) {
	c, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	tr := &quicgo.Transport{Conn: c}
	if o.retry {
		tr.VerifySourceAddress = func(net.Addr) bool { return true }
	}
	if o.resetKey != [32]byte{} {
		key := quicgo.StatelessResetKey(o.resetKey)
		tr.StatelessResetKey = &key
	}
	return tr, nil
}

func (q quicGo) listen(_ context.Context, o options) (server, error) {
	tr, err := q.transport(o)
	if err != nil {
		return nil, err
	}
	s, config := &quicGoServer{tr: tr}, q.config(o)
	if o.version2 {
		config.Versions = []quicgo.Version{quicgo.Version2}
	}
	if o.early {
		l, err := tr.ListenEarly(o.tls, config)
		s.next = func(ctx context.Context) (*quicgo.Conn, error) { return l.Accept(ctx) }
		return s, err
	}
	l, err := tr.Listen(o.tls, config)
	s.next = func(ctx context.Context) (*quicgo.Conn, error) { return l.Accept(ctx) }
	return s, err
}

func (q quicGo) client(_ context.Context, o options) (client, error) {
	tr, err := q.transport(o)
	if err != nil {
		return nil, err
	}
	c := &quicGoClient{tr: tr, tls: o.tls, config: q.config(o)}
	c.config.TokenStore = quicgo.NewLRUTokenStore(4, 4)
	if o.version2 {
		c.config.Versions = []quicgo.Version{quicgo.Version2, quicgo.Version1}
	}
	return c, nil
}

type quicGoServer struct {
	tr   *quicgo.Transport
	next func(context.Context) (*quicgo.Conn, error)
}

func (s *quicGoServer) addr() netip.AddrPort { return addrPort(s.tr.Conn.LocalAddr()) }

func (s *quicGoServer) accept(ctx context.Context) (conn, error) {
	c, err := s.next(ctx)
	if err != nil {
		return nil, err
	}
	return &quicGoConn{Conn: c}, nil
}

// Close implements server. The transport does not close a socket that it was given.
func (s *quicGoServer) Close() error { return errors.Join(s.tr.Close(), s.tr.Conn.Close()) }

type quicGoClient struct {
	tr     *quicgo.Transport
	tls    *tls.Config
	config *quicgo.Config
}

func (c *quicGoClient) dial(ctx context.Context, to netip.AddrPort, early bool) (conn, error) {
	dial := c.tr.Dial
	if early {
		dial = c.tr.DialEarly
	}
	got, err := dial(ctx, net.UDPAddrFromAddrPort(to), c.tls, c.config)
	if err != nil {
		return nil, quicGoFailure(err)
	}
	return &quicGoConn{Conn: got}, nil
}

// Close implements client.
func (c *quicGoClient) Close() error { return errors.Join(c.tr.Close(), c.tr.Conn.Close()) }

// quicGoConn is a conn. The transports are those that it has moved to.
type quicGoConn struct {
	*quicgo.Conn
	moved []*quicgo.Transport
}

func (c *quicGoConn) handshake(ctx context.Context) error {
	select {
	case <-c.HandshakeComplete():
		return nil
	case <-c.Context().Done():
		return quicGoFailure(context.Cause(c.Context()))
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *quicGoConn) secure() bool {
	select {
	case <-c.HandshakeComplete():
		return true
	default:
		return false
	}
}

func (c *quicGoConn) open(ctx context.Context, uni bool) (stream, error) {
	if uni {
		s, err := c.OpenUniStreamSync(ctx)
		return quicGoStream{send: s}, quicGoFailure(err)
	}
	s, err := c.OpenStreamSync(ctx)
	return quicGoBidi(s), quicGoFailure(err)
}

func (c *quicGoConn) accept(ctx context.Context, uni bool) (stream, error) {
	if uni {
		s, err := c.AcceptUniStream(ctx)
		return quicGoStream{receive: s}, quicGoFailure(err)
	}
	s, err := c.AcceptStream(ctx)
	return quicGoBidi(s), quicGoFailure(err)
}

func (c *quicGoConn) tls() tls.ConnectionState { return c.ConnectionState().TLS }
func (c *quicGoConn) usedEarly() bool          { return c.ConnectionState().Used0RTT }
func (c *quicGoConn) remote() netip.AddrPort   { return addrPort(c.RemoteAddr()) }

// updateKey does nothing: quic-go updates its keys by itself after a number of
// packets, which the cases lower.
func (c *quicGoConn) updateKey() (bool, error) { return false, errNoWay }

func (c *quicGoConn) close(code uint64, reason string) {
	c.CloseWithError(quicgo.ApplicationErrorCode(code), reason)
	for _, tr := range c.moved {
		tr.Close()
		tr.Conn.Close()
	}
}

func (c *quicGoConn) ended(ctx context.Context) error {
	select {
	case <-c.Context().Done():
		return quicGoFailure(context.Cause(c.Context()))
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *quicGoConn) retry(ctx context.Context) (conn, error) {
	next, err := c.NextConnection(ctx)
	return &quicGoConn{Conn: next}, quicGoFailure(err)
}

func (c *quicGoConn) move(ctx context.Context, rebinding bool) (netip.AddrPort, error) {
	if rebinding {
		return netip.AddrPort{}, errNoWay
	}
	tr, err := quicGo{}.transport(options{})
	if err != nil {
		return netip.AddrPort{}, err
	}
	c.moved = append(c.moved, tr)
	path, err := c.AddPath(tr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if err := path.Probe(ctx); err != nil {
		return netip.AddrPort{}, err
	}
	return addrPort(tr.Conn.LocalAddr()), path.Switch()
}

// quicGoStream is a stream of any kind: what it cannot do is nil.
type quicGoStream struct {
	send interface {
		io.WriteCloser
		StreamID() quicgo.StreamID
		CancelWrite(quicgo.StreamErrorCode)
	}
	receive interface {
		io.Reader
		StreamID() quicgo.StreamID
		CancelRead(quicgo.StreamErrorCode)
	}
}

func quicGoBidi(s *quicgo.Stream) quicGoStream { return quicGoStream{s, s} }

func (s quicGoStream) id() int64 {
	if s.send != nil {
		return int64(s.send.StreamID())
	}
	return int64(s.receive.StreamID())
}

// Read implements io.Reader.
func (s quicGoStream) Read(p []byte) (int, error) {
	n, err := s.receive.Read(p)
	return n, quicGoFailure(err)
}

// Write implements io.Writer.
func (s quicGoStream) Write(p []byte) (int, error) {
	n, err := s.send.Write(p)
	return n, quicGoFailure(err)
}

func (s quicGoStream) finish() error     { return quicGoFailure(s.send.Close()) }
func (s quicGoStream) reset(code uint64) { s.send.CancelWrite(quicgo.StreamErrorCode(code)) }
func (s quicGoStream) stop(code uint64)  { s.receive.CancelRead(quicgo.StreamErrorCode(code)) }

// quicGoFailure puts an error into common terms if there are any.
func quicGoFailure(err error) error {
	var (
		app    *quicgo.ApplicationError
		tr     *quicgo.TransportError
		reset  *quicgo.StatelessResetError
		vn     *quicgo.VersionNegotiationError
		stream *quicgo.StreamError
	)
	switch {
	case errors.Is(err, quicgo.Err0RTTRejected):
		return errEarlyRejected
	case errors.As(err, &stream):
		return &failure{byPeerStream, uint64(stream.ErrorCode), stream.Remote, "", err}
	case errors.As(err, &app):
		return &failure{byApplication, uint64(app.ErrorCode), app.Remote, app.ErrorMessage, err}
	case errors.As(err, &tr):
		return &failure{byTransport, uint64(tr.ErrorCode), tr.Remote, tr.ErrorMessage, err}
	case errors.As(err, &reset):
		return &failure{byStatelessReset, 0, true, "", err}
	case errors.As(err, &vn):
		return &failure{byVersion, 0, true, "", err}
	}
	return err
}
