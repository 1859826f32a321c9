package http3

import (
	"sync"
	"time"
)

// A peer may do legal things that are of no use: frames of unknown types, empty DATA,
// requests that it takes back. A session has a budget of them, which grows with time.
const (
	budgetBurst = 1000
	budgetRate  = 100 // a second
)

// budget is a bucket of tokens. Its lock is a leaf.
type budget struct {
	mu    sync.Mutex
	spent float64
	total uint64
	at    time.Time
}

// charge takes one token, and returns a fault if there is none.
func (b *budget) charge(what string) *fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*budgetRate)
	b.at = now
	b.total++
	if b.spent++; b.spent > budgetBurst {
		return sessionFault(ExcessiveLoad, "too many %s", what)
	}
	return nil
}

// spentInAll returns how many tokens were ever taken.
func (b *budget) spentInAll() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}
