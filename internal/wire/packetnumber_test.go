package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestPacketNumberLen(t *testing.T) {
	for _, test := range []struct {
		pn, acked int64
		want      int
	}{
		{0xac5c02, 0xabe8b3, 2}, // the two examples of RFC 9000 §A.2
		{0xace8fe, 0xabe8b3, 3},
		{0, -1, 1},
		{126, -1, 1},
		{127, -1, 2},
		{127, 0, 1},
		{128, 0, 2},
		{1<<15 - 1, 0, 2},
		{1 << 15, 0, 3},
		{1<<23 - 1, 0, 3},
		{1 << 23, 0, 4},
		{1<<62 - 1, 1<<62 - 2, 1},
		{1<<62 - 1, -1, 4},
	} {
		if got := PacketNumberLen(test.pn, test.acked); got != test.want {
			t.Errorf("PacketNumberLen(%#x, %#x) = %d, want %d", test.pn, test.acked, got, test.want)
		}
	}
}

func TestDecodePacketNumber(t *testing.T) {
	for _, test := range []struct {
		largest   int64
		truncated uint32
		pnLen     int
		want      int64
	}{
		{0xa82f30ea, 0x9b32, 2, 0xa82f9b32}, // the example of RFC 9000 §A.3
		{-1, 0, 1, 0},
		{-1, 0xff, 1, 0xff}, // nothing lies below zero
		{-1, 0xffffffff, 4, 0xffffffff},
		{0xff, 0x00, 1, 0x100},
		{0x17f, 0x00, 1, 0x200},
		{0x17e, 0xff, 1, 0x1ff}, // half a window ahead
		{0x17d, 0xff, 1, 0xff},  // one more, and it is the one behind
		{0xffff, 0x0000, 2, 0x10000},
		{1<<62 - 1, 0xff, 1, 1<<62 - 1},
		{1<<62 - 1, 0x00, 1, 1<<62 - 256}, // nothing lies above 1<<62-1
		{1<<62 - 2, 0xffffffff, 4, 1<<62 - 1},
	} {
		if got := DecodePacketNumber(test.largest, test.truncated, test.pnLen); got != test.want {
			t.Errorf("DecodePacketNumber(%#x, %#x, %d) = %#x, want %#x", test.largest, test.truncated, test.pnLen, got, test.want)
		}
	}
}

// A receiver that has seen anything from the acknowledged packet to the one just
// before, or a few beyond, decodes what PacketNumberLen chose.
func TestPacketNumberRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		acked := r.Int64N(1<<62) >> r.IntN(62)
		pn := min(acked+1+r.Int64N(1<<31)>>r.IntN(31), 1<<62-1)
		if pn <= acked {
			continue
		}
		n := PacketNumberLen(pn, acked)
		b := AppendPacketNumber([]byte{0xee}, pn, n)[1:]
		if len(b) != n {
			t.Fatalf("AppendPacketNumber(%d, %d) = %x", pn, n, b)
		}
		var v uint32
		for _, c := range b {
			v = v<<8 | uint32(c)
		}
		largest := acked + r.Int64N(pn-acked)
		if got := DecodePacketNumber(largest, v, n); got != pn {
			t.Fatalf("acked %d, largest %d: %d in %d bytes decoded as %d", acked, largest, pn, n, got)
		}
	}
	if got := AppendPacketNumber(nil, 0x0102030405, 4); !bytes.Equal(got, []byte{2, 3, 4, 5}) {
		t.Errorf("AppendPacketNumber = %x", got)
	}
}

func FuzzDecodePacketNumber(f *testing.F) {
	f.Add(int64(0xa82f30ea), uint32(0x9b32), uint8(2))
	f.Add(int64(-1), uint32(0), uint8(1))
	f.Add(int64(1<<62-1), uint32(0), uint8(4))
	f.Fuzz(func(t *testing.T, largest int64, truncated uint32, pnLen uint8) {
		n := 1 + int(pnLen%4)
		window := int64(1) << (8 * n)
		truncated &= uint32(window - 1)
		if largest < -1 || largest > 1<<62-1 {
			return
		}
		got := DecodePacketNumber(largest, truncated, n)
		if got < 0 || got > 1<<62-1 || got&(window-1) != int64(truncated) {
			t.Fatalf("DecodePacketNumber(%#x, %#x, %d) = %#x", largest, truncated, n, got)
		}
		distance := func(pn int64) int64 { return max(pn-largest-1, largest+1-pn) }
		for _, other := range []int64{got - window, got + window} {
			if other >= 0 && other <= 1<<62-1 && distance(other) < distance(got) {
				t.Fatalf("DecodePacketNumber(%#x, %#x, %d) = %#x, but %#x is nearer", largest, truncated, n, got, other)
			}
		}
	})
}
