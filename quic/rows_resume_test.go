package quic

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// resumption is what the SessionTicket hook is given.
type resumption struct {
	ticket, params []byte
	calls          int
}

func (r *resumption) hooks() SessionHooks {
	return SessionHooks{SessionTicket: func(ticket, params []byte) error {
		r.ticket, r.params = ticket, params
		r.calls++
		return nil
	}}
}

// first makes a session whose ticket is wanted, and ends it.
func (m *memNet) first(o ConnectOptions) *resumption {
	m.t.Helper()
	var r resumption
	o.Hooks = r.hooks()
	p := m.pair(o)
	time.Sleep(time.Second)
	synctest.Wait()
	if r.calls == 0 || len(r.ticket) == 0 || len(r.params) == 0 {
		m.t.Fatalf("SessionTicket: %d calls", r.calls)
	}
	p.client.CloseWithError(0, "")
	return &r
}

// again puts another server in the place of the first.
func (m *memNet) again(lo ListenOptions) {
	m.t.Helper()
	m.server.Destroy(nil)
	m.server = m.socketAt(memServer, SocketOptions{})
	if lo.TLS == nil {
		lo.TLS = serverConfig()
	}
	if err := m.server.Listen(m.t.Context(), lo); err != nil {
		m.t.Fatal(err)
	}
}

// early makes a session that sends early data.
func (m *memNet) early(r *resumption) (*ClientSession, *ServerSession) {
	m.t.Helper()
	c, s := m.sendEarly(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params}, "x")
	for _, end := range []*Session{&c.Session, &s.Session} {
		if err := end.Handshake(m.t.Context()); err != nil {
			m.t.Fatal(err)
		}
	}
	return c, s
}

// sendEarly makes a session that sends data on a stream before anything has come back, and returns both ends of it.
func (m *memNet) sendEarly(o ConnectOptions, data string) (*ClientSession, *ServerSession) {
	m.t.Helper()
	c := m.connect(o)
	st, err := c.TryOpenStream(StreamOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	st.End([]byte(data))
	s, err := m.server.Accept(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return c, s
}

// wantEarly wants data to come to a server, and to have come early or not.
func (m *memNet) wantEarly(s *ServerSession, data string, early bool) {
	m.t.Helper()
	st, err := s.AcceptStream(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	if b, err := io.ReadAll(st); string(b) != data || err != nil || st.Early() != early {
		m.t.Errorf("%q, %v, early %v", b, err, st.Early())
	}
}

// A client that brings a token is known to be where it says, before it has answered anything (RFC 9000 §8.1.3).
func TestAddressValidatedByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		r := m.first(ConnectOptions{})
		for _, store := range []*TokenStore{nil, NewTokenStore(0)} {
			c, s := m.sendEarly(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params, TokenStore: store}, "x")
			if got, want := s.AddressValidated(), store == nil; got != want {
				t.Errorf("address validated %v, want %v", got, want)
			}
			_ = c.Shutdown(t.Context())
			r = m.first(ConnectOptions{})
		}
	})
}

// The ticket of a session resumes another, and with the parameters beside it that can send
// before the handshake.
func TestResumeWithTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		full := m.pair(ConnectOptions{})
		if full.client.AllowEarlyData() || full.client.UsingEarlyData() || full.client.ConnectionState().DidResume {
			t.Error("a session without a ticket is resumed")
		}
		r := m.first(ConnectOptions{})
		covers(t, "CLI-003")
		// The ticket alone resumes.
		c := m.connect(ConnectOptions{SessionTicket: r.ticket})
		if _, err := c.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) || c.AllowEarlyData() {
			t.Errorf("without parameters, TryOpenStream: %v, AllowEarlyData %v", err, c.AllowEarlyData())
		}
		if err := c.Handshake(t.Context()); err != nil || !c.ConnectionState().DidResume || c.UsingEarlyData() {
			t.Errorf("without parameters: %v, resumed %v", err, c.ConnectionState().DidResume)
		}
		covers(t, "CLI-004")
		covers(t, "CON-044")
		if s, err := m.server.Accept(t.Context()); err != nil || !s.ConnectionState().DidResume {
			t.Errorf("the server: %v", err)
		}
		// With the parameters it may send at once.
		r = m.first(ConnectOptions{})
		c, s := m.sendEarly(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params}, "early")
		if !c.AllowEarlyData() {
			t.Error("AllowEarlyData is false")
		}
		covers(t, "X-011")
		m.wantEarly(s, "early", true)
		if s.HandshakeComplete() || s.UsingEarlyData() {
			t.Errorf("the server: complete %v, early data in use %v", s.HandshakeComplete(), s.UsingEarlyData())
		}
		covers(t, "CLI-005")
		covers(t, "CON-040")
		if c.UsingEarlyData() {
			t.Error("early data is in use before anybody knows")
		}
		if err := c.Handshake(t.Context()); err != nil || !c.UsingEarlyData() || !c.ConnectionState().DidResume {
			t.Errorf("%v, early %v", err, c.UsingEarlyData())
		}
		if err := s.Handshake(t.Context()); err != nil || !s.UsingEarlyData() || !s.EarlyDataAccepted() {
			t.Errorf("at the server: %v, early %v", err, s.UsingEarlyData())
		}
		(&pair{m.server, c, s}).exchange(t)
		covers(t, "CLI-006")
		paramsAsGiven(t, m)
		covers(t, "CLI-005")
		covers(t, "X-011")
	})
}

// paramsAsGiven wants the limits of the parameters that Connect is given to hold, and that
// they are of no use without a ticket.
func paramsAsGiven(t *testing.T, m *memNet) {
	t.Helper()
	r := m.first(ConnectOptions{})
	fewer, err := wire.ParseParameters(r.params, true)
	if err != nil || fewer.MaxStreamsBidi < 2 {
		t.Fatalf("%v, %d streams", err, fewer.MaxStreamsBidi)
	}
	fewer.MaxStreamsBidi = 1
	c := m.connect(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: fewer.Append(nil)})
	_, first := c.TryOpenStream(StreamOptions{})
	_, second := c.TryOpenStream(StreamOptions{})
	if first != nil || second == nil {
		t.Errorf("with parameters for one stream, TryOpenStream: %v, then %v", first, second)
	}
	c.Destroy(nil)
	c = m.connect(ConnectOptions{RemoteTransportParams: r.params})
	if c.AllowEarlyData() {
		t.Error("without a ticket, AllowEarlyData is true")
	}
	c.Destroy(nil)
}

// What cannot be a ticket, or parameters, is refused before anything is done.
func TestUndecodableResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		r := m.first(ConnectOptions{})
		socket := m.socket(SocketOptions{})
		defer socket.Destroy(nil)
		for _, bad := range [][]byte{{}, []byte("junk"), r.ticket[:len(r.ticket)/2], append([]byte{2}, r.ticket[1:]...)} {
			_, err := socket.Connect(t.Context(), m.options(ConnectOptions{SessionTicket: bad, RemoteTransportParams: r.params}))
			wantBad(t, err, "ConnectOptions.SessionTicket", "ERR_QUIC_INVALID_TLS_SESSION_TICKET")
		}
		covers(t, "CON-044")
		for _, bad := range [][]byte{[]byte("junk"), r.params[:len(r.params)-1], append([]byte{1, 1}, r.params...)} {
			_, err := socket.Connect(t.Context(), m.options(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: bad}))
			wantBad(t, err, "ConnectOptions.RemoteTransportParams", "ERR_QUIC_INVALID_REMOTE_TRANSPORT_PARAMS")
			_, err = socket.Connect(t.Context(), m.options(ConnectOptions{RemoteTransportParams: bad}))
			wantBad(t, err, "ConnectOptions.RemoteTransportParams", "ERR_QUIC_INVALID_REMOTE_TRANSPORT_PARAMS")
		}
		covers(t, "CON-040")
		if socket.Bound() || socket.Stats().ClientSessions != 0 {
			t.Error("a bad option took a port")
		}
		// What the hook was given is good, and only both parts give early data.
		for _, params := range [][]byte{nil, r.params} {
			c, err := socket.Connect(t.Context(), m.options(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: params}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.TryOpenStream(StreamOptions{}); (err == nil) != (params != nil) {
				t.Errorf("with %d bytes of parameters, TryOpenStream before the handshake: %v", len(params), err)
			}
			if err := c.Handshake(t.Context()); err != nil || !c.ConnectionState().DidResume {
				t.Errorf("with %d bytes of parameters: %v, resumed %v", len(params), err, c.ConnectionState().DidResume)
			}
		}
		covers(t, "CON-040")
	})
}

// UsingEarlyData is told from the end of the handshake: at a server whether it takes early
// data, at a client whether it has sent some that was taken.
func TestUsingEarlyData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, register := [][32]byte{{1}}, NewReplayRegister(0)
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{TicketKeys: keys, ReplayRegister: register})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if p.client.UsingEarlyData() || !p.server.UsingEarlyData() || p.server.EarlyDataAccepted() {
			t.Errorf("full handshake: client %v, server %v, accepted %v", p.client.UsingEarlyData(), p.server.UsingEarlyData(), p.server.EarlyDataAccepted())
		}
		r := m.first(ConnectOptions{})
		p = m.pair(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params})
		if p.client.UsingEarlyData() || !p.client.AllowEarlyData() || !p.client.ConnectionState().DidResume || !p.server.EarlyDataAccepted() {
			t.Errorf("nothing was sent early: client %v, accepted %v", p.client.UsingEarlyData(), p.server.EarlyDataAccepted())
		}
		p.exchange(t)
		r = m.first(ConnectOptions{})
		for i, taken := range []bool{true, false} { // a ticket serves once
			c, s := m.early(r)
			if c.UsingEarlyData() != taken || !s.UsingEarlyData() || s.EarlyDataAccepted() != taken {
				t.Errorf("time %d: client %v, server %v, accepted %v", i, c.UsingEarlyData(), s.UsingEarlyData(), s.EarlyDataAccepted())
			}
		}
		r = m.first(ConnectOptions{})
		c, early := m.sendEarly(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params}, "x")
		if c.UsingEarlyData() {
			t.Error("early data is in use before anybody knows")
		}
		if early.HandshakeComplete() || early.UsingEarlyData() {
			t.Errorf("at a server whose handshake is complete, %v: %v", early.HandshakeComplete(), early.UsingEarlyData())
		}
		if err := c.Handshake(t.Context()); err != nil || !c.UsingEarlyData() {
			t.Errorf("%v, early %v", err, c.UsingEarlyData())
		}
		if err := early.Handshake(t.Context()); err != nil || !early.UsingEarlyData() {
			t.Errorf("at the server: %v, early %v", err, early.UsingEarlyData())
		}
		r = m.first(ConnectOptions{})
		m.again(ListenOptions{TicketKeys: keys, ReplayRegister: register, DisableEarlyData: true})
		c, s := m.early(r)
		if c.UsingEarlyData() || s.UsingEarlyData() || s.EarlyDataAccepted() || !s.ConnectionState().DidResume {
			t.Errorf("disabled: client %v, server %v, accepted %v", c.UsingEarlyData(), s.UsingEarlyData(), s.EarlyDataAccepted())
		}
		covers(t, "SES-097")
	})
}

// A server takes early data unless that is disabled; then its tickets permit none.
func TestDisableEarlyData(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{DisableEarlyData: disabled})
			defer m.close()
			r := m.first(ConnectOptions{})
			c := m.connect(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params})
			st, err := c.TryOpenStream(StreamOptions{})
			if disabled != errors.Is(err, ErrOperationFailed) {
				t.Fatalf("disabled %v: TryOpenStream: %v", disabled, err)
			}
			if err != nil {
				if st, err = c.OpenStream(t.Context(), StreamOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			st.End([]byte("x"))
			s, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sst, err := s.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Handshake(t.Context()); err != nil || !s.ConnectionState().DidResume {
				t.Errorf("disabled %v: not resumed: %v", disabled, err)
			}
			if sst.Early() == disabled || s.UsingEarlyData() == disabled || c.UsingEarlyData() == disabled {
				t.Errorf("disabled %v: stream %v, server %v, client %v", disabled, sst.Early(), s.UsingEarlyData(), c.UsingEarlyData())
			}
			covers(t, "LIS-010")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		keys, register := [][32]byte{{1}}, NewReplayRegister(0)
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{TicketKeys: keys, ReplayRegister: register})
		defer m.close()
		r := m.first(ConnectOptions{})
		for i, taken := range []bool{true, false} { // a ticket serves once
			if c, s := m.early(r); c.UsingEarlyData() != taken || s.EarlyDataAccepted() != taken {
				t.Errorf("time %d: client %v, accepted %v", i, c.UsingEarlyData(), s.EarlyDataAccepted())
			}
		}
		covers(t, "LIS-010")
		r = m.first(ConnectOptions{}) // it permits early data, and comes to a server that does not
		m.again(ListenOptions{TicketKeys: keys, ReplayRegister: register, DisableEarlyData: true})
		if c, s := m.early(r); c.UsingEarlyData() || s.UsingEarlyData() || s.EarlyDataAccepted() || !s.ConnectionState().DidResume {
			t.Errorf("disabled: client %v, server %v, accepted %v", c.UsingEarlyData(), s.UsingEarlyData(), s.EarlyDataAccepted())
		}
		covers(t, "LIS-010")
	})
}

// Early data relies on limits of the session before. A server that now has a lower one
// refuses it, and it goes again; a higher one does no harm (RFC 9000 §7.4.1, RFC 9221 §3).
func TestEarlyDataAndLimits(t *testing.T) {
	keys := [][32]byte{{7}}
	high := ListenOptions{
		MaxData: 5000, MaxStreamDataBidiLocal: 4000, MaxStreamDataBidiRemote: 4000, MaxStreamDataUni: 4000,
		MaxStreamsBidi: 10, MaxStreamsUni: 10, ActiveConnectionIDLimit: 4, MaxDatagramFrameSize: 500,
	}
	for name, test := range map[string]struct {
		change func(*ListenOptions)
		taken  bool
	}{
		"the same": {func(o *ListenOptions) {}, true},
		"all higher": {func(o *ListenOptions) {
			*o = ListenOptions{MaxStreamsUni: 100, ActiveConnectionIDLimit: 8, MaxDatagramFrameSize: 501}
		}, true},
		"MaxData":                   {func(o *ListenOptions) { o.MaxData-- }, false},
		"MaxStreamDataBidiLocal":    {func(o *ListenOptions) { o.MaxStreamDataBidiLocal-- }, false},
		"MaxStreamDataBidiRemote":   {func(o *ListenOptions) { o.MaxStreamDataBidiRemote-- }, false},
		"MaxStreamDataUni":          {func(o *ListenOptions) { o.MaxStreamDataUni-- }, false},
		"MaxStreamsBidi":            {func(o *ListenOptions) { o.MaxStreamsBidi-- }, false},
		"MaxStreamsUni":             {func(o *ListenOptions) { o.MaxStreamsUni-- }, false},
		"MaxDatagramFrameSize":      {func(o *ListenOptions) { o.MaxDatagramFrameSize-- }, false},
		"ActiveConnectionIDLimit":   {func(o *ListenOptions) { o.ActiveConnectionIDLimit-- }, false},
		"other keys, so no session": {func(o *ListenOptions) { keys = [][32]byte{{8}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys = [][32]byte{{7}}
				first := high
				first.TicketKeys, first.ReplayRegister = keys, NewReplayRegister(0)
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, first)
				defer m.close()
				r := m.first(ConnectOptions{})
				second := high
				test.change(&second)
				second.TicketKeys, second.ReplayRegister = keys, first.ReplayRegister
				m.again(second)
				c, s := m.sendEarly(ConnectOptions{SessionTicket: r.ticket, RemoteTransportParams: r.params}, "hello")
				m.wantEarly(s, "hello", test.taken)
				if err := c.Handshake(t.Context()); err != nil || c.UsingEarlyData() != test.taken {
					t.Errorf("%v, early %v", err, c.UsingEarlyData())
				}
			})
		})
	}
}

// A session starts by itself when it is made, at the address that its name has, and a caller who comes
// later still learns that its handshake is complete.
func TestConnectStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		var asked string
		o := m.options(ConnectOptions{Lookup: func(_ context.Context, name string, family int) (netip.Addr, error) {
			asked = fmt.Sprint(name, " ", family)
			return memServer.Addr(), nil
		}})
		o.Address = "server.test"
		c, err := m.client.Connect(t.Context(), o)
		if err != nil || asked != "server.test 4" || c.RemoteAddress() != memServer {
			t.Fatalf("%v, asked for %q", err, asked)
		}
		time.Sleep(time.Second)
		if !c.HandshakeComplete() {
			t.Error("the handshake has not begun")
		}
		start := time.Now()
		if err := c.Handshake(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("Handshake: %v after %v", err, time.Since(start))
		}
		covers(t, "CLI-002")
	})
}

// resumeHelper is the variable that makes the test binary resume a session: an address, a
// ticket and parameters.
const resumeHelper = "CINNABAR_TEST_RESUME"

// TestResumingClient is the client of TestResumeInAnotherProcess, and no test otherwise.
func TestResumingClient(t *testing.T) {
	if os.Getenv(resumeHelper) == "" {
		return
	}
	var address, ticket, params string
	if _, err := fmt.Sscan(os.Getenv(resumeHelper), &address, &ticket, &params); err != nil {
		t.Fatal(err)
	}
	bytesOf := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	o := ConnectOptions{TLS: clientConfig(), ServerName: "localhost", SessionTicket: bytesOf(ticket), RemoteTransportParams: bytesOf(params)}
	o.TLS.InsecureSkipVerify = true // the other process has made its own certificate
	c, err := Dial(testContext(t), address, o)
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.TryOpenStream(StreamOptions{})
	if err != nil || c.HandshakeComplete() {
		t.Fatalf("TryOpenStream: %v", err)
	}
	st.End([]byte("from another process"))
	waitFor(t, func() bool { return c.Stats().StreamBytesSent > 0 })
	fmt.Println("written") // the server waits for that with its handshake
	if err := c.Handshake(testContext(t)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(st)
	fmt.Printf("answer %q %v, allowed %v, used %v, resumed %v\n", answer, err, c.AllowEarlyData(), c.UsingEarlyData(), c.ConnectionState().DidResume)
	_ = c.Shutdown(testContext(t))
}

// What the SessionTicket hook is given is good in another process too.
func TestResumeInAnotherProcess(t *testing.T) {
	var r resumption
	got := make(chan struct{})
	hooks := r.hooks()
	keep := hooks.SessionTicket
	hooks.SessionTicket = func(a, b []byte) error {
		defer close(got)
		return keep(a, b)
	}
	written, waits := make(chan struct{}), false
	lo := ListenOptions{ClientHelloHandler: func(ctx context.Context, _ *ServerSession, _ ClientHello) (*securecontext.Context, error) {
		if waits { // for the second session
			select {
			case <-written:
			case <-ctx.Done():
			}
		}
		waits = true
		return nil, nil
	}}
	p := newPair(t, lo, ConnectOptions{ServerName: "localhost", Hooks: hooks})
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the SessionTicket hook is not called")
	}
	cmd := exec.CommandContext(testContext(t), os.Args[0], "-test.run=^TestResumingClient$")
	cmd.Env = append(os.Environ(), resumeHelper+"="+fmt.Sprintf("%s %x %x", p.socket.Address(), r.ticket, r.params))
	early := make(chan bool, 1)
	go func() {
		defer close(early)
		s, err := p.socket.Accept(testContext(t))
		if err != nil {
			t.Error(err)
			return
		}
		st, err := s.AcceptStream(testContext(t))
		if err != nil {
			t.Error(err)
			return
		}
		b, err := io.ReadAll(st)
		if string(b) != "from another process" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		st.End([]byte("welcome"))
		early <- st.Early() && s.EarlyDataAccepted()
	}()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Fprintln(&out, lines.Text())
		if lines.Text() == "written" {
			close(written)
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), `answer "welcome" <nil>, allowed true, used true, resumed true`) {
		t.Errorf("%v: %s", err, out.String())
		p.socket.Destroy(nil) // nothing more comes of it
	}
	if !<-early {
		t.Error("the server has got no early data")
	}
	covers(t, "CLI-006")
}
