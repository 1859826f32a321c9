package udp

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

func onSocket(t testing.TB, c Conn, f func(fd int) error) {
	t.Helper()
	raw, err := PacketConn(c).(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if ctl := raw.Control(func(fd uintptr) { err = f(int(fd)) }); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
}

func option(t testing.TB, c Conn, level, name int) (value int) {
	t.Helper()
	onSocket(t, c, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
	return value
}

func setOption(t testing.TB, c Conn, level, name, value int) {
	t.Helper()
	onSocket(t, c, func(fd int) error { return unix.SetsockoptInt(fd, level, name, value) })
}

func TestFeatures(t *testing.T) {
	for _, loopback := range append(loopbacks(t), "0.0.0.0:0") {
		f := listen(t, "udp", loopback, Options{}).Features()
		if !f.GSO || !f.GRO || !f.ECN || !f.PktInfo || !f.DF {
			t.Errorf("%s: %+v, want all: Linux 5.0 and later have them", loopback, f)
		}
		if f.Wanted != DefaultBuffer || f.ReceiveBuffer <= 0 || f.SendBuffer <= 0 {
			t.Errorf("%s: %+v", loopback, f)
		}
		f = listen(t, "udp", loopback, Options{DisableGSO: true, DisableGRO: true, DisableECN: true}).Features()
		if f.GSO || f.GRO || f.ECN || !f.PktInfo || !f.DF {
			t.Errorf("%s: %+v, want none that were disabled", loopback, f)
		}
	}
}

func TestOneCallABatch(t *testing.T) {
	for _, loopback := range loopbacks(t) {
		a, b := listen(t, "udp", loopback, Options{}), listen(t, "udp", loopback, Options{})
		for n, sizes := range [][]int{run(45, 1452), run(64, 1000, []int{}...), run(30, 1452, 7)} {
			send(t, a, batch(t, b.LocalAddr(), sizes...))
			if got := a.Stats().SendCalls; got != uint64(n+1) {
				t.Fatalf("%d calls to send %d batches", got, n+1)
			}
			dst := make([]dgram.Datagram, 128)
			before := b.Stats().ReceiveCalls
			k, _, err := b.Receive(newPool(), dst)
			if err != nil || k != len(sizes) {
				t.Fatalf("%d datagrams, %v; want %d in one call", k, err, len(sizes))
			}
			// One read, and one that finds nothing if the slab still had room.
			if calls := b.Stats().ReceiveCalls - before; calls > 2 {
				t.Fatalf("%d system calls to receive one batch", calls)
			}
			wantSizes(t, dst[:k], sizes...)
		}
	}
}

// Datagrams that the kernel did not join are still handed out together.
func TestReceiveDrains(t *testing.T) {
	a, b := listen(t, "udp", "127.0.0.1:0", Options{}), listen(t, "udp", "127.0.0.1:0", Options{})
	const n = 20
	for range n {
		send(t, a, batch(t, b.LocalAddr(), 1200))
	}
	dst := make([]dgram.Datagram, 128)
	if k, _, err := b.Receive(newPool(), dst); k != n || err != nil {
		t.Fatalf("%d datagrams, %v; want %d", k, err, n)
	}
}

// Datagrams of nothing, and trains of odd segments, which the kernel joins, count as any others for the room that
// a caller has, and each call ends.
func TestEmptyAndOddDatagrams(t *testing.T) {
	a, b := listen(t, "udp", "127.0.0.1:0", Options{}), listen(t, "udp", "127.0.0.1:0", Options{})
	trains := [][]int{{0}, run(40, 7, 3), {0}, {0}, {1}, run(33, 1199, 1), {0}, run(21, 1), {0}, run(8, 1301, 0), {0}}
	const room = 8
	for range 3 {
		var sizes []int
		for _, train := range trains {
			send(t, a, batch(t, b.LocalAddr(), train...))
			sizes = append(sizes, train...)
		}
		var got []dgram.Datagram
		slabs, dst, calls := newPool(), make([]dgram.Datagram, room), 0
		for ; len(got) < len(sizes); calls++ {
			n, slab, err := b.Receive(slabs, dst)
			if err != nil || n < 1 || n > room {
				t.Fatalf("%d datagrams in room for %d: %v", n, room, err)
			}
			for _, d := range dst[:n] {
				d.Data = bytes.Clone(d.Data)
				got = append(got, d)
			}
			slabs.Put(slab)
		}
		var want []dgram.Datagram
		for _, train := range trains {
			wantSizes(t, got[len(want):len(want)+len(train)], train...)
			want = got[:len(want)+len(train)]
		}
		if len(got) != len(want) || calls < len(sizes)/room || calls > len(sizes) {
			t.Errorf("%d datagrams of %d in %d calls", len(got), len(want), calls)
		}
		if n := slabs.lent(); n != 0 {
			t.Errorf("%d slabs did not come back", n)
		}
	}
	empty := make([]int, 3*room)
	for range empty {
		send(t, a, batch(t, b.LocalAddr(), 0))
	}
	for left := len(empty); left > 0; {
		n, slab, err := b.Receive(newPool(), make([]dgram.Datagram, room))
		if err != nil || n < 1 || n > room || slab == nil {
			t.Fatalf("%d datagrams of nothing in room for %d: %v", n, room, err)
		}
		left -= n
	}
	if s := b.Stats(); s.Truncated != 0 || s.Received < uint64(len(empty)) {
		t.Errorf("%+v", s)
	}
}

// A read that does not fit the rest of the slab goes on in another, and the datagram
// that lies across the two is whole again in the next call.
func TestReadSpills(t *testing.T) {
	a, b := listen(t, "udp", "127.0.0.1:0", Options{}), listen(t, "udp", "127.0.0.1:0", Options{})
	var sizes []int
	for range 3 {
		send(t, a, batch(t, b.LocalAddr(), run(20, 1452)...))
		sizes = append(sizes, run(20, 1452)...)
	}
	slabs, dst := newPool(), make([]dgram.Datagram, 256)
	k, slab, err := b.Receive(slabs, dst)
	if want := SlabSize / 1452; err != nil || k != want {
		t.Fatalf("%d datagrams, %v; want the %d that a slab has room for", k, err, want)
	}
	var all []dgram.Datagram
	for _, d := range dst[:k] {
		d.Data = bytes.Clone(d.Data)
		all = append(all, d)
	}
	slabs.Put(slab)
	if n := slabs.lent(); n != 1 {
		t.Fatalf("%d slabs are out, want the one with the rest", n)
	}
	k, slab, err = b.Receive(slabs, dst)
	if err != nil || len(all)+k != len(sizes) {
		t.Fatalf("%d datagrams, %v; want the other %d", k, err, len(sizes)-len(all))
	}
	slabs.Put(slab)
	for i, d := range append(all, dst[:k]...) {
		if !bytes.Equal(d.Data, filled(i%20, 1452)) {
			t.Fatalf("datagram %d is damaged", i)
		}
	}
	if n := slabs.lent(); n != 0 {
		t.Errorf("%d slabs did not come back", n)
	}
}

func TestCodepointsArrive(t *testing.T) {
	type pair struct{ from, at, to string }
	pairs := []pair{{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"}}
	if loopback6(t) != nil {
		pairs = append(pairs,
			pair{"[::1]:0", "[::1]:0", "::1"},
			pair{"[::]:0", "[::]:0", "127.0.0.1"}, // IPv4 between dual-stack sockets
			pair{"[::]:0", "[::]:0", "::1"})
	}
	for _, p := range pairs {
		a, b := listen(t, "udp", p.from, Options{}), listen(t, "udp", p.at, Options{})
		deaf := listen(t, "udp", p.at, Options{DisableECN: true})
		for _, e := range []dgram.ECN{dgram.NotECT, dgram.ECT1, dgram.ECT0, dgram.CE} {
			for _, sizes := range [][]int{{1200}, run(10, 1200, 3)} {
				for _, c := range []Conn{b, deaf} {
					out := batch(t, netip.AddrPortFrom(netip.MustParseAddr(p.to), c.LocalAddr().Port()), sizes...)
					out.ECN = e
					send(t, a, out)
					want := e
					if c == deaf {
						want = dgram.NotECT
					}
					for _, d := range receive(t, c, len(sizes)) {
						if d.ECN != want {
							t.Fatalf("%v: codepoint %d, want %d", p, d.ECN, want)
						}
					}
				}
			}
		}
	}
}

// RFC 9000 §5.2, §9.3: what comes back from another address than was written to
// is not the connection's.
func TestReplyLeavesFromWhereItWasAsked(t *testing.T) {
	servers := []string{"0.0.0.0:0"}
	if loopback6(t) != nil {
		servers = append(servers, "[::]:0")
	}
	for _, s := range servers {
		server := listen(t, "udp", s, Options{})
		client := listen(t, "udp", "127.0.0.1:0", Options{})
		for _, sizes := range [][]int{{1200}, run(10, 1200, 3)} {
			asked := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), server.LocalAddr().Port())
			send(t, client, batch(t, asked, sizes...))
			for _, d := range receive(t, server, len(sizes)) {
				if want := (dgram.Path{Local: asked, Remote: client.LocalAddr()}); d.Path != want {
					t.Fatalf("%s: path %v, want %v", s, d.Path, want)
				}
			}
			reply := batch(t, client.LocalAddr(), sizes...)
			reply.Path.Local = asked
			send(t, server, reply)
			for _, d := range receive(t, client, len(sizes)) {
				if d.Path.Remote != asked {
					t.Fatalf("%s: the answer comes from %v, want %v", s, d.Path.Remote, asked)
				}
			}
			reply.Path.Local = netip.AddrPort{} // the kernel's choice
			send(t, server, reply)
			if from := receive(t, client, len(sizes))[0].Path.Remote.Addr(); from != netip.MustParseAddr("127.0.0.1") {
				t.Fatalf("%s: the answer comes from %v", s, from)
			}
		}
		// A source that this machine does not have is an error of the path, not of segmentation.
		lost := batch(t, client.LocalAddr(), 1200, 1200)
		lost.Path.Local = netip.MustParseAddrPort("203.0.113.77:1")
		if e := wantSendError(t, server.Send(lost)); e.Sent != 0 || e.TooBig {
			t.Errorf("%s: %+v", s, e)
		}
		if !server.Features().GSO || !server.Features().ECN {
			t.Errorf("%s: %+v", s, server.Features())
		}
	}
}

func TestReplyLeavesFromWhereItWasAsked6(t *testing.T) {
	if loopback6(t) == nil {
		return
	}
	for _, other := range own6(t) {
		server, client := listen(t, "udp", "[::]:0", Options{}), listen(t, "udp", "[::]:0", Options{})
		asked := netip.AddrPortFrom(other, server.LocalAddr().Port())
		send(t, client, batch(t, asked, 1200, 1200))
		got := receive(t, server, 2)
		if got[0].Path.Local != asked || got[0].Path.Remote.Addr().Zone() != other.Zone() {
			t.Fatalf("path %v, want it to end at %v", got[0].Path, asked)
		}
		reply := batch(t, got[0].Path.Remote, 1200, 1200)
		reply.Path.Local = asked
		send(t, server, reply)
		if from := receive(t, client, 2)[0].Path.Remote; from != asked {
			t.Fatalf("the answer comes from %v, want %v", from, asked)
		}
	}
}

// own6 returns the IPv6 addresses of this machine, with zones where they need one.
func own6(t *testing.T) []netip.Addr {
	t.Helper()
	list := []netip.Addr{netip.IPv6Loopback()}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is6() || p.Addr().IsLoopback() {
				continue
			}
			ip := p.Addr()
			if ip.IsLinkLocalUnicast() {
				ip = ip.WithZone(i.Name)
			}
			list = append(list, ip)
		}
	}
	t.Log(list)
	return list
}

// RFC 9000 §14: datagrams must not be fragmented.
func TestDontFragment(t *testing.T) {
	c := listen(t, "udp", "127.0.0.1:0", Options{})
	if got := option(t, c, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); got != unix.IP_PMTUDISC_PROBE {
		t.Errorf("IP_MTU_DISCOVER is %d, want %d", got, unix.IP_PMTUDISC_PROBE)
	}
	if loopback6(t) == nil {
		return
	}
	for _, addr := range []string{"[::1]:0", "[::]:0"} {
		c := listen(t, "udp", addr, Options{})
		if got := option(t, c, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER); got != unix.IPV6_PMTUDISC_PROBE {
			t.Errorf("%s: IPV6_MTU_DISCOVER is %d, want %d", addr, got, unix.IPV6_PMTUDISC_PROBE)
		}
	}
	dual := listen(t, "udp", "[::]:0", Options{})
	if got := option(t, dual, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); got != unix.IP_PMTUDISC_PROBE {
		t.Errorf("dual stack: IP_MTU_DISCOVER is %d, want %d", got, unix.IP_PMTUDISC_PROBE)
	}
}

func TestTooBig(t *testing.T) {
	if loopback6(t) == nil {
		return
	}
	a, b := listen(t, "udp", "[::1]:0", Options{}), listen(t, "udp", "[::1]:0", Options{})
	setOption(t, a, unix.IPPROTO_IPV6, unix.IPV6_MTU, 1280) // 1232 bytes of payload
	for _, sizes := range [][]int{{1233}, run(10, 1400), run(10, 1400, 5)} {
		e := wantSendError(t, a.Send(batch(t, b.LocalAddr(), sizes...)))
		if !e.TooBig || e.Sent != 0 || e.Err != syscall.EMSGSIZE {
			t.Errorf("%v: %+v, want it too big", sizes, e)
		}
	}
	send(t, a, batch(t, b.LocalAddr(), run(10, 1232, 5)...))
	wantSizes(t, receive(t, b, 11), run(10, 1232, 5)...)
	if s := a.Stats(); s.GSOFallbacks != 2 || s.SendErrors != 3 || !a.Features().GSO {
		t.Errorf("%+v, %+v: size must not turn offload off", s, a.Features())
	}
}

// A UDP socket without checksums is one that Linux does not segment for.
func TestSegmentationTurnsOff(t *testing.T) {
	var log journal
	a, b := listen(t, "udp", "127.0.0.1:0", Options{Logf: log.logf}), listen(t, "udp", "127.0.0.1:0", Options{})
	other := listen(t, "udp", "127.0.0.2:0", Options{})
	setOption(t, a, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	for i := range 2 {
		send(t, a, batch(t, b.LocalAddr(), run(10, 1200, 33)...))
		wantSizes(t, receive(t, b, 11), run(10, 1200, 33)...)
		if s := a.Stats(); s.GSOFallbacks != 1 || s.SendErrors != 0 || s.Sent != uint64(11*(i+1)) || s.SendCalls != uint64(1+11*(i+1)) {
			t.Fatalf("%+v", s)
		}
	}
	log.want(t, 1, "segmentation")

	// Elsewhere it may work. Large segments may be large for other reasons: three tries.
	for range 5 {
		send(t, a, batch(t, other.LocalAddr(), run(3, 1452)...))
		wantSizes(t, receive(t, other, 3), run(3, 1452)...)
	}
	log.want(t, 2, "segmentation")
	if s := a.Stats(); s.GSOFallbacks != 1+maxGSOStrikes || !a.Features().GSO {
		t.Errorf("%+v, %+v", s, a.Features())
	}
}

func TestSegmentationVerdicts(t *testing.T) {
	dest := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	for _, c := range []struct {
		err     error
		segment int
		tries   int // until given up
	}{
		{syscall.EIO, 1452, 1},
		{syscall.EOPNOTSUPP, 1452, 1},
		{syscall.EINVAL, 1200, 1},
		{syscall.EINVAL, 1452, maxGSOStrikes},
		{syscall.EMSGSIZE, 1452, maxGSOStrikes},
	} {
		if !unsegmented(c.err) {
			t.Errorf("%v is not tried one by one", c.err)
		}
		var g gso
		g.on.Store(true)
		for i := 1; i <= c.tries; i++ {
			if !g.usable(dest(1)) {
				t.Errorf("%v: given up before try %d", c.err, i)
			}
			if off := g.failed(dest(1), c.err, c.segment); off != (i == c.tries) {
				t.Errorf("%v, try %d: given up is %v", c.err, i, off)
			}
		}
		if g.usable(dest(1)) || !g.usable(dest(2)) {
			t.Errorf("%v: not just the one destination is given up", c.err)
		}
	}
	for _, err := range []error{syscall.ECONNREFUSED, syscall.ENOBUFS, syscall.EHOSTUNREACH, syscall.EPERM} {
		if unsegmented(err) {
			t.Errorf("%v does not depend on segmentation", err)
		}
	}

	var g gso
	g.on.Store(true)
	for range 10 * maxGSOStrikes { // success in between
		if g.failed(dest(1), syscall.EINVAL, 1452) {
			t.Fatal("given up though it works")
		}
		g.worked()
	}
	for i := range maxGSOWithouts {
		g.failed(dest(i), syscall.EIO, 1452)
	}
	if !g.usable(dest(200)) {
		t.Error("given up everywhere too early")
	}
	g.failed(dest(201), syscall.EIO, 1452)
	if g.usable(dest(200)) {
		t.Error("nowhere has it worked, and still it is tried")
	}
}

func TestBuffers(t *testing.T) {
	var log journal
	c := listen(t, "udp", "127.0.0.1:0", Options{ReceiveBuffer: 64 << 10, SendBuffer: 64 << 10, Logf: log.logf})
	log.want(t, 0, "")
	f := c.Features()
	if f.ReceiveBuffer < 64<<10 || f.SendBuffer < 64<<10 || f.Wanted != 64<<10 {
		t.Errorf("%+v, want at least 64 KiB", f)
	}
	if got := option(t, c, unix.SOL_SOCKET, unix.SO_RCVBUF); got != 2*f.ReceiveBuffer {
		t.Errorf("the kernel says %d, which is not twice %d", got, f.ReceiveBuffer)
	}
	// No privilege gives as much as this.
	c = listen(t, "udp", "127.0.0.1:0", Options{ReceiveBuffer: 1<<31 - 1, SendBuffer: 1<<31 - 1, Logf: log.logf})
	log.want(t, 1, "net.core.rmem_max")
	if f := c.Features(); f.Wanted != 1<<31-1 || f.ReceiveBuffer >= f.Wanted {
		t.Errorf("%+v", f)
	}
}

// With slabs too small for a read, it is dropped whole and counted, never cut.
func TestTruncated(t *testing.T) {
	for _, o := range []Options{{}, {DisableGRO: true}} {
		a, b := listen(t, "udp", "127.0.0.1:0", Options{}), listen(t, "udp", "127.0.0.1:0", o)
		slabs := newPool()
		slabs.size = 1000
		send(t, a, batch(t, b.LocalAddr(), 1001))
		send(t, a, batch(t, b.LocalAddr(), 900))
		send(t, a, batch(t, b.LocalAddr(), 1452))
		send(t, a, batch(t, b.LocalAddr(), 800))
		dst := make([]dgram.Datagram, 10)
		for _, size := range []int{900, 800} {
			n, slab, err := b.Receive(slabs, dst)
			if err != nil {
				t.Fatal(err)
			}
			wantSizes(t, dst[:n], size)
			slabs.Put(slab)
		}
		if s := b.Stats(); s.Truncated != 2 || s.Received != 2 {
			t.Errorf("%+v, want 2 truncated", s)
		}
	}
}

func TestTimeToLive(t *testing.T) {
	c := listen(t, "udp", "127.0.0.1:0", Options{})
	if err := SetTTL(c, 7); err != nil || option(t, c, unix.IPPROTO_IP, unix.IP_TTL) != 7 {
		t.Errorf("%v; IP_TTL %d, want 7", err, option(t, c, unix.IPPROTO_IP, unix.IP_TTL))
	}
	if loopback6(t) == nil {
		return
	}
	c = listen(t, "udp", "[::]:0", Options{})
	if err := SetTTL(c, 7); err != nil || option(t, c, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS) != 7 {
		t.Errorf("%v; IPV6_UNICAST_HOPS %d, want 7", err, option(t, c, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS))
	}
	if got := option(t, c, unix.IPPROTO_IP, unix.IP_TTL); got != 7 {
		t.Errorf("dual stack: IP_TTL %d, want 7", got)
	}
}

func TestInheritedSocket(t *testing.T) {
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := u.File()
	u.Close()
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.FilePacketConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromPacketConn(pc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if f := c.Features(); !f.GSO || !f.GRO || !f.ECN || !f.DF {
		t.Errorf("%+v", f)
	}
	a := listen(t, "udp", "127.0.0.1:0", Options{})
	send(t, a, batch(t, c.LocalAddr(), run(10, 1200, 3)...))
	wantSizes(t, receive(t, c, 11), run(10, 1200, 3)...)
}

func TestControlMessages(t *testing.T) {
	var m control
	m.addECN(dgram.CE, true)
	m.addPktInfo(netip.MustParseAddr("192.0.2.1"))
	m.addPktInfo(netip.MustParseAddr("2001:db8::1"))
	m.addGSO(1452)
	all := m.bytes()[:m.used]
	var kinds []int32
	for rest := all; ; {
		_, kind, _, after := next(rest)
		if kind == -1 {
			break
		}
		kinds = append(kinds, kind)
		rest = after
	}
	if len(kinds) != 4 || kinds[0] != unix.IP_TOS || kinds[3] != unix.UDP_SEGMENT {
		t.Errorf("kinds %v", kinds)
	}
	// Cut anywhere, it is fewer messages, but no crash.
	for i := range all {
		for rest := all[:i]; ; {
			level, kind, data, after := next(rest)
			if kind == -1 {
				break
			}
			parseECN(level, data)
			parseGRO(data)
			parsePktInfo(level, data)
			rest = after
		}
	}
}
