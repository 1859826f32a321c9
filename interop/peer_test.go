package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// implementation is a QUIC stack, as the cases see it: they are written once and
// know neither of the two.
type implementation interface {
	name() string
	listen(ctx context.Context, o options) (server, error)
	client(ctx context.Context, o options) (client, error)
}

// options are what cases ask of an endpoint. The zero value is an ordinary one.
type options struct {
	tls       *tls.Config
	early     bool     // server: take 0-RTT, and hand out connections before their handshake is done
	retry     bool     // server: every client without a token proves its address first
	resetKey  [32]byte // what stateless reset tokens are derived from; zero: the stack's own choice
	version2  bool     // quic-go: prefer QUIC version 2 as a client, know nothing else as a server; Cinnabar: know version 1 alone
	streams   int64    // how many streams of each kind the peer may have open; 0: 100
	datagrams bool     // take unreliable datagrams
	journal   *journal // where quic-go writes what it does
}

// server takes connections on a loopback port of its own.
type server interface {
	addr() netip.AddrPort
	accept(ctx context.Context) (conn, error)
	io.Closer
}

// client is a socket to dial from.
type client interface {
	// dial returns a connection: with early, as soon as its first flight can carry
	// data, otherwise when the handshake is done.
	dial(ctx context.Context, to netip.AddrPort, early bool) (conn, error)
	io.Closer
}

// conn is a connection. Only one kind of stream may be waiting to be accepted.
type conn interface {
	handshake(ctx context.Context) error // waits until it is complete
	secure() bool                        // whether it is complete
	open(ctx context.Context, uni bool) (stream, error)
	accept(ctx context.Context, uni bool) (stream, error)
	tls() tls.ConnectionState
	usedEarly() bool // as the stack says after the handshake
	remote() netip.AddrPort
	updateKey() (bool, error) // starts a key update if the last is over; errNoWay where the stack has none
	close(code uint64, reason string)
	ended(ctx context.Context) error // waits for the end and tells the reason
}

// mover is a conn that the client can take to another socket.
type mover interface {
	// move goes to a new socket and returns its address. With rebinding, the peer is
	// to be surprised: no path is validated before.
	move(ctx context.Context, rebinding bool) (netip.AddrPort, error)
}

// retrier is a conn on which early data that was rejected must be sent again by the
// program: the conn that retry returns is the one to do it on.
type retrier interface {
	retry(ctx context.Context) (conn, error)
}

// stream is a stream of either kind.
type stream interface {
	io.ReadWriter
	id() int64
	finish() error // ends the writing side
	reset(code uint64)
	stop(code uint64)
}

var (
	errNoWay         = errors.New("the implementation has no way to do this")
	errEarlyRejected = errors.New("early data rejected")
)

// kind says what ended a connection or a stream.
type kind string

const (
	byApplication    kind = "application close"
	byTransport      kind = "transport error"
	byStatelessReset kind = "stateless reset"
	byVersion        kind = "no common version"
	byPeerStream     kind = "stream cut off by the peer"
)

// failure is an error of either stack in common terms.
type failure struct {
	kind   kind
	code   uint64
	remote bool
	reason string
	err    error // as the stack said it
}

// Error tells all of it.
func (f *failure) Error() string {
	return fmt.Sprintf("%s: code %#x, remote %t, reason %q (%v)", f.kind, f.code, f.remote, f.reason, f.err)
}

// Unwrap returns the stack's own error.
func (f *failure) Unwrap() error { return f.err }

// wantFailure returns an error unless err is the failure that it should be.
func wantFailure(err error, what kind, code uint64, remote bool) error {
	var f *failure
	if !errors.As(err, &f) || f.kind != what || f.code != code || f.remote != remote {
		return fmt.Errorf("got %v, want %s with code %#x, remote %t", err, what, code, remote)
	}
	return nil
}

// addrPort returns the address of a UDP socket.
func addrPort(a net.Addr) netip.AddrPort {
	p := a.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func listenLoopback() (*net.UDPConn, error) {
	return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
}

// versions are those that Cinnabar speaks.
func (o options) versions() []quic.Version {
	if o.version2 {
		return []quic.Version{quic.Version1}
	}
	return nil
}
