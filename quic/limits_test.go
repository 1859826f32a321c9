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

// Streams that the peer may have open by default.
func TestDefaultStreams(t *testing.T) {
	bidi, uni := limits.Bound(t, "streams-bidi"), limits.Bound(t, "streams-uni")
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		for _, end := range []*Session{&p.client.Session, &p.server.Session} {
			for _, kind := range []struct {
				half bool
				most int
			}{{false, bidi}, {true, uni}} {
				for i := range kind.most + 1 {
					if _, err := end.TryOpenStream(StreamOptions{HalfOpen: kind.half}); (err != nil) != (i == kind.most) {
						t.Fatalf("half open %v: stream %d: %v", kind.half, i, err)
					}
				}
			}
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

// What a peer may send by default that nobody reads: on a stream, and on all of them.
func TestDefaultCredit(t *testing.T) {
	all, each := limits.Bound(t, "session-credit"), limits.Bound(t, "stream-credit")
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: time.Hour})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: time.Hour})
		for left := all; ; left -= each {
			st, err := p.client.TryOpenStream(StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = st.Write(make([]byte, 2*each)) }()
			time.Sleep(time.Minute)
			if left <= 0 {
				break
			}
			got, err := p.server.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := got.Stats().BytesReceived; n != uint64(min(left, each)) {
				t.Errorf("%d bytes of a stream have come, with %d left for all", n, left)
			}
		}
		if n := p.server.Stats().BidiStreamCount; n != uint64(all/each) {
			t.Errorf("%d streams have come", n)
		}
	})
}
