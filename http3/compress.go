package http3

import (
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/qpack"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// maxOwedInstructions bounds what waits to go to a peer that does not read our decoder stream.
const maxOwedInstructions = 64 << 10

// compression is QPACK for a session (RFC 9204): an encoder and a decoder, and the two
// streams on which this end talks about its tables. Those are opened when there is something
// to say.
type compression struct {
	s *Session

	emu sync.Mutex
	enc qpack.Encoder
	out *quic.Stream // the encoder stream; nil until the peer's settings allow a table

	dmu   sync.Mutex
	dec   *qpack.Decoder
	acks  *quic.Stream        // the decoder stream; nil until first needed
	hush  *time.Timer         // at whose end acknowledgements go that have waited for company
	holds bool                // it runs
	waits map[*Stream]waiting // streams that are blocked
}

// waiting is what a stream waits for.
type waiting struct {
	need  uint64        // so many insertions
	moved chan struct{} // closed when they have come
}

func (c *compression) init(s *Session) {
	c.s = s
	c.dec = qpack.NewDecoder(uint64(s.opts.QPACKMaxTableCapacity), uint64(s.opts.QPACKBlockedStreams))
}

// setLimits takes the peer's settings. Without a stream for its instructions the encoder
// keeps to the static table.
func (c *compression) setLimits(p *Settings) {
	if p.QPACKMaxTableCapacity == 0 {
		return
	}
	c.emu.Lock()
	defer c.emu.Unlock()
	if c.out = c.s.openCritical(streamQPACKEncoder, c.flushEncoder); c.out == nil {
		return
	}
	c.enc.SetLimits(p.QPACKMaxTableCapacity, p.QPACKBlockedStreams)
	c.sendInstructions()
}

// append appends a block for a stream, encoded; what it refers to goes out before it.
func (c *compression) append(b []byte, id int64, h Headers) []byte {
	c.emu.Lock()
	defer c.emu.Unlock()
	b = c.enc.AppendSection(b, id, h)
	c.sendInstructions()
	return b
}

func (c *compression) flushEncoder() {
	c.emu.Lock()
	defer c.emu.Unlock()
	c.sendInstructions()
}

// sendInstructions hands over what the stream takes. While some is left, the encoder
// inserts nothing.
func (c *compression) sendInstructions() {
	if p := c.enc.Instructions(); len(p) > 0 && c.out != nil {
		n, _ := c.out.TryWrite(p) // an error ends the session by itself
		c.enc.Sent(n)
	}
}

// onDecoderStream takes a piece of the peer's decoder stream.
func (c *compression) onDecoderStream(p []byte) *fault {
	c.emu.Lock()
	before := c.enc.Cancellations()
	err := c.enc.Receive(p)
	after := c.enc.Cancellations()
	c.emu.Unlock()
	if err != nil {
		return qpackFault(err)
	}
	// One for each stream is what the peer owes us (RFC 9204 §2.2.2.2).
	if n := after - max(before, min(after, c.s.streamsSeen())); n > 0 {
		return c.s.useful.take(n, "QPACK stream cancellations")
	}
	return nil
}

// onEncoderStream takes a piece of the peer's encoder stream, and lets streams go on that
// have waited for it.
func (c *compression) onEncoderStream(p []byte) *fault {
	c.dmu.Lock()
	before, resized := c.dec.InsertCount(), c.dec.Resizings()
	f := qpackFault(c.dec.Receive(p))
	if n := c.dec.Resizings() - resized; f == nil && n > 0 {
		f = c.s.useful.take(n, "QPACK table capacities")
	}
	var pumps []*Stream
	if c.dec.InsertCount() != before {
		pumps = c.wake()
	}
	owed := c.sendAcks()
	c.dmu.Unlock()
	for _, st := range pumps {
		st.pump()
	}
	if f == nil {
		f = owed
	}
	return f
}

// wake lets those go on for which enough insertions have come, and nobody else: the peer decides how many come at
// once. It returns those that have hooks, to be pumped.
func (c *compression) wake() (pumps []*Stream) {
	have := c.dec.InsertCount()
	for st, w := range c.waits {
		if have < w.need {
			continue
		}
		delete(c.waits, st)
		close(w.moved)
		if st.isHooked() {
			pumps = append(pumps, st)
		}
	}
	return pumps
}

// decode decodes a block of a stream. If it needs insertions that have not come, moved is
// closed when they have, and a stream with hooks is pumped.
func (c *compression) decode(st *Stream, section []byte) (h Headers, moved <-chan struct{}, err error) {
	c.dmu.Lock()
	if st.readingEnded() { // cancel has been here, or will be
		c.dmu.Unlock()
		return nil, nil, errReadingEnded
	}
	if w, ok := c.waits[st]; ok { // a stream's blocks come one by one
		c.dmu.Unlock()
		return nil, w.moved, qpack.ErrBlocked
	}
	h, err = c.decodeBlock(st.ID(), section)
	if err == qpack.ErrBlocked {
		moved = c.wait(st)
	}
	owed := c.holdAcks()
	c.dmu.Unlock()
	if owed != nil {
		c.s.fail(owed)
		return nil, nil, owed.error()
	}
	return h, moved, err
}

// decodeBlock decodes a block into memory that is just as large.
func (c *compression) decodeBlock(id int64, section []byte) (h Headers, err error) {
	limit := qpack.Limit{Size: uint64(c.s.opts.MaxHeaderListSize), Fields: c.s.opts.MaxHeaderPairs}
	scratch := fieldBuffers.Get().(*Headers)
	block, err := c.dec.Decode(*scratch, id, section, limit)
	if err == nil {
		h = make(Headers, len(block))
		copy(h, block)
	}
	putFields(scratch, block)
	return h, err
}

// wait notes that a stream is blocked, and returns what is closed when it is so no more. That is
// under the lock, so that nothing goes unnoticed.
func (c *compression) wait(st *Stream) <-chan struct{} {
	if c.waits == nil {
		c.waits = make(map[*Stream]waiting)
	}
	w := waiting{c.dec.RequiredInsertCount(st.ID()), make(chan struct{})}
	c.waits[st] = w
	return w.moved
}

// cancel gives up the blocks of a stream.
func (c *compression) cancel(st *Stream) {
	c.dmu.Lock()
	delete(c.waits, st)
	c.dmu.Unlock()
	c.refuse(st.ID())
}

// refuse tells the peer that blocks of a stream will not be read (RFC 9204 §2.2.2.2).
func (c *compression) refuse(id int64) {
	c.dmu.Lock()
	c.dec.Cancel(id)
	f := c.sendAcks()
	c.dmu.Unlock()
	if f != nil {
		c.s.fail(f)
	}
}

func (c *compression) flushDecoder() {
	c.dmu.Lock()
	f := c.sendAcks()
	c.dmu.Unlock()
	if f != nil {
		c.s.fail(f)
	}
}

// Acknowledgements of sections that refer to nothing new wait for others: for so many bytes, or so
// long. The peer keeps a few entries longer for it, and neither end wakes up for each.
const (
	ackBytes = 32
	ackDelay = 20 * time.Millisecond
)

// holdAcks is sendAcks for what need not go at once.
func (c *compression) holdAcks() *fault {
	if c.dec.Pressing() || c.dec.Pending() >= ackBytes {
		return c.sendAcks()
	}
	switch {
	case c.holds || c.dec.Pending() == 0:
		return nil
	case c.hush == nil:
		c.hush = time.AfterFunc(ackDelay, c.endHush)
	default:
		c.hush.Reset(ackDelay)
	}
	c.holds = true
	return nil
}

func (c *compression) endHush() {
	c.dmu.Lock()
	c.holds = false
	c.dmu.Unlock()
	c.flushDecoder()
}

// sendAcks hands over what the decoder stream takes.
func (c *compression) sendAcks() *fault {
	p := c.dec.Instructions()
	if len(p) == 0 {
		return nil
	}
	if c.acks == nil {
		c.acks = c.s.openCritical(streamQPACKDecoder, c.flushDecoder)
	}
	if c.acks != nil {
		n, _ := c.acks.TryWrite(p)
		c.dec.Sent(n)
	}
	if len(c.dec.Instructions()) > maxOwedInstructions {
		return sessionFault(ExcessiveLoad, "the QPACK decoder stream is not read")
	}
	return nil
}

// qpackFault gives an error of package qpack its place: what ErrTooLarge and ErrBlocked
// mean, their callers know.
func qpackFault(err error) *fault {
	if e, ok := err.(*qpack.Error); ok {
		f := sessionFault(ErrorCode(e.Code), "%s", e.Reason)
		f.limit = e.Limit
		return f
	}
	return nil
}
