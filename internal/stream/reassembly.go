package stream

import (
	"slices"
	"sort"

	"github.com/cinnabar-quic/cinnabar/internal/ranges"
)

// How chunks are chosen. Every chunk stands for a piece of the stream's offset
// space, and no two overlap. One that continues received bytes starts where
// they end, and is no larger than their run: so a bulk transfer that the reader
// lags behind soon uses the largest chunks, while half of the memory is always
// in use. One for bytes beyond a hole is of the smallest size, and starts at a
// multiple of that size unless a chunk is in the way: so tiny frames at far
// offsets share chunks if they are near each other, and cost flow-control
// credit if they are not. Memory is within twice the offsets between read and
// highest, plus one smallest chunk at each end. A reader that stops in the
// middle of a large chunk can make that five times; shrink sees to it that it
// is no more.

// inOrder takes the bytes that start at r.end.
func (r *Recv) inOrder(data []byte) {
	for len(data) > 0 {
		start, n := r.end, int64(len(data))
		if len(r.got) > 0 {
			n = min(n, r.got[0].Start-start)
		}
		r.extend(r.deliver(data[:n]))
		r.absorb()
		data = data[min(int64(len(data)), r.end-start):]
	}
}

// deliver copies bytes that start at r.end to a waiting reader if none are
// buffered before them, and returns the others.
func (r *Recv) deliver(data []byte) []byte {
	if r.filled == len(r.reader) || r.read < r.end {
		return data
	}
	n := copy(r.reader[r.filled:], data)
	r.filled += n
	r.read += int64(n)
	r.end += int64(n)
	r.came += int64(n)
	if r.head != nil {
		r.tidy() // it holds bytes behind a hole, which are fewer now than they were
	}
	return data[n:]
}

// extend appends bytes at r.end, none of which is here yet. It may leave the
// last of them in chunks that are to be promoted.
func (r *Recv) extend(data []byte) {
	for len(data) > 0 {
		c := r.tail
		if c == nil || r.end >= c.end() {
			c = r.chunkAt(r.end, r.end-r.read, len(data))
		}
		n := copy(c.Data[r.end-c.off:c.n], data)
		r.end += int64(n)
		r.came += int64(n)
		data = data[n:]
	}
}

// absorb lets end pass the bytes beyond it that are no longer behind a hole.
func (r *Recv) absorb() {
	k := 0
	for k < len(r.got) && r.got[k].Start <= r.end {
		r.end = max(r.end, r.got[k].End)
		k++
	}
	if k > 0 {
		r.got.DropFirst(len(r.got) - k)
		shed(&r.got)
	}
	r.promote()
}

// promote moves the chunks that end has reached to the contiguous list.
func (r *Recv) promote() {
	k := 0
	for k < len(r.ahead) && r.ahead[k].off <= r.end {
		r.link(r.ahead[k])
		k++
	}
	if k > 0 {
		r.ahead = slices.Delete(r.ahead, 0, k)
		if len(r.ahead) == 0 && cap(r.ahead) > 64 {
			r.ahead = nil
		}
	}
}

// link puts a chunk behind the tail.
func (r *Recv) link(c *Chunk) {
	if r.tail == nil {
		r.head = c
	} else {
		r.tail.next = c
	}
	r.tail = c
}

// outOfOrder takes the bytes at off, beyond r.end.
func (r *Recv) outOfOrder(off int64, data []byte) {
	end := off + int64(len(data))
	i := behind(r.got, off)
	for at := off; at < end; i++ {
		stop := end
		if i < len(r.got) {
			stop = min(stop, r.got[i].Start)
		}
		if at < stop {
			var run int64
			if i > 0 && r.got[i-1].End == at {
				run = r.got[i-1].Len()
			}
			r.place(at, data[at-off:stop-off], run)
		}
		if i < len(r.got) {
			at = max(stop, r.got[i].End)
		} else {
			at = end
		}
	}
	r.got.Add(off, end)
}

// place copies bytes that are not here yet to their chunks. Run is how many
// bytes are here directly before them.
func (r *Recv) place(off int64, data []byte, run int64) {
	for len(data) > 0 {
		c := r.chunkAt(off, run, len(data))
		n := copy(c.Data[off-c.off:c.n], data)
		r.came += int64(n)
		data = data[n:]
		off += int64(n)
		run += int64(n)
	}
}

// chunkAt returns the chunk for the byte at off, at or beyond r.end: a new one
// if there is none yet, chosen for n bytes that follow a run of received ones.
func (r *Recv) chunkAt(off, run int64, n int) *Chunk {
	if c := r.tail; c != nil && off < c.end() {
		return c
	}
	i := len(r.ahead)
	if i > 0 && off < r.ahead[i-1].end() {
		i = sort.Search(i-1, func(i int) bool { return off < r.ahead[i].end() })
		if c := r.ahead[i]; c.off <= off {
			return c
		}
	}
	start := r.end
	if i > 0 {
		start = r.ahead[i-1].end()
	} else if r.tail != nil {
		start = r.tail.end()
	}
	start = max(start, off&^(minChunk-1))
	size := run + int64(n)
	room := int64(MaxChunk)
	if i < len(r.ahead) {
		room = min(room, r.ahead[i].off-start)
	}
	c := r.pool.Get(fit(min(size, room)))
	c.off, c.n = start, int(min(int64(len(c.Data)), room))
	if start <= r.end {
		r.link(c)
	} else {
		r.ahead = slices.Insert(r.ahead, i, c)
	}
	return c
}

// shrink moves what a chunk holds to a smaller one if it is at most a quarter of
// the chunk, unless there is twice as much elsewhere. At least twice as much was
// read since the chunk was got, which bounds the cost.
func (r *Recv) shrink(c *Chunk) {
	size := int64(len(c.Data))
	from, to := max(r.read, c.off), min(r.highest, c.end())
	if size == minChunk || to-from > size/4 || r.highest-r.read > size/2 {
		return
	}
	small := r.pool.Get(int(to - from))
	n := copy(small.Data, c.Data[from-c.off:to-c.off])
	c.Data, small.Data = small.Data, c.Data
	c.off = from
	if c == r.tail {
		n = len(c.Data)
		if len(r.ahead) > 0 {
			n = int(min(int64(n), r.ahead[0].off-from))
		}
	}
	c.n = n
	r.pool.Put(small)
}

// behind returns the index of the first range that ends after off.
func behind(set ranges.Set, off int64) int {
	if n := len(set); n == 0 || set[n-1].End <= off {
		return n
	}
	return sort.Search(len(set), func(i int) bool { return set[i].End > off })
}
