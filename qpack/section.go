package qpack

import (
	"maps"
	"math"
)

// Decode decodes a field section and appends its fields (RFC 9204 §2.2). Names and values of table
// entries are shared, literal ones are made once; nothing borrows from section.
//
// The sections of a stream are decoded in order. For ErrBlocked the caller keeps the
// section; the stream counts as blocked until the insertions arrive or Cancel is called,
// and a stream more than may be blocked is an *Error. An *Error ends the connection, ErrTooLarge this message only. With any error
// the fields come back as they were.
func (d *Decoder) Decode(fields []Field, streamID int64, section []byte, limit Limit) ([]Field, error) {
	s := sectionReader{c: cursor{b: section}, table: &d.table}
	if err := s.prefix(d.maxCapacity / entryOverhead); err != nil {
		return fields, err
	}
	if s.required > d.table.inserted {
		return fields, d.block(streamID, s.required)
	}
	delete(d.blocked, streamID)
	all, err := s.lines(fields, limit)
	if _, broken := err.(*Error); !broken && s.required > 0 {
		d.acknowledge(streamID, s.required)
	}
	if err != nil {
		return fields, err
	}
	return all, nil
}

// block counts a stream as blocked, if another one may be.
func (d *Decoder) block(streamID int64, required uint64) error {
	if _, ok := d.blocked[streamID]; !ok && uint64(len(d.blocked)) >= d.maxBlocked {
		// Those whose insertions have arrived are blocked no more, even if
		// the caller has not tried them again.
		maps.DeleteFunc(d.blocked, func(_ int64, required uint64) bool { return required <= d.table.inserted })
		if n := len(d.blocked); uint64(n) >= d.maxBlocked {
			err := failf(DecompressionFailed, "stream %d is blocked, and %d others are, which is all that may", streamID, n)
			err.Limit = true
			return err
		}
	}
	if d.blocked == nil {
		d.blocked = make(map[int64]uint64)
	}
	d.blocked[streamID] = required
	return ErrBlocked
}

// sectionReader reads one field section.
type sectionReader struct {
	c        cursor
	table    *table
	required uint64 // the Required Insert Count (RFC 9204 §2.2.1)
	base     uint64
}

// err returns what is wrong with the section. Its end is its end: what is missing
// does not come later.
func (s *sectionReader) err() error {
	switch {
	case s.c.bad != "":
		return failf(DecompressionFailed, "%s", s.c.bad)
	case s.c.short > 0:
		return failf(DecompressionFailed, "the field section is cut off")
	}
	return nil
}

// prefix reads RFC 9204 §4.5.1.
func (s *sectionReader) prefix(maxEntries uint64) error {
	encoded := s.c.integer(8)
	negative := len(s.c.b) > 0 && s.c.b[0]&0x80 != 0
	delta := s.c.integer(7)
	required, ok := requiredInsertCount(encoded, s.table.inserted, maxEntries)
	switch {
	case !ok:
		s.c.fail("a Required Insert Count that reads %d, after %d insertions", encoded, s.table.inserted)
	case negative && required <= delta:
		s.c.fail("a Base %d below a Required Insert Count of %d", delta+1, required)
	case negative:
		s.base = required - delta - 1
	default:
		s.base = required + delta
	}
	s.required = required
	return s.err()
}

// requiredInsertCount undoes the wrapping of RFC 9204 §4.5.1.1: the count is encoded
// modulo twice the number of entries that the largest table can have, and lies within
// that number of the insertions that have arrived.
func requiredInsertCount(encoded, inserted, maxEntries uint64) (required uint64, ok bool) {
	if encoded == 0 {
		return 0, true
	}
	wrap := 2 * maxEntries
	if encoded > wrap {
		return 0, false
	}
	most := inserted + maxEntries
	required = most/wrap*wrap + encoded - 1
	if required > most {
		if required <= wrap {
			return 0, false
		}
		required -= wrap
	}
	return required, required > 0
}

// lines reads the field lines and appends them.
func (s *sectionReader) lines(fields []Field, limit Limit) ([]Field, error) {
	left := limit.Size
	if left == 0 {
		left = math.MaxUint64
	}
	most := limit.Fields
	if most == 0 {
		most = math.MaxInt
	}
	for n := 0; len(s.c.b) > 0; n++ {
		if n == most {
			return nil, ErrTooLarge
		}
		f, err := s.line(left)
		switch {
		case err != nil:
			return nil, err
		case f.Size() > left:
			return nil, ErrTooLarge
		}
		left -= f.Size()
		fields = append(fields, f)
	}
	return fields, nil
}

// line reads one field line.
func (s *sectionReader) line(left uint64) (f Field, err error) {
	switch first := s.c.b[0]; {
	case first&0x80 != 0: // RFC 9204 §4.5.2
		f = s.entry(first&0x40 != 0, s.c.integer(6))
	case first&0xf0 == 0x10: // RFC 9204 §4.5.3
		f = s.postBase(s.c.integer(4))
	default:
		return s.literal(first, left)
	}
	return f, s.err()
}

// literal reads a field line that has strings of its own. None is made if the field is
// sure to be too large, however well it is compressed.
func (s *sectionReader) literal(first byte, left uint64) (f Field, err error) {
	var name, value literal
	switch {
	case first&0x40 != 0: // RFC 9204 §4.5.4
		f.Name = s.entry(first&0x10 != 0, s.c.integer(4)).Name
		f.Sensitive = first&0x20 != 0
	case first&0x20 != 0: // RFC 9204 §4.5.6
		name = s.c.literal(3, maxInt)
		f.Sensitive = first&0x10 != 0
	default: // RFC 9204 §4.5.5
		f.Name = s.postBase(s.c.integer(3)).Name
		f.Sensitive = first&0x08 != 0
	}
	value = s.c.literal(7, maxInt)
	if err := s.err(); err != nil {
		return f, err
	}
	if f.Size()+name.least()+value.least() > left {
		return f, ErrTooLarge
	}
	ok := true
	if name.raw != nil {
		f.Name, ok = name.text()
	}
	if ok {
		f.Value, ok = value.text()
	}
	if !ok {
		s.c.fail(badHuffman)
	}
	return f, s.err()
}

// entry returns an entry of the static table (RFC 9204 §3.1), or of the dynamic one by its distance
// from the Base (RFC 9204 §3.2.5).
func (s *sectionReader) entry(static bool, index uint64) Field {
	if static {
		return staticAt(&s.c, index)
	}
	if index >= s.base {
		s.c.fail("entry %d before a Base of %d", index, s.base)
		return Field{}
	}
	return s.dynamic(s.base - 1 - index)
}

// postBase returns an entry by its distance after the Base (RFC 9204 §3.2.6).
func (s *sectionReader) postBase(index uint64) Field { return s.dynamic(s.base + index) }

// dynamic returns an entry by its absolute index. One that the section did not
// declare that it needs is no entry to it, here or not (RFC 9204 §2.2.3).
func (s *sectionReader) dynamic(index uint64) Field {
	switch {
	case s.c.failed():
	case index >= s.required:
		s.c.fail("entry %d with a Required Insert Count of %d", index, s.required)
	case index < s.table.dropped:
		s.c.fail("entry %d, which is evicted", index)
	default:
		e := s.table.at(index)
		return Field{Name: e.name, Value: e.value}
	}
	return Field{}
}
