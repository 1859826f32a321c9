package quic

import (
	"crypto/tls"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// slowCache holds up whoever brings a ticket.
type slowCache struct {
	tls.ClientSessionCache
	gate chan struct{}
}

func (c slowCache) Put(key string, cs *tls.ClientSessionState) {
	<-c.gate
	c.ClientSessionCache.Put(key, cs)
}

// told is what hooks were told, in their order.
type told struct {
	mu   sync.Mutex
	list []string
}

func (o *told) add(what string) {
	o.mu.Lock()
	o.list = append(o.list, what)
	o.mu.Unlock()
}

func (o *told) want(t *testing.T, when string, want ...string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.list, want) {
		t.Errorf("%s: hooks were told %q, want %q", when, o.list, want)
	}
}

// ticketPair is a client that TLS is bringing a ticket, which waits in the program's cache.
func (m *memNet) ticketPair() (*ClientSession, *told, chan struct{}) {
	o, gate := &told{}, make(chan struct{})
	co := ConnectOptions{TLS: clientConfig(), ALPN: "test"}
	co.TLS.ClientSessionCache = slowCache{tls.NewLRUClientSessionCache(1), gate}
	co.Hooks.SessionTicket = func(ticket, params []byte) error { o.add("ticket"); return nil }
	co.Hooks.Error = func(error) { o.add("error") }
	co.Hooks.Close = func() { o.add("close") }
	c := m.pair(co).client
	synctest.Wait()
	return c, o, gate
}

// A ticket that has come in time is told although the session is over before TLS is
// done with it; Close comes after it, once and last.
func TestTicketOfShortSession(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(c *ClientSession)
		want []string
	}{
		{"closed", func(c *ClientSession) { _ = c.CloseWithError(0, "") }, []string{"ticket", "close"}},
		{"shut down", func(c *ClientSession) { _ = c.Shutdown(c.Context()) }, []string{"ticket", "close"}},
		{"destroyed", func(c *ClientSession) { c.Destroy(errors.New("enough")) }, []string{"ticket", "error", "close"}},
		{"with its socket", func(c *ClientSession) { c.Socket().Destroy(nil) }, []string{"ticket", "close"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
				defer m.close()
				c, o, gate := m.ticketPair()
				test.end(c)
				<-c.Closed()
				o.want(t, "while TLS has the ticket")
				close(gate)
				o.want(t, "afterwards", test.want...)
				time.Sleep(2 * defaultCallbackTimeout)
				o.want(t, "much later", test.want...)
			})
		})
	}
}

// A cache that keeps a ticket for ever cannot keep the end of the session from the hooks.
func TestTicketThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		c, o, gate := m.ticketPair()
		c.Destroy(errors.New("enough"))
		time.Sleep(defaultCallbackTimeout - time.Second)
		o.want(t, "before CallbackTimeout")
		time.Sleep(2 * time.Second)
		o.want(t, "after CallbackTimeout", "error", "close")
		close(gate)
		o.want(t, "after the ticket", "error", "close")
	})
}

// A session without tickets to wait for tells of its end at once.
func TestNoTicketNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		o := &told{}
		co := ConnectOptions{ALPN: "test"}
		co.Hooks.Close = func() { o.add("close") }
		c := m.pair(co).client
		synctest.Wait()
		_ = c.CloseWithError(0, "")
		o.want(t, "at once", "close")
	})
}

// A ticket that still waits for SetTicketData when the session ends is told without, and Close comes
// after it; a cache, which another session looks into, has no use for it.
func TestHeldTicketAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		o, cache := &told{}, &keptTickets{}
		var kept []byte
		co := ConnectOptions{TLS: clientConfig(), ALPN: "test"}
		co.TLS.ClientSessionCache = cache
		co.Hooks.SessionTicket = func(ticket, _ []byte) error { kept = ticket; o.add("ticket"); return nil }
		co.Hooks.Close = func() { o.add("close") }
		c := m.connect(co)
		c.HoldTickets()
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		o.want(t, "while it waits")
		_ = c.CloseWithError(0, "")
		o.want(t, "at the end", "ticket", "close")
		if len(cache.all) > 0 {
			t.Errorf("%d tickets in the cache", len(cache.all))
		}
		c.SetTicketData(nil)
		if len(cache.all) != 1 {
			t.Errorf("%d tickets in the cache, want 1", len(cache.all))
		}
		next := m.connect(ConnectOptions{SessionTicket: kept})
		if err := next.Handshake(t.Context()); err != nil || !next.ConnectionState().DidResume {
			t.Errorf("with the ticket: %v, resumed %v", err, next.ConnectionState().DidResume)
		}
	})
}

// A client whose certificates would make the next ClientHello too long has no ticket, and is served.
func TestTicketOfLongChain(t *testing.T) {
	one := len(serverConfig().Certificates[0].Certificate[0])
	tooMany := limits.Bound(t, "ticket-certificates")/one + 1
	own := func(c *tls.Config) { // the program keeps what is in a ticket, however much it is
		c.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return []byte("number one"), nil }
	}
	choose := func(c *tls.Config) {
		chosen := c.Clone()
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }
	}
	for _, test := range []struct {
		copies int
		set    func(*tls.Config)
		want   bool
	}{
		{1, func(*tls.Config) {}, true}, {tooMany, func(*tls.Config) {}, false},
		{tooMany, own, true}, {1, choose, true}, {tooMany, choose, false}, {tooMany, func(c *tls.Config) { own(c); choose(c) }, true},
	} {
		copies, want := test.copies, test.want
		synctest.Test(t, func(t *testing.T) {
			l := ListenOptions{TLS: serverConfig()}
			l.TLS.ClientAuth = tls.RequireAnyClientCert
			test.set(l.TLS)
			m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, l)
			defer m.close()
			var tickets atomic.Int64
			co := ConnectOptions{TLS: clientConfig(), Hooks: SessionHooks{SessionTicket: func(_, _ []byte) error { tickets.Add(1); return nil }}}
			cert := serverConfig().Certificates[0]
			cert.Certificate = slices.Repeat(cert.Certificate[:1], copies)
			co.TLS.Certificates = []tls.Certificate{cert}
			c := m.connect(co)
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if got := tickets.Load() > 0; got != want || c.Err() != nil {
				t.Errorf("%d certificates: %d tickets, %v", copies, tickets.Load(), c.Err())
			}
		})
	}
}
