package quic

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// besieged is the attack test that runs. There is one at a time.
var besieged *siege.Siege

// besiege makes an attack test of the rest of a test, and sees to what must hold when it is over: no
// goroutine is left, and no more memory in use than before, but for the bound. The rest of the frame is canaries,
// which runs within, and what a network in memory measures of its server meanwhile.
func besiege(t *testing.T, bound int64) {
	before := int64(0)
	t.Cleanup(func() {
		besieged = nil
		if left := leaked(); left != "" {
			t.Errorf("goroutines are left:\n%s", left)
		}
		if grown := siege.Heap() - before; grown > bound {
			t.Errorf("%d bytes more are in use, want %d at most", grown, bound)
		}
	})
	s := siege.Lay(t, func(testing.TB) time.Duration { return honestPacket(t) })
	before, besieged = siege.Heap(), s
}

// honestPacket returns what a datagram costs, at both ends, of sessions that shake hands and exchange a little.
func honestPacket(t *testing.T) time.Duration {
	honest.Do(func() {
		synctest.Test(t, func(t *testing.T) {
			besieged = new(siege.Siege)
			defer func() { besieged = nil }()
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
			for range 100 {
				p := m.pair(ConnectOptions{})
				p.exchange(t)
				p.client.Destroy(nil)
				time.Sleep(time.Second)
			}
			m.close()
			honest.cost = m.attacked.Each()
		})
	})
	return honest.cost
}

var honest struct {
	sync.Once
	cost time.Duration
}

// siegeOf is what is measured of a network in memory under attack. The memory and the processor's time
// are those of both ends.
type siegeOf struct {
	attacked *siege.Victim // nil for nothing
	victim   *Socket
	base     int64         // bytes in use before
	spent    time.Duration // by the process before, or for measuring
	looks    int
}

// stand begins to measure.
func (m *memNet) stand() {
	if besieged != nil {
		m.attacked, m.victim = besieged.Victim(m.t, 1<<20), m.server
		m.base, m.spent = siege.Heap(), siege.OfProcess()
		m.attacked.Ended("stays")
	}
}

// look notes how much memory is in use, now and then.
func (m *memNet) look() {
	if m.looks++; m.attacked.Due(m.looks) {
		m.count()
	}
}

func (m *memNet) count() {
	if m.attacked == nil || siege.Logs || siege.Race {
		return
	}
	n, _ := m.linked()
	before := siege.OfProcess()
	m.attacked.Holds(siege.Heap()-m.base, n)
	m.spent += siege.OfProcess() - before
}

// leave ends the measuring.
func (m *memNet) leave() {
	if m.attacked == nil {
		return
	}
	m.count()
	m.attacked.Spent(siege.OfProcess() - m.spent)
	st := m.victim.Stats()
	m.attacked.Carried(siege.Traffic{Packets: int(st.PacketsReceived + st.PacketsIgnored), Bytes: int(st.BytesReceived)},
		siege.Traffic{Packets: int(st.PacketsSent), Bytes: int(st.BytesSent)})
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
