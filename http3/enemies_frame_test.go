package http3

import (
	"runtime"
	"strings"
	"testing"
)

// besiege runs attacks of the tables, which are named as "server: a whole request", after the role of the
// victim, under the frame that all tests against enemies have: the victim answers exactly as stated; it has
// not taken more memory than bound by then (its log, if nobody reads it, is 1 MiB more); other
// requests of the session are answered, and so are those of other sessions. That no goroutine is left
// is seen to when all tests have run. Half of the attacks are on a victim that writes a log.
func besiege(t *testing.T, bound uint64, names ...string) {
	for _, name := range names {
		role, rest, _ := strings.Cut(name, ": ")
		table, run := serverAttacks, (*attack).onServer
		if role == "client" {
			table, run = clientAttacks, (*attack).onClient
		}
		x := find(t, table, rest)
		for victim, hooked := range victims {
			t.Run(name+"/"+victim, func(t *testing.T) {
				y := *x
				y.steps = append([]step{framed(bound, hooked)}, x.steps...)
				run(&y, t, hooked)
			})
		}
	}
}

func find(t *testing.T, table []attack, name string) *attack {
	t.Helper()
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	t.Fatalf("there is no attack %q", name)
	return nil
}

// framed is the step before an attack.
func framed(bound uint64, logs bool) step {
	return func(a *attacker) {
		if logs {
			bound += 1 << 20
		}
		before := heapNow()
		a.frame = func() {
			a.frame = nil
			if n := heapNow(); n > before+bound {
				a.Errorf("%d bytes more of the heap are in use, want %d at most", n-before, bound)
			}
			if a.another != nil {
				a.another()
			}
		}
	}
}

// heapNow returns how many bytes are in use, without what pools keep.
func heapNow() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
