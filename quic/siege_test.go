package quic

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// besieged is the attack test that runs. There is one at a time.
var besieged *siege.Siege

// sung is how many canaries have sung in it.
var sung int

// besiege makes an attack test of the rest of a test, and sees to what must hold when it is over: a canary has
// sung, no goroutine is left, and no more memory in use than before, but for the bound. The rest of the frame is
// canaries, for sessions that the attack may not have harmed, and what a network in memory does when it is closed.
func besiege(t *testing.T, bound int64) {
	before := int64(0)
	t.Cleanup(func() {
		besieged = nil
		if sung == 0 && !t.Failed() {
			t.Error("no canary has sung")
		}
		if left := leaked(); left != "" {
			t.Errorf("goroutines are left:\n%s", left)
		}
		if grown := siege.HeapAtEnd(before+bound) - before; grown > bound {
			t.Errorf("%d bytes more are in use, want %d at most", grown, bound)
		}
	})
	s := siege.Lay(t, func(testing.TB) time.Duration { return honestPacket(t) })
	before, besieged, sung = siege.Heap(), s, 0
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
	made     uint64        // objects allocated before
	looks    int
}

// stand begins to measure.
func (m *memNet) stand() {
	if besieged != nil {
		m.attacked, m.victim = besieged.Victim(m.t, 1<<20), m.server
		m.base, m.spent, m.made = siege.Heap(), siege.OfProcess(), siege.Allocated()
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

// leave ends the measuring, and lets a canary sing: in a session of the client, if that was under attack,
// and else in one of somebody who was not there.
func (m *memNet) leave() {
	if m.attacked == nil || m.t.Failed() {
		return
	}
	defer func() {
		m.net.SetFilter(nil)
		client := m.client
		if m.victim != client {
			client = m.socketAt(netip.MustParseAddrPort("10.0.0.7:7"), SocketOptions{})
			defer client.Destroy(nil)
		}
		sing(m.t, m.server, client, m.options(ConnectOptions{}))
	}()
	m.count()
	m.attacked.Spent(siege.OfProcess() - m.spent)
	st := m.victim.Stats()
	m.attacked.Carried(siege.Traffic{Packets: int(st.PacketsReceived + st.PacketsIgnored), Bytes: int(st.BytesReceived)},
		siege.Traffic{Packets: int(st.PacketsSent), Bytes: int(st.BytesSent)})
	m.attacked.Toiled(siege.Allocated() - m.made)
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

// sing connects a client, and has the server send it something, and the client answer. Nobody has to accept the session.
func sing(t testing.TB, server, client *Socket, o ConnectOptions) {
	t.Helper()
	ctx := testContext(t)
	c, err := client.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy(nil)
	if err := c.Handshake(ctx); err != nil {
		t.Fatalf("the canary: %v", err)
	}
	server.mu.Lock()
	sessions := server.sessions()
	server.mu.Unlock()
	i := slices.IndexFunc(sessions, func(v *Session) bool { return v.RemoteAddress().Port() == c.Address().Port() })
	if i < 0 {
		t.Fatalf("the canary is none of %d sessions", len(sessions))
	}
	out, err := sessions[i].OpenStream(ctx, StreamOptions{})
	if err != nil {
		t.Fatalf("the canary: %v", err)
	}
	if _, err := out.End([]byte("tweet")); err != nil {
		t.Fatalf("the canary: %v", err)
	}
	in, err := c.AcceptStream(ctx)
	if err != nil {
		t.Fatalf("the canary: %v", err)
	}
	if _, err := io.Copy(in, in); err != nil {
		t.Errorf("the canary: %v", err)
	}
	_ = in.CloseWrite()
	if b, err := io.ReadAll(out); string(b) != "tweet" || err != nil {
		t.Errorf("the canary sings %q, %v", b, err)
	}
	sung++
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
