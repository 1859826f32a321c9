package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newSocket returns a socket that ends with the test.
func newSocket(t *testing.T, o SocketOptions) *Socket {
	t.Helper()
	s, err := NewSocket(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Destroy(nil) })
	return s
}

func add(t *testing.T, s *Socket, o EndpointOptions) *Endpoint {
	t.Helper()
	e, err := s.AddEndpoint(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustBind(t *testing.T, e *Endpoint) netip.AddrPort {
	t.Helper()
	a, err := e.Bind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// has6 reports whether the host has IPv6.
func has6() bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// slowLookup is a LookupFunc that waits until it is released or called off.
type slowLookup struct {
	entered chan context.Context
	release chan netip.Addr
}

func newSlowLookup() *slowLookup {
	return &slowLookup{make(chan context.Context, 1), make(chan netip.Addr)}
}

func (l *slowLookup) lookup(ctx context.Context, _ string, _ int) (netip.Addr, error) {
	l.entered <- ctx
	select {
	case ip := <-l.release:
		return ip, nil
	case <-ctx.Done():
		return netip.Addr{}, ctx.Err()
	}
}

// asked waits until somebody looks a name up.
func (l *slowLookup) asked(t *testing.T) { t.Helper(); came(t, l.entered) }

// came returns what comes from a channel of the real world, where it fails the test if
// nothing does.
func came[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(15 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func wantState(t *testing.T, what string, err error) {
	t.Helper()
	var se *StateError
	if !errors.As(err, &se) || !errors.Is(err, ErrInvalidState) || se.Code() != "ERR_INVALID_STATE" {
		t.Errorf("%s: %v, want an ERR_INVALID_STATE", what, err)
	}
}

// wantClosed wants the error of a call after the end of a socket.
func wantClosed(t *testing.T, what string, err error) {
	t.Helper()
	wantState(t, what, err)
	if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "socket is closed") {
		t.Errorf("%s: %v does not say that the socket is closed", what, err)
	}
}

func wantOptionError(t *testing.T, err error, code, option string) {
	t.Helper()
	var oe *OptionError
	if !errors.As(err, &oe) || oe.Code() != code || oe.Option != option || !strings.Contains(err.Error(), option) {
		t.Errorf("%v, want an %s that names %s", err, code, option)
	}
}

// A socket takes nothing from the system until it is told to.
func TestSocketUnboundAtFirst(t *testing.T) {
	ready := make(chan struct{}, 2)
	s := newSocket(t, SocketOptions{
		Endpoint: EndpointOptions{Address: "127.0.0.1"},
		Hooks:    SocketHooks{Ready: func() error { ready <- struct{}{}; return nil }},
	})
	covers(t, "CQS-018")
	list := s.Endpoints()
	if s.Bound() || s.Pending() || s.Destroyed() || s.Listening() || len(list) != 1 || list[0].Address().IsValid() {
		t.Fatalf("bound %v, pending %v, destroyed %v, listening %v, endpoints %v", s.Bound(), s.Pending(), s.Destroyed(), s.Listening(), list)
	}
	st := s.Stats()
	st.Duration = 0
	if st != (SocketStats{}) {
		t.Errorf("counters: %+v", st)
	}
	covers(t, "CQS-017")
	covers(t, "SOC-052")
	if e := list[0]; e.Bound() || e.Pending() || e.Closing() || e.Destroyed() || e.Socket() != s {
		t.Error("the endpoint is not fresh")
	}
	covers(t, "EP-005")

	// Binding is lazy, and Listen does it.
	if s.Stats().BoundDuration != 0 {
		t.Error("bound before it is")
	}
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	if at := list[0].Address(); !s.Bound() || s.Pending() || !list[0].Bound() || at.Addr() != loopback4 || at.Port() == 0 {
		t.Errorf("bound at %v after Listen", at)
	}
	if c, err := net.ListenPacket("udp4", list[0].Address().String()); err == nil {
		c.Close()
		t.Errorf("%v is not taken", list[0].Address())
	}
	covers(t, "EP-005")
	covers(t, "SOC-025")
	came(t, ready)
	if err := s.bind(t.Context(), "again"); err != nil || len(ready) != 0 {
		t.Errorf("bound twice: %v", err)
	}
	s.Destroy(nil)
	if s.Bound() || list[0].Address().IsValid() {
		t.Error("bound after the end")
	}
	covers(t, "SOC-025")
	covers(t, "EP-005")
}

// What the options of an endpoint make of its address.
func TestEndpointAddresses(t *testing.T) {
	for _, c := range []struct {
		row string
		o   EndpointOptions
		ip  string
		six bool
	}{
		{"default", EndpointOptions{}, "0.0.0.0", false},
		{"udp4", EndpointOptions{Type: UDP4}, "0.0.0.0", false},
		{"udp6", EndpointOptions{Type: UDP6}, "::", true},
		{"udp6-only", EndpointOptions{Type: UDP6Only}, "::", true},
		{"literal", EndpointOptions{Address: "127.0.0.2"}, "127.0.0.2", false},
		{"name", EndpointOptions{Address: "localhost"}, "127.0.0.1", false},
		{"name6", EndpointOptions{Address: "localhost", Type: UDP6}, "::1", true},
		{"name6-only", EndpointOptions{Address: "localhost", Type: UDP6Only}, "::1", true},
	} {
		if c.six && !has6() {
			continue
		}
		s := newSocket(t, SocketOptions{Endpoint: c.o})
		e := s.Endpoints()[0]
		got, err := e.Bind(t.Context())
		if err != nil || got.Addr().String() != c.ip || got.Port() == 0 || e.Address() != got {
			t.Errorf("%s: bound to %v (%v), want %s and a port", c.row, got, err, c.ip)
		}
		if got.Addr().Is6() != c.six {
			t.Errorf("%s: the family is wrong", c.row)
		}
		wantPort(t, c.o.Type, got)
		// A second endpoint resolves its address in the same way.
		o := c.o
		o.Port = int(got.Port())
		two := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.3"}})
		f := add(t, two, o)
		s.Destroy(nil)
		if a, err := f.Bind(t.Context()); err != nil || a != got {
			t.Errorf("%s: the added endpoint is bound to %v (%v), want %v", c.row, a, err, got)
		}
		wantPort(t, c.o.Type, got)
		two.Destroy(nil)
	}
	// A name goes through Lookup, with the type's family; the address says what came of it.
	l := &lookups{answer: netip.MustParseAddr("127.0.0.7")}
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "name.test"}, Lookup: l.lookup})
	if got := mustBind(t, s.Endpoints()[0]); got.Addr() != l.answer || s.Endpoints()[0].Address() != got {
		t.Errorf("name.test: bound to %v, want %v", got, l.answer)
	}
	wantAsked(t, "name.test", l, question{"name.test", 4})
	covers(t, "CQS-005")
	for _, port := range []int{-1, 65_536} {
		_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Port: port}})
		wantOptionError(t, err, "ERR_SOCKET_BAD_PORT", "SocketOptions.Endpoint.Port")
	}
	newSocket(t, SocketOptions{Endpoint: EndpointOptions{Port: 65_535}})
	covers(t, "CQS-006")
	s = newSocket(t, SocketOptions{})
	for _, port := range []int{-1, 65_536} {
		_, err := s.AddEndpoint(EndpointOptions{Port: port})
		wantOptionError(t, err, "ERR_SOCKET_BAD_PORT", "EndpointOptions.Port")
	}
	add(t, s, EndpointOptions{Port: 65_535})
	_, err := s.AddEndpoint(EndpointOptions{Type: "upd6"})
	wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "EndpointOptions.Type")
	covers(t, "EP-006")
	covers(t, "EP-007")
	covers(t, "EP-008")
	covers(t, "ADD-001")
	covers(t, "ADD-002")
	covers(t, "ADD-003")
	covers(t, "LKP-004")
}

// wantPort wants the port of an endpoint to be taken in truth, and that of IPv4 beside
// it as the type says.
func wantPort(t *testing.T, kind string, at netip.AddrPort) {
	t.Helper()
	takes := func(network string, ip netip.Addr) bool {
		c, err := net.ListenPacket(network, netip.AddrPortFrom(ip, at.Port()).String())
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.EADDRINUSE)
	}
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	if !takes(network, at.Addr()) {
		t.Errorf("the port of %v is free", at)
	}
	if at.Addr() == netip.IPv6Unspecified() && takes("udp4", netip.IPv4Unspecified()) != (kind == UDP6) {
		t.Errorf("an endpoint of type %s has the port of IPv4: %v", kind, kind != UDP6)
	}
}

// Bad endpoint options are refused at once, by name.
func TestEndpointOptionErrors(t *testing.T) {
	s := newSocket(t, SocketOptions{})
	for _, port := range []int{-1, 65_536} {
		_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Port: port}})
		wantOptionError(t, err, "ERR_SOCKET_BAD_PORT", "SocketOptions.Endpoint.Port")
		covers(t, "CQS-006")
		_, err = s.AddEndpoint(EndpointOptions{Port: port})
		wantOptionError(t, err, "ERR_SOCKET_BAD_PORT", "EndpointOptions.Port")
		covers(t, "ADD-002")
	}
	_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Type: "upd6"}})
	wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "SocketOptions.Endpoint.Type")
	covers(t, "CQS-004")
	covers(t, "CQS-007")
	_, err = s.AddEndpoint(EndpointOptions{Type: "upd6"})
	wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "EndpointOptions.Type")
	covers(t, "ADD-003")
	if len(s.Endpoints()) != 1 {
		t.Error("a refused endpoint was added")
	}
	_, err = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "::1"}}).Endpoints()[0].Bind(t.Context())
	wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "EndpointOptions.Address")
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, err = NewSocket(SocketOptions{PacketConn: pc, Endpoint: EndpointOptions{PacketConn: pc}})
	wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "SocketOptions.PacketConn")
}

// An IPv4 client reaches an endpoint of type udp6, and not one of udp6-only.
func TestEndpointDualStack(t *testing.T) {
	for _, c := range []struct {
		kind string
		want bool
	}{{UDP6, true}, {UDP6Only, false}} {
		if !has6() {
			continue
		}
		s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: c.kind}})
		if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		port := s.Address().Port()
		four, six := netip.AddrPortFrom(loopback4, port), netip.AddrPortFrom(netip.IPv6Loopback(), port)
		p := newProber(t)
		if c.want && !p.reaches(four) || !c.want && !p.misses(four, six) {
			t.Errorf("%s: reached by IPv4: %v", c.kind, !c.want)
		}
	}
	if a := mustBind(t, newSocket(t, SocketOptions{}).Endpoints()[0]); !a.Addr().Is4() {
		t.Errorf("without a type: bound to %v", a)
	}
	for _, kind := range []string{"upd6", "udp", "UDP4"} {
		_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Type: kind}})
		wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "SocketOptions.Endpoint.Type")
	}
	covers(t, "CQS-007")
}

// Endpoints are added until binding begins.
// destroyedLeaves checks that a destroyed endpoint leaves the list, and no other does.
func destroyedLeaves(t *testing.T) {
	t.Helper()
	s := newSocket(t, SocketOptions{})
	first := s.Endpoints()[0]
	second, third := add(t, s, EndpointOptions{}), add(t, s, EndpointOptions{})
	second.Destroy(nil)
	if list := s.Endpoints(); !slices.Equal(list, []*Endpoint{first, third}) {
		t.Errorf("without the second the endpoints are %v", list)
	}
}

func TestAddEndpoint(t *testing.T) {
	slow := newSlowLookup()
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "somewhere", Lookup: slow.lookup}})
	before := s.Endpoints()
	early := s.Pending()
	e := add(t, s, EndpointOptions{Address: "127.0.0.2"})
	list := s.Endpoints()
	if len(before) != 1 || len(list) != 2 || list[0] != before[0] || list[1] != e || e.Bound() || e.Socket() != s {
		t.Fatalf("endpoints %v, then %v", before, list)
	}
	covers(t, "SOC-021")
	list[0] = nil
	if s.Endpoints()[0] != before[0] {
		t.Error("the list is not the caller's own")
	}
	covers(t, "SOC-043")

	done := make(chan error)
	go func() { done <- s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}) }()
	slow.asked(t)
	if early || !s.Pending() || !before[0].Pending() || s.Bound() || e.Bound() {
		t.Error("pending at first, or not while the address is looked up")
	}
	covers(t, "SOC-052")
	covers(t, "EP-026")
	_, err := s.AddEndpoint(EndpointOptions{})
	wantState(t, "AddEndpoint after Listen", err)
	covers(t, "ADD-005")
	slow.release <- loopback4
	if err := came(t, done); err != nil {
		t.Fatal(err)
	}
	if s.Pending() || before[0].Pending() || !s.Bound() || before[0].Address().Addr() != loopback4 || e.Address().Addr().String() != "127.0.0.2" {
		t.Errorf("bound to %v and %v", before[0].Address(), e.Address())
	}
	covers(t, "SOC-021")
	covers(t, "EP-026")
	for _, e := range s.Endpoints() {
		if !answers(t, e.Address()) {
			t.Errorf("nobody listens at %v", e.Address())
		}
	}
	_, err = s.AddEndpoint(EndpointOptions{})
	wantState(t, "AddEndpoint after binding", err)
	s.Destroy(nil)
	_, err = s.AddEndpoint(EndpointOptions{})
	wantClosed(t, "AddEndpoint after Destroy", err)
	fresh := newSocket(t, SocketOptions{})
	fresh.Destroy(nil) // before it was anything
	_, err = fresh.AddEndpoint(EndpointOptions{})
	wantClosed(t, "AddEndpoint after Destroy of an unbound socket", err)
	covers(t, "ADD-006")
	if len(s.Endpoints()) != 0 {
		t.Error("endpoints outlive their socket")
	}
	destroyedLeaves(t)
	covers(t, "SOC-043")

	// Connect begins to bind too, and so does a Bind.
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "somewhere", Lookup: slow.lookup}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := s.Connect(ctx, ConnectOptions{TLS: clientConfig(), Port: 1})
		done <- err
	}()
	slow.asked(t)
	_, err = s.AddEndpoint(EndpointOptions{})
	wantState(t, "AddEndpoint after Connect", err)
	covers(t, "ADD-005")
	cancel()
	if err := came(t, done); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	add(t, s, EndpointOptions{})
	mustBind(t, s.Endpoints()[1])
	_, err = s.AddEndpoint(EndpointOptions{})
	wantState(t, "AddEndpoint after Bind", err)
}

// Endpoints are bound one by one, each once.
func TestEndpointBind(t *testing.T) {
	ready := make(chan struct{}, 2)
	slow := newSlowLookup()
	s := newSocket(t, SocketOptions{
		Endpoint: EndpointOptions{Address: "127.0.0.1"},
		Hooks:    SocketHooks{Ready: func() error { ready <- struct{}{}; return nil }},
	})
	e := add(t, s, EndpointOptions{Address: "somewhere", Lookup: slow.lookup})
	first := s.Endpoints()[0]
	addr := mustBind(t, first)
	if first.Pending() || e.Pending() || addr != first.Address() || addr.Addr() != loopback4 || addr.Port() == 0 || !first.Bound() || s.Bound() || len(ready) != 0 {
		t.Errorf("%v, %v, bound %v", addr, first.Address(), s.Bound())
	}
	covers(t, "EP-009")
	covers(t, "EP-015")

	// A context that is over, or ends, leaves it unbound.
	results := make(chan bindResult, 2)
	bind := func(ctx context.Context) {
		addr, err := e.Bind(ctx)
		results <- bindResult{addr, err}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	go bind(over)
	if r := came(t, results); r.err != context.Canceled || e.Bound() || e.Pending() || e.Destroyed() || len(slow.entered) != 0 {
		t.Errorf("%v; bound %v, destroyed %v", r.err, e.Bound(), e.Destroyed())
	}
	covers(t, "EP-010")
	ctx, cancel := context.WithCancel(t.Context())
	go bind(ctx)
	slow.asked(t)
	if !e.Pending() || e.Bound() {
		t.Error("not pending")
	}
	covers(t, "EP-026")
	cancel()
	if r := came(t, results); r.err != context.Canceled || e.Bound() || e.Pending() || e.Destroyed() {
		t.Errorf("%v; bound %v, destroyed %v", r.err, e.Bound(), e.Destroyed())
	}
	covers(t, "EP-010")

	// The second call gets what the first one gets, and its context is nobody's.
	t.Run("together", bindsTogether)
	go bind(t.Context())
	slow.asked(t)
	go bind(over)
	slow.release <- netip.MustParseAddr("127.0.0.3")
	a, b := came(t, results), came(t, results)
	if a != b || a.err != nil || a.addr != e.Address() {
		t.Errorf("%v and %v, bound to %v", a, b, e.Address())
	}
	if a.addr.Addr().String() != "127.0.0.3" {
		t.Errorf("bound to %v, which is not what the name stands for", a.addr)
	}
	covers(t, "EP-009")
	covers(t, "EP-013")
	if again, err := e.Bind(over); err != nil || again != e.Address() || len(slow.entered) != 0 {
		t.Errorf("bound again: %v, %v", again, err)
	}
	covers(t, "EP-013")
	covers(t, "EP-014")
	<-ready
	if !s.Bound() {
		t.Error("all endpoints are bound and the socket is not")
	}
	covers(t, "SOC-025")
	covers(t, "SOC-026")
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil || first.Address() != addr || e.Address() != a.addr || len(ready) != 0 {
		t.Errorf("Listen bound again: %v", err)
	}
	covers(t, "EP-013")

	// A port that is taken is what the endpoint, here the last one, ends with.
	wantTaken(t, int(addr.Port()))
	covers(t, "EP-009")
	boundNoMore(t, first, e)
}

func wantTaken(t *testing.T, port int) {
	t.Helper()
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", Port: port}})
	e := s.Endpoints()[0]
	got, err := e.Bind(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) || got.IsValid() || !e.Destroyed() || e.Bound() || e.Pending() || s.Err() != err {
		t.Errorf("a port that is taken: %v, %v; destroyed %v, the socket ended with %v", got, err, e.Destroyed(), s.Err())
	}
}

// A port that is taken destroys the endpoint, with what the system says.
func TestEndpointBindFails(t *testing.T) {
	type ended struct {
		e   *Endpoint
		err error
	}
	told := make(chan ended, 4)
	hooks := SocketHooks{EndpointClose: func(e *Endpoint, err error) error { told <- ended{e, err}; return nil }}
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", Port: port}, Hooks: hooks})
	other := add(t, s, EndpointOptions{Address: "127.0.0.1"})
	e := s.Endpoints()[0]
	_, err = e.Bind(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) || !e.Destroyed() || e.Bound() || e.Pending() {
		t.Errorf("%v; destroyed %v", err, e.Destroyed())
	}
	covers(t, "EP-009")
	if got := <-told; got.e != e || got.err != err {
		t.Errorf("told of %v", got)
	}
	covers(t, "SOC-008")
	_, err = e.Bind(t.Context())
	wantState(t, "Bind of a destroyed endpoint", err)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v does not tell why", err)
	}
	covers(t, "EP-012")

	// The others go on.
	if s.Destroyed() || !slices.Equal(s.Endpoints(), []*Endpoint{other}) {
		t.Error("the other endpoint is gone")
	}
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil || !answers(t, other.Address()) {
		t.Errorf("the other endpoint does not work: %v", err)
	}

	// The last one takes the socket along.
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", Port: port}, Hooks: hooks})
	if _, err = s.Endpoints()[0].Bind(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	<-s.Closed()
	if s.Err() != err {
		t.Errorf("the socket ended with %v", s.Err())
	}
	covers(t, "SOC-009")

	// So does any, when Listen binds all.
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}, Hooks: hooks})
	add(t, s, EndpointOptions{Address: "127.0.0.1", Port: port})
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); !errors.Is(err, syscall.EADDRINUSE) || !s.Destroyed() {
		t.Errorf("%v; destroyed %v", err, s.Destroyed())
	}

	// Destroyed while its address is looked up.
	slow := newSlowLookup()
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "somewhere", Lookup: slow.lookup}})
	done := make(chan error)
	go func() {
		_, err := s.Endpoints()[0].Bind(t.Context())
		done <- err
	}()
	<-slow.entered
	e = s.Endpoints()[0]
	e.Destroy(nil)
	if e.Pending() || !e.Destroyed() {
		t.Error("pending after its end")
	}
	wantState(t, "Bind of an endpoint that is destroyed meanwhile", came(t, done))
	covers(t, "EP-012")
	bindsNoMore(t)
}

// prober is a client of another version, which listening sockets answer.
type prober struct {
	t    *testing.T
	c    *net.UDPConn
	mark byte
}

func newProber(t *testing.T) *prober { return newProberOn(t, "udp") }

func newProberOn(t *testing.T, network string) *prober {
	t.Helper()
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &prober{t: t, c: c}
}

// send sends a first packet, and returns what marks its answer.
func (p *prober) send(to netip.AddrPort) byte {
	p.t.Helper()
	p.mark++
	b := make([]byte, 1200)
	copy(b, []byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, p.mark, 8, p.mark})
	if _, err := p.c.WriteToUDPAddrPort(b, to); err != nil {
		p.t.Fatalf("to %v: %v", to, err)
	}
	return p.mark
}

// answered waits for the answer to the last packet sent, and reports which came until then.
func (p *prober) answered(last byte) (marks []byte) {
	p.t.Helper()
	_ = p.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for b := make([]byte, 1500); !slices.Contains(marks, last); {
		n, _, err := p.c.ReadFromUDPAddrPort(b)
		if err != nil {
			return marks
		}
		if n > 6 && b[5] == 8 { // Version Negotiation: the connection ID is ours
			marks = append(marks, b[6])
		}
	}
	return marks
}

// reaches reports whether somebody answers at an address.
func (p *prober) reaches(to netip.AddrPort) bool {
	p.t.Helper()
	mark := p.send(to)
	return slices.Contains(p.answered(mark), mark)
}

// misses reports whether nobody answers at an address, while somebody does at another one
// to what is sent there later.
func (p *prober) misses(to, at netip.AddrPort) bool {
	p.t.Helper()
	mark := p.send(to)
	last := p.send(at)
	marks := p.answered(last)
	return slices.Contains(marks, last) && !slices.Contains(marks, mark)
}

// answers reports whether a listening socket answers at an address.
func answers(t *testing.T, to netip.AddrPort) bool {
	t.Helper()
	return newProber(t).reaches(to)
}
