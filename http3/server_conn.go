package http3

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// serverConn is what the requests of a session have in common.
type serverConn struct {
	server *Server
	q      *quic.ServerSession
	ctx    context.Context // ends with the session
	limit  int             // on the handlers that run, and on the requests that wait for one

	state   atomic.Pointer[tls.ConnectionState] // once the handshake is complete
	peer    atomic.Pointer[peerAddr]
	refused atomic.Bool // the log says that the client takes no response so large

	mu      sync.Mutex
	h3      *Session
	running int
	pushing int // handlers of pushes
	waiting []*Stream
	busy    bool // the watch is set
	soon    bool // and looks before the session can have been silent for too long
	kept    bool // the session is kept alive for its handlers
	idle    time.Time
	closed  time.Time // when its end has begun, after too long an idle time
	watch   *time.Timer
}

// peerAddr is the peer's address in words.
type peerAddr struct {
	addr netip.AddrPort
	text string
}

// session is the Handler of the sockets. Requests come as soon as there is a Session.
func (s *Server) session(base context.Context, q *quic.ServerSession, o Options) error {
	ctx := context.WithValue(base, http.LocalAddrContextKey, q.LocalAddr())
	if s.ConnContext != nil {
		if ctx = s.ConnContext(ctx, q); ctx == nil {
			return errors.New("http3: Server.ConnContext returned nil")
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &serverConn{server: s, q: q, ctx: ctx, limit: s.handlers()}
	h, err := newSession(&q.Session, o, c.serve)
	if err != nil {
		cancel()
		return err
	}
	hooks := q.Hooks()
	closed := hooks.Close
	hooks.Close = func() {
		closed()
		cancel()
		c.stopWatch()
		s.remove(h)
	}
	q.SetHooks(hooks)
	c.mu.Lock()
	if c.h3 = h; s.IdleTimeout > 0 && !c.busy {
		c.idle = time.Now()
		c.arm(s.IdleTimeout)
	}
	c.mu.Unlock()
	if !s.add(h) {
		return http.ErrServerClosed
	}
	return nil
}

// handlers is how many handlers may run for a session: as many as requests may be open.
func (s *Server) handlers() int {
	switch n := s.QUIC.MaxStreamsBidi; {
	case n == 0:
		return serverStreamsBidi
	case n < 0:
		return 0
	default:
		return int(min(n, 1<<30))
	}
}

// serve takes a request, on a goroutine of its own. A client can give a request up and open the
// next at once, while the handler of the first still runs: as many requests again may wait for
// theirs.
func (c *serverConn) serve(st *Stream) {
	c.mu.Lock()
	switch {
	case c.running < c.limit:
		c.running++
		if !c.soon {
			c.arm(c.watchEvery())
		}
		c.mu.Unlock()
		c.work(st)
		return
	case len(c.waiting) < c.limit:
		c.waiting = append(c.waiting, st)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	st.s.fail(sessionFault(ExcessiveLoad, "%d requests wait for %d handlers", c.limit, c.limit))
}

// work answers a request, and then those that wait. It goes on elsewhere if a handler ends its
// goroutine.
func (c *serverConn) work(st *Stream) {
	over := false
	defer func() {
		if over {
			return
		}
		if st = c.next(); st != nil {
			go c.work(st)
		}
	}()
	for ; st != nil; st = c.next() {
		c.handle(st)
	}
	over = true
}

// next returns a request that waits, nil if none does: then the handler counts no more.
func (c *serverConn) next() *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > 0 {
		st := c.waiting[0]
		c.waiting = c.waiting[1:]
		return st
	}
	c.waiting = nil
	if c.running--; c.running == 0 && c.server.IdleTimeout > 0 {
		c.idle = time.Now()
	}
	return nil
}

// watchEvery is how often a session is looked at that has handlers running. Requests that are
// answered sooner cost no more than that.
const watchEvery = time.Second

// watchEvery is that of a session: an idle timeout of the server's is that of QUIC, too.
func (c *serverConn) watchEvery() time.Duration {
	if limit := c.server.IdleTimeout; limit > 0 {
		return min(watchEvery, max(limit/4, time.Millisecond))
	}
	return watchEvery
}

// arm sets the watch.
func (c *serverConn) arm(d time.Duration) {
	c.busy, c.soon = true, d <= c.watchEvery()
	if c.watch == nil {
		c.watch = time.AfterFunc(d, c.look)
		return
	}
	c.watch.Reset(d)
}

// look keeps the session alive while handlers run, and closes it when none has for too long. What is on its way then has
// closePatience to arrive: a client could leave a stream without an end.
func (c *serverConn) look() {
	c.mu.Lock()
	c.busy, c.soon = false, false
	h3, runs, limit := c.h3, c.running > 0, c.server.IdleTimeout
	turned := runs != c.kept
	c.kept = runs
	idle, closing := time.Since(c.idle), !c.closed.IsZero()
	over := !runs && limit > 0 && idle >= limit || c.ctx.Err() != nil
	cut := false
	switch {
	case closing && (runs || c.pushing > 0): // for requests that have come before
		c.arm(watchEvery)
	case closing:
		rest := closePatience - min(idle, time.Since(c.closed))
		if cut = rest <= 0; !cut {
			c.arm(rest)
		}
	case over && h3 != nil:
		c.closed = time.Now()
		c.arm(closePatience)
	case over:
	case runs:
		c.arm(c.watchEvery())
	case limit > 0:
		c.arm(limit - idle)
	}
	c.mu.Unlock()
	if turned {
		c.q.SetKeepAlive(c.keepAlive(runs))
	}
	switch {
	case cut:
		h3.cutOff()
	case over && h3 != nil:
		_ = h3.Close() // it may be over
	}
}

// keepAlive is what the session's is to be. Package quic makes a long one half of the idle
// timeout in force.
func (c *serverConn) keepAlive(runs bool) time.Duration {
	if runs && c.server.QUIC.KeepAlive == 0 {
		return time.Hour
	}
	return c.server.QUIC.KeepAlive
}

func (c *serverConn) stopWatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch != nil {
		c.watch.Stop()
	}
}

// tlsState returns what TLS knows. While early data is served that is not much.
func (c *serverConn) tlsState() *tls.ConnectionState {
	if state := c.state.Load(); state != nil {
		return state
	}
	state := c.q.ConnectionState()
	if !state.HandshakeComplete {
		state.Version, state.NegotiatedProtocol, state.ServerName = tls.VersionTLS13, ALPN, c.q.ServerName()
		return &state
	}
	c.state.Store(&state)
	return &state
}

// remoteAddr returns the peer's address, which is put in words when it has changed.
func (c *serverConn) remoteAddr() string {
	addr := c.q.RemoteAddress()
	p := c.peer.Load()
	if p == nil || p.addr != addr && addr.IsValid() {
		p = &peerAddr{addr, c.q.RemoteAddr().String()}
		c.peer.Store(p)
	}
	return p.text
}
