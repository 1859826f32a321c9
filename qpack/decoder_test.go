package qpack

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// A section beyond its limit is no connection error: it is acknowledged, and the next
// one decodes.
func TestLimit(t *testing.T) {
	for _, test := range []struct {
		what, hex string
		limit     Limit
		ok        bool
	}{
		{"as many fields as may be", "0000 c1 c1 c1", Limit{Fields: 3}, true},
		{"one field more", "0000 c1 c1 c1 c1", Limit{Fields: 3}, false},
		{"as large as may be", "0000 c1 c1", Limit{Size: 76}, true},
		{"a byte larger", "0000 c1 c1", Limit{Size: 75}, false},
		{"dynamic entries", "0600 80 80 80", Limit{Size: 164}, false}, // 55 each
		{"dynamic entries that fit", "0600 80 80 80", Limit{Size: 165}, true},
		{"a literal", "0000 2161 0462636465", Limit{Size: 36}, false},
		{"a literal that fits", "0000 2161 0462636465", Limit{Size: 37}, true},
		{"a value that expands", "0000 2161 8c294a5294a5294a5294a5294f", Limit{Size: 50}, false}, // 19 "e"
		{"a value that expands and fits", "0000 2161 8c294a5294a5294a5294a5294f", Limit{Size: 52}, true},
		{"what is malformed behind the limit", "0000 c1 c1 ff24", Limit{Fields: 1}, false},
	} {
		d := tableOf4(t)
		d.Sent(len(d.Instructions()))
		b := unhex(t, test.hex)
		fields, err := d.Decode(nil, 4, b, test.limit)
		if test.ok && err != nil || !test.ok && (err != ErrTooLarge || len(fields) > 0) {
			t.Errorf("%s: %d fields, %v", test.what, len(fields), err)
		}
		var want []byte
		if b[0] != 0 {
			want = []byte{0x84}
		}
		if got := d.Instructions(); !bytes.Equal(got, want) {
			t.Errorf("%s: instructions %x, want %x", test.what, got, want)
		}
		if fields, err := d.Decode(nil, 8, []byte{6, 0, 0x80}, Limit{}); err != nil || len(fields) != 1 {
			t.Errorf("%s: the next section: %v, %v", test.what, fields, err)
		}
	}
}

// An early end by the limit makes no string, however long it says that it is.
func TestLimitComesBeforeMemory(t *testing.T) {
	d := NewDecoder(0, 0)
	section := appendString([]byte{0, 0, 0x50}, 0, 7, strings.Repeat("x", 1<<20))
	allocs := testing.AllocsPerRun(10, func() {
		if _, err := d.Decode(nil, 0, section, Limit{Size: 1000}); err != ErrTooLarge {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// RFC 9204 §2.2.2.3: insertions are reported once, and together; an acknowledgement
// reports them too.
func TestInsertCountIncrementsMerge(t *testing.T) {
	d := NewDecoder(4096, 1)
	insert := func(n int) {
		t.Helper()
		if err := d.Receive(bytes.Repeat([]byte{0x40, 0x00}, n)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(s string) {
		t.Helper()
		for range 2 { // asking changes nothing
			if got := d.Instructions(); !bytes.Equal(got, unhex(t, s)) {
				t.Fatalf("instructions %x, want %s", got, s)
			}
		}
	}
	if err := d.Receive(unhex(t, "3fe11f")); err != nil {
		t.Fatal(err)
	}
	insert(1)
	want("01")
	insert(2)
	want("03") // merged
	insert(60)
	want("3f00") // 63
	d.Sent(1)    // half of it: it can be raised no more
	insert(1)
	want("00 01")
	d.Sent(1)
	insert(1)
	want("02")
	d.Cancel(4)
	insert(1)
	want("02 44 01")
	insert(1)
	want("02 44 02")
	d.Sent(3)
	want("")
	insert(2)
	if _, err := d.Decode(nil, 8, []byte{byte(d.InsertCount() + 1), 0, 0x80}, Limit{}); err != nil {
		t.Fatal(err)
	}
	want("88")
}

// A million insertions that nobody reads of owe a few bytes.
func TestPendingDecoderInstructionsForInsertions(t *testing.T) {
	d := NewDecoder(100, 1)
	if err := d.Receive(unhex(t, "3f45 4000")); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := d.Receive(bytes.Repeat([]byte{0}, 1000)); err != nil { // duplicates
			t.Fatal(err)
		}
		d.Instructions()
	}
	if n := len(d.Instructions()); n > 10 || cap(d.out.b) > 64 {
		t.Errorf("%d bytes pending in %d", n, cap(d.out.b))
	}
	if len(d.table.ring) > 16 {
		t.Errorf("%d places for entries, of which 3 fit", len(d.table.ring))
	}
}

// Acknowledgements wait in order, however little of them is sent at a time, and the
// memory for many does not stay (RFC 9204 §2.2.2.1).
func TestPendingAcknowledgements(t *testing.T) {
	d := tableOf4(t)
	d.Sent(len(d.Instructions()))
	var want, got []byte
	sent := func(n int) {
		got = append(got, d.Instructions()[:n]...)
		d.Sent(n)
	}
	for stream := range int64(10000) {
		if _, err := d.Decode(nil, stream, []byte{6, 0, 0x80}, Limit{}); err != nil {
			t.Fatal(err)
		}
		want = appendInt(want, 0x80, 7, uint64(stream))
		if stream%3 == 2 {
			sent(min(5, len(d.Instructions())))
		}
		if held, owed := len(d.out.b), len(want)-len(got); held > 2*owed+keep/4 {
			t.Fatalf("%d bytes are held, %d are owed", held, owed)
		}
	}
	sent(len(d.Instructions()))
	if !bytes.Equal(got, want) {
		t.Error("what was sent is not what was owed")
	}
	if cap(d.out.b) > keep {
		t.Errorf("%d bytes are kept for nothing", cap(d.out.b))
	}
}

// RFC 9204 §3.2.2: a smaller table drops its oldest entries, an empty one all, and can
// grow again.
func TestCapacityIsReduced(t *testing.T) {
	for _, test := range []struct {
		hex           string
		dropped, size uint64
	}{
		{"3fbd01", 1, 220},
		{"3fbc01", 2, 165}, // a byte less than four entries
		{"3f5d", 3, 110},   // 124: two entries
		{"3f17", 5, 0},     // 54: not one
		{"20 3fe101", 5, 0},
		{"20 3fe101 4000", 5, 32},
	} {
		d := tableOf4(t)
		if err := d.Receive(unhex(t, test.hex)); err != nil || d.table.dropped != test.dropped || d.table.size != test.size {
			t.Errorf("%s: %v, %d dropped, %d bytes; want %d, %d", test.hex, err, d.table.dropped, d.table.size, test.dropped, test.size)
		}
	}
}

func TestCancelWithoutTableSaysNothing(t *testing.T) {
	d := NewDecoder(0, 0)
	d.Cancel(4)
	if b := d.Instructions(); len(b) > 0 {
		t.Errorf("instructions %x", b)
	}
}

// A partial instruction is held within what the table can use, whatever its length
// field says.
func TestPartialInstructionIsBounded(t *testing.T) {
	for _, head := range []string{
		"c0 ffaa03",             // 553 bytes of Huffman code may mean 147, which fits with :authority
		"c0 7f3b",               // 186: as they are, they do not
		"5f9d01",                // 188, a name
		"7fa304 7fffffffffffff", // 578 bytes for a name and then as many for a value
	} {
		d := tableOf4(t)
		err := d.Receive(unhex(t, head))
		for i := 0; i < 1<<16 && err == nil; i++ {
			err = d.Receive([]byte{0xfe})
			if len(d.partial) > 4*220 {
				t.Fatalf("%s: %d bytes are held", head, len(d.partial))
			}
		}
		if err == nil {
			t.Errorf("%s and 64 KiB are taken", head)
		}
	}
}

// What is received in one piece or in many is the same.
func TestEncoderStreamInPieces(t *testing.T) {
	e := new(Encoder)
	e.SetLimits(4096, 100)
	var stream []byte
	for i := range 40 {
		e.AppendSection(nil, int64(4*i), []Field{{Name: "user-agent", Value: strings.Repeat("ab", i)}, {Name: ":authority", Value: "x"}})
		stream = append(stream, e.Instructions()...)
		e.Sent(len(e.Instructions()))
	}
	whole := NewDecoder(4096, 100)
	if err := whole.Receive(stream); err != nil {
		t.Fatal(err)
	}
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		d := NewDecoder(4096, 100)
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(10))
			if err := d.Receive(rest[:n]); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			rest = rest[n:]
		}
		if d.InsertCount() != whole.InsertCount() || d.table.size != whole.table.size {
			t.Fatalf("seed %d: %d insertions, %d bytes; want %d, %d", seed, d.InsertCount(), d.table.size, whole.InsertCount(), whole.table.size)
		}
	}
}

// A dozen fields out of the tables cost no memory but the slice that the caller keeps.
func TestDecodeDoesNotAllocate(t *testing.T) {
	e, d := new(Encoder), NewDecoder(4096, 100)
	e.SetLimits(4096, 100)
	exchange(t, e, d, 0, request())
	section := e.AppendSection(nil, 4, request())
	if n := len(e.Instructions()); n > 0 || len(section) != indexedRequest {
		t.Fatalf("the second section has %d bytes and %d of instructions", len(section), n)
	}
	fields := make([]Field, 0, 20)
	allocs := testing.AllocsPerRun(100, func() {
		var err error
		if fields, err = d.Decode(fields[:0], 4, section, Limit{Size: 1 << 16, Fields: 100}); err != nil {
			t.Fatal(err)
		}
		d.Sent(len(d.Instructions()))
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestLiteralsAreMadeOnce(t *testing.T) {
	var e Encoder
	d := NewDecoder(0, 0)
	section := e.AppendSection(nil, 0, []Field{{Name: ":path", Value: "/<>"}, {Name: "~~~", Value: "\x00\x01\x02"}}) // shorter as they are
	fields := make([]Field, 0, 2)
	allocs := testing.AllocsPerRun(100, func() {
		var err error
		if fields, err = d.Decode(fields[:0], 0, section, Limit{}); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 3 {
		t.Errorf("%v allocations for three strings", allocs)
	}
}

// What is pressing is that insertions have arrived, whatever it is that says so, until it is handed
// over.
func TestPressing(t *testing.T) {
	d := tableOf4(t)
	if !d.Pressing() {
		t.Error("insertions are not pressing")
	}
	if d.Instructions(); !d.Pressing() || d.Pending() != 1 {
		t.Errorf("an increment that was not handed over: %v, %d bytes", d.Pressing(), d.Pending())
	}
	if d.Sent(d.Pending()); d.Pressing() || d.Pending() != 0 {
		t.Errorf("after it: %v, %d bytes", d.Pressing(), d.Pending())
	}
	decode := func() {
		t.Helper()
		if _, err := d.Decode(nil, 8, []byte{6, 0, 0x80}, Limit{}); err != nil {
			t.Fatal(err)
		}
	}
	if decode(); d.Pressing() || d.Pending() != 1 {
		t.Errorf("a section of what is known: %v, %d bytes", d.Pressing(), d.Pending())
	}
	d = tableOf4(t)
	if decode(); !d.Pressing() {
		t.Error("a section of what is news is not pressing")
	}
	if d.Sent(d.Pending()); d.Pressing() {
		t.Error("it is when it is handed over")
	}
}
