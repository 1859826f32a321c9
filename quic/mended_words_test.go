package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// wantLate checks the error of a call that comes too late for its half of a stream.
func wantLate(t *testing.T, err error, text string) {
	t.Helper()
	var late *StateError
	if !errors.As(err, &late) || !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) || late.Code() != CodeInvalidState || err.Error() != text {
		t.Errorf("%v (%T), want a StateError %q", err, err, text)
	}
}

// Calls on a half of a stream that is closed, or that there is not, fail with a
// StateError that tells which it is.
func TestHalvesThatAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		st, _ := p.streams(t)
		read := make(chan error)
		go func() {
			_, err := st.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		st.CloseRead()
		const readClosed, writeClosed = "quic: Stream.Read: read side is closed", "quic: Stream.Write: write side is closed"
		wantLate(t, <-read, readClosed)
		_, err := st.Read(make([]byte, 1))
		wantLate(t, err, readClosed)
		if err := st.CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := st.CloseWrite(); err != nil {
			t.Errorf("CloseWrite again: %v", err)
		}
		_, err = st.Write([]byte("x"))
		wantLate(t, err, writeClosed)
		_, err = st.TryWrite([]byte("x"))
		wantLate(t, err, writeClosed)

		half, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
		if err != nil {
			t.Fatal(err)
		}
		half.Write([]byte("x"))
		_, err = half.Read(make([]byte, 1))
		wantLate(t, err, "quic: Stream.Read: the stream is only written here")
		far, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = far.Write([]byte("x"))
		wantLate(t, err, "quic: Stream.Write: the stream is only read here")
		wantLate(t, far.CloseWrite(), "quic: Stream.CloseWrite: the stream is only read here")
		wantLate(t, far.SendFile("nowhere", SendOptions{}), "quic: Stream.SendFile: the stream is only read here")

		far.SetDeadline(time.Now())
		var coded interface{ Code() string }
		if _, err = far.Read(make([]byte, 1)); !errors.As(err, &coded) || coded.Code() != "ETIMEDOUT" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
	})
}

// A handshake that takes too long names the peer, the time and whether there was an answer.
func TestHandshakeTimeoutText(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     ConnectOptions
		deaf  bool // the server hears nothing at all
		after time.Duration
		text  string
	}{
		{"silence", ConnectOptions{}, true, 10 * time.Second, "quic: no answer from 10.0.0.1:4433 within 10s"},
		{"silence, a time of our own", ConnectOptions{HandshakeTimeout: 3 * time.Second}, true, 3 * time.Second, "quic: no answer from 10.0.0.1:4433 within 3s"},
		{"idle first", ConnectOptions{IdleTimeout: 5 * time.Second}, true, 5 * time.Second, "quic: no answer from 10.0.0.1:4433 within 5s"},
		{"half an answer", ConnectOptions{IdleTimeout: None}, false, 10 * time.Second, "quic: handshake with 10.0.0.1:4433 not complete after 10s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				heard := 0
				lose := func(d *dgram.Datagram) bool {
					if d.Path.Local != memServer {
						return false
					}
					heard++
					return test.deaf || heard > 1
				}
				m := newMemNet(t, udp.NetworkOptions{Filter: lose}, SocketOptions{}, ListenOptions{})
				defer m.close()
				c := m.connect(test.o)
				err := c.Handshake(t.Context())
				var late *HandshakeTimeoutError
				if !errors.As(err, &late) || late.Remote != memServer || late.After != test.after || late.Heard == test.deaf || err.Error() != test.text {
					t.Errorf("%v: %+v", err, late)
				}
				if n := m.client.Stats().HandshakeTimeouts; n != 1 {
					t.Errorf("%d handshakes have taken too long", n)
				}
			})
		})
	}
	var zero HandshakeTimeoutError
	if s := zero.Error(); s != "quic: session closed: handshake timeout" || !zero.Timeout() {
		t.Error(s)
	}
}

// A Dial whose context ends first names the address, and is the context's error.
func TestDialNamesAddress(t *testing.T) {
	hole, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	address := hole.LocalAddr().String()
	ctx, cancel := context.WithCancelCause(testContext(t))
	cancel(nil)
	ctx2, cancel2 := context.WithTimeout(testContext(t), time.Millisecond)
	defer cancel2()
	for want, ctx := range map[error]context.Context{context.Canceled: ctx, context.DeadlineExceeded: ctx2} {
		_, err := Dial(ctx, address, ConnectOptions{TLS: clientConfig()})
		var coded interface{ Code() string }
		if !errors.Is(err, want) || !errors.As(err, &coded) || !strings.HasPrefix(err.Error(), "quic: Dial: ") || !strings.Contains(err.Error(), address+": context ") {
			t.Errorf("%v, want %v with %s", err, want, address)
		}
	}
}

// A TLS alert is named in words, and a peer that is not authenticated by its name, with
// the way out.
func TestAlertsAndPeersByName(t *testing.T) {
	for _, test := range []struct {
		err  *TransportError
		text string
	}{
		{&TransportError{ErrorCode: 0x12a, FrameType: 6}, `quic: session closed here: TLS alert "bad certificate"`},
		{&TransportError{ErrorCode: 0x12a, FrameType: 6, Reason: "tls: bad certificate", Remote: true}, `quic: session closed by the peer: TLS alert "bad certificate"`},
		{&TransportError{ErrorCode: 0x178, Reason: "we speak only h3", Remote: true}, `quic: session closed by the peer: TLS alert "no application protocol": we speak only h3`},
		{&TransportError{ErrorCode: 0x1c8}, `quic: session closed here: TLS alert 200`},
		{&TransportError{ErrorCode: 0x200}, `quic: session closed here: 0x200`},
	} {
		if s := test.err.Error(); s != test.text {
			t.Errorf("%s, want %s", s, test.text)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		untrusting := &tls.Config{RootCAs: x509.NewCertPool()}
		c := m.connect(ConnectOptions{TLS: untrusting, ALPN: "test"})
		const want = `quic: session closed here: TLS alert "bad certificate": server "localhost" is not authenticated: ` +
			`tls: failed to verify certificate: x509: certificate signed by unknown authority`
		const way = "; whom to trust is said in securecontext's CA or TLS.RootCAs"
		err := c.Handshake(t.Context())
		var v *VerifyError
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), way) || !errors.As(err, &v) || v.Peer != "localhost" {
			t.Errorf("%v, want %s...%s", err, want, way)
		}
		c = m.connect(ConnectOptions{TLS: clientConfig(), ServerName: "elsewhere"})
		if err := c.Handshake(t.Context()); err == nil || !strings.Contains(err.Error(), `server "elsewhere" is not authenticated: `) || strings.Contains(err.Error(), "TLS.RootCAs") {
			t.Errorf("another name: %v", err)
		}
		told := make(chan error, 1)
		cert, _ := identity()
		m.listenAgain(ListenOptions{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: x509.NewCertPool()},
			RequestCert: true, Hooks: SessionHooks{Error: func(err error) { told <- err }}})
		mine := clientConfig()
		mine.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		c = m.connect(ConnectOptions{TLS: mine})
		<-c.Closed()
		if s := (<-told).Error(); !strings.Contains(s, "client "+c.Address().String()+" is not authenticated: ") || !strings.HasSuffix(s, "; whom to trust is said in securecontext's CA or TLS.ClientCAs") {
			t.Error(s)
		}
	})
}

// What an option refuses it refuses with all that it takes.
func TestWaysOut(t *testing.T) {
	ctx := testContext(t)
	socket := func(o SocketOptions) error {
		s, err := NewSocket(o)
		if err == nil {
			s.Destroy(nil)
		}
		return err
	}
	dial := func(address string) error {
		_, err := Dial(ctx, address, ConnectOptions{ALPN: "x"})
		return err
	}
	listen := func(address string) error {
		s, err := Listen(ctx, address, ListenOptions{TLS: serverConfig()})
		if err == nil {
			s.Destroy(nil)
		}
		return err
	}
	client := func(o ConnectOptions) error { return socket(SocketOptions{Client: o}) }
	for want, err := range map[string]error{
		"MaxUDPPayloadSize is 1199, want 1200 or more":                                                client(ConnectOptions{MaxUDPPayloadSize: 1199}),
		"MaxUDPPayloadSize is -1, want 1200 or more":                                                  client(ConnectOptions{MaxUDPPayloadSize: None}),
		"HighWaterMark is -2, want 1 or more, or None for 0":                                          client(ConnectOptions{HighWaterMark: -2}),
		"MaxStreamsUni is -2, want 1 to 1152921504606846976, or None for 0":                           client(ConnectOptions{MaxStreamsUni: -2}),
		"MaxAckDelay is 1m0s, want up to 16.383s, or None for 0":                                      client(ConnectOptions{MaxAckDelay: time.Minute}),
		"HandshakeTimeout is -1s, want more than 0, or 0 for 10s":                                     client(ConnectOptions{HandshakeTimeout: -time.Second}),
		"KeepAlive is 1ms, want 0, or 100ms or more":                                                  client(ConnectOptions{KeepAlive: time.Millisecond}),
		"KeepAlive is -1s, want 0, or 100ms or more":                                                  client(ConnectOptions{KeepAlive: -time.Second}),
		"SocketOptions.MaxConnections is -2, want 1 to 9007199254740991, or 0 for no limit":           socket(SocketOptions{MaxConnections: -2}),
		"ConnectOptions.ALPN is missing, want a protocol's name here or in TLS.NextProtos":            func() error { _, err := Dial(ctx, "127.0.0.1:9", ConnectOptions{}); return err }(),
		`option address is "127.0.0.1:0", want host:port with a port of 1 to 65535`:                   dial("127.0.0.1:0"),
		`option address is "localhost:99999", want host:port with a port of 0 to 65535`:               listen("localhost:99999"),
		`option address is "localhost", want host:port: address localhost: missing port in address`:   listen("localhost"),
		`option address is "localhost:no such service", want host:port: lookup tcp/no such service: `: dial("localhost:no such service"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, o := range []ConnectOptions{{KeepAlive: None}, {MaxUDPPayloadSize: 1 << 20}, {MaxStreamsUni: None}} {
		if err := client(o); err != nil {
			t.Error(err)
		}
	}
	s, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(nil)
	_, err = s.Connect(ctx, ConnectOptions{Address: "::1", Port: 9, ALPN: "x", TLS: clientConfig()})
	if err == nil || !strings.HasSuffix(err.Error(), `ConnectOptions.Address is "::1", want an address of the type udp4, or set Type to UDP6`) {
		t.Error(err)
	}
}

// A port can be the name of a service.
func TestServiceNames(t *testing.T) {
	for address, want := range map[string]int{"localhost:https": 443, "localhost:domain": 53, "localhost:4433": 4433, "localhost:": 0} {
		if host, port, err := splitAddress(testContext(t), address, 0); host != "localhost" || port != want || err != nil {
			t.Errorf("%s: %s, %d, %v", address, host, port, err)
		}
	}
}

// Close codes read as what they are.
func TestCloseCodeText(t *testing.T) {
	for want, c := range map[string]CloseCode{
		"application code 0x7":                                     {7, CloseApplication, false},
		"application code 0x0, nothing was said here":              {0, CloseApplication, true},
		"transport code FLOW_CONTROL_ERROR":                        {3, CloseTransport, false},
		`TLS alert "handshake failure"`:                            {0x128, CloseTLS, false},
		"transport code CONNECTION_REFUSED, nothing was said here": {2, CloseTransport, true},
	} {
		if s := fmt.Sprint(c); s != want {
			t.Errorf("%s, want %s", s, want)
		}
	}
	if s := fmt.Sprint(CloseTransport, CloseTLS, CloseApplication, CloseFamily(9)); s != "transport TLS application CloseFamily(9)" {
		t.Error(s)
	}
}

// Both ends know a session by the same connection ID, from its start on, with a Retry, and
// where its log is asked for.
func TestOriginalConnectionID(t *testing.T) {
	for _, retry := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var logged []byte
			so := SocketOptions{ValidateAddress: retry, QLog: true, QLogWriter: func(s *Session) io.Writer {
				logged = s.OriginalConnectionID()
				return nil
			}}
			var handled []byte
			m := newMemNet(t, udp.NetworkOptions{}, so, ListenOptions{Handler: func(s *ServerSession) error {
				handled = s.OriginalConnectionID()
				return nil
			}})
			defer m.close()
			id := []byte("ten bytes!")
			c := m.connect(ConnectOptions{DCID: id})
			if !bytes.Equal(c.OriginalConnectionID(), id) {
				t.Errorf("at the start %x, want %x", c.OriginalConnectionID(), id)
			}
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if !bytes.Equal(c.OriginalConnectionID(), id) || !bytes.Equal(handled, id) || !bytes.Equal(logged, id) {
				t.Errorf("retry %v: client %x, server %x, log %x, want %x", retry, c.OriginalConnectionID(), handled, logged, id)
			}
			c.OriginalConnectionID()[0] = 0
			c.Destroy(nil)
			if !bytes.Equal(c.OriginalConnectionID(), id) {
				t.Errorf("after the end %x, want %x", c.OriginalConnectionID(), id)
			}
			other := m.connect(ConnectOptions{})
			if n := len(other.OriginalConnectionID()); n < 8 || n > 20 || bytes.Equal(other.OriginalConnectionID(), id) {
				t.Errorf("another session's is %x", other.OriginalConnectionID())
			}
		})
	}
}
