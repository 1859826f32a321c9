package http3

import (
	"container/heap"
	"sync"
)

// Bounds on datagrams that nobody has received yet: for one more an older one is dropped.
const (
	maxQueuedDatagrams  = 128       // of one stream
	maxEarlyDatagrams   = 32        // of a session, for requests that do not use datagrams yet
	maxWaitingDatagrams = 1024      // of a session: of its streams and these, together
	maxWaitingBytes     = 512 << 10 // of them
)

// datagrams is what a session knows of HTTP datagrams (RFC 9297), and those that wait. What has to
// go for a newer one is the oldest of the queue that holds the most: so a stream that does not receive
// takes from others what they do not need, and nothing else. Its lock is a leaf.
type datagrams struct {
	mu      sync.Mutex
	queues  map[int64]*datagramQueue // of the streams that use them
	early   datagramQueue            // of streams that have not said so: the request may still be on its way
	fullest fullest
	count   int // in all queues
	bytes   int // of their payloads
}

// datagramQueue holds what has come for a stream.
type datagramQueue struct {
	first, last  *heldDatagram
	count, bytes int
	place        int           // in fullest, if something is here
	changed      chan struct{} // closed when something comes, or a hook takes it; nil while nobody waits
	of           *Stream       // whose it is; nil for early ones
	st           *Stream       // whose hook is given what comes; nil without such a hook
}

// heldDatagram is one that waits, and the one behind it.
type heldDatagram struct {
	id   int64 // of its stream
	p    []byte
	next *heldDatagram
}

// add puts a datagram at the end of a queue that may hold so many, and returns how many others had to go for it.
func (d *datagrams) add(q *datagramQueue, most int, h *heldDatagram) (dropped uint64) {
	if q.count == most {
		d.take(q)
		dropped++
	}
	for d.count > 0 && (d.count == maxWaitingDatagrams || d.bytes+len(h.p) > maxWaitingBytes) {
		d.take(d.fullest[0])
		dropped++
	}
	d.put(q, h)
	return dropped
}

// put puts a datagram at the end of a queue.
func (d *datagrams) put(q *datagramQueue, h *heldDatagram) {
	if q.count == 0 {
		q.first = h
	} else {
		q.last.next = h
	}
	q.last = h
	q.count, q.bytes = q.count+1, q.bytes+len(h.p)
	d.count, d.bytes = d.count+1, d.bytes+len(h.p)
	if q.count == 1 {
		heap.Push(&d.fullest, q)
	} else {
		heap.Fix(&d.fullest, q.place)
	}
}

// take takes the oldest datagram out of a queue that has one.
func (d *datagrams) take(q *datagramQueue) *heldDatagram {
	h := q.first
	q.first, h.next = h.next, nil
	q.count, q.bytes = q.count-1, q.bytes-len(h.p)
	d.count, d.bytes = d.count-1, d.bytes-len(h.p)
	if q.count == 0 {
		q.last = nil
		heap.Remove(&d.fullest, q.place)
	} else {
		heap.Fix(&d.fullest, q.place)
	}
	return h
}

// pop takes the oldest datagram out of a queue.
func (d *datagrams) pop(q *datagramQueue) (p []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.count == 0 {
		return nil, false
	}
	return d.take(q).p, true
}

// popOrWait takes the oldest datagram, or returns a channel that is closed when another look is
// worth while.
func (d *datagrams) popOrWait(q *datagramQueue) (p []byte, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.count > 0 {
		return d.take(q).p, nil
	}
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return nil, q.changed
}

// use returns the queue of a stream. If it is new, what has come early moves there; adopted is how many.
func (d *datagrams) use(st *Stream, id int64) (q *datagramQueue, isNew bool, adopted uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queues[id]; q != nil {
		return q, false, 0
	}
	q = &datagramQueue{of: st}
	if d.queues == nil {
		d.queues = make(map[int64]*datagramQueue)
	}
	d.queues[id] = q
	for range d.early.count { // once round, so that the others keep their order
		h := d.take(&d.early)
		if h.id == id {
			d.put(q, h)
		} else {
			d.put(&d.early, h)
		}
	}
	return q, true, uint64(q.count)
}

// forget drops what waits at a stream that is over, and returns how many these were.
func (d *datagrams) forget(id int64) (dropped uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queues[id]
	delete(d.queues, id)
	for q != nil && q.count > 0 {
		d.take(q)
		dropped++
	}
	return dropped
}

// held returns how many bytes wait.
func (d *datagrams) held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
}

// wake lets those look again who wait.
func (q *datagramQueue) wake() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// weight is how much a queue holds: its bytes, and for each datagram as many more as make the
// session's two bounds weigh alike.
func (q *datagramQueue) weight() int {
	return q.bytes + q.count*(maxWaitingBytes/maxWaitingDatagrams)
}

// fullest is a heap of the queues that hold something. The one that holds the most is the first.
type fullest []*datagramQueue

func (f fullest) Len() int           { return len(f) }
func (f fullest) Less(i, j int) bool { return f[i].weight() > f[j].weight() }

func (f fullest) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].place, f[j].place = i, j
}

// Push appends a queue, for package heap.
func (f *fullest) Push(q any) {
	queue := q.(*datagramQueue)
	queue.place = len(*f)
	*f = append(*f, queue)
}

// Pop takes the last one off, for package heap.
func (f *fullest) Pop() any {
	n := len(*f) - 1
	q := (*f)[n]
	(*f)[n] = nil
	*f = (*f)[:n]
	return q
}
