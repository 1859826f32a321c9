//go:build !race

package quic

import (
	"bytes"
	"io"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

const (
	memorySessions = 200
	kib            = 1 << 10
)

// retained returns the bytes that objects in use and stacks take, and all that were ever allocated.
func retained() (now, ever int) {
	synctest.Wait()
	for range 3 { // what pools hold goes at the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse), int(m.TotalAlloc)
}

// memoryRig has the first flights of many clients, which are gone themselves.
type memoryRig struct {
	*memNet
	flights [memorySessions][][]byte
}

// newMemoryRig makes clients without a server that would hear them.
func newMemoryRig(t *testing.T) *memoryRig {
	many := 2 * memorySessions
	m := &memoryRig{memNet: newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: many}, ListenOptions{})}
	for i := range m.flights {
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Local == memServer {
				m.flights[i] = append(m.flights[i], bytes.Clone(d.Data))
			}
			return true
		})
		c := m.connect(ConnectOptions{})
		synctest.Wait()
		c.Destroy(nil)
	}
	time.Sleep(time.Minute) // nothing is left of the clients
	return m
}

// say sends the server one datagram of each client's first flight.
func (m *memoryRig) say(which int) {
	m.t.Helper()
	m.net.SetFilter(func(d *dgram.Datagram) bool { return d.Path.Local != memServer })
	for i, flight := range m.flights {
		if len(flight) < 2 {
			m.t.Fatalf("a ClientHello in %d datagrams", len(flight))
		}
		from, err := m.net.Listen(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.3"), uint16(1000+i)))
		if err != nil {
			m.t.Fatal(err)
		}
		b := dgram.NewBatch(make([]byte, 0, 1500))
		b.Commit(copy(b.Next(1500)[:1500], flight[which]))
		b.Path = dgram.Path{Local: from.LocalAddr(), Remote: memServer}
		if err := from.Send(b); err != nil {
			m.t.Fatal(err)
		}
		from.Close()
		synctest.Wait()
	}
}

// What a server holds for a client that has said half a hello, and for one that has not
// proven to be there: measured over many clients, of which none goes on. Of the second figure
// half is crypto/tls, with a stack of 8 KiB for its goroutine.
func TestMemoryOfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryRig(t)
		defer m.close()
		before, _ := retained()
		m.say(0)
		half, ever := retained()
		check := func(what string, bytes, most int) {
			t.Helper()
			if bytes /= memorySessions; bytes > most {
				t.Errorf("%s: %d bytes, and not at most %d", what, bytes, most)
			}
			t.Logf("%s: %d bytes", what, bytes)
		}
		check("until the ClientHello is complete", half-before, 14*kib)
		m.say(1)
		whole, everThen := retained()
		check("waiting for Finished", whole-before, 44*kib)
		// Garbage and all: more than there ever was at a time.
		check("allocated from there on", everThen-ever, 96*kib)
		if st := m.server.Stats(); st.ServerSessions != memorySessions {
			t.Errorf("%d sessions", st.ServerSessions)
		}
	})
}

// What an idle session holds at either end.
func TestMemoryOfIdleSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := 2 * memorySessions
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: many}, ListenOptions{})
		defer m.close()
		var pairs []*pair
		exchange := func() {
			p := m.pair(ConnectOptions{})
			pairs = append(pairs, p)
			c, err := p.client.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.End(make([]byte, 100))
			s, err := p.server.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, s)
			s.End(make([]byte, 1000))
			io.Copy(io.Discard, c)
		}
		exchange()
		time.Sleep(2 * engineLife)
		before, _ := retained()
		for range memorySessions {
			exchange()
		}
		time.Sleep(2 * engineLife)
		after, _ := retained()
		bytes := (after - before) / memorySessions
		t.Logf("a pair: %d bytes", bytes)
		if bytes > 23*kib { // where each end may have 16
			t.Errorf("a pair: %d bytes", bytes)
		}
		runtime.KeepAlive(pairs)
	})
}
