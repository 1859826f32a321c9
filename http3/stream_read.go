package http3

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/qpack"
)

// readPhase is how far a message has come in (RFC 9114 §4.1).
type readPhase uint8

const (
	readHead readPhase = iota // the initial header block is to come, perhaps informational ones before
	readBody                  // DATA, or the trailers
	readTail                  // the trailers have come: nothing but the end
	readEnd                   // the end has come
)

// part is what a step of reading has come to.
type part uint8

const (
	partNone    part = iota // nothing now
	partInfo                // an informational header block
	partInitial             // the initial header block
	partTrailer             // the trailers
	partData                // the payload of a DATA frame
	partEnd                 // the end of the message
)

// reading is the receiving half of a stream: frames taken apart, and what they add up
// to. Everything is the turn's.
type reading struct {
	mu   turn
	mem  *[readAhead]byte // of a pool; nil while nothing is read ahead
	buf  []byte           // read and not yet taken
	open bool             // within a frame
	typ  frameType
	left uint64 // of the frame's payload

	section []byte // the payload of a HEADERS or PUSH_PROMISE frame, so far
	whole   bool   // all of it
	lent    bool   // it lies in mem
	waited  bool   // for QPACK's table

	denied atomic.Bool // a TryRead did not get the turn

	phase    readPhase
	tunnel   bool  // of CONNECT: after the headers only DATA
	length   int64 // what Content-Length says, -1 if nothing
	got      int64 // bytes of body
	headers  Headers
	info     Headers // the last informational block
	infos    int     // how many have come
	trailers Headers
	head     head
	err      error
}

// readAhead is how much is read at once where frames begin. DATA is read straight to where it
// is wanted, but for what has come along with a frame's head.
const readAhead = 2048

var aheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// errReadingEnded is what a read fails with whose block nobody will decode any more.
var errReadingEnded error = &Error{ErrorCode: RequestCancelled, Reason: "reading was ended here"}

// errTooLarge says that a header block goes over a limit of this end's.
var errTooLarge = &fault{code: ExcessiveLoad, reason: "header block over a limit of this end"}

// errHeaderLimit is the error for those who answer it.
var errHeaderLimit = errTooLarge.error()

// Headers waits for the initial header block, of the request at a server or of the final
// response at a client, and returns it: pseudo-header fields first, then the others as they
// were sent (STR-014, STR-015). The error is that of Read; a malformed block, or one over the
// limits of Options, cancels the stream.
func (st *Stream) Headers() (Headers, error) {
	st.in.mu.Lock()
	err := st.readHeaders()
	h := st.in.headers
	st.unlockIn()
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (st *Stream) readHeaders() error {
	for st.in.headers == nil {
		p, err := st.next(true)
		if err != nil {
			return err
		}
		if p == partEnd {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// Trailers returns the trailer block, nil if none has come: it has when Read has returned
// io.EOF (STR-016).
func (st *Stream) Trailers() Headers {
	st.in.mu.Lock()
	defer st.unlockIn()
	return st.in.trailers
}

// Read reads the body, and waits for something to come. It returns io.EOF at its end, when the
// trailers have come too if there are any. A stream that was cut off fails with an *Error, and so
// does one whose message is malformed, which is cancelled then.
func (st *Stream) Read(p []byte) (int, error) {
	st.in.mu.Lock()
	n, err := st.read(p, true)
	st.unlockIn()
	return n, err
}

// TryRead reads what is there of the body, without waiting: n is 0 and err nil if that is
// nothing. The Readable hook tells when there is more.
func (st *Stream) TryRead(p []byte) (int, error) {
	if !st.in.mu.mu.TryLock() {
		st.in.denied.Store(true)
		if !st.in.mu.TryLock() {
			return 0, nil // somebody waits for what comes next; Readable is told when that is over
		}
	}
	n, err := st.read(p, false)
	st.unlockIn()
	return n, err
}

func (st *Stream) read(p []byte, wait bool) (int, error) {
	if len(p) == 0 {
		return 0, st.in.err
	}
	for {
		part, err := st.next(wait)
		switch {
		case err != nil:
			if !isLate(err) {
				st.endKnown()
			}
			return 0, err
		case part == partNone:
			return 0, nil
		case part == partEnd:
			st.endKnown()
			return 0, io.EOF
		case part != partData && !wait:
			st.noticeReadable() // behind that of the header block
			return 0, nil
		case part != partData:
			continue
		}
		n, err := st.readData(p, wait)
		if n > 0 || err != nil || !wait {
			return n, err
		}
	}
}

// readData reads from the payload of the DATA frame that is open.
func (st *Stream) readData(p []byte, wait bool) (n int, err error) {
	r := &st.in
	p = p[:min(uint64(len(p)), r.left)]
	if len(r.buf) > 0 {
		n = copy(p, r.buf)
		r.buf = r.buf[n:]
		st.drop()
	} else if n, err = st.fetch(p, wait); err == io.EOF {
		return 0, st.fault(truncated(r.typ))
	} else if err != nil {
		return 0, st.broken(err)
	}
	r.left -= uint64(n)
	r.got += int64(n)
	r.open = r.left > 0
	return n, nil
}

func truncated(t frameType) *fault {
	return sessionFault(FrameError, "the stream ends within a %v frame", t)
}

// fetch reads from the stream below.
func (st *Stream) fetch(p []byte, wait bool) (int, error) {
	if wait {
		return st.q.Read(p)
	}
	return st.q.TryRead(p)
}

// next goes on to the next part of the message. It stays where it is at the payload of a
// DATA frame, for as long as there is some.
func (st *Stream) next(wait bool) (part, error) {
	r := &st.in
	for {
		if r.err != nil {
			return partNone, r.err
		}
		if r.phase == readEnd {
			return partEnd, nil
		}
		if !r.open {
			more, err := st.beginFrame(wait)
			if err != nil || !more {
				return partNone, err
			}
			continue
		}
		switch {
		case r.typ == frameData && r.left > 0:
			return partData, nil
		case r.typ == frameHeaders, r.typ == framePushPromise:
			p, err := st.nextBlock(wait)
			if p != partNone || err != nil || r.open {
				return p, err
			}
		default:
			more, err := st.skip(wait)
			if err != nil || !more {
				return partNone, err
			}
		}
	}
}

// beginFrame reads the head of the next frame, or the end of the stream. more is false if
// neither is there.
func (st *Stream) beginFrame(wait bool) (more bool, err error) {
	r := &st.in
	for {
		t, length, n := parseFrameHead(r.buf)
		if n > 0 {
			r.buf = r.buf[n:]
			st.drop()
			r.typ, r.left, r.open = t, length, true
			if f := st.admit(); f != nil {
				return false, st.fault(f)
			}
			return true, nil
		}
		n, err := st.fill(wait)
		switch {
		case n > 0:
		case err == io.EOF && len(r.buf) > 0:
			return false, st.fault(sessionFault(FrameError, "the stream ends within a frame's head"))
		case err == io.EOF:
			if f := st.finish(); f != nil {
				return false, st.fault(f)
			}
			return true, nil
		case err != nil:
			return false, st.broken(err)
		default:
			return false, nil
		}
	}
}

// fill reads ahead.
func (st *Stream) fill(wait bool) (int, error) {
	r := &st.in
	if r.mem == nil {
		r.mem = aheads.Get().(*[readAhead]byte)
	}
	at := copy(r.mem[:], r.buf) // the beginning of a frame's head
	n, err := st.fetch(r.mem[at:], wait)
	r.buf = r.mem[:at+n]
	st.drop()
	return n, err
}

// drop gives the memory back when nothing is in it.
func (st *Stream) drop() {
	if r := &st.in; len(r.buf) == 0 && r.mem != nil {
		aheads.Put(r.mem)
		r.mem, r.buf = nil, nil
	}
}

// admit checks that the frame that begins may stand here (RFC 9114 §4.1, §7.2).
func (st *Stream) admit() *fault {
	r, t := &st.in, st.in.typ
	switch {
	case t.http2(), t.control():
		return sessionFault(FrameUnexpected, "%v on a stream of messages", t)
	case !t.message():
		return st.s.useful.charge("unknown frames")
	case r.tunnel && t != frameData: // RFC 9114 §4.4
		return sessionFault(FrameUnexpected, "%v in a tunnel", t)
	case t == framePushPromise && (st.s.server || st.push >= 0):
		return sessionFault(FrameUnexpected, "PUSH_PROMISE to a server or on a push stream")
	case t == framePushPromise:
		return nil
	case r.phase == readTail:
		return sessionFault(FrameUnexpected, "%v behind the trailers", t)
	case r.phase == readHead && t == frameData:
		return sessionFault(FrameUnexpected, "DATA before the headers")
	case t == frameHeaders:
		return nil
	case r.left == 0:
		r.open = false
		return st.s.useful.charge("empty DATA frames")
	case r.length >= 0 && (r.left > uint64(r.length) || r.got+int64(r.left) > r.length):
		return malformed("body longer than its Content-Length of %d", r.length)
	}
	return nil
}

// finish checks that the message may end here.
func (st *Stream) finish() *fault {
	r := &st.in
	switch {
	case r.phase == readHead && st.s.server:
		return streamFault(RequestIncomplete, "the stream ends before the request's headers")
	case r.phase == readHead:
		return malformed("the stream ends before the response's headers")
	case r.length >= 0 && r.got != r.length:
		return malformed("body of %d bytes, Content-Length %d", r.got, r.length)
	}
	r.phase = readEnd
	return nil
}

// skip drops the payload of a frame that means nothing.
func (st *Stream) skip(wait bool) (more bool, err error) {
	r := &st.in
	for r.left > 0 {
		if len(r.buf) == 0 {
			n, err := st.fill(wait)
			switch {
			case err == io.EOF:
				return false, st.fault(truncated(r.typ))
			case err != nil:
				return false, st.broken(err)
			case n == 0:
				return false, nil
			}
		}
		n := min(r.left, uint64(len(r.buf)))
		r.buf = r.buf[n:]
		r.left -= n
		st.drop()
	}
	r.open = false
	return true, nil
}

// nextBlock collects and decodes a header block. It returns partNone with the frame
// still open if it has to wait, and with the frame closed after a promise.
func (st *Stream) nextBlock(wait bool) (part, error) {
	r := &st.in
	for !r.whole {
		more, err := st.collect(wait)
		if err != nil || !more {
			return partNone, err
		}
	}
	for {
		p, moved, err := st.block()
		if moved == nil {
			return p, err
		}
		if !st.keepBlock() {
			return partNone, st.tooLarge()
		}
		if !r.waited {
			r.waited = true
			st.s.stats.waited.Add(1)
		} else {
			st.s.stats.vain.Add(1)
		}
		if code, reset := st.q.ResetReceived(); reset { // nobody else would notice
			return partNone, st.broken(&Error{ErrorCode: ErrorCode(code), Remote: true})
		}
		if !wait {
			return partNone, nil
		}
		if err := st.await(moved); err != nil {
			return partNone, err
		}
	}
}

// collect adds what is there of the payload to the section. Memory is taken for what has
// come, never for what a length field promises.
func (st *Stream) collect(wait bool) (more bool, err error) {
	r := &st.in
	if r.left > uint64(st.s.opts.MaxHeaderLength)+8 {
		return false, st.tooLarge()
	}
	if r.left == 0 {
		r.whole = true
		return true, nil
	}
	if len(r.buf) == 0 {
		n, err := st.fill(wait)
		switch {
		case err == io.EOF:
			return false, st.fault(truncated(r.typ))
		case err != nil:
			return false, st.broken(err)
		case n == 0:
			return false, nil
		}
	}
	n := min(r.left, uint64(len(r.buf)))
	if n == r.left && len(r.section) == 0 { // as most are: it is decoded where it lies
		r.section, r.buf, r.left = r.buf[:n], r.buf[n:], 0
		r.whole, r.lent = true, true
		return true, nil
	}
	if !st.hold(int(n)) {
		return false, st.tooLarge()
	}
	r.section = append(r.section, r.buf[:n]...)
	r.buf = r.buf[n:]
	r.left -= n
	st.drop()
	return true, nil
}

// keepBlock copies a block that has to wait, and reports whether the session has room for it.
func (st *Stream) keepBlock() bool {
	r := &st.in
	if !r.lent {
		return true
	}
	if !st.hold(len(r.section)) {
		return false
	}
	r.section, r.lent = bytes.Clone(r.section), false
	st.drop()
	return true
}

// maxHeld bounds the header blocks of a session that are not whole, or wait for QPACK: all of them
// together. One of the largest size always has room for another.
func (o *Options) maxHeld() int64 { return max(maxHeldHeaders, 2*int64(o.MaxHeaderLength)) }

// maxHeldHeaders is that bound for header blocks of up to half of it.
const maxHeldHeaders = 1 << 20

// hold counts n bytes of a header block, and reports whether the session has room for them.
func (st *Stream) hold(n int) bool {
	st.held.Add(int64(n))
	return st.s.held.Add(int64(n)) <= st.s.opts.maxHeld()
}

// release gives back what was held, because the block is read or will never be.
func (st *Stream) release() { st.s.held.Add(-st.held.Swap(0)) }

// block decodes the section that has been collected. A channel says that it needs
// insertions that have not come.
func (st *Stream) block() (part, <-chan struct{}, error) {
	r := &st.in
	section, id := r.section, int64(-1)
	if r.typ == framePushPromise {
		v, n := varint.Parse(section)
		if n == 0 {
			return partNone, nil, st.fault(sessionFault(FrameError, "PUSH_PROMISE without a push ID"))
		}
		section, id = section[n:], int64(v)
	}
	h, moved, err := st.s.fields.decode(st, section)
	if moved != nil {
		return partNone, moved, nil
	}
	length := len(section)
	r.section, r.whole, r.lent, r.waited, r.open = nil, false, false, false, false
	st.drop()
	st.release()
	switch f := qpackFault(err); {
	case errors.Is(err, qpack.ErrTooLarge):
		return partNone, nil, st.tooLarge()
	case f != nil:
		return partNone, nil, st.fault(f)
	case err != nil:
		return partNone, nil, st.broken(err)
	case h.names() > st.s.opts.maxNames():
		return partNone, nil, st.tooLarge()
	}
	cost := h.cost(length, &st.s.opts)
	if r.typ == framePushPromise {
		if f := st.s.onPromise(st, id, h, cost); f != nil {
			return partNone, nil, st.fault(f)
		}
		return partNone, nil, nil
	}
	if st.lenient {
		cost += int64(min(h.crumbs(), maxCookie))
	}
	if !st.keep(cost) {
		return partNone, nil, st.tooLarge()
	}
	p, f := st.onBlock(h)
	if f != nil {
		return partNone, nil, st.fault(f)
	}
	return p, nil, nil
}

// onBlock gives a header block its meaning (STR-018 to STR-020).
func (st *Stream) onBlock(h Headers) (part, *fault) {
	r := &st.in
	if r.phase == readBody {
		if f := parseTrailers(h); f != nil {
			return partNone, f
		}
		r.phase, r.trailers = readTail, h
		st.noticeBlock(partTrailer, h)
		return partTrailer, nil
	}
	var m head
	var f *fault
	if st.s.server {
		m, f = parseRequest(h, st.s.opts.ExtendedConnect)
	} else {
		m, f = parseResponse(h)
	}
	switch {
	case f != nil:
		return partNone, f
	case st.s.server:
		r.tunnel = m.method == "CONNECT"
		st.setMethod(m.method)
		st.prioritize(h)
	case m.status < 200:
		r.info = h
		if r.infos++; r.infos > maxInformational {
			return partNone, streamFault(ExcessiveLoad, "more than %d informational responses", maxInformational)
		}
		st.noticeBlock(partInfo, h)
		return partInfo, nil
	default:
		r.tunnel = st.requestMethod() == "CONNECT" && m.status < 300
	}
	r.phase, r.headers, r.head, r.length = readBody, h, m, m.length
	if !st.s.server && bodiless(st.requestMethod(), m.status) {
		r.length = 0
	}
	if r.tunnel {
		r.length = -1 // RFC 9110 §8.6: it means nothing there
	}
	st.noticeBlock(partInitial, h)
	return partInitial, nil
}

// maxInformational is how many responses of 1xx may come before the final one. A request has a 100 or a 102 and
// one or two of 103 (RFC 8297 §2).
const maxInformational = 8

// requestMethod returns the method of the request, or of that which a push answers.
func (st *Stream) requestMethod() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.method
}

// setRequest notes the request that is sent here.
func (st *Stream) setRequest(m *head) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.method, st.authority = m.method, m.authority
}

func (st *Stream) requestAuthority() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.authority
}

func (st *Stream) setMethod(method string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.method = method
}

// tooLarge is a header block over a limit.
func (st *Stream) tooLarge() error {
	st.in.section, st.in.lent = nil, false
	st.drop()
	st.release()
	if st.lenient {
		st.s.stats.count(errTooLarge)
		st.in.err = errHeaderLimit
		return errHeaderLimit
	}
	return st.fault(errTooLarge)
}

// fault ends the stream or the session for what the peer has done wrong.
func (st *Stream) fault(f *fault) error {
	st.in.err = f.error()
	if f.session {
		st.s.fail(f)
	} else {
		st.s.stats.count(f)
		st.Destroy(st.in.err)
		st.s.chargeReset(st) // that it was done here was the client's doing
	}
	return st.in.err
}

// broken gives an error of the stream below its form here. A deadline can be moved, all others
// stay.
func (st *Stream) broken(err error) error {
	err = wrap(err)
	if isLate(err) {
		return err
	}
	if own := st.s.Err(); own != nil {
		err = own
	}
	st.in.err = err
	st.endReading()
	if e, ok := errors.AsType[*Error](err); ok && e.Remote && !e.Session {
		st.s.chargeReset(st)
	}
	return err
}

// await waits until QPACK's table has grown, or something else makes another look worth while.
func (st *Stream) await(moved <-chan struct{}) error {
	st.mu.Lock()
	if st.nudge == nil {
		st.nudge = make(chan struct{})
	}
	nudge, by := st.nudge, st.readBy
	if st.ended {
		st.poke()
	}
	st.mu.Unlock()
	st.watch()
	var late <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-moved:
	case <-nudge:
	case <-late:
		return os.ErrDeadlineExceeded
	case <-st.s.over: // all that came before has been told
		select {
		case <-moved:
		default:
			return st.broken(st.s.q.Err())
		}
	}
	return nil
}
