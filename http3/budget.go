package http3

import (
	"sync"
	"time"
)

// A peer may do legal things that are of no use: frames of unknown types, empty DATA, requests
// that it takes back. A session has a budget of them. It fills with time, and by one with each
// request: what honest peers waste grows with what they do.
const (
	budgetBurst = 1000
	budgetRate  = 33 // a second

	// resetCost is what a request costs that was taken back or malformed: more than it has brought.
	resetCost = 2
	// freeUpdates is how many PRIORITY_UPDATE frames come with a request and cost nothing.
	freeUpdates = 4
)

// budget is a bucket of tokens. Its lock is a leaf.
type budget struct {
	mu    sync.Mutex
	spent float64
	total uint64
	at    time.Time
}

// charge takes one token, and returns a fault if there is none.
func (b *budget) charge(what string) *fault { return b.take(1, what) }

// take takes n tokens for one thing or for n of them.
func (b *budget) take(n uint64, what string) *fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*budgetRate)
	b.at = now
	b.total += n
	if b.spent += float64(n); b.spent > budgetBurst {
		return sessionFault(ExcessiveLoad, "too many %s", what)
	}
	return nil
}

// earn gives one token back.
func (b *budget) earn() {
	b.mu.Lock()
	b.spent = max(0, b.spent-1)
	b.mu.Unlock()
}

// spentInAll returns how many tokens were ever taken.
func (b *budget) spentInAll() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}
