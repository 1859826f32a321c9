package quic

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// binding is the taking of an endpoint's port, which happens once unless it is
// cancelled. All calls of Bind get its result.
type binding struct {
	ctx    context.Context // of the call that began it; ends with the endpoint too
	cancel context.CancelFunc
	done   chan struct{} // closed when the rest is set
	addr   netip.AddrPort
	err    error
}

func newBinding(ctx context.Context) *binding {
	b := &binding{done: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b
}

// settle ends the binding. It is called under the socket's lock.
func (b *binding) settle(addr netip.AddrPort, err error) {
	b.addr, b.err = addr, err
	close(b.done)
	b.cancel()
}

// pending is Pending under the socket's lock.
func (e *Endpoint) pending() bool { return e.binding != nil && e.conn == nil && !e.gone.Load() }

// AddEndpoint makes another endpoint, which Listen and Connect bind together with the
// others, and Endpoint.Bind alone (SOC-021). It is the last of Endpoints. The error is an
// *OptionError, or a *StateError as soon as the binding of any endpoint has begun
// (ADD-005), and when the socket is closing or destroyed (ADD-006).
func (s *Socket) AddEndpoint(o EndpointOptions) (*Endpoint, error) {
	const op = "Socket.AddEndpoint"
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.life >= socketClosing:
		return nil, s.stateError(op)
	case s.life != socketUnbound || slices.ContainsFunc(s.endpoints, func(e *Endpoint) bool { return e.binding != nil }):
		return nil, &StateError{Op: op, State: "socket has begun to bind: add endpoints before Listen, Connect and Endpoint.Bind"}
	}
	if err := o.resolve("EndpointOptions"); err != nil {
		return nil, err
	}
	e := &Endpoint{socket: s, opts: o}
	s.endpoints = append(slices.Clone(s.endpoints), e)
	return e, nil
}

// Bind takes the endpoint's port, unless it has it, and returns its local address (EP-009).
// Programs need not call it: Listen and Connect bind every endpoint (EP-011). Further calls
// wait for the first one and return what it does, whatever their own context says (EP-013,
// EP-014). If the first context ends, the error is the context's and the endpoint stays
// unbound (EP-010). What the resolver or the system denies is returned and destroys
// the endpoint with that error, and the socket if it has no other. On an endpoint that
// is destroyed, before or meanwhile, the error is a *StateError (EP-012).
func (e *Endpoint) Bind(ctx context.Context) (netip.AddrPort, error) {
	const op = "Endpoint.Bind"
	s := e.socket
	s.mu.Lock()
	b := e.binding
	switch {
	case e.gone.Load():
		defer s.mu.Unlock()
		return netip.AddrPort{}, e.stateError(op)
	case b != nil:
		s.mu.Unlock()
		<-b.done
		return b.addr, b.err
	case s.life >= socketClosing:
		defer s.mu.Unlock()
		return netip.AddrPort{}, s.stateError(op)
	}
	b = newBinding(ctx)
	e.binding = b
	s.mu.Unlock()

	conns, err := e.open(b.ctx)
	s.mu.Lock()
	late := e.gone.Load()
	switch {
	case late:
		err = e.stateError(op)
	case err == nil:
		e.bound(conns)
		conns = nil
		if s.life == socketUnbound {
			s.allBound()
		}
	default:
		e.binding = nil
		err = cmp.Or(ctx.Err(), err)
	}
	b.settle(e.local, err)
	s.mu.Unlock()
	e.drop(conns)
	s.notices.kick()
	if err != nil && !late && ctx.Err() == nil {
		e.Destroy(err)
	}
	return b.addr, err
}

// stateError returns the error of a call that comes too late. It is called under the
// socket's lock.
func (e *Endpoint) stateError(op string) error {
	return &StateError{Op: op, State: "endpoint is closed", Err: e.err, closed: true}
}

// open takes the port, with as many sockets as there are to be readers.
func (e *Endpoint) open(ctx context.Context) ([]udp.Conn, error) {
	s := e.socket
	o := udp.Options{
		ReceiveBuffer: e.opts.ReceiveBuffer,
		SendBuffer:    e.opts.SendBuffer,
		ReuseAddr:     e.opts.ReuseAddr,
		IPv6Only:      e.opts.Type == UDP6Only,
	}
	if s.opts.Logf != nil {
		opening := new(atomic.Bool)
		opening.Store(true)
		defer opening.Store(false)
		o.Logf = func(format string, args ...any) {
			if opening.Load() {
				s.opts.Logf(format, args...)
				return
			}
			go s.opts.Logf(format, args...) // the batch that it is about may be sent under a lock
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if pc := e.opts.PacketConn; pc != nil {
		if c, ok := pc.(interface{ UDPConn() udp.Conn }); ok { // the in-memory twin
			return []udp.Conn{c.UDPConn()}, nil
		}
		c, err := udp.Wrap(pc, o)
		if err != nil {
			return nil, err
		}
		return []udp.Conn{c}, nil
	}
	network, any := "udp4", netip.IPv4Unspecified()
	if e.opts.Type != UDP4 {
		network, any = "udp6", netip.IPv6Unspecified()
	}
	ip, err := s.resolve(ctx, e.opts.Lookup, "EndpointOptions.Address", e.opts.Address, e.opts.Type)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if !ip.IsValid() {
		ip = any
	}
	c, err := udp.Listen(network, netip.AddrPortFrom(ip, uint16(e.opts.Port)), o)
	if err != nil {
		return nil, err
	}
	return e.share(c, o)
}

// share opens what the endpoint has sockets beside the first on its port.
func (e *Endpoint) share(c udp.Conn, o udp.Options) ([]udp.Conn, error) {
	more := e.opts.Readers - 1
	if more > 0 && !udp.CanShare {
		if o.Logf != nil {
			o.Logf("quic: %v: one socket reads, and not %d: the system does not spread datagrams", c.LocalAddr(), e.opts.Readers)
		}
		more = 0
	}
	if more == 0 {
		return []udp.Conn{c}, nil
	}
	others, err := udp.Share(c, more, o)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return append([]udp.Conn{c}, others...), nil
}

// drop closes conns that were opened for nothing. A PacketConn is closed when the
// endpoint is destroyed. It is called without locks, because that is user code.
func (e *Endpoint) drop(conns []udp.Conn) {
	if e.opts.PacketConn != nil {
		return
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// bound starts the endpoint's readers. It is called under the socket's lock.
func (e *Endpoint) bound(conns []udp.Conn) {
	e.conns, e.conn = conns, conns[0]
	e.local = e.conn.LocalAddr()
	if udp.MayBlock(e.conn) {
		e.out = newOutbox(e.conn)
	}
	for _, c := range conns {
		e.readers.Add(1)
		go e.read(c)
	}
}

// allBound makes the socket a bound one if each of its endpoints is, and reports whether
// it did. It is called under the socket's lock; a kick must follow.
func (s *Socket) allBound() bool {
	if s.life > socketBinding || len(s.endpoints) == 0 {
		return false
	}
	for _, e := range s.endpoints {
		if e.conn == nil {
			return false
		}
	}
	s.life, s.boundAt = socketBound, now()
	s.all = s.endpoints
	if h := s.opts.Hooks.Ready; h != nil {
		s.post(h) // under the lock, so that it comes before Listening
	}
	return true
}

// bind gives every endpoint its port, once (SOC-026). A second call while the first
// is at it waits for it.
func (s *Socket) bind(ctx context.Context, op string) error {
	for {
		s.mu.Lock()
		switch s.life {
		case socketBound:
			s.mu.Unlock()
			return nil
		case socketClosing, socketDestroyed:
			defer s.mu.Unlock()
			return s.stateError(op)
		case socketBinding:
			wait := s.binding
			s.mu.Unlock()
			if err := await(ctx, wait); err != nil {
				return err
			}
			continue
		}
		s.life = socketBinding
		s.binding = make(chan struct{})
		s.mu.Unlock()
		return s.bindAll(ctx, op)
	}
}

// await waits for done, or for the end of the context.
func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// opening is an endpoint that bindAll binds.
type opening struct {
	e     *Endpoint
	b     *binding
	conns []udp.Conn
}

// bindAll binds the endpoints that are not bound. If one fails the socket is destroyed with
// the error, but for an end of the context, which leaves them as they were.
func (s *Socket) bindAll(ctx context.Context, op string) error {
	list, err := s.openings(ctx)
	var failed *Endpoint
	for i := range list {
		o := &list[i]
		if o.conns, err = o.e.open(o.b.ctx); err == nil {
			continue
		}
		if o.e.gone.Load() { // it was destroyed meanwhile; the others go on
			err = nil
			continue
		}
		failed = o.e
		break
	}
	if err != nil {
		err = cmp.Or(ctx.Err(), err)
	}
	s.mu.Lock()
	late := s.life != socketBinding // closed meanwhile
	for i := range list {
		list[i].settle(late, err)
	}
	switch {
	case late:
		err = cmp.Or(err, s.stateError(op))
	case err != nil || !s.allBound():
		s.life = socketUnbound
	}
	close(s.binding)
	s.mu.Unlock()
	for _, o := range list {
		o.e.drop(o.conns)
	}
	s.notices.kick()
	if err != nil && !late && ctx.Err() == nil {
		if failed != nil {
			failed.Destroy(err)
		}
		s.Destroy(err)
	}
	return err
}

// openings begins the binding of the endpoints that are not bound, once none is being
// bound by a Bind of its own.
func (s *Socket) openings(ctx context.Context) ([]opening, error) {
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.endpoints, (*Endpoint).pending)
		if i < 0 {
			break
		}
		b := s.endpoints[i].binding
		s.mu.Unlock()
		if err := await(ctx, b.done); err != nil {
			return nil, err
		}
	}
	defer s.mu.Unlock()
	var list []opening
	for _, e := range s.endpoints {
		if e.binding == nil {
			e.binding = newBinding(ctx)
			list = append(list, opening{e: e, b: e.binding})
		}
	}
	return list, nil
}

// settle ends one endpoint's part of bindAll. It is called under the socket's lock. The
// conns are left if they are to be closed.
func (o *opening) settle(late bool, err error) {
	e := o.e
	switch {
	case late || e.gone.Load():
		o.b.settle(netip.AddrPort{}, e.stateError("Endpoint.Bind"))
	case err != nil:
		e.binding = nil
		o.b.settle(netip.AddrPort{}, err)
	default:
		e.bound(o.conns)
		o.conns = nil
		o.b.settle(e.local, nil)
	}
}

// resolve returns the address of a family that a host name, an IP address or a
// LookupFunc stands for. For "" a LookupFunc is asked too, and without an answer the
// result is the zero Addr. option names what host was given as.
func (s *Socket) resolve(ctx context.Context, own LookupFunc, option, host, network string) (netip.Addr, error) {
	family := 4
	if network != UDP4 {
		family = 6
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.Is4() != (family == 4) {
			want := "an address of the type " + network + ", or set Type to UDP6"
			if ip.Is4() {
				want = "an address of the type " + network + ", or set Type to UDP4"
			}
			return netip.Addr{}, &OptionError{Option: option, Value: host, Want: want, code: CodeInvalidArgValue}
		}
		return ip, nil
	}
	if own == nil {
		own = s.opts.Lookup
	}
	switch {
	case own != nil:
		var ip netip.Addr
		err := call(func() (err error) { // a panic would leave others waiting for this call
			ip, err = own(ctx, host, family)
			return err
		})
		ip = ip.Unmap()
		switch {
		case err != nil:
			return netip.Addr{}, err
		case !ip.IsValid() && host == "":
		case !ip.IsValid():
			return netip.Addr{}, &OperationError{Op: "Lookup", Err: fmt.Errorf("no address for %q", host)}
		case ip.Is4() != (family == 4):
			return netip.Addr{}, &OperationError{Op: "Lookup", Err: fmt.Errorf("%v for %q is not of family %d", ip, host, family)}
		}
		return ip, nil
	case host == "":
		return netip.Addr{}, nil
	}
	return systemLookup(ctx, host, network)
}
