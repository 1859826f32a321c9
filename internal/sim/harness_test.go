package sim

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// The watch over runs is itself watched: each rule is broken once.

func testWorld(up, down []Node, setup Setup) (*World, *Endpoint, *Endpoint) {
	w := NewWorld(seed)
	s, c := w.Listen("server", server, setup), w.Endpoint("client", client, setup)
	w.Net.Link(client, server, up, down)
	return w, s, c
}

func wantFailure(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one with %q", err, text)
	}
}

func batchTo(to netip.AddrPort, size int) *dgram.Batch {
	b := dgram.NewBatch(make([]byte, 0, size))
	b.Path = dgram.Path{Local: server, Remote: to}
	b.Next(size)
	b.Commit(size)
	return b
}

func TestWatchFindsAmplification(t *testing.T) {
	w, s, _ := testWorld(nil, nil, Setup{})
	s.watchIn(&dgram.Datagram{Data: make([]byte, 100), Path: back})
	s.watchOut(batchTo(client, 300))
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
	s.watchOut(batchTo(client, 1))
	wantFailure(t, w.Err(), "301 bytes to 10.0.0.1:50000, which has sent 100")
}

func TestGuardFindsIdleCalls(t *testing.T) {
	w, _, c := testWorld(nil, nil, Setup{})
	x := c.Connect(server)
	for range maxIdle {
		x.guard.advanced(x)
	}
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
	x.guard.advanced(x)
	wantFailure(t, w.Err(), "does nothing")
}

// connected returns a world whose client has a confirmed connection.
func connected(t *testing.T) (*World, *Session) {
	w, _, c := testWorld([]Node{Delay(time.Millisecond, 0)}, []Node{Delay(time.Millisecond, 0)}, Setup{})
	x := c.Connect(server)
	if err := w.Run(time.Second, func() bool { return x.Confirmed }); err != nil {
		t.Fatal(err)
	}
	return w, x
}

func TestEarFindsOveruse(t *testing.T) {
	params := DefaultParameters()
	for _, tc := range []struct {
		name string
		fine func(a *ear, x *Session)
		bad  func(a *ear, x *Session)
	}{
		{"stream data",
			func(a *ear, x *Session) { a.use(x, 0, params.MaxStreamDataBidiRemote) },
			func(a *ear, x *Session) { a.use(x, 0, params.MaxStreamDataBidiRemote+1) }},
		{"all data",
			func(a *ear, x *Session) {
				for i := range params.MaxData / 200_000 {
					a.use(x, 4*i, 200_000)
				}
			},
			func(a *ear, x *Session) { a.use(x, 400, 200_000) }},
		{"streams",
			func(a *ear, x *Session) { a.use(x, 4*99+2, 1) },
			func(a *ear, x *Session) { a.use(x, 4*100+2, 1) }},
		{"streams after a grant",
			func(a *ear, x *Session) {
				x.Peer.ear.frame(x.Peer, wire.MaxStreams{Max: 101}, nil, client)
				a.use(x, 4*100, 1)
			},
			func(a *ear, x *Session) { a.use(x, 4*101, 1) }},
	} {
		w, x := connected(t)
		if tc.fine(&x.ear, x); w.Err() != nil {
			t.Errorf("%s: %v", tc.name, w.Err())
		}
		tc.bad(&x.ear, x)
		wantFailure(t, w.Err(), "but the peer allows")
	}
}

func TestFinishFindsLeftovers(t *testing.T) {
	w, x := connected(t)
	wantFailure(t, w.Finish(), "is not gone")
	w.err = nil
	for _, s := range []*Session{x, x.Peer} {
		s.Do(func(c *transport.Conn, now mono.Time) { c.Destroy(now) })
	}
	if err := w.Finish(); err != nil {
		t.Error(err)
	}
	x.End.Pool.Get(1)
	wantFailure(t, w.Finish(), "1 chunks")
}

// A byte that changes on the way, as none can under real protection, keeps the
// engines from agreeing.
func TestScript(t *testing.T) {
	type message struct {
		level transport.Level
		data  []byte
	}
	for _, damaged := range []int{-1, 0, 1, 2, 3, 4, 5} {
		fill := func(b []byte) { clear(b) }
		ends := [2]Engine{Script{Seed: 1, Suite: 0x1302, Early: true}.New(false, fill), Script{Seed: 1, Suite: 0x1303, Early: true}.New(true, fill)}
		var done, failed, count int
		var queue [2][]message
		pump := func(i int) {
			for ev, ok := ends[i].Next(); ok; ev, ok = ends[i].Next() {
				switch ev.Kind {
				case transport.TLSWriteData:
					if count == damaged {
						ev.Data[len(ev.Data)-1] ^= 1
					}
					count++
					queue[1-i] = append(queue[1-i], message{ev.Level, ev.Data})
				case transport.TLSDone:
					done++
				case transport.TLSError:
					failed++
				}
			}
		}
		for i, e := range ends {
			e.Start(func() []byte { return []byte{byte(i)} })
			pump(i)
		}
		for len(queue[0])+len(queue[1]) > 0 {
			for i := range queue {
				for len(queue[i]) > 0 {
					m := queue[i][0]
					queue[i] = queue[i][1:]
					ends[i].Handle(m.level, m.data[:1])
					ends[i].Handle(m.level, m.data[1:])
					pump(i)
				}
			}
		}
		if whole := damaged < 0; whole != (done == 2) || whole != (failed == 0) {
			t.Errorf("message %d damaged: %d ends done, %d failed", damaged, done, failed)
		}
	}
}
