package qlog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Encoder appends JSON to a buffer: the members of an object, or with an empty key the
// elements of a list. What is opened must be closed; the Encoder does not look after that.
// The zero Encoder is empty and ready.
type Encoder struct {
	b    []byte
	more bool // something stands before in the same object or list
}

// key begins a member, or with an empty key an element.
func (e *Encoder) key(key string) {
	if e.more {
		e.b = append(e.b, ',')
	}
	e.more = true
	if key != "" {
		e.b = append(e.b, '"')
		e.b = append(e.b, key...) // ours: lower case words
		e.b = append(e.b, '"', ':')
	}
}

// Open begins an object.
func (e *Encoder) Open(key string) {
	e.key(key)
	e.b = append(e.b, '{')
	e.more = false
}

// Close ends an object.
func (e *Encoder) Close() {
	e.b = append(e.b, '}')
	e.more = true
}

// OpenList begins a list.
func (e *Encoder) OpenList(key string) {
	e.key(key)
	e.b = append(e.b, '[')
	e.more = false
}

// CloseList ends a list.
func (e *Encoder) CloseList() {
	e.b = append(e.b, ']')
	e.more = true
}

// String writes text. Bytes of it that are not UTF-8 become U+FFFD.
func (e *Encoder) String(key, v string) {
	e.key(key)
	e.b = appendString(e.b, v)
}

// OptString is String unless v is empty.
func (e *Encoder) OptString(key, v string) {
	if v != "" {
		e.String(key, v)
	}
}

// Uint writes a number.
func (e *Encoder) Uint(key string, v uint64) {
	e.key(key)
	e.b = strconv.AppendUint(e.b, v, 10)
}

// OptUint is Uint unless v is 0.
func (e *Encoder) OptUint(key string, v uint64) {
	if v != 0 {
		e.Uint(key, v)
	}
}

// Float writes a number with a fraction.
func (e *Encoder) Float(key string, v float64) {
	e.key(key)
	e.b = strconv.AppendFloat(e.b, v, 'f', -1, 64)
}

// Bool writes true or false.
func (e *Encoder) Bool(key string, v bool) {
	e.key(key)
	e.b = strconv.AppendBool(e.b, v)
}

// OptBool is Bool unless v is false.
func (e *Encoder) OptBool(key string, v bool) {
	if v {
		e.Bool(key, v)
	}
}

// Hex writes bytes as a hexstring: lower case, two digits each.
func (e *Encoder) Hex(key string, v []byte) {
	e.key(key)
	e.b = append(e.b, '"')
	for _, c := range v {
		e.b = append(e.b, digits[c>>4], digits[c&15])
	}
	e.b = append(e.b, '"')
}

// OptHex is Hex unless v is empty.
func (e *Encoder) OptHex(key string, v []byte) {
	if len(v) > 0 {
		e.Hex(key, v)
	}
}

// Duration writes a time in milliseconds, with a fraction down to nanoseconds.
func (e *Encoder) Duration(key string, d time.Duration) {
	e.key(key)
	e.b = appendMillis(e.b, int64(d))
}

// OptDuration is Duration unless d is 0.
func (e *Encoder) OptDuration(key string, d time.Duration) {
	if d != 0 {
		e.Duration(key, d)
	}
}

// RawLength writes the member raw with a length and nothing else.
func (e *Encoder) RawLength(n uint64) {
	e.Open("raw")
	e.Uint("length", n)
	e.Close()
}

const digits = "0123456789abcdef"

// appendString appends a JSON string (RFC 8259 §7). Control characters are escaped, so
// that neither a record separator nor a line feed ever stands in one.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0 // of s, up to here nothing is to be replaced since the last copy
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if c >= utf8.RuneSelf && (r != utf8.RuneError || size > 1) {
			i += size
			continue
		}
		b = append(b, s[plain:i]...)
		switch {
		case c >= utf8.RuneSelf:
			b = append(b, "\uFFFD"...)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i += size
		plain = i
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}

// appendMillis appends nanoseconds as milliseconds.
func appendMillis(b []byte, ns int64) []byte {
	if ns < 0 {
		b, ns = append(b, '-'), -ns
	}
	b = strconv.AppendInt(b, ns/1e6, 10)
	rest := ns % 1e6
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := int64(1e5); rest > 0; unit /= 10 {
		b = append(b, byte('0'+rest/unit))
		rest %= unit
	}
	return b
}
