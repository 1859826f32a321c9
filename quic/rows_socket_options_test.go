package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// A new socket has taken nothing, and is what its options say; one with bad options is not made.
func TestNewSocketRow(t *testing.T) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	s, err := NewSocket(SocketOptions{
		Endpoint: EndpointOptions{Address: "127.0.0.1", Port: port},
		Server:   ListenOptions{TLS: serverConfig()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	if e := s.Endpoints(); len(e) != 1 || e[0].Bound() || e[0].Socket() != s || s.Bound() || s.Pending() {
		t.Errorf("%d endpoints, bound %v", len(e), s.Bound())
	}
	free.Close() // the port was not ours until now
	if err := s.Listen(testContext(t), ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := s.Endpoints(); len(e) != 1 || e[0].Address() != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)) {
		t.Errorf("bound at %v", s.Address())
	}
	for option, o := range map[string]SocketOptions{
		"SocketOptions.Endpoint.Port":     {Endpoint: EndpointOptions{Port: 70_000}},
		"SocketOptions.Endpoint.Type":     {Endpoint: EndpointOptions{Type: "tcp"}},
		"SocketOptions.MaxConnections":    {MaxConnections: -4},
		"SocketOptions.RetryTokenTimeout": {RetryTokenTimeout: time.Hour},
		"SocketOptions.Client.MaxData":    {Client: ConnectOptions{MaxData: -4}},
		"SocketOptions.Server.MaxData":    {Server: ListenOptions{MaxData: -4}},
	} {
		s, err := NewSocket(o)
		var oe *OptionError
		if s != nil || !errors.As(err, &oe) || oe.Option != option {
			t.Errorf("%s: %v", option, err)
		}
	}
	covers(t, "CQS-001")
}

// What a socket can do, and that none of it is reading and writing datagrams.
func TestSocketRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		p.exchange(t)
		if e := m.server.Endpoints(); len(e) != 1 || e[0].Address() != memServer || p.server.Socket() != m.server || p.client.Socket() != m.client {
			t.Error("a session is not on its socket")
		}
		if st := m.server.Stats(); st.ServerSessions != 1 || st.BytesReceived == 0 {
			t.Errorf("%+v", st)
		}
		// One socket with two bindings serves at each and connects, all at once.
		hub := socketOn(t, m.net, SocketOptions{Server: ListenOptions{TLS: serverConfig()}}, "10.0.1.1:1", "10.0.1.2:2")
		defer hub.Destroy(nil)
		if err := hub.Listen(t.Context(), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		for i, e := range hub.Endpoints() {
			at := []string{"10.0.1.1", "10.0.1.2"}[i]
			in, err := m.client.Connect(t.Context(), ConnectOptions{Address: at, Port: i + 1, TLS: clientConfig(), ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			v, err := hub.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			(&pair{hub, in, v}).exchange(t)
			if in.RemoteAddress() != e.Address() || v.Socket() != hub {
				t.Errorf("endpoint %d at %v has taken a session with %v", i, e.Address(), in.RemoteAddress())
			}
		}
		out, err := hub.Connect(t.Context(), m.options(ConnectOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		v, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		(&pair{m.server, out, v}).exchange(t)
		if st := hub.Stats(); st.ServerSessions != 2 || st.ClientSessions != 1 || st.BytesReceived == 0 || st.BytesSent == 0 {
			t.Errorf("%+v", st)
		}
		covers(t, "SOC-001")
	})
	var s any = new(Socket)
	switch s.(type) {
	case io.Reader, io.Writer, io.ReaderFrom, io.WriterTo, net.PacketConn, net.Conn:
		t.Error("a socket reads or writes")
	}
	bytes := reflect.TypeFor[[]byte]()
	for i := range reflect.TypeOf(s).NumMethod() {
		m := reflect.TypeOf(s).Method(i)
		for k := 1; k < m.Type.NumIn(); k++ {
			if m.Type.In(k) == bytes {
				t.Errorf("%s takes bytes", m.Name)
			}
		}
		for k := range m.Type.NumOut() {
			if m.Type.Out(k) == bytes {
				t.Errorf("%s returns bytes", m.Name)
			}
		}
	}
	covers(t, "SOC-003")
}

// Connect binds, resolves and comes back without waiting for the handshake.
func TestConnectRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Second}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for _, o := range []ConnectOptions{
			{Port: 1}, {Port: 99_999, TLS: clientConfig()}, {Port: 1, TLS: clientConfig(), IdleTimeout: -7}, {Port: 1, TLS: clientConfig(), Type: "udp5"},
		} {
			if c, err := m.client.Connect(t.Context(), o); c != nil || err == nil || m.client.Stats().ClientSessions != 0 || m.client.Bound() {
				t.Errorf("Connect(%+v): %v", o, err)
			}
		}
		start := time.Now()
		o := m.options(ConnectOptions{})
		o.Address = "server.example"
		o.Lookup = func(_ context.Context, name string, family int) (netip.Addr, error) {
			if name != "server.example" || family != 4 {
				t.Errorf("Lookup(%q, %d)", name, family)
			}
			return memServer.Addr(), nil
		}
		c, err := m.client.Connect(t.Context(), o)
		if err != nil || c.HandshakeComplete() || time.Since(start) != 0 {
			t.Fatalf("Connect: %v, after %v", err, time.Since(start))
		}
		if !m.client.Bound() || c.RemoteAddress() != memServer || m.client.Stats().PacketsSent == 0 {
			t.Errorf("bound %v, to %v", m.client.Bound(), c.RemoteAddress())
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Error(err)
		}
		covers(t, "SOC-036")
	})
}

// One socket has sessions with several servers, at a time and one after the other, and
// takes some itself.
func TestSocketWithMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		hub := m.socketAt(netip.MustParseAddrPort("10.0.0.100:1"), SocketOptions{Server: ListenOptions{TLS: serverConfig()}})
		defer hub.Destroy(nil)
		if err := hub.Listen(t.Context(), ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		var pairs []*pair
		for round := range 2 {
			for i := range 3 {
				at := netip.AddrPortFrom(netip.MustParseAddr("10.0.3.1"), uint16(10*round+i+1))
				s := m.socketAt(at, SocketOptions{})
				defer s.Destroy(nil)
				if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
					t.Fatal(err)
				}
				c, err := hub.Connect(t.Context(), ConnectOptions{Address: at.Addr().String(), Port: int(at.Port()), TLS: clientConfig(), ServerName: "localhost"})
				if err != nil {
					t.Fatal(err)
				}
				v, err := s.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				pairs = append(pairs, &pair{s, c, v})
			}
			for _, p := range pairs[3*round:] {
				p.exchange(t)
				if p.client.Socket() != hub || p.client.RemoteAddress() != p.socket.Address() {
					t.Error("sessions are mixed up")
				}
			}
			if round == 0 {
				for _, p := range pairs {
					p.client.CloseWithError(0, "")
				}
			}
		}
		if n := hub.Stats().ClientSessions; n != 6 {
			t.Errorf("%d client sessions", n)
		}
		covers(t, "SOC-038")
		in, err := m.client.Connect(t.Context(), ConnectOptions{Address: "10.0.0.100", Port: 1, TLS: clientConfig(), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		v, err := hub.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		(&pair{hub, in, v}).exchange(t)
		pairs[5].exchange(t)
		if st := hub.Stats(); st.ClientSessions != 6 || st.ServerSessions != 1 {
			t.Errorf("%+v", st)
		}
		covers(t, "SOC-002")
	})
}

// Options of the socket stand in for those that Connect is not given, each for itself.
func TestClientFallbacks(t *testing.T) {
	fallbacks(t, func(o, base ConnectOptions) (ConnectOptions, sessionOptions) {
		return o.over(base), o.session().over(base.session())
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: &tls.Config{
			Certificates: serverConfig().Certificates, NextProtos: []string{"one", "two"},
		}})
		defer m.close()
		o := m.options(ConnectOptions{ALPN: "one", MaxStreamsBidi: 3, MaxStreamsUni: 4})
		s := m.socket(SocketOptions{Client: o})
		defer s.Destroy(nil)
		for _, test := range []struct {
			o    ConnectOptions
			alpn string
			most MaxStreams
		}{
			{ConnectOptions{}, "one", MaxStreams{Bidi: 3, Uni: 4}},
			{ConnectOptions{ALPN: "two", MaxStreamsBidi: 9}, "two", MaxStreams{Bidi: 9, Uni: 4}},
		} {
			c, err := s.Connect(t.Context(), test.o)
			if err != nil {
				t.Fatal(err)
			}
			v, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if v.ALPNProtocol() != test.alpn || v.MaxStreams() != test.most || c.RemoteAddress() != memServer {
				t.Errorf("%q, %+v", v.ALPNProtocol(), v.MaxStreams())
			}
		}
	})
	covers(t, "CQS-002")
}

// And likewise for Listen, which then needs none of its own.
func TestServerFallbacks(t *testing.T) {
	fallbacks(t, func(o, base ListenOptions) (ListenOptions, sessionOptions) {
		return o.over(base), o.session().over(base.session())
	})
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		base := ListenOptions{TLS: serverConfig(), ALPN: "test", MaxStreamsBidi: 3, MaxStreamsUni: 4, Handler: func(*ServerSession) error {
			handled++
			return nil
		}}
		for i, test := range []struct {
			o    ListenOptions
			most MaxStreams
		}{
			{ListenOptions{}, MaxStreams{Bidi: 3, Uni: 4}},
			{ListenOptions{MaxStreamsUni: 9}, MaxStreams{Bidi: 3, Uni: 9}},
		} {
			m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{})}
			m.server, m.client = m.socketAt(memServer, SocketOptions{Server: base}), m.socket(SocketOptions{})
			if err := m.server.Listen(t.Context(), test.o); err != nil {
				t.Fatal(err)
			}
			c := m.connect(ConnectOptions{})
			err := c.Handshake(t.Context())
			synctest.Wait() // for the server's Handler
			if err != nil || c.MaxStreams() != test.most || handled != i+1 {
				t.Errorf("%v, %+v, %d handled", err, c.MaxStreams(), handled)
			}
			m.close()
		}
	})
	covers(t, "CQS-014")
}

// fallbacks checks for every member of a struct of options that base's is used where there
// is none, and that there the own one wins. merge returns both parts of the result.
func fallbacks[T any](t *testing.T, merge func(o, base T) (T, sessionOptions)) {
	t.Helper()
	var zero T
	_, none := merge(zero, zero)
	kind := reflect.TypeFor[T]()
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		var theirs, ours T
		sample(t, reflect.ValueOf(&theirs).Elem().Field(i), 3)
		sample(t, reflect.ValueOf(&ours).Elem().Field(i), 4)
		if name == "RemoteTransportParams" { // it belongs to its ticket
			reflect.ValueOf(&theirs).Elem().FieldByName("SessionTicket").SetBytes([]byte{1})
			reflect.ValueOf(&ours).Elem().FieldByName("SessionTicket").SetBytes([]byte{1})
		}
		field := func(o T) string { return identityOf(reflect.ValueOf(o).Field(i)) }
		whole := func(o, base T) (string, sessionOptions) {
			merged, so := merge(o, base)
			return field(merged), so
		}
		_, onlyTheirs := whole(theirs, zero)
		fromBase, so := whole(zero, theirs)
		if (fromBase != field(theirs) || field(theirs) == field(zero)) && (so != onlyTheirs || onlyTheirs == none) {
			t.Errorf("%v.%s of the socket is not used", kind, name)
		}
		_, onlyOurs := whole(ours, zero)
		if own, so := whole(ours, theirs); own != field(ours) || so != onlyOurs {
			t.Errorf("%v.%s of the socket wins over the call's own", kind, name)
		}
	}
}

// sample puts some value that is not zero, and different for different n, into an option.
func sample(t *testing.T, v reflect.Value, n int) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(rune('a' + n)))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Func:
		results := make([]reflect.Value, v.Type().NumOut())
		for i := range results {
			results[i] = reflect.Zero(v.Type().Out(i))
		}
		v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { return results }))
	case reflect.Interface:
		v.Set(reflect.ValueOf(NewReplayRegister(n)))
	case reflect.Struct:
		for i := range v.NumField() {
			sample(t, v.Field(i), n)
		}
	default:
		t.Fatalf("an option of kind %v", v.Kind())
	}
}

// identityOf tells values of options apart, functions and what is pointed to by where they are.
func identityOf(v reflect.Value) string {
	if v.Kind() == reflect.Struct {
		var s string
		for i := range v.NumField() {
			s += identityOf(v.Field(i)) + " "
		}
		return s
	}
	switch v.Kind() {
	case reflect.Func:
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		return fmt.Sprintf("%x", *(*uintptr)(p.UnsafePointer())) // Pointer is that of the code, which all samples share
	case reflect.Slice:
		return fmt.Sprintf("%x of %d", v.Pointer(), v.Len())
	case reflect.Pointer:
		return fmt.Sprintf("%x", v.Pointer())
	case reflect.Interface:
		if !v.IsNil() {
			return fmt.Sprintf("%p", v.Interface())
		}
	}
	return fmt.Sprint(v.Interface())
}
