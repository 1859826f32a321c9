package http3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// endPatience is how long the end of a response may take that can have no body, and that the program has.
const endPatience = 5 * time.Second

// errNoEnd is what such a request ends with. Nobody hears of it.
var errNoEnd = errors.New("http3: the response does not end")

// bodiless makes a response without a body. A server may take its time to say that there is nothing more: the program
// does not wait for that if there can be nothing.
func (x *exchange) bodiless(m *head) error {
	x.resp.Body = http.NoBody
	if m.length < 0 && method(x.r) != http.MethodHead {
		x.resp.ContentLength = 0
	}
	if x.st.pending() {
		x.leave()
		return nil
	}
	var b [1]byte
	_, err := x.Read(b[:])
	if err == io.EOF {
		if x.sends(0) {
			x.resp.Body = x // which is at its end, and whose Close ends the request
		}
		return nil
	}
	if err == nil {
		err = fmt.Errorf("http3: a body with status %d to a %s request", m.status, method(x.r))
	}
	return err
}

// pending reports whether nothing has come behind the headers that says how the message goes on.
func (st *Stream) pending() bool {
	st.in.mu.Lock()
	defer st.unlockIn()
	p, err := st.next(false)
	if p == partTrailer && err == nil {
		p, err = st.next(false)
	}
	return p == partNone && err == nil
}

// sends reports whether something of the request is still to come, although the response is over or, if one half of the exchange
// stands for that, as good as over. The server need not take it: it is for the program to say how long that may go on.
func (x *exchange) sends(half int32) bool {
	return x.halves.Load() > half && !x.up.stopped() || x.open && writeError(x.st.q) == nil
}

// leave has somebody else wait for the end of the stream. Unless the program still sends, the request is none of its context's
// business any more.
func (x *exchange) leave() {
	x.left = true
	var late *time.Timer
	if x.sends(1) {
		x.resp.Body = x
	} else {
		if x.unwatch != nil {
			x.unwatch()
		}
		late = time.AfterFunc(endPatience, func() {
			if x.cause.Load() == nil && !x.ended.Load() {
				x.c.s.stats.pastLimit.Add(1)
			}
			x.fail(errNoEnd)
		})
	}
	go func() {
		var b [1]byte
		if _, err := x.read(b[:]); err == nil {
			_ = x.over(errNoEnd) // it never is
		}
		if late != nil {
			late.Stop()
		}
	}()
}
