package quic

import (
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// mishap is a call that fails, and what is to be read from its error.
type mishap struct {
	code, text string
	do         func() error
}

func (x *mishap) check(t *testing.T) {
	t.Helper()
	err := x.do()
	var coded interface{ Code() string }
	switch {
	case err == nil:
		t.Errorf("no error where %s was to come", x.code)
	case !errors.As(err, &coded) || coded.Code() != x.code:
		t.Errorf("%v (%T) has not the code %s", err, err, x.code)
	case !strings.Contains(err.Error(), x.text):
		t.Errorf("%q does not name %q", err, x.text)
	}
}

// Every code that the API document names can be read from the error that a call really
// returns, and the text says which option or state it is about.
func TestErrorCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsUni: None})
		defer m.close()
		connect := func(o ConnectOptions) func() error {
			o = m.options(o)
			return func() error { _, err := m.client.Connect(t.Context(), o); return err }
		}
		p := m.pair(ConnectOptions{})
		over := m.pair(ConnectOptions{}).client
		over.Destroy(nil)
		gone, _ := NewSocket(SocketOptions{})
		gone.Destroy(nil)
		ctx := t.Context()
		for _, x := range []mishap{
			{"ERR_INVALID_STATE", "Session.OpenStream: session is closed", func() error { _, err := over.OpenStream(ctx, StreamOptions{}); return err }},
			{"ERR_INVALID_STATE", "Session.Ping: session is closed", over.Ping},
			{"ERR_INVALID_STATE", "Session.UpdateKey: session is closed", func() error { _, err := over.UpdateKey(); return err }},
			{"ERR_INVALID_STATE", "Session.Close: session is closed", over.Close},
			{"ERR_INVALID_STATE", "Socket.Listen: socket is listening", func() error { return m.server.Listen(ctx, ListenOptions{TLS: serverConfig()}) }},
			{"ERR_INVALID_STATE", "Socket.Listen: socket is closed", func() error { return gone.Listen(ctx, ListenOptions{TLS: serverConfig()}) }},
			{"ERR_INVALID_STATE", "Socket.Connect: socket is closed", func() error { _, err := gone.Connect(ctx, m.options(ConnectOptions{})); return err }},
			{"ERR_OPERATION_FAILED", "Session.TryOpenStream: no more streams", func() error {
				_, err := p.client.TryOpenStream(StreamOptions{HalfOpen: true})
				return err
			}},
			{"ERR_OUT_OF_RANGE", "ConnectOptions.MaxData is -2, want 1 to", connect(ConnectOptions{MaxData: -2})},
			{"ERR_OUT_OF_RANGE", "StreamOptions.HighWaterMark is -2, want", func() error {
				_, err := p.client.OpenStream(ctx, StreamOptions{HighWaterMark: -2})
				return err
			}},
			{"ERR_OUT_OF_RANGE", "CloseWithError.code is 4611686018427387904, want 0 to", func() error { return p.client.CloseWithError(1<<62, "") }},
			{"ERR_INVALID_ARG_VALUE", `ConnectOptions.Type is "tcp"`, connect(ConnectOptions{Type: "tcp"})},
			{"ERR_MISSING_ARGS", "Endpoint.AddMembership.group", func() error { return m.client.Endpoints()[0].AddMembership("", "") }},
			{"ERR_SOCKET_BAD_PORT", "SocketOptions.Endpoint.Port is 65536, want 0 to 65535", func() error {
				_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Port: 65_536}})
				return err
			}},
			{"ERR_MISSING_OPTION", "ConnectOptions.ALPN is missing", connect(ConnectOptions{TLS: withProtos()})},
			{"ERR_QUIC_INVALID_TLS_SESSION_TICKET", "ConnectOptions.SessionTicket", connect(ConnectOptions{SessionTicket: []byte("x")})},
			{"ERR_QUIC_INVALID_REMOTE_TRANSPORT_PARAMS", "ConnectOptions.RemoteTransportParams", connect(ConnectOptions{RemoteTransportParams: []byte("y")})},
			{"ERR_QUIC_FAILED_TO_CREATE_SESSION", "::1", func() error {
				_, err := m.client.Connect(ctx, ConnectOptions{Address: "::1", Port: 1, TLS: clientConfig()})
				return err
			}},
			{"ERR_TLS_DH_PARAM_SIZE", "Options.DHParam is \"512 bits\", want 1024 bits or more", func() error {
				der, err := asn1.Marshal(struct{ Prime, Generator *big.Int }{new(big.Int).Lsh(big.NewInt(1), 511), big.NewInt(2)})
				if err == nil {
					_, err = securecontext.New(securecontext.Options{DHParam: pem.EncodeToMemory(&pem.Block{Type: "DH PARAMETERS", Bytes: der})})
				}
				return err
			}},
			{"ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED", "nobody", func() error {
				_, err := securecontext.New(securecontext.Options{ClientCertEngine: "nobody"})
				return err
			}},
			{"ERR_QUIC_VERIFY_HOSTNAME_MISMATCH", "elsewhere.example", func() error {
				c := m.connect(ConnectOptions{ServerName: "elsewhere.example", AllowUnauthenticated: true})
				if err := c.Handshake(ctx); err != nil {
					return err
				}
				return c.AuthenticationError()
			}},
		} {
			x.check(t)
		}
		if p.client.Destroyed() || p.client.Stats().SelfInitiatedStreamCount != 0 {
			t.Error("a call that failed had an effect")
		}
	})
	endCodes(t)
	codedTypes(t)
	durations(t)
	covers(t, "X-019")
}

// endCodes checks the errors that sessions end with.
func endCodes(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		ended := func(o ConnectOptions, end func(c *ClientSession)) func() error {
			return func() error {
				c := m.connect(o)
				if end != nil {
					if err := c.Handshake(t.Context()); err != nil {
						return err
					}
					end(c)
				}
				<-c.Closed()
				return c.Err()
			}
		}
		for _, x := range []mishap{
			{"ERR_QUIC_APPLICATION_ERROR", "code 0x7: enough", ended(ConnectOptions{}, func(c *ClientSession) { c.CloseWithError(7, "enough") })},
			{"ERR_QUIC_TRANSPORT_ERROR", "CONNECTION_REFUSED", func() error {
				m.server.SetServerBusy(true)
				defer m.server.SetServerBusy(false)
				return ended(ConnectOptions{}, nil)()
			}},
			{"ERR_QUIC_TRANSPORT_ERROR", `TLS alert "no application protocol"`, ended(ConnectOptions{ALPN: "unknown"}, nil)},
			{"ERR_QUIC_IDLE_TIMEOUT", "idle timeout", ended(ConnectOptions{}, func(*ClientSession) {})},
			{"ERR_QUIC_HANDSHAKE_TIMEOUT", "no answer from 10.0.0.1:4433 within 10s", func() error {
				m.net.SetFilter(func(*dgram.Datagram) bool { return true })
				defer m.net.SetFilter(nil)
				return ended(ConnectOptions{}, nil)()
			}},
			{"ERR_QUIC_STREAM_RESET", "stream 0 was cut off here with code 0x5", func() error {
				c := m.connect(ConnectOptions{})
				st, err := c.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					return err
				}
				st.Reset(5)
				_, err = st.Write([]byte("x"))
				return err
			}},
		} {
			x.check(t)
		}
	})
}

// codedTypes checks that no type of error that programs can name is without a code.
func codedTypes(t *testing.T) {
	t.Helper()
	for _, dir := range []string{".", "../securecontext"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]map[string]bool{"Error": {}, "Code": {}}
		for _, e := range entries {
			if name := e.Name(); !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(dir, e.Name()), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && has[f.Name.Name] != nil {
					has[f.Name.Name][receiver(f)] = true
				}
			}
		}
		if len(has["Error"]) == 0 {
			t.Errorf("no errors in %s: the test shows nothing", dir)
		}
		for name := range has["Error"] {
			if ast.IsExported(name) && !has["Code"][name] {
				t.Errorf("%s has no method Code", name)
			}
		}
	}
}

func receiver(f *ast.FuncDecl) string {
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	return typ.(*ast.Ident).Name
}

// durations checks that what is a time says so by its type, and that snapshots are copies.
func durations(t *testing.T) {
	t.Helper()
	for _, typ := range []reflect.Type{
		reflect.TypeFor[SocketOptions](), reflect.TypeFor[ConnectOptions](), reflect.TypeFor[ListenOptions](),
		reflect.TypeFor[SocketStats](), reflect.TypeFor[SessionStats](), reflect.TypeFor[StreamStats](),
	} {
		for i := range typ.NumField() {
			f := typ.Field(i)
			for _, mark := range []string{"Duration", "RTT", "Timeout", "KeepAlive", "MaxAckDelay"} {
				if strings.Contains(f.Name, mark) && f.Type.Kind() != reflect.Bool && !strings.HasSuffix(f.Name, "s") && f.Type != reflect.TypeFor[time.Duration]() {
					t.Errorf("%v.%s is a %v", typ, f.Name, f.Type)
				}
			}
		}
	}
	p := newPair(t, ListenOptions{}, ConnectOptions{})
	s := p.client.Stats()
	s.BytesSent, s.Duration = 0, 0
	list := p.socket.Endpoints()
	list[0] = nil
	if again := p.client.Stats(); again.BytesSent == 0 || again.Duration == 0 || p.socket.Endpoints()[0] == nil {
		t.Error("what was done to a snapshot was done to the session")
	}
}
