package qpack

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex reads hexadecimal digits with spaces between.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 9204 §4.1.1, with the examples of RFC 7541 §5.1, at every edge of a prefix.
func TestIntegers(t *testing.T) {
	tests := []struct {
		bits  uint
		first byte
		v     uint64
		hex   string
	}{
		{5, 0, 10, "0a"},
		{5, 0, 1337, "1f9a0a"},
		{8, 0, 42, "2a"},
		{5, 0xe0, 10, "ea"},
		{3, 0, 6, "06"},
		{3, 0, 7, "0700"},
		{3, 0x20, 134, "277f"},
		{3, 0x20, 135, "278001"},
		{7, 0x80, 126, "fe"},
		{7, 0x80, 127, "ff00"},
		{8, 0, 254, "fe"},
		{8, 0, 255, "ff00"},
		{6, 0x40, maxInt, "7fc0ffffffffffffff3f"},
		{3, 0, maxInt, "07f8ffffffffffffff3f"},
		{8, 0, maxInt, "ff80feffffffffffff3f"},
	}
	for _, test := range tests {
		want := unhex(t, test.hex)
		if b := appendInt(nil, test.first, test.bits, test.v); !bytes.Equal(b, want) {
			t.Errorf("%d with a prefix of %d bits is %x, want %x", test.v, test.bits, b, want)
		}
		c := cursor{b: append(want, 0xaa)}
		if v := c.integer(test.bits); v != test.v || c.failed() || len(c.b) != 1 {
			t.Errorf("%x reads %d, %q, %d bytes left; want %d and 1", want, v, c.bad, len(c.b), test.v)
		}
		for n := range want {
			c := cursor{b: want[:n]}
			if c.integer(test.bits); c.short != 1 || c.bad != "" {
				t.Errorf("%x cut to %d bytes lacks %d, %q; want 1 byte", want, n, c.short, c.bad)
			}
		}
	}
}

// No number has more than 62 bits, or more bytes than that takes (RFC 9204 §7.4).
func TestIntegersTooLarge(t *testing.T) {
	for _, s := range []string{
		"7fc1ffffffffffffff3f",       // one more than 62 bits
		"7fc0ffffffffffffff7f",       // 63 bits
		"7fffffffffffffffffff01",     // 70 bits
		"7fffffffffffffffffffffffff", // without end
		"7f80808080808080808000",     // small, but in more bytes than any number needs
	} {
		c := cursor{b: unhex(t, s)}
		if v := c.integer(6); c.bad == "" || v != 0 {
			t.Errorf("%s reads %d, %q", s, v, c.bad)
		}
	}
}

func TestStrings(t *testing.T) {
	for _, s := range []string{"", "a", "www.example.com", "\x00\xff", strings.Repeat("~", 9), strings.Repeat("e", 1000), "custom-value"} {
		for bits := uint(3); bits <= 7; bits++ {
			b := appendString(nil, 0, bits, s)
			if len(b) > len(s)+3 {
				t.Errorf("%q takes %d bytes", s, len(b))
			}
			c := cursor{b: b}
			got, ok := c.literal(bits, uint64(len(s))).text()
			if !ok || got != s || c.failed() || len(c.b) != 0 {
				t.Errorf("%q with %d bits: %q, %v, %q, %d bytes left", s, bits, got, ok, c.bad, len(c.b))
			}
			for n := range b {
				c := cursor{b: b[:n]}
				if c.literal(bits, 1000); c.short == 0 || c.short > len(b)-n {
					t.Errorf("%q cut to %d of %d bytes lacks %d", s, n, len(b), c.short)
				}
			}
		}
	}
}

// RFC 7541 §5.2: padding is less than a byte, and the beginning of the code for the
// end of the string, which does not occur itself.
func TestHuffmanThatIsNotValid(t *testing.T) {
	for _, s := range []string{
		"ff",       // a byte of padding alone
		"1fff",     // "a", then more than a byte of padding
		"18",       // "a" and zeros
		"1e",       // "a" and other bits than ones
		"fffffffc", // the end of the string
		"ffffffff", // likewise, with padding
		"fe",       // the beginning of a code
	} {
		l := literal{raw: unhex(t, s), huffman: true}
		if got, ok := l.text(); ok {
			t.Errorf("%s reads %q", s, got)
		}
	}
	if got, ok := (literal{raw: unhex(t, "1f"), huffman: true}).text(); !ok || got != "a" {
		t.Errorf("1f reads %q, %v", got, ok)
	}
}

// A string that cannot fit is refused by its length, and one that can is not: the
// longest code is 30 bits.
func TestShortestMeaningOfAString(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 0, 1: 1, 3: 1, 4: 1, 5: 2, 8: 2, 11: 3, 15: 4, 150: 40} {
		if got := least(n, true); got != want {
			t.Errorf("%d bytes of Huffman code mean %d at least, want %d", n, got, want)
		}
	}
	for n := 1; n < 100; n++ {
		s := strings.Repeat("\n", n) // 30 bits each
		coded := uint64(n*30+7) / 8
		if got := least(coded, true); got > uint64(n) {
			t.Errorf("%d bytes of Huffman code mean %d at least, but can mean %q", coded, got, s)
		}
	}
	if got := least(maxInt, true); got < maxInt/4 || got > maxInt/2 {
		t.Errorf("the longest string means %d", got)
	}
}

func TestStaticTable(t *testing.T) {
	if len(staticTable) != 99 {
		t.Fatalf("%d entries", len(staticTable))
	}
	for i, f := range staticTable {
		index, exact, named := findStatic(f.Name, f.Value)
		if index != uint64(i) || !exact || !named {
			t.Errorf("%v is found at %d, %v, %v; want %d", f, index, exact, named, i)
		}
		index, exact, named = findStatic(f.Name, "something else")
		if staticTable[index].Name != f.Name || exact || !named {
			t.Errorf("the name %q is found at %d, %v, %v", f.Name, index, exact, named)
		}
	}
	if _, exact, named := findStatic("x-none", ""); exact || named {
		t.Error("x-none is in the static table")
	}
}
