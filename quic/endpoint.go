package quic

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Endpoint is one local UDP binding of a socket (EP-001). A socket has one from the
// start, and AddEndpoint adds others, of both families if that is wanted: sessions then come in
// through each, and leave where they came in. All methods may be called concurrently.
type Endpoint struct {
	socket *Socket
	opts   EndpointOptions

	// From bound on fixed; under the socket's lock until then.
	conn  udp.Conn
	conns []udp.Conn     // conn, and those that share its port
	out   *outbox        // before conn, if its Send may wait; nil if not
	local netip.AddrPort // of conn

	readers sync.WaitGroup // one a conn

	gone atomic.Bool // it is destroyed

	// Under the socket's lock.
	binding *binding      // under way or successful, nil if neither
	closing bool          // Close waits
	err     error         // what it was destroyed with
	freed   chan struct{} // closed when its port is free; nil before destruction

	memberMu sync.Mutex
	member   []udp.Group // multicast groups that were joined, in order
}

// Socket returns the socket that the endpoint belongs to.
func (e *Endpoint) Socket() *Socket { return e.socket }

// Address returns the local address that the system gave: the IP, with the zone that it
// needs, if any, and the port (EP-005, EP-006, EP-008). It is the zero AddrPort before
// binding, after the endpoint's end, and for a PacketConn whose address is none of IP.
func (e *Endpoint) Address() netip.AddrPort {
	e.socket.mu.Lock()
	defer e.socket.mu.Unlock()
	if e.gone.Load() {
		return netip.AddrPort{}
	}
	return e.local
}

// Bound reports whether the endpoint has its port (EP-015).
func (e *Endpoint) Bound() bool {
	e.socket.mu.Lock()
	defer e.socket.mu.Unlock()
	return e.conn != nil && !e.gone.Load()
}

// Pending reports whether the port is being taken, the resolution of a host name
// included (EP-026).
func (e *Endpoint) Pending() bool {
	e.socket.mu.Lock()
	defer e.socket.mu.Unlock()
	return e.pending()
}

// Closing reports whether a call of Close has not returned yet (EP-018).
func (e *Endpoint) Closing() bool {
	e.socket.mu.Lock()
	defer e.socket.mu.Unlock()
	return e.closing
}

// Destroyed reports whether the endpoint is gone or about to be: from the call of Close or
// Destroy on, its own or the socket's (EP-021).
func (e *Endpoint) Destroyed() bool { return e.gone.Load() }

// FD returns the descriptor of the UDP socket, which stays the endpoint's: it is for
// options that the package does not know. With several Readers it is that of the first
// socket. ok is false before binding, after the
// endpoint's end, on Windows, and for a PacketConn that has none (EP-025).
func (e *Endpoint) FD() (fd int, ok bool) {
	e.socket.mu.Lock()
	c := e.conn
	e.socket.mu.Unlock()
	if c == nil || e.gone.Load() {
		return 0, false
	}
	return udp.FD(c)
}

// send hands a batch to the network, unless it is for an address on the block list. A
// datagram that the network does not take counts as lost, as it would be further on.
// It does not wait, and runs no code of the program's.
func (e *Endpoint) send(b *dgram.Batch) error {
	if e.socket.block.Check(b.Path.Remote.Addr()) {
		return nil
	}
	if l := e.socket.loss.Load(); l != nil {
		if l.thin(b); b.Empty() {
			return nil
		}
	}
	if e.out != nil {
		return e.out.push(b)
	}
	return e.sender(b.Path.Remote).Send(b)
}

// sender returns the conn that sends to an address: always the same, so that datagrams keep
// their order, and each has its share.
func (e *Endpoint) sender(to netip.AddrPort) udp.Conn {
	if len(e.conns) == 1 {
		return e.conn
	}
	return e.conns[int(to.Port())%len(e.conns)]
}

// stats returns the figures of a bound endpoint.
func (e *Endpoint) stats() (u udp.Stats) {
	for _, c := range e.conns {
		u.Add(c.Stats())
	}
	if e.out != nil {
		n := e.out.drops()
		u.SendErrors += n
		u.SendFull += n
	}
	return u
}

// read takes datagrams from a conn of the endpoint's until that is closed.
func (e *Endpoint) read(c udp.Conn) {
	defer e.readers.Done()
	r := reader{e: e, reply: dgram.NewBatch(make([]byte, 0, 2048))}
	p := parcels.Get().(*parcel)
	for {
		n, slab, err := c.Receive(&slabs, p.d[:])
		if err != nil {
			p.put()
			if !e.gone.Load() {
				go e.Destroy(err) // not here: it waits for this goroutine, and is called by the first to fail
			}
			return
		}
		p.slab, p.n = slab, n
		p = r.deliver(p)
		r.flush()
	}
}

// reader is the state of one of an endpoint's readers.
type reader struct {
	e     *Endpoint
	reply *dgram.Batch
	to    [2 * dgram.MaxSegments]*Session
	owed  []*Session // sessions that have something to send, after their readers have had a turn
}

// deliver gives the datagrams of a parcel to their sessions, and returns a parcel
// for the next ones. A session that is free is driven; one that is busy finds them in
// its inbox, so that it holds up no other.
func (r *reader) deliver(p *parcel) *parcel {
	t := now()
	r.route(t, p)
	for i := range p.n {
		s := r.to[i]
		switch {
		case s == nil:
		case s.acquire(p.n):
			s.drain(t) // what came before
			r.e.socket.took(r.give(t, p, i, s))
			r.received(s)
		default:
			var kept bool
			if kept = r.post(p, i, s); kept {
				p = parcels.Get().(*parcel)
			}
			if s.mu.TryLock() { // the holder may have looked before the datagrams were there
				s.unlock(flushNow)
			}
			if kept {
				return p
			}
		}
	}
	if p.slab != nil {
		slabs.Put(p.slab)
		p.slab = nil
	}
	p.n = 0
	return p
}

// give hands a session, whose lock is held, its datagrams from i on, train by train. It returns
// how many were of use, and how many there were.
func (r *reader) give(t mono.Time, p *parcel, i int, s *Session) (used, n int) {
	for i < p.n {
		from := i
		for ; i < p.n && r.to[i] == s; i++ {
			r.to[i] = nil
		}
		used += s.conn.ReceiveTrain(t, p.d[from:i])
		n += i - from
		for i < p.n && r.to[i] != s {
			i++
		}
	}
	return used, n
}

// acquire takes the session's lock if that is free, or if its inbox cannot take n
// datagrams more. To wait for the lock then, for a batch at most, is better than to
// lose what has come: more waits in the kernel meanwhile.
func (s *Session) acquire(n int) bool {
	switch {
	case s.mu.TryLock():
		return true
	case s.inbox.room(n):
		return false
	}
	s.mu.Lock()
	return true
}

// route finds the session of each datagram, and answers those that have none.
func (r *reader) route(t mono.Time, p *parcel) {
	s := r.e.socket
	screened := s.screened()
	s.mu.Lock()
	for i := range p.n {
		d := &p.d[i]
		r.to[i] = nil
		if screened && s.screen(d) {
			continue
		}
		s.counts.received += uint64(len(d.Data))
		c, verdict := s.mux.Route(t, d, r.reply)
		switch verdict {
		case transport.Deliver:
			r.to[i], _ = c.Value.(*Session)
		case transport.Initial:
			r.to[i] = s.admit(t, r.e, d, r.reply)
		}
		if !r.reply.Empty() {
			s.mu.Unlock()
			_ = r.e.send(r.reply)
			r.reply.Reset()
			s.mu.Lock()
		}
	}
	s.mu.Unlock()
}

// post puts the datagrams from i on that are the session's into its inbox. It
// reports true if the whole parcel has gone there.
func (r *reader) post(p *parcel, i int, s *Session) bool {
	all := i == 0
	for j := 0; all && j < p.n; j++ {
		all = r.to[j] == s
	}
	if all {
		clear(r.to[:p.n])
		if s.inbox.push(p) {
			return true
		}
		r.e.socket.took(0, p.n)
		return false
	}
	r.e.socket.took(0, s.inbox.copy(p.d[i:p.n], func(j int) bool { return r.to[i+j] == s }))
	for j := i; j < p.n; j++ {
		if r.to[j] == s {
			r.to[j] = nil
		}
	}
	return false
}

// received lets go of a session that has been given datagrams. If that woke somebody,
// what is to be sent waits until they have had a turn: their answer and our
// acknowledgement can then share packets.
func (r *reader) received(s *Session) {
	t := now()
	if s.server != nil && !s.conn.Heard() && s.err == nil { // another reader may have been here
		s.hooks, s.log = nil, nil // the first packet was no client's: there never was a session
		s.socket.unadmit()
		s.conn.Destroy(t)
	}
	s.events(t)
	if s.woken.head == nil || s.flushing {
		s.unlock(flushNow)
		return
	}
	s.flushing = true
	r.owed = append(r.owed, s)
	s.unlock(flushSoon)
}

// flush sends what deliver has left.
func (r *reader) flush() {
	if len(r.owed) == 0 {
		return
	}
	runtime.Gosched()
	for i, s := range r.owed {
		s.flushNow()
		r.owed[i] = nil
	}
	r.owed = r.owed[:0]
}

// tooBig returns the size of a datagram that the network found too big, 0 if that
// was not the error.
func tooBig(b *dgram.Batch, err error) int {
	var se *udp.SendError
	if errors.As(err, &se) && se.TooBig {
		return b.SegmentSize()
	}
	return 0
}
