package http3

import (
	"sync"
	"sync/atomic"
)

// turn is the lock of one half of a stream, which a call that waits holds for as long as
// it does. Those who never wait try to take it; if they cannot, its holder does their work
// when it is done, so that no notice is lost.
type turn struct {
	mu     sync.Mutex
	missed atomic.Bool
}

// Lock waits for the turn.
func (t *turn) Lock() { t.mu.Lock() }

// TryLock takes the turn if it is free, and otherwise leaves word that somebody wanted it.
func (t *turn) TryLock() bool {
	if t.mu.TryLock() {
		return true
	}
	t.missed.Store(true)
	return t.mu.TryLock() // its holder may have looked just before
}

// Unlock gives the turn back, and reports whether somebody wanted it meanwhile.
func (t *turn) Unlock() (missed bool) {
	t.mu.Unlock()
	return t.missed.Swap(false)
}
