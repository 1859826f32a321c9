package qpack

import (
	"bytes"
	"errors"
	"fmt"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"slices"
	"strings"
	"testing"
)

// request is what a browser sends again and again.
func request() []Field {
	return []Field{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: "www.example.com"},
		{Name: ":path", Value: "/"},
		{Name: "user-agent", Value: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"},
		{Name: "accept", Value: "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"},
		{Name: "accept-language", Value: "en-US,en;q=0.5"},
		{Name: "accept-encoding", Value: "gzip, deflate, br"},
		{Name: "upgrade-insecure-requests", Value: "1"},
		{Name: "origin", Value: "https://www.example.com"},
		{Name: "via", Value: "3 a.proxy"},
		{Name: "content-type", Value: "application/json"},
	}
}

// indexedRequest is the size of a section with request when all of it is in a table: a
// prefix, and a byte for each field but one.
const indexedRequest = 2 + 12 + 1

// exchange encodes a section and has it decoded, with everything said that is to be
// said. It returns the section and the instructions before it.
func exchange(t testing.TB, e *Encoder, d *Decoder, stream int64, fields []Field) (section, instructions []byte) {
	t.Helper()
	section = e.AppendSection(nil, stream, fields)
	instructions = slices.Clone(e.Instructions())
	e.Sent(len(instructions))
	if err := d.Receive(instructions); err != nil {
		t.Fatal(err)
	}
	got, err := d.Decode(nil, stream, section, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, got, fields)
	if err := e.Receive(d.Instructions()); err != nil {
		t.Fatal(err)
	}
	d.Sent(len(d.Instructions()))
	return section, instructions
}

// wantSame compares fields; secrets may have been marked on the way.
func wantSame(t testing.TB, got, want []Field) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d fields are decoded, want %d: %v, want %v", len(got), len(want), got, want)
	}
	for i := range want {
		w := want[i]
		w.Sensitive = w.Sensitive || isSecret(&w)
		if got[i] != w {
			t.Fatalf("field %d is %v, want %v", i, got[i], w)
		}
	}
}

// What is encoded is decoded, in its order, and both tables are the same and within the limit (RFC 9204 §2.1, §2.2, §3.2.3, §4.3.1).
func TestRoundTrips(t *testing.T) {
	sections := [][]Field{
		nil,
		{{Name: "", Value: ""}},
		{{Name: ":path", Value: "/"}},
		{{Name: ":path", Value: "/\xff\x00\n"}, {Name: "x", Value: strings.Repeat("y", 100000)}},
		{{Name: "authorization", Value: "secret", Sensitive: true}, {Name: "x-sensitive", Value: "secret", Sensitive: true}},
		{{Name: ":status", Value: "200", Sensitive: true}},
		request(), request(),
		{{Name: "x-id", Value: "1"}, {Name: "x-id", Value: "2"}, {Name: "x-id", Value: "3"}, {Name: "x-id", Value: "2"}, {Name: "x-id", Value: "2"}},
		request(),
	}
	for _, capacity := range []uint64{0, 31, 32, 64, 100, 256, 4096, 1 << 20} {
		for _, blocked := range []uint64{0, 1, 100} {
			e, d := &Encoder{TableCapacity: 1 << 16}, NewDecoder(capacity, blocked)
			e.SetLimits(capacity, blocked)
			for i, fields := range sections {
				exchange(t, e, d, int64(4*i), fields)
				if e.table.size > capacity || d.table.size != e.table.size || e.table.inserted != d.table.inserted {
					t.Fatalf("capacity %d: the tables have %d and %d bytes", capacity, e.table.size, d.table.size)
				}
			}
		}
	}
}

// The zero value uses the static table, and owes nobody anything (RFC 9204 §3.2.3).
func TestEncoderBeforeSettings(t *testing.T) {
	var e Encoder
	for range 3 {
		if b := e.AppendSection(nil, 0, request()); b[0] != 0 || b[1] != 0 || len(e.Instructions()) > 0 {
			t.Errorf("section %x, instructions %x", b, e.Instructions())
		}
	}
	e.SetLimits(0, 100)
	if b := e.AppendSection(nil, 0, request()); b[0] != 0 || len(e.Instructions()) > 0 {
		t.Errorf("without table: section %x, instructions %x", b, e.Instructions())
	}
}

// A request that comes again is a byte a field, at once if streams may be blocked.
func TestRepeatedRequest(t *testing.T) {
	for _, blocked := range []uint64{0, 1} {
		e, d := new(Encoder), NewDecoder(4096, blocked)
		e.SetLimits(4096, blocked)
		var sizes, instructions []int
		for i := range int64(4) {
			s, ins := exchange(t, e, d, 4*i, request())
			sizes, instructions = append(sizes, len(s)), append(instructions, len(ins))
		}
		at := 1 // with risk the first section has made the entries, else the second
		if blocked == 0 {
			at = 2
		}
		if sizes[at] != indexedRequest || instructions[at-1] == 0 || instructions[at] != 0 || sizes[3] != sizes[at] {
			t.Errorf("%d streams may be blocked: sections of %v bytes, instructions of %v", blocked, sizes, instructions)
		}
	}
}

// What is not known to repeat is inserted when it comes again; of a name whose value
// never does, the name.
func TestSecondSighting(t *testing.T) {
	e, d := new(Encoder), NewDecoder(4096, 10)
	e.SetLimits(4096, 10)
	once := []Field{{Name: "x-trace", Value: "the same each time"}}
	for i, want := range []uint64{0, 1, 1, 1} {
		exchange(t, e, d, int64(i), once)
		if e.table.inserted != want {
			t.Errorf("after %d times there are %d insertions, want %d", i+1, e.table.inserted, want)
		}
	}
	for i := range 4 {
		exchange(t, e, d, int64(i), []Field{{Name: "x-request-id", Value: fmt.Sprint("number ", i)}})
	}
	if e.table.inserted != 2 || e.table.at(1).name != "x-request-id" || e.table.at(1).value != "" {
		t.Errorf("%d insertions, the last %v", e.table.inserted, e.table.at(e.table.inserted-1))
	}
	s, _ := exchange(t, e, d, 40, []Field{{Name: "x-request-id", Value: "~"}})
	if want := unhex(t, "0300 40 017e"); !bytes.Equal(s, want) {
		t.Errorf("a new value with the name by reference is %x, want %x", s, want)
	}
}

// RFC 9204 §2.1.2: a stream at risk counts once, until its insertions are acknowledged
// or it is cancelled.
func TestStreamsAtRisk(t *testing.T) {
	for _, free := range []string{"01", "80", "40"} {
		e := new(Encoder)
		e.SetLimits(4096, 1)
		risky := func(stream int64) bool {
			b := e.AppendSection(nil, stream, []Field{{Name: "user-agent", Value: "cinnabar"}})
			e.Sent(len(e.Instructions()))
			return b[0] != 0
		}
		if !risky(0) || risky(4) || !risky(0) {
			t.Error("one stream may be blocked, as often as it likes, and no other")
		}
		if err := e.Receive(unhex(t, free)); err != nil {
			t.Fatal(err)
		}
		if !risky(4) || free != "40" && !risky(8) {
			t.Errorf("after %s another stream may not refer to the entry", free)
		}
	}
}

// Where streams may not be blocked, a name is taken from an entry that is acknowledged,
// past newer ones that are not.
func TestNamesWithoutRisk(t *testing.T) {
	e := new(Encoder)
	e.SetLimits(4096, 0)
	twice := func(value string) {
		for range 2 {
			e.AppendSection(nil, 0, []Field{{Name: "x-name", Value: value}})
			e.Sent(len(e.Instructions()))
		}
	}
	section := func() byte { return e.AppendSection(nil, 4, []Field{{Name: "x-name", Value: "unheard-of"}})[0] }
	twice("first")
	if section() != 0 {
		t.Error("a reference to an entry without acknowledgement")
	}
	if err := e.Receive([]byte{1}); err != nil {
		t.Fatal(err)
	}
	twice("second")
	twice("third")
	if e.table.inserted != 3 || section() != 2 {
		t.Errorf("%d insertions, a Required Insert Count other than that of the first", e.table.inserted)
	}
	for i := range 8 {
		twice(fmt.Sprint("one of many ", i))
	}
	if section() != 0 {
		t.Error("a name was searched for behind ten entries without acknowledgement")
	}
}

// RFC 9204 §4.5.4, §7.1.3 and RFC 9114 §10.6: what could be guessed is never in the table, and marked.
func TestSecrets(t *testing.T) {
	e, d := new(Encoder), NewDecoder(4096, 10)
	e.SetLimits(4096, 10)
	fields := []Field{
		{Name: "authorization", Value: "Basic abc"},
		{Name: "proxy-authorization", Value: "Basic abc"},
		{Name: "cookie", Value: "pin=1234"},
		{Name: "set-cookie", Value: "pin=1234"},
		{Name: "user-agent", Value: "secret", Sensitive: true},
		{Name: "x-token", Value: "secret", Sensitive: true},
		{Name: ":status", Value: "200", Sensitive: true},
	}
	for i := range int64(5) {
		section, instructions := exchange(t, e, d, i, fields)
		if len(instructions) > 0 || section[0] != 0 {
			t.Fatalf("instructions %x, section %x", instructions, section)
		}
		got, err := d.Decode(nil, i, section, Limit{})
		if err != nil || slices.ContainsFunc(got, func(f Field) bool { return !f.Sensitive }) {
			t.Errorf("%v, %v: one is not marked", got, err)
		}
	}
	// The name alone is no secret, and may be in the table.
	exchange(t, e, d, 40, []Field{{Name: "x-token", Value: "public"}})
	exchange(t, e, d, 44, []Field{{Name: "x-token", Value: "public"}})
	s, _ := exchange(t, e, d, 48, []Field{{Name: "x-token", Value: "~", Sensitive: true}})
	if want := unhex(t, "0200 60 017e"); !bytes.Equal(s, want) {
		t.Errorf("a secret with its name by reference is %x, want %x", s, want)
	}
	long := Field{Name: "cookie", Value: strings.Repeat("0123456789abcdef", 2)}
	exchange(t, e, d, 52, []Field{long})
	exchange(t, e, d, 56, []Field{long})
	if e.table.inserted != 2 {
		t.Errorf("a long cookie is not inserted")
	}
}

// As long as instructions wait for flow control, there are no more of them.
func TestPendingEncoderInstructionsAreBounded(t *testing.T) {
	e := new(Encoder)
	e.SetLimits(4096, 100)
	var first int
	for i := range int64(1000) {
		e.AppendSection(nil, 4*i, []Field{{Name: "user-agent", Value: fmt.Sprint(i)}})
		if i == 0 {
			first = len(e.Instructions())
		}
		if n := len(e.Instructions()); n != first || n == 0 {
			t.Fatalf("%d bytes pending after section %d, %d after the first", n, i, first)
		}
	}
	e.Sent(first - 1)
	e.AppendSection(nil, 4, []Field{{Name: "user-agent", Value: "half"}})
	if n := len(e.Instructions()); n != 1 {
		t.Errorf("%d bytes pending, 1 was not sent", n)
	}
	e.Sent(1)
	e.AppendSection(nil, 4, []Field{{Name: "user-agent", Value: "all"}})
	if len(e.Instructions()) == 0 {
		t.Error("nothing is inserted when all is sent")
	}
}

// A section with endless fields inserts what fits the table.
func TestInsertionsOfOneSectionAreBounded(t *testing.T) {
	e := new(Encoder)
	e.SetLimits(1<<20, 100)
	var fields []Field
	for i := range 10000 {
		fields = append(fields, Field{Name: "user-agent", Value: fmt.Sprint("agent ", i)})
	}
	e.AppendSection(nil, 0, fields)
	if n := len(e.Instructions()); n > defaultCapacity || e.table.size > defaultCapacity || e.table.dropped > 0 {
		t.Errorf("%d bytes pending, a table of %d, %d evicted", n, e.table.size, e.table.dropped)
	}
}

// A peer that acknowledges nothing makes the encoder remember a bounded number of
// sections, and others go without the table.
func TestOutstandingSectionsAreBounded(t *testing.T) {
	most := limits.Bound(t, "qpack-sections")
	e := new(Encoder)
	e.SetLimits(4096, 100)
	e.AppendSection(nil, 0, request())
	e.Sent(len(e.Instructions()))
	if err := e.Receive(appendInt(nil, 0, 6, e.table.inserted)); err != nil {
		t.Fatal(err)
	}
	for i := range int64(3 * most) {
		b := e.AppendSection(nil, i/2, request())
		if dynamic := b[0] != 0; dynamic != (i < int64(most)-1) {
			t.Fatalf("section %d refers to the table: %v", i, dynamic)
		}
	}
	if e.outstanding.n != most || len(e.outstanding.nodes) != most {
		t.Errorf("%d sections in %d places", e.outstanding.n, len(e.outstanding.nodes))
	}
	if err := e.Receive([]byte{0x80}); err != nil { // one of stream 0
		t.Fatal(err)
	}
	if b := e.AppendSection(nil, 4000, request()); b[0] == 0 {
		t.Error("after an acknowledgement the table is still not used")
	}
}

// RFC 9204 §2.1.1, §3.2.2: with no acknowledgement nothing is evicted; with an
// acknowledgement, not what is referred to.
func TestEviction(t *testing.T) {
	e := new(Encoder)
	e.SetLimits(128, 100)
	agent := func(stream int64, value string) []byte {
		b := e.AppendSection(nil, stream, []Field{{Name: "user-agent", Value: value}}) // 43 bytes each
		e.Sent(len(e.Instructions()))
		return b
	}
	agent(0, "a")
	agent(4, "b")
	if agent(8, "c"); e.table.inserted != 2 || e.table.dropped != 0 {
		t.Fatalf("%d insertions, %d evicted", e.table.inserted, e.table.dropped)
	}
	receive := func(s string) {
		t.Helper()
		if err := e.Receive(unhex(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	receive("02")
	if agent(12, "c"); e.table.dropped != 0 {
		t.Fatal("an entry went that a section refers to")
	}
	receive("84") // the second entry could go, the first not
	if agent(16, "c"); e.table.dropped != 0 {
		t.Fatal("an entry went before an older one")
	}
	receive("80")
	if agent(20, "c"); e.table.dropped != 1 || e.table.inserted != 3 {
		t.Fatalf("%d insertions, %d evicted", e.table.inserted, e.table.dropped)
	}
	if len(e.names) != 1 || len(e.pairs) != 2 {
		t.Errorf("%d names and %d pairs are known, of two entries with one name", len(e.names), len(e.pairs))
	}
	receive("94")                                                                                         // now only the section that is being encoded refers to anything
	e.AppendSection(nil, 24, []Field{{Name: "user-agent", Value: "b"}, {Name: "user-agent", Value: "a"}}) // which has come before
	if e.table.dropped != 1 {
		t.Error("an entry went that the same section refers to")
	}

	e = new(Encoder)
	e.SetLimits(128, 100)
	agent(0, "a")
	agent(4, "b")
	receive("40 44") // no section is left, but the entries may be on their way
	agent(8, "c")    // which is worth an insertion the second time
	if agent(12, "c"); e.table.dropped != 0 {
		t.Error("an entry went that is not known to have come")
	}
	receive("02")
	if agent(16, "c"); e.table.dropped != 1 {
		t.Errorf("%d evicted, of which one may be", e.table.dropped)
	}
}

// RFC 9204 §2.1.1.1, §3.2: an entry about to be evicted that is in use is duplicated, and
// the section then refers to the duplicate.
func TestDuplicates(t *testing.T) {
	for _, blocked := range []uint64{0, 100} {
		e, d := new(Encoder), NewDecoder(512, blocked)
		e.SetLimits(512, blocked)
		duplicates, literals := 0, 0
		for i := range int64(300) {
			section, instructions := exchange(t, e, d, 4*i, []Field{
				{Name: "user-agent", Value: "always the same"},
				{Name: "x-page", Value: fmt.Sprint("page ", i/10)},
			})
			if i > 2 && len(section) < 4 {
				t.Fatalf("section %x", section)
			}
			if bytes.Contains(section, appendString(nil, 0, 7, "always the same")) {
				literals++
			}
			if len(instructions) > 0 && instructions[0]&0xe0 == 0 {
				duplicates++
			}
		}
		// Without risk a duplicate may evict what it copies and not be usable at once.
		if duplicates < 2 || literals > 2+duplicates || e.table.dropped == 0 {
			t.Errorf("%d streams may be blocked: %d duplicates, %d literals, %d evicted", blocked, duplicates, literals, e.table.dropped)
		}
	}
}

// With a table too small for what repeats, insertions that do not pay cost a bounded
// share; when what is sent changes to what fits, the table is used again.
func TestInsertionsThatDoNotPay(t *testing.T) {
	send := func(capacity uint64, values int) (e *Encoder, total int) {
		e, d := new(Encoder), NewDecoder(capacity, 0)
		e.SetLimits(capacity, 0)
		for i := range int64(2000) {
			section, instructions := exchange(t, e, d, i, []Field{{Name: "x-value", Value: fmt.Sprint("one of too many values: ", i%int64(values))}})
			total += len(section) + len(instructions)
		}
		for i := range int64(2000) {
			exchange(t, e, d, i, []Field{{Name: "x-value", Value: "the one value that is left"}})
		}
		return e, total
	}
	_, without := send(0, 100)
	e, with := send(512, 100)
	if with > without*11/10 {
		t.Errorf("%d bytes with a table, %d without", with, without)
	}
	if s := e.AppendSection(nil, 4000, []Field{{Name: "x-value", Value: "the one value that is left"}}); len(s) != 3 {
		t.Errorf("what fits is still sent as %x", s)
	}
	if _, fits := send(4096, 10); fits > without/3 {
		t.Errorf("%d bytes if all fit, %d without a table", fits, without)
	}
}

// A stream that the peer has cancelled is not read, so nobody would say when its
// references are gone.
func TestSectionsAfterCancellation(t *testing.T) {
	most := limits.Bound(t, "qpack-cancelled")
	e, d := new(Encoder), NewDecoder(4096, 100)
	e.SetLimits(4096, 100)
	exchange(t, e, d, 0, request())
	for i := range int64(2 * most) {
		if err := e.Receive(appendInt(nil, 0x40, 6, uint64(4*i))); err != nil {
			t.Fatal(err)
		}
		if b := e.AppendSection(nil, 4*i, request()); b[0] != 0 || e.outstanding.n != 0 {
			t.Fatalf("stream %d: section %x, %d outstanding", 4*i, b, e.outstanding.n)
		}
	}
	if n := len(e.cancelled.streams); n != most {
		t.Errorf("%d streams are remembered", n)
	}
}

// A second SETTINGS, after remembered ones, may raise the number of streams; the
// capacity stays, and falls no more than it rises (RFC 9204 §4.3.1).
func TestSetLimitsAgain(t *testing.T) {
	most := limits.Bound(t, "qpack-at-risk")
	e := new(Encoder)
	e.SetLimits(0, 0)
	e.SetLimits(100, 0)
	e.AppendSection(nil, 0, request())
	if e.table.capacity != 100 || e.maxRisk != 0 || e.maxEntries != 3 {
		t.Fatalf("capacity %d, %d streams, %d entries", e.table.capacity, e.maxRisk, e.maxEntries)
	}
	e.SetLimits(4096, 7)
	if e.table.capacity != 100 || e.maxRisk != 7 || e.maxEntries != 3 {
		t.Fatalf("capacity %d, %d streams, %d entries", e.table.capacity, e.maxRisk, e.maxEntries)
	}
	if e.SetLimits(50, 7); e.table.capacity != 100 || e.maxEntries != 3 {
		t.Errorf("capacity %d, %d entries, after a lower limit", e.table.capacity, e.maxEntries)
	}
	if e.SetLimits(4096, 1<<62); e.maxRisk != most {
		t.Errorf("%d streams at risk", e.maxRisk)
	}
}

// In steady state a section costs no memory.
func TestAppendSectionDoesNotAllocate(t *testing.T) {
	e, d := new(Encoder), NewDecoder(4096, 100)
	e.SetLimits(4096, 100)
	fields := append(request(), Field{Name: "x-id", Value: "literal"}, Field{Name: "x-secret", Value: "v", Sensitive: true})
	for i := range int64(3) {
		exchange(t, e, d, i, fields)
	}
	b := make([]byte, 0, 1000)
	stream := int64(100)
	allocs := testing.AllocsPerRun(1000, func() {
		for range 50 { // sections on the way
			b = e.AppendSection(b[:0], stream, fields)
			stream += 4
		}
		for i := int64(50); i > 0; i-- {
			if err := e.Receive(appendInt(b[:0], 0x80, 7, uint64(stream-4*i))); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// A decoder ends with the first error; so does the encoder.
func TestErrorsStay(t *testing.T) {
	e := new(Encoder)
	err := e.Receive([]byte{0})
	if again := e.Receive(nil); err == nil || !errors.Is(again, err) {
		t.Errorf("%v, then %v", err, again)
	}
}
