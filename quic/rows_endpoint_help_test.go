package quic

import (
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// closings collects what EndpointClose tells.
type closings struct {
	mu   sync.Mutex
	list []closing
}

type closing struct {
	e      *Endpoint
	err    error
	listed bool // it was still among the socket's
}

func (c *closings) hook(e *Endpoint, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, closing{e, err, slices.Contains(e.Socket().Endpoints(), e)})
	return nil
}

func (c *closings) all() []closing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// wantGone wants an endpoint that has closed, and its address free.
func wantGone(t *testing.T, n *udp.Network, e *Endpoint, addr string) {
	t.Helper()
	if again, err := n.Listen(netip.MustParseAddrPort(addr)); err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		again.Close()
	}
	wantState(t, "Close after the end", e.Close())
}
