package qpack

import "slices"

// Receive takes bytes of the peer's decoder stream, in pieces of any size. What it
// returns is an *Error, and is returned again from then on.
func (e *Encoder) Receive(p []byte) error {
	for e.nPartial > 0 && len(p) > 0 && e.err == nil {
		e.partial[e.nPartial] = p[0]
		e.nPartial++
		p = p[1:]
		if _, short := e.instruct(e.partial[:e.nPartial]); !short {
			e.nPartial = 0
		}
	}
	for len(p) > 0 && e.err == nil {
		rest, short := e.instruct(p)
		if short {
			e.nPartial = copy(e.partial[:], p)
		}
		p = rest
	}
	if e.err != nil {
		return e.err
	}
	return nil
}

// instruct obeys the decoder instruction at the front of b, if it is complete.
func (e *Encoder) instruct(b []byte) (rest []byte, short bool) {
	c := cursor{b: b}
	switch first := b[0]; {
	case first&0x80 != 0:
		if stream := int64(c.integer(7)); !c.failed() {
			e.acknowledged(&c, stream)
		}
	case first&0x40 != 0:
		if stream := int64(c.integer(6)); !c.failed() {
			e.cancel(stream)
		}
	default:
		if n := c.integer(6); !c.failed() {
			e.increment(&c, n)
		}
	}
	if c.bad != "" {
		e.err = failf(DecoderStreamError, "%s", c.bad)
	}
	if c.failed() {
		return nil, c.short > 0
	}
	return c.b, false
}

// acknowledged obeys RFC 9204 §4.4.1: the peer has decoded the oldest section of a
// stream, and so has all insertions that it needed.
func (e *Encoder) acknowledged(c *cursor, stream int64) {
	s, ok := e.outstanding.pop(stream)
	if !ok {
		c.fail("an acknowledgement for stream %d, which has no section that needs one", stream)
		return
	}
	e.table.at(s.oldest).sections--
	e.received(s.required)
}

// cancel obeys RFC 9204 §4.4.2. That the peer knows of none of the stream's sections,
// or has cancelled it before, is no error.
func (e *Encoder) cancel(stream int64) {
	for {
		s, ok := e.outstanding.pop(stream)
		if !ok {
			break
		}
		e.table.at(s.oldest).sections--
	}
	if i := e.atRisk(stream); i >= 0 {
		e.risk = slices.Delete(e.risk, i, i+1)
	}
	if e.seen != nil {
		e.cancelled.add(stream)
	}
	e.cancels++
}

// Cancellations returns how many Stream Cancellations have come. A peer need send no more than one
// for each stream: any others are of no use.
func (e *Encoder) Cancellations() uint64 { return e.cancels }

// increment obeys RFC 9204 §4.4.3.
func (e *Encoder) increment(c *cursor, n uint64) {
	switch on := e.table.inserted - e.known; {
	case n == 0:
		c.fail("an Insert Count Increment of 0")
	case n > on:
		c.fail("an Insert Count Increment of %d, with %d insertions to acknowledge", n, on)
	default:
		e.received(e.known + n)
	}
}

// received raises the Known Received Count.
func (e *Encoder) received(count uint64) {
	if count <= e.known {
		return
	}
	e.known = count
	e.risk = slices.DeleteFunc(e.risk, func(r risk) bool { return r.required <= count })
}

// sections are those without acknowledgement, a queue for each stream.
type sections struct {
	n      int
	nodes  []section
	free   int32 // a list of nodes; one more than its first, 0 if none
	queues map[int64]queue
}

// section is one that refers to the table.
type section struct {
	required, oldest uint64
	next             int32 // one more than the next node of the list
}

// queue is the sections of a stream, by their nodes.
type queue struct{ first, last int32 }

func (s *sections) push(stream int64, required, oldest uint64) {
	if s.free == 0 {
		s.nodes = append(s.nodes, section{})
		s.free = int32(len(s.nodes))
	}
	at := s.free
	node := &s.nodes[at-1]
	s.free = node.next
	*node = section{required: required, oldest: oldest}
	q, ok := s.queues[stream]
	if ok {
		s.nodes[q.last-1].next = at
	} else {
		q.first = at
	}
	q.last = at
	if s.queues == nil {
		s.queues = make(map[int64]queue)
	}
	s.queues[stream] = q
	s.n++
}

// pop removes the oldest section of a stream, if it has one.
func (s *sections) pop(stream int64) (section, bool) {
	q, ok := s.queues[stream]
	if !ok {
		return section{}, false
	}
	at := q.first
	node := &s.nodes[at-1]
	popped := *node
	if q.first = popped.next; q.first == 0 {
		delete(s.queues, stream)
	} else {
		s.queues[stream] = q
	}
	node.next, s.free = s.free, at
	s.n--
	return popped, true
}

// recent is the streams that the peer has cancelled lately. What we still send on one
// of them must not refer to the table: nobody would ever say that it is done with.
// These are few, for sections that are made while the cancellation comes: for a stream that it knows to be cut
// off, the caller has none made.
type recent struct {
	streams []int64
	next    int
}

const maxRecent = 64

func (r *recent) has(stream int64) bool { return slices.Contains(r.streams, stream) }

func (r *recent) add(stream int64) {
	switch {
	case r.has(stream):
	case len(r.streams) < maxRecent:
		r.streams = append(r.streams, stream)
	default:
		r.streams[r.next] = stream
		r.next = (r.next + 1) % maxRecent
	}
}
