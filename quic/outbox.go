package quic

import (
	"net"
	"sync"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// What may wait for a foreign PacketConn; more is dropped and counted, as a full
// socket buffer would.
const (
	outboxBytes   = 1 << 20
	outboxBatches = 4096
)

// outboxPatience is how long an endpoint that ends gives its PacketConn for the last
// words of its sessions.
const outboxPatience = 100 * time.Millisecond // no limit: a time of ours

// outbox stands before a udp.Conn whose Send may wait or run the program's code: that
// happens on the outbox's own goroutine, without locks, and holds up no reader.
type outbox struct {
	conn udp.Conn
	wake chan struct{} // one slot
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	queue   outgoing
	spare   outgoing // the queue before, emptied
	awake   bool
	closed  bool // nothing is taken any more
	gone    bool // nothing is sent any more
	dropped uint64
}

// outgoing is a run of batches in one piece of memory.
type outgoing struct {
	data    []byte
	batches []outgoingBatch
}

type outgoingBatch struct {
	path    dgram.Path
	ecn     dgram.ECN
	segment int
	size    int // in data, behind the one before
}

func newOutbox(c udp.Conn) *outbox {
	o := &outbox{conn: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go o.run()
	return o
}

// push takes a copy of the batch, or drops it.
func (o *outbox) push(b *dgram.Batch) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	q, size := &o.queue, len(b.Bytes())
	switch {
	case o.closed:
		return net.ErrClosed
	case len(q.data)+size > outboxBytes || len(q.batches) == outboxBatches:
		o.dropped++
		return nil // lost, as it could be anywhere further on
	}
	q.data = append(q.data, b.Bytes()...)
	q.batches = append(q.batches, outgoingBatch{b.Path, b.ECN, b.SegmentSize(), size})
	o.rouse()
	return nil
}

// rouse makes the goroutine look.
func (o *outbox) rouse() {
	if !o.awake {
		o.awake = true
		o.wake <- struct{}{}
	}
}

// run sends until the outbox is closed and empty, or gone.
func (o *outbox) run() {
	defer close(o.done)
	scratch := dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))
	for {
		<-o.wake
		for {
			q, ok := o.take()
			if !ok {
				return
			}
			if len(q.batches) == 0 {
				break
			}
			o.send(q, scratch)
		}
	}
}

// take returns what is queued. It reports false at the end.
func (o *outbox) take() (outgoing, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queue
	o.queue = outgoing{o.spare.data[:0], o.spare.batches[:0]}
	o.spare = q
	o.awake = len(q.batches) > 0
	return q, !o.gone && (o.awake || !o.closed)
}

func (o *outbox) send(q outgoing, scratch *dgram.Batch) {
	for _, b := range q.batches {
		data := q.data[:b.size]
		q.data = q.data[b.size:]
		scratch.Reset()
		scratch.Path, scratch.ECN = b.path, b.ecn
		for more := true; more; more = len(data) > 0 {
			n := min(b.segment, len(data))
			copy(scratch.Next(n)[:n], data)
			scratch.Commit(n)
			data = data[n:]
		}
		o.mu.Lock()
		gone := o.gone
		o.mu.Unlock()
		if gone {
			return
		}
		_ = o.conn.Send(scratch) // it counts its errors
	}
}

// close takes nothing more, and lets what there is leave if that does not take long.
// A WriteTo that waits then is left to the conn's Close.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.rouse()
	o.mu.Unlock()
	patience := time.NewTimer(outboxPatience)
	defer patience.Stop()
	select {
	case <-o.done:
	case <-patience.C:
	}
	o.mu.Lock()
	o.gone = true
	o.mu.Unlock()
}

// drops returns how many batches found no room.
func (o *outbox) drops() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}
