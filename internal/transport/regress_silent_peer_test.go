package transport

import (
	"testing"
	"time"
)

// A peer that is gone without a word is found out by the idle timer, and is not
// said to have broken a rule, whether or not we were talking to it.
func TestSilentPeerIdles(t *testing.T) {
	for _, keepAlive := range []time.Duration{0, 10 * time.Second} {
		p := newPair(t, nil)
		p.handshake()
		p.server.conn.SetKeepAlive(keepAlive)
		p.server.conn.Ping()
		p.flush(p.server)
		p.client.conn.Ping() // arrives after that went out, and says nothing about it
		p.flush(p.client)
		p.client.conn.Destroy(p.now)
		p.client.mux.SetDisableReset(true)
		p.client.settle(p.now)
		p.runUntil(5*time.Minute, func() bool { return p.server.closed() != nil })
		if r := p.server.closed(); r == nil || r.Kind != CloseIdle {
			t.Errorf("keep-alive %v: closed with %+v", keepAlive, r)
		}
	}
}
