package transport

import (
	"testing"
	"time"
)

// Config.KeepAlive keeps an idle connection alive without a call to SetKeepAlive.
func TestConfigKeepAlive(t *testing.T) {
	p := newPair(t, func(n *node, c *Config, _ *MuxConfig) {
		c.Params.MaxIdleTimeout = 2 * time.Second
		if n.name == "client" {
			c.KeepAlive = 500 * time.Millisecond
		}
	})
	p.handshake()
	p.runUntil(10*time.Second, func() bool { return p.client.closed() != nil || p.server.closed() != nil })
	if c, s := p.client.closed(), p.server.closed(); c != nil || s != nil {
		t.Errorf("closed: client %+v, server %+v", c, s)
	}
}
