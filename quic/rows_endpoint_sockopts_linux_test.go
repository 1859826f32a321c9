package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sockopt reads an option of an endpoint back from the kernel.
func sockopt(t *testing.T, e *Endpoint, level, name int) int {
	t.Helper()
	fd, ok := e.FD()
	if !ok {
		t.Fatal("the endpoint has no descriptor")
	}
	v, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wantErrno checks for an error of the system's.
func wantErrno(t *testing.T, what string, err error, want syscall.Errno, code string) {
	t.Helper()
	var own *SystemError
	var sys *os.SyscallError
	if !errors.Is(err, want) || !errors.As(err, &own) || !errors.As(err, &sys) || own.Code() != code || !strings.Contains(err.Error(), own.Op) {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// bound returns a bound endpoint of its own socket.
func bound(t *testing.T, o EndpointOptions) *Endpoint {
	t.Helper()
	e := newSocket(t, SocketOptions{Endpoint: o}).Endpoints()[0]
	mustBind(t, e)
	return e
}

// otherInterface returns an interface with multicast besides the loopback one, and its
// IPv4 address, if the host has one.
func otherInterface() (*net.Interface, netip.Addr) {
	list, _ := net.Interfaces()
	for i := range list {
		if f := list[i].Flags; f&net.FlagUp == 0 || f&net.FlagMulticast == 0 || f&net.FlagLoopback != 0 {
			continue
		}
		addrs, _ := list[i].Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				ip, _ := netip.AddrFromSlice(n.IP.To4())
				return &list[i], ip
			}
		}
	}
	return nil, netip.Addr{}
}

// linkLocal returns a link-local address of the host's, with its zone, if it has one.
func linkLocal() netip.Addr {
	list, _ := net.Interfaces()
	for i := range list {
		addrs, _ := list[i].Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() && list[i].Flags&net.FlagUp != 0 {
				ip, _ := netip.AddrFromSlice(n.IP)
				return ip.WithZone(list[i].Name)
			}
		}
	}
	return netip.Addr{}
}

// Options of a socket need a socket.
func TestEndpointOptionStates(t *testing.T) {
	e := newSocket(t, SocketOptions{}).Endpoints()[0]
	calls := map[string]func() error{
		"AddMembership":         func() error { return e.AddMembership("239.9.9.9", "") },
		"DropMembership":        func() error { return e.DropMembership("239.9.9.9", "") },
		"SetBroadcast":          func() error { return e.SetBroadcast(true) },
		"SetMulticastInterface": func() error { return e.SetMulticastInterface("127.0.0.1") },
		"SetMulticastLoopback":  func() error { return e.SetMulticastLoopback(true) },
		"SetMulticastTTL":       func() error { return e.SetMulticastTTL(1) },
		"SetTTL":                func() error { return e.SetTTL(1) },
	}
	for name, f := range calls {
		wantErrno(t, name+" before binding", f(), syscall.EBADF, "EBADF")
	}
	covers(t, "EP-029")
	covers(t, "EP-031")
	covers(t, "EP-033")
	covers(t, "EP-039")
	covers(t, "EP-041")
	covers(t, "EP-043")
	if fd, ok := e.FD(); ok {
		t.Errorf("descriptor %d before binding", fd)
	}
	covers(t, "EP-025")
	for _, f := range []func(group, iface string) error{e.AddMembership, e.DropMembership} {
		var oe *OptionError
		if err := f("", ""); !errors.As(err, &oe) || oe.Code() != "ERR_MISSING_ARGS" {
			t.Errorf("without a group: %v", err)
		}
	}
	covers(t, "EP-003")
	covers(t, "EP-023")
	mustBind(t, e)
	fd, ok := e.FD()
	if !ok || fd < 0 {
		t.Fatalf("descriptor %d, %v", fd, ok)
	}
	if sa, err := unix.Getsockname(fd); err != nil || sa.(*unix.SockaddrInet4).Port != int(e.Address().Port()) {
		t.Errorf("the descriptor is that of %v, %v", sa, err)
	}
	covers(t, "EP-025")
	e.Destroy(nil)
	for name, f := range calls {
		wantState(t, name+" after the end", f())
	}
	covers(t, "EP-002")
	covers(t, "EP-022")
	covers(t, "EP-029")
	covers(t, "EP-031")
	covers(t, "EP-033")
	covers(t, "EP-039")
	covers(t, "EP-041")
	covers(t, "EP-043")
	if fd, ok := e.FD(); ok {
		t.Errorf("descriptor %d after the end", fd)
	}
	covers(t, "EP-025")
}

// wantBoundOnly wants a call to fail before the endpoint is bound, and after its end.
func wantBoundOnly(t *testing.T, f func(*Endpoint) error) {
	t.Helper()
	e := newSocket(t, SocketOptions{}).Endpoints()[0]
	wantErrno(t, "before binding", f(e), syscall.EBADF, "EBADF")
	mustBind(t, e)
	e.Destroy(nil)
	wantState(t, "after the end", f(e))
}

// Hop counts are set, within their ranges.
func TestEndpointTTL(t *testing.T) {
	wantBoundOnly(t, func(e *Endpoint) error { return e.SetTTL(1) })
	wantBoundOnly(t, func(e *Endpoint) error { return e.SetMulticastTTL(1) })
	for _, c := range []struct {
		kind                  string
		level, ttl, multicast int
	}{
		{UDP4, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MULTICAST_TTL},
		{UDP6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MULTICAST_HOPS},
		{UDP6Only, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MULTICAST_HOPS},
	} {
		if c.kind != UDP4 && !has6() {
			continue
		}
		e := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: c.kind}}).Endpoints()[0]
		wantErrno(t, "SetTTL before binding", e.SetTTL(9), syscall.EBADF, "EBADF")
		mustBind(t, e)
		if got, want := sockopt(t, e, c.level, c.ttl), systemTTL(t, c.level, c.ttl); got != want {
			t.Errorf("the TTL is %d at first, want the system's %d", got, want)
		}
		covers(t, "EP-044")
		covers(t, "EP-043")
		for _, n := range []int{1, 77, 255} {
			if err := e.SetTTL(n); err != nil || sockopt(t, e, c.level, c.ttl) != n {
				t.Errorf("%s: SetTTL(%d): %v, %d", c.kind, n, err, sockopt(t, e, c.level, c.ttl))
			}
			covers(t, "EP-043")
		}
		for _, n := range []int{0, 256, -1} {
			err := e.SetTTL(n)
			wantErrno(t, fmt.Sprint("SetTTL ", n), err, syscall.EINVAL, "EINVAL")
			if !strings.Contains(err.Error(), fmt.Sprint(n)) || !strings.Contains(err.Error(), "1 to 255") || sockopt(t, e, c.level, c.ttl) != 255 {
				t.Errorf("%v; now %d", err, sockopt(t, e, c.level, c.ttl))
			}
			covers(t, "EP-044")
		}
		if got := sockopt(t, e, c.level, c.multicast); got != 1 {
			t.Errorf("the multicast TTL is %d at first", got)
		}
		covers(t, "EP-042")
		for _, n := range []int{0, 8, 255} {
			if err := e.SetMulticastTTL(n); err != nil || sockopt(t, e, c.level, c.multicast) != n {
				t.Errorf("%s: SetMulticastTTL(%d): %v, %d", c.kind, n, err, sockopt(t, e, c.level, c.multicast))
			}
			covers(t, "EP-041")
			covers(t, "EP-042")
		}
		if sockopt(t, e, c.level, c.ttl) != 255 {
			t.Error("the unicast TTL has changed too")
		}
		covers(t, "EP-041")
		for _, n := range []int{256, -1} {
			err := e.SetMulticastTTL(n)
			wantErrno(t, fmt.Sprint("SetMulticastTTL ", n), err, syscall.EINVAL, "EINVAL")
			if !strings.Contains(err.Error(), "0 to 255") || sockopt(t, e, c.level, c.multicast) != 255 {
				t.Error(err)
			}
			covers(t, "EP-042")
		}
		e.Destroy(nil)
		wantState(t, "SetTTL after the end", e.SetTTL(9))
		covers(t, "EP-043")
	}
}

// systemTTL returns the hop count of sockets that nobody has told another.
func systemTTL(t *testing.T, level, name int) (hops int) {
	t.Helper()
	network := "udp4"
	if level == unix.IPPROTO_IPV6 {
		network = "udp6"
	}
	newPlainSocket(t, network).option(func(fd int) (err error) {
		hops, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
	return hops
}

// plainSocket is a plain UDP socket.
type plainSocket struct {
	t *testing.T
	c *net.UDPConn
}

func newPlainSocket(t *testing.T, network string) *plainSocket {
	t.Helper()
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &plainSocket{t, c}
}

func (r *plainSocket) port() uint16 { return uint16(r.c.LocalAddr().(*net.UDPAddr).Port) }

// next returns the next datagram and who sent it.
func (r *plainSocket) next() (string, netip.AddrPort) {
	r.t.Helper()
	_ = r.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 100)
	n, from, err := r.c.ReadFromUDPAddrPort(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b[:n]), from
}

// option sets one on the plainSocket's socket.
func (r *plainSocket) option(f func(fd int) error) {
	r.t.Helper()
	setOption(r.t, r.c, f)
}

func setOption(t *testing.T, c *net.UDPConn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { err = f(int(fd)) }), err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The kernel lets an endpoint send to broadcast addresses if it is told to.
func TestEndpointBroadcast(t *testing.T) {
	wantBoundOnly(t, func(e *Endpoint) error { return e.SetBroadcast(true) })
	r := newPlainSocket(t, "udp4")
	to := netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), r.port())
	e := bound(t, EndpointOptions{})
	for i, on := range []bool{false, true, false, true} {
		if i > 0 {
			if err := e.SetBroadcast(on); err != nil {
				t.Fatal(err)
			}
		}
		if got := sockopt(t, e, unix.SOL_SOCKET, unix.SO_BROADCAST); got != flagOf(on) {
			t.Errorf("SO_BROADCAST is %d, want %v", got, on)
		}
		err := e.send(batchTo(e, to, fmt.Sprint(i)))
		if on && err != nil || !on && !errors.Is(err, syscall.EACCES) {
			t.Errorf("on %v: sent with %v", on, err)
		}
		if on {
			if got, _ := r.next(); got != fmt.Sprint(i) {
				t.Errorf("received %q, want %d", got, i)
			}
		}
		covers(t, "EP-029")
		covers(t, "EP-030")
	}
}

func flagOf(on bool) int {
	if on {
		return 1
	}
	return 0
}

// testGroup is a multicast group of this process's, as far as that can be.
var testGroup = fmt.Sprintf("239.77.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)

// Multicast leaves by the interface that was chosen last with success.
func TestEndpointMulticastInterface(t *testing.T) {
	wantBoundOnly(t, func(e *Endpoint) error { return e.SetMulticastInterface("127.0.0.1") })
	local := newPlainSocket(t, "udp4")
	group := netip.AddrPortFrom(netip.MustParseAddr(testGroup), local.port())
	local.option(func(fd int) error { // on the loopback interface only
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: group.Addr().As4(), Interface: [4]byte{127, 0, 0, 1}})
	})
	e := bound(t, EndpointOptions{})
	chosen := func() netip.Addr {
		fd, _ := e.FD()
		a, err := unix.GetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF)
		if err != nil {
			t.Fatal(err)
		}
		return netip.AddrFrom4(a)
	}
	if err := e.SetMulticastInterface("127.0.0.1"); err != nil || chosen() != loopback4 {
		t.Fatalf("%v; chosen is %v", err, chosen())
	}
	if err := e.send(batchTo(e, group, "loop")); err != nil {
		t.Fatal(err)
	}
	if got, from := local.next(); got != "loop" || from.Addr().Unmap() != loopback4 {
		t.Errorf("%q from %v", got, from)
	}
	covers(t, "EP-031")
	covers(t, "EP-032")
	if i, ip := otherInterface(); i != nil {
		if err := errors.Join(e.SetMulticastTTL(0), e.SetMulticastInterface(ip.String())); err != nil || chosen() != ip {
			t.Fatalf("%v; chosen is %v", err, chosen())
		}
		if err := e.send(batchTo(e, group, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if err := e.SetMulticastInterface("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		if err := e.send(batchTo(e, group, "again")); err != nil {
			t.Fatal(err)
		}
		if got, _ := local.next(); got != "again" {
			t.Errorf("received %q from the interface not joined on", got)
		}
		covers(t, "EP-031")
	}

	// What fails changes nothing.
	for _, c := range []struct {
		row, iface string
		want       syscall.Errno
		code       string
	}{
		{"EP-034", "nonsense", syscall.EINVAL, "EINVAL"},
		{"EP-034", "", syscall.EINVAL, "EINVAL"},
		{"EP-034", "127.0.0.256", syscall.EINVAL, "EINVAL"},
		{"EP-035", "203.0.113.77", syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL"},
		{"EP-035", "::1", syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT"},
	} {
		err := e.SetMulticastInterface(c.iface)
		wantErrno(t, c.row+" "+c.iface, err, c.want, c.code)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", c.iface)) || chosen() != loopback4 {
			t.Errorf("%v; chosen is %v", err, chosen())
		}
	}
	covers(t, "EP-034")
	covers(t, "EP-035")
	if err := e.SetMulticastInterface("0.0.0.0"); err != nil || !chosen().IsUnspecified() {
		t.Errorf("%v; chosen is %v", err, chosen())
	}
	covers(t, "EP-037")
	t.Run("IPv6", TestEndpointMulticastInterface6)
}

// The same for IPv6, where the zone tells the interface.
func TestEndpointMulticastInterface6(t *testing.T) {
	if !has6() {
		return
	}
	e := bound(t, EndpointOptions{Type: UDP6})
	chosen := func() int { return sockopt(t, e, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF) }
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, iface := range []string{"::%lo", fmt.Sprintf("::%%%d", lo.Index), "fe80::1%lo", "::1"} {
		if err := errors.Join(e.SetMulticastInterface("::"), e.SetMulticastInterface(iface)); err != nil || chosen() != lo.Index {
			t.Errorf("%s: %v; chosen is %d, want %d", iface, err, chosen(), lo.Index)
		}
	}
	covers(t, "EP-032")
	for _, iface := range []string{"::%nosuch0", "::%99999", "2001:db8::77"} {
		err := e.SetMulticastInterface(iface)
		var sys *os.SyscallError
		if !errors.As(err, &sys) || chosen() != lo.Index || !e.Bound() {
			t.Errorf("%s: %v; chosen is %d", iface, err, chosen())
		}
	}
	covers(t, "EP-036")
	wantErrno(t, "the other family", e.SetMulticastInterface("127.0.0.1"), syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT")
	covers(t, "EP-035")
	wantErrno(t, "nonsense", e.SetMulticastInterface("eth0"), syscall.EINVAL, "EINVAL")
	covers(t, "EP-034")
	if err := e.SetMulticastInterface("::"); err != nil || chosen() != 0 {
		t.Errorf("%v; chosen is %d", err, chosen())
	}
	covers(t, "EP-037")
	if err := e.SetMulticastInterface("::%nosuch0"); err == nil || chosen() != 0 {
		t.Errorf("%v; chosen is %d", err, chosen())
	}
	covers(t, "EP-036")
}

// Members on this host get what is sent, or do not.
func TestEndpointMulticastLoopback(t *testing.T) {
	wantBoundOnly(t, func(e *Endpoint) error { return e.SetMulticastLoopback(true) })
	e := bound(t, EndpointOptions{})
	loop := func() int { return sockopt(t, e, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP) }
	if loop() != 1 {
		t.Error("off at first")
	}
	for _, on := range []bool{false, true, false, true} {
		if err := e.SetMulticastLoopback(on); err != nil || loop() != flagOf(on) {
			t.Errorf("%v; IP_MULTICAST_LOOP is %d, want %v", err, loop(), on)
		}
		covers(t, "EP-039")
		covers(t, "EP-040")
	}
	if has6() {
		six := bound(t, EndpointOptions{Type: UDP6})
		for _, on := range []bool{false, true} {
			if err := six.SetMulticastLoopback(on); err != nil || sockopt(t, six, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP) != flagOf(on) {
				t.Errorf("%v; want %v", err, on)
			}
			covers(t, "EP-039")
		}
	}
	i, ip := otherInterface()
	if i == nil {
		return // the loopback interface loops whatever is set
	}
	r := newPlainSocket(t, "udp4")
	group := netip.AddrPortFrom(netip.MustParseAddr(testGroup), r.port())
	r.option(func(fd int) error {
		return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: group.Addr().As4(), Interface: ip.As4()})
	})
	if err := errors.Join(e.SetMulticastInterface(ip.String()), e.SetMulticastTTL(0)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		on   bool
		text string
	}{{true, "one"}, {false, "two"}, {true, "three"}} {
		if err := errors.Join(e.SetMulticastLoopback(c.on), e.send(batchTo(e, group, c.text))); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"one", "three"} {
		if got, _ := r.next(); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	covers(t, "EP-040")
}

// joinElsewhere makes another socket of this machine a member of a group.
func joinElsewhere(t *testing.T, group netip.Addr) {
	newPlainSocket(t, "udp4").option(func(fd int) error {
		return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: group.As4(), Interface: [4]byte{127, 0, 0, 1}})
	})
}

// A listening endpoint answers to its groups, on the interfaces that it joined them on.
func TestEndpointMembership(t *testing.T) {
	wantBoundOnly(t, func(e *Endpoint) error { return e.AddMembership(testGroup, "") })
	wantBoundOnly(t, func(e *Endpoint) error { return e.DropMembership(testGroup, "") })
	e := newSocket(t, SocketOptions{}).Endpoints()[0]
	if err := e.Socket().Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	port := e.Address().Port()
	group, direct := netip.AddrPortFrom(netip.MustParseAddr(testGroup), port), netip.AddrPortFrom(loopback4, port)
	from := func(ip netip.Addr) *prober {
		p := newProberOn(t, "udp4")
		setOption(t, p.c, func(fd int) error {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 0)
			return unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, ip.As4())
		})
		return p
	}
	lo := from(loopback4)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	joinElsewhere(t, group.Addr())
	if !lo.misses(group, direct) {
		t.Fatal("a group that another socket has joined reaches the endpoint")
	}
	must(e.AddMembership(testGroup, "127.0.0.1"))
	if !lo.reaches(group) {
		t.Error("the group is not joined")
	}
	covers(t, "EP-002")
	covers(t, "EP-003")
	covers(t, "EP-004")
	if !lo.misses(netip.AddrPortFrom(group.Addr().Next(), port), direct) {
		t.Error("another group is joined")
	}
	wantErrno(t, "joined twice", e.AddMembership(testGroup, "127.0.0.1"), syscall.EADDRINUSE, "EADDRINUSE")
	if i, ip := otherInterface(); i != nil {
		other := from(ip)
		if !other.misses(group, direct) {
			t.Error("joined on an interface not named")
		}
		must(e.AddMembership(testGroup, ip.String()))
		if !other.reaches(group) || !lo.reaches(group) {
			t.Error("memberships do not add up")
		}
		covers(t, "EP-004")
		must(e.DropMembership(testGroup, "127.0.0.1"))
		if !lo.misses(group, direct) || !other.reaches(group) {
			t.Error("dropped on the wrong interface")
		}
		covers(t, "EP-024")
		must(e.AddMembership(testGroup, "127.0.0.1"))
		must(e.DropMembership(testGroup, ""))
		if !lo.misses(group, direct) || !other.misses(group, direct) {
			t.Error("dropped on some interfaces only")
		}
		covers(t, "EP-022")
		must(e.AddMembership(testGroup, ""))
		must(e.DropMembership(testGroup, ""))
		must(e.AddMembership(testGroup, "127.0.0.1"))
	}
	must(e.DropMembership(testGroup, "127.0.0.1"))
	if !lo.misses(group, direct) {
		t.Error("not dropped")
	}
	covers(t, "EP-023")
	covers(t, "EP-024")
	wantErrno(t, "no member", e.DropMembership(testGroup, ""), syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL")
	must(e.AddMembership(testGroup, "127.0.0.1"))
	must(e.DropMembership(testGroup, ""))
	if !lo.misses(group, direct) {
		t.Error("not dropped without an interface")
	}
	covers(t, "EP-022")
	membershipErrors(t, e)
	refusesToJoin(t, e)
}

// The same for IPv6: the kernel's list of groups tells.
func TestEndpointMembership6(t *testing.T) {
	if !has6() {
		return
	}
	e := bound(t, EndpointOptions{Type: UDP6Only})
	joined := func(iface string) bool {
		b, err := os.ReadFile("/proc/self/net/igmp6")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(string(b), "\n") {
			if f := strings.Fields(l); len(f) > 2 && f[1] == iface && f[2] == fmt.Sprintf("ff0500000000000000000000c1aa%04x", os.Getpid()&0xffff) {
				return true
			}
		}
		return false
	}
	group := fmt.Sprintf("ff05::c1aa:%x", os.Getpid()&0xffff)
	for _, iface := range []string{"::1", "::%lo"} {
		if err := e.AddMembership(group, iface); err != nil || !joined("lo") {
			t.Errorf("%s: %v; joined %v", iface, err, joined("lo"))
		}
		if err := e.DropMembership(group, iface); err != nil || joined("lo") {
			t.Errorf("%s: %v; joined %v", iface, err, joined("lo"))
		}
	}
	if err := e.AddMembership(group+"%lo", ""); err != nil || !joined("lo") {
		t.Errorf("%v; joined %v", err, joined("lo"))
	}
	covers(t, "EP-002")
	if err := e.DropMembership(group, ""); err != nil || joined("lo") {
		t.Errorf("%v; joined %v", err, joined("lo"))
	}
	covers(t, "EP-022")
	wantErrno(t, "the other family", e.AddMembership(testGroup, ""), syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT")
}

// A destination's own zone decides where it is reached, whatever interface was chosen.
func TestEndpointZone(t *testing.T) {
	// What the socket is told.
	pc := &recorder{sent: make(chan *net.UDPAddr, 100), closed: make(chan struct{})}
	s := newSocket(t, SocketOptions{PacketConn: pc})
	co := ConnectOptions{Address: "fe80::1%zone7", Port: 4433, Type: UDP6, TLS: clientConfig(), ServerName: "localhost"}
	c, err := s.Connect(t.Context(), co)
	if err != nil {
		t.Fatal(err)
	}
	if to := came(t, pc.sent); to.Zone != "zone7" || c.RemoteAddress().Addr().Zone() != "zone7" {
		t.Errorf("sent to %v, connected to %v", to, c.RemoteAddress())
	}
	covers(t, "EP-038")
	co.Address = "name"
	co.Lookup = func(context.Context, string, int) (netip.Addr, error) {
		return netip.MustParseAddr("fe80::2%zone8"), nil
	}
	c, err = s.Connect(t.Context(), co)
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddress().Addr().String() != "fe80::2%zone8" {
		t.Errorf("connected to %v", c.RemoteAddress())
	}
	covers(t, "EP-038")

	// What the kernel does with it.
	ip := linkLocal()
	if !ip.IsValid() {
		return
	}
	server := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: UDP6}})
	if err := server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	client := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: UDP6}})
	mustBind(t, client.Endpoints()[0])
	if err := client.Endpoints()[0].SetMulticastInterface("::%lo"); err != nil {
		t.Fatal(err)
	}
	co = ConnectOptions{Address: ip.String(), Port: int(server.Address().Port()), Type: UDP6, TLS: clientConfig(), ServerName: "localhost"}
	c, err = client.Connect(t.Context(), co)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(testContext(t)); err != nil {
		t.Errorf("%v is not reached: %v", ip, err)
	}
	covers(t, "EP-038")
}

// recorder is a PacketConn that sends nothing and tells where it would.
type recorder struct {
	net.PacketConn
	sent   chan *net.UDPAddr
	closed chan struct{}
	once   sync.Once
}

func (r *recorder) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv6unspecified, Port: 7} }

func (r *recorder) WriteTo(b []byte, a net.Addr) (int, error) {
	select {
	case r.sent <- a.(*net.UDPAddr):
	default:
	}
	return len(b), nil
}

func (r *recorder) ReadFrom([]byte) (int, net.Addr, error) {
	<-r.closed
	return 0, nil, net.ErrClosed
}

func (r *recorder) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
