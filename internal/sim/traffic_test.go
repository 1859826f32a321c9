package sim_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
)

// leg is what one end sends on one stream, and how the other takes it.
type leg struct {
	key  int   // says which bytes
	size int64 // bytes that are written
	cut  bool  // ends in a reset, not in FIN
	stop int64 // the reader asks for no more after that many bytes; -1 never
	code uint64

	write int           // bytes a Write
	read  int           // bytes a Read
	how   reading       // which way of reading
	rest  time.Duration // the reader pauses after a Read; 0 for one that takes all at once

	sent, got int64 // so far
	wrote     bool  // the writer is done
	took      bool  // the reader is done
	acked     bool  // the writer knows that all arrived
}

type reading uint8

const (
	byRead   reading = iota
	byPeek           // Peek and Discard
	byReader         // SetReader and TakeReader
	readings
)

func (l *leg) done() bool { return l.wrote && l.took }

// streamPlan is one stream: legs[0] goes from its opener to the peer.
type streamPlan struct {
	server bool // opens it
	uni    bool
	legs   [2]*leg
}

// period is how long the bytes of a leg take to repeat: a prime, so that no
// mistake by a round number goes unseen.
const period = 65_521

var pattern = func() []byte {
	b := make([]byte, period)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return bytes.Repeat(b, 4)
}()

// content returns n bytes of a leg's from an offset on.
func (l *leg) content(off int64, n int) []byte {
	at := (int64(l.key)*7919 + off) % period
	return pattern[at : at+int64(n)]
}

// traffic is what two ends of a connection say to each other. All of it is
// driven by events: one that does not come is a hang.
type traffic struct {
	streams []*streamPlan
	moved   int64 // bytes read, by both
	total   int64 // that can be
	ends    [2]*talker
	babbles [2]*babble // nil for ends that send no datagrams
	broken  bool       // the connection ended before all was said
	stats   struct {
		calls                      map[string]uint64 // of programs, by what they call
		peerStops, early, rejected uint64
	}
}

// called counts a call.
func (t *traffic) called(what string) {
	if t.stats.calls == nil {
		t.stats.calls = map[string]uint64{}
	}
	t.stats.calls[what]++
}

// talker is one end's application.
type talker struct {
	w       *sim.World
	t       *traffic
	s       *sim.Session
	next    [2]int // of the plans of each kind that it opens
	started bool
	live    map[int64]*talk
	ended   map[int64]bool
	past    *transport.Stream // the last that ended
	naps    []*talk
	buf     []byte
}

// talk is one end of a stream.
type talk struct {
	*talker
	st      *transport.Stream
	out, in *leg
	slice   []byte // lent with SetReader
	napping bool
	until   mono.Time
}

// attach makes the talker the application of one end.
func (t *traffic) attach(w *sim.World, s *sim.Session) *talker {
	a := &talker{w: w, t: t, s: s, live: map[int64]*talk{}, ended: map[int64]bool{}, buf: make([]byte, 64<<10)}
	t.ends[side(s.Server)] = a
	s.Handle = a.handle
	s.OnWake = a.wake
	if s.Secure {
		a.start()
	}
	return a
}

func side(server bool) int {
	if server {
		return 1
	}
	return 0
}

// done reports whether everything was said and heard, and the streams are gone at both ends.
func (t *traffic) done() bool {
	for _, a := range t.ends {
		if a == nil || len(a.live) > 0 || a.s.Closed == nil && a.s.Conn.Streams() > 0 {
			return false
		}
	}
	for _, p := range t.streams {
		for _, l := range p.legs {
			if l != nil && !l.done() {
				return false
			}
		}
	}
	return true
}

// progress returns how much of the whole has moved, from 0 to 1.
func (t *traffic) progress() float64 { return float64(t.moved) / float64(max(t.total, 1)) }

func (a *talker) fail(st *transport.Stream, format string, args ...any) {
	where := a.s.End.Name
	if st != nil {
		where += fmt.Sprintf(", stream %d", st.ID())
	}
	a.w.Fail("%s: "+format, append([]any{where}, args...)...)
}

// start opens the streams that this end opens.
func (a *talker) start() {
	a.started = true
	a.babble()
	a.open(false)
	a.open(true)
}

func (a *talker) open(uni bool) {
	k := side(uni)
	for {
		p := a.t.plan(a.s.Server, uni, a.next[k])
		if p == nil {
			return
		}
		st := a.s.Conn.OpenStream(a.w.Now(), uni)
		if st == nil {
			return // EventCredit comes
		}
		a.next[k]++
		a.t.called("open")
		a.talk(st, p).write()
	}
}

// plan returns the i-th stream of a kind that an end opens, nil if there are no more.
func (t *traffic) plan(server, uni bool, i int) *streamPlan {
	for _, p := range t.streams {
		if p.server != server || p.uni != uni {
			continue
		}
		if i == 0 {
			return p
		}
		i--
	}
	return nil
}

func (a *talker) talk(st *transport.Stream, p *streamPlan) *talk {
	k := &talk{talker: a, st: st, out: p.legs[0], in: p.legs[1]}
	if !st.Local() {
		k.out, k.in = k.in, k.out
	}
	if k.in != nil {
		k.slice = make([]byte, k.in.read)
	}
	a.live[st.ID()] = k
	return k
}

func (a *talker) handle(ev *transport.Event) {
	var k *talk
	if ev.Stream != nil {
		k = a.live[ev.Stream.ID()]
		if a.ended[ev.Stream.ID()] || k == nil && ev.Kind != transport.EventStream {
			a.fail(ev.Stream, "event %d before the first or after the last one", ev.Kind)
			return
		}
	}
	switch ev.Kind {
	case transport.EventSecure:
		if !a.started {
			a.start()
		}
	case transport.EventEarlyRejected:
		a.t.stats.rejected++
	case transport.EventCredit:
		if a.started {
			a.open(ev.Uni)
		}
	case transport.EventStream:
		p := a.t.plan(!a.s.Server, ev.Stream.Uni(), int(ev.Stream.ID()>>2))
		if p == nil || k != nil {
			a.fail(ev.Stream, "opened, and nobody did")
			return
		}
		if ev.Stream.Early() {
			a.t.stats.early++
		}
		if k = a.talk(ev.Stream, p); k.out != nil {
			k.write()
		}
	case transport.EventReadable:
		a.babble()
		k.read()
	case transport.EventDatagram:
		a.heard()
	case transport.EventDatagramFate:
		a.settled(ev)
	case transport.EventWritable:
		k.write()
	case transport.EventStopped:
		a.t.stats.peerStops++
		if ev.Code != k.out.code || k.out.stop < 0 {
			a.fail(ev.Stream, "stopped with code %d", ev.Code)
		}
		k.out.wrote = true
	case transport.EventStreamAcked:
		k.out.acked = true
	case transport.EventStreamDone:
		k.over()
	}
}

// over checks that a stream ends when both of its halves have. What is left to
// read may be the end alone.
func (k *talk) over() {
	k.ended[k.st.ID()], k.past = true, k.st
	delete(k.live, k.st.ID())
	if k.out != nil && (!k.out.wrote || !k.out.acked) || k.in != nil && !k.in.took && (k.in.cut || k.in.got < k.in.size) {
		k.fail(k.st, "over too early: out %+v, in %+v", k.out, k.in)
	}
}

// write writes until the connection takes no more.
func (k *talk) write() {
	l := k.out
	for l != nil && !l.wrote {
		if l.sent == l.size {
			l.wrote = true
			if l.cut {
				k.t.called("reset")
				k.s.Conn.Reset(k.st, l.code)
			} else if err := k.s.Conn.CloseWrite(k.st); err != nil {
				k.stopped(err)
			}
			return
		}
		k.t.called("write")
		n, err := k.s.Conn.Write(k.st, l.content(l.sent, int(min(int64(l.write), l.size-l.sent))))
		l.sent += int64(n)
		if err != nil {
			k.stopped(err)
		}
		if n == 0 {
			return
		}
	}
}

// stopped checks an error of the writing half: the peer has asked us to stop.
func (k *talk) stopped(err error) {
	var cut *transport.StreamError
	if closed := k.t.broken && !errors.As(err, &cut); !closed && (k.out.stop < 0 || !errors.As(err, &cut) || !cut.Remote || cut.Code != k.out.code) {
		k.fail(k.st, "write: %v", err)
	}
	k.out.wrote = true
}

// read reads until nothing is left, or takes one piece and pauses.
func (k *talk) read() {
	for k.in != nil && !k.in.took && !k.napping {
		n, err := k.piece()
		if err != nil {
			k.end(err)
			return
		}
		if n == 0 {
			if k.in.how == byReader {
				k.s.Conn.SetReader(k.st, k.slice)
			}
			return
		}
		if k.in.stop >= 0 && k.in.got >= k.in.stop {
			k.in.took = true
			k.t.called("stop")
			k.s.Conn.Stop(k.w.Now(), k.st, k.in.code)
			return
		}
		if k.in.rest > 0 {
			k.nap()
		}
	}
}

// piece reads once, in the leg's way.
func (k *talk) piece() (int, error) {
	c, now, l := k.s.Conn, k.w.Now(), k.in
	k.t.called("read")
	switch l.how {
	case byReader:
		if n := c.TakeReader(now, k.st); n > 0 {
			return n, k.take(k.slice[:n])
		}
	case byPeek:
		if b := c.Peek(k.st); len(b) > 0 {
			b = b[:min(len(b), l.read)]
			err := k.take(b)
			n := len(b)
			c.Discard(now, k.st, n)
			return n, err
		}
	}
	n, err := c.Read(now, k.st, k.buf[:l.read])
	if n > 0 && err != nil {
		return n, fmt.Errorf("%d bytes and an error: %w", n, err)
	}
	if n > 0 {
		err = k.take(k.buf[:n])
	}
	return n, err
}

// take compares what came with what was sent.
func (k *talk) take(b []byte) error {
	l := k.in
	if l.got+int64(len(b)) > l.size {
		return fmt.Errorf("%d bytes at %d: more than were sent", len(b), l.got)
	}
	if !bytes.Equal(b, l.content(l.got, len(b))) {
		return fmt.Errorf("%d bytes at %d differ from those sent", len(b), l.got)
	}
	l.got += int64(len(b))
	k.t.moved += int64(len(b))
	return nil
}

// end checks how the reading half ends.
func (k *talk) end(err error) {
	l := k.in
	l.took = true
	var cut *transport.StreamError
	switch {
	case err == io.EOF && !l.cut && l.got == l.size:
	case errors.As(err, &cut) && cut.Remote && l.cut && cut.Code == l.code:
	case k.t.broken && cut == nil && err != io.EOF:
	default:
		k.fail(k.st, "read at %d of %d: %v", l.got, l.size, err)
	}
}

func (k *talk) nap() {
	k.napping, k.until = true, k.w.Now().Add(k.in.rest)
	k.naps = append(k.naps, k)
	k.s.Wake = min(k.s.Wake, k.until)
}

func (a *talker) wake() {
	naps := a.naps
	a.naps = nil
	for _, k := range naps {
		if k.until <= a.w.Now() {
			k.napping = false
			k.read()
			continue
		}
		a.naps = append(a.naps, k)
	}
	for _, k := range a.naps {
		a.s.Wake = min(a.s.Wake, k.until)
	}
}

// tooLate calls what has to do with a stream, and with a connection that is over, when it is too
// late for that: nothing comes of it but errors.
func (a *talker) tooLate(now mono.Time) {
	c := a.s.Conn
	a.t.called("too late")
	if st := a.past; st != nil {
		n, err := c.Write(st, make([]byte, 10))
		m, again := c.Read(now, st, make([]byte, 10))
		if n+m > 0 || err == nil || again == nil || c.CloseWrite(st) == nil || len(c.Peek(st)) > 0 {
			a.fail(st, "is over, and takes %d bytes, %v, and gives %d, %v", n, err, m, again)
		}
		c.Reset(st, 1)
		c.Stop(now, st, 2)
		c.SetPriority(st, 0, true)
		c.SetReader(st, make([]byte, 10))
		if n := c.TakeReader(now, st); n > 0 {
			a.fail(st, "is over, and gives %d bytes", n)
		}
	}
	if a.s.Closed == nil {
		return
	}
	to := dgram.Path{Local: movedAddr, Remote: serverAddr}
	if c.OpenStream(now, true) != nil || c.UpdateKey(now) || c.Migrate(now, to, true) == nil {
		a.fail(nil, "is over, and goes on")
	}
	c.Ping()
	c.Close(now, true, 9, "again")
	c.Destroy(now)
	if at := c.Deadline(); a.s.Gone && at != mono.Never || c.Transmit(now, dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))) {
		a.fail(nil, "is over, and has something to do at %d", at)
	}
}

// check compares the two ends of every stream: none sends past what the other
// grants, none has received what was not sent.
func (t *traffic) check() error {
	if t.ends[0] == nil || t.ends[1] == nil || t.ends[0].s.Closed != nil || t.ends[1].s.Closed != nil {
		return nil
	}
	if err := t.ends[0].check(t.ends[1]); err != nil {
		return err
	}
	return t.ends[1].check(t.ends[0])
}

func (a *talker) check(peer *talker) error {
	if a.s.Conn.MaxDataLeft() < 0 {
		return fmt.Errorf("%s: over the connection's limit", a.s.End.Name)
	}
	for id, k := range a.live {
		other := peer.live[id]
		if k.out == nil || other == nil {
			continue
		}
		sender, receiver := k.st.Stats(), other.st.Stats()
		if sender.BytesSent > receiver.MaxReceive || receiver.MaxReceived > sender.BytesSent || sender.BytesAcknowledged > receiver.MaxReceived {
			return fmt.Errorf("%s, stream %d: sent %+v, received %+v", a.s.End.Name, id, sender, receiver)
		}
	}
	return nil
}
