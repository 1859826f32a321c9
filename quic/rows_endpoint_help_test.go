package quic

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

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

// bindResult is what Endpoint.Bind returns.
type bindResult struct {
	addr netip.AddrPort
	err  error
}

// bindsTogether binds an endpoint while it is being bound, with contexts that are over
// and that end meanwhile, as a bubble can tell for sure.
func bindsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowLookup()
		s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "somewhere", Lookup: slow.lookup}})
		e := s.Endpoints()[0]
		over, cancel := context.WithCancel(t.Context())
		cancel()
		ending, cancel := context.WithCancel(t.Context())
		defer cancel()
		results := make(chan bindResult, 3)
		for _, ctx := range []context.Context{t.Context(), over, ending} {
			go func() {
				addr, err := e.Bind(ctx)
				results <- bindResult{addr, err}
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		if len(results) != 0 || len(slow.entered) != 1 || !e.Pending() {
			t.Fatalf("%d calls have ended; the name was looked up %d times more; pending %v", len(results), len(slow.entered)-1, e.Pending())
		}
		covers(t, "EP-026")
		slow.release <- loopback4
		for range 3 {
			if r := <-results; r.err != nil || r.addr != e.Address() || r.addr.Addr() != loopback4 {
				t.Errorf("%v, %v; bound to %v", r.addr, r.err, e.Address())
			}
		}
		covers(t, "EP-013")
		covers(t, "EP-014")
		if e.Pending() {
			t.Error("pending when it is bound")
		}
		covers(t, "EP-026")
		s.Destroy(nil)
	})
}

// bindsNoMore binds an endpoint that was destroyed before, beside another: nobody is
// asked for its address.
func bindsNoMore(t *testing.T) {
	t.Helper()
	slow := newSlowLookup()
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "somewhere", Lookup: slow.lookup}})
	add(t, s, EndpointOptions{})
	e := s.Endpoints()[0]
	e.Destroy(nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := e.Bind(ctx)
		done <- err
	}()
	select {
	case err := <-done:
		wantState(t, "Bind of an endpoint that was destroyed before", err)
	case <-slow.entered:
		t.Error("the address of an endpoint that was destroyed is looked up")
	}
	if e.Pending() || e.Bound() || s.Destroyed() {
		t.Errorf("pending %v, bound %v", e.Pending(), e.Bound())
	}
	covers(t, "EP-012")
}
