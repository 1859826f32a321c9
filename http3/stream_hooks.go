package http3

import (
	"runtime/debug"

	"github.com/cinnabar-quic/cinnabar/quic"
)

// StreamHooks are told what happens to a stream, for programs that never block: they go with
// TryRead and TryWrite, and header blocks do not wait on a stream that has them. They run with those
// of the session, one at a time and in order. An error or a panic destroys the stream.
type StreamHooks struct {
	// InformationalHeaders is told each header block of a response with a :status of 1xx (STR-012). Of
	// those there can be 8 before the final one; one more cancels the stream with ExcessiveLoad.
	InformationalHeaders func(h Headers) error
	// InitialHeaders is told the header block of a request or of a final response, once (STR-014).
	InitialHeaders func(h Headers) error
	// TrailingHeaders is told the header block behind the body, when the body has been read (STR-016).
	TrailingHeaders func(h Headers) error
	// PushHeaders is told the request that a server promises to answer unasked, on the
	// stream of the request that led to it (STR-021, X-001).
	PushHeaders func(h Headers, pushID int64) error

	// Datagram is given every HTTP datagram of the request, and may keep it. With it there is no
	// ReceiveDatagram.
	Datagram func(p []byte) error

	Readable func() error          // there is data, the end or an error to read
	Drained  func() error          // a TryWrite that was cut short can go on
	Aborted  func(err error) error // the peer has cut off a side; err is an *Error

	Error func(err error) // the stream failed: at most once, before Close
	Close func()          // both sides are over: once, and last
}

func (k *StreamHooks) none() bool {
	return k.InformationalHeaders == nil && k.InitialHeaders == nil && k.TrailingHeaders == nil && k.PushHeaders == nil &&
		k.Datagram == nil && k.Readable == nil && k.Drained == nil && k.Aborted == nil && k.Error == nil && k.Close == nil
}

// SetHooks replaces the stream's hooks. What is there already is told, but for header blocks that
// a method has returned before.
func (st *Stream) SetHooks(k StreamHooks) {
	st.mu.Lock()
	st.hooks, st.hooked, st.endTold, st.failTold = k, true, false, false
	st.mu.Unlock()
	st.setHooks()
	if k.Datagram != nil && st.takesDatagrams() {
		st.hookQueue(st.useDatagrams())
	}
}

// setHooks sets those of the stream below. They are set without a lock, since a program's Dispatch may be called: who
// finds that others have come meanwhile sets them again, since theirs may have been undone, and the room for more
// that they were to be told of may have been told to nobody.
func (st *Stream) setHooks() {
	st.mu.Lock()
	st.settings++
	st.mu.Unlock()
	for !st.setBelow() {
		st.s.q.Post(func() { st.guard(st.drained) })
	}
}

// setBelow sets the hooks of the stream below once, and reports whether they are still the right ones.
func (st *Stream) setBelow() bool {
	st.mu.Lock()
	at, h := st.settings, st.below()
	st.mu.Unlock()
	st.q.SetHooks(h)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.settings == at
}

// below returns the hooks for the stream below. The caller has the lock.
func (st *Stream) below() quic.StreamHooks {
	h := quic.StreamHooks{Aborted: st.aborted}
	if st.hooked {
		h.Readable = st.readable
		h.Drained = st.drained
	}
	if st.hooks.Error != nil {
		h.Error = st.failed
	}
	if st.hooked || st.push >= 0 || st.datagrams || counted(st.kept) > 0 {
		h.Close = st.closed
	}
	return h
}

func (st *Stream) isHooked() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.hooked
}

// readingEnded reports whether nobody reads any more.
func (st *Stream) readingEnded() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ended
}

// watch makes the peer's reset known while a read waits for something else.
func (st *Stream) watch() {
	st.mu.Lock()
	known := st.hooked || st.watched
	st.watched = true
	st.mu.Unlock()
	if !known {
		st.setHooks()
	}
}

// failed is told that the stream below has failed: each time that its hooks are set.
func (st *Stream) failed(err error) {
	st.mu.Lock()
	hook, told := st.hooks.Error, st.failTold
	st.failTold = true
	st.mu.Unlock()
	if hook != nil && !told {
		hook(wrap(err))
	}
}

// closed is told that the stream below is over. The end of what came may still be read ahead
// here: the program hears of it first.
func (st *Stream) closed() {
	if st.push >= 0 {
		st.s.pushStreamOver(st)
	}
	st.s.forgetDatagrams(st.ID())
	if !st.lenient {
		st.giveBack()
	}
	st.mu.Lock()
	if !st.closeTold {
		st.closing = st.hooks.Close
	}
	st.mu.Unlock()
	st.pump()
	st.close()
}

// close tells that the stream is over, if it is and nothing waits to be read. It runs in turn with
// the hooks.
func (st *Stream) close() {
	if !st.in.mu.TryLock() {
		return // whoever reads sees to it
	}
	whole := st.in.phase == readEnd || st.in.err != nil || st.q.Err() != nil || !st.q.CanRead()
	missed := st.in.mu.Unlock()
	st.mu.Lock()
	hook := st.closing
	tell := hook != nil && (whole || st.ended)
	if tell {
		st.closing, st.closeTold = nil, true
	}
	st.mu.Unlock()
	switch {
	case tell:
		st.guard(func() error { hook(); return nil })
	case missed: // by a TryRead
		st.s.q.Post(st.pump)
	}
}

// aborted is told that the peer has cut off a side.
func (st *Stream) aborted(err error) error {
	st.s.chargeReset(st)
	err = wrap(err)
	st.mu.Lock()
	st.poke()
	hook, own := st.hooks.Aborted, st.onAbort
	st.mu.Unlock()
	if own != nil {
		own(err)
	}
	if hook != nil {
		if err := hook(err); err != nil {
			return err
		}
	}
	if _, reset := st.q.ResetReceived(); reset {
		st.pump() // who has nothing to read hears of it nevertheless
	}
	return nil
}

// readable is told that the stream below has something to read.
func (st *Stream) readable() error {
	st.pump()
	return nil
}

// pump takes frames apart until there is data, or nothing, and tells the hooks. It runs in turn
// with them. If a read waits, that one does it.
func (st *Stream) pump() {
	r := &st.in
	if !r.mu.TryLock() {
		return
	}
	p, err := partInfo, error(nil)
	for err == nil && p != partNone && p != partData && p != partEnd {
		p, err = st.next(false)
	}
	end := p == partEnd || err != nil
	told := p == partData || end && st.endKnown()
	if told {
		st.noticeReadable()
	}
	r.mu.Unlock()
	if denied := r.denied.Swap(false); denied && end && !told && !st.closeWasTold() { // whoever it was has not heard of the end
		st.noticeReadable()
	}
	st.tell()
}

func (st *Stream) closeWasTold() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.closeTold
}

// endKnown reports whether it is news that there is nothing more to read.
func (st *Stream) endKnown() (news bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	news = !st.endTold
	st.endTold = true
	return news
}

func (st *Stream) noticeReadable() {
	st.notice(func(k *StreamHooks) error {
		if k.Readable == nil {
			return nil
		}
		return k.Readable()
	})
}

// noticeBlock tells of a header block, if there are hooks.
func (st *Stream) noticeBlock(p part, h Headers) {
	if !st.isHooked() {
		return
	}
	st.notice(func(k *StreamHooks) error {
		hook := k.InitialHeaders
		switch p {
		case partInfo:
			hook = k.InformationalHeaders
		case partTrailer:
			hook = k.TrailingHeaders
		}
		if hook == nil {
			return nil
		}
		return hook(h)
	})
}

// notice is a call of one of the hooks.
type notice func(k *StreamHooks) error

// notice queues a call of a hook, if there are hooks. The order in which they are queued is
// the order in which they are told.
func (st *Stream) notice(tell notice) {
	if !st.isHooked() {
		return
	}
	st.mu.Lock()
	st.notices = append(st.notices, tell)
	first := len(st.notices) == 1
	st.mu.Unlock()
	if first {
		st.s.q.Post(st.tell)
	}
}

// tell tells the hooks what waits. It runs in turn with them.
func (st *Stream) tell() {
	for {
		st.mu.Lock()
		if len(st.notices) == 0 {
			st.notices = nil
			st.mu.Unlock()
			return
		}
		k, tell := st.hooks, st.notices[0]
		st.notices = st.notices[1:]
		st.mu.Unlock()
		st.guard(func() error { return tell(&k) })
	}
}

// guard calls a hook; its error or panic destroys the stream.
func (st *Stream) guard(hook func() error) {
	if err := call(hook); err != nil {
		st.Destroy(err)
	}
}

// call calls a hook, and makes an error of its panic.
func call(hook func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &quic.HandlerError{Value: v, Stack: debug.Stack()}
		}
	}()
	return hook()
}

// unlockIn gives the reading turn back.
func (st *Stream) unlockIn() {
	missed := st.in.mu.Unlock()
	st.mu.Lock()
	hooked, closing := st.hooked, st.closing != nil
	st.mu.Unlock()
	if missed && hooked {
		st.s.q.Post(st.pump)
	}
	if closing {
		st.s.q.Post(st.close)
	}
}

// tellPush tells of a promise.
func (st *Stream) tellPush(h Headers, id int64) {
	st.notice(func(k *StreamHooks) error {
		if k.PushHeaders == nil {
			return nil
		}
		return k.PushHeaders(h, id)
	})
}
