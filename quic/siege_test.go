package quic

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// besieged says that an attack test runs. There is one at a time.
var besieged bool

// logs makes all sessions under attack keep a log.
var logs = os.Getenv("CINNABAR_ATTACK_QLOG") != ""

// besiege makes an attack test of the rest of a test, and sees to what must hold when it is over: no
// goroutine is left, and no more memory in use than before, but for the bound. The rest of the frame is canaries,
// which runs within.
func besiege(t *testing.T, bound int64) {
	before := heapNow()
	besieged = true
	t.Cleanup(func() {
		besieged = false
		if left := leaked(); left != "" {
			t.Errorf("goroutines are left:\n%s", left)
		}
		if grown := heapNow() - before; grown > bound {
			t.Errorf("%d bytes more are in use, want %d at most", grown, bound)
		}
	})
}

// heapNow returns the bytes in use, without what pools keep.
func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// scaled returns how often something is done that is done n times: a hundredth of that
// with -short, and so under the race detector.
func scaled(n int) int {
	if testing.Short() {
		return n / 100
	}
	return n
}

// costly is scaled for what takes long: it is done n times where CINNABAR_ATTACKS is full, for a
// release, and else as often as is usual.
func costly(n, usual int) int {
	if os.Getenv("CINNABAR_ATTACKS") == "full" {
		return n
	}
	return scaled(usual)
}

// canaries says that time goes on, that sessions which an attack may not have harmed carry data both ways, and
// that the server takes another one, which does so too.
func (m *memNet) canaries(sessions ...*pair) {
	m.t.Helper()
	synctest.Wait()
	time.Sleep(time.Second)
	for _, p := range append(sessions, m.pair(ConnectOptions{})) {
		p.exchange(m.t)
		m.readable(&p.server.Session)
		m.readable(&p.client.Session)
	}
}

// readable looks at the log that a session keeps, if it does: what is there can be read, whatever the
// peer has put into it, and is bounded.
func (m *memNet) readable(s *Session) {
	m.t.Helper()
	log := s.QLog()
	if log == nil {
		return
	}
	s.Destroy(nil)
	b, err := io.ReadAll(log)
	if len(b) == 0 || len(b) > 2<<20 || err != nil {
		m.t.Errorf("a log of %d bytes, %v", len(b), err)
	}
	wantRecords(m.t, b)
}

// wantRecords says that a log is a sequence of JSON texts, in which nothing stands raw that a terminal would obey.
func wantRecords(t testing.TB, log []byte) {
	t.Helper()
	for record := range bytes.SplitSeq(log, []byte{0x1e}) {
		record = bytes.TrimSuffix(record, []byte{'\n'})
		if len(record) == 0 {
			continue
		}
		if i := bytes.IndexFunc(record, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 || !json.Valid(record) {
			t.Fatalf("the log has %q", record)
		}
	}
}
