package http3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Server serves HTTP/3 for an http.Handler. Fields and methods that http.Server has too mean
// the same. The zero Server is ready to use but for its certificate. Its fields must not change
// once it serves.
//
// Handlers have what they have with HTTP/2: http.ResponseController and http.Flusher, trailers both
// ways, informational responses, http.Pusher, reading and writing at the same time. There is no
// http.Hijacker: StreamOf gives a handler the stream below.
type Server struct {
	Addr      string       // UDP address to listen on; ":443" if empty
	Handler   http.Handler // nil is http.DefaultServeMux
	TLSConfig *tls.Config  // must have a certificate for Serve and ListenAndServe; ALPN is set to "h3"

	// QUIC holds all other options of the transport. ALPN, TLS, Handler, TicketData and AcceptEarly are set
	// by the server. IdleTimeout is that of the server if zero, MaxStreamsUni 16, and MaxDatagramFrameSize
	// 65,535 with Options.Datagrams. MaxStreamsBidi bounds the handlers that run for one session, too, and what
	// their headers cost in memory (Options.MaxHeaderListSize). A MaxStreamsUni
	// below 3, quic.None too, is refused: no client could speak HTTP/3 in full.
	QUIC    quic.ListenOptions
	Options Options // settings of HTTP/3; their Stream hook is not used

	// ReadHeaderTimeout is how long a request's headers may take from its first byte; zero means
	// ReadTimeout, and if that is zero too, no limit. ReadTimeout is the limit for the
	// whole request: later reads of its body fail with os.ErrDeadlineExceeded. WriteTimeout is
	// the limit for all after the headers: then the stream is reset with H3_INTERNAL_ERROR.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout time.Duration
	// IdleTimeout is how long a session may be without a request before it is closed, for which
	// what is on its way has 5 s. Zero means that a session ends when nothing has been heard of the peer for 30 s. While a
	// handler runs, the session is kept alive.
	IdleTimeout time.Duration

	// MaxHeaderBytes bounds the fields of a request: names, values and 32 bytes for each.
	// Zero means http.DefaultMaxHeaderBytes. More is answered with 431.
	MaxHeaderBytes int

	// AllowEarly says whether a request that came as early data is served although its method is
	// not safe. Anybody may have recorded such a request, and sent it again (RFC 8470 §3). If
	// it is nil or returns false, the answer is 425. GET, HEAD, OPTIONS and TRACE are
	// served early without being asked for; Request.TLS.HandshakeComplete is false then.
	AllowEarly func(r *http.Request) bool

	DisableGeneralOptionsHandler bool // "OPTIONS *" goes to Handler too

	ErrorLog *log.Logger // nil is the log package's
	// BaseContext returns the context that those of all requests of a socket come from; nil means the
	// background context.
	BaseContext func(s *quic.Socket) context.Context
	// ConnContext makes the context of a new session, from which those of its requests come. A session
	// for which it returns nil is refused.
	ConnContext func(ctx context.Context, s *quic.ServerSession) context.Context

	mu       sync.Mutex
	sockets  map[*quic.Socket]bool
	sessions map[*Session]bool
	onDown   []func()
	down     chan struct{} // closed by Shutdown and Close
	closing  bool
}

// ListenAndServe listens on Addr and serves until Shutdown or Close: see Serve. Without a host
// it takes IPv4 and IPv6, where the system has both.
func (s *Server) ListenAndServe() error {
	return s.serve(func(o quic.ListenOptions) (*quic.Socket, error) {
		addr := s.Addr
		if addr == "" {
			addr = ":443"
		}
		socket, err := quic.Listen(context.Background(), addr, o)
		if err != nil {
			return nil, fmt.Errorf("http3: listening on %s: %w", addr, err)
		}
		return socket, nil
	})
}

// ListenAndServeTLS is ListenAndServe with a certificate and its key from PEM files. They may be
// empty if TLSConfig has a certificate.
func (s *Server) ListenAndServeTLS(certFile, keyFile string) error {
	if certFile != "" || keyFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return fmt.Errorf("http3: certificate of the server: %w", err)
		}
		s.TLSConfig = s.tls()
		s.TLSConfig.Certificates = append([]tls.Certificate{cert}, s.TLSConfig.Certificates...)
	}
	return s.ListenAndServe()
}

// ServePacketConn serves on any net.PacketConn, such as one that was inherited or that is a
// tunnel, and closes it in the end: see Serve.
func (s *Server) ServePacketConn(c net.PacketConn) error {
	if c == nil { // which would be a port of the system's choice, on every address
		return &quic.OptionError{Option: "ServePacketConn.c", Want: "a net.PacketConn"}
	}
	socket, err := quic.NewSocket(quic.SocketOptions{PacketConn: c})
	if err != nil {
		return err
	}
	return s.Serve(socket)
}

// Serve makes a socket listen and serves its sessions. It always returns an error: as soon as
// Shutdown or Close is called http.ErrServerClosed, and Shutdown then goes on with the requests
// that are there; or why the socket could not listen or is gone. As a listener that is
// given to an http.Server, the socket is the server's from then on: it is destroyed when Serve fails,
// when Shutdown has seen its last session end, and by Close.
func (s *Server) Serve(socket *quic.Socket) error {
	if socket == nil {
		return &quic.OptionError{Option: "Serve.socket", Want: "a socket"}
	}
	err := s.serve(func(o quic.ListenOptions) (*quic.Socket, error) {
		return socket, socket.Listen(context.Background(), o)
	})
	if !s.tracks(socket) { // a Shutdown sees to it else
		socket.Destroy(nil)
	}
	return err
}

// serve serves the socket that a function makes listen. Sessions that come at once wait until
// the server knows of it.
func (s *Server) serve(listen func(quic.ListenOptions) (*quic.Socket, error)) error {
	if s.isClosing() {
		return http.ErrServerClosed
	}
	var base context.Context
	ready := make(chan struct{})
	o, err := s.listenOptions(func(q *quic.ServerSession, h3 Options) error {
		<-ready
		if base == nil {
			return http.ErrServerClosed
		}
		return s.session(base, q, h3)
	})
	if err != nil {
		return err
	}
	socket, err := listen(o)
	if err != nil {
		close(ready)
		if e := (*quic.OptionError)(nil); errors.As(err, &e) && e.Option == "ListenOptions.TLS" {
			e.Option, e.Want = "Server.TLSConfig", "a configuration with a certificate, or a QUIC.SecureContext"
		}
		return err
	}
	down, err := s.track(socket)
	if err == nil {
		base, err = s.baseContext(socket)
	}
	close(ready)
	if err != nil {
		socket.Destroy(nil)
		s.untrack(socket)
		return err
	}
	select {
	case <-down:
		return http.ErrServerClosed
	case <-socket.Closed():
	}
	s.untrack(socket)
	switch err := socket.Err(); {
	case s.isClosing():
		return http.ErrServerClosed
	case err != nil:
		return err
	}
	return net.ErrClosed
}

func (s *Server) baseContext(socket *quic.Socket) (context.Context, error) {
	base := context.Background()
	if s.BaseContext != nil {
		if base = s.BaseContext(socket); base == nil {
			return nil, errors.New("http3: Server.BaseContext returned nil")
		}
	}
	return context.WithValue(base, http.ServerContextKey, s), nil
}

// listenOptions are QUIC with what the server decides.
func (s *Server) listenOptions(handler func(*quic.ServerSession, Options) error) (quic.ListenOptions, error) {
	h3, o := s.options(), s.QUIC
	o.ALPN = ALPN
	if o.SecureContext == nil {
		o.TLS = s.tls()
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = s.IdleTimeout
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = defaultIdleTimeout
	}
	o.MaxStreamsUni = cmp.Or(o.MaxStreamsUni, serverStreamsUni)
	if err := grantsEnough("http3.Server.QUIC.MaxStreamsUni", o.MaxStreamsUni); err != nil {
		return o, err
	}
	if o.MaxStreamsBidi == 0 {
		o.MaxStreamsBidi = serverStreamsBidi
	}
	if o.MaxDatagramFrameSize == 0 && h3.Datagrams {
		o.MaxDatagramFrameSize = defaultDatagramFrame
	}
	o.Handler = func(q *quic.ServerSession) error { return handler(q, h3) }
	return o, h3.RememberSettings(&o)
}

const (
	defaultIdleTimeout = 30 * time.Second
	serverStreamsBidi  = 100 // as the default of package quic, and of most servers
	serverStreamsUni   = 16  // three critical ones, and some that nobody knows
)

// options are those of HTTP/3 with what the server's own fields say.
func (s *Server) options() Options {
	o := s.Options
	o.Hooks.Stream = nil
	if o.MaxHeaderListSize == 0 {
		o.MaxHeaderListSize = http.DefaultMaxHeaderBytes
		if s.MaxHeaderBytes > 0 {
			o.MaxHeaderListSize = s.MaxHeaderBytes
		}
		o.MaxHeaderListSize += 4096 // as net/http has it
	}
	if o.MaxHeaderLength == 0 {
		o.MaxHeaderLength = o.MaxHeaderListSize
	}
	if o.MaxHeaderPairs == 0 {
		o.MaxHeaderPairs = defaultMessagePairs
	}
	return o
}

func (s *Server) tls() *tls.Config {
	if s.TLSConfig == nil {
		return new(tls.Config)
	}
	return s.TLSConfig.Clone()
}

// Address returns where the server listens, the zero AddrPort if it does not: the address of one
// of its sockets, if it has several.
func (s *Server) Address() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	for socket := range s.sockets {
		if socket.Listening() {
			return socket.Address()
		}
	}
	return netip.AddrPort{}
}

func (s *Server) logf(format string, a ...any) {
	if s.ErrorLog != nil {
		s.ErrorLog.Printf(format, a...)
		return
	}
	log.Printf(format, a...)
}
