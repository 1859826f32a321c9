package sim

import (
	"fmt"
	"strings"
)

// Counters say how often what happened to datagrams. A test of a fault checks
// that the fault has happened at all.
type Counters struct {
	Sent      uint64 // by an endpoint or an attacker
	Delivered uint64

	// Ways to vanish.
	Lost           uint64 // Loss
	Listed         uint64 // DropList
	Filtered       uint64 // DropIf
	TailDropped    uint64 // Rate: the queue was full
	TooBig         uint64 // MTU
	Blackholed     uint64 // Blackhole
	CorruptDropped uint64 // CorruptDrop
	Unmapped       uint64 // Rebind: sent to an address that is no longer in use
	NoRoute        uint64 // to or from an address that no link serves

	// What happened to others.
	Reordered  uint64 // Reorder
	Duplicated uint64 // Duplicate: additional datagrams
	Corrupted  uint64 // Corrupt
	Marked     uint64 // Mark
	Bleached   uint64 // Bleach
	Rebound    uint64 // Rebind: new addresses given out
	Injected   uint64 // Inject
}

// Dropped returns how many datagrams have vanished.
func (c Counters) Dropped() uint64 {
	return c.Lost + c.Listed + c.Filtered + c.TailDropped + c.TooBig + c.Blackholed + c.CorruptDropped + c.Unmapped + c.NoRoute
}

// String lists the counters that are not zero.
func (c Counters) String() string {
	var s []string
	for _, f := range c.fields() {
		if *f.count > 0 {
			s = append(s, fmt.Sprintf("%s %d", f.name, *f.count))
		}
	}
	if len(s) == 0 {
		return "nothing sent"
	}
	return strings.Join(s, ", ")
}

func (c *Counters) add(d *Counters) {
	from := d.fields()
	for i, f := range c.fields() {
		*f.count += *from[i].count
	}
}

type field struct {
	name  string
	count *uint64
}

func (c *Counters) fields() []field {
	return []field{
		{"sent", &c.Sent}, {"delivered", &c.Delivered},
		{"lost", &c.Lost}, {"listed", &c.Listed}, {"filtered", &c.Filtered},
		{"tail-dropped", &c.TailDropped}, {"too big", &c.TooBig}, {"blackholed", &c.Blackholed},
		{"corrupt and dropped", &c.CorruptDropped}, {"unmapped", &c.Unmapped}, {"no route", &c.NoRoute},
		{"reordered", &c.Reordered}, {"duplicated", &c.Duplicated}, {"corrupted", &c.Corrupted},
		{"marked", &c.Marked}, {"bleached", &c.Bleached}, {"rebound", &c.Rebound}, {"injected", &c.Injected},
	}
}
