package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// figures are what must not grow, and what must go on.
type figures struct {
	rss         int // KiB
	heap        int // KiB
	goroutines  int // but for those that the next two count
	answers     int // one goroutine each
	handshakes  int // up to two each
	all         int // goroutines
	descriptors int
	sessions    int // that are there
	kept        int // that are there, or are over and in memory all the same
	served      int // requests so far
}

func (f figures) String() string {
	return fmt.Sprintf("%6d sessions %6d in memory %8d requests %7d KiB resident %7d KiB heap %4d goroutines beside %5d of answers and %4d of handshakes %3d descriptors",
		f.sessions, f.kept, f.served, f.rss, f.heap, f.goroutines, f.answers, f.handshakes, f.descriptors)
}

// quarters of a run are what is compared.
const quarters = 4

// foreseen is how many goroutines at a time there are expected to be for each session.
const foreseen = 4

// What may be in use of the heap at the end, in KiB more than before.
const (
	leftHeap   = 4 << 10 // beside what the runtime keeps of goroutines that were not foreseen
	registers  = 2 << 10 // of a socket: tokens and tickets that were used
	tableBytes = 512     // of a socket's tables, which do not shrink, for each session of the most there were
)

// verdict is what a run is judged by.
type verdict struct {
	o                   options
	list                []figures // while it went on
	before, held, after figures   // before the socket, without clients, and without the socket
	made, failed        int       // sessions
	odd                 error     // what clients should not say
}

func (v verdict) judge(w io.Writer) error {
	return errors.Join(v.odd, judgeRun(w, v.o, v.list), judgeEnd(v.o, v.list, v.before, v.held, v.after), judgeClients(v.failed, v.made))
}

// judgeRun looks at how much grew from the second quarter of a run to the last, and whether there was a load all the time.
// A tenth more is noise: how many streams clients have left open, and what the runtime keeps.
func judgeRun(w io.Writer, o options, list []figures) error {
	n := len(list) / quarters
	if n == 0 {
		return errors.New("too few reports to judge by: a longer -for, or a shorter -report")
	}
	var errs []error
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
	if late.sessions < o.sessions*3/4 {
		errs = append(errs, fmt.Errorf("%d sessions in the last quarter, of %d that there should be", late.sessions, o.sessions))
	}
	was, is := list[2*n-1].served-list[n].served, list[len(list)-1].served-list[3*n].served
	if is < was/2 || is == 0 {
		errs = append(errs, fmt.Errorf("%d requests in the last quarter, %d in the second", is, was))
	}
	return errors.Join(errs...)
}

// judgeEnd compares what was before a run with what is when all clients are gone, while the socket is held and after it.
func judgeEnd(o options, list []figures, before, held, after figures) error {
	var most figures
	for _, f := range list {
		most.sessions, most.all = max(most.sessions, f.sessions), max(most.all, f.all)
	}
	heap := before.heap + leftHeap + max(0, most.all-foreseen*o.sessions)/2
	var errs []error
	stays := func(what string, n, allowed int) {
		if n > allowed {
			errs = append(errs, fmt.Errorf("%d %s at the end, of %d that may be", n, what, allowed))
		}
	}
	stays("sessions", held.sessions, 0)
	stays("sessions that are over and in memory", held.kept-held.sessions, 0)
	stays("KiB of heap with the socket", held.heap, heap+registers+most.sessions*tableBytes>>10)
	stays("KiB of heap", after.heap, heap)
	stays("answers", after.answers, 0)
	stays("handshakes", after.handshakes, 0)
	stays("goroutines", after.goroutines, before.goroutines)
	stays("descriptors", after.descriptors, before.descriptors)
	return errors.Join(errs...)
}

// judgeClients looks at how many sessions clients have failed with: few, on a busy machine.
func judgeClients(failed, made int) error {
	if failed > made/5 {
		return fmt.Errorf("clients have failed %d times, in %d sessions", failed, made)
	}
	return nil
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
	m.sessions = at(func(f figures) int { return f.sessions })
	m.kept = at(func(f figures) int { return f.kept })
	m.served = at(func(f figures) int { return f.served })
	return m
}
