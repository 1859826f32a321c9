package quic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// Connect binds the socket if need be, makes a client session and starts its
// handshake (CLI-002). It returns when the first flight is on its way, so that a
// resumed session can send early data; Session.Handshake waits for the rest. Options
// left at zero are those of SocketOptions.Client. The error is an *OptionError, the
// resolver's, the system's, the context's, an *OperationError if the server is on the
// BlockList or out of reach, or a *StateError if the socket is closing or closed.
// With DelayHandshake nothing is on its way before StartHandshake.
func (s *Socket) Connect(ctx context.Context, o ConnectOptions) (*ClientSession, error) {
	return s.connect(ctx, o, false)
}

func (s *Socket) connect(ctx context.Context, o ConnectOptions, owns bool) (*ClientSession, error) {
	const op = "Socket.Connect"
	so, err := o.resolve(&s.opts.Client)
	if err != nil {
		return nil, err
	}
	ip, err := s.lookup(ctx, o.Lookup, o.Address, o.Type)
	if err != nil {
		if e, ok := err.(*OptionError); ok {
			e.code = CodeFailedSession
		}
		return nil, err
	}
	if s.block.Check(ip) {
		return nil, &OperationError{Op: op, Err: fmt.Errorf("%v is on the socket's block list", ip)}
	}
	remote := netip.AddrPortFrom(ip, uint16(o.Port))
	o.Address = cmp.Or(o.Address, ip.String())
	c := &ClientSession{
		tokenStore: cmp.Or(o.TokenStore, s.opts.TokenStore),
		home:       remote,
		preferring: o.PreferredAddressPolicy == "accept",
		delayed:    o.DelayHandshake,
		allowEarly: o.SessionTicket != nil && o.RemoteTransportParams != nil,
	}
	if owns {
		c.owned = s
	}
	r := newTLSRunner(&c.Session)
	r.config = r.clientTLS(&o)
	c.alpn = r.config.NextProtos
	c.serverName = sni(r.config.ServerName)
	c.tokenKey = c.serverName + " " + remote.String()
	c.tickets = &ticketCache{c: c, user: r.config.ClientSessionCache}
	resumed, err := c.tickets.load(&o, r)
	if err != nil {
		return nil, err
	}
	r.config.ClientSessionCache = c.tickets
	if r.config.SessionTicketsDisabled = r.noTickets(); r.config.SessionTicketsDisabled {
		resumed, c.tickets.past = nil, nil
	}
	r.resume = resumed != nil
	if err := s.bind(ctx, op); err != nil {
		return nil, err
	}
	config := so.config()
	config.Resumed = resumed
	config.AcceptPreferred = c.preferring
	config.Versions, config.FirstVersion = numbers(o.Versions), uint32(o.FirstVersion)
	if c.tickets.loaded != nil {
		config.FirstVersion = c.tickets.version
	}
	config.Token = c.tokenStore.Take(c.tokenKeyIn(config.First()))
	config.Delayed = o.DelayHandshake
	config.QLog = o.QLog && !o.DisableQLog
	o.setDCID(&config)
	if err := c.start(op, s, remote, &config, &so, o.Hooks, r); err != nil {
		return nil, err
	}
	return c, nil
}

// start makes the machine of a client session and sends its first flight.
func (c *ClientSession) start(op string, s *Socket, remote netip.AddrPort, config *transport.Config, so *sessionOptions, h SessionHooks, r *tlsRunner) error {
	s.mu.Lock()
	e := s.endpointTo(remote.Addr())
	if s.life != socketBound || e == nil {
		defer s.mu.Unlock()
		if s.life != socketBound {
			return s.stateError(op)
		}
		return &OperationError{Op: op, Err: fmt.Errorf("no endpoint can reach %v: add one of its family", remote)}
	}
	config.ResetToken = s.mux.ResetToken
	path := dgram.Path{Local: e.local, Remote: remote}
	conn := s.mux.Connect(now(), path, config)
	c.Session.init(s, e, conn, so, h)
	c.Session.client = c
	s.counts.clientSessions++
	s.link(&c.Session)
	c.mu.Lock() // nobody else can have it: the session is not known yet
	s.mu.Unlock()
	c.tls = r
	conn.LogALPN(now(), c.alpn, "")
	delayed := c.delayed
	r.running = !delayed
	c.unlock(flushNow) // its connection ID becomes routable
	if delayed {
		return nil
	}
	return c.firstFlight(r)
}

// Listen opens a socket at an address, as "localhost:4433" or ":4433", and makes it
// take sessions: Socket.Accept returns them. Without a host it takes IPv4 and IPv6
// where the system has both.
func Listen(ctx context.Context, address string, o ListenOptions) (*Socket, error) {
	host, port, err := splitAddress(ctx, address, 0)
	if err != nil {
		return nil, err
	}
	var first error
	for _, network := range familiesOf(host) {
		s, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Address: host, Port: port, Type: network}})
		if err != nil {
			return nil, err
		}
		if err = s.Listen(ctx, o); err == nil {
			return s, nil
		}
		s.Destroy(nil)
		first = cmp.Or(first, err)
		if !lacking(err) {
			break
		}
	}
	return nil, first
}

// lacking reports whether err says that the system or the host has no address of a
// family, so that the other one may do. A port that is taken is no reason: half of the
// clients would talk to somebody else.
func lacking(err error) bool {
	const wsaProtoNoSupport, wsaAFNoSupport, wsaAddrNotAvail = 10_043, 10_047, 10_049 // Windows's names for it
	var dns *net.DNSError
	var address *net.AddrError
	var option *OptionError
	if errors.As(err, &dns) || errors.As(err, &address) || errors.As(err, &option) && strings.HasSuffix(option.Option, ".Address") {
		return true
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL,
		wsaProtoNoSupport, wsaAFNoSupport, wsaAddrNotAvail:
		return true
	}
	return false
}

// Dial connects to a server at an address, as "example.com:4433", over a socket of
// the session's own, and waits until the handshake is complete; a session that
// resumes with early data, or has to wait for StartHandshake, is returned before that. Address and Port of the options
// are ignored, and Type decides between IPv4 and IPv6, which otherwise are tried in
// this order. A closed port is told by silence only: with a *HandshakeTimeoutError, or, if
// the context ends first, an *OperationError in which errors.Is finds the context's error.
func Dial(ctx context.Context, address string, o ConnectOptions) (*ClientSession, error) {
	host, port, err := splitAddress(ctx, address, 1)
	if err != nil {
		return nil, err
	}
	networks := familiesOf(host)
	switch {
	case o.Type != "":
		networks = []string{o.Type}
	case len(networks) == 2:
		networks = []string{UDP4, UDP6}
	}
	var first error
	for _, network := range networks {
		o.Address, o.Port, o.Type = host, port, network
		c, err := dial(ctx, o)
		if err == nil {
			return c, nil
		}
		first = cmp.Or(first, err)
		if !unreachable(err) {
			break
		}
	}
	return nil, first
}

func dial(ctx context.Context, o ConnectOptions) (*ClientSession, error) {
	s, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Type: o.Type}})
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, o, true)
	if err != nil {
		if err == ctx.Err() {
			err = &OperationError{Op: "Dial", Err: fmt.Errorf("%s: %w", net.JoinHostPort(o.Address, strconv.Itoa(o.Port)), err)}
		}
		s.Destroy(nil)
		return nil, err
	}
	if o.DelayHandshake || c.sendsEarly() {
		return c, nil
	}
	if err := c.Handshake(ctx); err != nil {
		if c.Err() == nil { // it is the context's
			err = &OperationError{Op: "Dial", Err: c.unfinished(err)}
		}
		c.Destroy(nil)
		s.Destroy(nil)
		return nil, err
	}
	return c, nil
}

// unfinished says with whom the handshake was that a context has cut short.
func (c *ClientSession) unfinished(err error) error {
	c.mu.Lock()
	heard := c.handshakeTimeout(0, false).Heard
	c.unlock(flushNone)
	if !heard {
		return fmt.Errorf("no answer from %v: %w", c.home, err)
	}
	return fmt.Errorf("handshake with %v not complete: %w", c.home, err)
}

// unreachable reports whether another address of the server's may do better.
func unreachable(err error) bool {
	var dns *net.DNSError
	var system *net.OpError
	var silence *HandshakeTimeoutError
	return errors.As(err, &dns) || errors.As(err, &system) || errors.As(err, &silence)
}

// sendsEarly reports whether the session can send before its handshake is complete.
func (c *ClientSession) sendsEarly() bool {
	c.mu.Lock()
	defer c.unlock(flushNone)
	return c.conn.UsingEarlyData()
}

// splitAddress takes "host:port" apart. The port can be the name of a service, as net has
// it; those of the system's list are mostly TCP's.
func splitAddress(ctx context.Context, address string, low int) (host string, port int, err error) {
	const most = 65_535
	host, service, err := net.SplitHostPort(address)
	if err == nil {
		if port, err = strconv.Atoi(service); err != nil {
			if port, err = net.DefaultResolver.LookupPort(ctx, "udp", service); err != nil {
				port, err = net.DefaultResolver.LookupPort(ctx, "tcp", service)
			}
		}
	}
	if err != nil || port < low || port > most {
		e := &OptionError{Option: "address", Value: address, Want: "host:port", Err: err, code: CodeInvalidArgValue}
		if err == nil {
			e.Want, e.code = fmt.Sprintf("host:port with a port of %d to %d", low, most), CodeSocketBadPort
		}
		return "", 0, e
	}
	return host, port, nil
}

// familiesOf returns the endpoint types to try for a host, best first.
func familiesOf(host string) []string {
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return []string{UDP6, UDP4}
	case err != nil:
		return []string{UDP4, UDP6}
	case ip.Unmap().Is4():
		return []string{UDP4}
	}
	return []string{UDP6}
}
