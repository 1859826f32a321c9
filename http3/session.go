package http3

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// ALPN is the name of HTTP/3 in the handshake (RFC 9114 §3.1).
const ALPN = "h3"

// Session is HTTP/3 on a quic.Session (RFC 9114 §3): request streams with header blocks,
// pushes, settings, and an end that both sides agree on. All methods may be called
// concurrently.
type Session struct {
	// Value is the program's own: the package does not look at it.
	Value any

	// Locks are taken in this order, each optional: one turn of a stream's (reading or writing), then
	// the session's or one of QPACK's two, then a stream's, then one of the leaves (datagrams,
	// budget). Package quic is called with any of them held, and never calls back under its own.
	// Hooks run without locks.

	q         *quic.Session
	server    bool
	take      func(*Stream) // of our own Server: is given each request on a goroutine of its own
	opts      Options
	fields    compression
	useful    budget
	stats     counters
	held      atomic.Int64 // bytes of header blocks that are not whole, or wait for QPACK
	kept      atomic.Int64 // what decoded ones cost, of requests that are not over and of promises
	mostKept  int64        // the most that this may be
	datagrams datagrams
	recalled  bool    // until settings come, peer is what the server of the resumed session has said
	in        control // the peer's control stream; hooks of quic's run it, one at a time

	over chan struct{} // closed when the session is over, and what came before has been told

	mu       sync.Mutex
	out      *quic.Stream // our control stream; nil until it could be opened
	owed     []byte       // control frames that wait for it, or for its flow control
	opened   [4]bool      // which of the peer's critical streams there are
	peer     Settings
	told     chan struct{} // closed when peer is known
	accepted []*Stream     // nobody has accepted yet; bounded by the limits on streams, and shed
	shedAt   int           // at so many of these, those that are over are forgotten
	waiting  chan struct{} // closed when there is one more, or the session is over; nil while nobody waits
	life     life
	pushes   pushes
	updates  map[int64]Priority // of requests that have not come; bounded
	updated  int64              // PRIORITY_UPDATE frames that have come
	asked    int64              // client: requests that were made
	next     int64              // server: the ID of the first request that has not come
}

// life is where a session stands as to its end (RFC 9114 §5).
type life struct {
	sent     int64 // the ID of the GOAWAY we have sent, -1 if none
	received int64 // that of the peer's
	err      error // why the session is over
}

// NewSession makes HTTP/3 of a session whose ALPN is "h3": SETTINGS go out, and the
// peer's streams are taken from here on. It replaces the Stream hook, and adds itself to
// the Secure, Close and Datagram hooks: later changes with quic.Session.SetHooks must keep
// what quic.Session.Hooks returns. A server calls it in a ListenOptions.Handler, or after
// Accept; a client at any time. The error is a *quic.OptionError, also for a session that lets the peer
// open fewer than three unidirectional streams, or a *quic.StateError if the session is over or has
// another protocol (STR-022).
func NewSession(q *quic.Session, o Options) (*Session, error) { return newSession(q, o, nil) }

func newSession(q *quic.Session, o Options, take func(*Stream)) (*Session, error) {
	o, err := o.settled()
	if err != nil {
		return nil, err
	}
	if err := usable(q); err != nil {
		return nil, err
	}
	option := "ConnectOptions.MaxStreamsUni"
	if q.Server() != nil {
		option = "ListenOptions.MaxStreamsUni"
	}
	if err := grantsEnough(option, q.PeerStreams(true)); err != nil {
		return nil, err
	}
	s := &Session{q: q, server: q.Server() != nil, take: take, opts: o, told: make(chan struct{}), over: make(chan struct{})}
	s.mostKept = o.maxKept(0)
	if s.server {
		s.mostKept = o.maxKept(q.PeerStreams(false))
	}
	s.peer = settingsUnsaid()
	s.recall()
	s.life = life{sent: -1, received: -1}
	s.fields.init(s)
	s.pushes.init(o.MaxPushes)
	s.in.init(s)
	settings := o.settings(s.server)
	s.owed = settings.append(nil, grease())
	if !s.server && o.MaxPushes > 0 {
		s.owed = append(s.owed, s.pushes.raise()...)
	}
	q.SetErrorCodes(uint64(NoError), uint64(RequestRejected), failureCodes...)
	q.KeepUnidirectional()
	if s.server {
		q.SetLinger(linger)
	}
	s.hook()
	done := q.HandshakeComplete()
	if err := usable(q); err != nil { // since before the hooks were there, which would not be told
		return nil, err
	}
	if s.start(); done {
		s.needControl()
	}
	return s, nil
}

// usable says why a session cannot carry HTTP/3, nil if it can or may.
func usable(q *quic.Session) error {
	const op = "http3.NewSession"
	done := q.HandshakeComplete() // asked first, because it becomes true in between
	if alpn := q.ALPNProtocol(); alpn != ALPN && (alpn != "" || done) {
		return &quic.StateError{Op: op, State: "session speaks " + quote(alpn) + ", not h3"}
	}
	if err := q.Err(); err != nil {
		return &quic.StateError{Op: op, State: "session is over", Err: err}
	}
	return nil
}

// linger is how long a server waits at the end for clients to read what has come: some drop it when
// the session ends.
const linger = 250 * time.Millisecond

// hook joins our hooks with those that the session has.
func (s *Session) hook() {
	h := s.q.Hooks()
	secure, closed := h.Secure, h.Close
	h.Secure = func() error {
		if alpn := s.q.ALPNProtocol(); alpn != ALPN {
			return &quic.StateError{Op: "http3.NewSession", State: "session speaks " + quote(alpn) + ", not h3"}
		}
		s.start()
		s.needControl()
		if secure != nil {
			return secure()
		}
		return nil
	}
	h.Close = func() {
		s.end()
		if closed != nil {
			closed()
		}
	}
	h.Stream = s.onStream
	s.hookDatagrams(&h)
	if s.take != nil && s.server { // before the Stream hook, which would have those that have come
		s.q.HandleStreams(s.onRequest)
	}
	s.q.SetHooks(h)
}

// start opens the control stream, if that is possible yet: before the handshake is complete it is
// for a client with early data, if these can only be HTTP/3.
func (s *Session) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil && s.q.ALPNProtocol() == ALPN {
		s.out = s.openCritical(streamControl, s.flushControl)
	}
	s.sendControl()
}

// needControl ends a session whose peer allows no control stream: it is called when the handshake
// is complete.
func (s *Session) needControl() {
	if !s.started() {
		s.fail(sessionFault(GeneralProtocolError, "no unidirectional stream is allowed, and HTTP/3 needs three")) // RFC 9114 §6.2
	}
}

func (s *Session) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out != nil || s.q.Err() != nil || s.q.Closing()
}

// openCritical opens a unidirectional stream of a type that lasts as long as the session,
// nil if the peer does not allow one. flush is called when a write to it that was cut short
// can go on.
func (s *Session) openCritical(kind uint64, flush func()) *quic.Stream {
	st, err := s.q.TryOpenStream(quic.StreamOptions{HalfOpen: true, HighWaterMark: criticalHighWater, Hooks: quic.StreamHooks{
		Drained: func() error { flush(); return nil },
		Aborted: func(error) error {
			s.fail(sessionFault(ClosedCriticalStream, "the peer has asked to stop a critical stream"))
			return nil
		},
	}})
	if err != nil {
		return nil
	}
	st.SetLasting()
	_ = st.SetPriority(0, true)
	_, _ = st.TryWrite(varint.Append(nil, kind)) // one byte into an empty stream
	return st
}

// criticalHighWater makes critical streams take something, whatever mark the session has.
const criticalHighWater = 16 << 10

// maxOwedControl bounds what waits to go to a peer that does not read our control stream.
const maxOwedControl = 64 << 10

// control sends frames on our control stream. The error is a *quic.StateError if the session is
// over, or a *quic.OperationError if too much waits there already.
func (s *Session) control(op string, frames []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.controlLocked(op, frames)
}

func (s *Session) controlLocked(op string, frames []byte) error {
	if err := s.q.Err(); err != nil {
		return &quic.StateError{Op: op, State: "session is over", Err: err}
	}
	if len(s.owed)+len(frames) > maxOwedControl {
		s.stats.unsent.Add(1)
		return &quic.OperationError{Op: op, Err: errUnread}
	}
	s.owed = append(s.owed, frames...)
	s.sendControl()
	return nil
}

var errUnread = errors.New("the peer does not read the control stream")

func (s *Session) flushControl() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendControl()
}

func (s *Session) sendControl() {
	if s.out == nil || len(s.owed) == 0 {
		return
	}
	n, _ := s.out.TryWrite(s.owed)
	if s.owed = s.owed[n:]; len(s.owed) == 0 {
		s.owed = nil
	}
}

// QUIC returns the session below.
func (s *Session) QUIC() *quic.Session { return s.q }

// Server reports whether this is the server's end.
func (s *Session) Server() bool { return s.server }

// Settings waits for the peer's SETTINGS and returns them. The error is the context's, or
// what ended the session.
func (s *Session) Settings(ctx context.Context) (Settings, error) {
	select {
	case <-s.told:
	case <-ctx.Done():
		return Settings{}, ctx.Err()
	case <-s.over:
		select {
		case <-s.told:
		default:
			return Settings{}, s.Err()
		}
	}
	return s.peerSettings(), nil
}

// peerSettings returns what is known of the peer's settings now: until they come, for early data
// that was not refused, those of the session before.
func (s *Session) peerSettings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recalled && !s.knows() && s.q.HandshakeComplete() && !s.q.EarlyDataAccepted() {
		return settingsUnsaid()
	}
	return s.peer
}

// knows reports whether the peer's settings have come.
func (s *Session) knows() bool {
	select {
	case <-s.told:
		return true
	default:
		return false
	}
}

// onSettings takes the peer's SETTINGS.
func (s *Session) onSettings(p Settings) {
	s.mu.Lock()
	s.peer = p
	s.mu.Unlock()
	s.fields.setLimits(&p)
	close(s.told)
	if c := s.q.Client(); c != nil {
		c.SetTicketData(p.payload(nil))
	}
	if hook := s.opts.Hooks.Settings; hook != nil {
		s.guard(func() error { return hook(p) })
	}
}

// guard calls a hook of the session's; its error or panic destroys the session.
func (s *Session) guard(hook func() error) {
	if err := call(hook); err != nil {
		s.q.Destroy(err)
	}
}

// Err returns why the session is over, nil if it is not: an *Error if one of the ends has
// used a code of HTTP/3's.
func (s *Session) Err() error {
	s.mu.Lock()
	err := s.life.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return wrap(s.q.Err())
}

// fail ends the session, because of a fault of the peer's.
func (s *Session) fail(f *fault) {
	s.mu.Lock()
	if s.life.err == nil {
		s.life.err = f.error()
		s.stats.count(f)
	}
	s.mu.Unlock()
	_ = s.q.CloseWithError(uint64(f.code), f.reason) // it may be over
}

// end is called when the session below is over, behind all other hooks of it.
func (s *Session) end() {
	if c := s.q.Client(); c != nil && !s.knows() {
		c.SetTicketData(nil) // a ticket without settings is better than none
	}
	close(s.over)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
}

// grease returns a number that differs from session to session, for what peers must ignore.
func grease() uint64 { return rand.Uint64() }

func quote(s string) string { return strconv.Quote(s) }

// wake lets those look again who wait for a stream to accept.
func (s *Session) wake() {
	if s.waiting != nil {
		close(s.waiting)
		s.waiting = nil
	}
}
