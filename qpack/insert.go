package qpack

import "strings"

// drainFraction is the part of the table whose entries are not referred to any more,
// so that they can go when room is needed.
const drainFraction = 8

// minCookie is the length from which a cookie is taken to be too long to be guessed.
const minCookie = 20

// isSecret reports whether a field is kept out of all tables though it does not say so
// itself (RFC 9204 §7.1.3).
func isSecret(f *Field) bool {
	switch f.Name {
	case "authorization", "proxy-authorization":
		return true
	case "cookie", "set-cookie":
		return len(f.Value) < minCookie
	}
	return false
}

// repeats reports whether a field with this name will most likely come again with the
// same value, so that it is worth an insertion the first time.
func repeats(name string) bool {
	switch name {
	case ":authority", "user-agent", "accept", "accept-language", "accept-encoding", "origin",
		"server", "content-type", "via", "alt-svc", "strict-transport-security", "content-security-policy":
		return true
	}
	return false
}

// worth reports whether to insert a field: if it has come again, or if its name says
// that it will, it can be used at once and nothing has to go for it. A name of which
// only the value is new each time is inserted alone.
func (e *Encoder) worth(f *Field, named bool) bool {
	known := e.seen.add(hash(hash(hashStart, f.Name), f.Value))
	if known || e.now.risky && repeats(f.Name) && e.table.size+f.Size() <= e.table.capacity {
		return true
	}
	if !named && e.names[f.Name] == 0 && e.seen.add(hash(hashStart, f.Name)) {
		e.insert(f.Name, "", 0, false)
	}
	return false
}

// earn lets insertions cost more, because references have saved so much, or, by a little
// of what is sent without one, in case that other fields are in fashion now. With a table
// too small for what repeats, most insertions are evicted before they have paid: then
// this bounds the waste. What is earned is kept up to the capacity.
func (e *Encoder) earn(n int) { e.budget = min(e.budget+n, int(e.table.capacity)) }

// insert adds an entry, unless there is no room for it or this is not the time.
func (e *Encoder) insert(name, value string, static uint64, named bool) bool {
	size := Field{Name: name, Value: value}.Size()
	cost := int(size - entryOverhead)
	if !e.now.insert || size > e.table.capacity/2 || cost > e.budget || !e.makeRoom(size) {
		return false
	}
	e.budget -= cost
	e.announce()
	if named {
		e.out.b = appendInt(e.out.b, 0xc0, 6, static)
	} else if at := e.names[name]; at > 0 {
		e.out.b = appendInt(e.out.b, 0x80, 6, e.table.inserted-at)
		name = e.table.at(at - 1).name // one copy of it
	} else {
		e.out.b = appendString(e.out.b, 0x40, 5, name)
		name = strings.Clone(name)
	}
	e.out.b = appendString(e.out.b, 0, 7, value)
	e.add(name, strings.Clone(value))
	return true
}

// duplicate adds a copy of an entry, likewise. The entry itself may make room for it.
func (e *Encoder) duplicate(index uint64) bool {
	old := *e.table.at(index)
	relative := e.table.inserted - 1 - index
	if !e.now.insert || !e.makeRoom(old.size()) {
		return false
	}
	e.announce()
	e.out.b = appendInt(e.out.b, 0, 5, relative)
	e.add(old.name, old.value)
	return true
}

// announce tells the peer the capacity, before the first insertion.
func (e *Encoder) announce() {
	if !e.announced {
		e.out.b = appendInt(e.out.b, 0x20, 5, e.table.capacity)
		e.announced = true
	}
}

// makeRoom evicts entries until one of a size fits, or none if it cannot be done.
func (e *Encoder) makeRoom(size uint64) bool {
	t := &e.table
	free, end := t.capacity-t.size, t.dropped
	for ; free < size; end++ {
		if end == t.inserted || !e.evictable(end) {
			return false
		}
		free += t.at(end).size()
	}
	for t.dropped < end {
		e.evict()
	}
	return true
}

// evictable reports whether an entry can go, if those older than it can: RFC 9204
// §2.1.1. A section keeps its oldest entry, and with it all newer ones.
func (e *Encoder) evictable(index uint64) bool {
	return index < e.known && index < e.now.oldest && e.table.at(index).sections == 0
}

// evict drops the oldest entry, and the maps' references to it.
func (e *Encoder) evict() {
	old, at := e.table.at(e.table.dropped), e.table.dropped+1
	if key := (pair{old.name, old.value}); e.pairs[key] == at {
		delete(e.pairs, key)
	}
	if e.names[old.name] == at {
		delete(e.names, old.name)
	}
	if e.table.dropped < e.draining {
		e.drainSize -= old.size()
	}
	e.table.evict()
	e.draining = max(e.draining, e.table.dropped)
}

// add puts an entry for which there is room into the table and the maps, and moves
// the draining index on.
func (e *Encoder) add(name, value string) {
	n := e.table.insert(name, value)
	key := pair{name, value}
	n.olderPair, n.olderName = e.pairs[key], e.names[name]
	e.pairs[key], e.names[name] = e.table.inserted, e.table.inserted
	t := &e.table
	for t.capacity-t.size+e.drainSize < t.capacity/drainFraction && e.draining < t.inserted-1 {
		e.drainSize += t.at(e.draining).size()
		e.draining++
	}
}

// history remembers hashes of fields that were sent lately. Two that share a place
// displace each other, and nothing more than an insertion depends on it.
type history [256]uint32

// add reports whether a hash is there, and puts it there.
func (h *history) add(sum uint64) bool {
	place, tag := &h[sum%uint64(len(h))], uint32(sum>>32)|1
	known := *place == tag
	*place = tag
	return known
}

// hashStart and hash are FNV-1a, with a byte between strings that neither has.
const hashStart = 14695981039346656037

func hash(sum uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		sum = (sum ^ uint64(s[i])) * 1099511628211
	}
	return (sum ^ 0xff) * 1099511628211
}
