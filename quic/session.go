package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// Session is one QUIC connection (RFC 9000 §5), as both ends see it. It comes as
// part of a ClientSession or a ServerSession. All methods may be called
// concurrently, and none is called back under a lock of the session's.
//
// An open session that has nothing to do has no goroutine: the goroutine that
// brings work, be it an application's write, a received datagram or a timer, does it.
type Session struct {
	// Value is the program's own: the package does not look at it.
	Value any

	client *ClientSession // one of these two is what the session is part of
	server *ServerSession
	wait   *waiterPool
	opts   *sessionOptions
	inbox  inbox

	mu   sync.Mutex
	conn *transport.Conn

	socket   *Socket
	endpoint *Endpoint   // where datagrams leave
	former   []*Endpoint // where they left before SetSocket

	life      sessionLife
	secure    bool
	confirmed bool
	err       error // why the session ended
	cause     error // what a local Destroy or TLS said
	failed    bool  // the end was an error: for the Error hooks and Shutdown
	parted    bool  // the hooks have been told of it
	closeCode CloseCode
	linger    time.Duration // of SetLinger
	lastOver  mono.Time     // when the last stream ended that Close waits for, 0 before there was one
	lingering *time.Timer   // nil while nothing is to be waited for
	noError   uint64        // what the application's protocol closes with when all is well
	refusal   uint64        // and what it turns streams away with
	keepUni   bool          // it goes on taking unidirectional streams while closing
	endedAt   mono.Time
	pastLimit bool // the peer went past a limit of ours

	tls        *tlsRunner // nil once the handshake engine is no longer needed
	tlsState   *tls.ConnectionState
	serverName string
	authErr    error
	localCert  *tls.Certificate // what this end has shown, or would
	lateScan   messageScanner   // of what TLS says after the handshake

	live      *Stream // all streams that are not over
	living    int     // how many of them Close waits for
	accepted  ring[*Stream]
	acceptors waitQueue
	openers   [2]waitQueue // by kind: bidirectional, unidirectional
	securing  waitQueue
	receivers waitQueue // calls of ReceiveDatagram
	moving    waitQueue // calls of SetSocket
	ending    waitQueue
	woken     waitQueue // to be woken when the lock is free
	after     after     // to be done then

	flushing bool      // a flush has been promised
	lane     uint8     // of the socket's flusher
	handling bool      // a Handler is to run, or runs
	fullAt   mono.Time // when the last full batch left
	spareAt  mono.Time // when what waits for the next one must leave; mono.Never: nothing does
	armed    mono.Time
	timer    *time.Timer

	datagram datagramState

	log       *sessionLog // nil without qlog
	logWriter io.Writer   // of the goroutine that writes the log

	handler  func(*Stream) // of HandleStreams
	fresh    *Stream       // for it, when the lock is free: linked by their fresh
	arrivals arrivals      // those that it is about to be given
	hooks    *SessionHooks // nil if there are none
	notices  *dispatcher   // nil until something is told
	done     chan struct{} // nil until asked for
	ctx      context.Context
	cancel   context.CancelCauseFunc
	host     netip.Addr // the peer's address that the server counts the session under

	// Links of the socket's list, under the socket's lock.
	prevInSocket, nextInSocket *Session
}

// sessionLife is where a session stands: open, closing (no new streams, and the end
// when the last one is over), ended, or forgotten by its socket.
type sessionLife uint8

const (
	sessionOpen sessionLife = iota
	sessionClosing
	sessionEnded
	sessionGone
)

// after is work that the holder of a session's lock leaves until it has let go.
type after uint8

const (
	afterKick    after = 1 << iota // notices wait for delivery
	afterHandler                   // the Handler is to be told of the session
	afterOwned                     // destroy the socket that the session owns
	afterIdle                      // the socket may be closing and have lost its last session
	afterLog                       // the log is to be written
)

// ClientSession is the client's end of a connection: what Connect and Dial return.
type ClientSession struct {
	Session

	owned      *Socket // made by Dial, and destroyed when the session is forgotten, wherever that has moved
	alpn       []string
	tokenKey   string
	tokenStore *TokenStore
	tickets    *ticketCache
	earlyALPN  string         // of the session whose ticket was used for 0-RTT
	home       netip.AddrPort // where the server was reached first
	preferring bool           // a move to the server's preferred address is to be told
	allowEarly bool           // it was given what early data needs
	delayed    bool           // StartHandshake is still to come
}

// ServerSession is the server's end of a connection: what Accept returns and a
// ListenOptions.Handler is given.
type ServerSession struct {
	Session

	listener  *listener
	greeted   bool       // the client's first message has come, or is not waited for
	held      bool       // the socket's count of sessions includes it; this and proven under the socket's lock
	proven    bool       // the client has shown that it owns its address
	offered   MaxStreams // by the client's first message, not proven before the handshake is complete
	queued    bool       // it went to the accept queue, or to a Handler
	waiting   bool       // it is in the accept queue; this and forgotten under the socket's lock
	forgotten bool       // the socket has no need of it any more
}

// CloseCode tells how a session ended (SES-043).
type CloseCode struct {
	Code   uint64      // 0 for an orderly end
	Family CloseFamily // whose code it is
	Silent bool        // this end said no word: it timed out, or the peer closed
}

// CloseFamily says who a close code belongs to (SES-045).
type CloseFamily uint8

const (
	// CloseTransport is a code of RFC 9000 §20.1.
	CloseTransport CloseFamily = 0
	// CloseTLS is a TLS alert, as 0x100 plus its number.
	CloseTLS CloseFamily = 1
	// CloseApplication is a code of the application's own.
	CloseApplication CloseFamily = 2
)

// Client returns the ClientSession that the session is part of, nil at a server.
func (s *Session) Client() *ClientSession { return s.client }

// Server returns the ServerSession that the session is part of, nil at a client.
func (s *Session) Server() *ServerSession { return s.server }

// Handshake waits until the handshake is complete (SES-018). It fails with what
// ended the session before, or with the context's error.
func (s *Session) Handshake(ctx context.Context) error {
	s.mu.Lock()
	if s.secure || s.err != nil {
		err := s.err
		if s.secure {
			err = nil
		}
		s.unlock(flushNone)
		return err
	}
	w := s.wait.get()
	s.securing.push(w)
	s.unlock(flushNow)
	err := s.sleep(ctx, &s.securing, w)
	if err == nil {
		err = w.err
	}
	s.wait.put(w)
	return err
}

// OriginalConnectionID returns the destination connection ID of the client's first packet,
// of 8 to 20 bytes (RFC 9000 §7.2): the same at both ends, from the session's start on and for
// ever, and in hexadecimal the group_id of its qlog. It tells sessions apart in logs.
func (s *Session) OriginalConnectionID() []byte {
	s.mu.Lock()
	defer s.unlock(flushNone)
	id := s.conn.FirstDCID()
	return bytes.Clone(id.Bytes())
}

// Ping asks the peer for an answer, which keeps an idle session alive (SES-079).
// Nothing tells whether it came. The error is a *StateError on a session that is over.
func (s *Session) Ping() error {
	s.mu.Lock()
	defer s.unlock(flushNow)
	if s.err != nil {
		return s.stateError("Session.Ping")
	}
	s.conn.Ping()
	return nil
}

// UpdateKey starts a key update (RFC 9001 §6), and reports false if the last one
// is still on its way (SES-095). The error is a *StateError before the handshake is
// confirmed, and on a session that is closing or over.
func (s *Session) UpdateKey() (bool, error) {
	s.mu.Lock()
	defer s.unlock(flushNow)
	switch {
	case s.life != sessionOpen:
		return false, s.stateError("Session.UpdateKey")
	case !s.conn.Confirmed():
		return false, &StateError{Op: "Session.UpdateKey", State: "handshake is not confirmed"}
	case !s.conn.UpdateKey(now()):
		return false, nil
	}
	s.conn.Ping() // a packet with the new key makes the peer follow
	return true, nil
}

// SetHooks replaces the session's hooks, also for notices that are waiting to be
// delivered. Inside a ListenOptions.Handler nothing is missed. With a Stream hook there is
// no AcceptStream any more, with a Datagram hook no ReceiveDatagram: calls that wait fail.
func (s *Session) SetHooks(h SessionHooks) {
	s.mu.Lock()
	defer s.unlock(flushNone)
	s.hooks = &h
	if h.Stream != nil {
		for w := s.acceptors.pop(); w != nil; w = s.acceptors.pop() {
			w.err = errStreamHook
			s.woken.push(w)
		}
		for s.accepted.len() > 0 {
			s.tellStream(s.accepted.pop())
		}
	}
	if h.Datagram != nil {
		for w := s.receivers.pop(); w != nil; w = s.receivers.pop() {
			w.err = errDatagramHook
			s.woken.push(w)
		}
		s.tellDatagrams()
	}
}

// Hooks returns the session's hooks, for a protocol that adds its own to them.
func (s *Session) Hooks() SessionHooks {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.hooks == nil {
		return SessionHooks{}
	}
	return *s.hooks
}

// SetErrorCodes says which codes, of 0 to 1<<62-1, the application's protocol uses where the
// package has to choose one: none when all is well, by Close and Destroy(nil), and as
// a peer's word for an end in order; refused for streams of the peer's that come while the
// session is closing. Both are 0 at first, and 0 stays an end in order. With failures, the codes for all
// that can go wrong, any other code of the peer's is taken for none; they are not to change afterwards. Package http3
// sets H3_NO_ERROR and H3_REQUEST_REJECTED, and what HTTP/3 has codes for (RFC 9114 §8).
func (s *Session) SetErrorCodes(none, refused uint64, failures ...uint64) {
	s.mu.Lock()
	defer s.unlock(flushNone)
	s.noError, s.refusal = min(none, maxInt), min(refused, maxInt)
	s.conn.SetErrorCodes(s.noError, failures)
}

// KeepUnidirectional lets both ends go on opening unidirectional streams while the session is
// closing: in some protocols these are not work but talk about it, as in HTTP/3 (RFC 9114 §6.2). Close
// waits for them too, unless SetLasting says otherwise. When the peer closes the session in order, what
// came on them before can still be read.
func (s *Session) KeepUnidirectional() {
	s.mu.Lock()
	defer s.unlock(flushNone)
	s.keepUni = true
	s.conn.KeepUnidirectional()
}

// PeerStreams returns how many streams of a kind, unidirectional ones or others, the peer has
// been allowed to open so far, those that are over included (RFC 9000 §4.6).
func (s *Session) PeerStreams(uni bool) int64 {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.conn.PeerStreams(uni)
}

// Streams returns the streams that are not over, in no order.
func (s *Session) Streams() []*Stream {
	s.mu.Lock()
	defer s.unlock(flushNone)
	var list []*Stream
	for st := s.live; st != nil; st = st.next {
		list = append(list, st)
	}
	return list
}

func (s *Session) noErrorCode() uint64 {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.noError
}

// SetKeepAlive sets how much silence makes the session send a PING; 0 is none, and
// what is less than 100 ms counts as that.
func (s *Session) SetKeepAlive(d time.Duration) {
	s.mu.Lock()
	defer s.unlock(flushNow)
	if d > 0 {
		d = max(d, minKeepAlive)
	}
	s.conn.SetKeepAlive(max(d, 0))
}

// Socket returns the socket that the session lives on (SES-092).
func (s *Session) Socket() *Socket {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.socket
}

// Address returns the local address in use (SES-025 to SES-028). Its IP is unspecified
// as long as the system has not told which one that is: it does so with the first
// datagram that comes.
func (s *Session) Address() netip.AddrPort {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.conn.Path().Local
}

// RemoteAddress returns the peer's address (SES-085 to SES-088), the zero AddrPort once the session
// is over. It is the one validated last: what a peer that seems to have moved has not answered at, which
// anybody can write into a packet, is not shown (RFC 9000 §9). Before any is validated, it is where a
// client's session goes to, and where the first packet of a server's came from.
func (s *Session) RemoteAddress() netip.AddrPort {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.err != nil {
		return netip.AddrPort{}
	}
	return s.conn.ValidatedPath().Remote
}

// LocalAddr returns Address as a *net.UDPAddr.
func (s *Session) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.Address()) }

// RemoteAddr returns the peer's address as a *net.UDPAddr: that of RemoteAddress, validated or that of the
// beginning, also of a session that is over, as net.Conn has it.
func (s *Session) RemoteAddr() net.Addr {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return net.UDPAddrFromAddrPort(s.conn.ValidatedPath().Remote)
}

// HandshakeComplete reports whether the handshake is done, and stays true (SES-058).
func (s *Session) HandshakeComplete() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.secure
}

// HandshakeConfirmed reports whether both ends know that it is (SES-059, RFC 9001 §4.1.2).
func (s *Session) HandshakeConfirmed() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.confirmed
}

// ConnectionState returns what TLS knows of the session, certificates and the
// exporter included. It is zero before the handshake is complete.
func (s *Session) ConnectionState() tls.ConnectionState {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.tlsState == nil {
		return tls.ConnectionState{}
	}
	return *s.tlsState
}

// ALPNProtocol returns the application protocol: the negotiated one, and until
// then at a client that offered only one that one, else "" (SES-029).
func (s *Session) ALPNProtocol() string {
	s.mu.Lock()
	defer s.unlock(flushNone)
	switch {
	case s.tlsState != nil:
		return s.tlsState.NegotiatedProtocol
	case s.client != nil && len(s.client.alpn) == 1:
		return s.client.alpn[0]
	}
	return ""
}

// ServerName returns the name that the client asked for (SES-090).
func (s *Session) ServerName() string {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.serverName
}

// Authenticated reports whether the handshake is done and the peer has shown a
// certificate that verifies (SES-030).
func (s *Session) Authenticated() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.secure && s.authErr == nil && s.tlsState != nil && len(s.tlsState.PeerCertificates) > 0
}

// AuthenticationError returns why the peer of a session with complete handshake
// is not authenticated, nil if it is: a *VerifyError (SES-031).
func (s *Session) AuthenticationError() error {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.authErr
}

// UsingEarlyData reports, once the handshake is complete, whether 0-RTT is in use: at a
// client that it has sent early data and the server has taken it, at a server that
// early data is not disabled (SES-097). EarlyDataAccepted tells at both ends what they have
// agreed on for this session.
func (s *Session) UsingEarlyData() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.server != nil {
		return s.secure && !s.server.listener.opts.DisableEarlyData
	}
	return s.secure && s.conn.UsingEarlyData() && s.conn.SentEarly()
}

// AddressValidated reports whether the peer is known to be at RemoteAddress: at a client always, at a server when the
// client has brought a token of its, or has answered. Until then, while early data may come already, the
// client can be somebody who writes another's address into packets (RFC 9000 §8.1).
func (s *Session) AddressValidated() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.conn.AddressValidated()
}

// Closing reports whether Close was called and the session is not over yet (SES-046).
func (s *Session) Closing() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.life == sessionClosing
}

// Destroyed reports whether the session is over (SES-050).
func (s *Session) Destroyed() bool {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.err != nil
}

// Err returns why the session is over, nil if it is not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return own(s.err)
}

// CloseCode returns how the session ended; before that it is that of an orderly end.
func (s *Session) CloseCode() CloseCode {
	s.mu.Lock()
	defer s.unlock(flushNone)
	return s.closeCode
}

// Closed returns a channel that is closed when the session is over.
func (s *Session) Closed() <-chan struct{} {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.done == nil {
		s.done = make(chan struct{})
		if s.err != nil {
			close(s.done)
		}
	}
	return s.done
}

// Context returns a context that ends with the session; context.Cause tells why.
func (s *Session) Context() context.Context {
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		if s.err != nil {
			s.cancel(s.err)
		}
	}
	return s.ctx
}

// sleep waits for w. If ctx ends before w is woken, w leaves the queue and the
// context's error is returned; if w was woken meanwhile, its result counts.
func (s *Session) sleep(ctx context.Context, q *waitQueue, w *waiter) error {
	if ctx == nil || ctx.Done() == nil {
		<-w.ch
		return nil
	}
	select {
	case <-w.ch:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	out := q.remove(w)
	s.unlock(flushNone)
	if out {
		return ctx.Err()
	}
	<-w.ch
	return nil
}

// closedError returns the error of a call that the end of the session has cut short.
func (s *Session) closedError() error { return s.err }

// stateError returns the error of a call that came too late.
func (s *Session) stateError(op string) error {
	state := "session is closing"
	if s.err != nil {
		state = "session is closed"
	}
	return &StateError{Op: op, State: state, Err: s.err, closed: true}
}

// ring is a first-in first-out queue.
type ring[T any] struct {
	buf  []T
	head int
	n    int
}

func (r *ring[T]) len() int { return r.n }

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		grown := make([]T, max(4, 2*len(r.buf)))
		for i := range r.n {
			grown[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.n)%len(r.buf)] = v
	r.n++
}

func (r *ring[T]) pop() T {
	var zero T
	v := r.buf[r.head]
	r.buf[r.head] = zero
	r.head = (r.head + 1) % len(r.buf)
	r.n--
	return v
}

func (r *ring[T]) peek() T { return r.buf[r.head] }

// remove takes all out for which gone is true.
func (r *ring[T]) remove(gone func(T) bool) {
	for range r.n {
		if v := r.pop(); !gone(v) {
			r.push(v)
		}
	}
}
