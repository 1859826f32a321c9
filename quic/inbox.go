package quic

import (
	"sync"
	"sync/atomic"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// What may wait for a session that is busy; more is dropped and counted, as a
// full socket buffer would.
const (
	inboxDatagrams = 256
	inboxParcels   = 512 << 10 / udp.SlabSize
)

// inbox holds what readers have for a session whose lock another goroutine has.
// The holder empties it before it lets go, and looks again after: a reader that
// puts something in and then cannot get the lock may rely on that.
type inbox struct {
	waiting atomic.Int32 // datagrams; read without the lock
	mu      sync.Mutex
	head    *parcel
	tail    *parcel
	parcels int
	dropped uint64
}

// empty reports whether nothing waits.
func (b *inbox) empty() bool { return b.waiting.Load() == 0 }

// push takes the parcel whole. It reports false if it is dropped, and still the caller's.
func (b *inbox) push(p *parcel) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full(p.n) || b.parcels == inboxParcels {
		b.dropped += uint64(p.n)
		return false
	}
	b.append(p)
	return true
}

// copy takes copies of those of ds that mine says are the session's. It returns how
// many of them it drops.
func (b *inbox) copy(ds []dgram.Datagram, mine func(i int) bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.dropped
	for i := range ds {
		switch {
		case !mine(i):
		case b.full(1):
			b.dropped++
		case b.tail != nil && b.tail.add(&ds[i]):
			b.waiting.Add(1)
		case b.parcels == inboxParcels:
			b.dropped++
		default:
			p := parcels.Get().(*parcel)
			p.add(&ds[i])
			b.append(p)
		}
	}
	return int(b.dropped - before)
}

// room reports whether n datagrams more, in a parcel of their own, have room.
func (b *inbox) room(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.full(n) && b.parcels < inboxParcels
}

func (b *inbox) full(n int) bool { return int(b.waiting.Load())+n > inboxDatagrams }

func (b *inbox) append(p *parcel) {
	p.next = nil
	if b.tail == nil {
		b.head = p
	} else {
		b.tail.next = p
	}
	b.tail = p
	b.parcels++
	b.waiting.Add(int32(p.n))
}

// take returns all parcels, linked, and leaves the inbox empty.
func (b *inbox) take() *parcel {
	if b.empty() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.head
	b.head, b.tail, b.parcels = nil, nil, 0
	b.waiting.Store(0)
	return p
}

// drops returns how many datagrams found no room.
func (b *inbox) drops() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}
