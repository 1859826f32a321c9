package quic

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// carried counts what the in-memory network carries, by the port it comes from.
type carried struct {
	mu        sync.Mutex
	datagrams map[netip.AddrPort]uint64
	bytes     map[netip.AddrPort]uint64
}

func (c *carried) filter(d *dgram.Datagram) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.datagrams[d.Path.Remote]++
	c.bytes[d.Path.Remote] += uint64(len(d.Data))
	return false
}

// What sockets say that they have sent and received is what the network has carried.
func TestSocketTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &carried{datagrams: make(map[netip.AddrPort]uint64), bytes: make(map[netip.AddrPort]uint64)}
		m := newMemNet(t, udp.NetworkOptions{Filter: c.filter}, SocketOptions{}, ListenOptions{})
		defer m.close()
		if a, b := m.server.Stats(), m.client.Stats(); a.BytesSent+a.BytesReceived+a.PacketsReceived+a.PacketsSent+b.BytesSent+b.PacketsSent != 0 {
			t.Errorf("%+v\n%+v", a, b)
		}
		p := m.pair(ConnectOptions{})
		var last [2]SocketStats
		for range 3 {
			p.exchange(t)
			time.Sleep(time.Second)
			for i, s := range []*Socket{m.server, m.client} {
				st, here, there := s.Stats(), s.Address(), memServer
				if i == 0 {
					there = m.client.Address()
				}
				if st.BytesSent != c.bytes[here] || st.BytesSent <= last[i].BytesSent {
					t.Errorf("BytesSent is %d, the network has carried %d", st.BytesSent, c.bytes[here])
				}
				if st.PacketsSent != c.datagrams[here] || st.PacketsSent <= last[i].PacketsSent {
					t.Errorf("PacketsSent is %d, the network has carried %d", st.PacketsSent, c.datagrams[here])
				}
				if st.BytesReceived != c.bytes[there] || st.BytesReceived <= last[i].BytesReceived {
					t.Errorf("BytesReceived is %d, the network has carried %d", st.BytesReceived, c.bytes[there])
				}
				if st.PacketsReceived != c.datagrams[there] || st.PacketsIgnored != 0 || st.PacketsReceived <= last[i].PacketsReceived {
					t.Errorf("PacketsReceived is %d, the network has carried %d", st.PacketsReceived, c.datagrams[there])
				}
				last[i] = st
			}
		}
		// What the list or the test aid drops is not received, what the aid drops is not sent.
		before := m.server.Stats()
		if err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{RX: 1, TX: 1}); err != nil {
			t.Fatal(err)
		}
		p.client.Ping()
		p.server.Ping()
		time.Sleep(100 * time.Millisecond)
		if err := m.server.SetDiagnosticPacketLoss(DiagnosticPacketLoss{}); err != nil {
			t.Fatal(err)
		}
		if after := m.server.Stats(); after.BytesReceived != before.BytesReceived || after.BytesSent != before.BytesSent || after.PacketsSent != before.PacketsSent || after.PacketsReceived != before.PacketsReceived {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		if err := m.server.BlockList().AddAddress(m.client.Address().Addr()); err != nil {
			t.Fatal(err)
		}
		p.client.Ping()
		time.Sleep(100 * time.Millisecond)
		if after := m.server.Stats(); after.BytesReceived != before.BytesReceived || after.PacketsReceived != before.PacketsReceived || after.PacketsIgnored == 0 {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		// What is of no session is received, but no session's.
		r := m.raw("10.0.0.9:9")
		defer r.conn.Close()
		if r.ask(memServer, stray("12345678", 100)) == nil {
			t.Error("no reset")
		}
		if after := m.server.Stats(); after.BytesReceived != before.BytesReceived+100 || after.PacketsReceived != before.PacketsReceived {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		// None falls when the endpoints go.
		here := m.client.Address()
		before = m.client.Stats()
		m.client.Destroy(nil)
		if after := m.client.Stats(); after.BytesSent != c.bytes[here] || after.PacketsSent != c.datagrams[here] || after.PacketsSent <= last[1].PacketsSent ||
			after.BytesReceived < before.BytesReceived || after.PacketsReceived < before.PacketsReceived {
			t.Errorf("before the end %+v\nafter %+v", before, after)
		}
		covers(t, "SOC-028")
		covers(t, "SOC-029")
		covers(t, "SOC-050")
		covers(t, "SOC-051")
	})
	sentToKernel(t)
	covers(t, "SOC-029")
}

// The counts of sessions go up with each one and never down.
func TestSocketSessionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		want := func(n uint64) {
			t.Helper()
			c, s := m.client.Stats(), m.server.Stats()
			if c.ClientSessions != n || c.ServerSessions != 0 || s.ServerSessions != n || s.ClientSessions != 0 {
				t.Errorf("client %d and %d, server %d and %d, want %d", c.ClientSessions, c.ServerSessions, s.ClientSessions, s.ServerSessions, n)
			}
		}
		want(0)
		for i := range uint64(3) {
			p := m.pair(ConnectOptions{})
			want(i + 1)
			p.client.Destroy(nil)
			time.Sleep(time.Minute)
			want(i + 1)
		}
		m.close()
		want(3)
		covers(t, "SOC-030")
		covers(t, "SOC-058")
	})
}

// PacketsIgnored counts what is of no use, of every kind, and PacketsReceived does not.
func TestPacketsIgnoredRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{DisableStatelessReset: true}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		p.exchange(t)
		time.Sleep(time.Second)
		r := m.raw("10.0.0.9:9")
		defer r.conn.Close()
		before := m.server.Stats()
		if n := m.client.Stats().PacketsSent; before.PacketsIgnored != 0 || before.PacketsReceived == 0 || before.PacketsReceived != n {
			t.Errorf("%d packets were sent, PacketsReceived is %d, PacketsIgnored %d", n, before.PacketsReceived, before.PacketsIgnored)
		}
		ignored := func(what string, do func()) {
			t.Helper()
			do()
			synctest.Wait()
			after := m.server.Stats()
			if after.PacketsIgnored != before.PacketsIgnored+1 || after.PacketsReceived != before.PacketsReceived || after.ServerSessions != before.ServerSessions {
				t.Errorf("%s: before %+v\nafter %+v", what, before, after)
			}
			before = after
		}
		long := append([]byte{0xc0, 0, 0, 0, 1, 21}, make([]byte, 1300)...)
		for what, data := range map[string][]byte{
			"one byte":                       {0x40},
			"garbage":                        []byte("\x00 garbage and no packet"),
			"a connection ID of 21 bytes":    long,
			"an unknown connection":          stray("12345678", 100),
			"a short first packet":           long[:100],
			"Version Negotiation to nothing": append([]byte{0xc0, 0, 0, 0, 0, 8}, make([]byte, 100)...),
		} {
			ignored(what, func() {
				if r.ask(memServer, data) != nil {
					t.Errorf("%s is answered", what)
				}
			})
		}
		once := true
		m.net.SetFilter(func(d *dgram.Datagram) bool { // a packet of the session's, damaged on its way
			if d.Path.Local == memServer && once {
				once = false
				d.Data[len(d.Data)-1] ^= 1
				return false
			}
			return true
		})
		heard := p.server.Stats().PacketsReceived
		ignored("a packet that no key fits", func() { p.client.Ping() })
		if once || p.server.Stats().PacketsReceived != heard {
			t.Error("the session has taken a damaged packet")
		}
		m.net.SetFilter(nil)
		if err := m.server.BlockList().AddAddress(netip.MustParseAddr("10.0.0.9")); err != nil {
			t.Fatal(err)
		}
		ignored("a blocked sender", func() { r.ask(memServer, someInitial(wire.MakeConnectionID([]byte("a server")), nil)) })
		covers(t, "SOC-049")
		covers(t, "SOC-050")
	})
}
