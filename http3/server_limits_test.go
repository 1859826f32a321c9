package http3

import (
	"errors"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// A client that gives its requests up and opens others does not get more handlers than it may
// have streams (H-07): as many again wait, and these do not free their streams.
func serverRapidReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3
		var running, most atomic.Int64
		free := make(chan struct{})
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), running.Add(1)))
			<-free
			running.Add(-1)
		})
		s.QUIC.MaxStreamsBidi = limit
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).known()
		opened := 0
		for {
			st, err := c.TryOpenStream(StreamOptions{})
			if err != nil {
				break
			}
			opened++
			must(t, st.SubmitInitialHeaders(requestBlock("GET", "/"), HeaderOptions{Terminal: true}))
			st.Stop(RequestCancelled)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if opened != 2*limit || most.Load() != limit || c.Err() != nil {
			t.Errorf("%d requests, %d handlers at once, want %d and %d; the session: %v", opened, most.Load(), 2*limit, limit, c.Err())
		}
		close(free)
		h, _ := c.ask(requestBlock("GET", "/"))
		wantStatus(t, h, "200")
		if most.Load() > limit {
			t.Errorf("%d handlers at once, want %d at most", most.Load(), limit)
		}
	})
}

// More than may wait end the session.
func TestServerExcessiveLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		defer close(free)
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			w.(*responseWriter).x.c.limit = 1 // the streams allow more
			<-free
		})
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).known()
		for range 2 {
			c.open(requestBlock("GET", "/"), StreamHooks{})
			synctest.Wait()
		}
		if err := c.Err(); err != nil {
			t.Fatalf("the session ends with %v", err)
		}
		c.open(requestBlock("GET", "/"), StreamHooks{})
		<-c.QUIC().Closed()
		if err := c.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Remote: true, Session: true}) {
			t.Errorf("the session ends with %v", err)
		}
	})
}

// Requests that wait get their handlers in order, also when one ends its goroutine.
func TestServerQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		order := make(chan string, 10)
		s := handler(func(w http.ResponseWriter, r *http.Request) {
			order <- r.URL.Path
			<-free
			if r.URL.Path == "/1" {
				runtime.Goexit()
			}
		})
		s.QUIC.MaxStreamsBidi = 1
		c := newMemNet(t, s).dial(Options{}, quic.ConnectOptions{}).known()
		first := c.request(requestBlock("GET", "/1"), StreamHooks{})
		synctest.Wait()
		first.Stop(RequestCancelled)
		second := c.request(requestBlock("GET", "/2"), StreamHooks{})
		synctest.Wait()
		if len(order) != 1 {
			t.Errorf("%d handlers run", len(order))
		}
		close(free)
		h, _ := response(t, second)
		wantStatus(t, h, "200")
		if a, b := <-order, <-order; a != "/1" || b != "/2" {
			t.Errorf("served %s, %s", a, b)
		}
	})
}

// Requests that are reset before their headers are there cost the session its patience. The
// server keeps no dynamic table, so that it has no cancellations to send for them.
func TestServerResetBeforeHeaders(t *testing.T) {
	s := handler(func(w http.ResponseWriter, r *http.Request) { t.Error("a handler runs") })
	s.Options.QPACKMaxTableCapacity = quic.None
	c := newRaw(t, s, Options{}).known()
	if p, err := c.Settings(testContext(t)); err != nil || p.QPACKMaxTableCapacity != 0 {
		t.Fatalf("the server keeps a table of %d bytes, %v", p.QPACKMaxTableCapacity, err)
	}
	for range 20 * budgetBurst {
		q, err := c.QUIC().OpenStream(testContext(t), quic.StreamOptions{})
		if err != nil {
			break
		}
		q.Reset(uint64(RequestCancelled))
		q.Stop(uint64(RequestCancelled))
	}
	<-c.QUIC().Closed()
	if err := c.Err(); !errors.Is(err, &Error{ErrorCode: ExcessiveLoad, Remote: true, Session: true}) {
		t.Errorf("the session ends with %v", err)
	}
}

// A short response waits for its end: nothing leaves before, and then all of it (RFC 9114 §4.1).
func TestServerSmallResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		m := newMemNet(t, handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			_, _ = w.Write(make([]byte, responseBuffer))
			<-free
		}))
		c := m.dial(Options{}, quic.ConnectOptions{})
		st := c.request(requestBlock("GET", "/"), StreamHooks{})
		synctest.Wait()
		if n := st.QUIC().Readable(); n != 0 {
			t.Errorf("%d bytes are there before the handler returns", n)
		}
		close(free)
		h, body := response(t, st)
		wantStatus(t, h, "201")
		if len(body) != responseBuffer || h.Get("content-length") != "4096" {
			t.Errorf("%v and %d bytes", h, len(body))
		}
	})
}
