package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// World is a network with endpoints at its ends, in virtual time from 0.
type World struct {
	Net *Network

	// Tick is how coarse time is: endpoints wake only at its multiples, and take
	// all that has come by then at once, as a busy machine does. 0 is exact.
	Tick time.Duration

	// Step, if set, is called after everything that an endpoint did. It may look
	// at sessions and command them; its error ends the run.
	Step func() error

	// See, if set, is shown every datagram that an endpoint sends, which it may
	// not keep. Its path is the sender's.
	See func(now mono.Time, d dgram.Datagram)

	now     mono.Time
	ends    []*Endpoint
	at      map[netip.AddrPort]*Endpoint
	active  []*Session           // those not gone
	touched []*Session           // those that took datagrams in this tick
	digest  uint64               // of all that was sent
	genuine map[uint64]bool      // Handshake packets that clients sent, by fingerprint
	answers map[uint64][][8]byte // packets with PATH_RESPONSE, by fingerprint, and what it says
	err     error
}

// NewWorld returns a world without endpoints, all of whose chances follow from seed.
func NewWorld(seed uint64) *World {
	return &World{Net: New(seed), at: map[netip.AddrPort]*Endpoint{}, genuine: map[uint64]bool{}, answers: map[uint64][][8]byte{}}
}

// Now returns the time in the world.
func (w *World) Now() mono.Time { return w.now }

// Digest returns a checksum of all datagrams sent so far, with times and paths.
func (w *World) Digest() uint64 { return w.digest }

// Fail ends the run with an error; only the first one counts.
func (w *World) Fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %v: "+format, append([]any{time.Duration(w.now)}, args...)...)
	}
}

// Err returns what went wrong, nil if nothing has.
func (w *World) Err() error { return w.err }

// ErrTime is returned by Run when the time was over first.
var ErrTime = errors.New("the time is over")

// ErrQuiet is returned by Run when nothing will happen any more.
var ErrQuiet = errors.New("nothing happens any more")

// Run lets things happen until done, for at most the given virtual time. A
// nil done is never true; then ErrTime and ErrQuiet are no errors.
func (w *World) Run(limit time.Duration, done func() bool) error {
	end := w.now.Add(limit)
	for w.err == nil {
		if done != nil && done() {
			return nil
		}
		next := w.next()
		if next > end || next == mono.Never {
			w.now = max(w.now, end)
			switch {
			case done == nil:
				return nil
			case next == mono.Never:
				return ErrQuiet
			}
			return ErrTime
		}
		w.step(next)
	}
	return w.err
}

// next returns when something happens next.
func (w *World) next() mono.Time {
	next := w.Net.Next()
	for _, s := range w.active {
		next = min(next, s.next())
	}
	if next == mono.Never {
		return next
	}
	if tick := mono.Time(w.Tick); tick > 0 {
		next = (next + tick - 1) / tick * tick
	}
	return max(next, w.now)
}

// step moves to the given time and lets everything happen that is due.
func (w *World) step(now mono.Time) {
	w.now = now
	acted := false
	for w.err == nil {
		to, d, ok := w.Net.Deliver(now)
		if !ok {
			break
		}
		if e := w.at[to]; e != nil {
			e.receive(&d)
		}
		acted = true
		if w.Tick == 0 {
			w.flush()
		}
	}
	w.flush()
	gone := false
	for i := 0; i < len(w.active); i++ { // what is advanced may add to the list
		s := w.active[i]
		if w.err == nil && s.next() <= now {
			s.advance()
			acted = true
		}
		gone = gone || s.Gone
	}
	if gone {
		w.active = slices.DeleteFunc(w.active, func(s *Session) bool { return s.Gone })
	}
	if acted && w.Step != nil && w.err == nil {
		if err := w.Step(); err != nil {
			w.Fail("%w", err)
		}
	}
}

// flush lets the sessions that took datagrams answer.
func (w *World) flush() {
	for _, s := range w.touched {
		s.flush()
	}
	w.touched = w.touched[:0]
}

// send puts an endpoint's batch on the wire.
func (w *World) send(b *dgram.Batch) {
	head := binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(w.now))
	head = append(b.Path.Remote.AppendTo(b.Path.Local.AppendTo(head)), byte(b.ECN))
	for i := range b.Count() {
		data := b.Segment(i)
		w.digest = crc64.Update(crc64.Update(w.digest, table, head), table, data)
		if w.See != nil {
			w.See(w.now, dgram.Datagram{Data: data, Path: b.Path, ECN: b.ECN})
		}
	}
	w.Net.SendBatch(w.now, b)
}

var table = crc64.MakeTable(crc64.ECMA)

// Listen returns an endpoint that takes connections.
func (w *World) Listen(name string, addr netip.AddrPort, setup Setup) *Endpoint {
	e := w.Endpoint(name, addr, setup)
	e.Mux.SetListening(true)
	e.watch = map[netip.AddrPort]*account{}
	return e
}

// Endpoint returns an endpoint at an address, which some link should lead to.
func (w *World) Endpoint(name string, addr netip.AddrPort, setup Setup) *Endpoint {
	chances := rand.New(rand.NewPCG(w.Net.Seed(), crc64.Checksum([]byte(name), table)))
	e := newEndpoint(w, name, addr, setup, chances)
	w.ends = append(w.ends, e)
	w.at[addr] = e
	return e
}

// Finish checks, after all connections are gone, that nothing is left of them
// at any endpoint.
func (w *World) Finish() error {
	for _, e := range w.ends {
		if w.err == nil {
			w.err = e.finish()
		}
	}
	return w.err
}
