package http3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Bounds of a dial.
const (
	maxAddresses = 8 // of what DNS says
	maxWorked    = 1000

	// nextAddress is how long an address is waited for before the next one is tried beside
	// it (RFC 8305 §5).
	nextAddress = 250 * time.Millisecond
	// fallbackHandshake is how long a handshake may take when there is something else to go to.
	fallbackHandshake = 3 * time.Second
)

// dialError is a server that no session could be had with: nothing of the request was sent.
type dialError struct {
	addr string
	err  error
}

func (e *dialError) Error() string {
	var silence *quic.HandshakeTimeoutError
	hint := ""
	if errors.As(e.err, &silence) && !silence.Heard {
		hint = " (is HTTP/3 served on this UDP port?)"
	}
	return fmt.Sprintf("http3: no session with %s: %v%s", e.addr, e.err, hint)
}

func (e *dialError) Unwrap() error { return e.err }

// Timeout reports whether the server was silent.
func (e *dialError) Timeout() bool {
	var timeout interface{ Timeout() bool }
	return errors.As(e.err, &timeout) && timeout.Timeout()
}

// Temporary returns false: what helps is another server, or another protocol.
func (e *dialError) Temporary() bool { return false }

// dial gets a session with one of the addresses of a host. It is returned when its handshake is
// complete, or, if it can send early data and plain is not set, at once.
func (t *Transport) dial(ctx context.Context, key poolKey, plain bool) (*clientConn, error) {
	addrs, err := t.lookup(ctx, key)
	if err == nil {
		var c *clientConn
		if c, err = t.race(ctx, key, addrs, plain); err == nil {
			if c.secure() {
				t.remember(key, c.s.q.RemoteAddress().Addr())
			}
			return c, nil
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	t.forget(key) // none of the addresses works now
	return nil, &dialError{key.addr, err}
}

// attempt is how one address has fared.
type attempt struct {
	c   *clientConn
	err error
}

// race tries addresses in turn: the next one when the one before has failed, or has not
// answered after a while. The first session wins. The error is that of the first address. Early data
// goes to an address only that is the only one or has worked before: nobody knows yet whether it is
// heard there.
func (t *Transport) race(ctx context.Context, key poolKey, addrs []netip.AddrPort, plain bool) (*clientConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // those that have lost
	results := make(chan attempt)
	timer := time.NewTimer(nextAddress)
	defer timer.Stop()
	var first error
	running, next := 0, 0
	for {
		if next < len(addrs) {
			addr := addrs[next]
			plain := plain || len(addrs) > 1 && addr.Addr() != t.lastWorked(key)
			go func() {
				c, err := t.connect(ctx, key, addr, plain)
				select {
				case results <- attempt{c, err}:
				case <-ctx.Done():
					if c != nil {
						t.discard(c)
					}
				}
			}()
			running++
			next++
			timer.Reset(nextAddress)
		}
	wait:
		for {
			select {
			case a := <-results:
				if a.err == nil {
					return a.c, nil
				}
				if first == nil {
					first = a.err
				}
				if running--; running == 0 && next == len(addrs) {
					return nil, first
				}
				break wait
			case <-timer.C:
				break wait
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// discard ends a session that nobody wants.
func (t *Transport) discard(c *clientConn) {
	t.mu.Lock()
	t.dropLocked(c)
	t.mu.Unlock()
	c.close()
}

// connect makes a session with one address.
func (t *Transport) connect(ctx context.Context, key poolKey, addr netip.AddrPort, plain bool) (*clientConn, error) {
	socket, err := t.socket(addr.Addr())
	if err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		trace = new(httptrace.ClientTrace)
	}
	if trace.ConnectStart != nil {
		trace.ConnectStart("udp", addr.String())
	}
	if trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	c, err := t.open(ctx, socket, key, addr, plain)
	if trace.ConnectDone != nil {
		trace.ConnectDone("udp", addr.String(), err)
	}
	if err == nil && (plain || c.s.q.MaxStreams().Bidi == 0 || c.s.q.HandshakeComplete()) { // no early data
		if err = c.s.q.Handshake(ctx); err != nil {
			if ctx.Err() == nil {
				err = wrap(err)
			}
			t.discardNow(c, err)
		}
	}
	if trace.TLSHandshakeDone != nil {
		var state tls.ConnectionState
		if err == nil {
			state = c.s.q.ConnectionState()
		}
		trace.TLSHandshakeDone(state, err)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// discardNow ends a session whose handshake nobody waits for any more.
func (t *Transport) discardNow(c *clientConn, err error) {
	t.mu.Lock()
	t.dropLocked(c)
	t.mu.Unlock()
	c.s.q.Destroy(err)
}

// open makes a session and sends its first flight.
func (t *Transport) open(ctx context.Context, socket *quic.Socket, key poolKey, addr netip.AddrPort, plain bool) (*clientConn, error) {
	c := &clientConn{t: t, key: key}
	o := t.connectOptions(key, addr, plain)
	closed := o.Hooks.Close
	o.Hooks.Close = func() {
		c.ended()
		if closed != nil {
			closed()
		}
	}
	h3 := t.options()
	goAway := h3.Hooks.GoAway
	h3.Hooks.GoAway = func(id int64) error {
		c.retire()
		if goAway != nil {
			return goAway(id)
		}
		return nil
	}
	if _, err := h3.settled(); err != nil {
		return nil, err
	}
	q, err := socket.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	s, err := NewSession(&q.Session, h3)
	if err != nil {
		q.Destroy(err)
		return nil, err
	}
	t.mu.Lock()
	c.s = s
	if t.all == nil {
		t.all = make(map[*clientConn]struct{})
	}
	if !c.over {
		t.all[c] = struct{}{}
	}
	t.mu.Unlock()
	return c, nil
}

const defaultStreamsUni = 16 // three critical ones, and some that nobody knows

// connectOptions are QUIC with what the Transport decides.
func (t *Transport) connectOptions(key poolKey, addr netip.AddrPort, plain bool) quic.ConnectOptions {
	o := t.QUIC
	o.ALPN, o.Address, o.Port, o.Type, o.Lookup = ALPN, addr.Addr().String(), int(addr.Port()), family(addr.Addr()), nil
	if t.TLSClientConfig != nil {
		o.TLS = t.TLSClientConfig
	}
	if _, err := netip.ParseAddr(key.name); err != nil && key.name != "" {
		o.ServerName = key.name
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = defaultIdleTimeout
	}
	if o.HandshakeTimeout == 0 && t.Fallback != nil {
		o.HandshakeTimeout = fallbackHandshake
	}
	o.MaxStreamsUni = cmp.Or(o.MaxStreamsUni, defaultStreamsUni)
	if o.MaxDatagramFrameSize == 0 && t.Options.Datagrams {
		o.MaxDatagramFrameSize = defaultDatagramFrame
	}
	o.DisableEarlyData = o.DisableEarlyData || plain
	return o
}

// Limits on responses: see the fields that they stand for.
const (
	defaultResponseHeaders = 1 << 20
	maxResponseHeaders     = 16 << 20 // no limit: of an option
	defaultMessagePairs    = 1000     // of requests to a Server too
)

// options are Options with what the Transport's own fields say.
func (t *Transport) options() Options {
	o := t.Options
	if o.MaxHeaderListSize == 0 {
		o.MaxHeaderListSize = defaultResponseHeaders
		if n := t.MaxResponseHeaderBytes; n > 0 {
			o.MaxHeaderListSize = int(min(n, maxResponseHeaders))
		}
	}
	if o.MaxHeaderLength == 0 {
		o.MaxHeaderLength = o.MaxHeaderListSize
	}
	if o.MaxHeaderPairs == 0 {
		o.MaxHeaderPairs = defaultMessagePairs
	}
	if o.MaxPushes == 0 {
		o.MaxPushes = quic.None
	}
	return o
}

func family(ip netip.Addr) string {
	if ip.Is4() {
		return quic.UDP4
	}
	return quic.UDP6
}

// socket returns the socket to reach an address from.
func (t *Transport) socket(ip netip.Addr) (*quic.Socket, error) {
	if t.Socket != nil {
		return t.Socket, nil
	}
	i, network := 0, quic.UDP4
	if !ip.Is4() {
		i, network = 1, quic.UDP6Only
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	if s := t.sockets[i]; s != nil && !s.Destroyed() {
		return s, nil
	}
	s, err := quic.NewSocket(quic.SocketOptions{Endpoint: quic.EndpointOptions{Type: network}}) // not bound yet
	if err == nil {
		t.sockets[i] = s
	}
	return s, err
}

func (t *Transport) lastWorked(key poolKey) netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.worked[key]
}

// forget is remember's opposite.
func (t *Transport) forget(key poolKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.worked, key)
}

// remember keeps the address that a session was got with: the next one begins there.
func (t *Transport) remember(key poolKey, ip netip.Addr) {
	if !ip.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.worked) >= maxWorked {
		clear(t.worked)
	}
	if t.worked == nil {
		t.worked = make(map[poolKey]netip.Addr)
	}
	t.worked[key] = ip
}

// lookup returns the addresses of a host in the order in which to try them.
func (t *Transport) lookup(ctx context.Context, key poolKey) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(key.addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("port %q is not a number of 1 to 65535", service)
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = []netip.Addr{ip.Unmap()}
	} else if ips, err = t.resolve(ctx, host); err != nil {
		return nil, err
	}
	return toTry(ips, t.lastWorked(key), uint16(port)), nil
}

// toTry returns the first of the addresses that DNS has named, in the order in which to try them.
func toTry(ips []netip.Addr, worked netip.Addr, port uint16) (addrs []netip.AddrPort) {
	ips = interleave(ips, worked)
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		addrs = append(addrs, netip.AddrPortFrom(ip, port))
	}
	return addrs
}

// resolve asks the program's Lookup, or the system.
func (t *Transport) resolve(ctx context.Context, host string) (ips []netip.Addr, err error) {
	if t.QUIC.Lookup == nil {
		ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host) // it tells the trace itself
		for i := range ips {
			ips[i] = ips[i].Unmap()
		}
		return ips, err
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.DNSStart != nil {
		trace.DNSStart(httptrace.DNSStartInfo{Host: host})
	}
	for _, family := range []int{6, 4} {
		ip, lookupErr := t.QUIC.Lookup(ctx, host, family)
		switch {
		case lookupErr == nil && ip.IsValid():
			ips = append(ips, ip.Unmap())
		case err == nil:
			err = lookupErr
		}
	}
	if len(ips) > 0 {
		err = nil
	} else if err == nil {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if trace != nil && trace.DNSDone != nil {
		info := httptrace.DNSDoneInfo{Err: err}
		for _, ip := range ips {
			info.Addrs = append(info.Addrs, net.IPAddr{IP: ip.AsSlice(), Zone: ip.Zone()})
		}
		trace.DNSDone(info)
	}
	return ips, err
}

// interleave orders addresses so that the families take turns (RFC 8305 §4), beginning with
// that of the first, and with the one that has worked before. On loopback IPv4 comes first, where
// servers of this module listen by default.
func interleave(ips []netip.Addr, worked netip.Addr) []netip.Addr {
	if len(ips) < 2 {
		return ips
	}
	var lists [2][]netip.Addr
	head := ips[0].Is4() || ips[0].IsLoopback()
	var out []netip.Addr
	for _, ip := range ips {
		switch {
		case ip == worked:
			out = append(out, ip)
		case ip.Is4() == head:
			lists[0] = append(lists[0], ip)
		default:
			lists[1] = append(lists[1], ip)
		}
	}
	for i := 0; i < max(len(lists[0]), len(lists[1])); i++ {
		for _, list := range lists {
			if i < len(list) {
				out = append(out, list[i])
			}
		}
	}
	return out
}
