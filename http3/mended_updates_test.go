package http3

import (
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// late is a server's session whose requests come when the test says so, and not when their goroutines run.
type late struct {
	testing.TB
	*Session
	client *quic.ClientSession
	fresh  chan *quic.Stream
	taken  chan *Stream
}

func newLate(t *testing.T) *late {
	ctx := testContext(t)
	l := &late{TB: t, fresh: make(chan *quic.Stream), taken: make(chan *Stream, 1)}
	made := make(chan *Session, 1)
	socket, err := quic.Listen(ctx, "127.0.0.1:0", quic.ListenOptions{ALPN: ALPN, TLS: serverTLS(), MaxStreamsUni: 16, Handler: func(q *quic.ServerSession) error {
		s, err := newSession(&q.Session, Options{}, func(st *Stream) { l.taken <- st })
		q.HandleStreams(func(st *quic.Stream) { l.fresh <- st })
		made <- s
		return err
	}})
	must(t, err)
	t.Cleanup(func() { socket.Destroy(nil) })
	l.client, err = quic.Dial(ctx, socket.Address().String(), quic.ConnectOptions{ALPN: ALPN, TLS: clientTLS()})
	must(t, err)
	t.Cleanup(func() { l.client.Destroy(nil) })
	l.Session = <-made
	return l
}

// open opens a request, and returns both ends of its stream.
func (l *late) open() (client, server *quic.Stream) {
	l.Helper()
	client, err := l.client.OpenStream(testContext(l), quic.StreamOptions{})
	must(l, err)
	_, err = client.Write(get())
	must(l, err)
	return client, <-l.fresh
}

func (l *late) tell(id int64, value string) {
	l.Helper()
	l.useful.refill()
	if f := l.onPriorityUpdate(framePriorityStream, append(num(uint64(id)), value...)); f != nil {
		l.Fatal(f.reason)
	}
}

func (l *late) want(q *quic.Stream, urgency int) {
	l.Helper()
	if u, _ := q.Priority(); u != urgency {
		l.Errorf("stream %d has an urgency of %d, want %d", q.ID(), u, urgency)
	}
}

// wantKept says how many priorities wait for their requests.
func (l *late) wantKept(n int) {
	l.Helper()
	if len(l.updates) != n {
		l.Errorf("%d priorities are kept, want %d: %v", len(l.updates), n, l.updates)
	}
}

// Goroutines take requests in any order. A priority for one that has been overtaken is for it all the same
// (RFC 9218 §7.1), and none is kept for requests that are over or will not be taken.
func TestUpdateOfRequestOvertaken(t *testing.T) {
	l := newLate(t)
	client0, q0 := l.open()
	_, q4 := l.open()
	l.onRequest(q4)
	<-l.taken
	l.tell(0, "u=1")
	l.wantKept(1)
	l.onRequest(q0)
	st := <-l.taken
	l.want(q0, 1)
	st.prioritize(block("priority", "u=6")) // what the request says itself is older
	l.want(q0, 1)
	l.wantKept(0)
	l.tell(0, "u=2")
	l.want(q0, 2)

	client0.Reset(uint64(RequestCancelled))
	st.cancel(RequestCancelled)
	eventually(t, func() bool { return l.stream(0) == nil })
	l.tell(0, "u=3") // it is over
	l.wantKept(0)

	l.tell(8, "u=1")
	l.tell(12, "u=1")
	l.wantKept(2)
	l.GoAway()
	for _, left := range []int{1, 0} {
		_, q := l.open()
		l.onRequest(q) // too late
		l.wantKept(left)
		l.tell(q.ID(), "u=1")
		l.tell(16, "u=1") // or never
		l.wantKept(left)
	}
}

// A request that comes while its priority does has that: the update is never lost, and the latest holds.
func TestUpdateWhileRequestComes(t *testing.T) {
	l := newLate(t)
	for range 200 {
		client, q := l.open()
		var both sync.WaitGroup
		both.Go(func() { l.onRequest(q) })
		for _, u := range []string{"u=5", "u=6", "u=1"} {
			l.tell(q.ID(), u)
		}
		both.Wait()
		l.want(q, 1)
		client.Reset(uint64(RequestCancelled))
		(<-l.taken).cancel(RequestCancelled)
	}
	l.wantKept(0)
}

// A request's own priority does not undo an update that comes while its header block is read.
func TestUpdateWhileHeadersAreRead(t *testing.T) {
	l := newLate(t)
	_, q := l.open()
	l.onRequest(q)
	st := <-l.taken
	for range 20_000 {
		st.mu.Lock()
		st.updated = false
		st.mu.Unlock()
		var both sync.WaitGroup
		both.Go(func() { st.prioritize(block("priority", "u=6")) })
		l.tell(0, "u=1")
		both.Wait()
		if l.want(q, 1); t.Failed() {
			return
		}
	}
}
