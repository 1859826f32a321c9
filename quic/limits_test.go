package quic

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// What waits for a program's PacketConn, in bytes and in batches.
func TestOutboxBounds(t *testing.T) {
	for _, try := range []struct{ most, size int }{
		{limits.Bound(t, "outbox-bytes") / 1024, 1024},
		{limits.Bound(t, "outbox-batches"), 1},
	} {
		o := &outbox{wake: make(chan struct{}, 1)} // nobody sends
		b := dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))
		b.Commit(len(b.Next(try.size)[:try.size]))
		for range try.most {
			if err := o.push(b); err != nil || o.drops() != 0 {
				t.Fatalf("batches of %d bytes: %v, %d dropped", try.size, err, o.drops())
			}
		}
		if err := o.push(b); err != nil || o.drops() != 1 || len(o.queue.batches) != try.most {
			t.Errorf("%d batches of %d bytes wait: %v, %d dropped", len(o.queue.batches), try.size, err, o.drops())
		}
	}
}

// A log that nobody reads, beyond what is kept of it.
func TestUnreadLog(t *testing.T) {
	most := limits.Bound(t, "log-unread")
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		cs, ss := p.streams(t)
		go func() { _, _ = io.Copy(io.Discard, ss) }()
		piece := make([]byte, 64<<10)
		for n := 0; n < 300 && p.server.Stats().QLogDropped == 0; n++ {
			if _, err := cs.Write(piece); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if p.server.Stats().QLogDropped == 0 {
			t.Error("nothing was dropped")
		}
		log := p.server.QLog()
		_ = p.client.CloseWithError(0, "")
		time.Sleep(time.Minute)
		const told = 1024 // and what the log says of what was dropped, and of the end
		if n, err := io.Copy(io.Discard, log); n > int64(most)+told || n < int64(most)/2 || err != nil {
			t.Errorf("%d bytes were kept, %v", n, err)
		}
	})
}

// So many sessions wait for Accept; one more is refused, and counted.
func TestFullBacklog(t *testing.T) {
	most := limits.Bound(t, "accept-backlog")
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{MaxConnectionsPerHost: 2 * most}, ListenOptions{IdleTimeout: time.Hour})
		defer m.close()
		for i := range most + 1 {
			err := m.connect(ConnectOptions{IdleTimeout: time.Hour}).Handshake(t.Context())
			synctest.Wait() // the server's end is in the queue
			if refused := err != nil; refused != (i == most) {
				t.Fatalf("session %d: %v", i, err)
			}
		}
		if n := m.server.Stats().ServerBusyCount; n != 1 {
			t.Errorf("%d sessions are counted", n)
		}
	})
}

// beyond lets an evil peer of our server, or client, go as far as a limit, and a frame further. It returns the
// code that ends the session, which the socket has counted.
func beyond(t *testing.T, server bool, fill func(e *evilEnd), further wire.Frame) wire.ErrorCode {
	t.Helper()
	return evilRun{after: func(e *evilEnd) {
		ours := e.net.client
		if server {
			ours = e.net.server
		}
		fill(e)
		e.talk()
		if n := ours.Stats().LimitErrors; e.Closed != nil || n != 0 {
			t.Fatalf("at the limit: closed %v, %d errors are counted", e.Closed, n)
		}
		e.send(e.Say(wire.OneRTT, further))
		e.talk()
		if n := ours.Stats().LimitErrors; n != 1 {
			t.Errorf("past the limit: %d errors are counted", n)
		}
	}}.errorOf(t, server)
}

// bothEnds runs a test for a server and a client of ours, with the low bit of the numbers of the peer's streams.
func bothEnds(t *testing.T, test func(t *testing.T, server bool, role int64)) {
	t.Run("server", func(t *testing.T) { test(t, true, 0) })
	t.Run("client", func(t *testing.T) { test(t, false, 1) })
}

// Streams that the peer may have open by default, and one more.
func TestDefaultStreams(t *testing.T) {
	bidi, uni := limits.Bound(t, "streams-bidi"), limits.Bound(t, "streams-uni")
	bothEnds(t, func(t *testing.T, server bool, role int64) {
		for _, kind := range []struct {
			bit  int64
			most int
		}{{0, bidi}, {2, uni}} {
			stream := func(n int) wire.Stream {
				return wire.Stream{ID: int64(4*n) + kind.bit + role, Data: []byte("x"), HasLen: true}
			}
			got := beyond(t, server, func(e *evilEnd) {
				for n := range kind.most {
					e.send(e.Say(wire.OneRTT, stream(n)))
				}
			}, stream(kind.most))
			if got != wire.StreamLimitError {
				t.Errorf("stream %d: closed with %v, want %v", stream(kind.most).ID, got, wire.StreamLimitError)
			}
		}
		stream := func(n int) wire.Stream { return wire.Stream{ID: int64(4*n) + role, Fin: true, HasLen: true} }
		got := beyond(t, server, func(e *evilEnd) {
			for n := range bidi {
				e.done(stream(n).ID)
			}
		}, stream(bidi))
		if got != wire.StreamLimitError {
			t.Errorf("stream %d, behind streams that are over and not taken: closed with %v, want %v", stream(bidi).ID, got, wire.StreamLimitError)
		}
	})
}

// What a program's writer does not take, beyond what is kept of it.
func TestUnwrittenLog(t *testing.T) {
	most := limits.Bound(t, "log-unwritten")
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := writerFunc(func(b []byte) (int, error) {
			<-release
			return len(b), nil
		})
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{QLog: true, QLogWriter: func(*Session) io.Writer { return stuck }}, ListenOptions{})
		defer m.close()
		defer close(release)
		s := m.pair(ConnectOptions{}).server
		record := []byte(`{"time":1,"name":"x","data":{"x":"` + strings.Repeat("x", 1<<20) + "\"}}\n")
		n := 0
		for s.Stats().QLogDropped == 0 && n <= 2*most {
			s.log.put(record, 0)
			n += len(record)
		}
		if n > most+len(record) || n < most-len(record) {
			t.Errorf("an event is dropped after %d bytes", n)
		}
	})
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// What a peer may send by default that nobody reads, on a stream and on all of them, and a byte more.
func TestDefaultCredit(t *testing.T) {
	all, each := limits.Bound(t, "session-credit"), limits.Bound(t, "stream-credit")
	bothEnds(t, func(t *testing.T, server bool, role int64) {
		for _, try := range []struct{ streams, further int }{{1, 0}, {all / each, all / each}} {
			got := beyond(t, server, func(e *evilEnd) {
				for n := range try.streams {
					e.pour(int64(4*n)+role, each)
				}
			}, wire.Stream{ID: int64(4*try.further) + role, Offset: int64(each * (1 - min(try.further, 1))), Data: []byte("x"), HasLen: true})
			if got != wire.FlowControlError {
				t.Errorf("a byte more on stream %d, with %d that are full: closed with %v, want %v", 4*try.further, try.streams, got, wire.FlowControlError)
			}
		}
	})
}

// pour sends so many bytes on a stream.
func (e *evilEnd) pour(id int64, bytes int) {
	for off, left := 0, bytes; left > 0; {
		n := min(left, 1<<10)
		e.send(e.Say(wire.OneRTT, wire.Stream{ID: id, Offset: int64(off), Data: make([]byte, n), HasLen: true}))
		if off, left = off+n, left-n; off%(16<<10) == 0 {
			e.talk()
		}
	}
}
