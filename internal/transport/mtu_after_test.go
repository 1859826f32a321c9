package transport

import (
	"testing"
	"time"
)

// Discovery waits until enough was sent for larger datagrams to pay.
func TestMTUDiscoveryAfter(t *testing.T) {
	p := newPair(t, func(_ *node, c *Config, _ *MuxConfig) { c.MTUDiscoveryAfter = 10_000 })
	p.handshake()
	p.runUntil(time.Second, func() bool { return len(p.flight) == 0 })
	for _, n := range []*node{p.client, p.server} {
		if got := n.conn.Stats().MTU; got != 1200 {
			t.Errorf("%s: MTU %d before anything was sent", n.name, got)
		}
	}
	p.transfer(100_000)
	for _, n := range []*node{p.client, p.server} {
		if got := n.conn.Stats().MTU; got != 1452 {
			t.Errorf("%s: MTU %d after a transfer", n.name, got)
		}
	}
}
