package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// lookups is a resolver that remembers what it was asked.
type lookups struct {
	answer netip.Addr
	err    error

	mu   sync.Mutex
	list []question
}

type question struct {
	address string
	family  int
}

func (l *lookups) lookup(_ context.Context, address string, family int) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, question{address, family})
	return l.answer, l.err
}

// asked returns the questions since the last call.
func (l *lookups) asked() []question {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

func wantAsked(t *testing.T, what string, l *lookups, want ...question) {
	t.Helper()
	if got := l.asked(); !slices.Equal(got, want) {
		t.Errorf("%s: asked %v, want %v", what, got, want)
	}
}

// listeningAt returns a listening socket at the loopback address.
func listeningAt(t *testing.T) *Socket {
	t.Helper()
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}})
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	return s
}

func localPort(s *Socket) int { return int(s.Address().Port()) }

// Names go to the nearest resolver, with the family that the type says.
func TestLookupPrecedence(t *testing.T) {
	server := listeningAt(t)
	own, endpoint, connect, listen := &lookups{answer: loopback4}, &lookups{answer: loopback4}, &lookups{answer: loopback4}, &lookups{answer: loopback4}
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "one.test"}, Lookup: own.lookup})
	added := add(t, s, EndpointOptions{Address: "two.test", Lookup: endpoint.lookup})
	third := add(t, s, EndpointOptions{Address: "three.test"})
	lo := ListenOptions{TLS: serverConfig(), Lookup: listen.lookup, PreferredAddress: []PreferredAddress{{Address: "preferred.test"}}}
	if err := s.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, "the socket's", own, question{"one.test", 4}, question{"three.test", 4})
	wantAsked(t, "the endpoint's", endpoint, question{"two.test", 4})
	wantAsked(t, "Listen's", listen, question{"preferred.test", 4})
	if s.Address().Addr() != loopback4 || added.Address().Addr() != loopback4 || third.Address().Addr() != loopback4 {
		t.Errorf("bound to %v, %v and %v", s.Address(), added.Address(), third.Address())
	}
	covers(t, "ADD-001")
	covers(t, "ADD-004")
	covers(t, "CQS-008")
	covers(t, "LIS-018")
	covers(t, "LKP-001")
	covers(t, "LKP-003")
	covers(t, "LKP-005")

	// Connect has its own or the socket's, for this call only.
	co := ConnectOptions{Address: "server.test", Port: localPort(server), TLS: clientConfig(), ServerName: "localhost", Lookup: connect.lookup}
	for i, l := range []*lookups{connect, own, connect} {
		if co.Lookup = nil; l == connect {
			co.Lookup = connect.lookup
		}
		c, err := s.Connect(t.Context(), co)
		if err == nil {
			err = c.Handshake(testContext(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddress() != server.Address() {
			t.Errorf("connected to %v", c.RemoteAddress())
		}
		wantAsked(t, "call", l, question{"server.test", 4})
		wantAsked(t, "the others", []*lookups{own, connect, own}[i])
		covers(t, "CON-017")
		covers(t, "CON-001")
		covers(t, "LKP-005")
		covers(t, "CQS-008")
	}
	wantAsked(t, "the endpoint's", endpoint)
	wantAsked(t, "Listen's", listen)

	// IP addresses are no names.
	co.Address = "127.0.0.1"
	if _, err := s.Connect(t.Context(), co); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, "for an IP address", own)

	// Listen's other resolver is the socket's, and without one it is the system's.
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}, Lookup: own.lookup})
	lo.Lookup = nil
	if err := s.Listen(t.Context(), lo); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, "the socket's for Listen", own, question{"preferred.test", 4})
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "localhost"}})
	if a := mustBind(t, s.Endpoints()[0]); !a.Addr().IsLoopback() {
		t.Errorf("bound to %v", a)
	}
	co.Address = "localhost"
	if c, err := s.Connect(t.Context(), co); err != nil || c.RemoteAddress().Port() != server.Address().Port() {
		t.Errorf("without a resolver: %v", err)
	}
	covers(t, "CQS-008")
}

// A resolver is asked for the family of the type, also without a name, and may then leave
// the choice.
func TestLookupNothing(t *testing.T) {
	l := &lookups{}
	server := listeningAt(t)
	for _, c := range []struct {
		kind   string
		family int
		any    string
	}{{UDP4, 4, "0.0.0.0"}, {UDP6, 6, "::"}, {UDP6Only, 6, "::"}} {
		if c.family == 6 && !has6() {
			continue
		}
		s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: c.kind}, Lookup: l.lookup})
		if a := mustBind(t, s.Endpoints()[0]); a.Addr().String() != c.any {
			t.Errorf("%s: bound to %v", c.kind, a)
		}
		wantAsked(t, c.kind, l, question{"", c.family})
		covers(t, "LKP-002")
		covers(t, "LKP-003")
		if c.kind == UDP6Only {
			continue
		}
		// Connect goes to the loopback address then.
		client, err := s.Connect(t.Context(), ConnectOptions{Port: localPort(server), Type: c.kind, TLS: clientConfig()})
		if err != nil {
			t.Fatal(err)
		}
		if ip := client.RemoteAddress().Addr(); !ip.IsLoopback() || ip.Is4() != (c.family == 4) {
			t.Errorf("%s: connected to %v", c.kind, ip)
		}
		wantAsked(t, c.kind, l, question{"", c.family})
		covers(t, "LKP-002")
		covers(t, "CON-001")
	}

	familyTold(t)
	covers(t, "LKP-003")

	// What it answers counts.
	l.answer = netip.MustParseAddr("127.0.0.9")
	s := newSocket(t, SocketOptions{Lookup: l.lookup})
	if a := mustBind(t, s.Endpoints()[0]); a.Addr() != l.answer {
		t.Errorf("bound to %v", a)
	}
	covers(t, "LKP-002")
	client, err := s.Connect(t.Context(), ConnectOptions{Port: localPort(server), TLS: clientConfig()})
	if err != nil || client.RemoteAddress().Addr() != l.answer {
		t.Errorf("%v; connected to %v", err, client.RemoteAddress())
	}
	covers(t, "CON-001")

	// A name that was configured is what it is asked for.
	l.asked()
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "here.test"}, Lookup: l.lookup})
	if a := mustBind(t, s.Endpoints()[0]); a.Addr() != l.answer {
		t.Errorf("bound to %v", a)
	}
	client, err = s.Connect(t.Context(), ConnectOptions{Address: "there.test", Port: localPort(server), TLS: clientConfig()})
	if err != nil || client.RemoteAddress().Addr() != l.answer {
		t.Fatalf("%v; connected to %v", err, client.RemoteAddress())
	}
	there := ConnectOptions{Address: "127.0.0.3", Port: localPort(server), TLS: clientConfig()} // an IP address is no name
	if client, err = s.Connect(t.Context(), there); err != nil || client.RemoteAddress().Addr().String() != there.Address {
		t.Errorf("%v; connected to %v", err, client.RemoteAddress())
	}
	covers(t, "CON-001")
	wantAsked(t, "for names", l, question{"here.test", 4}, question{"there.test", 4})
	covers(t, "LKP-002")

	// Without a resolver of the program's it is the loopback address, and that works.
	s = newSocket(t, SocketOptions{})
	client, err = s.Connect(t.Context(), ConnectOptions{Port: localPort(server), TLS: clientConfig()})
	if err == nil {
		err = client.Handshake(testContext(t))
	}
	if err != nil || client.RemoteAddress() != server.Address() {
		t.Errorf("%v; connected to %v", err, client.RemoteAddress())
	}
	covers(t, "CON-001")
	covers(t, "CON-045")
}

// What a resolver fails with fails the call, and nothing is sent.
func TestLookupFails(t *testing.T) {
	boom := errors.New("boom")
	bad := &lookups{err: boom}
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}})
	e := add(t, s, EndpointOptions{Address: "name.test", Lookup: bad.lookup})
	if _, err := e.Bind(t.Context()); !errors.Is(err, boom) || !e.Destroyed() || s.Destroyed() {
		t.Errorf("Bind: %v", err)
	}
	covers(t, "LKP-001")
	covers(t, "EP-009")
	if _, err := s.Connect(t.Context(), ConnectOptions{Address: "name.test", Port: 1, TLS: clientConfig(), Lookup: bad.lookup}); !errors.Is(err, boom) || s.Stats().ClientSessions != 0 {
		t.Errorf("Connect: %v", err)
	}
	covers(t, "LKP-001")
	covers(t, "CON-017")
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "name.test"}, Lookup: bad.lookup})
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); !errors.Is(err, boom) || s.Err() != boom {
		t.Errorf("Listen: %v, %v", err, s.Err())
	}
	covers(t, "LKP-001")

	// What a function answers is where it goes.
	other := netip.MustParseAddr("127.0.0.9")
	good := &lookups{answer: other}
	s = newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "name.test"}, Lookup: good.lookup})
	if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil || s.Address().Addr() != other {
		t.Errorf("%v; bound to %v, want %v", err, s.Address(), other)
	}
	wantAsked(t, "the socket's", good, question{"name.test", 4})
	covers(t, "LKP-001")

	// No address, or one of the other family, is no answer.
	for _, ip := range []netip.Addr{{}, netip.IPv6Loopback()} {
		l := &lookups{answer: ip}
		s = newSocket(t, SocketOptions{Lookup: l.lookup, Endpoint: EndpointOptions{Address: "name.test"}})
		_, err := s.Connect(t.Context(), ConnectOptions{Address: "name.test", Port: 1, TLS: clientConfig()})
		var oe *OperationError
		if !errors.As(err, &oe) || !strings.Contains(err.Error(), "name.test") || s.Bound() {
			t.Errorf("%v: %v", ip, err)
		}
		if _, err := s.Endpoints()[0].Bind(t.Context()); !errors.As(err, &oe) {
			t.Errorf("%v: %v", ip, err)
		}
	}
	covers(t, "LKP-003")

	// Nor is a name that the system does not know.
	s = newSocket(t, SocketOptions{})
	_, err := s.Connect(t.Context(), ConnectOptions{Address: "no such name", Port: 1, TLS: clientConfig()})
	var dns *net.DNSError
	if !errors.As(err, &dns) || s.Bound() {
		t.Errorf("%v; bound %v", err, s.Bound())
	}
	covers(t, "LKP-004")
}

// Where to connect to is checked before anything is done.
func TestConnectTarget(t *testing.T) {
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: UDP4}})
	for _, port := range []int{-1, 0, 65_536} {
		_, err := s.Connect(t.Context(), ConnectOptions{Address: "127.0.0.1", Port: port, TLS: clientConfig()})
		wantOptionError(t, err, "ERR_SOCKET_BAD_PORT", "ConnectOptions.Port")
		covers(t, "CON-038")
	}
	for _, kind := range []string{"udp", "upd6", "udp6-only", "UDP4"} {
		_, err := s.Connect(t.Context(), ConnectOptions{Address: "127.0.0.1", Port: 1, Type: kind, TLS: clientConfig()})
		wantOptionError(t, err, "ERR_INVALID_ARG_VALUE", "ConnectOptions.Type")
		covers(t, "CON-045")
	}
	if s.Bound() {
		t.Error("a refused call has bound the socket")
	}
	for _, port := range []int{1, 65_535} {
		c, err := s.Connect(t.Context(), ConnectOptions{Address: "127.0.0.1", Port: port, TLS: clientConfig()})
		if err != nil || int(c.RemoteAddress().Port()) != port {
			t.Errorf("%d: %v", port, err)
		}
		covers(t, "CON-038")
	}

	// An address of the other family is none.
	for _, c := range []struct{ kind, address string }{{UDP6, "127.0.0.1"}, {UDP4, "::1"}, {"", "::1"}} {
		s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: UDP6}})
		_, err := s.Connect(t.Context(), ConnectOptions{Address: c.address, Port: 1, Type: c.kind, TLS: clientConfig()})
		wantOptionError(t, err, "ERR_QUIC_FAILED_TO_CREATE_SESSION", "ConnectOptions.Address")
		if s.Bound() || s.Stats().PacketsSent != 0 || s.Stats().ClientSessions != 0 {
			t.Error("something was done for it")
		}
		covers(t, "SOC-037")
	}
	if !has6() {
		return
	}
	six := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: UDP6, Address: "::1"}})
	if err := six.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	client := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: UDP6}})
	c, err := client.Connect(t.Context(), ConnectOptions{Address: "localhost", Port: localPort(six), Type: UDP6, TLS: clientConfig()})
	if err == nil {
		err = c.Handshake(testContext(t))
	}
	if err != nil || c.RemoteAddress() != six.Address() {
		t.Errorf("%v; connected to %v", err, c.RemoteAddress())
	}
	covers(t, "CON-045")
	covers(t, "CON-001")
	covers(t, "LKP-004")
}

// familyTold fails unless a resolver is told the family, whether or not there is such an address
// here.
func familyTold(t *testing.T) {
	t.Helper()
	boom := errors.New("boom")
	for kind, family := range map[string]int{UDP4: 4, UDP6: 6, UDP6Only: 6} {
		l := &lookups{err: boom}
		s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Type: kind, Address: "here.test"}, Lookup: l.lookup})
		if _, err := s.Endpoints()[0].Bind(t.Context()); !errors.Is(err, boom) {
			t.Errorf("%s: %v", kind, err)
		}
		wantAsked(t, kind, l, question{"here.test", family})
	}
}
