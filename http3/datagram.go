package http3

import (
	"context"
	"errors"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// defaultDatagramFrame is the MaxDatagramFrameSize of a Server's and a Transport's sessions that
// have HTTP datagrams: a setting without it would promise what QUIC then refuses.
const defaultDatagramFrame = 65535

// maxQuarterID is the largest quarter stream ID there is (RFC 9297 §2.1).
const maxQuarterID = 1<<60 - 1 // no limit: of the format

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
	h := &heldDatagram{id: int64(quarter) << 2, p: p[n:]}
	if s.keepDatagram(h, false) {
		return nil
	}
	return s.earlyDatagram(h)
}

// keepDatagram puts a datagram with those of its stream, or, if it may be early, with those of streams
// that do not use them yet. It reports whether there is such a place. One behind the end of what the peer sends on
// its stream is dropped (RFC 9297 §2.1).
func (s *Session) keepDatagram(h *heldDatagram, early bool) bool {
	d := &s.datagrams
	d.mu.Lock()
	q, most, given := d.queues[h.id], maxQueuedDatagrams, uint64(1)
	if q == nil && !early {
		d.mu.Unlock()
		return false
	}
	if q != nil && q.of != nil && q.of.received() {
		d.mu.Unlock()
		s.stats.datagramsDropped.Add(1)
		return true
	}
	if q == nil {
		q, most, given = &d.early, maxEarlyDatagrams, 0
	}
	dropped := d.add(q, most, h)
	q.wake()
	st := q.st
	d.mu.Unlock()
	s.stats.datagramsReceived.Add(given)
	s.stats.datagramsDropped.Add(dropped)
	if st != nil {
		st.tellDatagrams(q)
	}
	return true
}

// received reports whether the peer has ended its half of the stream: what it sends behind that is to be dropped.
func (st *Stream) received() bool {
	if _, reset := st.q.ResetReceived(); reset {
		return true
	}
	return st.q.Stats().FinalSize > 0 // no message is empty
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

// earlyDatagram keeps a datagram of a request that does not use them yet. One that cannot, as
// its method has no use for them, is ended (RFC 9297 §2), if it has not been ended by the peer.
func (s *Session) earlyDatagram(h *heldDatagram) *fault {
	if f := s.useful.charge("datagrams for streams that do not use them"); f != nil {
		return f
	}
	s.mu.Lock()
	st, coming := s.request(h.id)
	s.mu.Unlock()
	switch {
	case st == nil && !coming, st != nil && st.received():
		s.stats.datagramsDropped.Add(1) // the stream is over, or the peer's half of it: RFC 9297 §2.1
		return nil
	case st != nil && st.requestMethod() != "" && st.requestMethod() != "CONNECT":
		s.chargeReset(st)
		st.Destroy(streamFault(DatagramError, "a datagram for a request of method %s", st.requestMethod()).error())
		return nil
	}
	s.keepDatagram(h, true) // its stream may use them by now
	return nil
}

// useDatagrams makes the stream one that uses datagrams, and returns what has come for it.
func (st *Stream) useDatagrams() *datagramQueue {
	q, isNew, adopted := st.s.datagrams.use(st, st.ID())
	if !isNew {
		return q
	}
	st.s.stats.datagramsReceived.Add(adopted)
	st.mu.Lock()
	st.datagrams = true
	st.mu.Unlock()
	st.setHooks() // to forget the queue when the stream is over
	return q
}

// forgetDatagrams is called when the stream is over.
func (s *Session) forgetDatagrams(id int64) {
	s.stats.datagramsDropped.Add(s.datagrams.forget(id))
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
// one. 128 can wait, and 1,024 or 512 KiB of them at all streams of the session together. For more the
// oldest is dropped and counted in Stats.DatagramsDropped: of this stream, or of the one that holds the
// most. The error is the context's, a *quic.StateError without Options.Datagrams or if the stream has a
// Datagram hook, or what ended the stream.
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

// takesDatagrams reports whether datagrams may come for the stream.
func (st *Stream) takesDatagrams() bool { return st.push < 0 && st.s.opts.Datagrams }

func (st *Stream) hooksDatagrams() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.hooks.Datagram != nil
}
