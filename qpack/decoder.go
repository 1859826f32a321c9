package qpack

// Decoder is the receiving end: it keeps the table that the peer's encoder builds,
// and decodes field sections. It is made by NewDecoder.
type Decoder struct {
	table       table
	maxCapacity uint64 // what we have advertised
	maxBlocked  uint64
	resized     uint64           // Set Dynamic Table Capacity instructions that have come
	blocked     map[int64]uint64 // streams that wait for insertions, and for how many

	partial []byte // the beginning of an encoder instruction
	missing int    // how many bytes it lacks, at least
	err     *Error // the encoder stream is broken

	out      outbox
	reported uint64 // the Known Received Count that the peer has when it has read out
	news     bool   // out raises that

	// As long as the last instruction in out is an Insert Count Increment of which
	// nothing is sent, it is raised instead of followed by another one.
	incrementSize int    // its length; 0 if there is none
	incrementFrom uint64 // the count before it
}

// NewDecoder returns a decoder for what we advertise in SETTINGS_QPACK_MAX_TABLE_CAPACITY
// and SETTINGS_QPACK_BLOCKED_STREAMS.
func NewDecoder(maxTableCapacity, blockedStreams uint64) *Decoder {
	return &Decoder{maxCapacity: maxTableCapacity, maxBlocked: blockedStreams}
}

// Receive takes bytes of the peer's encoder stream, in pieces of any size. What it
// returns is an *Error, and is returned again from then on.
func (d *Decoder) Receive(p []byte) error {
	for len(d.partial) > 0 && len(p) > 0 && d.err == nil {
		// Only what the instruction is known to lack is added to it, so that it
		// never holds more than the one.
		n := min(d.missing, len(p))
		d.partial, p = append(d.partial, p[:n]...), p[n:]
		if d.missing -= n; d.missing > 0 {
			return nil
		}
		if _, d.missing = d.instruct(d.partial); d.missing == 0 {
			d.partial = d.partial[:0]
		}
	}
	for len(p) > 0 && d.err == nil {
		var rest []byte
		if rest, d.missing = d.instruct(p); d.missing > 0 {
			d.partial = append(d.partial, p...)
		}
		p = rest
	}
	if d.err != nil {
		return d.err
	}
	return nil
}

// instruct obeys the encoder instruction at the front of b. If that is not complete,
// nothing changes, and missing says how many bytes it lacks at least.
func (d *Decoder) instruct(b []byte) (rest []byte, missing int) {
	c := cursor{b: b}
	switch first := b[0]; {
	case first&0x80 != 0:
		d.insertNamed(&c, first&0x40 != 0)
	case first&0x40 != 0:
		d.insertLiteral(&c)
	case first&0x20 != 0:
		d.setCapacity(&c)
	default:
		d.duplicate(&c)
	}
	if c.bad != "" {
		d.err = failf(EncoderStreamError, "%s", c.bad)
		d.err.Limit = c.limit
	}
	if c.failed() {
		return nil, c.short
	}
	return c.b, 0
}

// setCapacity obeys RFC 9204 §4.3.1.
func (d *Decoder) setCapacity(c *cursor) {
	capacity := c.integer(5)
	if capacity > d.maxCapacity {
		c.fail("a table capacity of %d, above the %d advertised", capacity, d.maxCapacity)
		c.limit = true
	}
	if !c.failed() {
		d.table.setCapacity(capacity)
		d.resized++
	}
}

// Resizings returns how often the peer has set the table's capacity. It is of use once, and hardly
// ever again.
func (d *Decoder) Resizings() uint64 { return d.resized }

// insertNamed obeys RFC 9204 §4.3.2.
func (d *Decoder) insertNamed(c *cursor, static bool) {
	index := c.integer(6)
	var name string
	if static {
		name = staticAt(c, index).Name
	} else if e := d.entryAt(c, index); e != nil {
		name = e.name
	}
	value := c.literal(7, d.room(uint64(len(name))))
	d.insert(c, name, d.text(c, value))
}

// insertLiteral obeys RFC 9204 §4.3.3.
func (d *Decoder) insertLiteral(c *cursor) {
	name := c.literal(5, d.room(0))
	value := c.literal(7, d.room(name.least()))
	if c.failed() {
		return // the strings are not made until all is there
	}
	d.insert(c, d.text(c, name), d.text(c, value))
}

// duplicate obeys RFC 9204 §4.3.4.
func (d *Decoder) duplicate(c *cursor) {
	if e := d.entryAt(c, c.integer(5)); e != nil {
		d.insert(c, e.name, e.value)
	}
}

// room is the longest value that an entry can have beside such a name.
func (d *Decoder) room(name uint64) uint64 {
	if used := name + entryOverhead; used < d.table.capacity {
		return d.table.capacity - used
	}
	return 0
}

func (d *Decoder) insert(c *cursor, name, value string) {
	size := Field{Name: name, Value: value}.Size()
	if size > d.table.capacity {
		c.fail("an entry of %d bytes in a table of %d", size, d.table.capacity)
	}
	if !c.failed() {
		d.table.insert(name, value)
	}
}

// entryAt returns the entry at a relative index on the encoder stream, where 0 is
// the newest (RFC 9204 §3.2.5).
func (d *Decoder) entryAt(c *cursor, relative uint64) *entry {
	if have := d.table.inserted - d.table.dropped; relative >= have {
		c.fail("entry %d of a table of %d entries", relative, have)
	}
	if c.failed() {
		return nil
	}
	return d.table.at(d.table.inserted - 1 - relative)
}

func staticAt(c *cursor, index uint64) Field {
	if index >= uint64(len(staticTable)) {
		c.fail("entry %d of the static table", index)
	}
	if c.failed() {
		return Field{}
	}
	return staticTable[index]
}

func (d *Decoder) text(c *cursor, l literal) string {
	if c.failed() {
		return ""
	}
	s, ok := l.text()
	if !ok {
		c.fail(badHuffman)
	}
	return s
}

// InsertCount returns how many insertions have arrived. A section that was blocked is
// worth another try when that is as many as RequiredInsertCount was for its stream.
func (d *Decoder) InsertCount() uint64 { return d.table.inserted }

// RequiredInsertCount returns how many insertions the section needs with which a stream is blocked
// (RFC 9204 §2.1.2), 0 if it is not, or no more.
func (d *Decoder) RequiredInsertCount(streamID int64) uint64 {
	if n := d.blocked[streamID]; n > d.table.inserted {
		return n
	}
	return 0
}

// Blocked returns how many streams wait for insertions.
func (d *Decoder) Blocked() int { return len(d.blocked) }

// Cancel tells the peer that no more sections of a stream will be decoded: the stream
// was reset, or reading it was abandoned, before all of them were. It is called once
// for a stream, and Decode no more afterwards.
func (d *Decoder) Cancel(streamID int64) {
	delete(d.blocked, streamID)
	if d.maxCapacity == 0 {
		return // RFC 9204 §2.2.2.2: there can be no references
	}
	d.incrementSize = 0
	d.out.b = appendInt(d.out.b, 0x40, 6, uint64(streamID))
}

// acknowledge tells the peer that a section with a Required Insert Count above zero is
// done with, which says as well that so many insertions have arrived.
func (d *Decoder) acknowledge(streamID int64, required uint64) {
	d.incrementSize = 0
	d.out.b = appendInt(d.out.b, 0x80, 7, uint64(streamID))
	if required > d.reported {
		d.reported, d.news = required, true
	}
}

// Pressing reports whether Instructions has something that the peer waits for: that insertions
// have arrived, which it can then refer to without risk. All else only makes it forget, and can wait
// for company.
func (d *Decoder) Pressing() bool { return d.news || d.table.inserted > d.reported }

// Instructions returns what is to be written to the decoder stream (RFC 9204 §2.2.2). The slice is
// borrowed until the next call that changes the decoder. Insertions are reported when
// this is called and not before, so that acknowledged sections can do it for less.
func (d *Decoder) Instructions() []byte {
	if d.table.inserted > d.reported {
		if d.incrementSize == 0 {
			d.incrementFrom = d.reported
		}
		at := len(d.out.b) - d.incrementSize
		d.out.b = appendInt(d.out.b[:at], 0x00, 6, d.table.inserted-d.incrementFrom)
		d.incrementSize = len(d.out.b) - at
		d.reported, d.news = d.table.inserted, true
	}
	return d.out.pending()
}

// Pending returns how many bytes of instructions wait, without insertions that are yet to be
// reported.
func (d *Decoder) Pending() int { return len(d.out.pending()) }

// Sent says that the first n bytes of Instructions were handed over.
func (d *Decoder) Sent(n int) {
	d.out.take(n)
	left := len(d.out.pending())
	if left < d.incrementSize {
		d.incrementSize = 0
	}
	d.news = d.news && left > 0
}
