package qpack

// entryOverhead is what a table entry counts beyond its name and value
// (RFC 9204 §3.2.1).
const entryOverhead = 32

// entry is a line of a dynamic table.
type entry struct {
	name, value string

	// The rest is the encoder's.
	sections  int    // sections without acknowledgement that refer to this entry and to none older
	olderPair uint64 // one more than the index of the next older entry with the same name and value; 0 if none
	olderName uint64 // the same for those with the same name
}

func (e *entry) size() uint64 { return uint64(len(e.name)) + uint64(len(e.value)) + entryOverhead }

// table is a dynamic table (RFC 9204 §3.2), oldest entry first, addressed by absolute
// index. The ring grows with the number of entries, which the capacity bounds.
type table struct {
	ring     []entry // its length is a power of two, or 0
	inserted uint64  // how many entries there have ever been: the Insert Count
	dropped  uint64  // how many of them are gone: the index of the oldest that is left
	size     uint64
	capacity uint64
}

// at returns an entry that the table has.
func (t *table) at(index uint64) *entry { return &t.ring[index&uint64(len(t.ring)-1)] }

// setCapacity evicts what no longer fits.
func (t *table) setCapacity(capacity uint64) {
	t.capacity = capacity
	for t.size > capacity {
		t.evict()
	}
}

// evict drops the oldest entry.
func (t *table) evict() {
	e := t.at(t.dropped)
	t.size -= e.size()
	*e = entry{}
	t.dropped++
}

// insert makes room for an entry that is not larger than the capacity, and adds it.
func (t *table) insert(name, value string) *entry {
	n := entry{name: name, value: value}
	for t.size+n.size() > t.capacity {
		t.evict()
	}
	if t.inserted-t.dropped == uint64(len(t.ring)) {
		t.grow()
	}
	e := t.at(t.inserted)
	*e = n
	t.size += n.size()
	t.inserted++
	return e
}

func (t *table) grow() {
	old := *t
	t.ring = make([]entry, max(16, 2*len(old.ring)))
	for i := old.dropped; i < old.inserted; i++ {
		*t.at(i) = *old.at(i)
	}
}
