package transport

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client that has moved to the server's preferred address still hears the
// server from its first one: there it goes on if its own validation of the path failed.
func TestS50PreferredFallback(t *testing.T) {
	besiege(t, 0)
	preferred := netip.MustParseAddrPort("10.0.0.9:4433")
	p := newPair(t, func(n *node, c *Config, _ *MuxConfig) {
		if n.name == "server" {
			c.Params.PreferredAddress = &wire.PreferredAddress{IPv4: preferred}
		}
		c.AcceptPreferred = true
	})
	p.handshake()
	p.runUntil(time.Second, func() bool { return p.client.conn.Path().Remote == preferred && len(p.flight) == 0 })
	if at := p.client.conn.Path().Remote; at != preferred {
		t.Fatalf("client speaks to %v", at)
	}
	for _, from := range []struct {
		addr  string
		heard uint64
	}{{"10.0.0.2:443", 1}, {"10.0.0.3:443", 0}} {
		before := p.client.conn.Stats().PacketsReceived
		p.server.conn.Ping()
		p.flush(p.server)
		for i := range p.flight {
			p.flight[i].path.Remote = netip.MustParseAddrPort(from.addr)
		}
		p.runUntil(p.delay, func() bool { return len(p.flight) == 0 })
		if got := p.client.conn.Stats().PacketsReceived - before; got != from.heard {
			t.Errorf("heard %d packets from %s, want %d", got, from.addr, from.heard)
		}
	}
}
