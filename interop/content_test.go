package interop

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// content is a run of pseudo-random bytes that its seed and size say all about.
type content struct {
	seed uint64
	size int64
	half chan struct{} // if not nil, closed when half of it has been written
}

func (c content) reader() io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.seed)
	return io.LimitReader(rand.NewChaCha8(seed), c.size)
}

// sum returns the SHA-256 of the content.
func (c content) sum() [sha256.Size]byte {
	h := sha256.New()
	io.CopyBuffer(struct{ io.Writer }{h}, c.reader(), make([]byte, 64<<10)) // neither fails
	return [sha256.Size]byte(h.Sum(nil))
}

// send writes all of the content and ends the writing side.
func (c content) send(s stream) error {
	// io.Copy would use what the two have to offer beyond Read and Write, which is
	// not the same for all stacks.
	buf, w, r := make([]byte, 64<<10), struct{ io.Writer }{s}, c.reader()
	n, err := io.CopyBuffer(w, io.LimitReader(r, c.size/2), buf)
	if err == nil {
		if c.half != nil {
			close(c.half)
		}
		var more int64
		more, err = io.CopyBuffer(w, r, buf)
		n += more
	}
	if err != nil {
		return fmt.Errorf("stream %d: sending, %d of %d bytes written: %w", s.id(), n, c.size, err)
	}
	if err := s.finish(); err != nil {
		return fmt.Errorf("stream %d: finishing: %w", s.id(), err)
	}
	return nil
}

// receive reads to the end and checks that it was the content.
func (c content) receive(s stream) error {
	h := sha256.New()
	buf := make([]byte, 64<<10)
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{s}, buf)
	if err != nil {
		return fmt.Errorf("stream %d: receiving, %d of %d bytes read: %w", s.id(), n, c.size, err)
	}
	if n != c.size || [sha256.Size]byte(h.Sum(nil)) != c.sum() {
		return fmt.Errorf("stream %d: %d bytes came that are not the %d bytes sent", s.id(), n, c.size)
	}
	return nil
}

// echo sends n bytes on a stream and wants them back: a round trip, which the other
// end serves with answer.
func echo(s stream, p []byte) error {
	if _, err := s.Write(p); err != nil {
		return fmt.Errorf("stream %d: asking: %w", s.id(), err)
	}
	got := make([]byte, len(p))
	if _, err := io.ReadFull(s, got); err != nil {
		return fmt.Errorf("stream %d: answer: %w", s.id(), err)
	}
	if string(got) != string(p) {
		return fmt.Errorf("stream %d: the answer is not what was sent", s.id())
	}
	return nil
}

// answer sends back what comes on a stream, and its end.
func answer(s stream) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.Read(buf)
		if _, werr := s.Write(buf[:n]); werr != nil {
			return fmt.Errorf("stream %d: answering: %w", s.id(), werr)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s.finish()
		case err != nil:
			return fmt.Errorf("stream %d: serving: %w", s.id(), err)
		}
	}
}
