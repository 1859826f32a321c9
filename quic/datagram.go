package quic

import (
	"context"
	"errors"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// DatagramStatus is what has become of a datagram that SendDatagram took.
type DatagramStatus uint8

const (
	// DatagramAcknowledged means that the peer's QUIC has received it, not that the peer's
	// program has seen it.
	DatagramAcknowledged DatagramStatus = iota
	// DatagramLost means that it is taken as lost, which a late acknowledgement does not
	// take back; or that it was never sent: the session or its 0-RTT ended before, or the
	// path has become too narrow for it.
	DatagramLost
)

// String returns "acknowledged" or "lost".
func (s DatagramStatus) String() string {
	switch s {
	case DatagramAcknowledged:
		return "acknowledged"
	case DatagramLost:
		return "lost"
	}
	return fmt.Sprintf("DatagramStatus(%d)", uint8(s))
}

// ErrDatagramQueueFull is what SendDatagram fails with while 1,024 datagrams or 512 KiB of
// them wait to be sent: errors.Is finds it in the *OperationError.
var ErrDatagramQueueFull error = &sentinel{CodeOperationFailed, "datagram queue is full: some must leave first"}

var (
	errNoDatagrams       = errors.New("the peer takes no datagrams: its MaxDatagramFrameSize is 0")
	errDatagramsNotKnown = errors.New("whether the peer takes datagrams is known after the handshake")
)

// errDatagramHook is what ReceiveDatagram fails with where a hook takes the datagrams.
var errDatagramHook error = &StateError{Op: "Session.ReceiveDatagram", State: "session has a Datagram hook"}

// SendDatagram copies p, sends it unreliably as soon as congestion control lets it go, and
// returns at once (RFC 9221). It is never sent again: SessionHooks.DatagramStatus tells under its id
// whether it has arrived; ids count from 1. Datagrams go before the data of streams, packet by
// packet in turn. In a session that resumes with early data they go early too, and are lost
// if the server refuses that. Close sends what still fits one batch of packets.
//
// The error is an *OptionError if p is longer than MaxDatagramSize, an *OperationError if the
// peer takes no datagrams, or it is not known yet whether it does, or too many wait to be
// sent (ErrDatagramQueueFull), and a *StateError if the session is over.
func (s *Session) SendDatagram(p []byte) (id uint64, err error) {
	const op = "Session.SendDatagram"
	s.mu.Lock()
	if s.err != nil {
		defer s.unlock(flushNone)
		return 0, s.stateError(op)
	}
	most, known, ok := s.conn.MaxDatagramSize()
	switch {
	case !ok && !known:
		err = &OperationError{Op: op, Err: errDatagramsNotKnown}
	case !ok:
		err = &OperationError{Op: op, Err: errNoDatagrams}
	case len(p) > most:
		err = &OptionError{
			Option: "SendDatagram.p", Value: fmt.Sprintf("%d bytes long", len(p)),
			Want: fmt.Sprintf("up to MaxDatagramSize, now %d", most), code: CodeOutOfRange,
		}
	default:
		if id, ok = s.conn.SendDatagram(now(), p); !ok {
			err = &OperationError{Op: op, Err: ErrDatagramQueueFull}
		}
	}
	f := flushSoon
	if _, bytes := s.conn.DatagramsUnsent(); bytes >= datagramBatch {
		f = flushNow
	}
	s.unlock(f)
	return id, err
}

// datagramBatch is how many bytes of datagrams may wait a moment for company: enough to
// share the system call, and too little to fill the queue.
const datagramBatch = 16 << 10

// MaxDatagramSize returns how many bytes the largest datagram has that SendDatagram takes
// now: the peer's limit, or what a packet holds if that is less, which changes with the
// path. It is 0 if the peer takes no datagrams, or it is not known yet whether it does.
func (s *Session) MaxDatagramSize() int {
	s.mu.Lock()
	defer s.unlock(flushNone)
	n, _, _ := s.conn.MaxDatagramSize()
	return n
}

// ReceiveDatagram returns the oldest datagram that has come from the peer, and waits for it.
// 1,024 datagrams or 512 KiB of them can wait here; for one more the oldest are dropped,
// and counted in SessionStats.DatagramFramesDropped. When the peer has closed the session
// in order, those that came before are still returned. Only the Datagram hook tells whether a
// datagram came in 0-RTT, where somebody may have recorded and repeated it.
//
// Nothing comes if this end's MaxDatagramFrameSize is 0. The error is the context's, a
// *StateError if the session is over or has a Datagram hook, or what ended it meanwhile.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	if s.hooks != nil && s.hooks.Datagram != nil {
		s.unlock(flushNone)
		return nil, errDatagramHook
	}
	if p, _, ok := s.conn.ReceiveDatagram(now(), []byte{}); ok {
		s.unlock(flushNone)
		return p, nil
	}
	if s.err != nil {
		defer s.unlock(flushNone)
		return nil, s.stateError("Session.ReceiveDatagram")
	}
	w := s.wait.get()
	s.receivers.push(w)
	s.unlock(flushNone)
	err := s.sleep(ctx, &s.receivers, w)
	p := w.buf
	if err == nil {
		err = w.err
	}
	s.wait.put(w)
	return p, err
}

// datagramState is what a session keeps of datagrams beyond the machine.
type datagramState struct {
	told      bool               // a notice for the Datagram hook waits
	fates     ring[datagramFate] // for the DatagramStatus hook
	fatesTold bool               // a notice for it waits
	unheard   uint64             // ids whose fate found no room
}

// datagramFate is what has become of n datagrams from an id on.
type datagramFate struct {
	first  uint64
	n      uint32
	status DatagramStatus
}

// datagramEvent takes what the machine reports of datagrams.
func (s *Session) datagramEvent(t mono.Time, e *transport.Event) {
	if e.Kind == transport.EventDatagramFate {
		f := datagramFate{e.Code, e.N, DatagramLost}
		if e.OK {
			f.status = DatagramAcknowledged
		}
		s.tellFate(f)
		return
	}
	for s.receivers.head != nil {
		p, _, ok := s.conn.ReceiveDatagram(t, []byte{})
		if !ok {
			return
		}
		w := s.receivers.pop()
		w.buf = p
		s.woken.push(w)
	}
	s.tellDatagrams()
}

// tellDatagrams lets the Datagram hook have what has come. Until then that waits in the
// machine's queue, which is bounded, and not among the notices.
func (s *Session) tellDatagrams() {
	if s.datagram.told || s.conn.DatagramsWaiting() == 0 || s.hooks == nil || s.hooks.Datagram == nil {
		return // SetHooks asks again
	}
	s.datagram.told = true
	s.post(true, s.deliverDatagrams)
}

// deliverDatagrams gives the Datagram hook what there is when its turn comes. What comes
// meanwhile is the next notice's, so that other hooks get their turn too.
func (s *Session) deliverDatagrams() {
	s.mu.Lock()
	s.datagram.told = false
	for n := s.conn.DatagramsWaiting(); n > 0; n-- {
		h := s.hooks
		if h == nil || h.Datagram == nil {
			break
		}
		p, early, ok := s.conn.ReceiveDatagram(now(), []byte{})
		if !ok {
			break
		}
		s.unlock(flushNone)
		err := call(func() error { return h.Datagram(p, early) })
		if err != nil {
			s.Destroy(err)
			return
		}
		s.mu.Lock()
	}
	s.unlock(flushNone)
}

// tellFate lets the DatagramStatus hook have a fate. Runs of ids share a place among
// maxNotices; those that find none are told of by a count only.
func (s *Session) tellFate(f datagramFate) {
	d := &s.datagram
	if !s.handling && (s.hooks == nil || s.hooks.DatagramStatus == nil) {
		return
	}
	if d.fates.len() >= maxNotices {
		d.unheard += uint64(f.n)
		return
	}
	d.fates.push(f)
	if !d.fatesTold {
		d.fatesTold = true
		s.post(true, s.deliverFates)
	}
}

// deliverFates gives the DatagramStatus hook all fates that are known when its turn comes.
func (s *Session) deliverFates() {
	s.mu.Lock()
	list := s.datagram.fates
	s.datagram.fates, s.datagram.fatesTold = ring[datagramFate]{}, false
	s.unlock(flushNone)
	for list.len() > 0 {
		f := list.pop()
		for i := range uint64(f.n) {
			s.mu.Lock()
			h := s.hooks
			s.unlock(flushNone)
			if h == nil || h.DatagramStatus == nil {
				continue
			}
			if err := call(func() error { return h.DatagramStatus(f.first+i, f.status) }); err != nil {
				s.Destroy(err)
				return
			}
		}
	}
}
