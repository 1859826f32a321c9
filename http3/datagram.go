package http3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// Bounds on datagrams that nobody has received yet: more drop the oldest.
const (
	maxQueuedDatagrams = 128 // of one stream
	maxEarlyDatagrams  = 32  // of a session, for requests that do not use datagrams yet
)

// defaultDatagramFrame is the MaxDatagramFrameSize of a Server's and a Transport's sessions that
// have HTTP datagrams: a setting without it would promise what QUIC then refuses.
const defaultDatagramFrame = 65535

// maxQuarterID is the largest quarter stream ID there is (RFC 9297 §2.1).
const maxQuarterID = 1<<60 - 1 // no limit: of the format

// datagrams is what a session knows of HTTP datagrams (RFC 9297). Its lock is a leaf.
type datagrams struct {
	mu     sync.Mutex
	queues map[int64]*datagramQueue // of the streams that use them
	early  []earlyDatagram
}

// earlyDatagram is one that has come before its stream has said that it uses them: the
// request may still be on its way.
type earlyDatagram struct {
	id int64
	p  []byte
}

// datagramQueue holds what has come for a stream.
type datagramQueue struct {
	list    [][]byte
	changed chan struct{} // closed when something comes, or a hook takes it; nil while nobody waits
	st      *Stream       // whose hook is given what comes; nil without such a hook
}

// wake lets those look again who wait.
func (q *datagramQueue) wake() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// hookDatagrams takes the session's datagrams, if the options say that they are HTTP's.
func (s *Session) hookDatagrams(h *quic.SessionHooks) {
	if s.opts.Datagrams {
		h.Datagram = func(p []byte, _ bool) error {
			if f := s.onDatagram(p); f != nil {
				s.fail(f)
			}
			return nil
		}
	}
}

// onDatagram takes a datagram of the session below.
func (s *Session) onDatagram(p []byte) *fault {
	quarter, n := varint.Parse(p)
	switch {
	case n == 0:
		return sessionFault(DatagramError, "a datagram without a stream")
	case quarter > maxQuarterID:
		return sessionFault(DatagramError, "a datagram for stream %d, which cannot be", quarter)
	case s.server && int64(quarter) >= s.q.PeerStreams(false):
		return sessionFault(IDError, "a datagram for a request beyond the limit")
	}
	id := int64(quarter) << 2
	d := &s.datagrams
	d.mu.Lock()
	q := d.queues[id]
	if q == nil {
		d.mu.Unlock()
		return s.earlyDatagram(id, p[n:])
	}
	if len(q.list) == maxQueuedDatagrams {
		q.list = q.list[1:]
		s.stats.datagramsDropped.Add(1)
	}
	q.list = append(q.list, p[n:])
	q.wake()
	st := q.st
	d.mu.Unlock()
	s.stats.datagramsReceived.Add(1)
	if st != nil {
		st.tellDatagrams(q)
	}
	return nil
}

// hookQueue gives the stream's Datagram hook what is in the queue, and what comes.
func (st *Stream) hookQueue(q *datagramQueue) {
	d := &st.s.datagrams
	d.mu.Lock()
	q.st = st
	q.wake()
	d.mu.Unlock()
	st.s.q.Post(func() { st.tellDatagrams(q) })
}

// tellDatagrams empties the queue into the hook. It runs in turn with the hooks.
func (st *Stream) tellDatagrams(q *datagramQueue) {
	for {
		st.mu.Lock()
		hook := st.hooks.Datagram
		st.mu.Unlock()
		if hook == nil {
			return
		}
		p, ok := st.s.datagrams.pop(q)
		if !ok {
			return
		}
		st.guard(func() error { return hook(p) })
	}
}

// pop takes the oldest datagram out of a queue.
func (d *datagrams) pop(q *datagramQueue) (p []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(q.list) == 0 {
		return nil, false
	}
	p, q.list = q.list[0], q.list[1:]
	return p, true
}

// earlyDatagram keeps a datagram of a request that does not use them yet. One that cannot, as
// its method has no use for them, is ended (RFC 9297 §2).
func (s *Session) earlyDatagram(id int64, p []byte) *fault {
	if f := s.useful.charge("datagrams for streams that do not use them"); f != nil {
		return f
	}
	st := s.stream(id)
	switch {
	case st == nil && !s.future(id):
		s.stats.datagramsDropped.Add(1) // the stream is over
		return nil
	case st != nil && st.requestMethod() != "" && st.requestMethod() != "CONNECT":
		s.chargeReset(st)
		st.Destroy(streamFault(DatagramError, "a datagram for a request of method %s", st.requestMethod()).error())
		return nil
	}
	d := &s.datagrams
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.early) == maxEarlyDatagrams {
		d.early = d.early[1:]
		s.stats.datagramsDropped.Add(1)
	}
	d.early = append(d.early, earlyDatagram{id, p})
	return nil
}

// future reports whether a request with that ID can still come.
func (s *Session) future(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server && id >= s.next
}

// useDatagrams makes the stream one that uses datagrams, and returns what has come for it.
func (st *Stream) useDatagrams() *datagramQueue {
	s, id := st.s, st.ID()
	d := &s.datagrams
	d.mu.Lock()
	q := d.queues[id]
	if q != nil {
		d.mu.Unlock()
		return q
	}
	q = new(datagramQueue)
	if d.queues == nil {
		d.queues = make(map[int64]*datagramQueue)
	}
	d.queues[id] = q
	kept := d.early[:0]
	for _, e := range d.early {
		if e.id == id {
			q.list = append(q.list, e.p)
			s.stats.datagramsReceived.Add(1)
		} else {
			kept = append(kept, e)
		}
	}
	clear(d.early[len(kept):])
	d.early = kept
	d.mu.Unlock()
	st.mu.Lock()
	st.datagrams = true
	st.mu.Unlock()
	st.setHooks() // to forget the queue when the stream is over
	return q
}

// forgetDatagrams is called when the stream is over.
func (s *Session) forgetDatagrams(id int64) {
	d := &s.datagrams
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queues[id]; q != nil {
		s.stats.datagramsDropped.Add(uint64(len(q.list)))
	}
	delete(d.queues, id)
}

// datagramsAgreed returns why no datagrams may be sent, nil if they may: both ends must
// have said that they take them (RFC 9297 §2.1.1).
func (st *Stream) datagramsAgreed(op string) error {
	switch {
	case st.push >= 0:
		return &quic.StateError{Op: op, State: "a push has no datagrams"}
	case !st.s.opts.Datagrams:
		return &quic.StateError{Op: op, State: "Options.Datagrams is not set"}
	case !st.s.peerSettings().Datagrams:
		return &quic.StateError{Op: op, State: "the peer's settings do not take datagrams, or have not come"}
	}
	return nil
}

// SendDatagram sends an unreliable datagram that belongs to the request (RFC 9297 §2.1), and
// returns at once; see quic.Session.SendDatagram for what becomes of it under its id. The request must be
// one that gives datagrams a meaning, which of the methods CONNECT alone does.
//
// The error is a *quic.StateError if the ends have not agreed on datagrams, which is known when the
// peer's settings are (Session.Settings), or if the writing side has ended; else that of
// quic.Session.SendDatagram.
func (st *Stream) SendDatagram(p []byte) (id uint64, err error) {
	const op = "http3.Stream.SendDatagram"
	if err := st.datagramsAgreed(op); err != nil {
		return 0, err
	}
	if err := st.q.Err(); err != nil {
		return 0, &quic.StateError{Op: op, State: "stream is over", Err: err}
	}
	if !st.begun() {
		return 0, &quic.StateError{Op: op, State: "the message has not begun, or has ended"}
	}
	b := varint.Append(make([]byte, 0, varint.Len(uint64(st.ID()>>2))+len(p)), uint64(st.ID()>>2))
	id, err = st.s.q.SendDatagram(append(b, p...))
	if tooLong := new(quic.OptionError); errors.As(err, &tooLong) {
		err = &quic.OptionError{
			Option: op + ".p", Value: fmt.Sprintf("%d bytes long", len(p)),
			Want: fmt.Sprintf("up to MaxDatagramSize, now %d", st.MaxDatagramSize()),
		}
	}
	return id, err
}

// begun reports whether the message has begun and not ended. A write that waits now is part of it.
func (st *Stream) begun() bool {
	if !st.out.mu.TryLock() {
		return true
	}
	defer st.unlockOut()
	return st.out.phase == writeBody
}

// MaxDatagramSize returns how many bytes SendDatagram takes now, 0 if none.
func (st *Stream) MaxDatagramSize() int {
	if st.datagramsAgreed("") != nil {
		return 0
	}
	return max(0, st.s.q.MaxDatagramSize()-varint.Len(uint64(st.ID()>>2)))
}

// ReceiveDatagram returns the oldest datagram that has come for the request, and waits for
// one. 128 can wait; for one more the oldest is dropped and counted. The error is the context's, a
// *quic.StateError without Options.Datagrams or if the stream has a Datagram hook, or what ended the
// stream.
func (st *Stream) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	const op = "http3.Stream.ReceiveDatagram"
	if !st.takesDatagrams() {
		return nil, &quic.StateError{Op: op, State: "Options.Datagrams is not set, or this is a push"}
	}
	q := st.useDatagrams()
	for {
		if st.hooksDatagrams() {
			return nil, &quic.StateError{Op: op, State: "stream has a Datagram hook"}
		}
		p, changed := st.s.datagrams.popOrWait(q)
		if changed == nil {
			return p, nil
		}
		select {
		case <-changed:
		case <-st.q.Closed():
			if err := st.Err(); err != nil {
				return nil, err
			}
			return nil, &quic.StateError{Op: op, State: "stream is over"}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// popOrWait takes the oldest datagram, or returns a channel that is closed when another look is
// worth while.
func (d *datagrams) popOrWait(q *datagramQueue) (p []byte, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(q.list) > 0 {
		p, q.list = q.list[0], q.list[1:]
		return p, nil
	}
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return nil, q.changed
}

// takesDatagrams reports whether datagrams may come for the stream.
func (st *Stream) takesDatagrams() bool { return st.push < 0 && st.s.opts.Datagrams }

func (st *Stream) hooksDatagrams() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.hooks.Datagram != nil
}
