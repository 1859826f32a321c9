package varint

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

var vectors = []struct {
	wire string
	v    uint64
}{
	// RFC 9000 §A.1, those in their shortest form.
	{"c2197c5eff14e88c", 151288809941952652},
	{"9d7f3e7d", 494878333},
	{"7bbd", 15293},
	{"25", 37},
	// Both sides of each boundary.
	{"00", 0},
	{"3f", 63},
	{"4040", 64},
	{"7fff", 16383},
	{"80004000", 16384},
	{"bfffffff", 1<<30 - 1},
	{"c000000040000000", 1 << 30},
	{"ffffffffffffffff", Max},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, test := range vectors {
		b := unhex(test.wire)
		if got := Append([]byte("x"), test.v); got[0] != 'x' || !bytes.Equal(got[1:], b) {
			t.Errorf("Append(%d) = %x, want %s", test.v, got[1:], test.wire)
		}
		if got := Len(test.v); got != len(b) {
			t.Errorf("Len(%d) = %d, want %d", test.v, got, len(b))
		}
		if v, n := Parse(append(b[:len(b):len(b)], 0xee)); v != test.v || n != len(b) {
			t.Errorf("Parse(%s) = %d, %d; want %d, %d", test.wire, v, n, test.v, len(b))
		}
		for i := range b {
			if v, n := Parse(b[:i]); v != 0 || n != 0 {
				t.Errorf("Parse(%x) = %d, %d", b[:i], v, n)
			}
		}
	}
}

// A value may be written longer than it needs to be; the last is RFC 9000 §A.1's.
func TestParseLongForms(t *testing.T) {
	for _, test := range vectors {
		for _, form := range []struct {
			size  int
			first byte
		}{{2, 0x40}, {4, 0x80}, {8, 0xc0}} {
			if form.size <= Len(test.v) {
				continue
			}
			b := make([]byte, form.size)
			for i := range b {
				b[len(b)-1-i] = byte(test.v >> (8 * i))
			}
			b[0] |= form.first
			if v, n := Parse(b); v != test.v || n != form.size {
				t.Errorf("Parse(%x) = %d, %d; want %d, %d", b, v, n, test.v, form.size)
			}
		}
	}
	if v, n := Parse(unhex("4025")); v != 37 || n != 2 {
		t.Errorf("Parse(4025) = %d, %d; want 37, 2", v, n)
	}
}

func TestPut2(t *testing.T) {
	for _, v := range []uint64{0, 1, 63, 64, 1200, 1<<14 - 1} {
		b := []byte{0xff, 0xff, 0xee}
		Put2(b, v)
		if got, n := Parse(b); got != v || n != 2 || b[2] != 0xee {
			t.Errorf("Put2(%d) = %x", v, b)
		}
	}
}

func TestBugs(t *testing.T) {
	for what, f := range map[string]func(){
		"Append": func() { Append(nil, Max+1) },
		"Len":    func() { Len(1<<64 - 1) },
		"Put2":   func() { Put2(make([]byte, 2), 1<<14) },
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.HasPrefix(s, "BUG: ") {
					t.Errorf("%s: panic %q", what, s)
				}
			}()
			f()
		}()
	}
}

func TestCursor(t *testing.T) {
	c := NewCursor(unhex("2a" + "7bbd" + "7bbd" + "01020304" + "0a0b" + "026869" + "4003616263" + "7a7a7a"))
	if v := c.Byte(); v != 0x2a {
		t.Errorf("Byte = %#x", v)
	}
	if v := c.Varint(); v != 15293 {
		t.Errorf("Varint = %d", v)
	}
	if v := c.Int(); v != 15293 {
		t.Errorf("Int = %d", v)
	}
	if v := c.Uint32(); v != 0x01020304 {
		t.Errorf("Uint32 = %#x", v)
	}
	if v := c.Bytes(2); !bytes.Equal(v, []byte{0x0a, 0x0b}) || cap(v) != 2 {
		t.Errorf("Bytes = %x with capacity %d", v, cap(v))
	}
	if v := c.ByteBytes(); string(v) != "hi" || cap(v) != 2 {
		t.Errorf("ByteBytes = %q with capacity %d", v, cap(v))
	}
	if v := c.VarintBytes(); string(v) != "abc" || cap(v) != 3 {
		t.Errorf("VarintBytes = %q with capacity %d", v, cap(v))
	}
	if v := c.Peek(); string(v) != "zzz" || c.Len() != 3 {
		t.Errorf("Peek = %q, Len = %d", v, c.Len())
	}
	if v := c.Rest(); string(v) != "zzz" || c.Len() != 0 || c.Failed() {
		t.Errorf("Rest = %q, Len = %d, Failed = %v", v, c.Len(), c.Failed())
	}
	if v := c.Rest(); len(v) != 0 || c.Failed() {
		t.Errorf("Rest at the end = %q, Failed = %v", v, c.Failed())
	}
	if v := c.Bytes(0); len(v) != 0 || c.Failed() {
		t.Errorf("Bytes(0) at the end = %q, Failed = %v", v, c.Failed())
	}
}

// A cursor that has failed stays so and yields zeros, though bytes were left.
func TestCursorFails(t *testing.T) {
	for _, test := range []struct {
		what string
		wire string
		read func(c *Cursor) bool // whether it read a zero value
	}{
		{"Byte", "", func(c *Cursor) bool { return c.Byte() == 0 }},
		{"Varint", "40", func(c *Cursor) bool { return c.Varint() == 0 }},
		{"Int", "c0000000000000", func(c *Cursor) bool { return c.Int() == 0 }},
		{"Uint32", "010203", func(c *Cursor) bool { return c.Uint32() == 0 }},
		{"Bytes", "0102", func(c *Cursor) bool { return c.Bytes(3) == nil }},
		{"Bytes of a negative length", "0102", func(c *Cursor) bool { return c.Bytes(-1) == nil }},
		{"ByteBytes", "020a", func(c *Cursor) bool { return c.ByteBytes() == nil }},
		{"ByteBytes without a length", "", func(c *Cursor) bool { return c.ByteBytes() == nil }},
		{"VarintBytes", "020a", func(c *Cursor) bool { return c.VarintBytes() == nil }},
		{"VarintBytes of 2^62-1", "ffffffffffffffff0a", func(c *Cursor) bool { return c.VarintBytes() == nil }},
		{"VarintBytes without a length", "40", func(c *Cursor) bool { return c.VarintBytes() == nil }},
		{"Fail", "0102", func(c *Cursor) bool { c.Fail(); return true }},
	} {
		c := NewCursor(unhex(test.wire))
		if !test.read(&c) || !c.Failed() {
			t.Errorf("%s: Failed = %v", test.what, c.Failed())
		}
		if c.Byte() != 0 || c.Varint() != 0 || c.Int() != 0 || c.Uint32() != 0 || len(c.Bytes(0)) != 0 || c.Bytes(1) != nil ||
			len(c.ByteBytes()) != 0 || len(c.VarintBytes()) != 0 || len(c.Rest()) != 0 || len(c.Peek()) != 0 || c.Len() != 0 || !c.Failed() {
			t.Errorf("%s: read something after it failed", test.what)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	b := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		b = b[:0]
		for _, test := range vectors {
			b = Append(b, test.v)
		}
		c := NewCursor(b)
		for range vectors {
			c.Varint()
		}
		if c.Failed() || c.Len() != 0 {
			t.Fatal("not read as written")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range vectors {
		f.Add(unhex(test.wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n := Parse(b)
		if n == 0 {
			if v != 0 || len(b) > 0 && len(b) >= 1<<(b[0]>>6) {
				t.Fatalf("Parse(%x) = %d, 0", b, v)
			}
			return
		}
		if v > Max || n > len(b) || n != 1<<(b[0]>>6) || n < Len(v) {
			t.Fatalf("Parse(%x) = %d, %d", b, v, n)
		}
		again := Append(nil, v)
		if len(again) != Len(v) || n == len(again) && !bytes.Equal(again, b[:n]) {
			t.Fatalf("Append(%d) = %x, from %x", v, again, b[:n])
		}
		if v2, n2 := Parse(again); v2 != v || n2 != len(again) {
			t.Fatalf("Parse(%x) = %d, %d; want %d", again, v2, n2, v)
		}
	})
}

// Each byte of the script is a read; whatever it is, the cursor stays in bounds.
func FuzzCursor(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7}, unhex("2a7bbd7bbd010203040a0b0268694003616263"))
	f.Fuzz(func(t *testing.T, script, b []byte) {
		c := NewCursor(b)
		for _, op := range script {
			before, failed := c.Len(), c.Failed()
			var got []byte
			switch op % 8 {
			case 0:
				c.Byte()
			case 1:
				c.Varint()
			case 2:
				c.Int()
			case 3:
				c.Uint32()
			case 4:
				got = c.Bytes(int(op)/8 - 2)
			case 5:
				got = c.ByteBytes()
			case 6:
				got = c.VarintBytes()
			case 7:
				if op >= 0xf8 {
					got = c.Rest()
				}
			}
			if len(got) != cap(got) || len(got) > before || c.Len() > before || failed && !c.Failed() || c.Failed() && (c.Len() != 0 || len(got) != 0) {
				t.Fatalf("read %d: %d of %d bytes with capacity %d, %d left, failed %v", op%8, len(got), before, cap(got), c.Len(), c.Failed())
			}
		}
	})
}
