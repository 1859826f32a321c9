package quic

import (
	"context"
	"errors"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Close begins the graceful end and returns: no stream is opened any more, here or
// by the peer, and when the last one is over the session ends with application
// code 0 (SES-040). Shutdown waits for that. The error is a *StateError if the
// session is over already.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.unlock(flushNow)
	return s.close("Session.Close")
}

func (s *Session) close(op string) error {
	switch s.life {
	case sessionOpen:
		s.life = sessionClosing
		for k := range s.openers {
			if s.takesStreams(k == 1) {
				continue
			}
			for w := s.openers[k].pop(); w != nil; w = s.openers[k].pop() {
				w.err = s.stateError("Session.OpenStream")
				s.woken.push(w)
			}
		}
		s.serveMovers()
		for s.accepted.len() > 0 { // nobody will ever read them
			s.accepted.pop().turnAway()
		}
		for w := s.acceptors.pop(); w != nil; w = s.acceptors.pop() {
			w.err = s.stateError("Session.AcceptStream")
			s.woken.push(w)
		}
		if n, _ := s.conn.DatagramsUnsent(); n > 0 {
			s.transmit(now()) // the last moment for them if no stream is open
		}
		s.checkDone()
	case sessionEnded, sessionGone:
		return s.stateError(op)
	}
	return nil
}

// SetLinger makes a session that Close ends wait until its last stream has been over for d. The peer's
// transport has all of it then, but some implementations drop at the session's end what their program
// has not read yet. 0, the default, is no wait, and a peer that closes first ends it. Streams that were
// turned away do not count.
func (s *Session) SetLinger(d time.Duration) {
	s.mu.Lock()
	defer s.unlock(flushNone)
	s.linger = max(d, 0)
}

// lingers reports whether the end of the last stream is too recent for the session's, and looks
// again when it no longer is.
func (s *Session) lingers() bool {
	wait := s.lastOver.Add(s.linger).Sub(now())
	if s.linger == 0 || s.lastOver == 0 || wait <= 0 {
		return false
	}
	if s.lingering == nil {
		s.lingering = time.AfterFunc(wait, func() {
			s.mu.Lock()
			s.lingering = nil
			s.checkDone()
			s.unlock(flushNow)
		})
	}
	return true
}

// checkDone ends a closing session that has no stream left.
func (s *Session) checkDone() {
	if s.life == sessionClosing && s.err == nil && s.living == 0 && !s.lingers() {
		s.conn.Close(now(), true, s.noError, "")
	}
}

// Shutdown closes the session gracefully and waits until it is over. If the
// context ends first, the session is closed at once and the context's error returned.
// Otherwise the error is nil if one of the ends closed the session without an error,
// and what else ended it if not: after an idle timeout or a stateless reset nobody knows
// how much of what was written has arrived. On a session that is over already it is a *StateError, after a
// Close of an idle one, too: Shutdown is to be called in place of Close.
func (s *Session) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if err := s.close("Session.Shutdown"); err != nil {
		s.unlock(flushNone)
		return err
	}
	if s.err != nil || s.conn.Closed() {
		s.unlock(flushNow)
		return s.failure()
	}
	w := s.wait.get()
	s.ending.push(w)
	s.unlock(flushNow)
	err := s.sleep(ctx, &s.ending, w)
	s.wait.put(w)
	if err != nil {
		_ = s.CloseWithError(s.noErrorCode(), "")
		return err
	}
	return s.failure()
}

// failure returns why the session is over, nil if one of the ends closed it in peace.
func (s *Session) failure() error {
	err := s.Err()
	switch err.(type) {
	case *IdleTimeoutError, *StatelessResetError: // orderly for the Error hook, but nobody has closed
		return err
	}
	s.mu.Lock()
	defer s.unlock(flushNone)
	if s.failed {
		return err
	}
	return nil
}

// CloseWithError ends the session now, with an application's code of 0 to 1<<62-1
// and words for the peer (RFC 9000 §10.2). Streams are cut off. The error is a
// *StateError if the session is over already.
func (s *Session) CloseWithError(code uint64, reason string) error {
	s.mu.Lock()
	defer s.unlock(flushNow)
	switch {
	case s.err != nil:
		return s.stateError("Session.CloseWithError")
	case code > maxInt:
		return &OptionError{Option: "CloseWithError.code", Value: code, Want: "0 to 1<<62-1", code: CodeOutOfRange}
	}
	s.conn.Close(now(), true, code, reason)
	return nil
}

// Destroy ends the session at once (SES-047). With an error, that is what the
// session's streams, its Error hook and Err report; the peer is told its code if it
// is an *ApplicationError, and APPLICATION_ERROR if it is another. A session that is
// over stays as it is.
func (s *Session) Destroy(err error) {
	var app *ApplicationError
	errors.As(err, &app) // without the lock: an error may have methods of the program's
	cause := destroyed(err)
	s.mu.Lock()
	defer s.unlock(flushNow)
	if s.err != nil {
		return
	}
	s.cause = cause
	switch {
	case err == nil:
		s.conn.Close(now(), true, s.noError, "")
	case app != nil:
		s.conn.Close(now(), true, min(app.ErrorCode, maxInt), app.Reason)
	default:
		s.conn.Close(now(), false, uint64(wire.ApplicationError), "")
	}
}

// refuse ends a session whose Handler has failed: a client that is still in its
// handshake learns that the connection is refused (SOC-017).
func (s *Session) refuse(err error) {
	cause := destroyed(err)
	s.mu.Lock()
	if s.secure || s.err != nil {
		s.unlock(flushNow)
		s.Destroy(err)
		return
	}
	s.cause = cause
	s.conn.Close(now(), false, uint64(wire.ConnectionRefused), "")
	s.unlock(flushNow)
}

// end is the end of the session's life for everybody but the machine, which may
// have to repeat its last words for a while.
func (s *Session) end(t mono.Time, r *transport.CloseReason) {
	if s.err != nil {
		return
	}
	s.life, s.endedAt = sessionEnded, t
	s.err = closeError(r)
	if r.Kind == transport.CloseHandshakeTimeout {
		s.err = s.handshakeTimeout(s.opts.handshakeTimeout, false) // with the peer and the time
	}
	if te, ok := s.err.(*TransportError); ok && !te.Remote && te.Err == nil {
		te.Err = s.tlsError()
	}
	if s.cause != nil && (r.Kind == transport.CloseLocal || r.Kind == transport.CloseSilent) {
		s.err, s.failed = s.cause, true // also with an error that would be an orderly end if the machine told it
	}
	s.failed = s.failed || !s.orderly(s.err)
	s.closeCode = closeCode(r)
	if s.pastLimit = r.Limit; r.Limit {
		s.socket.pastLimit.Add(1)
	}
	if _, late := s.err.(*HandshakeTimeoutError); late {
		s.socket.late.Add(1)
	}
	if s.lingering != nil {
		s.lingering.Stop()
	}
	run := s.tls
	s.tlsStop()
	s.cutOff(t)
	if s.done != nil {
		close(s.done)
	}
	if s.cancel != nil {
		s.cancel(s.err)
	}
	if run != nil && run.running && s.ticketsServe() && s.client.wantTickets() {
		// TLS has been given what may be a ticket, of which the hook hears before it
		// hears of the end. Only a program's cache can make that take long.
		run.patience = time.AfterFunc(s.opts.callbackTimeout, s.partLate)
	} else {
		s.part()
	}
	s.socket.ended(s)
	s.after |= afterIdle
}

// part tells the hooks of the end, after which they are told nothing.
func (s *Session) part() {
	if s.parted {
		return
	}
	if s.client != nil {
		s.client.tickets.tellHeld()
	}
	s.parted = true
	if err := s.err; s.failed {
		s.tell(true, func(h *SessionHooks) {
			if h.Error != nil {
				_ = call(func() error { h.Error(own(err)); return nil })
			}
		})
	}
	s.tell(true, func(h *SessionHooks) {
		if h.Close != nil {
			_ = call(func() error { h.Close(); return nil })
		}
	})
}

// partLate is part when tickets have taken too long.
func (s *Session) partLate() {
	s.mu.Lock()
	s.part()
	s.unlock(flushNone)
}

// cutOff wakes everybody who waits for the session or one of its streams.
func (s *Session) cutOff(t mono.Time) {
	fail := func(q *waitQueue, err error) {
		for w := q.pop(); w != nil; w = q.pop() {
			w.err = err
			s.woken.push(w)
		}
	}
	fail(&s.securing, s.err)
	fail(&s.moving, nil)
	fail(&s.acceptors, s.err)
	fail(&s.receivers, s.err)
	fail(&s.ending, nil)
	for k := range s.openers {
		if s.openers[k].head != nil {
			fail(&s.openers[k], &OperationError{Op: "Session.OpenStream", Err: s.err})
		}
	}
	for s.live != nil {
		s.live.finish(t, s.err)
	}
	s.accepted.remove(func(st *Stream) bool { return st.err != nil && !st.rest })
}

// forget ends the machine's life too.
func (s *Session) forget() {
	if s.life == sessionGone {
		return
	}
	s.life = sessionGone
	if s.timer != nil {
		s.timer.Stop()
	}
	s.socket.forget(s)
	for _, f := range s.former {
		f.socket.unroute(s.conn)
	}
	s.former = nil
	if s.client != nil && s.client.owned != nil {
		s.after |= afterOwned
	}
}

func closeCode(r *transport.CloseReason) CloseCode {
	c := CloseCode{Family: CloseApplication, Silent: r.Kind != transport.CloseLocal}
	switch r.Kind {
	case transport.CloseLocal, transport.ClosePeer:
		c.Code = r.Code
		if !r.App {
			c.Family = CloseTransport
			if _, alert := wire.ErrorCode(r.Code).Alert(); alert {
				c.Family = CloseTLS
			}
		}
	}
	return c
}
