package quic

import (
	"runtime"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// flush says what a goroutine that lets go of a session's lock does about what
// is to be sent.
type flush uint8

const (
	flushNone   flush = iota // it changed nothing that would have to be sent
	flushCredit              // it read: credit may be due
	flushSoon                // a little that should leave soon, best together with what others are about to add
	flushNow                 // as much as may be sent
)

// maxRounds is how often a goroutine that lets go of a session's lock takes it
// again for work that has come meanwhile. What is left then is the flusher's: a call
// must not turn into the session's driver for as long as a transfer lasts.
const maxRounds = 8 // no limit: of ours

// unlock ends the time that a goroutine holds the session's lock. What the
// machine wants done is done first: the inbox, events, sending. To bound the time
// that others wait, the lock is let go after each batch. Sleepers are woken, and user
// code is set going, only when the lock is free.
func (s *Session) unlock(f flush) {
	advanced := false
	for round := 1; ; round++ {
		again := s.drive(f, &advanced)
		last := round == maxRounds && (again || !s.inbox.empty())
		if last {
			s.flushLater()
		}
		if s.log != nil {
			s.keepLog()
		}
		woken, todo, socket := s.woken, s.after, s.socket
		s.woken, s.after = waitQueue{}, 0
		fresh, handler := s.fresh, s.handler
		s.fresh = nil
		s.mu.Unlock()
		woken.release()
		if fresh != nil {
			s.arrivals.begin(fresh, handler)
		}
		if todo != 0 {
			s.do(todo, socket)
		}
		switch {
		case last:
			return
		case again:
			s.mu.Lock()
		case s.inbox.empty() || !s.mu.TryLock():
			return
		}
		f = flushNow
	}
}

// unlockAfterTurn is unlock(flushNow), but if sleepers are woken they have a turn before
// anything is sent: what they write then can share packets with it.
func (s *Session) unlockAfterTurn() {
	switch {
	case s.flushing: // somebody is about to
		s.unlock(flushSoon)
		return
	case s.woken.head == nil:
		s.unlock(flushNow)
		return
	}
	s.flushing = true
	s.unlock(flushSoon)
	runtime.Gosched()
	s.flushNow()
}

// drive does one round of the machine's work, and reports whether there is more.
func (s *Session) drive(f flush, advanced *bool) (again bool) {
	if f == flushNone && s.inbox.empty() {
		return false
	}
	t := now()
	if s.drain(t) {
		f = flushNow
	}
	closed := s.conn.Closed()
	s.events(t)
	switch {
	case !closed && s.conn.Closed(): // the last stream was read to its end: the peer is to hear of it
		f = flushNow
	case f == flushCredit:
		f = s.flushCredit()
	}
	switch f {
	case flushSoon:
		s.flushLater()
	case flushNow:
		again = s.transmit(t) || s.arm(t, advanced)
	}
	return again
}

// flushCredit returns what a read makes worth sending. What a stream, or all of them, may
// send is told seldom and at once, because the peer may wait for it; news of streams that are over
// can wait for company.
func (s *Session) flushCredit() flush {
	switch {
	case s.conn.WindowDue():
		return flushNow
	case s.conn.CreditDue():
		return flushSoon
	}
	return flushNone
}

// drain gives the machine what is in the inbox, and reports whether that was something.
func (s *Session) drain(t mono.Time) bool {
	p := s.inbox.take()
	if p == nil {
		return false
	}
	for p != nil {
		s.socket.took(s.conn.ReceiveTrain(t, p.d[:p.n]), p.n)
		next := p.next
		p.put()
		p = next
	}
	return true
}

// transmit sends one batch, and reports whether another is to follow at once.
func (s *Session) transmit(t mono.Time) bool {
	s.spareAt = mono.Never
	if s.former != nil {
		s.leaveGone(t)
	}
	b := batches.Get().(*dgram.Batch)
	some := s.conn.Transmit(t, b)
	s.events(t) // connection IDs must be routable before the peer learns of them
	if some {
		if err := s.endpointFor(&b.Path).send(b); err != nil {
			if n := tooBig(b, err); n > 0 {
				s.conn.TooBig(t, n)
			}
		}
	}
	some = some && !s.spares(t, len(b.Bytes()))
	b.Reset()
	batches.Put(b)
	return some
}

// spareTime is how long the end of what was written may wait for what is about to follow,
// and how soon that must come for the writer to count as one that goes on and on.
const spareTime = time.Millisecond

// spares reports whether what is left to send, after a batch of n bytes, waits for more so that it
// can leave in a full batch too. It does behind a full one if it is the end of what the only
// stream that sends was given, and nobody waits for it to leave. Once a writer fills
// batch after batch it waits for the next of them, or for an acknowledgement; else just for
// as long as other goroutines have a turn.
func (s *Session) spares(t mono.Time, n int) bool {
	if n < dgram.FullBatch {
		return false
	}
	streaming := t.Sub(s.fullAt) < spareTime
	s.fullAt = t
	switch {
	case !s.conn.Spare():
		return false
	case streaming:
		s.spareAt = t.Add(spareTime)
	default:
		s.flushLater()
	}
	return true
}

// arm sees to it that the machine hears of the time when it wants to. It reports
// true if that is now and it has been told.
func (s *Session) arm(t mono.Time, advanced *bool) bool {
	d := min(s.conn.Deadline(), s.spareAt)
	if s.tls != nil {
		d = min(d, s.tls.deadline())
	}
	if d <= t {
		if !*advanced {
			*advanced = true
			s.advance(t)
			return true
		}
		d = t + mono.Time(time.Millisecond) // it cannot do now what it should have
	}
	if d >= s.armed {
		return false // the timer goes off early, and is set again then
	}
	s.armed = d
	if s.timer == nil {
		s.timer = time.AfterFunc(d.Sub(t), s.onTimer)
	} else {
		s.timer.Reset(d.Sub(t))
	}
	return false
}

// advance lets every timer act that has run out.
func (s *Session) advance(t mono.Time) {
	s.conn.Advance(t)
	if s.tls != nil {
		s.tlsAdvance(t)
	}
	s.events(t)
}

// onTimer runs on the timer's goroutine.
func (s *Session) onTimer() {
	s.mu.Lock()
	s.armed = mono.Never
	if s.life == sessionGone {
		s.unlock(flushNone)
		return
	}
	s.advance(now())
	s.unlock(flushNow)
}

// flushLater sends in a moment, if nobody else is about to. The moment lets what other
// goroutines are writing share packets and system calls.
func (s *Session) flushLater() {
	if !s.flushing {
		s.flushing = true
		s.socket.flusher.add(s)
	}
}

// flushNow is what flushLater has promised.
func (s *Session) flushNow() {
	s.mu.Lock()
	s.flushing = false
	s.unlock(flushNow)
}

// do does what was left until the lock was free.
func (s *Session) do(todo after, socket *Socket) {
	if todo&afterKick != 0 {
		s.notices.kick()
	}
	if todo&afterHandler != 0 {
		s.server.handle()
	}
	if todo&afterOwned != 0 {
		go s.client.owned.Destroy(nil) // not here: this may be the reader that Destroy waits for
	}
	if todo&afterLog != 0 {
		go s.writeLog()
	}
	if todo&afterIdle != 0 {
		socket.trim()
		socket.checkIdle()
	}
}
