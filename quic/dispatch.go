package quic

import (
	"math"
	"runtime/debug"
	"slices"
	"sync"
)

// maxNotices is how many notices may wait for the hooks of one session: room
// for an edge notice and the end of every stream that can be open at once. What
// comes on top and is not the end of something is dropped.
const maxNotices = 4096

// maxSessionErrors is how many sessions whose Handler failed may wait for a socket's SessionError hook.
const maxSessionErrors = 1024

// dispatcher runs the hooks of one socket or session: one at a time, in order,
// on a goroutine that exists only while there is something to tell.
//
// Its lock is a leaf: it is taken with any other held, and no other under it.
type dispatcher struct {
	run func(func()) // starts a delivery: SocketOptions.Dispatch; nil is a goroutine

	mu      sync.Mutex
	queue   []func() // the first of which, told of them, are no more
	told    int
	held    bool // wait: the session's Handler has not returned
	running bool // a delivery has been or is to be started
	owed    bool // it is to be started by kick
	sealed  bool // the last notice was posted
	dropped uint64
}

// drops returns how many notices found no room; d may be nil.
func (d *dispatcher) drops() uint64 {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped
}

// post queues a notice. It may be called under locks; kick must follow without.
func (d *dispatcher) post(f func(), vital bool) {
	most := maxNotices
	if vital {
		most = math.MaxInt
	}
	d.postBelow(most, f)
}

// postBelow is post for a notice that is dropped if so many wait.
func (d *dispatcher) postBelow(most int, f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.sealed:
		return
	case len(d.queue)-d.told >= most:
		d.dropped++
		return
	}
	d.queue = append(d.queue, f)
	d.schedule()
}

// last queues the notice after which there are no others: what is posted
// later is dropped.
func (d *dispatcher) last(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, f)
	d.sealed = true
	d.schedule()
}

// hold makes notices wait until release.
func (d *dispatcher) hold() {
	d.mu.Lock()
	d.held = true
	d.mu.Unlock()
}

// release lets the notices go, and kicks.
func (d *dispatcher) release() {
	d.mu.Lock()
	d.held = false
	d.schedule()
	d.mu.Unlock()
	d.kick()
}

func (d *dispatcher) schedule() {
	if !d.held && !d.running && len(d.queue) > d.told {
		d.running, d.owed = true, true
	}
}

// kick starts the delivery of what was posted. It is called without locks,
// because Dispatch is user code.
func (d *dispatcher) kick() {
	d.mu.Lock()
	owed := d.owed
	d.owed = false
	d.mu.Unlock()
	switch {
	case !owed:
	case d.run != nil:
		d.run(d.deliver)
	default:
		go d.deliver()
	}
}

// deliver runs notices until there are none.
func (d *dispatcher) deliver() {
	deepen(false)
	for f := d.next(); f != nil; f = d.next() {
		f()
	}
}

// next takes the notice that is to be told next, nil if there is none, which ends the delivery.
func (d *dispatcher) next() func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told == len(d.queue) {
		d.queue, d.told, d.running = nil, 0, false
		return nil
	}
	f := d.queue[d.told]
	d.queue[d.told] = nil
	d.told++
	if 2*d.told > len(d.queue) {
		d.queue, d.told = slices.Delete(d.queue, 0, d.told), 0
	}
	return f
}

// call runs a hook, and returns its error; a panic is one.
func call(hook func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &HandlerError{Value: v, Stack: debug.Stack()}
		}
	}()
	return hook()
}
