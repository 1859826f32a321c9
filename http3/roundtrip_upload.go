package http3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// upload sends the body of a request, on a goroutine of its own.
type upload struct {
	x      *exchange
	body   io.ReadCloser
	length int64 // -1 if not known
	state  atomic.Int32
	quit   chan struct{} // closed by stop
	once   sync.Once     // of closing the body
	go100  chan struct{} // filled when the server wants the body; nil if it is not asked
}

// The states of an upload.
const (
	uploadWaits int32 = iota // nothing of the body was read
	uploadReads
	uploadQuits     // it was stopped
	uploadUntouched // it was stopped before it has read anything
)

func newUpload(x *exchange) *upload {
	u := &upload{x: x, body: x.r.Body, length: bodyLength(x.r), quit: make(chan struct{})}
	if u.body == nil {
		u.body = http.NoBody
	}
	if x.t.ExpectContinueTimeout > 0 && httpguts.HeaderValuesContainsToken(x.r.Header["Expect"], "100-continue") {
		u.go100 = make(chan struct{}, 1)
	}
	return u
}

// errStopped is an upload that nobody wants any more.
var errStopped = errors.New("http3: the body is not wanted any more")

// run sends the body, and closes it.
func (u *upload) run() {
	defer u.x.half()
	u.wait100()
	if !u.state.CompareAndSwap(uploadWaits, uploadReads) {
		u.x.wrote(errStopped)
		return
	}
	err := u.send()
	u.close()
	var cut *Error
	switch {
	case err == nil:
	case err == errStopped:
	case errors.As(err, &cut) && cut.Remote, u.stopped():
		// The server has had enough. What it thinks of the request is in its response.
	default:
		u.x.fail(err)
	}
	u.x.wrote(err)
}

// wait100 waits until the server wants the body, or has not said a word for a while.
func (u *upload) wait100() {
	if u.go100 == nil {
		return
	}
	timer := time.NewTimer(u.x.t.ExpectContinueTimeout)
	defer timer.Stop()
	select {
	case <-u.go100:
	case <-timer.C:
	case <-u.quit:
	}
}

// proceed is told that the server wants the body.
func (u *upload) proceed() {
	select {
	case u.go100 <- struct{}{}:
	default:
	}
}

const uploadBuffer = 32 << 10

var uploadBuffers = sync.Pool{New: func() any { return new([uploadBuffer]byte) }}

// send sends body and trailers.
func (u *upload) send() error {
	buf := uploadBuffers.Get().(*[uploadBuffer]byte)
	defer uploadBuffers.Put(buf)
	var sent int64
	for {
		n, err := u.body.Read(buf[:])
		if u.stopped() {
			return errStopped
		}
		if sent += int64(n); u.length >= 0 && sent > u.length {
			return fmt.Errorf("http3: body of the request is longer than its ContentLength of %d", u.length)
		}
		if n > 0 {
			if _, err := u.x.st.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			if u.length >= 0 && sent < u.length {
				return fmt.Errorf("http3: body of the request has %d bytes, its ContentLength is %d", sent, u.length)
			}
			return u.finish()
		case err != nil:
			return err
		}
	}
}

// finish sends the trailers, as they are now, and the end.
func (u *upload) finish() error {
	var h Headers
	for name, values := range u.x.r.Trailer {
		lower, ok := fieldName(name)
		for _, v := range values {
			if !ok || !httpguts.ValidTrailerHeader(http.CanonicalHeaderKey(name)) || !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("http3: invalid trailer field %q", name)
			}
			h = append(h, Field{Name: lower, Value: v})
		}
	}
	if len(h) > 0 {
		return u.x.st.SubmitTrailingHeaders(h)
	}
	return u.x.st.CloseWrite()
}

// stop ends the upload. A body of which nothing was read stays as it is, for another
// attempt; any other is closed, which ends a read that waits.
func (u *upload) stop() {
	switch {
	case u.state.CompareAndSwap(uploadWaits, uploadUntouched):
		close(u.quit)
	case u.state.CompareAndSwap(uploadReads, uploadQuits):
		close(u.quit)
		go u.close() // which may wait for the read
	}
}

func (u *upload) stopped() bool { return u.state.Load() >= uploadQuits }

// untouched reports whether the body is as it was, and open.
func (u *upload) untouched() bool { return u.state.Load() == uploadUntouched }

// drop closes a body that was kept for another attempt: there will be none.
func (u *upload) drop() {
	if u.untouched() {
		u.close()
	}
}

func (u *upload) close() { u.once.Do(func() { _ = u.body.Close() }) }
