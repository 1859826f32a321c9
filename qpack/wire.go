package qpack

import (
	"fmt"

	"golang.org/x/net/http2/hpack"
)

// maxInt is the largest integer that is accepted (RFC 9204 §4.1.1 asks for 62 bits:
// stream IDs have as many).
const maxInt = 1<<62 - 1 // no limit: of the format

// maxIntBytes is the length of the longest integer that is accepted: a byte with
// the prefix, and nine of seven bits each.
const maxIntBytes = 10 // no limit: of the format

// appendInt appends v with a prefix of so many bits (RFC 7541 §5.1). The bits above
// the prefix are those of first.
func appendInt(b []byte, first byte, bits uint, v uint64) []byte {
	full := uint64(1)<<bits - 1
	if v < full {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(full))
	for v -= full; v >= 0x80; v >>= 7 {
		b = append(b, 0x80|byte(v))
	}
	return append(b, byte(v))
}

// appendString appends s as a string literal whose length has a prefix of so many
// bits; the Huffman flag is the bit above them (RFC 9204 §4.1.2). Huffman coding is
// used if it saves something.
func appendString(b []byte, first byte, bits uint, s string) []byte {
	if n := hpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		b = appendInt(b, first|1<<bits, bits, n)
		return hpack.AppendHuffmanString(b, s)
	}
	b = appendInt(b, first, bits, uint64(len(s)))
	return append(b, s...)
}

// cursor reads integers and strings from the front of a byte slice. The first
// failure stays, and all reads after it return zero values.
type cursor struct {
	b     []byte
	short int    // so many bytes more are needed, at least, to go on
	bad   string // what is wrong with the bytes
	limit bool   // it is that they go over what was advertised
}

func (c *cursor) failed() bool { return c.short > 0 || c.bad != "" }

// fail records what is wrong, unless something was before.
func (c *cursor) fail(format string, args ...any) {
	if !c.failed() {
		c.bad = fmt.Sprintf(format, args...)
	}
}

// integer reads an integer with a prefix of so many bits; one that is too large is an error (RFC 9204 §7.4).
func (c *cursor) integer(bits uint) uint64 {
	if c.failed() {
		return 0
	}
	if len(c.b) == 0 {
		c.short = 1
		return 0
	}
	full := byte(1)<<bits - 1
	v := uint64(c.b[0] & full)
	if byte(v) < full {
		c.b = c.b[1:]
		return v
	}
	for i := 1; i < maxIntBytes; i++ {
		if i == len(c.b) {
			c.short = 1
			return 0
		}
		v += uint64(c.b[i]&0x7f) << (7 * (i - 1))
		if c.b[i]&0x80 == 0 {
			c.b = c.b[i+1:]
			if v > maxInt {
				c.fail("an integer of more than 62 bits")
				return 0
			}
			return v
		}
	}
	c.fail("an integer of more than %d bytes", maxIntBytes)
	return 0
}

// literal is a string as it came. It borrows from what the cursor was made of.
type literal struct {
	raw     []byte
	huffman bool
}

// literal reads a string whose length has a prefix of so many bits. A string that
// cannot be decoded to max bytes or fewer is refused by its length, at hand or not.
func (c *cursor) literal(bits uint, max uint64) literal {
	huffman := len(c.b) > 0 && c.b[0]&(1<<bits) != 0
	n := c.integer(bits)
	if c.failed() {
		return literal{}
	}
	if least(n, huffman) > max {
		c.fail("a string of %d bytes where at most %d fit", n, max)
		return literal{}
	}
	if have := uint64(len(c.b)); n > have {
		c.short = int(min(n-have, 1<<30))
		return literal{}
	}
	l := literal{raw: c.b[:n], huffman: huffman}
	c.b = c.b[n:]
	return l
}

// least is the shortest string that n bytes can mean: no Huffman code is longer than
// 30 bits, and at most seven bits pad.
func least(n uint64, huffman bool) uint64 {
	switch {
	case !huffman || n == 0:
		return n
	case n > 1<<32:
		return n / 4
	}
	return (8*n - 7 + 29) / 30
}

// least is the length of the shortest string that the literal can mean.
func (l literal) least() uint64 { return least(uint64(len(l.raw)), l.huffman) }

const badHuffman = "a string whose Huffman code is not valid"

// text decodes the literal. It fails on padding longer than seven bits or of other
// bits than ones, and on the code for the end of the string (RFC 7541 §5.2).
func (l literal) text() (s string, ok bool) {
	if !l.huffman {
		return string(l.raw), true
	}
	s, err := hpack.HuffmanDecodeToString(l.raw)
	return s, err == nil
}
