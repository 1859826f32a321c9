package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// engineLife is how long a client keeps its handshake engine for the server's
// tickets.
const engineLife = 10 * time.Second

// maxLateMessages is how many messages TLS takes once the handshake is over: crypto/tls ends
// with one more, and a peer that sends so many tickets means no good.
const maxLateMessages = 16

// tlsRunner feeds a session's tls.QUICConn. That one blocks while user callbacks
// run, so it is fed by one goroutine at a time that holds no lock, and exists only while
// there is something to feed. What comes out goes back to the machine.
type tlsRunner struct {
	s      *Session
	config *tls.Config
	resume bool // client: early data is wanted

	context   *securecontext.Context // what config was made of, if it was
	soft      bool                   // who does not verify may stay
	anyHost   bool                   // client: the server's name does not matter
	clientCAs *x509.CertPool         // server: whom to trust, should TLS not look

	// Under the session's lock.
	queue   []tlsInput
	running bool
	stopped bool
	until   mono.Time // end of the time that a user callback may take
	dropAt  mono.Time // client: end of the engine
	err     error     // what the handshake failed with

	patience *time.Timer // client: the session's last notices wait for tickets until then

	scan [2]messageScanner

	// Of the goroutine that runs.
	conn     *tls.QUICConn
	ctx      context.Context // for the program's callbacks
	cancel   context.CancelFunc
	done     bool
	failed   bool
	ticket   bool             // client: one has come
	chosen   *tls.Config      // server: what the program has chosen, if it has; what opens its tickets cannot tell versions apart: they are of version 1 only
	rejected bool             // client: the server refused 0-RTT
	verified bool             // the peer's certificate has been looked at
	shown    *tls.Certificate // chosen for this end
	keys     [][]byte         // lines of the key log to be told
	random   [32]byte         // the client's, which the lines of the key log begin with
	insisted bool             // it has been looked at before that, and is good
	authErr  error            // what came of it
	out      []transport.TLSEvent
	room     *eventRoom // what out and its data are in
	used     int        // bytes of it
	state    *tls.ConnectionState
}

type tlsInput struct {
	level transport.Level
	data  []byte
	again bool // client: begin anew, there is no data
	early bool // and early data is lost
}

func newTLSRunner(s *Session) *tlsRunner {
	const clientHello, serverHello, finished = 1, 2, 20
	r := &tlsRunner{s: s, until: mono.Never, dropAt: mono.Never}
	r.scan[0].final, r.scan[1].final = serverHello, finished
	if s.server != nil {
		r.scan[0].final = clientHello
	}
	return r
}

func (r *tlsRunner) deadline() mono.Time { return min(r.until, r.dropAt) }

// tlsInput takes handshake bytes from the machine.
func (s *Session) tlsInput(t mono.Time, level transport.Level, data []byte) {
	var err *wire.Error
	if v := s.server; v != nil && !v.greeted && level == transport.LevelInitial {
		err = v.greet(data)
	}
	if err == nil {
		err = s.checkMessages(s.scanner(level), level, data)
	}
	if err != nil {
		s.conn.Handshake(t, transport.TLSEvent{Kind: transport.TLSError, Err: err})
		return
	}
	r := s.tls
	if r == nil || r.stopped || len(data) == 0 {
		return
	}
	r.add(level, data)
	s.conn.AwaitTLS(t, true)
	r.start()
}

// add puts handshake bytes behind those of their level that wait already: a peer may send them one by
// one, and each turn of the engine's goroutine costs far more than a byte.
func (r *tlsRunner) add(level transport.Level, data []byte) {
	if n := len(r.queue); n > 0 && r.queue[n-1].level == level && !r.queue[n-1].again {
		r.queue[n-1].data = append(r.queue[n-1].data, data...)
		return
	}
	r.queue = append(r.queue, tlsInput{level: level, data: data})
}

// greet makes a handshake engine for the client's first message, which comes whole if it is a
// ClientHello: the engine costs far more than that.
func (v *ServerSession) greet(data []byte) *wire.Error {
	const clientHello = 1
	v.greeted = true
	if data[0] != clientHello {
		return unexpectedMessage()
	}
	v.tls = newTLSRunner(&v.Session)
	v.tls.config = v.listener.tlsFor(v.conn.FirstVersion())
	v.tls.serve(v.listener)
	v.offered = offeredStreams(data)
	if v.listener.opts.Handler != nil {
		v.queued = true
		v.after |= afterHandler
	}
	return nil
}

// unexpectedMessage is the error for a handshake message that may not be where it is (RFC 9001 §4.8).
func unexpectedMessage() *wire.Error {
	const alert = 10
	return &wire.Error{Code: wire.CryptoError(alert), Frame: wire.FrameCrypto, Reason: "unexpected handshake message"}
}

// scanner returns what has followed the messages of a level, nil if they are of no use.
func (s *Session) scanner(level transport.Level) *messageScanner {
	switch {
	case level == transport.LevelApp:
		return &s.lateScan
	case s.tls == nil:
		return nil
	}
	return &s.tls.scan[min(level, 1)]
}

// checkMessages looks at handshake messages before TLS does, because it reports some that are
// forbidden with another alert than RFC 9001 §6, §4.1.3, §4.4 and §4.6.1 ask for, and is not there for all.
func (s *Session) checkMessages(scan *messageScanner, level transport.Level, data []byte) *wire.Error {
	const (
		newSessionTicket   = 4
		certificateRequest = 13
		keyUpdate          = 24
	)
	violation := func(reason string) *wire.Error {
		return &wire.Error{Code: wire.ProtocolViolation, Frame: wire.FrameCrypto, Reason: reason}
	}
	for scan != nil {
		kind, ok := scan.next(&data)
		switch {
		case scan.behind && scan.kind == keyUpdate:
			return unexpectedMessage()
		case scan.behind: // RFC 9001 §4.1.3
			return violation("handshake bytes behind the end of a level")
		case scan.oddTicket:
			return violation("ticket for early data of a size that is not 0xffffffff")
		case !ok:
			return nil
		case kind == keyUpdate:
			return unexpectedMessage()
		case level != transport.LevelApp:
		case s.client != nil && kind == certificateRequest:
			return violation("certificate requested after the handshake")
		case s.client == nil || kind != newSessionTicket:
			return unexpectedMessage()
		case scan.n > maxLateMessages:
			return &wire.Error{Code: wire.CryptoBufferExceeded, Frame: wire.FrameCrypto, Reason: "too many handshake messages after the handshake"}
		default:
			scan.watchTicket()
		}
	}
	return nil
}

// start makes a goroutine feed the engine, if none does.
func (r *tlsRunner) start() {
	if !r.running {
		r.running = true
		r.s.socket.crew.run(r)
	}
}

// run feeds the engine until there is nothing to feed.
func (r *tlsRunner) run() {
	s := r.s
	for {
		s.mu.Lock()
		in, stopped := r.queue, r.stopped
		r.queue = nil
		if len(in) == 0 || stopped && !s.ticketsServe() {
			r.running = false
			if r.patience != nil {
				r.patience.Stop()
				s.part()
			}
			s.unlockAfterTurn()
			if stopped {
				r.close()
			}
			return
		}
		s.unlock(flushNone)
		r.feed(in)
		r.deliver()
	}
}

// rest ends the run of a goroutine that has other things to do. What has come
// meanwhile is left to another one.
func (r *tlsRunner) rest() {
	s := r.s
	s.mu.Lock()
	r.running = len(r.queue) > 0 || r.stopped
	again, crew := r.running, &s.socket.crew
	s.unlock(flushNow)
	if again {
		crew.run(r)
	}
}

// deliver brings what came out of the engine to the machine.
func (r *tlsRunner) deliver() {
	s := r.s
	fresh := r.state != nil && !r.verified
	if fresh { // without the lock: it takes long, and asks the program for the time
		r.verified = true
		if !r.insisted {
			r.authErr = r.verify(r.state)
		}
	}
	s.mu.Lock()
	t := now()
	if fresh && !r.stopped {
		s.tlsState, s.serverName = r.state, r.state.ServerName
		s.conn.LogALPN(t, r.config.NextProtos, r.state.NegotiatedProtocol)
		s.authErr = r.authErr
		s.localCert = r.localCert()
	}
	s.tellKeys(r.keys)
	r.keys = nil
	if len(r.queue) == 0 { // a ClientHello or ServerHello may come again (RFC 8446 §4.1.4)
		r.scan[0].answered()
		r.scan[1].answered()
	}
	for _, e := range r.out {
		s.conn.Handshake(t, e)
		r.rejected = r.rejected || e.Kind == transport.TLSEarlyRejected
	}
	if r.rejected && s.tlsState != nil {
		r.rejected = false
		s.client.earlyRejected()
	}
	r.emptied()
	if s.server != nil && s.conn.UsingEarlyData() && !s.offer() { // its early data is worth reading now
		s.conn.Close(t, false, uint64(wire.ConnectionRefused), "")
	}
	s.conn.AwaitTLS(t, false)
	s.events(t) // there may be more for TLS already
	if r.done && !r.stopped {
		r.retire(t)
	}
	s.unlockAfterTurn()
}

// retire ends the engine's life when the handshake is done: a server has sent its
// ticket, a client waits for tickets a little if it has a use for them.
func (r *tlsRunner) retire(t mono.Time) {
	c := r.s.client
	if c != nil && c.wantTickets() && !r.ticket {
		if r.dropAt == mono.Never {
			r.dropAt = t.Add(engineLife)
		}
		return
	}
	r.s.tlsStop()
}

// ticketsServe reports whether what has come for the engine is of use though the
// session is over: a ticket is for the next session.
func (s *Session) ticketsServe() bool { return s.client != nil && s.secure }

// tlsStop drops the engine.
func (s *Session) tlsStop() {
	if v := s.server; v != nil {
		v.greeted = true
	}
	r := s.tls
	if r == nil {
		return
	}
	s.tls = nil
	r.stopped = true
	if !s.ticketsServe() {
		r.queue = nil
	}
	if r.cancel != nil {
		r.cancel()
	}
	if !r.running && !r.done && r.conn != nil {
		r.running = true
		go r.close() // the engine's own goroutine has to end
	}
}

// close ends the engine's goroutine.
func (r *tlsRunner) close() {
	if r.conn != nil && !r.done {
		_ = r.conn.Close()
		r.done = true
	}
}

// tlsAdvance lets the engine's own timers act.
func (s *Session) tlsAdvance(t mono.Time) {
	r := s.tls
	switch {
	case t >= r.until:
		r.until = mono.Never
		s.cause = s.handshakeTimeout(s.opts.callbackTimeout, true)
		s.conn.Close(t, false, uint64(wire.InternalError), "")
	case t >= r.dropAt:
		s.tlsStop()
	}
}

// tlsError returns what the handshake failed with here.
func (s *Session) tlsError() error {
	if s.tls == nil {
		return nil
	}
	return s.tls.err
}

// begin makes and starts the engine. Only the goroutine that runs calls it.
func (r *tlsRunner) begin() error {
	s := r.s
	qc := &tls.QUICConfig{TLSConfig: r.config, EnableSessionEvents: true}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), runnerKey{}, r))
	conn := tls.QUICServer
	if s.client != nil {
		conn = tls.QUICClient
	}
	c := conn(qc)
	r.ctx = ctx
	s.mu.Lock()
	r.conn, r.cancel = c, cancel
	stopped := r.stopped
	s.unlock(flushNone)
	if stopped {
		cancel()
	}
	if s.client != nil {
		r.sayParameters()
		r.offer(nil)
	}
	return c.Start(ctx)
}

// sayParameters gives TLS our transport parameters. A server's depend on the client's, so TLS
// asks for them, and the machine hears of the client's before. All else waits until TLS has
// had its say: early data must not be read before the client is known to be welcome.
func (r *tlsRunner) sayParameters() {
	s := r.s
	s.mu.Lock()
	t := now()
	if len(r.out) > 0 && r.out[0].Kind == transport.TLSParameters {
		s.conn.Handshake(t, r.out[0])
		r.out = slices.Delete(r.out, 0, 1)
	}
	params := s.conn.LocalParameters()
	s.unlock(flushNone)
	r.conn.SetTransportParameters(params)
}

// tlsAgain makes TLS begin anew, because the client's first flight was of a version that
// the server does not speak. Early says that early data was on its way.
func (s *Session) tlsAgain(early bool) {
	if r := s.tls; r != nil && !r.stopped {
		r.queue = append(r.queue, tlsInput{again: true, early: early})
		r.start()
	}
}

// again replaces the engine by one that says what the other version asks for. The ticket was of
// the version that did not serve (RFC 9369 §5).
func (r *tlsRunner) again(early bool) {
	r.cancel()
	_ = r.conn.Close()
	r.conn, r.resume = nil, false
	r.rejected = r.rejected || early
	r.s.client.tickets.loaded = nil
	if err := r.begin(); err != nil {
		r.fail(err)
		return
	}
	r.collect()
}

// runnerKey is where callbacks find the runner in their context.
type runnerKey struct{}

// feed gives handshake bytes to the engine and takes what comes out.
func (r *tlsRunner) feed(in []tlsInput) {
	if r.conn == nil {
		if len(in) > 0 {
			r.hearHello(in[0].data)
		}
		if err := r.begin(); err != nil {
			r.fail(err)
			return
		}
		r.collect()
	}
	for _, i := range in {
		if r.failed {
			return
		}
		if i.again {
			r.again(i.early)
			continue
		}
		if err := r.conn.HandleData(tls.QUICEncryptionLevel(i.level), i.data); err != nil {
			r.fail(err)
			return
		}
		r.collect()
	}
	if r.done && r.s.server != nil && !r.failed {
		r.sendTicket()
	}
}

// collect takes the engine's events. Their data is only lent, so it is copied. The
// end of the handshake is put last: crypto/tls gives the 1-RTT read key after it, but
// packets that wait for that key must not be given up before.
func (r *tlsRunner) collect() {
	done := false
	r.enter()
	for {
		e := r.conn.NextEvent()
		out := transport.TLSEvent{Level: transport.Level(e.Level), Suite: e.Suite}
		switch e.Kind {
		case tls.QUICNoEvent:
			if done {
				r.out = append(r.out, transport.TLSEvent{Kind: transport.TLSDone})
			}
			return
		case tls.QUICSetReadSecret:
			out.Kind = transport.TLSReadSecret
		case tls.QUICSetWriteSecret:
			out.Kind = transport.TLSWriteSecret
		case tls.QUICWriteData:
			out.Kind = transport.TLSWriteData
			if r.s.client != nil && e.Level == tls.QUICEncryptionLevelInitial {
				r.hearHello(e.Data)
			}
		case tls.QUICTransportParameters:
			out.Kind = transport.TLSParameters
		case tls.QUICTransportParametersRequired:
			r.sayParameters()
			continue
		case tls.QUICRejectedEarlyData:
			out.Kind = transport.TLSEarlyRejected
		case tls.QUICHandshakeDone:
			done, r.done = true, true
			state := r.conn.ConnectionState()
			r.state = &state
			continue
		case tls.QUICResumeSession:
			r.onResume(e.SessionState)
			continue
		case tls.QUICStoreSession:
			r.onStore(e.SessionState)
			continue
		case tls.QUICErrorEvent:
			r.fail(e.Err)
			return
		default:
			continue
		}
		if e.Suite != 0 && r.context != nil && !r.context.AllowsCipher(e.Suite) {
			r.fail(&securecontext.CipherError{Suite: e.Suite})
			return
		}
		out.Data = r.keep(e.Data)
		r.logEarly(&out)
		r.out = append(r.out, out)
	}
}

// eventRoom is for what comes out of an engine at a time, most often: a server's flight with
// a short chain of certificates, and secrets.
type eventRoom struct {
	events [12]transport.TLSEvent
	bytes  [4096]byte
}

// eventRooms are pooled because an engine needs one only while it is fed.
var eventRooms = sync.Pool{New: func() any { return new(eventRoom) }}

// enter makes room for events.
func (r *tlsRunner) enter() {
	if r.room == nil {
		r.room, r.used = eventRooms.Get().(*eventRoom), 0
		r.out = append(r.room.events[:0], r.out...)
	}
}

// keep copies what an event has lent, until the event is delivered.
func (r *tlsRunner) keep(b []byte) []byte {
	if r.used+len(b) > len(r.room.bytes) {
		return bytes.Clone(b)
	}
	at := r.used
	r.used += copy(r.room.bytes[at:], b)
	return r.room.bytes[at:r.used:r.used]
}

// emptied forgets the events, which are delivered, and overwrites the secrets in them.
func (r *tlsRunner) emptied() {
	for _, e := range r.out {
		if e.Kind == transport.TLSReadSecret || e.Kind == transport.TLSWriteSecret {
			clear(e.Data)
		}
	}
	r.out = nil
	if r.room != nil {
		*r.room = eventRoom{}
		eventRooms.Put(r.room)
		r.room = nil
	}
}

// fail reports the end of the handshake. The peer gets the alert and no more.
func (r *tlsRunner) fail(err error) {
	if r.failed {
		return
	}
	r.failed = true
	alert := tls.AlertError(80) // internal_error
	errors.As(err, &alert)
	unproven, err := r.unproven(err, alert)
	s := r.s
	s.mu.Lock()
	r.err = err
	if unproven != nil {
		s.authErr = unproven
	}
	s.unlock(flushNone)
	r.out = slices.DeleteFunc(r.out, func(e transport.TLSEvent) bool { // nobody is to read what it opens
		return e.Kind == transport.TLSReadSecret && e.Level == transport.LevelEarly
	})
	r.out = append(r.out, transport.TLSEvent{Kind: transport.TLSError, Err: &wire.Error{
		Code:   wire.CryptoError(uint8(alert)),
		Frame:  wire.FrameCrypto,
		Reason: alert.Error(),
	}})
}

// pause keeps the handshake's clock from running while user code does.
func (r *tlsRunner) pause(on bool) {
	s := r.s
	s.mu.Lock()
	t := now()
	r.until = mono.Never
	if on {
		r.until = t.Add(s.opts.callbackTimeout)
	}
	s.conn.PauseHandshakeDeadline(t, on)
	s.unlock(flushNow)
}
