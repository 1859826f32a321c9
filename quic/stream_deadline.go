package quic

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// deadline is a time after which one side's calls fail. Its timer is made when it
// is first needed.
type deadline struct {
	at      mono.Time
	timer   *time.Timer
	expired bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// set starts the deadline anew.
func (d *deadline) set(t time.Time) {
	d.stop()
	d.at, d.expired = mono.Never, false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	d.at, d.expired = now().Add(wait), wait <= 0
}

// due reports whether the deadline has just passed: a timer that was stopped too
// late may go off for a deadline that has been moved.
func (d *deadline) due() bool {
	if d.expired || now() < d.at {
		return false
	}
	d.expired = true
	return true
}

// start makes the timer run, if there is something to wait for.
func (d *deadline) start(onTime func()) {
	switch {
	case d.expired || d.at == mono.Never:
	case d.timer == nil:
		d.timer = time.AfterFunc(d.at.Sub(now()), onTime)
	default:
		d.timer.Reset(d.at.Sub(now()))
	}
}

func (st *Stream) setDeadline(t time.Time, read, write bool) {
	s := st.s
	s.mu.Lock()
	defer s.unlock(flushNow)
	if st.over {
		if x := st.x; x != nil { // nothing waits any more; the end is what there is to hear
			x.read.expired = x.read.expired && !read
			x.write.expired = x.write.expired && !write
		}
		return
	}
	x := st.extra()
	if read {
		x.read.set(t)
		x.read.start(st.onReadDeadline)
		if x.read.expired {
			st.expireReaders()
		}
	}
	if write {
		x.write.set(t)
		x.write.start(st.onWriteDeadline)
		if x.write.expired {
			st.fail(&st.writers, errWriteDeadline)
		}
	}
}

func (st *Stream) onReadDeadline() {
	st.s.mu.Lock()
	defer st.s.unlock(flushNow)
	if st.x.read.due() {
		st.expireReaders()
	}
}

func (st *Stream) onWriteDeadline() {
	st.s.mu.Lock()
	defer st.s.unlock(flushNow)
	if st.x.write.due() {
		st.fail(&st.writers, errWriteDeadline)
	}
}

// expireReaders ends all reads that wait. What has gone into the first one's
// slice already is its result.
func (st *Stream) expireReaders() {
	if st.readers.head == nil {
		return
	}
	st.detach()
	st.fail(&st.readers, errReadDeadline)
}

func (st *Stream) readExpired() bool  { return st.x != nil && st.x.read.expired }
func (st *Stream) writeExpired() bool { return st.x != nil && st.x.write.expired }
