package quic

import (
	"runtime"
	"sync"
)

// flusher sends what sessions have been given in small pieces, a moment later: in
// that moment other goroutines can add to it, and all of it shares packets and system
// calls. It belongs to a socket, and has a goroutine from the first use on, with
// lanes for several cores; a goroutine for each time would have to grow its stack
// each time.
type flusher struct {
	once  sync.Once
	lanes []lane
	ended chan struct{}
}

// maxLanes is how many goroutines a socket's flusher may have at most.
const maxLanes = 8 // no limit: of ours

// lane is one goroutine's part of a flusher: always the same sessions.
type lane struct {
	mu      sync.Mutex
	queue   []*Session
	spare   []*Session // the queue before, emptied
	started bool
	awake   bool
	wake    chan struct{} // one slot
}

// add makes the flusher flush s in a moment. It is called under the session's
// lock, and s is not added again until its flush begins.
func (f *flusher) add(s *Session) {
	f.once.Do(func() {
		f.lanes = make([]lane, min(runtime.GOMAXPROCS(0), maxLanes))
	})
	l := &f.lanes[int(s.lane)%len(f.lanes)]
	l.mu.Lock()
	l.queue = append(l.queue, s)
	wake := !l.awake
	l.awake = true
	if !l.started {
		l.started = true
		l.wake = make(chan struct{}, 1)
		go l.run(f.ended)
	}
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
}

// run flushes sessions until the socket's end.
func (l *lane) run(ended <-chan struct{}) {
	for {
		select {
		case <-l.wake:
		case <-ended:
			return
		}
		for l.flush() {
		}
	}
}

// flush flushes what is queued, and reports false when that is nothing.
func (l *lane) flush() bool {
	runtime.Gosched()
	l.mu.Lock()
	list := l.queue
	l.queue = l.spare[:0]
	l.spare = list
	l.awake = len(list) > 0
	l.mu.Unlock()
	for i, s := range list {
		s.flushNow()
		list[i] = nil
	}
	return len(list) > 0
}
