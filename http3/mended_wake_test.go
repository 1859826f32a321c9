package http3

import (
	"io"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// turns waits until what is posted to the hooks of a session so far has run.
func turns(s *Session) {
	told := make(chan struct{})
	s.q.Post(func() { close(told) })
	<-told
}

// restsBelow makes a stream at a client that is over below, with the end of the response read ahead and not taken, and
// gives it hooks.
func restsBelow(t *testing.T, p *pair, k StreamHooks) *Stream {
	t.Helper()
	client, server := p.request(t, get200)
	must(t, client.CloseWrite())
	_, err := io.ReadAll(server)
	must(t, err)
	must(t, server.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{}))
	_, err = client.Headers()
	must(t, err)
	_, err = io.WriteString(server, "hello")
	must(t, err)
	must(t, server.CloseWrite())
	<-server.Closed() // the client has it all
	client.SetHooks(k)
	<-client.Closed()
	turns(client.s)
	client.mu.Lock()
	defer client.mu.Unlock()
	if client.closing == nil {
		t.Fatal("the end is told before the body is read")
	}
	return client
}

// Close is told when the program gives up reading what was read ahead: nothing else happens on the stream any more.
func TestCloseHookAfterStop(t *testing.T) {
	for name, give := range map[string]func(st *Stream){
		"stop":  func(st *Stream) { st.Stop(NoError) },
		"close": func(st *Stream) { _ = st.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, Options{}, Options{})
			told := false
			st := restsBelow(t, p, StreamHooks{Close: func() { told = true }})
			give(st)
			turns(st.s)
			turns(st.s) // what was posted in the first one
			if !told {
				t.Error("Close was not told")
			}
		})
	}
}

// A TryRead that finds the turn taken is told when to try again, whoever has it: also where there is nothing but the
// end, of which somebody was told before.
func TestTryReadIsTold(t *testing.T) {
	p := newPair(t, Options{}, Options{})
	told, b := 0, make([]byte, 10)
	hooks := StreamHooks{Readable: func() error { told++; return nil }, Close: func() {}}
	collide := func(st *Stream, who func()) {
		t.Helper()
		turns(st.s)
		st.in.mu.mu.Lock() // as the one who has the turn does
		if n, err := st.TryRead(b); n != 0 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		st.in.mu.mu.Unlock()
		before := told
		st.s.q.Post(who)
		turns(st.s)
		turns(st.s) // what was posted in the first one
		if told == before {
			t.Error("Readable was not told")
		}
	}
	st := restsBelow(t, p, hooks)
	for _, who := range []func(){st.pump, st.close} {
		collide(st, who)
	}
	st, server := p.request(t, get200)
	st.SetHooks(hooks)
	must(t, server.SubmitInitialHeaders(Headers{{Name: ":status", Value: "200"}}, HeaderOptions{Terminal: true}))
	eventually(t, func() bool { _, err := st.TryRead(b); return err == io.EOF })
	for _, who := range []func(){st.pump, st.close, func() { _, _ = st.TryRead(b) }} {
		collide(st, who)
	}
	before := told
	for range 3 {
		st.s.q.Post(st.pump)
		turns(st.s)
	}
	if told != before {
		t.Error("Readable is told of nothing new")
	}
}

// Hooks that a program sets hold, although the package sets those of the stream below for its own ends at the same time.
func TestSetHooksAtOnce(t *testing.T) {
	p := newPair(t, Options{}, Options{})
	const streams = 90
	var failed atomic.Int32
	for range streams {
		st := p.open(t)
		var over atomic.Bool
		var others sync.WaitGroup
		for range 3 {
			others.Go(func() {
				for !over.Load() {
					st.setHooks()
				}
			})
		}
		for range 50 {
			st.SetHooks(StreamHooks{})
			st.SetHooks(StreamHooks{Error: func(error) { failed.Add(1) }})
		}
		over.Store(true)
		others.Wait()
	}
	p.client.q.Destroy(io.ErrClosedPipe)
	<-p.client.over
	if n := failed.Load(); n != streams {
		t.Errorf("%d of %d Error hooks were told", n, streams)
	}
}

// While the hooks of the stream below are set by two at once, the room that the one waits for may have been told to the
// other's, which are for nobody: so it is told again. Here one comes while the other is in Dispatch.
// A datagram that comes meanwhile may have Dispatch called, too, on its own goroutine. That does not count: the two do not meet.
func TestDrainedIsTold(t *testing.T) {
	ctx := testContext(t)
	listener, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, Handler: func(q *quic.ServerSession) error {
		s, err := NewSession(&q.Session, Options{})
		if err != nil {
			return err
		}
		go func() {
			if st, err := s.AcceptStream(ctx); err == nil {
				answerPlainly(st)
			}
		}()
		return nil
	}})
	must(t, err)
	t.Cleanup(func() { listener.Destroy(nil) })
	var meanwhile atomic.Pointer[func()]
	var deliveries atomic.Int32
	socket, err := quic.NewSocket(quic.SocketOptions{Dispatch: func(f func()) {
		if strings.Contains(string(debug.Stack()), t.Name()+"(") {
			if do := meanwhile.Swap(nil); do != nil {
				(*do)()
			}
		}
		deliveries.Add(1)
		go func() {
			defer deliveries.Add(-1)
			f()
		}()
	}})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	q, err := socket.Connect(ctx, quic.ConnectOptions{Port: int(netip.MustParseAddrPort(listener.Address().String()).Port()), Address: "127.0.0.1", ALPN: ALPN, TLS: clientTLS(), MaxStreamsUni: 103})
	must(t, err)
	s, err := NewSession(&q.Session, Options{})
	must(t, err)
	st, err := s.OpenStream(ctx, StreamOptions{})
	must(t, err)
	must(t, st.SubmitInitialHeaders(Headers{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "localhost"}, {Name: ":path", Value: "/"}}, HeaderOptions{Terminal: true}))
	eventually(t, st.q.CanRead)
	turns(s)
	told := make(chan struct{})
	hooks := func() { st.SetHooks(StreamHooks{Drained: sync.OnceValue(func() error { close(told); return nil })}) }
	meanwhile.Store(&hooks)
	eventually(t, func() bool {
		if deliveries.Load() == 0 {
			st.SetHooks(StreamHooks{Readable: func() error { return nil }})
		}
		return meanwhile.Load() == nil
	})
	select {
	case <-told:
	case <-ctx.Done():
		t.Error("the room is not told again")
	}
}
