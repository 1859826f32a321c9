// Package stream is RFC 9000 §2-§4 without the frames: the sending half and
// the receiving half of a stream, their state tables, the flow-control windows,
// and the chunks of memory that stream bytes wait in.
//
// Nothing here locks: one owner calls everything. The halves live by value
// inside the owner's stream and must not be copied once initialized.
package stream

// Classes are the sizes of chunks, in bytes, ascending. The index of a size is
// its class.
var Classes = [...]int{1 << 10, 4 << 10, 16 << 10, 64 << 10}

// MaxChunk is the size of the largest chunk, in bytes.
const MaxChunk = 64 << 10 // no limit: a size of ours

const minChunk = 1 << 10

// Chunk is a piece of stream memory. Len(Data) is the size of its class, and
// whoever got it from a Pool owns it until Put.
type Chunk struct {
	Data []byte

	next *Chunk
	off  int64 // stream offset of Data[0]
	n    int   // bytes from off that are written (sending) or that may be (receiving)
	idle bool  // in a List
}

// NewChunk allocates a chunk of the given class, an index into Classes.
func NewChunk(class int) *Chunk { return &Chunk{Data: make([]byte, Classes[class])} }

// Class returns the chunk's class, an index into Classes.
func (c *Chunk) Class() int { return ClassOf(len(c.Data)) }

// end returns the stream offset behind the bytes that the chunk holds or may hold.
func (c *Chunk) end() int64 { return c.off + int64(c.n) }

// ClassOf returns the smallest class that holds size bytes, the largest class
// if none does.
func ClassOf(size int) int {
	switch {
	case size <= 1<<10:
		return 0
	case size <= 4<<10:
		return 1
	case size <= 16<<10:
		return 2
	}
	return 3
}

// fit returns the size of the largest chunk that n bytes fill completely, the
// smallest chunk if they fill none.
func fit(n int64) int {
	switch {
	case n >= 64<<10:
		return 64 << 10
	case n >= 16<<10:
		return 16 << 10
	case n >= 4<<10:
		return 4 << 10
	}
	return minChunk
}

// Pool is where chunks come from and go back to.
type Pool interface {
	// Get returns a chunk of class ClassOf(size). What its Data holds is undefined.
	Get(size int) *Chunk
	// Put takes a chunk back. The caller keeps no reference into it.
	Put(*Chunk)
}

// List is a Pool for a single owner: a free list for each class. It keeps all
// chunks that were ever in use at one time. The zero List is ready.
type List struct {
	free        [len(Classes)]*Chunk
	outstanding int
	bytes       int
}

// Get returns a free chunk of class ClassOf(size), a new one if there is none.
func (l *List) Get(size int) *Chunk {
	class := ClassOf(size)
	l.outstanding++
	l.bytes += Classes[class]
	c := l.free[class]
	if c == nil {
		return NewChunk(class)
	}
	l.free[class], c.next, c.idle = c.next, nil, false
	return c
}

// Put makes a chunk free again.
func (l *List) Put(c *Chunk) {
	if c.idle {
		panic("BUG: chunk put back twice")
	}
	class := c.Class()
	l.outstanding--
	l.bytes -= Classes[class]
	c.next, c.idle = l.free[class], true
	l.free[class] = c
}

// Outstanding returns how many chunks are in use: got and not put back.
func (l *List) Outstanding() int { return l.outstanding }

// Bytes returns the memory of the chunks in use, in bytes.
func (l *List) Bytes() int { return l.bytes }
