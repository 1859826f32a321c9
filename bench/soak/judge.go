package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// figures are what must not grow.
type figures struct {
	rss         int // KiB
	heap        int // KiB
	goroutines  int // but for those that the next two count
	answers     int // one goroutine each
	handshakes  int // up to two each
	descriptors int
}

func (f figures) String() string {
	return fmt.Sprintf("%7d KiB resident %7d KiB heap %4d goroutines beside %5d of answers and %4d of handshakes %3d descriptors", f.rss, f.heap, f.goroutines, f.answers, f.handshakes, f.descriptors)
}

// quarters of a run are what is compared.
const quarters = 4

// leftHeap is how many KiB of heap more than before may be in use at the end, when nobody holds
// the socket any more: eight thousand goroutines more at a time than warm has foreseen are as much.
const leftHeap = 4 << 10

// judge looks at how much grew from the second quarter of a run to the last, and compares its end with what was before.
// A tenth more is noise: how many streams clients have left open, and what the runtime keeps.
func judge(w io.Writer, list []figures, before, after figures) error {
	var errs []error
	if n := len(list) / quarters; n > 0 {
		early, late := median(list[n:2*n]), median(list[3*n:])
		fmt.Fprintln(w, "early  ", early)
		fmt.Fprintln(w, "late   ", late)
		resident, live := drift(floors(list[n:], func(f figures) int { return f.rss })), drift(floors(list[n:], func(f figures) int { return f.heap }))
		fmt.Fprintf(w, "resident memory %+d KiB and live heap %+d KiB along the line that lies closest to the least of each twelfth, after the first quarter\n", resident, live)
		grown := func(what string, early, late, slack int) {
			if late > early+early/10+slack {
				errs = append(errs, fmt.Errorf("%s grew from %d to %d", what, early, late))
			}
		}
		grown("resident memory (KiB)", early.rss, early.rss+resident, 16<<10)
		grown("live heap (KiB)", early.heap, early.heap+live, 8<<10)
		grown("goroutines", early.goroutines, late.goroutines, 100) // some 20 on a quiet machine; hooks and TLS have one more each while they run
		grown("descriptors", early.descriptors, late.descriptors, 3)
	} else {
		errs = append(errs, errors.New("too few reports to judge by: a longer -for, or a shorter -report"))
	}
	if after.goroutines > before.goroutines {
		errs = append(errs, fmt.Errorf("%d goroutines at the end, %d before", after.goroutines, before.goroutines))
	}
	if after.heap > before.heap+leftHeap {
		errs = append(errs, fmt.Errorf("%d KiB of heap at the end, %d before", after.heap, before.heap))
	}
	if after.descriptors > before.descriptors {
		errs = append(errs, fmt.Errorf("%d descriptors at the end, %d before", after.descriptors, before.descriptors))
	}
	return errors.Join(errs...)
}

// twelfths of the time that memory is judged by have the least of each taken. What leaks never goes away. All else does:
// a thousand sessions that come at once when a process is replaced, and what is allocated while a collection
// has to wait for a processor.
const twelfths = 12

// floors are the least figures of the twelfths.
func floors(list []figures, get func(figures) int) (least []int) {
	for some := range slices.Chunk(list, (len(list)+twelfths-1)/twelfths) {
		least = append(least, get(slices.MinFunc(some, func(a, b figures) int { return get(a) - get(b) })))
	}
	return least
}

// drift is how much the straight line that lies closest to the figures rises from the first to the last.
func drift(list []int) int {
	var sx, sy, sxx, sxy float64
	for i, f := range list {
		x, y := float64(i), float64(f)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	n := float64(len(list))
	return int((n - 1) * (n*sxy - sx*sy) / max(1, n*sxx-sx*sx))
}

func median(list []figures) (m figures) {
	at := func(get func(figures) int) int {
		var v []int
		for _, f := range list {
			v = append(v, get(f))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	m.rss = at(func(f figures) int { return f.rss })
	m.heap = at(func(f figures) int { return f.heap })
	m.goroutines = at(func(f figures) int { return f.goroutines })
	m.answers = at(func(f figures) int { return f.answers })
	m.handshakes = at(func(f figures) int { return f.handshakes })
	m.descriptors = at(func(f figures) int { return f.descriptors })
	return m
}
