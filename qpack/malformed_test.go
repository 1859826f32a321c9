package qpack

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// wantCode checks that err is an *Error with a code, and that it says something.
func wantCode(t *testing.T, what string, err error, code uint64) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code || e.Reason == "" {
		t.Errorf("%s: %v, want an error with code 0x%x", what, err, code)
	}
}

// tableOf4 makes a decoder that has a table of 220 bytes with the entries 1 to 4; 0 is
// evicted.
func tableOf4(t testing.TB) *Decoder {
	t.Helper()
	d := NewDecoder(256, 1)
	for _, s := range []string{
		"3fbd01", "4161 00", // 0: a, 33 bytes; then four of 55
		"4162 16" + strings.Repeat("78", 22), "8016" + strings.Repeat("79", 22),
		"4163 16" + strings.Repeat("78", 22), "8016" + strings.Repeat("79", 22),
	} {
		if err := d.Receive(unhex(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	if d.InsertCount() != 5 || d.table.dropped != 1 {
		t.Fatalf("the table begins at %d and ends before %d", d.table.dropped, d.InsertCount())
	}
	return d
}

// RFC 9204 §2.2.1, §2.2.3, §3.1, §4.5, §4.5.1.2: sections that are refused, always with QPACK_DECOMPRESSION_FAILED.
// The decoder has advertised 256 bytes, so counts are encoded modulo 16; 5 reads 6.
func TestMalformedSections(t *testing.T) {
	for _, test := range []struct{ what, hex string }{
		{"nothing", ""},
		{"half a prefix", "00"},
		{"a prefix cut in its count", "ff"},
		{"a prefix cut in its base", "00ff"},
		{"a count without end", "ffffffffffffffffffffff 00"},
		{"a count of 63 bits", "ff81feffffffffffff7f 00"},
		{"a count above twice the entries", "11 00"},
		{"a count that would be zero", "01 00"}, // 5+8 insertions: 0 and 16 do not fit
		{"a base below zero, no count", "00 80"},
		{"a base below zero", "06 85"},
		{"a base far below zero", "06 ffffffffffffffff7f"},
		{"a base without end", "06 ffffffffffffffffffffff"},
		{"static entry 99", "0000 ff24"},
		{"static entry 2^62-1", "0000 ffc0ffffffffffffff3f"},
		{"a static index cut off", "0000 ff"},
		{"a static index without end", "0000 ffffffffffffffffffffffff"},
		{"the name of static entry 99", "0000 5f54 00"},
		{"a dynamic entry without a count", "0000 80"},
		{"a dynamic name without a count", "0000 40 00"},
		{"a dynamic entry after the base without a count", "0000 10"},
		{"a dynamic name after the base without a count", "0000 00 00"},
		{"a dynamic entry before the first", "0600 85"},
		{"a dynamic entry that is evicted", "0600 84"},
		{"a dynamic name that is evicted", "0600 44 00"},
		{"an evicted entry after the base", "0684 10"},
		{"a dynamic entry at the count", "0501 80"}, // count 4, base 5
		{"a dynamic name at the count", "0501 40 00"},
		{"an entry after the base at the count", "0600 10"},
		{"a name after the base at the count", "0600 00 00"},
		{"an entry 2^62-1 after the base", "0600 1ff0ffffffffffffff3f"},
		{"a dynamic entry 2^62-1 before the base", "0600 bfc0ffffffffffffff3f"},
		{"a value cut off", "0000 50 03 6161"},
		{"a value missing", "0000 50"},
		{"a value longer than memory", "0000 50 7fc0ffffffffffffff3f"},
		{"a value of more than 62 bits", "0000 50 7fc1ffffffffffffff3f"},
		{"a name cut off", "0000 23 6161"},
		{"a name without value", "0000 22 6161"},
		{"a name longer than memory", "0000 27f8ffffffffffffff3f"},
		{"a value with a byte of padding", "0000 50 81ff"},
		{"a value with padding of zeros", "0000 50 8118"},
		{"a value with the end of string", "0000 50 84ffffffff"},
		{"a name with padding of zeros", "0000 2918 00"},
	} {
		d := tableOf4(t)
		d.Sent(len(d.Instructions()))
		fields := []Field{{Name: "kept"}}
		fields, err := d.Decode(fields, 0, unhex(t, test.hex), Limit{})
		wantCode(t, test.what, err, DecompressionFailed)
		if len(fields) != 1 || len(d.Instructions()) > 0 {
			t.Errorf("%s: fields %v, instructions %x", test.what, fields, d.Instructions())
		}
	}
}

// The neighbours of what is refused are not.
func TestSectionsThatAreFine(t *testing.T) {
	for _, test := range []struct{ what, hex, want string }{
		{"no fields", "0000", "[]"},
		{"a base beyond all, unused", "007f8001", "[]"},
		{"static entry 98", "0000 ff23", "[{x-frame-options sameorigin false}]"},
		{"the oldest entry", "0600 83", "[{b xxxxxxxxxxxxxxxxxxxxxx false}]"},
		{"the newest entry", "0600 80", "[{c yyyyyyyyyyyyyyyyyyyyyy false}]"},
		{"the newest after the base", "0680 10", "[{c yyyyyyyyyyyyyyyyyyyyyy false}]"},
		{"all after a base of 0", "0684 11 12 13 14", "[{b xxxxxxxxxxxxxxxxxxxxxx false} {b yyyyyyyyyyyyyyyyyyyyyy false} {c xxxxxxxxxxxxxxxxxxxxxx false} {c yyyyyyyyyyyyyyyyyyyyyy false}]"},
		{"a base beyond the table", "0602 82", "[{c yyyyyyyyyyyyyyyyyyyyyy false}]"},
		{"a count larger than needed", "0600 c1", "[{:path / false}]"},
		{"never indexed, static name", "0000 75 0161", "[{cookie a true}]"},
		{"never indexed, dynamic name", "0600 60 0161", "[{c a true}]"},
		{"never indexed, name after the base", "0680 08 0161", "[{c a true}]"},
		{"never indexed, literal", "0000 31 61 0162", "[{a b true}]"},
		{"indexed by others, literal", "0000 21 61 00", "[{a  false}]"},
		{"no name, no value", "0000 20 00", "[{  false}]"},
		{"an empty Huffman string", "0000 50 80", "[{:authority  false}]"},
		{"a number longer than it need be", "0000 ff8000", "[{:status 100 false}]"},
	} {
		d := tableOf4(t)
		fields, err := d.Decode(nil, 0, unhex(t, test.hex), Limit{})
		if got := fmt.Sprint(fields); err != nil || got != test.want {
			t.Errorf("%s: %s, %v; want %s", test.what, got, err, test.want)
		}
	}
}

// RFC 9204 §2.2.3, §3.1, §3.2.2, §4.3, §4.3.1: instructions that are refused, always with QPACK_ENCODER_STREAM_ERROR,
// whether they come whole or byte by byte, and all that follows them.
func TestMalformedEncoderInstructions(t *testing.T) {
	coded := fmt.Sprintf("%x", appendString(nil, 0, 7, strings.Repeat("e", 190)))
	for _, test := range []struct{ what, hex string }{
		{"a capacity above the advertised", "3fe201"}, // 257
		{"a capacity of 10^10", "3fe1c7af a025"},
		{"a capacity of more than 62 bits", "3fe1ffffffffffffff7f"},
		{"a capacity without end", "3fffffffffffffffffffff"},
		{"static entry 99", "ff24"},
		{"static entry 2^62-1", "ffc0ffffffffffffff3f"},
		{"a dynamic name before the table", "84"},
		{"a dynamic name far before the table", "bfc0ffffffffffffff3f"},
		{"a duplicate of what is evicted", "04"},
		{"a duplicate of what never was", "1f00"},
		{"a value longer than the table", "c0 7f3e"}, // 189, with the name :authority 231
		{"a value longer than memory", "c0 7fc0ffffffffffffff3f"},
		{"a coded value longer than memory", "c0 ffc0ffffffffffffff3f"},
		{"a coded value that cannot fit", "c0 ffca04"}, // 713 bytes: 190 characters at least
		{"a name longer than the table", "5f9e01"},     // 189
		{"a name longer than memory", "5fe0ffffffffffffff3f"},
		{"a name of more than 62 bits", "5fe1ffffffffffffff3f"},
		{"name and value longer than the table", "4161 7f3d"}, // 1+188+32 is 221
		{"an entry too large when decoded", "4161" + coded},   // 119 bytes, which could mean 32
		{"bad padding", "c0 8118"},
		{"the end of string", "c0 84ffffffff"},
		{"a name with bad padding", "6118 00"},
	} {
		b := unhex(t, test.hex)
		whole := tableOf4(t)
		wantCode(t, test.what, whole.Receive(b), EncoderStreamError)
		pieces := tableOf4(t)
		var err error
		for i := range b {
			err = pieces.Receive(b[i : i+1])
		}
		wantCode(t, test.what+", in pieces", err, EncoderStreamError)
		wantCode(t, test.what+", then more", whole.Receive([]byte{0x00}), EncoderStreamError)
		if whole.InsertCount() != 5 || pieces.InsertCount() != 5 {
			t.Errorf("%s: inserted", test.what)
		}
	}
}

func TestEncoderInstructionsWithoutTable(t *testing.T) {
	for _, test := range []struct {
		what     string
		capacity uint64
		hex      string
	}{
		{"an insertion before a capacity is set", 256, "c000"},
		{"a literal insertion before a capacity is set", 256, "4000"},
		{"an insertion where none is allowed", 0, "c000"},
		{"a capacity where none is allowed", 0, "21"},
		{"a duplicate in an empty table", 256, "3f01 00"},
		{"an entry larger than a small table", 256, "3f00 4000"}, // 32 in 31
	} {
		d := NewDecoder(test.capacity, 0)
		wantCode(t, test.what, d.Receive(unhex(t, test.hex)), EncoderStreamError)
	}
	d := NewDecoder(0, 0)
	if err := d.Receive([]byte{0x20}); err != nil {
		t.Errorf("a capacity of 0: %v", err)
	}
	if _, err := d.Decode(nil, 0, []byte{2, 0, 0x80}, Limit{}); err == nil {
		t.Error("a dynamic reference without a table")
	}
	d = NewDecoder(256, 0)
	if err := d.Receive(unhex(t, "3f01 4000 00 00")); err != nil || d.table.size != 32 || d.table.dropped != 2 {
		t.Errorf("an entry that fills the table, and duplicates that evict it: %v, %d bytes", err, d.table.size)
	}
}

// RFC 9204 §4.4, §4.4.1, §4.4.3: instructions that are refused, always with
// QPACK_DECODER_STREAM_ERROR. The encoder has made two insertions and a section for
// stream 4 that refers to them.
func TestMalformedDecoderInstructions(t *testing.T) {
	for _, test := range []struct{ what, hex string }{
		{"an increment of 0", "00"},
		{"an increment past what was sent", "03"},
		{"an increment of 2^62-1", "3fc0ffffffffffffff3f"},
		{"increments past what was sent", "01 02"},
		{"an increment of what a section has acknowledged", "84 01"},
		{"an increment of more than 62 bits", "3fc1ffffffffffffff3f"},
		{"an increment without end", "3fffffffffffffffffffff"},
		{"an acknowledgement for another stream", "80"},
		{"a second acknowledgement", "84 84"},
		{"an acknowledgement after a cancellation", "44 84"},
		{"an acknowledgement for stream 2^62-1", "ff80ffffffffffffff3f"},
		{"a stream of more than 62 bits", "ff81ffffffffffffff3f"},
		{"a stream without end", "7fffffffffffffffffffff"},
	} {
		b := unhex(t, test.hex)
		whole := withTwoInsertions(t)
		wantCode(t, test.what, whole.Receive(b), DecoderStreamError)
		pieces := withTwoInsertions(t)
		var err error
		for i := range b {
			err = pieces.Receive(b[i : i+1])
		}
		wantCode(t, test.what+", in pieces", err, DecoderStreamError)
		wantCode(t, test.what+", then more", whole.Receive([]byte{0x44}), DecoderStreamError)
	}
	for _, fine := range []string{"01 01 84", "02 84", "84", "44 02", "44 44 44", "48 84", "7fc0ffffffffffffff3f 84"} {
		if err := withTwoInsertions(t).Receive(unhex(t, fine)); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
	wantCode(t, "an increment for an encoder without table", new(Encoder).Receive([]byte{1}), DecoderStreamError)
	wantCode(t, "an acknowledgement for an encoder without table", new(Encoder).Receive([]byte{0x80}), DecoderStreamError)
	if err := new(Encoder).Receive([]byte{0x40}); err != nil {
		t.Errorf("a cancellation for an encoder without table: %v", err)
	}
}

func withTwoInsertions(t *testing.T) *Encoder {
	t.Helper()
	e := new(Encoder)
	e.SetLimits(4096, 10)
	b := e.AppendSection(nil, 4, []Field{{Name: "user-agent", Value: "cinnabar"}, {Name: "accept", Value: "text/html"}})
	if e.table.inserted != 2 || !bytes.Equal(b, unhex(t, "0381 10 11")) {
		t.Fatalf("%d insertions, section %x", e.table.inserted, b)
	}
	return e
}

// RFC 9204 §2.1.2: one more blocked stream than advertised.
func TestBlockedStreams(t *testing.T) {
	section := []byte{7, 0, 0x80} // needs the sixth insertion
	decode := func(d *Decoder, stream int64) error {
		_, err := d.Decode(nil, stream, section, Limit{})
		return err
	}
	d := tableOf4(t) // one may be blocked
	needs := func(stream int64, want uint64) {
		t.Helper()
		if n := d.RequiredInsertCount(stream); n != want {
			t.Errorf("stream %d needs %d insertions, want %d", stream, n, want)
		}
	}
	needs(0, 0)
	for range 3 {
		if err := decode(d, 0); err != ErrBlocked {
			t.Fatalf("the first stream: %v", err)
		}
		needs(0, 6)
	}
	wantCode(t, "a second stream", decode(d, 4), DecompressionFailed)

	needs(4, 0)

	d.Cancel(0)
	needs(0, 0)
	if err := decode(d, 4); err != ErrBlocked {
		t.Errorf("a stream after the first was cancelled: %v", err)
	}
	needs(4, 6)
	if err := d.Receive([]byte{0}); err != nil {
		t.Fatal(err)
	}
	needs(4, 0)
	if _, err := d.Decode(nil, 8, []byte{8, 0, 0x80}, Limit{}); err != ErrBlocked {
		t.Errorf("a stream that waits for the next insertion, when the other's has arrived: %v", err)
	}
	d.Cancel(8)
	if err := decode(d, 4); err != nil {
		t.Errorf("when the insertion has arrived: %v", err)
	}
	if len(d.blocked) != 0 {
		t.Errorf("%d streams are still blocked", len(d.blocked))
	}
	wantCode(t, "the first stream, where none may be", decode(NewDecoder(4096, 0), 0), DecompressionFailed)
}

func TestErrorsNameThemselves(t *testing.T) {
	for code, want := range map[uint64]string{
		0x200: "qpack: QPACK_DECOMPRESSION_FAILED: why",
		0x201: "qpack: QPACK_ENCODER_STREAM_ERROR: why",
		0x202: "qpack: QPACK_DECODER_STREAM_ERROR: why",
		0x203: "qpack: error 0x203: why",
	} {
		if got := (&Error{Code: code, Reason: "why"}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What goes over what was advertised is told apart from what nobody may do.
func TestErrorsOfLimits(t *testing.T) {
	blocked := func(streams uint64, section string) error {
		d := NewDecoder(256, streams)
		for id := range int64(2) {
			if _, err := d.Decode(nil, 4*id, unhex(t, section), Limit{}); err != ErrBlocked {
				return err
			}
		}
		return ErrBlocked
	}
	for _, test := range []struct {
		what  string
		err   error
		limit bool
	}{
		{"a capacity above what was advertised", NewDecoder(256, 1).Receive(unhex(t, "3fe201")), true},
		{"an insertion larger than the table", NewDecoder(256, 1).Receive(unhex(t, "3f02 4178 027979")), false},
		{"a duplicate of nothing", NewDecoder(256, 1).Receive(unhex(t, "00")), false},
		{"a second blocked stream", blocked(1, "02 00 80"), true},
		{"a blocked stream where none may be", blocked(0, "02 00 80"), true},
		{"static entry 99", blocked(1, "0000 ff24"), false},
	} {
		if e, ok := errors.AsType[*Error](test.err); !ok || e.Limit != test.limit {
			t.Errorf("%s: %#v, of a limit %v", test.what, test.err, test.limit)
		}
	}
}
