package qpack

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// world is an encoder and a decoder with a network between them: instructions arrive
// in pieces and late, sections in any order but that of their stream, and some streams
// are cancelled. An oracle follows what the encoder may do.
type world struct {
	t       *testing.T
	r       chooser
	e       *Encoder
	d       *Decoder
	blocked uint64

	toDecoder, toEncoder []byte // on the encoder stream and the decoder stream
	streams              []*traffic
	nextStream           int64

	// The oracle reads the instructions as they leave, in whole ones.
	known    uint64           // acknowledged insertions, as the encoder has been told
	required map[int64][]wait // of sections that the encoder has not been told are done with
	told     []byte           // what was told but is not a whole instruction
}

// chooser makes the choices of a world: a random one, or a script of a fuzzer's.
type chooser interface {
	IntN(n int) int
	Uint64() uint64
}

// wait is a section by its Required Insert Count, and the oldest entry it refers to.
type wait struct{ required, oldest uint64 }

// traffic is a stream with sections on their way.
type traffic struct {
	id        int64
	sections  [][]byte
	fields    [][]Field
	cancelled bool
}

func newWorld(t *testing.T, r chooser) *world {
	capacity := []uint64{0, 40, 128, 256, 512, 4096, 1 << 20}[r.IntN(7)]
	blocked := []uint64{0, 1, 2, 5, 100}[r.IntN(5)]
	w := &world{t: t, r: r, blocked: blocked, e: new(Encoder), d: NewDecoder(capacity, blocked), required: make(map[int64][]wait)}
	w.e.TableCapacity = []uint64{0, 200, 1 << 14}[r.IntN(3)]
	w.e.SetLimits(capacity, blocked)
	return w
}

// someFields are drawn from few enough to repeat, and some are new.
func (w *world) someFields() []Field {
	names := []string{":authority", ":path", "user-agent", "accept", "cookie", "x-a", "x-b", "x-request-id", "date", "authorization"}
	var fields []Field
	for range w.r.IntN(8) {
		f := Field{Name: names[w.r.IntN(len(names))], Value: fmt.Sprint("value ", w.r.IntN(5))}
		switch w.r.IntN(10) {
		case 0:
			f.Value = fmt.Sprint("new ", w.r.Uint64())
		case 1:
			f.Sensitive = true
		case 2:
			f.Value = string(bytes.Repeat([]byte("long"), w.r.IntN(200)))
		}
		fields = append(fields, f)
	}
	return fields
}

func (w *world) encode() {
	if len(w.streams) == 0 || w.r.IntN(3) == 0 {
		w.streams = append(w.streams, &traffic{id: w.nextStream})
		w.nextStream += int64(1 + w.r.IntN(200))
	}
	s := w.streams[w.r.IntN(len(w.streams))]
	fields := w.someFields()
	before := w.e.table.dropped
	section := w.e.AppendSection(nil, s.id, fields)
	w.judge(s.id, section, before)
	s.sections, s.fields = append(s.sections, section), append(s.fields, fields)
}

// judge checks a section against the limits that the encoder has to keep: RFC 9204
// §2.1.1 and §2.1.2.
func (w *world) judge(stream int64, section []byte, dropped uint64) {
	r := sectionReader{c: cursor{b: section}, table: &w.e.table}
	if err := r.prefix(w.d.maxCapacity / entryOverhead); err != nil {
		w.t.Fatal(err)
	}
	oldest := r.required
	for len(r.c.b) > 0 {
		at := r.c.b
		if _, err := r.line(math.MaxUint64); err != nil {
			w.t.Fatalf("the encoder's own section: %v", err)
		}
		if r.required > 0 {
			oldest = min(oldest, reference(at, r.base, r.required))
		}
	}
	if r.required > 0 {
		w.required[stream] = append(w.required[stream], wait{r.required, oldest})
	}
	risky := 0
	for _, sections := range w.required {
		if slices.ContainsFunc(sections, func(s wait) bool { return s.required > w.known }) {
			risky++
		}
		for _, s := range sections {
			if s.oldest < w.e.table.dropped {
				w.t.Fatalf("entry %d was evicted, to which a section refers", s.oldest)
			}
		}
	}
	if uint64(risky) > w.blocked {
		w.t.Fatalf("%d streams may be blocked, %d are allowed", risky, w.blocked)
	}
	if w.e.table.dropped > dropped && w.e.table.dropped > w.known {
		w.t.Fatalf("entry %d was evicted, %d are acknowledged", w.e.table.dropped-1, w.known)
	}
}

// reference returns the absolute index in a field line, or most if it has none.
func reference(b []byte, base, most uint64) uint64 {
	c := cursor{b: b}
	switch first := b[0]; {
	case first&0xc0 == 0x80:
		return base - 1 - c.integer(6)
	case first&0xd0 == 0x40:
		return base - 1 - c.integer(4)
	case first&0xf0 == 0x10:
		return base + c.integer(4)
	case first&0xf0 == 0x00:
		return base + c.integer(3)
	}
	return most
}

// send moves instructions of the encoder onto its stream, as far as flow control lets
// them.
func (w *world) send() {
	b := w.e.Instructions()
	n := len(b)
	if w.r.IntN(3) == 0 {
		n = w.r.IntN(n + 1)
	}
	w.toDecoder = append(w.toDecoder, b[:n]...)
	w.e.Sent(n)
}

func (w *world) arrive() {
	n := w.r.IntN(len(w.toDecoder) + 1)
	if err := w.d.Receive(w.toDecoder[:n]); err != nil {
		w.t.Fatal(err)
	}
	w.toDecoder = w.toDecoder[n:]
}

func (w *world) decode() {
	if len(w.streams) == 0 {
		return
	}
	i := w.r.IntN(len(w.streams))
	s := w.streams[i]
	if s.cancelled || len(s.sections) == 0 {
		return
	}
	fields, err := w.d.Decode(nil, s.id, s.sections[0], Limit{})
	if errors.Is(err, ErrBlocked) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	wantSame(w.t, fields, s.fields[0])
	s.sections, s.fields = s.sections[1:], s.fields[1:]
}

func (w *world) cancel() {
	if len(w.streams) == 0 {
		return
	}
	if s := w.streams[w.r.IntN(len(w.streams))]; !s.cancelled {
		s.cancelled = true
		w.d.Cancel(s.id)
	}
}

func (w *world) answer() {
	b := w.d.Instructions()
	n := w.r.IntN(len(b) + 1)
	w.toEncoder = append(w.toEncoder, b[:n]...)
	w.d.Sent(n)
}

func (w *world) hear() {
	n := w.r.IntN(len(w.toEncoder) + 1)
	if err := w.e.Receive(w.toEncoder[:n]); err != nil {
		w.t.Fatal(err)
	}
	w.told = append(w.told, w.toEncoder[:n]...)
	w.toEncoder = w.toEncoder[n:]
	for len(w.told) > 0 && w.learn() {
	}
}

// learn takes the next decoder instruction into account.
func (w *world) learn() bool {
	c := cursor{b: w.told}
	switch first := w.told[0]; {
	case first&0x80 != 0:
		id := int64(c.integer(7))
		if c.failed() {
			return false
		}
		w.known = max(w.known, w.required[id][0].required)
		w.required[id] = w.required[id][1:]
	case first&0x40 != 0:
		id := int64(c.integer(6))
		if c.failed() {
			return false
		}
		delete(w.required, id)
	default:
		n := c.integer(6)
		if c.failed() {
			return false
		}
		w.known += n
	}
	w.told = c.b
	return true
}

// settle lets everything arrive, in so many rounds, and checks that nothing is left over.
func (w *world) settle(rounds int) {
	for range rounds {
		w.send()
		w.arrive()
		w.answer()
		w.hear()
		for range w.streams {
			w.decode()
		}
	}
	for _, s := range w.streams {
		if !s.cancelled && len(s.sections) > 0 {
			w.t.Fatalf("stream %d is left with %d sections", s.id, len(s.sections))
		}
	}
	if len(w.e.risk) > 0 || len(w.d.blocked) > 0 || w.e.known != w.e.table.inserted || w.known != w.e.known {
		w.t.Fatalf("%d streams at risk, %d blocked, %d of %d insertions known, %d by the oracle",
			len(w.e.risk), len(w.d.blocked), w.e.known, w.e.table.inserted, w.known)
	}
	cancelled := 0 // a section that is encoded before a cancellation is heard of and sent after it is lost
	for _, s := range w.streams {
		if s.cancelled {
			cancelled += len(w.required[s.id])
		}
	}
	if w.e.outstanding.n != cancelled {
		w.t.Fatalf("%d sections are outstanding, %d on cancelled streams", w.e.outstanding.n, cancelled)
	}
	w.sameTables()
}

func (w *world) sameTables() {
	e, d := &w.e.table, &w.d.table
	if e.inserted != d.inserted || e.dropped != d.dropped || e.size != d.size {
		w.t.Fatalf("the tables differ: %d..%d, %d bytes and %d..%d, %d bytes", e.dropped, e.inserted, e.size, d.dropped, d.inserted, d.size)
	}
	sections := 0
	for i := e.dropped; i < e.inserted; i++ {
		if e.at(i).name != d.at(i).name || e.at(i).value != d.at(i).value {
			w.t.Fatalf("entry %d differs", i)
		}
		sections += e.at(i).sections
	}
	if sections != w.e.outstanding.n {
		w.t.Fatalf("entries are referred to by %d sections, %d are outstanding", sections, w.e.outstanding.n)
	}
	if uint64(len(w.e.pairs)) > e.inserted-e.dropped || len(w.e.names) > len(w.e.pairs) {
		w.t.Fatalf("%d names and %d pairs for %d entries", len(w.e.names), len(w.e.pairs), e.inserted-e.dropped)
	}
}

// An encoder and a decoder, with everything between them that streams allow.
func TestRandomOperations(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 50
	}
	first := rand.Uint64()
	for seed := first; seed != first+seeds; seed++ {
		ok := t.Run("", func(t *testing.T) { runWorld(t, seed) })
		if !ok {
			t.Fatalf("seed %#x", seed)
		}
	}
}

func runWorld(t *testing.T, seed uint64) {
	w := newWorld(t, rand.New(rand.NewPCG(seed, 0)))
	for range 400 {
		w.step()
	}
	w.settle(1000)
}

func (w *world) step() {
	steps := []func(){w.encode, w.encode, w.send, w.send, w.arrive, w.arrive, w.decode, w.decode, w.decode, w.answer, w.hear, w.hear}
	if w.r.IntN(100) == 0 {
		w.cancel()
	}
	steps[w.r.IntN(len(steps))]()
}
