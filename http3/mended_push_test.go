package http3

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// Pushes that nobody accepts are under way, however whole they are: a server cannot fill a
// client's memory with them.
func TestPushesNobodyAccepts(t *testing.T) {
	a := hostileServer(t, 50)
	victim, ctx := a.victim, a.ctx
	a.message = a.ask(false, "GET")
	ctrl()(a)
	push := func(id uint64) {
		msg(promised(id))(a)
		st, err := a.q.OpenStream(ctx, quic.StreamOptions{HalfOpen: true})
		must(t, err)
		_, err = st.End(slices.Concat([]byte{streamPush}, num(id), head200, data("hi")))
		must(t, err)
	}
	for id := range uint64(pushWindow) {
		push(id)
	}
	waiting := func() int {
		victim.mu.Lock()
		defer victim.mu.Unlock()
		return len(victim.accepted)
	}
	eventually(t, func() bool { return waiting() == pushWindow })
	eventually(t, func() bool { return len(victim.q.Streams()) < pushWindow/2 }) // their streams are over, but for those that packets cut in two
	victim.mu.Lock()
	limit, low := victim.pushes.limit, victim.pushes.low
	victim.mu.Unlock()
	if limit != pushWindow || low != 0 {
		t.Errorf("the limit is %d, and %d pushes count as over, with %d that wait to be accepted", limit, low, waiting())
	}
	for range pushWindow { // who accepts them has others
		st, err := victim.AcceptStream(ctx)
		must(t, err)
		if b, err := io.ReadAll(st); string(b) != "hi" || err != nil {
			t.Fatalf("pushed %q, %v", b, err)
		}
	}
	eventually(t, func() bool {
		victim.mu.Lock()
		defer victim.mu.Unlock()
		rises := victim.pushes.limit > 2*pushWindow-pushWindow/4 // in steps, which begin where the first to end are
		return victim.pushes.low == pushWindow && rises && len(victim.pushes.known) == 0
	})
}

// A client that allows any number of pushes and then reads none has no more than so many under
// way, and handlers at work for them.
func TestServerPushesUnread(t *testing.T) {
	const tries = 5 * pushWindow
	release, results := make(chan struct{}), make(chan error, 1)
	pushed := 0
	addr, _ := startServer(t, handler(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			<-release
			return
		}
		s := w.(*responseWriter).x.st.s
		eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.pushes.limit == tries
		})
		var err error
		for err == nil && pushed < tries {
			if err = w.(http.Pusher).Push("/x", nil); err == nil {
				pushed++
			}
		}
		results <- err
	}), loopback)
	c := dialRaw(t, addr, Options{}, quic.ConnectOptions{MaxStreamsUni: tries + 10})
	c.mu.Lock()
	c.pushes.limit = tries
	c.mu.Unlock()
	must(t, c.control("", appendIDFrame(nil, frameMaxPushID, tries-1)))
	st := c.open(requestBlock("GET", "/"), StreamHooks{})
	must(t, st.CloseWrite())
	err := <-results
	close(release)
	if state := (*quic.StateError)(nil); !errors.As(err, &state) || pushed != pushWindow {
		t.Errorf("%d pushes are taken, then comes %v", pushed, err)
	}
}

// A client that cancels each push leaves its handler behind: of those there are no more either.
func TestServerPushesCancelled(t *testing.T) {
	const tries = 2 * pushWindow
	release, results := make(chan struct{}), make(chan error, 1)
	pushed := 0
	c := newRaw(t, handler(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/probe":
			tellPushes(w)
		case "/x":
			<-release
		default:
			s := w.(*responseWriter).x.st.s
			var err error
			for err == nil && pushed < tries {
				if err = w.(http.Pusher).Push("/x", nil); err != nil {
					break
				}
				pushed++
				w.(http.Flusher).Flush()
				eventually(t, func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return len(s.pushes.streams) == 0 && s.pushes.limit > s.pushes.next
				})
			}
			results <- err
		}
	}), Options{})
	c.waitPushes(t)
	st := c.open(requestBlock("GET", "/"), StreamHooks{PushHeaders: func(_ Headers, id int64) error {
		c.CancelPush(id)
		return nil
	}})
	must(t, st.CloseWrite())
	err := <-results
	close(release)
	if state := (*quic.StateError)(nil); !errors.As(err, &state) || pushed != pushWindow {
		t.Errorf("%d pushes are taken, then comes %v", pushed, err)
	}
}
