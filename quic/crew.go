package quic

import (
	"runtime"
	"sync/atomic"
	"time"
)

// crew is a socket's goroutines that feed TLS engines. One that has nothing to do waits a
// moment for the next engine before it ends: handshakes come in crowds, and a fresh
// goroutine would have to grow its stack for each step of each.
type crew struct {
	jobs  chan *tlsRunner // received from by those who wait
	idle  atomic.Int32    // how many these are
	ended <-chan struct{}
}

// crewPatience is how long one waits for the next engine.
const crewPatience = 50 * time.Millisecond

// run makes a goroutine feed the engine.
func (c *crew) run(r *tlsRunner) {
	select {
	case c.jobs <- r:
	default:
		go c.work(r)
	}
}

// work feeds one engine, and then others that come in time.
func (c *crew) work(r *tlsRunner) {
	var patience *time.Timer
	for r != nil {
		r.run()
		r = nil
		if c.idle.Add(1) <= 4*int32(runtime.GOMAXPROCS(0)) {
			if patience == nil {
				patience = time.NewTimer(crewPatience)
			} else {
				patience.Reset(crewPatience)
			}
			select {
			case r = <-c.jobs:
			case <-patience.C:
			case <-c.ended:
			}
		}
		c.idle.Add(-1)
	}
	if patience != nil {
		patience.Stop()
	}
}
