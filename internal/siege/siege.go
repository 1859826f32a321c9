// Package siege is what the tests of attacks share, for tests: how often an attack is
// repeated, what is left when it is over, and what it has cost its victim meanwhile.
//
// A test lays a Siege, and each end under attack is a Victim, whose frame tells it what came, what
// went, how much is held and how it ended. Three things fail a test whatever the attack: goroutines
// that stay, a session that holds more than twice the window it has advertised and 128 KiB, and more work, counted
// and not timed, than what came is worth.
// With CINNABAR_COSTS the costs are written down, a line a variant, and Table makes a table of them, in which no attack
// may be missing, and none have cost more processor time than MaxCost:
//
//	CINNABAR_COSTS=$PWD/costs.tsv go test -count 1 -run '^Test[SH][0-9][0-9]' ./internal/transport ./internal/sim ./quic ./http3
//	go run ./internal/siege/costs costs.tsv
package siege

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"
)

// Logs says that every connection under attack keeps a log.
var Logs = os.Getenv("CINNABAR_ATTACK_QLOG") != ""

// Scaled returns how often something is done that is done n times: a hundredth of that
// with -short, and so under the race detector.
func Scaled(n int) int {
	if testing.Short() {
		return n / 100
	}
	return n
}

// Costly is Scaled for what takes long: it is done n times where CINNABAR_ATTACKS is full, for a
// release, and else as often as is usual.
func Costly(n, usual int) int {
	if os.Getenv("CINNABAR_ATTACKS") == "full" {
		return n
	}
	return Scaled(usual)
}

// Heap returns the bytes in use after a collection, without what pools keep.
func Heap() int64 {
	runtime.GC() // what has a finalizer goes at the second
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Allocated returns how many objects the process has made.
func Allocated() uint64 {
	made := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(made)
	return made[0].Value.Uint64()
}

// Ours returns how many goroutines there are that this module or crypto/tls has started.
func Ours() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("created by crypto/tls.")) + bytes.Count(stacks, []byte("created by github.com/cinnabar-quic/"))
}

// patience is longer than a connection may take to close.
const patience = 40 * time.Second

// Leaked returns the stacks of the goroutines in which one of these words stands, after giving them the
// time that closing connections may take: an idle timeout, where the other end has gone without a word.
func Leaked(words ...string) string {
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		left = left[:0]
		buf := make([]byte, 4<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			for _, w := range words {
				if strings.Contains(g, w) && !strings.Contains(g, "TestMain") {
					left = append(left, g)
					break
				}
			}
		}
		if len(left) == 0 {
			return ""
		}
		time.Sleep(25 * time.Millisecond)
	}
	return strings.Join(left, "\n\n")
}

// HeapAtEnd returns the bytes in use once they are no more than most, or what they are when closing
// connections, which hold what they have until their last timer, have had their time.
func HeapAtEnd(most int64) int64 { return atEnd(Heap, most) }

// OursAtEnd returns how many goroutines there are of Ours once they are no more than most, or what they are
// when those that have said their last word have had time to end.
func OursAtEnd(most int) int { return atEnd(Ours, most) }

func atEnd[N int | int64](count func() N, most N) N {
	for end := time.Now().Add(patience); ; time.Sleep(25 * time.Millisecond) {
		if n := count(); n <= most || time.Now().After(end) {
			return n
		}
	}
}

// Siege is one test of an attack.
type Siege struct {
	t      testing.TB
	honest time.Duration

	mu      sync.Mutex
	victims []*Victim
}

// Lay makes an attack test of the rest of a test. honest returns what a packet of an honest peer costs in
// processor time, measured as the attack is; it is called if somebody asks for costs.
func Lay(t testing.TB, honest func(testing.TB) time.Duration) *Siege {
	s := &Siege{t: t}
	t.Cleanup(s.over)
	if Measured() {
		s.honest = honest(t)
	}
	return s
}

// Victim returns an end under attack, in a variant of the attack that has the name of its test. window is how
// many bytes of streams it lets its peer send.
func (s *Siege) Victim(t testing.TB, window int64) *Victim {
	if s == nil {
		return nil
	}
	v := &Victim{t: t, test: t.Name(), window: window, next: 1}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.victims = append(s.victims, v)
	return v
}

// over writes down what the attack has cost.
func (s *Siege) over() {
	s.mu.Lock()
	victims := s.victims
	s.victims = nil
	s.mu.Unlock()
	if !Measured() || s.t.Failed() {
		return
	}
	if err := appendRows(rowsOf(s.t.Name(), victims, s.honest)); err != nil {
		s.t.Errorf("%s: %v", costsVariable, err)
	}
}

// Traffic is datagrams and their bytes.
type Traffic struct{ Packets, Bytes int }

func (t *Traffic) add(packets, bytes int) { t.Packets, t.Bytes = t.Packets+packets, t.Bytes+bytes }

// Victim is an end under attack. A nil one measures nothing.
type Victim struct {
	t       testing.TB
	test    string
	window  int64
	granted int64 // over the bound

	in, out  Traffic
	own      int // bytes of out that its own program has asked for
	turns    int
	cpu      time.Duration
	held     int64 // the most that a session held over what it held before
	unproven float64
	end      string
	next     int // how many datagrams have come when the memory is looked at again
}

// Took counts a datagram that has come, or a timer, with 0 bytes. It reports whether now is a
// time to look at the memory: after the first, and whenever an eighth more has come.
func (v *Victim) Took(bytes int) (look bool) {
	if v == nil {
		return false
	}
	if bytes > 0 {
		v.in.add(1, bytes)
	}
	return v.Due(v.in.Packets)
}

// Due reports whether something has been done so often that it is time to look at the memory.
func (v *Victim) Due(n int) bool {
	if v == nil || n < v.next {
		return false
	}
	v.next = n + n/8 + 1
	return true
}

// Sent counts a datagram that went, and how many of its bytes are the program's own.
func (v *Victim) Sent(bytes, own int) {
	if v != nil {
		v.out.add(1, bytes)
		v.own += own
	}
}

// Carried sets what came and what went, where somebody else counts.
func (v *Victim) Carried(in, out Traffic) {
	if v != nil {
		v.in, v.out = in, out
	}
}

// Unproven notes what has been sent to an address that has proved nothing, against what came from there.
func (v *Victim) Unproven(in, out int) {
	if v != nil && in > 0 {
		v.unproven = max(v.unproven, float64(out)/float64(in))
	}
}

// Turned counts events and batches that came of what came in.
func (v *Victim) Turned(n int) {
	if v != nil {
		v.turns += n
	}
}

// Spend runs what the victim does, and counts the processor's time.
func (v *Victim) Spend(do func()) {
	if v == nil || !Measured() {
		do()
		return
	}
	v.cpu += OfThread(do)
}

// Spent adds processor time that was measured elsewhere.
func (v *Victim) Spent(d time.Duration) {
	if v != nil {
		v.cpu += d
	}
}

// Each returns the processor's time for each datagram that came.
func (v *Victim) Each() time.Duration { return v.cpu / time.Duration(max(v.in.Packets, 1)) }

// Holds says that the victim, which is that many sessions by now, holds so many bytes more than before the
// attack. The bound is that of the project: for each, twice the window that it has advertised, and 128 KiB.
func (v *Victim) Holds(grown int64, sessions int) {
	if v == nil {
		return
	}
	each := grown / int64(max(sessions, 1))
	v.held = max(v.held, each)
	if most := 2*v.window + 128<<10 + v.granted; each > most {
		v.t.Errorf("%d bytes more are held under attack by each of %d sessions, want %d at most: twice the window of %d, 128 KiB, and %d that the test grants",
			each, sessions, most, v.window, v.granted)
	}
}

// Toiled says that the victim has made so many objects, both ends and the test included, since the attack began, and sent
// what Carried told. It may do so much for each datagram, and beyond that so much for each byte as decoding a table
// makes; and send the window of 1 MiB that its program fills.
func (v *Victim) Toiled(made uint64) {
	if v == nil || Logs {
		return
	}
	if most := 10_000 + 500*v.in.Packets + 4*v.in.Bytes; made > uint64(most) {
		v.t.Errorf("%d objects were made for %d datagrams with %d bytes, want %d at most", made, v.in.Packets, v.in.Bytes, most)
	}
	if most := 1000 + 10*v.in.Packets; v.out.Packets > most {
		v.t.Errorf("%d datagrams were sent for %d, want %d at most", v.out.Packets, v.in.Packets, most)
	}
}

// Grant lets the victim hold more than the bound, for what its program has allowed beyond the defaults.
func (v *Victim) Grant(bytes int64) {
	if v != nil {
		v.granted = bytes
	}
}

// Ended says how it ended: with a code, or that the victim stays.
func (v *Victim) Ended(how string) {
	if v != nil {
		v.end = how
	}
}
