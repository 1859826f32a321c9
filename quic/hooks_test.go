package quic

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// journal collects what hooks say, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) want(t testing.TB, lines ...string) {
	t.Helper()
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, lines) {
		t.Errorf("hooks say\n%q, want\n%q", j.lines, lines)
	}
	j.lines = nil
}

func (j *journal) session(name string) SessionHooks {
	return SessionHooks{
		Secure: func() error { j.add("%s secure", name); return nil },
		Stream: func(st *Stream) error { j.add("%s stream %d", name, st.ID()); return nil },
		Error:  func(err error) { j.add("%s error: %v", name, err) },
		Close:  func() { j.add("%s close", name) },
	}
}

func TestHooksInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		so := SocketOptions{Hooks: SocketHooks{
			Ready:         func() error { j.add("ready"); return nil },
			Listening:     func() error { j.add("listening"); return nil },
			Busy:          func(b bool) error { j.add("busy %v", b); return nil },
			EndpointClose: func(e *Endpoint, err error) error { j.add("endpoint %v", err); return nil },
			Error:         func(err error) { j.add("error: %v", err) },
			Close:         func() { j.add("close") },
		}}
		m := newMemNet(t, udp.NetworkOptions{}, so, ListenOptions{Hooks: j.session("server")})
		defer m.close()
		j.want(t, "ready", "listening")
		m.server.SetServerBusy(true)
		m.server.SetServerBusy(true)
		m.server.SetServerBusy(false)
		j.want(t, "busy true", "busy false")
		p := m.pair(ConnectOptions{})
		j.want(t, "server secure")
		st, err := p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.Write([]byte("x"))
		uni, err := p.client.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
		if err != nil {
			t.Fatal(err)
		}
		uni.Write([]byte("x"))
		j.want(t, "server stream 0", "server stream 2")
		if _, err := p.server.AcceptStream(t.Context()); !errors.Is(err, ErrInvalidState) {
			t.Errorf("AcceptStream with a Stream hook: %v", err)
		}
		p.client.CloseWithError(7, "enough")
		j.want(t, "server error: quic: session closed by the peer: application code 0x7: enough", "server close")
		m.server.Destroy(errors.New("boom"))
		j.want(t, "endpoint boom", "error: boom", "close")
		m.server.Destroy(errors.New("again"))
		j.want(t)
	})
}

// An orderly end is no error.
func TestHooksOrderlyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Hooks: j.session("server")})
		defer m.close()
		p := m.pair(ConnectOptions{Hooks: j.session("client")})
		synctest.Wait()
		j.lines = nil
		p.client.Close()
		synctest.Wait()
		slices.Sort(j.lines)
		j.want(t, "client close", "server close")

		m.pair(ConnectOptions{}).client.Destroy(nil)
		synctest.Wait()
		j.lines = j.lines[1:]
		j.want(t, "server close")
	})
}

// A hook that fails, or panics, destroys its session; a Stream hook only its stream.
func TestHookErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		hooks := j.session("server")
		hooks.Secure = func() error { panic("oops") }
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Hooks: hooks})
		defer m.close()
		c := m.connect(ConnectOptions{})
		<-c.Closed()
		j.want(t, "server error: quic: hook panicked: oops", "server close")

		hooks = j.session("client")
		hooks.Stream = func(st *Stream) error { return &StreamError{ErrorCode: 9} }
		m.server.Destroy(nil)
		m.server = m.socketAt(memServer, SocketOptions{})
		if err := m.server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
			t.Fatal(err)
		}
		p := m.pair(ConnectOptions{Hooks: hooks})
		st, err := p.server.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.Write([]byte("x"))
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, &StreamError{StreamID: 1, ErrorCode: 9, Remote: true}) {
			t.Errorf("Read: %v", err)
		}
		j.want(t, "client secure")
	})
}

// The hooks of a session wait until its Handler returns; its methods do not.
func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		lo := ListenOptions{Handler: func(v *ServerSession) error {
			v.SetHooks(j.session("server"))
			j.add("handler, secure %v", v.HandshakeComplete())
			if err := v.Handshake(t.Context()); err != nil {
				t.Error(err)
			}
			st, err := v.OpenStream(t.Context(), StreamOptions{HalfOpen: true})
			if err != nil {
				t.Error(err)
			}
			st.End([]byte("hello"))
			time.Sleep(time.Second)
			j.add("handler done")
			return nil
		}}
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, lo)
		defer m.close()
		if _, err := m.server.Accept(t.Context()); !errors.Is(err, ErrInvalidState) {
			t.Errorf("Accept with a Handler: %v", err)
		}
		c := m.connect(ConnectOptions{})
		st, err := c.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		mine, err := c.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mine.Write([]byte("x"))
		j.want(t, "handler, secure false")
		time.Sleep(2 * time.Second)
		j.want(t, "handler done", "server secure", "server stream 0")
		c.CloseWithError(0, "")
		time.Sleep(time.Second)
		j.want(t, "server close")
	})
}

// A Handler or a hook that takes its time delays its own session and no other.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{Handler: func(v *ServerSession) error {
			if first {
				first = false
				time.Sleep(10 * time.Second)
			}
			v.SetHooks(SessionHooks{Stream: func(st *Stream) error {
				_, err := st.End([]byte("hello"))
				return err
			}})
			return nil
		}})
		defer m.close()
		for _, want := range []time.Duration{10 * time.Second, 0} {
			c := m.connect(ConnectOptions{KeepAlive: time.Second})
			start := time.Now()
			st, err := c.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			st.End(nil)
			done := make(chan bool)
			go func() {
				defer close(done)
				if b, err := io.ReadAll(st); string(b) != "hello" || err != nil {
					t.Errorf("%q, %v", b, err)
				}
				if d := time.Since(start); d < want || d > want+time.Second {
					t.Errorf("answered after %v, want %v", d, want)
				}
			}()
			if want == 0 {
				<-done
			} else {
				defer func() { <-done }()
			}
			synctest.Wait()
		}
	})
}

// A Handler that fails at once has the client refused; the socket is told.
func TestHandlerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		so := SocketOptions{Hooks: SocketHooks{SessionError: func(err error, s *Session) {
			j.add("%v, destroyed %v", err, s.Destroyed())
		}}}
		fail := errors.New("no")
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, so, ListenOptions{
			Handler: func(v *ServerSession) error { return fail },
		})
		defer m.close()
		c := m.connect(ConnectOptions{})
		err := c.Handshake(t.Context())
		if !errors.Is(err, &TransportError{ErrorCode: 2, Remote: true}) {
			t.Errorf("Handshake: %v", err)
		}
		if cc := c.CloseCode(); cc.Code != 2 || cc.Family != CloseTransport {
			t.Errorf("CloseCode is %+v", cc)
		}
		j.want(t, "no, destroyed true")
	})
}

// Dispatch gets everything that would run hooks, and decides where it runs.
func TestDispatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		work := make(chan func(), 100)
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{Dispatch: func(f func()) { work <- f }}, ListenOptions{
			Handler: func(v *ServerSession) error {
				v.SetHooks(j.session("server"))
				j.add("handler")
				return nil
			},
		})
		defer m.close()
		c := m.connect(ConnectOptions{})
		synctest.Wait()
		j.want(t) // nothing runs by itself
		run := func() {
			for synctest.Wait(); len(work) > 0; synctest.Wait() {
				(<-work)()
			}
		}
		run()
		j.want(t, "handler", "server secure")
		c.CloseWithError(3, "")
		run()
		j.want(t, "server error: quic: session closed by the peer: application code 0x3", "server close")
	})
}

// Programs that never block read and write on notices.
func TestStreamHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		var j journal
		var got []byte
		var acked []int64
		var st *Stream
		want := make([]byte, 1<<20)
		for i := range want {
			want[i] = byte(i >> 8)
		}
		left := want
		write := func() error {
			for len(left) > 0 {
				half := len(left) / 2
				n, err := st.TryWrite(left[:half], left[half:])
				left = left[n:]
				if n == 0 || err != nil {
					return err
				}
			}
			return st.CloseWrite()
		}
		read := func() error {
			for {
				buf := make([]byte, 1000)
				n, err := st.TryRead(buf)
				got = append(got, buf[:n]...)
				switch {
				case err == io.EOF:
					j.add("eof")
					return nil
				case n == 0:
					return err
				}
			}
		}
		var err error
		st, err = p.client.OpenStream(t.Context(), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.SetHooks(StreamHooks{
			Readable:     read,
			Drained:      write,
			Acknowledged: func(offset int64) error { acked = append(acked, offset); return nil },
			Error:        func(err error) { j.add("error: %v", err) },
			Close:        func() { j.add("close") },
		})
		if err := write(); err != nil {
			t.Fatal(err)
		}
		s, err := p.server.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(s, s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // for delayed acknowledgements
		synctest.Wait()
		if n := len(acked); n < 3 || acked[n-1] != 1<<20 || !slices.IsSorted(acked) {
			t.Errorf("acknowledged %v", acked)
		}
		s.CloseWrite()
		time.Sleep(time.Second)
		j.want(t, "eof", "close")
		if string(got) != string(want) {
			t.Errorf("%d bytes came back wrong", len(got))
		}
	})
}

// A failure comes just before the end.
func TestStreamErrorHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		var j journal
		st, err := p.client.OpenStream(t.Context(), StreamOptions{Hooks: StreamHooks{
			Error: func(err error) { j.add("error: %v", err) },
			Close: func() { j.add("close") },
		}})
		if err != nil {
			t.Fatal(err)
		}
		st.Destroy(errors.New("boom"))
		if _, err := st.Write([]byte("x")); err == nil || err.Error() != "boom" {
			t.Errorf("Write: %v", err)
		}
		p.client.CloseWithError(0, "")
		j.want(t, "error: boom", "close")
	})
}
