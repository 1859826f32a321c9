package transport

import (
	"encoding/binary"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
)

// datagramQueue holds application datagrams, first in first out, in chunks of pooled
// memory: behind one another, each after four bytes with its length. It is bounded by
// maxQueuedDatagrams and maxQueuedBytes. The zero datagramQueue is empty.
type datagramQueue struct {
	chunks []*stream.Chunk // the oldest first
	head   int             // of the oldest datagram, in the first chunk
	tail   int             // behind the newest, in the last
	count  int
	bytes  int // of the datagrams alone
}

const (
	entryHeader = 4         // the length, doubled, plus one for a datagram that came early
	noEntry     = 1<<32 - 1 // in its place: the next datagram is in the next chunk
	queueGrows  = 16 << 10  // once a chunk is not enough, larger ones are taken
)

// takes reports whether there is room for a datagram of n bytes.
func (q *datagramQueue) takes(n int) bool {
	return q.count < maxQueuedDatagrams && q.bytes+n <= maxQueuedBytes
}

// push copies a datagram to the end.
func (q *datagramQueue) push(pool stream.Pool, p []byte, early bool) {
	need := entryHeader + len(p)
	if n := len(q.chunks); n == 0 || q.tail+need > len(q.chunks[n-1].Data) {
		size := need
		if n > 0 {
			size = max(need, queueGrows)
			if last := q.chunks[n-1].Data; q.tail+entryHeader <= len(last) {
				binary.BigEndian.PutUint32(last[q.tail:], noEntry)
			}
		}
		q.chunks = append(q.chunks, pool.Get(size))
		q.tail = 0
	}
	b := q.chunks[len(q.chunks)-1].Data[q.tail:]
	word := uint32(len(p)) << 1
	if early {
		word |= 1
	}
	binary.BigEndian.PutUint32(b, word)
	copy(b[entryHeader:], p)
	q.tail += need
	q.count++
	q.bytes += len(p)
}

// peek returns the oldest datagram, which stays the queue's, and whether it came early.
// There must be one.
func (q *datagramQueue) peek() (p []byte, early bool) {
	b := q.chunks[0].Data[q.head:]
	word := binary.BigEndian.Uint32(b)
	return b[entryHeader : entryHeader+word>>1], word&1 != 0
}

// drop takes the oldest datagram out.
func (q *datagramQueue) drop(pool stream.Pool) {
	p, _ := q.peek()
	q.head += entryHeader + len(p)
	q.bytes -= len(p)
	q.count--
	if q.count == 0 {
		q.release(pool)
		return
	}
	first := q.chunks[0].Data
	if q.head+entryHeader <= len(first) && binary.BigEndian.Uint32(first[q.head:]) != noEntry {
		return
	}
	pool.Put(q.chunks[0])
	q.chunks = slices.Delete(q.chunks, 0, 1)
	q.head = 0
}

// release drops all datagrams and gives the memory back.
func (q *datagramQueue) release(pool stream.Pool) {
	for i, ch := range q.chunks {
		pool.Put(ch)
		q.chunks[i] = nil
	}
	*q = datagramQueue{chunks: q.chunks[:0]}
}
