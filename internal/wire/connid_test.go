package wire

import (
	"bytes"
	"testing"
)

func TestConnectionID(t *testing.T) {
	long := bytes.Repeat([]byte{0xab}, MaxConnectionIDLen)
	for _, b := range [][]byte{nil, {0}, {0, 0}, {1, 2, 3, 4, 5, 6, 7, 8}, long} {
		c := MakeConnectionID(b)
		if c.Len() != len(b) || !bytes.Equal(c.Bytes(), b) {
			t.Errorf("MakeConnectionID(%x) = %x, length %d", b, c.Bytes(), c.Len())
		}
		if got := append(c.Bytes(), 0xff); len(got) != len(b)+1 || c != MakeConnectionID(b) {
			t.Errorf("appending to the bytes of %v changed it", c)
		}
	}
	if MakeConnectionID([]byte{0}) == MakeConnectionID([]byte{0, 0}) {
		t.Error("IDs of different lengths are equal")
	}
	if MakeConnectionID(nil) != (ConnectionID{}) {
		t.Error("the zero ConnectionID is not the empty one")
	}
	if got := MakeConnectionID([]byte{0x0a, 0xbc}).String(); got != "0abc" {
		t.Errorf("String() = %q", got)
	}
	mustPanic(t, "21 bytes", func() { MakeConnectionID(make([]byte, 21)) })
}
