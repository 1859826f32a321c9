package http3

import (
	"os"
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
	siege(t, bound)
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
				y.steps = append([]step{framed(bound, hooked || logged)}, x.steps...)
				run(&y, t, hooked)
			})
		}
	}
}

// siege makes an attack test of the rest of a test, and sees to what must hold when it is over, and both ends
// are gone: no goroutine is left, and no more memory in use than before, but for the bound.
func siege(t *testing.T, bound uint64) {
	before := heapNow()
	t.Cleanup(func() {
		if left := leaked(); left != "" {
			t.Errorf("goroutines are left:\n%s", left)
		}
		if n := heapNow(); n > before+bound {
			t.Errorf("%d bytes more are in use, want %d at most", n-before, bound)
		}
	})
}

// logged makes every session under attack keep a log; without it, half of them do.
var logged = os.Getenv("CINNABAR_ATTACK_QLOG") != ""

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
