package quic

import (
	"crypto/rand"
	"sync"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// chunks is the memory of all streams, for all sessions of the process.
var chunks stream.Pool = new(chunkPool)

// chunkPool is a stream.Pool for many goroutines: one pool a size class. It keeps
// bulk transfers, and streams that come and go, from making garbage.
type chunkPool struct {
	classes [len(stream.Classes)]sync.Pool
}

func (p *chunkPool) Get(size int) *stream.Chunk {
	class := stream.ClassOf(size)
	if c, ok := p.classes[class].Get().(*stream.Chunk); ok {
		return c
	}
	return stream.NewChunk(class)
}

func (p *chunkPool) Put(c *stream.Chunk) { p.classes[c.Class()].Put(c) }

// parcel is a run of received datagrams with the slab they lie in. A reader
// fills one, and gives it to a session whole when all of it is for that session and
// the session is busy: ownership moves.
type parcel struct {
	slab []byte
	n    int
	d    [2 * dgram.MaxSegments]dgram.Datagram
	next *parcel
}

// parcels and slabs are pooled because a socket needs one of each for every
// system call that receives, and none while it is silent.
var (
	parcels = sync.Pool{New: func() any { return new(parcel) }}
	slabs   slabPool
)

// put gives the parcel and its slab back.
func (p *parcel) put() {
	if p.slab != nil {
		slabs.Put(p.slab)
	}
	clear(p.d[:p.n])
	p.slab, p.n, p.next = nil, 0, nil
	parcels.Put(p)
}

// add copies a datagram into the parcel, and reports whether there was room.
func (p *parcel) add(d *dgram.Datagram) bool {
	if p.slab == nil {
		p.slab = slabs.Get()[:0]
	}
	if p.n == len(p.d) || len(p.slab)+len(d.Data) > cap(p.slab) {
		return false
	}
	at := len(p.slab)
	p.slab = append(p.slab, d.Data...)
	p.d[p.n] = dgram.Datagram{Data: p.slab[at:len(p.slab):len(p.slab)], Path: d.Path, ECN: d.ECN}
	p.n++
	return true
}

// slabPool is the udp.Slabs of all sockets.
type slabPool struct{ pool sync.Pool }

func (p *slabPool) Get() []byte {
	if s, ok := p.pool.Get().(*[udp.SlabSize]byte); ok {
		return s[:]
	}
	return make([]byte, udp.SlabSize)
}

func (p *slabPool) Put(b []byte) { p.pool.Put((*[udp.SlabSize]byte)(b[:udp.SlabSize])) }

// batches are pooled because a session needs one only while it sends.
var batches = sync.Pool{New: func() any { return dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes)) }}

// random fills b with random bytes.
func random(b []byte) {
	// crypto/rand.Read does not fail: it ends the process where it would have to.
	_, _ = rand.Read(b)
}

// waiter is one call that waits: a read, a write, an accept. Whoever wakes it
// takes it off its queue, fills in the result under the session's lock, and sends
// on ch after letting go of the lock.
type waiter struct {
	ch     chan struct{} // one slot
	next   *waiter
	buf    []byte // read: where to; write: what is left
	n      int
	err    error
	stream *Stream
	server *ServerSession
	chunk  *stream.Chunk // write: n bytes in a piece that the stream is to keep; nil when it has it
}

// waiterPool belongs to a socket and not to the process, because a channel
// must not leave the testing/synctest bubble that it was made in.
type waiterPool struct{ pool sync.Pool }

func (p *waiterPool) get() *waiter {
	if w, ok := p.pool.Get().(*waiter); ok {
		return w
	}
	return &waiter{ch: make(chan struct{}, 1)}
}

func (p *waiterPool) put(w *waiter) {
	*w = waiter{ch: w.ch}
	p.pool.Put(w)
}

// waitQueue is the calls that wait for one thing, first come, first served.
type waitQueue struct{ head, tail *waiter }

func (q *waitQueue) push(w *waiter) {
	w.next = nil
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
}

func (q *waitQueue) pop() *waiter {
	w := q.head
	if w == nil {
		return nil
	}
	if q.head = w.next; q.head == nil {
		q.tail = nil
	}
	w.next = nil
	return w
}

// remove takes w out, and reports whether it was there.
func (q *waitQueue) remove(w *waiter) bool {
	var last *waiter
	for at := q.head; at != nil; last, at = at, at.next {
		if at != w {
			continue
		}
		if last == nil {
			q.head = w.next
		} else {
			last.next = w.next
		}
		if q.tail == w {
			q.tail = last
		}
		w.next = nil
		return true
	}
	return false
}

// release wakes all of the queue, whose results are in place.
func (q *waitQueue) release() {
	for w := q.pop(); w != nil; w = q.pop() {
		w.ch <- struct{}{}
	}
}
