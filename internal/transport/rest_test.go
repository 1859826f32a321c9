package transport

import (
	"testing"
	"time"
)

// A connection that has had nothing to do for a second holds nothing for the next packet.
// From then on it wakes up only to end, and it goes on as if nothing had been.
func TestRest(t *testing.T) {
	p := newPair(t, nil)
	p.handshake()
	for range 2 {
		p.transfer(1 << 20)
		busy := p.now
		for !p.client.conn.idle.rests || !p.server.conn.idle.rests {
			if !p.step() || p.now.Sub(busy) > 3*time.Second {
				t.Fatal("no rest")
			}
		}
		for _, n := range []*node{p.client, p.server} {
			c := n.conn
			if len(c.streams.table) > 0 || c.streams.last != nil || cap(c.frames)+cap(c.events.list) > 0 {
				t.Errorf("%s: %d streams, room for %d frames and %d events", n.name, len(c.streams.table), cap(c.frames), cap(c.events.list))
			}
			if at := c.Deadline(); at != c.when(timerIdle) {
				t.Errorf("%s: wakes up after %v", n.name, at.Sub(p.now))
			}
			if c.loss.InFlight() > 0 {
				t.Errorf("%s: rests with %d bytes in flight", n.name, c.loss.InFlight())
			}
		}
	}
}
