package transport

import (
	"math/bits"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
)

// Urgencies are how many there are: 0, which goes first, to 7 (RFC 9218 §4.1). Streams
// begin with DefaultUrgency, and incremental.
const (
	Urgencies      = 8
	DefaultUrgency = 3
)

// queue is where a stream with data stands.
type queue uint8

const (
	queueNone    queue = iota
	queueReady         // may send: it is in the schedule
	queueBlocked       // waits for connection credit, or for its place in the stream limit
	queueKept          // waits until less is retained
)

// schedule is the streams that may send, in the order in which they do (RFC 9218 §10).
//
// A lower urgency goes first, as long as it has anything to send (RFC 9218 §4.1). Of one
// urgency the streams that are not incremental go one at a time, in the order of their
// numbers, and the incremental ones take turns (RFC 9218 §4.2). Where there are both, the
// round of those that take turns has one more seat, for whichever stream of the others goes
// first now, so that neither kind starves the other. A turn is a packet, or what a stream
// has to send if that is less. What was lost and goes again keeps the urgency of its stream.
//
// To find the next stream costs the same however many there are, and so does a turn. To
// join or leave does too in a round, and takes log n steps in the line: a peer that has its
// streams change places all the time gains nothing by it.
type schedule struct {
	busy   uint8            // bit u: there are streams in rounds[u]
	rounds [Urgencies]round // the incremental streams
	line   line             // all others
}

// round is the incremental streams of one urgency; the head has the next turn.
type round struct {
	streamList
	ahead *Stream // the one right before the seat of the line's first; nil if that has the next turn
}

// line is a heap of streams by urgency and number. It holds open streams only, which bounds it.
type line []*Stream

// streamList is a queue of streams.
type streamList struct{ head, tail *Stream }

// Priority returns the stream's urgency, and whether it takes turns with others of the same.
func (s *Stream) Priority() (urgency uint8, incremental bool) { return s.urgency, s.incremental }

// SetPriority changes when the stream sends, from the next packet on. The urgency is below Urgencies.
func (c *Conn) SetPriority(s *Stream, urgency uint8, incremental bool) {
	if urgency >= Urgencies {
		panic("BUG: no such urgency")
	}
	if urgency == s.urgency && incremental == s.incremental {
		return // it keeps its place
	}
	ready := s.queue == queueReady && c.life.state == active
	if ready {
		c.streams.ready.remove(s)
	}
	s.urgency, s.incremental = urgency, incremental
	if ready {
		c.streams.ready.push(s)
	}
}

// empty reports whether no stream may send.
func (s *schedule) empty() bool { return s.busy == 0 && len(s.line) == 0 }

// Spare reports whether all that waits to be sent is a few bytes of one stream, to which more
// can be written at once: nobody waits for these bytes to leave.
func (c *Conn) Spare() bool {
	st := c.streams.ready.only()
	return st != nil && st.send.Unsent() < int64(st.highWater) && !st.stats.finished && !c.datagrams.waits()
}

// only returns the stream that may send if there is just one, nil otherwise.
func (s *schedule) only() *Stream {
	st := s.next()
	switch {
	case st == nil || st.next != nil || st.prev != nil || len(s.line) > 1:
		return nil
	case len(s.line) == 1 && s.busy != 0 || s.busy&(s.busy-1) != 0:
		return nil
	}
	return st
}

// next returns the stream whose turn it is, nil if there is none.
func (s *schedule) next() *Stream {
	u := uint8(bits.TrailingZeros8(s.busy)) // 8 if all are in the line
	if len(s.line) > 0 {
		if st := s.line[0]; st.urgency < u || st.urgency == u && s.rounds[u].ahead == nil {
			return st
		}
	}
	if s.busy == 0 {
		return nil
	}
	return s.rounds[u].head
}

// pass ends the turn of the stream that has it.
func (s *schedule) pass(st *Stream) {
	r := &s.rounds[st.urgency]
	if !st.incremental {
		r.ahead = r.tail
		return
	}
	r.remove(st)
	r.streamList.push(st)
}

// push adds a stream behind those that take turns with it.
func (s *schedule) push(st *Stream) {
	st.queue = queueReady
	if !st.incremental {
		s.line.push(st)
		return
	}
	s.rounds[st.urgency].push(st)
	s.busy |= 1 << st.urgency
}

// remove takes a stream out.
func (s *schedule) remove(st *Stream) {
	st.queue = queueNone
	if !st.incremental {
		s.line.remove(st)
		return
	}
	r := &s.rounds[st.urgency]
	if r.remove(st); r.head == nil {
		s.busy &^= 1 << st.urgency
	}
}

func (r *round) remove(st *Stream) {
	if r.ahead == st {
		r.ahead = st.prev
	}
	r.streamList.remove(st)
}

// before reports whether a goes before b in the line.
func before(a, b *Stream) bool {
	if a.urgency != b.urgency {
		return a.urgency < b.urgency
	}
	return a.id < b.id
}

func (l *line) push(st *Stream) {
	*l = append(*l, st)
	l.up(st, len(*l)-1)
}

func (l *line) remove(st *Stream) {
	n := len(*l) - 1
	last := (*l)[n]
	(*l)[n] = nil
	*l = (*l)[:n]
	if last == st {
		return
	}
	i := int(st.place)
	if i > 0 && before(last, (*l)[(i-1)/2]) {
		l.up(last, i)
	} else {
		l.down(last, i)
	}
}

// up puts a stream at place i, or higher if it goes before those there.
func (l line) up(st *Stream, i int) {
	for i > 0 && before(st, l[(i-1)/2]) {
		l.put(l[(i-1)/2], i)
		i = (i - 1) / 2
	}
	l.put(st, i)
}

// down puts a stream at place i, or lower if others there go before it.
func (l line) down(st *Stream, i int) {
	for k := 2*i + 1; k < len(l); k = 2*i + 1 {
		if k+1 < len(l) && before(l[k+1], l[k]) {
			k++
		}
		if !before(l[k], st) {
			break
		}
		l.put(l[k], i)
		i = k
	}
	l.put(st, i)
}

func (l line) put(st *Stream, i int) {
	l[i] = st
	st.place = int32(i)
}

func (l *streamList) push(st *Stream) {
	if l.tail == nil {
		l.head = st
	} else {
		l.tail.next = st
	}
	st.prev = l.tail
	l.tail = st
}

func (l *streamList) remove(st *Stream) {
	if st.prev == nil {
		l.head = st.next
	} else {
		st.prev.next = st.next
	}
	if st.next == nil {
		l.tail = st.prev
	} else {
		st.next.prev = st.prev
	}
	st.next, st.prev = nil, nil
}

// enqueue puts a stream that has something to send in line for it.
func (s *streams) enqueue(c *Conn, st *Stream) {
	if (st.queue == queueBlocked || st.queue == queueKept) && s.within(st) && st.send.Pending(c.fresh()) {
		s.leave(st) // what was lost needs no credit
	}
	if st.queue != queueNone || st.gone || !st.canSend || st.send.State() == stream.SendResetSent {
		return
	}
	if !s.within(st) {
		s.block(st)
		if c.qlog != nil {
			c.qlog.blockStream(st, blockedStreamID)
		}
		return
	}
	if st.send.Pending(c.fresh()) {
		if c.qlog != nil {
			c.qlog.blockStream(st, blockedNot)
		}
		s.ready.push(st)
		return
	}
	if st.send.Unsent() == 0 {
		return
	}
	if st.send.Offset() == st.send.Max() {
		s.enqueueControl(st) // STREAM_DATA_BLOCKED
		if limit := st.send.Max(); st.stalled <= limit {
			st.stalled = limit + 1
			c.stats.blockCount++ // once for each limit, however often the stream is written to
			c.tellBlocked(st)
		}
		if c.qlog != nil {
			c.qlog.blockStream(st, blockedStream)
		}
		return
	}
	if c.flow.out.Left() > 0 {
		s.keep(st) // by our own will, of which the peer need not know
		if c.qlog != nil {
			c.qlog.blockStream(st, blockedCongestion)
		}
		return
	}
	if limit, ok := c.flow.out.Blocked(); ok {
		c.flow.blockedAt = limit
		c.flow.dataBlocked.want()
		c.stats.blockCount++
	}
	if c.qlog != nil {
		c.qlog.block(blockedConnection, true)
		c.qlog.blockStream(st, blockedConnection)
	}
	c.tellBlocked(st)
	s.block(st)
}

// tellBlocked says that flow control holds the stream back: of limits that are not known yet
// it says nothing.
func (c *Conn) tellBlocked(st *Stream) {
	if !st.halted && c.peerKnown {
		st.halted = true
		c.events.push(Event{Kind: EventBlocked, Stream: st})
	}
}

// within reports whether the stream's number is allowed: always, unless 0-RTT
// was refused and the new limit is lower.
func (s *streams) within(st *Stream) bool {
	return !st.local || st.id>>2 < s.max[kind(st.Uni())]
}

// unblock gives the streams that waited for the connection another try.
func (s *streams) unblock(c *Conn) {
	st := s.waiting.head
	s.waiting, s.keeps = streamList{}, false
	for st != nil {
		next := st.next
		st.next, st.prev, st.queue = nil, nil, queueNone
		s.enqueue(c, st)
		if c.early == earlyRejected {
			s.enqueueControl(st) // what it had to say may have waited for its place
		}
		st = next
	}
}

// block makes a stream wait for the connection.
func (s *streams) block(st *Stream) {
	st.queue = queueBlocked
	s.waiting.push(st)
}

// keep makes a stream wait until less is retained.
func (s *streams) keep(st *Stream) {
	st.queue, s.keeps = queueKept, true
	s.waiting.push(st)
}

// leave takes a stream out of the queue that it stands in. Once it is over nothing else
// would, as long as others go first.
func (s *streams) leave(st *Stream) {
	switch st.queue {
	case queueReady:
		s.ready.remove(st)
	case queueBlocked, queueKept:
		s.waiting.remove(st)
		st.queue = queueNone
	}
}

// appendData fills the packet with stream data, as the schedule has it.
func (s *streams) appendData(c *Conn, d *datagram, pk *packet) {
	const smallest = 1 + 8 + 8 + 2 + 1
	for st := s.ready.next(); st != nil && d.room() > smallest; st = s.ready.next() {
		start := len(d.b)
		for s.appendStream(c, d, pk, st) && d.room() > smallest {
			// its next piece starts elsewhere, so it needs another frame
		}
		if len(d.b) > start {
			s.ready.pass(st)
		}
		if d.room() > smallest || !st.send.Pending(c.fresh()) {
			s.ready.remove(st)
			s.enqueue(c, st)
		}
	}
}
