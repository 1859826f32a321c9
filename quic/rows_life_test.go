package quic

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Both kinds of session are the same Session, and nobody else makes one.
func TestSessionBase(t *testing.T) {
	base := reflect.TypeFor[*Session]()
	for _, kind := range []reflect.Type{reflect.TypeFor[*ClientSession](), reflect.TypeFor[*ServerSession]()} {
		for i := range base.NumMethod() {
			if name := base.Method(i).Name; !hasMethod(kind, name) {
				t.Errorf("%v has no %s", kind, name)
			}
		}
	}
	for i := range base.Elem().NumField() {
		if f := base.Elem().Field(i); f.IsExported() && f.Name != "Value" {
			t.Errorf("Session.%s can be set from outside", f.Name)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		c, s := &p.client.Session, &p.server.Session
		if c.Client() != p.client || c.Server() != nil || s.Server() != p.server || s.Client() != nil {
			t.Error("a session does not know what it is part of")
		}
	})
	covers(t, "SES-001")
}

func hasMethod(t reflect.Type, name string) bool { _, ok := t.MethodByName(name); return ok }

// ending is a way for a session to end, and what each end then says of it. A nil error
// is an end that is none to the Error hook.
type ending struct {
	name           string
	end            func(m *memNet, p *pair)
	client, server CloseCode
	errs           [2]error // what the Error hooks are told: the same or, for a pointer to a pointer, of the type
}

func endings() []ending {
	boom := errors.New("boom")
	app := CloseApplication
	return []ending{
		{"close", func(m *memNet, p *pair) { p.client.Close() }, CloseCode{0, app, false}, CloseCode{0, app, true}, [2]error{}},
		{"server closes", func(m *memNet, p *pair) { p.server.Close() }, CloseCode{0, app, true}, CloseCode{0, app, false}, [2]error{}},
		{"application code", func(m *memNet, p *pair) { p.client.CloseWithError(7, "enough") },
			CloseCode{7, app, false}, CloseCode{7, app, true}, [2]error{nil, &ApplicationError{ErrorCode: 7, Remote: true}}},
		{"transport code", func(m *memNet, p *pair) {
			p.server.mu.Lock()
			p.server.conn.Close(now(), false, 3, "too much")
			p.server.unlock(flushNow)
		}, CloseCode{3, CloseTransport, true}, CloseCode{3, CloseTransport, false},
			[2]error{&TransportError{ErrorCode: 3, Remote: true}, &TransportError{ErrorCode: 3}}},
		{"destroy", func(m *memNet, p *pair) { p.client.Destroy(nil) }, CloseCode{0, app, false}, CloseCode{0, app, true}, [2]error{}},
		{"destroy with an error", func(m *memNet, p *pair) { p.client.Destroy(boom) },
			CloseCode{0xc, CloseTransport, false}, CloseCode{0xc, CloseTransport, true},
			[2]error{boom, &TransportError{ErrorCode: 0xc, Remote: true}}},
		{"idle", func(m *memNet, p *pair) { time.Sleep(time.Minute) }, CloseCode{0, app, true}, CloseCode{0, app, true}, [2]error{}},
		{"reset", func(m *memNet, p *pair) {
			m.net.SetFilter(func(*dgram.Datagram) bool { return true })
			p.server.Destroy(nil)
			time.Sleep(time.Minute / 10) // the server has forgotten it, the client has heard nothing
			m.net.SetFilter(nil)
			p.client.Ping()
		}, CloseCode{0, app, true}, CloseCode{0, app, false}, [2]error{}},
	}
}

// However a session ends: Close is told once, after everything else, Error before it if it is
// a failure, and CloseCode tells how.
func TestSessionEndings(t *testing.T) {
	for _, e := range endings() {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var client, server endJournal
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Hooks: server.hooks()})
				defer m.close()
				p := m.pair(ConnectOptions{Hooks: client.hooks()})
				client.s, server.s = &p.client.Session, &p.server.Session
				for _, s := range []*Session{client.s, server.s} {
					if c := s.CloseCode(); c != (CloseCode{0, CloseApplication, false}) || s.Destroyed() {
						t.Errorf("before the end: %+v", c)
					}
				}
				time.Sleep(time.Second)
				e.end(m, p)
				time.Sleep(time.Hour)
				p.client.Destroy(errors.New("too late"))
				p.server.Destroy(errors.New("too late"))
				synctest.Wait()
				client.check(t, "client", e.errs[0])
				server.check(t, "server", e.errs[1])
				if c := p.client.CloseCode(); c != e.client {
					t.Errorf("client's CloseCode is %+v, want %+v", c, e.client)
				}
				if c := p.server.CloseCode(); c != e.server {
					t.Errorf("server's CloseCode is %+v, want %+v", c, e.server)
				}
				if idle := e.name == "idle"; p.client.Stats().IdleTimeout != idle || p.server.Stats().IdleTimeout != idle {
					t.Error("IdleTimeout is wrong")
				}
				if reset := e.name == "reset"; p.client.Stats().StatelessReset != reset || p.server.Stats().StatelessReset {
					t.Error("StatelessReset is wrong")
				}
			})
		})
	}
	covers(t, "SES-008")
	covers(t, "SES-009")
	covers(t, "SES-010")
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		m.server.SetServerBusy(true)
		c := m.connect(ConnectOptions{})
		_ = c.Handshake(t.Context())
		if got := c.CloseCode(); got != (CloseCode{2, CloseTransport, true}) {
			t.Errorf("with a busy server CloseCode is %+v", got)
		}
	})
	synctest.Test(t, noCommonProtocol)
	covers(t, "SES-043")
	covers(t, "SES-044")
	synctest.Test(t, silences)
	covers(t, "SES-061")
	covers(t, "SES-093")
	covers(t, "X-012")
}

// endJournal is what the hooks of one session say of its end.
type endJournal struct {
	journal
	s    *Session
	errs []error
}

func (j *endJournal) hooks() SessionHooks {
	h := j.session("session")
	h.Error = func(err error) {
		j.errs = append(j.errs, err)
		j.add("error, destroyed %v", j.s.Destroyed())
	}
	h.Close = func() { j.add("close, destroyed %v", j.s.Destroyed()) }
	return h
}

func (j *endJournal) check(t *testing.T, name string, want error) {
	t.Helper()
	if want == nil {
		j.want(t, "session secure", "close, destroyed true")
		return
	}
	j.want(t, "session secure", "error, destroyed true", "close, destroyed true")
	if len(j.errs) != 1 || j.errs[0] != want && !errors.Is(j.errs[0], want) || !errors.Is(j.s.Err(), want) {
		t.Errorf("%s's Error hook was told %v, want %v", name, j.errs, want)
	}
	if _, ours := want.(interface{ Code() string }); !ours && len(j.errs) == 1 && j.errs[0] != want {
		t.Errorf("%s's Error hook was told %#v, want the very error %#v", name, j.errs[0], want)
	}
}

// Ends before the handshake is done: refused, no common protocol, silence.
func TestCloseCodeOfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server *ServerSession
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Handler: func(v *ServerSession) error {
			server = v
			return nil
		}})
		defer m.close()
		m.server.SetServerBusy(true)
		c := m.connect(ConnectOptions{})
		if err := c.Handshake(t.Context()); !errors.Is(err, &TransportError{ErrorCode: 2, Remote: true}) {
			t.Errorf("Handshake with a busy server: %v", err)
		}
		if cc := c.CloseCode(); cc != (CloseCode{2, CloseTransport, true}) {
			t.Errorf("refused: %+v", cc)
		}
		m.server.SetServerBusy(false)

		c = m.connect(ConnectOptions{ALPN: "something else"})
		if err := c.Handshake(t.Context()); err == nil {
			t.Error("a handshake without a common ALPN succeeded")
		}
		synctest.Wait()
		if cc := c.CloseCode(); cc != (CloseCode{0x178, CloseTLS, true}) {
			t.Errorf("client without a common ALPN: %+v", cc)
		}
		if cc := server.CloseCode(); cc != (CloseCode{0x178, CloseTLS, false}) {
			t.Errorf("server without a common ALPN: %+v", cc)
		}
		if CloseTransport != 0 || CloseTLS != 1 || CloseApplication != 2 {
			t.Error("the families have other numbers")
		}
		c = m.connect(ConnectOptions{})
		if err := c.Handshake(t.Context()); err != nil || c.CloseCode().Family != CloseApplication {
			t.Errorf("Handshake: %v, before anything is closed: %+v", err, c.CloseCode())
		}
		synctest.Wait()
		_ = c.CloseWithError(2, "") // a number that means something in another family too
		<-server.Closed()
		if a, b := c.CloseCode(), server.CloseCode(); a != (CloseCode{2, CloseApplication, false}) || b != (CloseCode{2, CloseApplication, true}) {
			t.Errorf("closed by the application: %+v, %+v", a, b)
		}
		covers(t, "SES-045")

		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		c = m.connect(ConnectOptions{})
		if err := c.Handshake(t.Context()); err == nil {
			t.Error("a handshake with nobody succeeded")
		}
		if cc := c.CloseCode(); cc != (CloseCode{0, CloseApplication, true}) {
			t.Errorf("silence: %+v", cc)
		}
	})
}

// Close lets streams run to their end and takes no others.
func TestSessionCloseRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		hooks := j.session("client")
		p := m.pair(ConnectOptions{Hooks: hooks})
		c, s := p.streams(t)
		j.want(t, "client secure")
		if p.client.Closing() {
			t.Error("Closing before Close")
		}
		for range 2 {
			if err := p.client.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if !p.client.Closing() || p.client.Destroyed() {
			t.Error("not closing after Close")
		}
		if _, err := p.client.OpenStream(t.Context(), StreamOptions{}); !errors.Is(err, ErrInvalidState) {
			t.Errorf("OpenStream while closing: %v", err)
		}
		if _, err := p.client.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrInvalidState) {
			t.Errorf("TryOpenStream while closing: %v", err)
		}
		turned, err := p.server.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		turned.Write([]byte("hello"))
		if _, err := turned.Read(make([]byte, 1)); !errors.Is(err, &StreamError{StreamID: 1, Remote: true}) {
			t.Errorf("a stream that should be turned away reads %v", err)
		}
		j.want(t) // the Stream hook was not told
		waits := make(chan error, 2)
		for range 2 {
			go func() { waits <- p.client.Shutdown(t.Context()) }()
		}
		time.Sleep(time.Second)
		if len(waits) > 0 || p.client.Destroyed() {
			t.Fatal("the session is over before its stream is")
		}
		if _, err := s.End([]byte("the end")); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "the end" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		c.End([]byte("mine"))
		if b, err := io.ReadAll(s); string(b) != "mine" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		for range 2 {
			if err := <-waits; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}
		if !p.client.Destroyed() || p.client.Closing() {
			t.Error("Closing after the end")
		}
		j.want(t, "client close")
		covers(t, "SES-040")
		covers(t, "SES-046")
		if err := p.client.Close(); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Close after the end: %v", err)
		}
		if err := p.client.Shutdown(t.Context()); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Shutdown after the end: %v", err)
		}
		covers(t, "SES-042")
		shutDownBroken(t, m)
		covers(t, "SES-040")
	})
}

// Without streams there is nothing to wait for.
func TestSessionCloseIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		if err := p.client.Shutdown(t.Context()); err != nil || !p.client.Destroyed() {
			t.Errorf("Shutdown without streams: %v", err)
		}
		p = m.pair(ConnectOptions{})
		if p.server.Close(); !p.server.Destroyed() {
			t.Error("Close without streams does not end the session right away")
		}
		covers(t, "SES-041")
	})
}

// Destroy ends a session at once, and tells everybody why.
func TestSessionDestroyRows(t *testing.T) {
	for name, boom := range map[string]error{
		"an error":             errors.New("boom"),
		"an application's":     &ApplicationError{ErrorCode: 5, Reason: "no more"},
		"like an orderly end":  &IdleTimeoutError{},
		"net.ErrClosed itself": net.ErrClosed,
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testDestroy(t, boom) }) })
	}
	t.Run("no error", func(t *testing.T) { synctest.Test(t, testDestroyNil) })
	covers(t, "SES-047")
	covers(t, "SES-048")
	t.Run("many streams", func(t *testing.T) { synctest.Test(t, destroyMany) })
	covers(t, "SES-049")
	covers(t, "SES-050")
}

func testDestroy(t *testing.T, boom error) {
	var j journal
	var told []error
	note := func(err error) { told = append(told, err) }
	work := make(chan func(), 100)
	m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
	defer m.close()
	hooks := j.session("client")
	hooks.Error = func(err error) { j.add("error"); note(err) }
	m.client.Destroy(nil)
	m.client = m.socket(SocketOptions{Dispatch: func(f func()) { work <- f }})
	p := m.pair(ConnectOptions{Hooks: hooks})
	c, s := p.streams(t)
	c.SetHooks(StreamHooks{
		Error: func(err error) { j.add("stream error"); note(err) },
		Close: func() { j.add("stream close") },
	})
	c.Write(make([]byte, 100_000)) // most of it stays here
	s.Write(make([]byte, 100_000)) // and this is not read
	wait := make(chan error)
	go func() { wait <- p.client.Shutdown(t.Context()) }()
	read := make(chan error)
	go func() { _, err := io.Copy(io.Discard, c); read <- err }()
	synctest.Wait()
	run := func() {
		for ; len(work) > 0; synctest.Wait() {
			(<-work)()
		}
	}
	run()
	j.want(t, "client secure")
	told = nil

	p.client.Destroy(boom)
	if !p.client.Destroyed() {
		t.Error("not Destroyed when Destroy returns")
	}
	p.client.Destroy(errors.New("again"))
	p.client.Destroy(nil)
	j.want(t) // hooks are told later, elsewhere
	if err := <-wait; err != boom {
		t.Errorf("Shutdown: %v, want %v", err, boom)
	}
	if err := <-read; !errors.Is(err, boom) {
		t.Errorf("Read: %v, want %v", err, boom)
	}
	if err := c.Err(); err != boom {
		t.Errorf("the stream's Err is %v, want %v", err, boom)
	}
	run()
	j.want(t, "stream error", "stream close", "error", "client close")
	if len(told) != 2 || told[0] != boom || told[1] != boom {
		t.Errorf("hooks were told %v, want %v", told, boom)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, boom) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	start := time.Now()
	<-p.server.Closed()
	if d := time.Since(start); d > 10*time.Millisecond {
		t.Errorf("the server learned of it after %v, so not by a CONNECTION_CLOSE", d)
	}
	var heard error = &TransportError{ErrorCode: 0xc, Remote: true}
	if app, ok := boom.(*ApplicationError); ok {
		heard = &ApplicationError{ErrorCode: app.ErrorCode, Remote: true}
	}
	if err := p.server.Err(); !errors.Is(err, heard) {
		t.Errorf("the server was told %v, want %v", err, heard)
	}
	if _, err := io.ReadAll(s); err == nil {
		t.Error("the server's stream ended as if all had come")
	}
	time.Sleep(time.Hour)
	run()
	j.want(t)
	if !p.client.Destroyed() {
		t.Error("Destroyed has reverted")
	}
}

// Without an error it is an orderly end, only at once.
func testDestroyNil(t *testing.T) {
	var j journal
	m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
	defer m.close()
	hooks := j.session("client")
	hooks.Error = func(err error) { j.add("error %v", err) }
	p := m.pair(ConnectOptions{Hooks: hooks})
	c, s := p.streams(t)
	c.SetHooks(StreamHooks{
		Error: func(err error) { j.add("stream error") },
		Close: func() { j.add("stream close") },
	})
	c.Write(make([]byte, 100_000)) // most of it stays here
	wait := make(chan error, 1)
	go func() { wait <- p.client.Shutdown(t.Context()) }()
	synctest.Wait()
	j.want(t, "client secure")
	p.client.Destroy(nil)
	if !p.client.Destroyed() {
		t.Error("not Destroyed when Destroy returns")
	}
	p.client.Destroy(errors.New("again"))
	if err := <-wait; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	j.want(t, "stream close", "client close")
	if cc := p.server.CloseCode(); !p.server.Destroyed() || cc != (CloseCode{0, CloseApplication, true}) {
		t.Errorf("the server learned nothing of it: %v, %+v", p.server.Destroyed(), cc)
	}
	if _, err := io.ReadAll(s); err == nil {
		t.Error("the server's stream ended as if all had come")
	}
}

// Nothing happens in a session that is over, whatever still comes in.
func TestSessionClosedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{Delay: 50 * time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		hooks := j.session("client")
		p := m.pair(ConnectOptions{Hooks: hooks})
		st, err := p.client.OpenStream(t.Context(), StreamOptions{Hooks: StreamHooks{
			Readable: func() error { j.add("readable"); return nil },
			Close:    func() { j.add("stream close") },
		}})
		if err != nil {
			t.Fatal(err)
		}
		st.Write([]byte("x"))
		s, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		j.want(t, "client secure", "readable")
		s.Write([]byte("on its way"))
		late, err := p.server.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		late.Write([]byte("on its way, too"))
		time.Sleep(10 * time.Millisecond)
		p.client.Close()
		p.client.Destroy(nil)
		j.want(t, "stream close", "client close")
		time.Sleep(time.Minute)
		j.want(t)
		for _, s := range []*Session{&p.client.Session, &p.server.Session} {
			<-s.Closed()
			if !s.Destroyed() || s.Err() == nil || s.Closing() {
				t.Errorf("destroyed %v, Err is %v, closing %v", s.Destroyed(), s.Err(), s.Closing())
			}
		}
		covers(t, "SES-005")
		wantAllInvalid(t, &p.client.Session)
		wantAllInvalid(t, &p.server.Session)
		other := m.socket(SocketOptions{})
		defer other.Destroy(nil)
		if err := p.client.SetSocket(t.Context(), other, false); !errors.Is(err, ErrInvalidState) {
			t.Errorf("SetSocket: %v", err)
		}
	})
}

// wantAllInvalid calls everything on a session that is over.
func wantAllInvalid(t *testing.T, s *Session) {
	t.Helper()
	for name, call := range map[string]func() error{
		"OpenStream":     func() error { _, err := s.OpenStream(t.Context(), StreamOptions{}); return err },
		"TryOpenStream":  func() error { _, err := s.TryOpenStream(StreamOptions{}); return err },
		"AcceptStream":   func() error { s.SetHooks(SessionHooks{}); _, err := s.AcceptStream(t.Context()); return err },
		"Ping":           s.Ping,
		"UpdateKey":      func() error { _, err := s.UpdateKey(); return err },
		"Close":          s.Close,
		"Shutdown":       func() error { return s.Shutdown(t.Context()) },
		"CloseWithError": func() error { return s.CloseWithError(1, "") },
	} {
		err := call()
		var state *StateError
		if !errors.Is(err, ErrInvalidState) || !errors.Is(err, net.ErrClosed) || !errors.As(err, &state) || state.Code() != CodeInvalidState {
			t.Errorf("%s of a session that is over: %v", name, err)
		}
	}
}

// No application data before the handshake is done, in either direction.
func TestNoDataBeforeSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var server *ServerSession
		opened := make(chan error, 1)
		var count, short atomic.Int32 // long headers from the client; 1-RTT packets that reach the server
		var release atomic.Bool
		m := newMemNet(t, udp.NetworkOptions{Delay: 5 * time.Millisecond}, SocketOptions{}, ListenOptions{
			Hooks: j.session("server"),
			Handler: func(v *ServerSession) error {
				server = v
				if _, err := v.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) {
					t.Errorf("TryOpenStream before the handshake: %v", err)
				}
				go func() {
					st, err := v.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
					if err == nil {
						_, err = st.End([]byte("from the server"))
					}
					opened <- err
				}()
				return nil
			},
		})
		defer m.close()
		m.net.SetFilter(func(d *dgram.Datagram) bool {
			if d.Path.Local != memServer {
				return false
			}
			if d.Data[0]&0x80 == 0 {
				short.Add(1)
				return false
			}
			return count.Add(1) > 2 && !release.Load() // its Finished is held back
		})
		c := m.connect(ConnectOptions{Hooks: j.session("client")})
		st, err := c.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !c.HandshakeComplete() {
			t.Error("OpenStream did not wait for the handshake")
		}
		st.Write([]byte("from the ")) // goes with what is held back
		time.Sleep(time.Millisecond)
		st.End([]byte("client"))
		time.Sleep(100 * time.Millisecond)
		if short.Load() == 0 || server.HandshakeComplete() || len(opened) > 0 {
			t.Fatalf("%d 1-RTT packets came before the handshake was done: %v", short.Load(), server.HandshakeComplete())
		}
		j.want(t, "client secure")
		release.Store(true)
		time.Sleep(5 * time.Second)
		j.want(t, "server secure", "server stream 0", "client stream 3")
		if err := <-opened; err != nil {
			t.Error(err)
		}
		covers(t, "SES-006")
	})
}

// The ALPN of a session is one that both ends have, from wherever they have it (RFC 9001 §8.1).
func TestALPNRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name           string
			client, socket string
			protos         []string
			server         ListenOptions
			base           ListenOptions
			want           string
		}{
			{name: "options", client: "my own/7", server: ListenOptions{ALPN: "my own/7"}, want: "my own/7"},
			{name: "socket's defaults", socket: "h9", base: ListenOptions{ALPN: "h9"}, want: "h9"},
			{name: "the server's order counts", protos: []string{"a", "b", "c"}, server: ListenOptions{TLS: withProtos("c", "b")}, want: "c"},
			{name: "one in common", client: "b", server: ListenOptions{TLS: withProtos("c", "b")}, want: "b"},
			{name: "none in common", client: "x", server: ListenOptions{ALPN: "y"}},
		} {
			lo := test.server
			if lo.TLS == nil {
				lo.TLS = withProtos()
			}
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{Server: test.base}, lo)
			config := clientConfig()
			config.NextProtos = test.protos
			m.client.Destroy(nil)
			m.client = m.socket(SocketOptions{Client: ConnectOptions{ALPN: test.socket}})
			c := m.connect(ConnectOptions{TLS: config, ALPN: test.client})
			err := c.Handshake(t.Context())
			if test.want == "" {
				if !errors.Is(err, &TransportError{ErrorCode: 0x178, Remote: true}) {
					t.Errorf("%s: %v", test.name, err)
				}
				m.close()
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			v, err := m.server.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.ALPNProtocol() != test.want || v.ALPNProtocol() != test.want {
				t.Errorf("%s: ALPN is %q and %q, want %q", test.name, c.ALPNProtocol(), v.ALPNProtocol(), test.want)
			}
			m.close()
		}
		covers(t, "SES-007")
	})
}

// A context that ends while a call waits ends that call and nothing else, but for
// Shutdown, which then cuts the session off.
func TestSessionContextsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsBidi: 1})
		defer m.close()
		p := m.pair(ConnectOptions{})
		st, _ := p.streams(t)
		cause := func(call func(context.Context) error) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- call(ctx) }()
			synctest.Wait()
			cancel()
			if err := <-done; err != context.Canceled {
				t.Errorf("got %v", err)
			}
		}
		cause(func(ctx context.Context) error { _, err := p.client.OpenStream(ctx, StreamOptions{}); return err })
		cause(func(ctx context.Context) error { _, err := p.client.AcceptStream(ctx); return err })
		if p.client.Destroyed() {
			t.Fatal("a context has ended the session")
		}
		cause(p.client.Shutdown)
		if !p.client.Destroyed() || st.Err() == nil {
			t.Error("Shutdown has left the session alone")
		}
		m.net.SetFilter(func(*dgram.Datagram) bool { return true })
		c := m.connect(ConnectOptions{})
		cause(c.Handshake)
		if c.Destroyed() {
			t.Error("a context has ended the handshake")
		}
	})
}
