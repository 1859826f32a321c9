package http3

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// besiege runs attacks of the tables, which are named as "server: a whole request", after the role of the
// victim, under the frame that all tests against enemies have: the victim answers exactly as stated; it has
// not taken more memory than bound by then (its log, if nobody reads it, is 1 MiB more); other
// requests of the session are answered, and so are those of other sessions. That no goroutine is left
// is seen to when all tests have run. Half of the attacks are on a victim that writes a log.
func besiege(t *testing.T, bound int64, names ...string) {
	beset(t, bound)
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
				y.steps = append([]step{framed(bound, hooked || siege.Logs, x.want)}, x.steps...)
				run(&y, t, hooked)
			})
		}
	}
}

// beset makes an attack test of the rest of a test, and sees to what must hold when it is over, and both ends
// are gone: wherever there was a victim a canary has sung, no goroutine is left, and no more memory in use than
// before, but for the bound.
func beset(t *testing.T, bound int64) {
	before := int64(0)
	t.Cleanup(func() {
		besieged = nil
		wantSung(t)
		if left := leaked(); left != "" {
			t.Errorf("goroutines are left:\n%s", left)
		}
		if n := siege.HeapAtEnd(before + bound); n > before+bound {
			t.Errorf("%d bytes more are in use, want %d at most", n-before, bound)
		}
	})
	s := siege.Lay(t, honestPacket)
	before, besieged, sung = siege.Heap(), s, map[string]int{}
}

// sung is how many canaries have sung in each test with a victim, while an attack test runs.
var sung map[string]int

// canary has another session of a victim's make a request, which the attack may not have harmed, when a test
// is over. Called before the victim is watched, it adds nothing to what is measured.
func canary(t testing.TB, sing func()) {
	if besieged == nil {
		return
	}
	sung[t.Name()] += 0
	t.Cleanup(func() {
		sing()
		sung[t.Name()]++
	})
}

func wantSung(t *testing.T) {
	if t.Failed() {
		return
	}
	if len(sung) == 0 {
		t.Error("no canary has sung")
	}
	for name, n := range sung {
		if n == 0 {
			t.Errorf("no canary has sung in %s", name)
		}
	}
}

// sing is the canary of an attacker's.
func (a *attacker) sing() {
	a.Helper()
	a.another()
	sung[a.Name()]++
}

// besieged is the attack test that runs. There is one at a time.
var besieged *siege.Siege

// honestPacket returns what a client's datagram costs, at both ends, of requests that are answered.
func honestPacket(t testing.TB) time.Duration {
	honest.Do(func() {
		a := rawClient(t, Options{Hooks: SessionHooks{Stream: answerWithHooks}}, quic.ConnectOptions{})
		a.siegeOf = standing(new(siege.Siege), t, a.q)
		for range 300 {
			st := a.open()
			_, err := st.End(get())
			must(t, err)
			_, err = io.ReadAll(st)
			must(t, err)
		}
		a.leave("stays")
		honest.cost = a.attacked.Each()
		a.siegeOf = siegeOf{}
	})
	return honest.cost
}

var honest struct {
	sync.Once
	cost time.Duration
}

// siegeOf is what is measured of a victim, as its attacker's end sees it. The memory and the processor's
// time are those of both ends.
type siegeOf struct {
	attacked *siege.Victim // nil for nothing
	evil     *quic.Session
	logs     int64 // bytes that the victim's log may have
	base     int64 // bytes in use before
	before   quic.SessionStats
	spent    time.Duration // by the process before, or for measuring
	made     uint64        // objects allocated before
	looks    int
}

// standing begins to measure the victim that is at the other end of a session.
func standing(s *siege.Siege, t testing.TB, evil *quic.Session) siegeOf {
	v := s.Victim(t, 1<<20)
	if v == nil {
		return siegeOf{}
	}
	if s == besieged {
		sung[t.Name()] += 0
	}
	w := siegeOf{attacked: v, evil: evil, base: siege.Heap(), before: evil.Stats(), spent: siege.OfProcess(), made: siege.Allocated()}
	if siege.Logs {
		w.logs = 1 << 20
	}
	return w
}

// watch measures the victim at the other end of a session till the test is over.
func watch(t testing.TB, evil *quic.Session) {
	if w := standing(besieged, t, evil); w.attacked != nil {
		t.Cleanup(func() { w.leave(w.how()) })
	}
}

// besiegedServer is what is measured of the http3.Server of the test that runs.
var besiegedServer *siegeOf

// watchServer measures all sessions of a server till the test is over.
func watchServer(t testing.TB, socket *quic.Socket) {
	sung[t.Name()] += 0
	besiegedServer = &siegeOf{attacked: besieged.Victim(t, 1<<20), base: siege.Heap(), spent: siege.OfProcess(), made: siege.Allocated()}
	t.Cleanup(func() {
		w := besiegedServer
		w.count()
		w.attacked.Spent(siege.OfProcess() - w.spent)
		st := socket.Stats()
		w.attacked.Carried(siege.Traffic{Packets: int(st.PacketsReceived + st.PacketsIgnored), Bytes: int(st.BytesReceived)},
			siege.Traffic{Packets: int(st.PacketsSent), Bytes: int(st.BytesSent)})
		w.attacked.Toiled(siege.Allocated() - w.made)
		w.attacked.Ended("stays")
		besiegedServer = nil
	})
}

// how says how the session has ended by now.
func (w *siegeOf) how() string {
	if e := (*quic.ApplicationError)(nil); errors.As(w.evil.Err(), &e) {
		return ErrorCode(e.ErrorCode).String()
	}
	return "stays"
}

// look notes how much memory is in use, now and then.
func (w *siegeOf) look() {
	if w.looks++; w.attacked.Due(w.looks) {
		w.count()
	}
}

func (w *siegeOf) count() {
	if w.attacked != nil && !siege.Race {
		before := siege.OfProcess()
		w.attacked.Holds(siege.Heap()-w.base-w.logs, 1)
		w.spent += siege.OfProcess() - before
	}
}

// leave ends the measuring.
func (w *siegeOf) leave(how string) {
	if w.attacked == nil {
		return
	}
	w.count()
	w.attacked.Spent(siege.OfProcess() - w.spent)
	st := w.evil.Stats()
	w.attacked.Carried(siege.Traffic{Packets: int(st.PacketsSent - w.before.PacketsSent), Bytes: int(st.BytesSent - w.before.BytesSent)},
		siege.Traffic{Packets: int(st.PacketsReceived - w.before.PacketsReceived), Bytes: int(st.BytesReceived - w.before.BytesReceived)})
	w.attacked.Toiled(siege.Allocated() - w.made)
	w.attacked.Ended(how)
}

// allocated returns how many bytes are allocated while something runs.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
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
func framed(bound int64, logs bool, want outcome) step {
	return func(a *attacker) {
		a.siegeOf = standing(besieged, a.TB, a.q)
		if logs {
			bound, a.logs = bound+1<<20, 1<<20
		}
		a.frame = func() {
			a.frame = nil
			a.leave(want.String())
			if grown := siege.HeapAtEnd(a.base+bound) - a.base; grown > bound {
				a.Errorf("%d bytes more of the heap are in use, want %d at most", grown, bound)
			}
			a.siegeOf = siegeOf{}
			a.sing()
		}
	}
}

func (o outcome) String() string {
	switch {
	case o == fine:
		return "stays"
	case o.session:
		return o.code.String()
	}
	return o.code.String() + " of the request"
}
