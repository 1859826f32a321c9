// Package varint is the variable-length integer of RFC 9000 §16: append
// functions for writing, and a cursor with a sticky error for reading.
package varint

import "encoding/binary"

// Max is the largest value that the encoding can carry.
const Max = 1<<62 - 1

// Len returns how many bytes v takes: 1, 2, 4 or 8.
func Len(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	case v <= Max:
		return 8
	}
	panic("BUG: varint out of range")
}

// Append appends v in its shortest form.
func Append(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, 0x40|byte(v>>8), byte(v))
	case v < 1<<30:
		return append(b, 0x80|byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	case v <= Max:
		return binary.BigEndian.AppendUint64(b, 0xc0<<56|v)
	}
	panic("BUG: varint out of range")
}

// Put2 writes v, below 1<<14, over b[0:2] in the two-byte form. It serves the
// Length field of a long header, whose width is chosen before its value is known.
func Put2(b []byte, v uint64) {
	if v >= 1<<14 {
		panic("BUG: value does not fit a two-byte varint")
	}
	binary.BigEndian.PutUint16(b, 0x4000|uint16(v))
}

// Parse reads one integer from the front of b and returns how many bytes it
// took: 0 if b is too short.
func Parse(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch b[0] >> 6 {
	case 0:
		return uint64(b[0]), 1
	case 1:
		if len(b) < 2 {
			return 0, 0
		}
		return uint64(b[0]&0x3f)<<8 | uint64(b[1]), 2
	case 2:
		if len(b) < 4 {
			return 0, 0
		}
		return uint64(binary.BigEndian.Uint32(b) & 0x3fffffff), 4
	}
	if len(b) < 8 {
		return 0, 0
	}
	return binary.BigEndian.Uint64(b) & Max, 8
}

// Cursor reads fields from the front of a byte slice. The first read past the
// end makes it fail for good: reads then return zero values, and Failed says so.
// What it returns borrows from the slice it was made of.
type Cursor struct {
	b      []byte
	failed bool
}

// NewCursor returns a cursor at the start of b.
func NewCursor(b []byte) Cursor { return Cursor{b: b} }

// Failed reports whether any read went past the end.
func (c *Cursor) Failed() bool { return c.failed }

// Fail makes the cursor fail, for a caller that has found a value it cannot accept.
func (c *Cursor) Fail() { c.failed, c.b = true, nil }

// Len returns how many bytes are left.
func (c *Cursor) Len() int { return len(c.b) }

// Rest returns everything that is left, and moves to the end.
func (c *Cursor) Rest() []byte {
	b := c.b[:len(c.b):len(c.b)]
	c.b = c.b[len(c.b):]
	return b
}

// Peek returns everything that is left without moving.
func (c *Cursor) Peek() []byte { return c.b }

// Varint reads one variable-length integer.
func (c *Cursor) Varint() uint64 {
	v, n := Parse(c.b)
	if n == 0 {
		c.Fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// Int reads one variable-length integer as an int64, which holds every value of the encoding.
func (c *Cursor) Int() int64 { return int64(c.Varint()) }

// Byte reads one byte.
func (c *Cursor) Byte() byte {
	if len(c.b) == 0 {
		c.Fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// Uint32 reads four bytes in network order.
func (c *Cursor) Uint32() uint32 {
	b := c.Bytes(4)
	if c.failed {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Bytes reads n bytes.
func (c *Cursor) Bytes(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.Fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// VarintBytes reads a length as an integer, then that many bytes.
func (c *Cursor) VarintBytes() []byte {
	n := c.Varint()
	if n > uint64(len(c.b)) {
		c.Fail()
		return nil
	}
	return c.Bytes(int(n))
}

// ByteBytes reads a length as a single byte, then that many bytes.
func (c *Cursor) ByteBytes() []byte { return c.Bytes(int(c.Byte())) }
