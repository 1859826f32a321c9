package http3

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// poolKey is what a session is shared by.
type poolKey struct {
	addr string // host and port to reach
	name string // that the certificate must be for; "" if the options say
}

// key returns the key for reaching an origin at an address of its own or of an alternative.
func (t *Transport) key(addr, origin string) poolKey {
	host, _, _ := net.SplitHostPort(origin)
	host, _, _ = strings.Cut(host, "%") // a zone is not the server's
	if c := t.TLSClientConfig; t.QUIC.ServerName != "" || c != nil && c.ServerName != "" {
		host = ""
	}
	return poolKey{addr, host}
}

// clientConn is a session of a Transport. Its figures are under the Transport's lock.
type clientConn struct {
	t   *Transport
	key poolKey
	s   *Session

	ready   bool // its dial is over
	active  int  // requests that have it
	used    bool
	gone    bool        // takes no request any more; closed when the last one is over
	dropped bool        // has none, and is being closed
	over    bool        // the session has ended
	idle    *time.Timer // of IdleConnTimeout; runs while there is no request
	restsAt time.Time   // when the last request was over

	rests          bool        // it is in the list of those without a request
	before, behind *clientConn // in that list

	secured   atomic.Bool // the handshake is known to be complete
	stateOnce sync.Once
	state     *tls.ConnectionState

	patience *time.Timer // ends a session that its close alone does not
	wrote    bool        // the program was writing when it was looked at last

	watch    *time.Timer // looks after a session with requests from time to time
	watching bool        // it runs
	kept     bool        // the session is kept alive
}

// dialing is an attempt to get a session that all wait for who need it.
type dialing struct {
	cancel  context.CancelFunc
	waiters int
	over    bool
	done    chan struct{} // closed with c or err set
	c       *clientConn
	err     error
}

// errClosed is what a Transport's calls fail with after Close.
var errClosed = fmt.Errorf("http3: Transport is closed: %w", net.ErrClosed)

// acquire returns a session for a request, which is counted as its own until release. If
// there is none it waits for a dial: one for all who want the same. The dial goes on as
// long as somebody waits. plain keeps a new session from sending early data.
func (t *Transport) acquire(ctx context.Context, key poolKey, plain bool) (*clientConn, httptrace.GotConnInfo, error) {
	var got httptrace.GotConnInfo
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, got, errClosed
	}
	if c := t.conns[key]; c != nil {
		got = c.takeLocked()
		t.mu.Unlock()
		return c, got, nil
	}
	d := t.dials[key]
	if d == nil {
		d = t.dialLocked(ctx, key, plain)
	}
	d.waiters++
	t.mu.Unlock()
	select {
	case <-d.done:
	case <-ctx.Done():
		t.giveUp(key, d)
		return nil, got, context.Cause(ctx)
	}
	if d.err != nil {
		return nil, got, d.err
	}
	t.mu.Lock()
	got.Reused, d.c.used = d.c.used, true
	t.mu.Unlock()
	return d.c, got, nil
}

// dialLocked begins a dial. It has the values of the first request's context, so that its
// trace is told, but not its end.
func (t *Transport) dialLocked(ctx context.Context, key poolKey, plain bool) *dialing {
	d := &dialing{done: make(chan struct{})}
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if t.dials == nil {
		t.dials = make(map[poolKey]*dialing)
	}
	t.dials[key] = d
	go func() {
		defer d.cancel()
		c, err := t.dial(ctx, key, plain)
		t.dialled(key, d, c, err)
	}()
	return d
}

// dialled hands the outcome of a dial to those who wait.
func (t *Transport) dialled(key poolKey, d *dialing, c *clientConn, err error) {
	t.mu.Lock()
	if t.dials[key] == d {
		delete(t.dials, key)
	}
	unwanted := c
	switch {
	case t.closed:
		err = errClosed
	case c != nil && d.waiters > 0:
		d.c, c.active, c.ready, unwanted = c, d.waiters, true, nil
		c.watchLocked()
		if t.conns == nil {
			t.conns = make(map[poolKey]*clientConn)
		}
		if !c.over && !c.gone {
			t.conns[key] = c
		}
	}
	if unwanted != nil {
		t.dropLocked(c)
	}
	d.over, d.err = true, err
	t.mu.Unlock()
	if unwanted != nil {
		c.close()
	}
	close(d.done)
}

// giveUp is for somebody who does not wait any longer.
func (t *Transport) giveUp(key poolKey, d *dialing) {
	t.mu.Lock()
	if c := d.c; d.over && c != nil {
		t.mu.Unlock()
		c.release()
		return
	}
	if d.waiters--; d.waiters == 0 && !d.over {
		d.cancel()
		if t.dials[key] == d {
			delete(t.dials, key)
		}
	}
	t.mu.Unlock()
}

func (c *clientConn) takeLocked() httptrace.GotConnInfo {
	got := httptrace.GotConnInfo{Reused: c.used, WasIdle: c.used && c.active == 0}
	if got.WasIdle {
		got.IdleTime = time.Since(c.restsAt)
	}
	c.active++
	c.used = true
	c.t.resting.remove(c)
	c.watchLocked()
	if c.idle != nil {
		c.idle.Stop()
	}
	return got
}

// release gives back what acquire has counted.
func (c *clientConn) release() {
	t := c.t
	t.mu.Lock()
	c.active--
	rests := c.active == 0 && !c.over
	unwanted := c
	switch {
	case rests && c.gone:
	case rests:
		unwanted = c.restLocked()
	default:
		unwanted = nil
	}
	if unwanted != nil {
		t.dropLocked(unwanted)
	}
	t.mu.Unlock()
	if unwanted != nil {
		unwanted.close()
	}
}

// restLocked notes that a session has no request any more. It returns the session that is to be closed because there are
// too many such ones, nil if there are not.
func (c *clientConn) restLocked() (unwanted *clientConn) {
	c.restsAt = time.Now()
	unwanted = c.t.resting.add(c)
	d := c.t.IdleConnTimeout
	switch {
	case d <= 0:
	case c.idle == nil:
		c.idle = time.AfterFunc(d, c.expire)
	default:
		c.idle.Reset(d)
	}
	return unwanted
}

// expire closes a session that has been idle for long enough.
func (c *clientConn) expire() {
	t := c.t
	t.mu.Lock()
	idle := c.active == 0 && !c.over
	if idle {
		t.dropLocked(c)
	}
	t.mu.Unlock()
	if idle {
		c.close()
	}
}

// retire lets no new request onto a session, which is closed when it has none.
func (c *clientConn) retire() {
	t := c.t
	t.mu.Lock()
	closes := c.active == 0 && !c.gone && !c.over
	if t.conns[c.key] == c {
		delete(t.conns, c.key)
	}
	c.gone = true
	if closes {
		t.dropLocked(c)
	}
	t.mu.Unlock()
	if closes {
		c.close()
	}
}

// retireUnused lets no new request onto the sessions with alternatives that an origin has no more, unless they are
// the origin's own and need no alternative to be found.
func (t *Transport) retireUnused(origin string, addrs []string) {
	for _, addr := range addrs {
		if t.PriorKnowledge && addr == origin {
			continue
		}
		key := t.key(addr, origin)
		if t.alts.shares(key, t.key) {
			continue
		}
		t.mu.Lock()
		c := t.conns[key]
		t.mu.Unlock()
		if c != nil {
			c.retire()
		}
	}
}

// ended is told that the session is over. Only then it is forgotten: until then Close must find it.
func (c *clientConn) ended() {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.over = true
	c.t.dropLocked(c)
	delete(c.t.all, c)
	if c.patience != nil {
		c.patience.Stop()
	}
}

// dropLocked has nobody use a session any more, which is to be closed.
func (t *Transport) dropLocked(c *clientConn) {
	if t.conns[c.key] == c {
		delete(t.conns, c.key)
	}
	c.gone, c.dropped = true, true
	t.resting.remove(c)
	if c.idle != nil {
		c.idle.Stop()
	}
	if c.watch != nil {
		c.watch.Stop()
	}
}

// closePatience is how long what is on its way may take, on a session that has no request and is to end. A session waits
// for the streams that the peer has opened, too, which may leave one without an end.
const closePatience = 5 * time.Second

// close ends a session without requests in order: streams that are on their way still arrive, if that does not take too
// long. After the Transport's Close it ends at once.
func (c *clientConn) close() {
	t := c.t
	t.mu.Lock()
	now := t.closed
	if !now && !c.over && c.patience == nil {
		c.patience = time.AfterFunc(closePatience, c.cutOff)
	}
	t.mu.Unlock()
	if now {
		_ = c.s.CloseWithError(NoError, "") // it may be over
		return
	}
	_ = c.s.Close() // likewise
}

// cutOff ends a session that has taken too long for its end. Where the program still writes into a tunnel whose other
// direction is over, it looks again later, and leaves time for what came last.
func (c *clientConn) cutOff() {
	writes := c.s.writes()
	c.t.mu.Lock()
	waits := writes || c.wrote
	c.wrote = writes
	if waits && !c.over {
		c.patience.Reset(closePatience)
	}
	c.t.mu.Unlock()
	if !waits {
		c.s.cutOff()
	}
}

// writes reports whether the program may still write into a request.
func (s *Session) writes() bool {
	for _, q := range s.q.Streams() {
		if q.Bidirectional() && writeError(q) == nil {
			return true
		}
	}
	return false
}

// cutOff ends a session that the peer keeps from ending in order.
func (s *Session) cutOff() {
	if s.CloseWithError(NoError, "") == nil {
		s.stats.pastLimit.Add(1)
	}
}

// aliveInterval is how long a session with requests is silent before it asks whether the server is still
// there: a response may take longer than QUIC's idle timeout.
const aliveInterval = 15 * time.Second

// watchLocked makes a session be looked at in a while. Requests that are answered sooner cost no more
// than that.
func (c *clientConn) watchLocked() {
	switch {
	case c.watching || c.over || c.t.QUIC.KeepAlive != 0:
		return
	case c.watch == nil:
		c.watch = time.AfterFunc(watchEvery, c.look)
	default:
		c.watch.Reset(watchEvery)
	}
	c.watching = true
}

// look keeps a session alive that has requests, and lets any other go to sleep.
func (c *clientConn) look() {
	t := c.t
	t.mu.Lock()
	on := c.active > 0 && !c.over
	turned := on != c.kept
	c.kept = on
	t.mu.Unlock()
	if turned {
		var d time.Duration
		if on {
			d = aliveInterval
		}
		c.s.q.SetKeepAlive(d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.watching = false; c.active > 0 || c.kept {
		c.watchLocked()
	}
}

// secure reports whether the handshake is complete.
func (c *clientConn) secure() bool {
	if c.secured.Load() {
		return true
	}
	if !c.s.q.HandshakeComplete() {
		return false
	}
	c.secured.Store(true)
	return true
}

// tls returns what TLS says of the session, the same pointer for all requests. The handshake
// is complete.
func (c *clientConn) tls() *tls.ConnectionState {
	c.stateOnce.Do(func() {
		state := c.s.q.ConnectionState()
		c.state = &state
	})
	return c.state
}

// traced is a session as httptrace shows it: it has addresses, and cannot be read or
// written.
type traced struct{ q *quic.Session }

var errTraced = fmt.Errorf("http3: a session is not a net.Conn: %w", net.ErrClosed)

func (c traced) Read([]byte) (int, error)         { return 0, errTraced }
func (c traced) Write([]byte) (int, error)        { return 0, errTraced }
func (c traced) Close() error                     { return errTraced }
func (c traced) LocalAddr() net.Addr              { return c.q.LocalAddr() }
func (c traced) RemoteAddr() net.Addr             { return c.q.RemoteAddr() }
func (c traced) SetDeadline(time.Time) error      { return errTraced }
func (c traced) SetReadDeadline(time.Time) error  { return errTraced }
func (c traced) SetWriteDeadline(time.Time) error { return errTraced }

// session gets a session for a request, and tells its trace.
func (t *Transport) session(ctx context.Context, key poolKey, plain bool) (*clientConn, error) {
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(key.addr)
	}
	c, got, err := t.acquire(ctx, key, plain)
	if err == nil && trace != nil && trace.GotConn != nil {
		got.Conn = traced{c.s.q}
		trace.GotConn(got)
	}
	return c, err
}
