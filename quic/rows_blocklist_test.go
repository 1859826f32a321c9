package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// blocks checks which addresses a list matches, "!" before one meaning that it does not.
func blocks(t *testing.T, b *BlockList, addresses ...string) {
	t.Helper()
	for _, a := range addresses {
		a, free := strings.CutPrefix(a, "!")
		if got := b.Check(netip.MustParseAddr(a)); got == free {
			t.Errorf("Check(%s) is %v", a, got)
		}
	}
}

func TestBlockListRules(t *testing.T) {
	ip, prefix := netip.MustParseAddr, netip.MustParsePrefix
	var b BlockList
	blocks(t, &b, "!10.0.0.1", "!::", "!0.0.0.0")

	if err := b.AddAddress(ip("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	if err := b.AddAddress(ip("2001:db8::7")); err != nil {
		t.Fatal(err)
	}
	blocks(t, &b, "10.0.0.1", "!10.0.0.0", "!10.0.0.2", "2001:db8::7", "!2001:db8::6", "!2001:db8::8")
	addressRuleBites(t, ip("10.0.0.1"), func(b *BlockList) error { return b.AddAddress(ip("10.0.0.1")) })
	covers(t, "BLK-001")

	b = BlockList{}
	if err := b.AddRange(ip("10.0.0.5"), ip("10.0.1.2")); err != nil {
		t.Fatal(err)
	}
	if err := b.AddRange(ip("fd00::10"), ip("fd00::1f")); err != nil {
		t.Fatal(err)
	}
	blocks(t, &b, "!10.0.0.4", "10.0.0.5", "10.0.0.255", "10.0.1.2", "!10.0.1.3", "!fd00::f", "fd00::10", "fd00::1f", "!fd00::20")
	wantOption(t, b.AddRange(ip("10.0.0.9"), ip("10.0.0.8")), "BlockList.AddRange", CodeInvalidArgValue)
	wantOption(t, b.AddRange(ip("10.0.0.9"), ip("fd00::1")), "BlockList.AddRange", CodeInvalidArgValue)
	wantOption(t, b.AddRange(netip.Addr{}, ip("fd00::1")), "BlockList.AddRange", CodeInvalidArgValue)
	blocks(t, &b, "10.0.0.9", "!fd00::1", "!fd00::20")
	covers(t, "BLK-002")

	b = BlockList{}
	if err := b.AddSubnet(prefix("192.168.17.5/20")); err != nil { // its first address is 192.168.16.0
		t.Fatal(err)
	}
	if err := b.AddSubnet(prefix("2001:db8::/33")); err != nil {
		t.Fatal(err)
	}
	blocks(t, &b, "!192.168.15.255", "192.168.16.0", "192.168.31.255", "!192.168.32.0",
		"2001:db8::", "2001:db8:7fff:ffff::1", "!2001:db8:8000::")
	wantOption(t, b.AddSubnet(netip.PrefixFrom(ip("10.0.0.0"), 33)), "BlockList.AddSubnet", CodeInvalidArgValue)
	b = BlockList{}
	if err := b.AddSubnet(prefix("0.0.0.0/0")); err != nil {
		t.Fatal(err)
	}
	blocks(t, &b, "0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4", "!::1", "!2001::")
	addressRuleBites(t, ip("10.0.0.1"), func(b *BlockList) error { return b.AddSubnet(prefix("10.0.0.0/31")) })
	covers(t, "BLK-003")

	b = BlockList{}
	wantOption(t, b.AddAddress(netip.Addr{}), "BlockList.AddAddress", CodeInvalidArgValue)
	_ = b.AddAddress(ip("::ffff:10.9.9.9")) // written inside IPv6, it is an IPv4 rule
	_ = b.AddSubnet(netip.PrefixFrom(ip("::ffff:172.16.0.0"), 96+12))
	_ = b.AddAddress(ip("10.0.0.1"))
	_ = b.AddAddress(ip("fe80::1%eth0"))
	blocks(t, &b, "10.9.9.9", "::ffff:10.9.9.9", "172.31.0.1", "!172.32.0.1", "10.0.0.1", "::ffff:10.0.0.1",
		"!::ffff:10.0.0.2", "fe80::1", "fe80::1%eth1", "!fe80::2")
	covers(t, "BLK-004")
}

// addressRuleBites adds a rule against the server to a socket that has a session with it:
// from then on the socket hears nothing from there, and connects to it no more.
func addressRuleBites(t *testing.T, server netip.Addr, rule func(b *BlockList) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		time.Sleep(time.Second)
		if err := rule(m.client.BlockList()); err != nil {
			t.Fatal(err)
		}
		before := m.client.Stats()
		_ = p.server.Ping()
		time.Sleep(time.Second)
		after := m.client.Stats()
		if after.PacketsIgnored == before.PacketsIgnored || after.BytesReceived != before.BytesReceived {
			t.Errorf("a packet from %v: before %+v\nafter %+v", server, before, after)
		}
		if _, err := m.client.Connect(t.Context(), m.options(ConnectOptions{})); err == nil || m.client.Stats().ClientSessions != before.ClientSessions {
			t.Errorf("connected to %v: %v", server, err)
		}
	})
}

// Rules that overlap become one, whatever the order they come in.
func TestBlockListMerges(t *testing.T) {
	v4 := func(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}) }
	for seed := range 200 {
		var b BlockList
		var want [64]bool
		x := uint32(seed)*2654435761 + 1
		for range 12 {
			x = x*1664525 + 1013904223
			from := int(x >> 26)
			to := min(from+int(x>>16&7), 63)
			if err := b.AddRange(v4(from), v4(to)); err != nil {
				t.Fatal(err)
			}
			for i := from; i <= to; i++ {
				want[i] = true
			}
		}
		for i, w := range want {
			if b.Check(v4(i)) != w {
				t.Fatalf("seed %d: Check(%v) is %v", seed, v4(i), !w)
			}
		}
		for i := 1; i < len(b.ranges); i++ {
			if !b.ranges[i-1].last.Less(b.ranges[i].first) {
				t.Fatalf("seed %d: %v", seed, b.ranges)
			}
		}
	}
}

// wantOption checks that err is about an option, with the code.
func wantOption(t *testing.T, err error, option, code string) {
	t.Helper()
	var oe *OptionError
	if !errors.As(err, &oe) || oe.Option != option || oe.Code() != code || !strings.Contains(err.Error(), option) {
		t.Errorf("want %s for %s, got %v", code, option, err)
	}
}

// A blocked client is not heard at all: a new one gets no session, and one that has
// a session runs into its idle timeout.
func TestBlockListInbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{
			Handler: func(*ServerSession) error { taken++; return nil },
		})
		defer m.close()
		list := m.server.BlockList()
		if list == nil || list != m.server.BlockList() || m.client.BlockList() == nil || list == m.client.BlockList() {
			t.Fatal("a socket has no list of its own")
		}
		_ = list.AddSubnet(netip.MustParsePrefix("10.0.0.2/32"))
		c := m.connect(ConnectOptions{HandshakeTimeout: 3 * time.Second})
		var timeout net.Error
		if err := c.Handshake(t.Context()); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a blocked client ends with %v", err)
		}
		st := m.server.Stats()
		if st.PacketsIgnored == 0 || st.BytesReceived != 0 || st.PacketsReceived != 0 || st.PacketsSent != 0 || st.ServerSessions != 0 || st.ServerBusyCount != 0 || taken != 0 {
			t.Errorf("%d handlers, %+v", taken, st)
		}
		if n := m.client.Stats().BytesReceived; n != 0 {
			t.Errorf("a blocked client hears %d bytes", n)
		}
		covers(t, "SOC-022")
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: 3 * time.Second})
		time.Sleep(time.Second)
		before, heard := m.server.Stats(), p.server.Stats().BytesReceived
		_ = m.server.BlockList().AddAddress(netip.MustParseAddr("10.0.0.2"))
		_ = p.client.Ping()
		<-p.client.Closed()
		var idle *IdleTimeoutError
		if err := p.client.Err(); !errors.As(err, &idle) || !p.client.Stats().IdleTimeout {
			t.Errorf("the blocked client ends with %v", err)
		}
		after := m.server.Stats()
		if after.PacketsIgnored == before.PacketsIgnored || after.BytesReceived != before.BytesReceived ||
			after.PacketsReceived != before.PacketsReceived || p.server.Stats().BytesReceived != heard {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		covers(t, "SOC-023")
	})
}

func TestBlockListConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		_ = m.client.BlockList().AddRange(netip.MustParseAddr("10.0.0.0"), memServer.Addr())
		byName := m.options(ConnectOptions{Lookup: func(context.Context, string, int) (netip.Addr, error) {
			return netip.AddrFrom16(memServer.Addr().As16()), nil // written inside IPv6
		}})
		byName.Address = "server.example"
		for _, o := range []ConnectOptions{m.options(ConnectOptions{}), byName} {
			c, err := m.client.Connect(t.Context(), o)
			if c != nil || !errors.Is(err, ErrOperationFailed) {
				t.Errorf("Connect to a blocked server: %v, %v", c, err)
			}
			wantCode(t, err, CodeOperationFailed)
			if !strings.Contains(err.Error(), "10.0.0.1") {
				t.Errorf("%v names no address", err)
			}
		}
		synctest.Wait()
		if st := m.client.Stats(); st.PacketsSent != 0 || st.ClientSessions != 0 || m.client.Bound() {
			t.Errorf("%+v, bound %v", st, m.client.Bound())
		}
		if st := m.server.Stats(); st.BytesReceived != 0 || st.PacketsIgnored != 0 {
			t.Errorf("the server has heard something: %+v", st)
		}
		covers(t, "SOC-024")

		// Neither does a session move to a socket that blocks its server.
		free := m.socket(SocketOptions{})
		defer free.Destroy(nil)
		c, err := free.Connect(t.Context(), m.options(ConnectOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.SetSocket(t.Context(), m.client, false); !errors.Is(err, ErrOperationFailed) || c.Socket() != free {
			t.Errorf("SetSocket: %v", err)
		}
	})
}
