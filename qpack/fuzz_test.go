package qpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// FuzzSection: whatever a section is, decoding it ends, keeps its limit, and says what
// is wrong with the one code there is.
func FuzzSection(f *testing.F) {
	for _, s := range []string{"0000 c1 510b2f696e6465782e68746d6c", "0600 83 82 81 80", "0684 11 12 08 0161", "0501 80", "0000 50 84ffffffff", "0700 80"} {
		f.Add(unhex(f, s), uint64(100), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint64, fields int) {
		d := tableOf4(t)
		limit := Limit{Size: size, Fields: max(0, fields)}
		got, err := d.Decode(nil, 0, b, limit)
		if e, ok := errors.AsType[*Error](err); ok && e.Code != DecompressionFailed || !ok && err != nil && err != ErrTooLarge && err != ErrBlocked {
			t.Fatalf("%v", err)
		}
		var sum uint64
		for _, f := range got {
			sum += f.Size()
		}
		if limit.Size > 0 && sum > limit.Size || limit.Fields > 0 && len(got) > limit.Fields {
			t.Fatalf("%d fields of %d bytes, the limit is %v", len(got), sum, limit)
		}
		if n := len(d.Instructions()); n > 3 {
			t.Fatalf("%d bytes of instructions for a section", n)
		}
	})
}

// FuzzEncoderStream: whatever comes on the encoder stream, the table keeps its
// capacity, and pieces mean the same as the whole.
func FuzzEncoderStream(f *testing.F) {
	for _, s := range []string{"3fbd01 c00f7777772e6578616d706c652e636f6d c10c2f73616d706c652f70617468", "3f45 4000 00 00 00", "3fe11f 4161 8118", "20 21 22", "7f80", "c0 ffaa03"} {
		f.Add(unhex(f, s), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		const capacity = 300
		whole, pieces := NewDecoder(capacity, 0), NewDecoder(capacity, 0)
		err := whole.Receive(b)
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Code != EncoderStreamError) {
			t.Fatalf("%v", err)
		}
		piece = max(1, piece&0xff)
		var again error
		for rest := b; len(rest) > 0; {
			n := min(piece, len(rest))
			again = pieces.Receive(rest[:n])
			rest = rest[n:]
			if len(pieces.partial) > 4*capacity+2*maxIntBytes {
				t.Fatalf("%d bytes are held", len(pieces.partial))
			}
		}
		if (err == nil) != (again == nil) || whole.table.inserted != pieces.table.inserted || whole.table.size != pieces.table.size {
			t.Fatalf("in one: %v, %d insertions; in pieces: %v, %d", err, whole.table.inserted, again, pieces.table.inserted)
		}
		var sum uint64
		for i := whole.table.dropped; i < whole.table.inserted; i++ {
			sum += whole.table.at(i).size()
		}
		if sum != whole.table.size || sum > whole.table.capacity || whole.table.capacity > capacity {
			t.Fatalf("entries of %d bytes, size %d, capacity %d", sum, whole.table.size, whole.table.capacity)
		}
	})
}

// FuzzDecoderStream: whatever comes on the decoder stream, the encoder's accounts stay
// right.
func FuzzDecoderStream(f *testing.F) {
	for _, s := range []string{"84", "01 01 84", "44 02", "88 84 8c", "3f00", "00"} {
		f.Add(unhex(f, s), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		e := withTwoInsertions(t)
		e.Sent(len(e.Instructions()))
		e.AppendSection(nil, 8, []Field{{Name: "user-agent", Value: "cinnabar"}})
		e.AppendSection(nil, 8, []Field{{Name: "accept", Value: "text/html"}})
		piece = max(1, piece&0xff)
		var err error
		for rest := b; len(rest) > 0; {
			n := min(piece, len(rest))
			err = e.Receive(rest[:n])
			rest = rest[n:]
		}
		if failed, ok := errors.AsType[*Error](err); err != nil && (!ok || failed.Code != DecoderStreamError) {
			t.Fatalf("%v", err)
		}
		sections := 0
		for i := e.table.dropped; i < e.table.inserted; i++ {
			if e.table.at(i).sections < 0 {
				t.Fatalf("entry %d is referred to by %d sections", i, e.table.at(i).sections)
			}
			sections += e.table.at(i).sections
		}
		if sections != e.outstanding.n || e.known > e.table.inserted || len(e.risk) > e.outstanding.n {
			t.Fatalf("%d references, %d sections, %d known, %d at risk", sections, e.outstanding.n, e.known, len(e.risk))
		}
		e.AppendSection(nil, 12, request())
	})
}

// FuzzRoundTrip: what is encoded is decoded, with any capacity, twice (RFC 9204 §2.1, §2.2, §4.5.1.2, §4.5.4).
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("\x05user-agent\x00abc\x00:path\x00/\x00x\x00\x00"), uint16(4096), uint8(1))
	f.Add([]byte("a\x00b\x00a\x00c\x00a\x00b\x00cookie\x00d\x00"), uint16(100), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, capacity uint16, blocked uint8) {
		parts := bytes.Split(b, []byte{0})
		var fields []Field
		for i := 0; i+1 < len(parts); i += 2 {
			fields = append(fields, Field{Name: string(parts[i]), Value: string(parts[i+1]), Sensitive: len(parts[i])%7 == 6})
		}
		e, d := new(Encoder), NewDecoder(uint64(capacity), uint64(blocked))
		e.SetLimits(uint64(capacity), uint64(blocked))
		for stream := range int64(3) {
			exchange(t, e, d, stream, fields)
		}
	})
}

// tape is a chooser that plays what it was given, and then nothing but zeros.
type tape struct{ b []byte }

func (t *tape) IntN(n int) int {
	if n <= 256 {
		return int(t.take(1)) % n
	}
	return int(t.take(4) % uint64(n))
}

func (t *tape) Uint64() uint64 { return t.take(8) }

func (t *tape) take(n int) uint64 {
	var b [8]byte
	n = copy(b[:n], t.b)
	t.b = t.b[n:]
	return binary.LittleEndian.Uint64(b[:])
}

// FuzzSession: an encoder and a decoder, with instructions between them that come late and in
// pieces, sections in any order and streams that are cancelled: both keep to what RFC 9204 lets
// them do, every section means what it meant, and the tables are the same in the end.
func FuzzSession(f *testing.F) {
	for seed := range uint64(8) {
		b, r := make([]byte, 300), rand.New(rand.NewPCG(seed, 1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 500 {
			return
		}
		choices := &tape{b}
		w := newWorld(t, choices)
		for len(choices.b) > 0 {
			w.step()
		}
		w.r = rand.New(rand.NewPCG(1, 2)) // or nothing more would move
		w.settle(200)
	})
}

// FuzzPrimitives: integers and strings are read the same in any pieces, never past what there
// is, and say the same when they are written again (RFC 7541 §5.1, §5.2).
func FuzzPrimitives(f *testing.F) {
	f.Add([]byte{0x1f, 0x9a, 0x0a}, uint8(5), "custom-key")
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, uint8(7), "\xff\x00")
	f.Add(appendString(nil, 0, 7, "www.example.com"), uint8(7), "")
	f.Fuzz(func(t *testing.T, b []byte, bits uint8, text string) {
		n := uint(bits%7) + 1
		c := cursor{b: b}
		v := c.integer(n)
		if size := len(b) - len(c.b); !c.failed() {
			again := cursor{b: appendInt(nil, 0, n, v)}
			if v > maxInt || size > maxIntBytes || again.integer(n) != v || len(again.b) > 0 || again.failed() {
				t.Fatalf("%x with a prefix of %d bits is %d", b[:size], n, v)
			}
			for i := range size {
				if part := (cursor{b: b[:i]}); part.integer(n) != 0 || part.short == 0 {
					t.Fatalf("%d of %d bytes of %d are enough", i, size, v)
				}
			}
		}
		c = cursor{b: b}
		if l := c.literal(n, 1000); !c.failed() {
			if s, ok := l.text(); ok && uint64(len(s)) < l.least() {
				t.Fatalf("%q has less than the %d bytes of %x", s, l.least(), l.raw)
			}
		}
		c = cursor{b: appendString([]byte(nil), 0, n, text)}
		l := c.literal(n, uint64(len(text)))
		if s, ok := l.text(); c.failed() || len(c.b) > 0 || !ok || s != text {
			t.Fatalf("%q is read as %q, %v %v", text, s, ok, c.bad)
		}
	})
}
