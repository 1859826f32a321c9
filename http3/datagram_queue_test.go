package http3

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// datagramServer is a session to which datagrams come, without anything else.
type datagramServer struct{ *Session }

// newDatagramServer returns one whose first streams use them.
func newDatagramServer(t testing.TB, streams int) datagramServer {
	t.Helper()
	s := datagramServer{&Session{q: newPair(t, Options{}, Options{}).server.q, server: true, life: life{sent: -1, received: -1}}}
	for i := range streams {
		s.datagrams.use(nil, int64(4*i))
	}
	return s
}

// datagram brings one for the stream of a number from 0.
func (s datagramServer) datagram(t testing.TB, stream int, payload []byte) {
	t.Helper()
	if f := s.onDatagram(append(num(uint64(stream)), payload...)); f != nil {
		t.Fatal(f.reason)
	}
}

// waiting takes what waits at a stream.
func (s datagramServer) waiting(stream int) (all [][]byte) {
	q, _, _ := s.datagrams.use(nil, int64(4*stream))
	for {
		p, ok := s.datagrams.pop(q)
		if !ok {
			return all
		}
		all = append(all, p)
	}
}

// Streams that do not receive cannot keep others from their datagrams, whether they are flooded with few large
// ones or with many small ones: it is their own that go.
func TestDatagramsDoNotStarve(t *testing.T) {
	for _, size := range []int{0, 1, 1200, 60_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const honest, streams, each = 10, 20, 10 // it takes more than eight to fill the session
			s := newDatagramServer(t, streams)
			flood := func() {
				for range maxQueuedDatagrams {
					for st := honest; st < streams; st++ {
						s.datagram(t, st, make([]byte, size))
					}
				}
			}
			flood()
			var want [][]byte
			for i := range each {
				p := bytes.Repeat([]byte{byte(i)}, 100)
				want = append(want, p)
				for st := range honest {
					s.datagram(t, st, p)
				}
				s.datagram(t, honest, make([]byte, size))
			}
			flood()
			for st := range honest {
				if got := s.waiting(st); !slices.EqualFunc(got, want, bytes.Equal) {
					t.Fatalf("%d datagrams wait at stream %d, want %d", len(got), st, each)
				}
			}
			if s.datagrams.count == 0 {
				t.Error("nothing waits at the streams that are flooded")
			}
		})
	}
}

// The queues against what they are to be: in order, within the bounds, and the one that holds the most first.
func TestDatagramQueuesAddUp(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := newDatagramServer(t, 0)
	d := &s.datagrams
	s.opts.Datagrams = true
	came := uint64(0)
	last := map[int64]uint64{} // number of the datagram that was taken last, by stream
	for i := range 50_000 {
		stream := rnd.IntN(30)
		id := int64(4 * stream)
		switch n := rnd.IntN(100); {
		case n < 70:
			came++
			p := fmt.Appendf(nil, "%08d", came)
			s.datagram(t, stream, append(p, make([]byte, rnd.IntN(1<<rnd.IntN(16)))...))
			s.useful.refill()
		case n < 75:
			d.use(nil, id)
		case n < 76:
			s.forgetDatagrams(id)
		case d.queues[id] != nil:
			p, ok := d.pop(d.queues[id])
			var number uint64
			if ok {
				_, err := fmt.Sscanf(string(p[:8]), "%d", &number)
				must(t, err)
			}
			if ok && number <= last[id] {
				t.Fatalf("seed %d, step %d: datagram %d of stream %d comes behind %d", seed, i, number, stream, last[id])
			}
			last[id] = max(last[id], number)
		}
		count, bytes, most := d.early.count, d.early.bytes, d.early.weight()
		for _, q := range d.queues {
			count, bytes, most = count+q.count, bytes+q.bytes, max(most, q.weight())
		}
		if count != d.count || bytes != d.bytes || count > maxWaitingDatagrams || bytes > maxWaitingBytes {
			t.Fatalf("seed %d, step %d: %d wait with %d bytes, counted are %d with %d", seed, i, count, bytes, d.count, d.bytes)
		}
		if count > 0 && d.fullest[0].weight() != most {
			t.Fatalf("seed %d, step %d: the first of the queues weighs %d, the heaviest %d", seed, i, d.fullest[0].weight(), most)
		}
	}
	if s.stats.datagramsDropped.Load() == 0 {
		t.Errorf("seed %d: nothing was dropped", seed)
	}
}

// A stream that is over takes its datagrams along.
func TestDatagramsAreForgotten(t *testing.T) {
	p := newPairOn(t, withDatagrams, withDatagrams, quic.ListenOptions{MaxDatagramFrameSize: 65535}, quic.ConnectOptions{MaxDatagramFrameSize: 65535})
	client, server := p.tunnel(t)
	swap(t, testContext(t), client, server, "first")
	_, err := client.SendDatagram(make([]byte, 1000))
	must(t, err)
	eventually(t, func() bool { return p.server.Stats().DatagramsHeld == 1000 })
	client.cancel(RequestCancelled)
	server.cancel(RequestCancelled)
	eventually(t, func() bool { return p.server.Stats().DatagramsHeld == 0 })
	if n := p.server.Stats().DatagramsDropped; n != 1 {
		t.Errorf("%d were dropped, want 1", n)
	}
}

// A datagram that was early when it came, and is not any more when it is put somewhere, is its stream's.
func TestDatagramEarlyNoMore(t *testing.T) {
	s := newDatagramServer(t, 1)
	if f := s.earlyDatagram(&heldDatagram{id: 0, p: []byte("x")}); f != nil {
		t.Fatal(f.reason)
	}
	if got := s.waiting(0); len(got) != 1 || s.datagrams.early.count != 0 || s.stats.datagramsReceived.Load() != 1 {
		t.Errorf("%d wait at the stream, %d early", len(got), s.datagrams.early.count)
	}
}
