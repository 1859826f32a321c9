package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// A body is how a file or the demo's data stands on a stream: its bytes, as many
// as was said before, and then their SHA-256.

// digest is a SHA-256.
type digest [sha256.Size]byte

// String returns the digest's first digits, enough to compare by eye.
func (d digest) String() string { return fmt.Sprintf("%x", d[:8]) }

// errDigest is a body that is not what its sender read.
var errDigest = errors.New("the SHA-256 at the end is not that of the data")

// bodyBuffer is how many bytes of a body are in memory at once.
const bodyBuffer = 256 << 10

// sourceError is a copy that failed because of where the data came from, unlike
// one that failed because of where it went.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// writeBody sends size bytes of src as a body. If src has fewer, that is a *sourceError.
func writeBody(dst io.Writer, src io.Reader, size int64, moved func(n int)) (digest, error) {
	sum, err := copySum(dst, src, size, moved)
	if err == nil {
		_, err = dst.Write(sum[:])
	}
	return sum, err
}

// readBody stores a body of size bytes in dst and checks it.
func readBody(dst io.Writer, src io.Reader, size int64, moved func(n int)) (digest, error) {
	sum, err := copySum(dst, src, size, moved)
	if err != nil {
		return sum, err
	}
	var want digest
	if _, err := io.ReadFull(src, want[:]); err != nil {
		return sum, &sourceError{shortEnd(err)}
	}
	if sum != want {
		return sum, errDigest
	}
	return sum, nil
}

// copySum copies exactly size bytes and tells moved of each piece.
func copySum(dst io.Writer, src io.Reader, size int64, moved func(n int)) (sum digest, err error) {
	hash := sha256.New()
	buf := make([]byte, min(size, bodyBuffer))
	for size > 0 {
		n, err := src.Read(buf[:min(size, bodyBuffer)])
		hash.Write(buf[:n])
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return sum, err
			}
			moved(n)
		}
		size -= int64(n)
		if err != nil && size > 0 {
			return sum, &sourceError{shortEnd(err)}
		}
	}
	return digest(hash.Sum(nil)), nil
}

// shortEnd makes an end of the data that came too early an error.
func shortEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
