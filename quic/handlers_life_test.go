package quic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// What a program does wrong in one session is nobody else's business.

// echo wants a session to work.
func echo(t testing.TB, c *ClientSession, size int) {
	t.Helper()
	st, err := c.OpenStream(t.Context(), StreamOptions{})
	if err != nil {
		t.Errorf("OpenStream: %v", err)
		return
	}
	want := bytes.Repeat([]byte("echo"), size/4+1)[:size]
	go st.End(want)
	if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes come back, or others: %v", len(got), size, err)
	}
}

// echoOne sends back what comes on a stream.
func echoOne(st *Stream) {
	io.Copy(st, st)
	st.Close()
}

// A panic of a Handler or a hook ends its session, or its stream, with the value of the panic.
func TestHandlerPanics(t *testing.T) {
	bug := func() error { panic("a bug") }
	for _, test := range []struct {
		name   string
		f      func(v *ServerSession) error
		stream bool // it is the stream that ends
	}{
		{"Handler", func(*ServerSession) error { return bug() }, false},
		{"Secure", func(v *ServerSession) error { v.SetHooks(SessionHooks{Secure: bug}); return nil }, false},
		{"Stream", func(v *ServerSession) error {
			v.SetHooks(SessionHooks{Stream: func(*Stream) error { return bug() }})
			return nil
		}, true},
		{"hook of a stream", func(v *ServerSession) error {
			v.SetHooks(SessionHooks{Stream: func(st *Stream) error {
				st.SetHooks(StreamHooks{Aborted: func(error) error { return bug() }})
				return nil
			}})
			return nil
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bad *ServerSession
				var told []error
				came := 0
				so := SocketOptions{Hooks: SocketHooks{SessionError: func(err error, _ *Session) { told = append(told, err) }}}
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, so, ListenOptions{Handler: func(v *ServerSession) error {
					if came++; came == 2 {
						bad = v
						return test.f(v)
					}
					go echoAll(v)
					return nil
				}})
				defer m.close()
				good := m.connect(ConnectOptions{KeepAlive: time.Second})
				echo(t, good, 1000)
				victim := m.connect(ConnectOptions{KeepAlive: time.Second})
				st, err := victim.OpenStream(t.Context(), StreamOptions{})
				if err == nil {
					st.Write([]byte("x"))
					time.Sleep(time.Second)
					st.Reset(1)
					st.Stop(1)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				wantPanic := func(what string, err error) {
					t.Helper()
					var h *HandlerError
					if !errors.As(err, &h) || h.Value != "a bug" || len(h.Stack) == 0 {
						t.Errorf("%s: %v", what, err)
					}
				}
				if test.stream {
					if bad.Destroyed() || victim.Destroyed() {
						t.Errorf("the session ends with %v", bad.Err())
					}
				} else {
					wantPanic("the session", bad.Err())
					if !victim.Destroyed() || victim.Err() == nil {
						t.Errorf("the client is told %v", victim.Err())
					}
				}
				if (len(told) == 1) != (test.name == "Handler") {
					t.Errorf("SessionError is told %v", told)
				}
				echo(t, good, 1000)
				echo(t, m.connect(ConnectOptions{}), 1000)
				time.Sleep(5 * time.Second) // three probe timeouts, as a closed session answers
				if n := m.server.routed(); n != 2 && !test.stream {
					t.Errorf("%d sessions are routed, of which 2 are good", n)
				}
			})
		})
	}
}

// A hook of a stream may give the stream up, each time it is told of something: what that brings about is told
// to no hook but those of the end.
func TestHookGivesUp(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
			defer m.close()
			p := m.pair(ConnectOptions{})
			c, s := p.streams(t)
			told, ends := 0, 0
			give := func() error {
				told++
				if fails {
					return errChaos
				}
				s.Destroy(errChaos)
				return nil
			}
			s.SetHooks(StreamHooks{Readable: give, Drained: give, Blocked: give, Aborted: func(error) error { return give() }, Close: func() { ends++ }})
			c.Write([]byte("x"))
			c.Reset(1)
			c.Stop(1)
			time.Sleep(time.Second)
			synctest.Wait()
			if told == 0 || told > 2 || ends != 1 || !errors.Is(s.Err(), errChaos) {
				t.Errorf("the hooks are told %d times, and %d times of the end: %v", told, ends, s.Err())
			}
		})
	}
}

// Whoever blocks for ten seconds holds up its own session, which goes on after that, and no
// other one: those come, are served, and go at once.
func TestHandlerBlocks(t *testing.T) {
	const long = 10 * time.Second
	inHandler := func(hooks func(slow func()) SessionHooks) func(*ListenOptions, func()) {
		return func(lo *ListenOptions, slow func()) {
			lo.Handler = func(v *ServerSession) error { v.SetHooks(hooks(slow)); return nil }
		}
	}
	for _, test := range []struct {
		name string
		set  func(lo *ListenOptions, slow func())
	}{
		{"Handler", func(lo *ListenOptions, slow func()) {
			lo.Handler = func(v *ServerSession) error { slow(); go echoAll(v); return nil }
		}},
		{"Secure", inHandler(func(slow func()) SessionHooks {
			return SessionHooks{Secure: func() error { slow(); return nil }, Stream: func(st *Stream) error { go echoOne(st); return nil }}
		})},
		{"Stream", inHandler(func(slow func()) SessionHooks {
			return SessionHooks{Stream: func(st *Stream) error { slow(); go echoOne(st); return nil }}
		})},
		{"HandleStreams", func(lo *ListenOptions, slow func()) {
			lo.Handler = func(v *ServerSession) error {
				v.HandleStreams(func(st *Stream) { slow(); echoOne(st) })
				return nil
			}
		}},
		{"ClientHelloHandler", func(lo *ListenOptions, slow func()) {
			lo.ClientHelloHandler = func(context.Context, *ServerSession, ClientHello) (*securecontext.Context, error) {
				slow()
				return nil, nil
			}
			lo.Handler = func(v *ServerSession) error { go echoAll(v); return nil }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := true
				slow := func() {
					if first {
						first = false
						time.Sleep(long)
					}
				}
				var lo ListenOptions
				test.set(&lo, slow)
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, lo)
				defer m.close()
				start := time.Now()
				done := make(chan time.Duration)
				go func() {
					echo(t, m.connect(ConnectOptions{KeepAlive: time.Second, HandshakeTimeout: time.Minute}), 200_000)
					done <- time.Since(start)
				}()
				synctest.Wait()
				for range 20 {
					echo(t, m.connect(ConnectOptions{}), 200_000)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("the others were served after %v", d)
				}
				if d := <-done; d < long || d > long+time.Second {
					t.Errorf("the blocked one was served after %v", d)
				}
			})
		})
	}
}

// Streams that a program neither reads nor closes are as many as it lets the peer open, hold as much
// as its windows say, and end with the session, however that ends.
func TestHandlerLeaksStream(t *testing.T) {
	const streams, window = 20, 100_000
	for _, test := range []struct {
		name     string
		byServer bool // it is the server that opens streams
		end      func(leaks, opens *Session)
	}{
		{"server leaks, client closes", false, func(_, opens *Session) { opens.CloseWithError(1, "") }},
		{"server leaks and destroys", false, func(leaks, _ *Session) { leaks.Destroy(errChaos) }},
		{"client leaks, server closes", true, func(_, opens *Session) { opens.CloseWithError(1, "") }},
		{"client leaks, and nobody says anything", true, func(leaks, opens *Session) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var leaked []*Stream
				keep := SessionHooks{Stream: func(st *Stream) error { leaked = append(leaked, st); return nil }}
				m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{MaxStreamsBidi: streams, MaxData: window})
				defer m.close()
				p := m.pair(ConnectOptions{MaxStreamsBidi: streams, MaxData: window})
				leaks, opens := &p.server.Session, &p.client.Session
				if test.byServer {
					leaks, opens = opens, leaks
				}
				leaks.SetHooks(keep)
				opened := 0
				for {
					st, err := opens.TryOpenStream(StreamOptions{})
					if err != nil {
						break
					}
					opened++
					go st.Write(make([]byte, window))
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if _, err := opens.TryOpenStream(StreamOptions{}); opened != streams || len(leaked) != streams || err == nil {
					t.Errorf("%d streams were opened and %d came, want %d: %v", opened, len(leaked), streams, err)
				}
				if n := leaks.Stats().StreamBytesReceived; n == 0 || n > window {
					t.Errorf("%d bytes wait in streams that nobody reads, want at most %d", n, window)
				}
				test.end(leaks, opens)
				<-leaks.Closed()
				for _, st := range leaked {
					<-st.Closed()
					if _, err := io.Copy(io.Discard, st); err == nil {
						t.Error("a leaked stream ends as if all had come")
					}
				}
				time.Sleep(time.Minute)
				if a, b := m.client.routed(), m.server.routed(); a+b != 0 || len(leaks.Streams())+len(opens.Streams()) != 0 {
					t.Errorf("%d and %d sessions are routed, %d and %d streams are there", a, b, len(leaks.Streams()), len(opens.Streams()))
				}
			})
		})
	}
}
