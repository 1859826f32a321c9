package http3

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// target is where a request goes.
type target struct {
	key         poolKey
	alternative string // the authority of the alternative service, "" if it is the origin itself
}

// failure is a request that has come to nothing.
type failure struct {
	err    error
	kind   failureKind
	r      *http.Request // as it was last sent
	silent bool          // the time was up before there was a session
	whole  bool          // nothing of its body was read, and it is still open
}

// failureKind is what a failed request may have done.
type failureKind uint8

const (
	failFinal    failureKind = iota // sending it again is not ours to decide
	failNoServer                    // there is no session
	failUnsent                      // there is no session any more, and nothing was sent
	failRejected                    // the server says that it has not looked at it
	failDied                        // the session has died before anything of the response came
)

// closeBody closes the body if nobody else has.
func (f *failure) closeBody() {
	if f.whole {
		closeBody(f.r)
	}
}

// maxAttempts is how often a request is sent at most.
const maxAttempts = 4

// send sends a request, and again where that can do no harm.
func (t *Transport) send(r *http.Request, to target) (*http.Response, *failure) {
	ctx, stop := requestContext(r)
	original := r
	for n := 1; ; n++ {
		resp, f := t.try(ctx, r, to, n > 1)
		if f == nil {
			resp.Request = original
			if stop != nil {
				resp.Body = stopsWith(resp.Body, stop)
			}
			return resp, nil
		}
		var again *http.Request
		if n < maxAttempts {
			again = f.repeat()
		}
		if again == nil || !pause(ctx, n) {
			if ctx.Err() != nil && again != nil {
				f.err = context.Cause(ctx)
			}
			if again != nil && again != f.r {
				closeBody(again)
			}
			if stop != nil {
				stop()
			}
			return nil, f
		}
		r = again
	}
}

// errCancelled is what requests fail with whose Cancel channel was closed.
var errCancelled = errors.New("http3: request cancelled by its Cancel channel or its client's Timeout")

// requestContext returns the context of a request, which ends with its Cancel channel too. stop, if not
// nil, ends what it takes to know that.
func requestContext(r *http.Request) (ctx context.Context, stop func()) {
	//lint:ignore SA1019 old programs use it
	if cancelled := r.Cancel; cancelled != nil {
		return cancelledBy(r.Context(), cancelled)
	}
	return r.Context(), nil
}

func cancelledBy(ctx context.Context, cancelled <-chan struct{}) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-cancelled:
			cancel(errCancelled)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// repeat returns the request to send again, nil if it must not be.
func (f *failure) repeat() *http.Request {
	switch f.kind {
	case failFinal, failNoServer:
		return nil
	case failDied:
		if !repeatable(f.r) {
			return nil
		}
	}
	return f.again()
}

// again returns the request with its body as it was, nil if that is gone.
func (f *failure) again() *http.Request {
	switch {
	case f.whole || !hasBody(f.r):
		return f.r
	case f.r.GetBody == nil:
		return nil
	}
	body, err := f.r.GetBody()
	if err != nil {
		return nil
	}
	r := *f.r
	r.Body = body
	return &r
}

// repeatable reports whether it makes no difference if a request is processed twice (RFC 9110
// §9.2.2).
func repeatable(r *http.Request) bool {
	switch method(r) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, key := r.Header["Idempotency-Key"]
	_, xkey := r.Header["X-Idempotency-Key"]
	return key || xkey
}

// pause waits before the next attempt, but for the first one. It reports false if the context
// has ended.
func pause(ctx context.Context, n int) bool {
	if n == 1 {
		return ctx.Err() == nil
	}
	const unit = 50 * time.Millisecond
	timer := time.NewTimer(unit<<n + rand.N(unit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// try sends a request once, or twice if the server does not want it as early data.
func (t *Transport) try(ctx context.Context, r *http.Request, to target, plain bool) (*http.Response, *failure) {
	c, err := t.session(ctx, to.key, plain)
	if err != nil {
		f := &failure{err: err, r: r, whole: true}
		var dial *dialError
		if errors.As(err, &dial) {
			f.kind = failNoServer
		} else {
			f.silent = errors.Is(ctx.Err(), context.DeadlineExceeded)
		}
		return nil, f
	}
	x := &exchange{t: t, c: c, r: r, ctx: ctx, plain: plain, trace: httptrace.ContextClientTrace(ctx), alternative: to.alternative}
	x.halves.Store(1)
	if err := x.ready(); err != nil {
		c.release()
		return nil, x.failed(err)
	}
	resp, err := x.roundTrip()
	if err != nil {
		return nil, x.failed(err)
	}
	if x.early && resp.StatusCode == http.StatusTooEarly { // RFC 8470 §5.2, RFC 9114 §10.9
		_ = resp.Body.Close()
		if err := c.s.q.Handshake(ctx); err == nil {
			return t.try(ctx, r, to, true) // never early again, or a server could go on with this for ever
		}
	}
	return resp, nil
}

// exchange is a request that is sent on a session, and the body of its response.
type exchange struct {
	t           *Transport
	c           *clientConn
	st          *Stream
	r           *http.Request
	ctx         context.Context
	trace       *httptrace.ClientTrace // may be nil
	alternative string
	up          *upload // nil without a body
	resp        *http.Response
	plain       bool // it must not go as early data
	early       bool // it may have gone as such
	open        bool // a CONNECT without a body: the program writes to the stream
	gzip        bool // we have asked for that
	sent        bool // the headers, or some of them
	heard       bool // something of the response has come
	left        bool // the program has the response, which has no body, before its end

	cause   atomic.Pointer[cutoff]
	halves  atomic.Int32 // of the exchange that are not over
	ended   atomic.Bool  // the response is over
	whole   atomic.Bool  // in order: it stays so, whatever becomes of the request
	unwatch func() bool  // of the context

	mu    sync.Mutex
	timer *time.Timer // of ResponseHeaderTimeout
	begun bool        // the response has begun
}

// ready waits until the request may be sent on the session.
func (x *exchange) ready() error {
	if x.r.Method == http.MethodConnect && x.r.Header.Get(protocolField) != "" {
		settings, err := x.c.s.Settings(x.ctx)
		switch {
		case err != nil:
			return err
		case !settings.ExtendedConnect:
			return &HeaderError{Op: "http3.Transport.RoundTrip", Reason: "the server does not support extended CONNECT (RFC 9220)"}
		}
	}
	if x.c.secure() {
		return nil
	}
	if !x.plain && !hasBody(x.r) && len(x.r.Trailer) == 0 {
		switch method(x.r) {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
			x.early = true
			return nil
		}
	}
	return x.c.s.q.Handshake(x.ctx)
}

// roundTrip sends the request and waits for the headers of the response.
func (x *exchange) roundTrip() (*http.Response, error) {
	st, err := x.c.s.OpenStream(x.ctx, StreamOptions{})
	if err != nil {
		x.c.release()
		return nil, err
	}
	x.st = st
	if wantsClose(x.r) {
		x.c.retire()
	}
	if hasBody(x.r) || len(x.r.Trailer) > 0 {
		x.up = newUpload(x)
	}
	if x.ctx.Done() != nil {
		x.unwatch = context.AfterFunc(x.ctx, func() { x.fail(context.Cause(x.ctx)) })
	}
	err = x.begin()
	if err == nil {
		x.resp, err = x.response()
	}
	if err != nil {
		return nil, x.over(err)
	}
	if x.up != nil {
		x.up.drop()
	}
	return x.resp, nil
}

// begin sends the headers, and starts the body on its way.
func (x *exchange) begin() error {
	r := x.r
	f := fieldsPool.Get().(*requestFields)
	defer f.free()
	x.gzip = x.t.wantsGzip(r)
	if err := f.collect(r, x.gzip, x.alternative); err != nil {
		return err
	}
	x.open = r.Method == http.MethodConnect && r.Body == nil && x.up == nil
	x.sent = true
	err := x.st.SubmitInitialHeaders(f.h, HeaderOptions{Terminal: x.up == nil && !x.open})
	if err != nil {
		return err
	}
	if x.trace != nil && x.trace.WroteHeaders != nil {
		x.trace.WroteHeaders()
	}
	if x.up == nil {
		x.wrote(nil)
		return nil
	}
	if x.up.go100 != nil && x.trace != nil && x.trace.Wait100Continue != nil {
		x.trace.Wait100Continue()
	}
	x.halves.Add(1)
	go x.up.run()
	return nil
}

// wrote is told when the whole request has gone, or how its body has failed.
func (x *exchange) wrote(err error) {
	if x.trace != nil && x.trace.WroteRequest != nil {
		x.trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	d := x.t.ResponseHeaderTimeout
	if err != nil || d <= 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.begun {
		x.timer = time.AfterFunc(d, func() { x.fail(&headerTimeout{d}) })
	}
}

// headerTimeout is a response that has not begun within ResponseHeaderTimeout.
type headerTimeout struct{ after time.Duration }

func (e *headerTimeout) Error() string {
	return "http3: no response headers within " + e.after.String() + " of the request"
}
func (e *headerTimeout) Timeout() bool     { return true }
func (e *headerTimeout) Temporary() bool   { return true }
func (e *headerTimeout) Is(err error) bool { return err == context.DeadlineExceeded }

// cutoff is why an exchange was cut off.
type cutoff struct {
	err  error
	here bool // the program wanted it, or a limit of its own
}

// fail cuts the exchange off from here. The first reason is the one that is told.
func (x *exchange) fail(err error) { x.cut(err, true) }

func (x *exchange) cut(err error, here bool) {
	if !x.cause.CompareAndSwap(nil, &cutoff{err, here}) {
		return
	}
	x.st.cancel(RequestCancelled)
	if x.up == nil {
		return
	}
	x.up.stop()
	if x.hasBegun() {
		x.up.drop()
	}
}

func (x *exchange) hasBegun() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.begun
}

// over is the end of the response: its error is io.EOF if all is well. It returns what the
// program is told.
func (x *exchange) over(err error) error {
	if err != io.EOF {
		x.cut(err, false)
		err = x.cause.Load().err
	}
	if x.ended.CompareAndSwap(false, true) {
		x.half()
	}
	return err
}

// half is the end of a half of the exchange.
func (x *exchange) half() {
	if x.halves.Add(-1) > 0 {
		return
	}
	if x.unwatch != nil {
		x.unwatch()
	}
	x.mu.Lock()
	if x.timer != nil {
		x.timer.Stop()
	}
	x.mu.Unlock()
	x.c.release()
}

// failed says what an error of the request before its response means.
func (x *exchange) failed(err error) *failure {
	f := &failure{err: err, r: x.r, whole: x.up == nil || x.up.untouched()}
	var cut *Error
	var state *quic.StateError
	var malformed *HeaderError
	lost := x.c.s.q.Err() != nil || x.c.s.q.Closing()
	switch {
	case x.ctx.Err() != nil:
		f.err = context.Cause(x.ctx)
	case x.heard, x.cutHere(), errors.As(err, &malformed), x.t.isClosed():
	case errors.Is(err, errGoAway), !x.sent && (lost || errors.As(err, &state)):
		f.kind = failUnsent
	case errors.As(err, &cut) && cut.Remote && !cut.Session && cut.ErrorCode == RequestRejected:
		f.kind = failRejected
	case lost:
		f.kind = failDied
	}
	if f.kind != failFinal {
		x.c.retire()
		if !x.c.secure() {
			x.t.forget(x.c.key)
		}
	}
	return f
}

func (x *exchange) cutHere() bool {
	cut := x.cause.Load()
	return cut != nil && cut.here
}

// wantsClose reports whether a session is to take no request after this one.
func wantsClose(r *http.Request) bool {
	return r.Close || httpguts.HeaderValuesContainsToken(r.Header["Connection"], "close")
}

func (t *Transport) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}
