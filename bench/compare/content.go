package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

const (
	// ioChunk is the size of the buffers that applications read and write with.
	ioChunk = 64 << 10
	// period is a prime, so that a run of bytes that was lost, repeated or moved
	// by any number of equal packets shows as different content.
	period = 65_521

	requestSize = 64
	answerSize  = 1 << 10
)

// pattern is one period of random bytes and as much of the next that any chunk,
// wherever it begins, is one slice: senders need not build content and receivers
// compare with one call, which costs every implementation the same 40 ms a GB or so.
var pattern = func() []byte {
	p := make([]byte, period+ioChunk)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range p {
		if p[i] = byte(random.Uint32()); i >= period {
			p[i] = p[i-period]
		}
	}
	return p
}()

// content returns the n bytes, at most ioChunk, at offset off of the endless pattern.
func content(off int64, n int) []byte {
	at := int(off % period)
	return pattern[at : at+n]
}

var errContent = errors.New("content differs from what was sent")

// A request asks for size bytes of the pattern that begin at offset number*7919.
type request struct {
	number uint64
	size   int64
}

func (r request) offset() int64 { return int64(r.number % period * 7919) }

func (r request) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.number)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	return append(b, content(r.offset(), requestSize-16)...)
}

func parseRequest(b []byte) (request, error) {
	r := request{number: binary.BigEndian.Uint64(b), size: int64(binary.BigEndian.Uint64(b[8:]))}
	if !bytes.Equal(b[16:requestSize], content(r.offset(), requestSize-16)) {
		return r, fmt.Errorf("request: %w", errContent)
	}
	return r, nil
}

// check compares what has arrived of the answer to r, beginning at got bytes into it.
func (r request) check(got int64, b []byte) error {
	if got+int64(len(b)) > r.size {
		return fmt.Errorf("answer: more than the %d bytes sent", r.size)
	}
	for len(b) > 0 {
		n := min(len(b), ioChunk)
		if !bytes.Equal(b[:n], content(r.offset()+got, n)) {
			return fmt.Errorf("answer, in %d bytes at %d: %w", n, got, errContent)
		}
		b, got = b[n:], got+int64(n)
	}
	return nil
}

// readRequest reads a request; if whole, the stream must end behind it.
func readRequest(s io.Reader, buf []byte, whole bool) (request, error) {
	buf = buf[:requestSize+1]
	if !whole {
		buf = buf[:requestSize] // what follows is the next request's, or the upload's
	}
	n := 0
	for n < requestSize || whole {
		m, err := s.Read(buf[n:])
		n += m
		if n > requestSize {
			return request{}, errors.New("request: more than was sent")
		}
		if err == io.EOF && n == requestSize {
			break
		}
		if err == io.EOF && n > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return request{}, err
		}
	}
	return parseRequest(buf)
}

// readAnswer reads and compares the answer to r; if whole, the stream must end behind it.
func readAnswer(s io.Reader, r request, buf []byte, whole bool) error {
	var got int64
	for got < r.size || whole {
		n, err := s.Read(buf)
		if cerr := r.check(got, buf[:n]); cerr != nil {
			return cerr
		}
		got += int64(n)
		if err == io.EOF && got == r.size {
			return nil
		}
		if err == io.EOF {
			err = fmt.Errorf("answer: %d bytes of %d: %w", got, r.size, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
