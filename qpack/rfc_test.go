package qpack

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// The exchange of RFC 9204 Appendix B. Its strings are written without Huffman coding,
// which the encoder uses where it saves something; all else is the same to the byte.

func TestAppendixBEncoder(t *testing.T) {
	e := &Encoder{TableCapacity: 220}
	e.SetLimits(220, 100)
	section := func(stream int64, fields ...Field) []byte { return e.AppendSection(nil, stream, fields) }
	want := func(what string, got []byte, pieces ...any) {
		t.Helper()
		var b []byte
		for _, p := range pieces {
			switch p := p.(type) {
			case string:
				b = append(b, unhex(t, p)...)
			case []byte:
				b = append(b, p...)
			}
		}
		if !bytes.Equal(got, b) {
			t.Errorf("%s is %x, want %x", what, got, b)
		}
	}
	instructions := func(what string, pieces ...any) {
		t.Helper()
		want(what, e.Instructions(), pieces...)
		e.Sent(len(e.Instructions()))
	}
	receive := func(s string) {
		t.Helper()
		if err := e.Receive(unhex(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	text := func(first byte, bits uint, s string) []byte { return appendString(nil, first, bits, s) }
	size := func(entries, size uint64) {
		t.Helper()
		if n := e.table.inserted - e.table.dropped; n != entries || e.table.size != size {
			t.Errorf("the table has %d entries of %d bytes, want %d of %d", n, e.table.size, entries, size)
		}
	}

	want("B.1", section(0, Field{Name: ":path", Value: "/index.html"}), "0000 51", text(0, 7, "/index.html"))
	instructions("B.1")

	e.seen.add(hash(hash(hashStart, ":path"), "/sample/path")) // as if sent before
	want("B.2", section(4, Field{Name: ":authority", Value: "www.example.com"}, Field{Name: ":path", Value: "/sample/path"}), "0381 10 11")
	instructions("B.2", "3fbd01 c0", text(0, 7, "www.example.com"), "c1", text(0, 7, "/sample/path"))
	size(2, 106)
	receive("84")

	e.now.begin(e, 0)
	e.insert("custom-key", "custom-value", 0, false)
	instructions("B.3", text(0x40, 5, "custom-key"), text(0, 7, "custom-value"))
	size(3, 160)
	receive("01")

	e.now.begin(e, 0)
	e.duplicate(0)
	instructions("B.4", "02")
	want("B.4", section(8, Field{Name: ":authority", Value: "www.example.com"}, Field{Name: ":path", Value: "/"}, Field{Name: "custom-key", Value: "custom-value"}),
		"0500 80 c1 81")
	size(4, 217)
	if e.table.at(2).sections != 1 {
		t.Errorf("entry 2 has %d references", e.table.at(2).sections)
	}
	receive("48")
	if e.table.at(2).sections != 0 {
		t.Errorf("entry 2 has %d references after the cancellation", e.table.at(2).sections)
	}

	e.now.begin(e, 0)
	e.insert("custom-key", "custom-value2", 0, false)
	instructions("B.5", "81", text(0, 7, "custom-value2"))
	size(4, 215)
}

func TestAppendixBDecoder(t *testing.T) {
	d := NewDecoder(220, 100)
	receive := func(s string) {
		t.Helper()
		if err := d.Receive(unhex(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	decode := func(stream int64, s string, want ...Field) {
		t.Helper()
		got, err := d.Decode(nil, stream, unhex(t, s), Limit{})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s decodes to %v, %v; want %v", s, got, err, want)
		}
	}
	instructions := func(want string) {
		t.Helper()
		if got := d.Instructions(); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("the decoder says %x, want %s", got, want)
		}
		d.Sent(len(d.Instructions()))
	}
	authority, path := Field{Name: ":authority", Value: "www.example.com"}, Field{Name: ":path", Value: "/sample/path"}

	decode(0, "0000 510b 2f69 6e64 6578 2e68 746d 6c", Field{Name: ":path", Value: "/index.html"})
	instructions("")

	receive("3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d c10c 2f73 616d 706c 652f 7061 7468")
	decode(4, "0381 10 11", authority, path)
	instructions("84")

	receive("4a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565")
	instructions("01")

	if _, err := d.Decode(nil, 8, unhex(t, "0500 80 c1 81"), Limit{}); !errors.Is(err, ErrBlocked) {
		t.Errorf("a section before its insertions: %v", err)
	}
	d.Cancel(8)
	instructions("48")

	receive("02 810d 6375 7374 6f6d 2d76 616c 7565 32")
	if d.table.size != 215 || d.table.dropped != 1 || d.InsertCount() != 5 {
		t.Errorf("the table has %d bytes, begins at %d and ends before %d", d.table.size, d.table.dropped, d.InsertCount())
	}
	decode(12, "0600 83 82 81 80", path, Field{Name: "custom-key", Value: "custom-value"}, authority, Field{Name: "custom-key", Value: "custom-value2"})
	instructions("8c") // which says all that an Insert Count Increment would
}

// RFC 9204 §4.5.1.1, with its example of a table of 100 bytes.
func TestRequiredInsertCount(t *testing.T) {
	tests := []struct {
		encoded, inserted, maxEntries uint64
		required                      uint64
		ok                            bool
	}{
		{0, 10, 3, 0, true},
		{4, 10, 3, 9, true},
		{3, 10, 3, 8, true},
		{5, 10, 3, 10, true},
		{6, 10, 3, 11, true},
		{1, 10, 3, 12, true},
		{2, 10, 3, 13, true},
		{7, 10, 3, 0, false}, // cannot be modulo 6
		{1, 0, 3, 0, false},  // a count of 0 is written 0
		{2, 0, 3, 1, true},
		{4, 0, 3, 3, true},
		{5, 0, 3, 0, false}, // 4 entries cannot be
		{1, 2, 3, 0, false},
		{1, 3, 3, 6, true},
		{1, 0, 0, 0, false}, // no table
		{1, 1 << 40, 1 << 57, 0, false},
		{maxInt, 1 << 40, 1 << 57, 0, false},
	}
	for _, test := range tests {
		required, ok := requiredInsertCount(test.encoded, test.inserted, test.maxEntries)
		if required != test.required && test.ok || ok != test.ok {
			t.Errorf("%d after %d insertions, %d entries at most: %d, %v; want %d, %v",
				test.encoded, test.inserted, test.maxEntries, required, ok, test.required, test.ok)
		}
	}
	// Whatever an encoder may write, the decoder reads.
	for inserted := range uint64(100) {
		for maxEntries := uint64(1); maxEntries < 10; maxEntries++ {
			for required := max(inserted, maxEntries) - maxEntries + 1; required <= inserted+maxEntries; required++ {
				if got, ok := requiredInsertCount(required%(2*maxEntries)+1, inserted, maxEntries); !ok || got != required {
					t.Fatalf("%d after %d insertions, %d entries at most, reads %d, %v", required, inserted, maxEntries, got, ok)
				}
			}
		}
	}
}
