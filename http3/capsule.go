package http3

import (
	"bufio"
	"io"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// CapsuleType is the type of a capsule (RFC 9297 §3.2).
type CapsuleType uint64

// CapsuleDatagram is the type of a capsule that is an HTTP datagram, where the way has no
// others (RFC 9297 §3.5).
const CapsuleDatagram CapsuleType = 0x00

// AppendCapsule appends a capsule to b. The body of a CONNECT request or response that
// uses the capsule protocol is a sequence of them.
func AppendCapsule(b []byte, t CapsuleType, value []byte) []byte {
	b = varint.Append(varint.Append(b, uint64(t)), uint64(len(value)))
	return append(b, value...)
}

// CapsuleReader takes a body apart into capsules (RFC 9297 §3.2). It keeps no value: what a
// length field promises takes no memory.
type CapsuleReader struct {
	r    *bufio.Reader
	left uint64 // of the present capsule's value
}

// NewCapsuleReader returns a reader of the capsules in r.
func NewCapsuleReader(r io.Reader) *CapsuleReader {
	return &CapsuleReader{r: bufio.NewReaderSize(r, 4<<10)}
}

// Next goes to the next capsule, over what has not been read of the one before, and returns its
// type and the length of its value in bytes. The error is io.EOF behind the last capsule,
// io.ErrUnexpectedEOF within one, which makes the message malformed (RFC 9297 §3.3), or that of
// the reader.
func (c *CapsuleReader) Next() (t CapsuleType, length int64, err error) {
	for c.left > 0 {
		n, err := c.r.Discard(int(min(c.left, 1<<20)))
		c.left -= uint64(n)
		if err != nil {
			return 0, 0, within(err)
		}
	}
	v, err := c.varint()
	if err != nil {
		return 0, 0, err // io.EOF here is the end
	}
	n, err := c.varint()
	if err != nil {
		return 0, 0, within(err)
	}
	c.left = n
	return CapsuleType(v), int64(n), nil
}

// Read reads from the value of the present capsule; io.EOF is its end.
func (c *CapsuleReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(uint64(len(p)), c.left)])
	c.left -= uint64(n)
	if n > 0 {
		err = nil
	}
	return n, within(err)
}

// varint reads an integer of RFC 9000 §16. The error is io.EOF if there is nothing at all.
func (c *CapsuleReader) varint() (uint64, error) {
	first, err := c.r.ReadByte()
	if err != nil {
		return 0, err
	}
	v := uint64(first & 0x3f)
	for range 1<<(first>>6) - 1 {
		next, err := c.r.ReadByte()
		if err != nil {
			return 0, within(err)
		}
		v = v<<8 | uint64(next)
	}
	return v, nil
}

// within is an error in the middle of a capsule.
func within(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
