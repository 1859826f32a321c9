package quic

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// exchange sends a line on a new stream and wants it back.
func (p *pair) exchange(t testing.TB) {
	t.Helper()
	c, s := p.streams(t)
	go func() {
		io.Copy(s, s)
		s.CloseWrite()
	}()
	c.End([]byte("hello"))
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Errorf("echo: %q, %v", b, err)
	}
}

func TestConnectionState(t *testing.T) {
	p := newPair(t, ListenOptions{}, ConnectOptions{ServerName: "localhost"})
	for _, s := range []*Session{&p.client.Session, &p.server.Session} {
		cs := s.ConnectionState()
		if cs.Version != tls.VersionTLS13 || !cs.HandshakeComplete || cs.NegotiatedProtocol != "test" {
			t.Errorf("%+v", cs)
		}
		if s.ALPNProtocol() != "test" || s.ServerName() != "localhost" || !s.HandshakeComplete() {
			t.Errorf("%q %q %v", s.ALPNProtocol(), s.ServerName(), s.HandshakeComplete())
		}
	}
	c, s := p.client.ConnectionState(), p.server.ConnectionState()
	a, err := c.ExportKeyingMaterial("test", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := s.ExportKeyingMaterial("test", nil, 32); string(a) != string(b) {
		t.Error("exporters differ")
	}
	if !p.client.Authenticated() || p.client.AuthenticationError() != nil {
		t.Errorf("client: %v", p.client.AuthenticationError())
	}
	var v *VerifyError
	if p.server.Authenticated() || !errors.As(p.server.AuthenticationError(), &v) || v.Code() != "ERR_QUIC_VERIFY_NO_CERTIFICATE" {
		t.Errorf("server: %v", p.server.AuthenticationError())
	}
	if p.client.Client() != p.client || p.client.Server() != nil || p.server.Server() != p.server {
		t.Error("Client and Server are mixed up")
	}
}

// Certificates are verified unless that is turned off, and then the outcome is told
// (RFC 9000 §7, RFC 9001 §4.4, RFC 9114 §3.1).
func TestVerification(t *testing.T) {
	ctx := testContext(t)
	socket, err := Listen(ctx, "127.0.0.1:0", ListenOptions{TLS: serverConfig()})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Destroy(nil)
	empty := &tls.Config{RootCAs: x509.NewCertPool(), NextProtos: []string{"test"}}
	for _, test := range []struct {
		name string
		o    ConnectOptions
		code string
		is   func(error) bool
	}{
		{"self-signed", ConnectOptions{TLS: empty}, "DEPTH_ZERO_SELF_SIGNED_CERT", func(err error) bool {
			return errors.As(err, new(x509.UnknownAuthorityError))
		}},
		{"wrong name", ConnectOptions{TLS: clientConfig(), ServerName: "example.com"}, "HOSTNAME_MISMATCH", func(err error) bool {
			return errors.As(err, new(x509.HostnameError))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Dial(ctx, socket.Address().String(), test.o)
			var te *TransportError
			if !errors.As(err, &te) || te.ErrorCode != 0x12a || te.Remote || !test.is(err) {
				t.Errorf("Dial: %v", err)
			}
			o := test.o
			o.AllowUnauthenticated = true
			c, err := Dial(ctx, socket.Address().String(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Destroy(nil)
			var v *VerifyError
			if c.Authenticated() || !errors.As(c.AuthenticationError(), &v) || v.Reason != test.code || !test.is(v) {
				t.Errorf("AuthenticationError: %v", c.AuthenticationError())
			}
		})
	}
}

func TestNoCommonALPN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c := m.connect(ConnectOptions{ALPN: "other"})
		err := c.Handshake(t.Context())
		if !errors.Is(err, &TransportError{ErrorCode: 0x178, Remote: true}) || !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Handshake: %v", err)
		}
		if cc := c.CloseCode(); cc.Code != 0x178 || cc.Family != CloseTLS || !cc.Silent {
			t.Errorf("CloseCode is %+v", cc)
		}
	})
}

func TestClientCertificate(t *testing.T) {
	cert, pool := identity()
	server := serverConfig()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, pool
	client := clientConfig()
	client.Certificates = []tls.Certificate{cert}
	p := newPair(t, ListenOptions{TLS: server}, ConnectOptions{TLS: client})
	if !p.server.Authenticated() || p.server.AuthenticationError() != nil {
		t.Errorf("server: %v", p.server.AuthenticationError())
	}
	p.exchange(t)
	// Without one the client is sent away; at a client TLS 1.3 is done by then.
	c, err := Dial(testContext(t), p.socket.Address().String(), ConnectOptions{TLS: clientConfig()})
	if err == nil {
		<-c.Closed()
		err = c.Err()
	}
	if !errors.Is(err, &TransportError{ErrorCode: 0x174, Remote: true}) {
		t.Errorf("without a certificate: %v", err)
	}
}

// Callbacks of the server's configuration see the session's addresses, and what
// GetConfigForClient returns is made to speak QUIC.
func TestConfigForClient(t *testing.T) {
	var hellos, certs int
	cert, _ := identity()
	inner := &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			certs++
			if h.Conn.RemoteAddr().(*net.UDPAddr).Port == 0 || h.Conn.LocalAddr() == nil {
				t.Error("no address")
			}
			return &cert, nil
		},
	}
	outer := serverConfig()
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hellos++
		if h.Conn.RemoteAddr().(*net.UDPAddr).Port == 0 || h.ServerName != "localhost" {
			t.Errorf("hello %q from %v", h.ServerName, h.Conn.RemoteAddr())
		}
		return inner, nil
	}
	cache := tls.NewLRUClientSessionCache(4)
	client := clientConfig()
	client.ClientSessionCache = cache
	p := newPair(t, ListenOptions{TLS: outer}, ConnectOptions{TLS: client, ServerName: "localhost"})
	p.exchange(t)
	if hellos != 1 || certs != 1 {
		t.Errorf("%d hellos, %d certificates", hellos, certs)
	}
	// Tickets are the listener's, so that a configuration made afresh resumes too.
	waitFor(t, func() bool { cs, ok := cache.Get("localhost"); return ok && cs != nil })
	c, err := Dial(testContext(t), p.socket.Address().String(), ConnectOptions{TLS: client, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy(nil)
	if err := c.Handshake(testContext(t)); err != nil || !c.ConnectionState().DidResume {
		t.Errorf("not resumed: %v", err)
	}
	// A callback's error or panic fails only its own handshake.
	outer.GetConfigForClient = nil
	bad := serverConfig()
	bad.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("oops") }
	bad.Certificates = nil
	socket, err := Listen(testContext(t), "127.0.0.1:0", ListenOptions{TLS: bad})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Destroy(nil)
	if _, err := Dial(testContext(t), socket.Address().String(), ConnectOptions{TLS: clientConfig()}); !errors.Is(err, &TransportError{ErrorCode: 0x150, Remote: true}) {
		t.Errorf("Dial: %v", err)
	}
}

// waitFor waits for something on real loopback that nothing tells of.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not happen")
		case <-time.After(time.Millisecond):
		}
	}
}

// A callback that takes its time holds up its own session and no other, and not
// the handshake's clock; but it has a limit of its own.
func TestS53SlowCallback(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		cert, _ := identity()
		wait := map[string]time.Duration{"slow": 30 * time.Second, "never": time.Hour}
		server := &tls.Config{
			NextProtos: []string{"test"},
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				select {
				case <-time.After(wait[h.ServerName]):
				case <-h.Context().Done():
				}
				return &cert, nil
			},
		}
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{TLS: server, IdleTimeout: None})
		defer m.close()
		start := time.Now()
		// The client's own handshake clock runs, so it is set far.
		slow := m.connect(ConnectOptions{HandshakeTimeout: time.Hour, IdleTimeout: None, ServerName: "slow", AllowUnauthenticated: true})
		never := m.connect(ConnectOptions{HandshakeTimeout: time.Hour, IdleTimeout: None, ServerName: "never"})
		quick := m.pair(ConnectOptions{KeepAlive: 10 * time.Second})
		if time.Since(start) > time.Second {
			t.Errorf("the quick one is there after %v", time.Since(start))
		}
		if err := slow.Handshake(t.Context()); err != nil || time.Since(start) < 30*time.Second {
			t.Errorf("the slow one: %v after %v", err, time.Since(start))
		}
		if err := never.Handshake(t.Context()); !errors.Is(err, &TransportError{ErrorCode: 1, Remote: true}) {
			t.Errorf("the one that never ends: %v", err)
		}
		if d := time.Since(start); d < 59*time.Second || d > 65*time.Second {
			t.Errorf("it ended after %v, want 60s", d)
		}
		v, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.canaries(quick, &pair{m.server, slow, v})
	})
}

func TestResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		client := clientConfig()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		p := m.pair(ConnectOptions{TLS: client})
		if p.client.ConnectionState().DidResume {
			t.Error("the first session is resumed")
		}
		p.exchange(t)
		synctest.Wait() // the ticket comes

		// The second one sends early data: it arrives with the first flight.
		c := m.connect(ConnectOptions{TLS: client})
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End([]byte("early"))
		start := time.Now()
		s, err := m.server.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sst, err := s.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(sst); string(b) != "early" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if d := time.Since(start); d > 1500*time.Microsecond {
			t.Errorf("early data took %v, more than the one way of 1ms", d)
		}
		if !sst.Early() || s.HandshakeComplete() {
			t.Error("data did not come early")
		}
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !c.UsingEarlyData() || !c.ConnectionState().DidResume {
			t.Error("client does not use early data")
		}
		if err := s.Handshake(t.Context()); err != nil || !s.EarlyDataAccepted() || !s.UsingEarlyData() {
			t.Errorf("server does not use early data: %v", err)
		}
	})
}

// A ticket serves 0-RTT once: somebody who sends the same again gets no data through.
func TestS23TicketServesOnce(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		var ticket, params []byte
		p := m.pair(ConnectOptions{Hooks: SessionHooks{SessionTicket: func(a, b []byte) error {
			ticket, params = a, b
			return nil
		}}})
		time.Sleep(time.Second)
		synctest.Wait()
		if ticket == nil || params == nil {
			t.Fatal("no ticket")
		}
		p.client.CloseWithError(0, "")
		for i, early := range []bool{true, false} {
			c, s := m.sendEarly(ConnectOptions{SessionTicket: ticket, RemoteTransportParams: params, TokenStore: NewTokenStore(0)}, "hello")
			sst, err := s.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.AddressValidated() == early || !c.AddressValidated() {
				t.Errorf("time %d: addresses validated %v and %v, when early data is %v", i, s.AddressValidated(), c.AddressValidated(), early)
			}
			if b, err := io.ReadAll(sst); string(b) != "hello" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			if err := c.Handshake(t.Context()); err != nil || !c.ConnectionState().DidResume {
				t.Errorf("time %d: not resumed: %v", i, err)
			}
			if err := s.Handshake(t.Context()); err != nil || !s.AddressValidated() {
				t.Errorf("time %d: %v, address validated %v", i, err, s.AddressValidated())
			}
			if c.UsingEarlyData() != early || s.EarlyDataAccepted() != early || sst.Early() != early {
				t.Errorf("time %d: early data %v %v %v, want %v", i, c.UsingEarlyData(), s.EarlyDataAccepted(), sst.Early(), early)
			}
			if n := m.server.Stats().EarlyDataRefused; n != uint64(i) {
				t.Errorf("time %d: early data of %d tickets was refused", i, n)
			}
			m.canaries(&pair{m.server, c, s})
		}
		// Without the parameters the session is resumed, and nothing is sent early.
		c := m.connect(ConnectOptions{SessionTicket: ticket})
		if _, err := c.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) {
			t.Errorf("TryOpenStream: %v", err)
		}
		if err := c.Handshake(t.Context()); err != nil || !c.ConnectionState().DidResume || c.UsingEarlyData() {
			t.Errorf("%v, early %v", err, c.UsingEarlyData())
		}
	})
}

// Early data is refused by a server that does not want it, and by one whose limits have
// fallen; it then goes again.
func TestS23EarlyDataRefused(t *testing.T) {
	besiege(t, 1<<20)
	for _, test := range []struct {
		name   string
		second ListenOptions
	}{
		{"disabled", ListenOptions{DisableEarlyData: true}},
		{"lower limits", ListenOptions{MaxData: 100_000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := [][32]byte{{1, 2, 3}}
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{TicketKeys: keys})
				defer m.close()
				client := clientConfig()
				client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
				m.pair(ConnectOptions{TLS: client}).exchange(t)
				synctest.Wait() // the ticket comes
				m.server.Destroy(nil)
				m.server = m.socketAt(memServer, SocketOptions{})
				test.second.TicketKeys = keys
				test.second.TLS = serverConfig()
				if err := m.server.Listen(t.Context(), test.second); err != nil {
					t.Fatal(err)
				}
				c := m.connect(ConnectOptions{TLS: client})
				st, err := c.TryOpenStream(StreamOptions{})
				if err != nil {
					t.Fatal(err)
				}
				st.End([]byte("hello"))
				s, err := m.server.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				sst, err := s.AcceptStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(sst); string(b) != "hello" || err != nil || sst.Early() {
					t.Errorf("%q, %v", b, err)
				}
				if err := c.Handshake(t.Context()); err != nil || c.UsingEarlyData() || !c.ConnectionState().DidResume {
					t.Errorf("%v, early %v", err, c.UsingEarlyData())
				}
				m.canaries(&pair{m.server, c, s})
			})
		})
	}
}

// If the server that refuses early data also speaks another protocol now, its
// streams fail: what they say may mean something else.
func TestEarlyDataOtherProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := [][32]byte{{1, 2, 3}}
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{TicketKeys: keys})
		defer m.close()
		client := clientConfig()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		client.NextProtos = []string{"test", "other"}
		m.pair(ConnectOptions{TLS: client}).exchange(t)
		synctest.Wait() // the ticket comes
		m.server.Destroy(nil)
		m.server = m.socketAt(memServer, SocketOptions{})
		if err := m.server.Listen(t.Context(), ListenOptions{TicketKeys: keys, TLS: serverConfig(), ALPN: "other"}); err != nil {
			t.Fatal(err)
		}
		c := m.connect(ConnectOptions{TLS: client})
		st, err := c.TryOpenStream(StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.End([]byte("hello"))
		if _, err := st.Read(make([]byte, 1)); err != ErrEarlyDataRejected {
			t.Errorf("Read: %v", err)
		}
		if err := c.Handshake(t.Context()); err != nil || c.ALPNProtocol() != "other" {
			t.Errorf("%v, %q", err, c.ALPNProtocol())
		}
	})
}

func TestBadTickets(t *testing.T) {
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	_, err = s.Connect(testContext(t), ConnectOptions{Port: 1, TLS: clientConfig(), SessionTicket: []byte("junk")})
	wantCode(t, err, CodeInvalidTicket)
	if s.Bound() || s.Stats().ClientSessions != 0 {
		t.Error("a bad option took a port")
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var c interface{ Code() string }
	if !errors.As(err, &c) || c.Code() != code {
		t.Errorf("error is %v, want one with code %s", err, code)
	}
}

// Cipher suites that nobody knows are no reason to refuse a ClientHello, if there is one beside them that is known
// (RFC 9001 §5.3).
func TestUnknownSuitesOffered(t *testing.T) {
	const suitesAt = 4 + 2 + 32 + 1 // behind the type, the length, the version, the random bytes and an empty session ID
	client := forced(clientConfig(), nil)
	client.ServerName = "localhost"
	hello := firstMessage(t, client, nil)
	behind := suitesAt + 2 + int(binary.BigEndian.Uint16(hello[suitesAt:]))
	known := hello[suitesAt+2 : behind]
	answer := func(suites ...byte) (byte, error) {
		b := binary.BigEndian.AppendUint16(bytes.Clone(hello[:suitesAt]), uint16(len(suites)))
		b = append(append(b, suites...), hello[behind:]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
		s := tls.QUICServer(&tls.QUICConfig{TLSConfig: forced(serverConfig(), nil)})
		defer s.Close()
		s.SetTransportParameters(nil)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := s.HandleData(tls.QUICEncryptionLevelInitial, b)
		for e := s.NextEvent(); e.Kind != tls.QUICNoEvent; e = s.NextEvent() {
			if e.Kind == tls.QUICWriteData && e.Level == tls.QUICEncryptionLevelInitial {
				return e.Data[suitesAt+1], err // of a ServerHello the second byte of the suite
			}
		}
		return 0, err
	}
	want, err := answer(known...)
	if err != nil || want == 0 {
		t.Fatalf("suite %#x, %v", want, err)
	}
	for _, odd := range [][]byte{{0x0a, 0x0a}, {0x13, 0x77}, bytes.Repeat([]byte{0xba, 0xba, 0, 0xfe, 0x55, 0}, 1000)} {
		for _, suites := range [][]byte{slices.Concat(odd, known), slices.Concat(known, odd)} {
			if got, err := answer(suites...); got != want || err != nil {
				t.Errorf("%d unknown suites, the first %x: suite %#x is chosen, %v, want %#x", len(odd)/2, odd[:2], got, err, want)
			}
		}
		if got, err := answer(odd...); err == nil {
			t.Errorf("nothing but %d unknown suites, and %#x is chosen", len(odd)/2, got)
		}
	}
}

// A client does not ask for TLS's compatibility mode: its legacy session ID is empty
// (RFC 9001 §8.4).
func TestNoCompatibilityMode(t *testing.T) {
	c := tls.QUICClient(&tls.QUICConfig{TLSConfig: forced(&tls.Config{ServerName: "localhost", NextProtos: []string{"test"}}, nil)})
	defer c.Close()
	c.SetTransportParameters(nil)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for e := c.NextEvent(); ; e = c.NextEvent() {
		switch e.Kind {
		case tls.QUICWriteData:
			// The type and length of the message, the version, 32 random bytes; then the session ID.
			if n := e.Data[4+2+32]; n != 0 {
				t.Errorf("a session ID of %d bytes", n)
			}
			return
		case tls.QUICNoEvent:
			t.Fatal("no ClientHello")
		}
	}
}
