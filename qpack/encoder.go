package qpack

import (
	"math"
	"slices"
)

// defaultCapacity is how much of the peer's table an Encoder uses. A dozen fields that
// repeat fit several times.
const defaultCapacity = 4096

// maxSections is how many sections without acknowledgement are remembered. Sections
// beyond these do without the dynamic table.
const maxSections = 512

// maxAtRisk is how many streams may be at risk of being blocked, whatever the peer
// allows.
const maxAtRisk = 256

// Encoder is the sending end: it decides what enters the table of the peer's decoder,
// and encodes field sections. Its zero value is ready and uses the static table only,
// until SetLimits.
type Encoder struct {
	// TableCapacity is how many bytes of the peer's table to use at most. 0 is 4096,
	// and more than 1<<30 is as much. It is read by SetLimits.
	TableCapacity uint64

	table      table
	pairs      map[pair]uint64   // one more than the index of the newest entry with this name and value
	names      map[string]uint64 // the same for this name
	draining   uint64            // entries below this index are about to be evicted: they are duplicated rather than referred to
	drainSize  uint64            // the size of these entries
	seen       *history
	budget     int    // how many bytes insertions may cost yet: see earn
	maxEntries uint64 // by the peer's setting, not by the capacity in use: RFC 9204 §4.5.1.1
	announced  bool   // Set Dynamic Table Capacity is in out or sent

	known       uint64 // the Known Received Count
	outstanding sections
	maxRisk     int
	risk        []risk // streams that the peer may find blocked
	cancelled   recent // streams whose sections the peer no longer reads
	cancels     uint64 // how often it has said so

	out outbox
	now plan // of the section that is being encoded

	partial  [maxIntBytes]byte // the beginning of a decoder instruction
	nPartial int
	err      *Error // the decoder stream is broken
}

// pair is a name with a value.
type pair struct{ name, value string }

// risk is a stream that is blocked until the peer has so many insertions.
type risk struct {
	stream   int64
	required uint64
}

// SetLimits takes the peer's SETTINGS_QPACK_MAX_TABLE_CAPACITY and
// SETTINGS_QPACK_BLOCKED_STREAMS. The first capacity above zero is kept: that a
// connection began with a remembered one (RFC 9204 §3.2.3) and that the settings which
// arrive then are not the same is for the caller to see. Nothing is sent before the
// first insertion, so that an encoder stream that is not needed need not exist.
func (e *Encoder) SetLimits(maxTableCapacity, blockedStreams uint64) {
	e.maxRisk = int(min(blockedStreams, maxAtRisk))
	if e.maxEntries > 0 {
		return
	}
	limit := e.TableCapacity
	if limit == 0 {
		limit = defaultCapacity
	}
	e.table.capacity = min(maxTableCapacity, limit, 1<<30)
	e.maxEntries = maxTableCapacity / entryOverhead
	if e.table.capacity < entryOverhead {
		return
	}
	e.pairs = make(map[pair]uint64)
	e.names = make(map[string]uint64)
	e.seen = new(history)
	e.budget = int(e.table.capacity)
}

// AppendSection appends an encoded field section to b. Instructions that it may need
// are in Instructions afterwards: they go out before the section or with it. The
// section has to be sent, or its stream to be reset; either way the peer lets go of
// what it refers to.
func (e *Encoder) AppendSection(b []byte, streamID int64, fields []Field) []byte {
	p := &e.now
	p.begin(e, streamID)
	for i := range fields {
		p.lines = append(p.lines, e.choose(&fields[i]))
	}
	b = p.append(b, e.maxEntries, fields)
	if p.required > 0 {
		e.track(streamID, p.required, p.oldest)
	}
	if cap(p.lines) > keep/16 {
		p.lines = nil
	}
	return b
}

// Instructions returns what is to be written to the encoder stream. The slice is
// borrowed until the next call that changes the encoder.
func (e *Encoder) Instructions() []byte { return e.out.pending() }

// Sent says that the first n bytes of Instructions were handed over. As long as there
// are others, because flow control is in the way, AppendSection inserts nothing.
func (e *Encoder) Sent(n int) { e.out.take(n) }

// choose decides how a field is encoded, and inserts it into the table if that pays.
func (e *Encoder) choose(f *Field) line {
	static, exact, named := findStatic(f.Name, f.Value)
	secret := f.Sensitive || isSecret(f)
	if !secret {
		if exact {
			return line{form: indexedStatic, index: static}
		}
		if index, ok := e.find(f, static, named); ok {
			e.earn(len(f.Value))
			return line{form: indexedDynamic, index: index}
		}
	}
	e.earn(len(f.Value) / 16)
	l := line{form: literalName, secret: secret}
	if named {
		l.form, l.index = literalStatic, static
	} else if index, ok := e.findName(f.Name); ok {
		e.now.refer(index)
		l.form, l.index = literalDynamic, index
	}
	return l
}

// find returns an entry that the section may refer to for a field, if there is one or
// inserting one pays. The section then refers to it.
func (e *Encoder) find(f *Field, static uint64, named bool) (index uint64, ok bool) {
	if !e.now.dynamic {
		return 0, false
	}
	key := pair{f.Name, f.Value}
	newest := e.pairs[key] // plus one
	if newest == 0 {
		if !e.worth(f, named) || !e.insert(f.Name, f.Value, static, named) {
			return 0, false
		}
		return e.useNewest()
	}
	if newest-1 < e.draining && e.duplicate(newest-1) && e.now.risky {
		return e.useNewest()
	}
	for at := newest; at > e.table.dropped; at = e.table.at(at - 1).olderPair {
		if e.usable(at - 1) {
			e.now.refer(at - 1)
			return at - 1, true
		}
	}
	return 0, false
}

// useNewest refers to the entry that was just inserted, if the stream may be blocked
// by it.
func (e *Encoder) useNewest() (index uint64, ok bool) {
	index = e.table.inserted - 1
	if !e.now.risky {
		return 0, false
	}
	e.now.refer(index)
	return index, true
}

// findName returns an entry with a name that the section may refer to.
func (e *Encoder) findName(name string) (index uint64, ok bool) {
	if !e.now.dynamic {
		return 0, false
	}
	at := e.names[name] // plus one
	for range 8 {       // a few: with that many values on the way a name is not worth a search
		switch {
		case at <= e.table.dropped:
			return 0, false
		case e.usable(at - 1):
			return at - 1, true
		}
		at = e.table.at(at - 1).olderName
	}
	return 0, false
}

// usable reports whether the section may refer to an entry.
func (e *Encoder) usable(index uint64) bool { return index < e.known || e.now.risky }

// atRisk returns the place of a stream in e.risk, or -1.
func (e *Encoder) atRisk(stream int64) int {
	return slices.IndexFunc(e.risk, func(r risk) bool { return r.stream == stream })
}

// track remembers a section that refers to the table, until the peer says that it is
// done with it.
func (e *Encoder) track(stream int64, required, oldest uint64) {
	e.outstanding.push(stream, required, oldest)
	e.table.at(oldest).sections++
	if required <= e.known {
		return
	}
	if i := e.atRisk(stream); i >= 0 {
		e.risk[i].required = max(e.risk[i].required, required)
		return
	}
	e.risk = append(e.risk, risk{stream, required})
}

// plan is what is known of a section before it is written.
type plan struct {
	lines    []line
	dynamic  bool   // it may refer to the dynamic table
	risky    bool   // it may refer to entries without acknowledgement
	insert   bool   // entries may be inserted for it
	start    uint64 // the Insert Count when it began
	required uint64 // its Required Insert Count
	oldest   uint64 // the oldest entry that it refers to
}

func (p *plan) begin(e *Encoder, stream int64) {
	p.lines = p.lines[:0]
	p.dynamic = e.seen != nil && e.outstanding.n < maxSections && !e.cancelled.has(stream)
	p.risky = p.dynamic && (len(e.risk) < e.maxRisk || e.atRisk(stream) >= 0)
	p.insert = p.dynamic && len(e.out.pending()) == 0
	p.start, p.required, p.oldest = e.table.inserted, 0, math.MaxUint64
}

func (p *plan) refer(index uint64) {
	p.required = max(p.required, index+1)
	p.oldest = min(p.oldest, index)
}
