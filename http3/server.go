package http3

import (
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
// the same. The zero Server is ready to use but for its certificate.
type Server struct {
	Addr      string       // UDP address to listen on; ":443" if empty
	Handler   http.Handler // nil is http.DefaultServeMux
	TLSConfig *tls.Config  // must have a certificate for Serve and ListenAndServe; ALPN is set to "h3"

	// QUIC holds all other options of the transport. ALPN, TLS and Handler are set by the
	// server, and so are some where zero is too little for HTTP/3: see the package's
	// documentation.
	QUIC    quic.ListenOptions
	Options Options // settings of HTTP/3; their Stream hook is not used

	// ReadHeaderTimeout is how long a request's headers may take from its first byte; zero means
	// ReadTimeout, and if that is zero too, no limit. ReadTimeout is the limit for the
	// whole request, WriteTimeout for all after its headers. IdleTimeout is how long a session may be
	// silent; zero means 30 s.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration

	// MaxHeaderBytes bounds the fields of a request, names, values and 32 bytes for each;
	// zero means http.DefaultMaxHeaderBytes. More is answered with 431.
	MaxHeaderBytes int

	ErrorLog    *log.Logger // nil is the log package's
	BaseContext func(*quic.Socket) context.Context
	ConnContext func(ctx context.Context, s *quic.ServerSession) context.Context

	mu       sync.Mutex
	sockets  map[*quic.Socket]bool // true: made here, and destroyed in the end
	sessions map[*Session]bool
	onDown   []func()
	closing  bool
}

// ListenAndServe listens on Addr and serves until Shutdown or Close: see Serve.
func (s *Server) ListenAndServe() error {
	socket, err := s.listen()
	if err != nil {
		return err
	}
	return s.serve(socket, true)
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

// listen makes a socket for Addr.
func (s *Server) listen() (*quic.Socket, error) {
	addr := s.Addr
	if addr == "" {
		addr = ":443"
	}
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("http3: address of the server: %w", err)
	}
	o := quic.EndpointOptions{Port: udp.Port}
	if udp.IP != nil {
		o.Address = udp.IP.String()
		if udp.IP.To4() == nil {
			o.Type = quic.UDP6
		}
	}
	return quic.NewSocket(quic.SocketOptions{Endpoint: o})
}

// ServePacketConn serves on any net.PacketConn, such as one that was inherited or that is a
// tunnel, and closes it in the end.
func (s *Server) ServePacketConn(c net.PacketConn) error {
	socket, err := quic.NewSocket(quic.SocketOptions{PacketConn: c})
	if err != nil {
		return err
	}
	return s.serve(socket, true)
}

// Serve makes a socket listen and serves its sessions until Shutdown or Close, which is when it
// returns http.ErrServerClosed; or until the socket is gone, and returns why. The socket stays
// the caller's: Shutdown and Close end the sessions, and new ones are refused.
func (s *Server) Serve(socket *quic.Socket) error { return s.serve(socket, false) }

func (s *Server) serve(socket *quic.Socket, own bool) error {
	if own {
		defer socket.Destroy(nil)
	}
	if !s.track(socket, own) {
		return http.ErrServerClosed
	}
	defer s.untrack(socket)
	base := context.Background()
	if s.BaseContext != nil {
		if base = s.BaseContext(socket); base == nil {
			return errors.New("http3: Server.BaseContext returned nil")
		}
	}
	base = context.WithValue(base, http.ServerContextKey, s)
	o, err := s.listenOptions(base)
	if err != nil {
		return err
	}
	if err := socket.Listen(base, o); err != nil {
		return err
	}
	<-socket.Closed()
	if s.isClosing() {
		return http.ErrServerClosed
	}
	if err := socket.Err(); err != nil {
		return err
	}
	return net.ErrClosed
}

// listenOptions are QUIC with what the server decides.
func (s *Server) listenOptions(base context.Context) (quic.ListenOptions, error) {
	h3, err := s.options().settled()
	if err != nil {
		return quic.ListenOptions{}, err
	}
	o := s.QUIC
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
	if o.MaxStreamsUni == 0 {
		o.MaxStreamsUni = serverStreamsUni
	}
	o.Handler = func(q *quic.ServerSession) error { return s.session(base, q, h3) }
	return o, nil
}

const (
	defaultIdleTimeout = 30 * time.Second
	serverStreamsUni   = 16 // three critical ones, and some that nobody knows
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
		o.MaxHeaderPairs = 1000
	}
	return o
}

func (s *Server) tls() *tls.Config {
	if s.TLSConfig == nil {
		return new(tls.Config)
	}
	return s.TLSConfig.Clone()
}

// session is the Handler of the sockets.
func (s *Server) session(base context.Context, q *quic.ServerSession, o Options) error {
	c := &serverConn{server: s, q: q}
	h, err := newSession(&q.Session, o, c.serve)
	if err != nil {
		return err
	}
	c.h3 = h
	c.ctx = context.WithValue(base, http.LocalAddrContextKey, q.LocalAddr())
	if s.ConnContext != nil {
		if c.ctx = s.ConnContext(c.ctx, q); c.ctx == nil {
			return errors.New("http3: Server.ConnContext returned nil")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return http.ErrServerClosed
	}
	if s.sessions == nil {
		s.sessions = make(map[*Session]bool)
	}
	s.sessions[h] = true
	return nil
}

func (s *Server) track(socket *quic.Socket, own bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.sockets == nil {
		s.sockets = make(map[*quic.Socket]bool)
	}
	s.sockets[socket] = own
	return true
}

func (s *Server) untrack(socket *quic.Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, socket)
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Address returns where the server listens, the zero value if it does not.
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

// Close ends all sessions at once.
func (s *Server) Close() error {
	for _, h := range s.close() {
		_ = h.CloseWithError(NoError, "")
	}
	s.destroy()
	return nil
}

// Shutdown ends the server in peace: clients are told GOAWAY, their requests are answered, and
// it waits for that. If the context ends first, its error is returned, and sessions go on.
func (s *Server) Shutdown(ctx context.Context) error {
	list := s.close()
	for _, h := range list {
		_ = h.Close()
	}
	for _, h := range list {
		select {
		case <-h.q.Closed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.destroy()
	return nil
}

// close lets nothing new in, and returns what is there.
func (s *Server) close() []*Session {
	s.mu.Lock()
	s.closing = true
	var list []*Session
	for h := range s.sessions {
		list = append(list, h)
	}
	hooks := s.onDown
	s.onDown = nil
	s.mu.Unlock()
	for _, f := range hooks {
		go f()
	}
	return list
}

// destroy ends the sockets.
func (s *Server) destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for socket := range s.sockets {
		socket.Destroy(nil)
	}
}

// RegisterOnShutdown registers a function that Shutdown and Close call, on a goroutine of its own.
func (s *Server) RegisterOnShutdown(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDown = append(s.onDown, f)
}
