package http3

import (
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// handling is a request and its response. It is one allocation, and not used again: a
// handler may keep any part of it.
type handling struct {
	c    *serverConn
	st   *Stream
	req  *http.Request
	ctx  handlingContext
	body requestBody
	w    responseWriter
}

// handle answers one request.
func (c *serverConn) handle(st *Stream) {
	s, begin := c.server, time.Time{}
	if s.ReadHeaderTimeout > 0 || s.ReadTimeout > 0 {
		begin = time.Now()
		d := s.ReadHeaderTimeout
		if d <= 0 {
			d = s.ReadTimeout
		}
		_ = st.SetReadDeadline(begin.Add(d))
	}
	st.lenient = true
	defer st.forget()
	h, err := st.Headers()
	if err != nil && err != errHeaderLimit {
		c.lost(st, err)
		return
	}
	if !begin.IsZero() {
		end := time.Time{}
		if s.ReadTimeout > 0 {
			end = begin.Add(s.ReadTimeout)
		}
		_ = st.SetReadDeadline(end)
	}
	x := c.begin(st)
	if err != nil {
		x.refuseFields()
		return
	}
	if f := x.request(h); f == errTooLarge {
		st.s.stats.count(f)
		x.refuseFields()
		return
	} else if f != nil {
		st.cancel(f.code)
		st.s.chargeReset(st) // as for what is malformed to all
		return
	}
	if st.q.Early() && !x.mayBeEarly() {
		x.refuse(http.StatusTooEarly)
		return
	}
	x.run()
}

func (c *serverConn) begin(st *Stream) *handling {
	x := &handling{c: c, st: st}
	x.ctx.Context, x.ctx.st = c.ctx, st
	x.body.x = x
	x.w.init(x)
	return x
}

// lost ends a stream that has not brought a request.
func (c *serverConn) lost(st *Stream, err error) {
	var cut *Error
	if errors.As(err, &cut) && cut.Remote && !cut.Session {
		st.s.chargeReset(st)
	}
	st.cancel(RequestRejected) // it is not the first word where the request was malformed
}

// refuse answers a request that no handler sees.
func (x *handling) refuse(status int) {
	http.Error(&x.w, http.StatusText(status), status)
	x.finish()
}

// refuseFields answers a request that has too many fields to become one of net/http's.
func (x *handling) refuseFields() {
	x.req = &http.Request{Method: "GET"}
	x.refuse(http.StatusRequestHeaderFieldsTooLarge)
}

// mayBeEarly reports whether the request may be served from early data, which may be a
// replay (RFC 8470 §4).
func (x *handling) mayBeEarly() bool {
	switch x.req.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	allow := x.c.server.AllowEarly
	if allow == nil {
		return false
	}
	yes := false
	x.guard(func() { yes = allow(x.req) })
	return yes
}

// run has the handler answer the request.
func (x *handling) run() {
	if d := x.c.server.WriteTimeout; d > 0 {
		x.w.limitTo(time.Now().Add(d))
	}
	h := x.c.server.Handler
	if h == nil {
		h = http.DefaultServeMux
	}
	if x.req.Method == "OPTIONS" && x.req.RequestURI == "*" && !x.c.server.DisableGeneralOptionsHandler {
		h = http.HandlerFunc(optionsOfServer)
	}
	if x.guard(func() { h.ServeHTTP(&x.w, x.req) }) {
		x.finish()
	}
}

// optionsOfServer answers "OPTIONS *".
func optionsOfServer(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") }

// guard calls a function of the program's, and reports whether it has returned. If it has
// panicked, or ended its goroutine, the request fails.
func (x *handling) guard(f func()) (returned bool) {
	defer func() {
		if returned {
			return
		}
		v := recover()
		x.w.abandon()
		x.ctx.end()
		x.body.closed.Store(true)
		x.abort(InternalError)
		if v != nil && v != http.ErrAbortHandler {
			x.c.server.logf("http3: panic serving %v: %v\n%s", x.c.remoteAddr(), v, debug.Stack())
		}
	}()
	f()
	return true
}

// finish ends what the handler has left open.
func (x *handling) finish() {
	x.w.finish()
	x.ctx.end()
	x.body.closed.Store(true)
	if x.st.push < 0 && !x.st.readOut() {
		x.st.Stop(NoError) // RFC 9114 §4.1: the rest of the request is of no use
	}
	if x.w.last {
		_ = x.st.s.Close() // it may be over
	}
}

// abort ends both sides at once.
func (x *handling) abort(code ErrorCode) {
	if x.st.push >= 0 {
		x.st.Reset(code)
		return
	}
	x.st.cancel(code)
}

// maxReadOut is how much of a body is dropped that nobody has read, if it is there
// already, before the client is asked to stop.
const maxReadOut = 64 << 10

// readOut drops what is there of the body, and reports whether that is all.
func (st *Stream) readOut() bool {
	r := &st.in
	if !r.mu.TryLock() {
		return false // somebody reads, and is to end
	}
	defer st.unlockIn()
	if r.phase == readEnd {
		return true
	}
	if r.err != nil {
		return false
	}
	b := readBuffers.Get().(*[2048]byte)
	defer readBuffers.Put(b)
	for left := maxReadOut; left > 0; {
		n, err := st.read(b[:], false)
		if err != nil || n == 0 {
			break
		}
		left -= n
	}
	if r.phase != readEnd {
		st.s.stats.bodiesStopped.Add(1)
	}
	return r.phase == readEnd
}

// maxElements is how many elements of a list field are looked at.
const maxElements = 100

// token reports whether a list field has an element.
func token(values []string, element string) bool {
	for e := range elements(values, maxElements) {
		if strings.EqualFold(e, element) {
			return true
		}
	}
	return false
}
