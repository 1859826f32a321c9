package quic

import "sync"

// arrivals is the streams that HandleStreams' function is about to be given. Each is certain of a
// goroutine: whoever takes one while others wait starts the next taker first. But a function that
// returns without having waited, as most do whose request has come whole, leaves its goroutine
// to the next stream, and what was started meanwhile finds nothing left to do. A hundred requests that
// came together take a few goroutines then, whose stacks have grown already.
type arrivals struct {
	mu         sync.Mutex
	head, tail *Stream // linked by their fresh
	handler    func(*Stream)
	coming     bool // a taker was started that has not taken anything yet; true while head is not nil
}

// takerTurn is how many streams one goroutine takes, so that others of the program have their turns.
const takerTurn = 16 // no limit: of ours

// begin adds streams. They are linked from the last to the first.
func (a *arrivals) begin(fresh *Stream, handler func(*Stream)) {
	last, list := fresh, (*Stream)(nil)
	for fresh != nil {
		next := fresh.fresh
		fresh.fresh, list, fresh = list, fresh, next
	}
	a.mu.Lock()
	a.handler = handler
	if a.tail == nil {
		a.head = list
	} else {
		a.tail.fresh = list
	}
	a.tail = last
	start := !a.coming
	a.coming = true
	a.mu.Unlock()
	if start {
		go a.take()
	}
}

// take handles streams until there are none, or its turn is over.
func (a *arrivals) take() {
	deepen(false)
	a.mu.Lock()
	a.coming = false
	for range takerTurn {
		st, handler := a.head, a.handler
		if st == nil {
			break
		}
		if a.head, st.fresh = st.fresh, nil; a.head == nil {
			a.tail = nil
		}
		start := a.head != nil && !a.coming
		a.coming = a.coming || start
		a.mu.Unlock()
		if start {
			go a.take()
		}
		handler(st)
		a.mu.Lock()
	}
	a.mu.Unlock()
}
