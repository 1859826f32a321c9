package quic

import (
	"context"
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/securecontext"
)

// Handshake bytes that come one by one while TLS is at work wait as one piece of a level.
func TestS04HandshakeByTheByte(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		asked, answer := make(chan *ServerSession, 1), make(chan struct{})
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{
			ClientHelloHandler: func(_ context.Context, s *ServerSession, _ ClientHello) (*securecontext.Context, error) {
				asked <- s
				<-answer
				return nil, nil
			},
		})
		defer m.close()
		c := m.connect(ConnectOptions{})
		s := <-asked
		s.mu.Lock()
		before := len(s.tls.queue)
		for _, b := range append([]byte{20, 0, 0xff, 0xff}, make([]byte, 4000)...) { // a Finished of 64 KiB
			s.tlsInput(now(), transport.LevelHandshake, []byte{b})
		}
		if n := len(s.tls.queue) - before; n != 1 {
			t.Errorf("%d pieces wait, want 1", n)
		}
		s.unlock(flushNone)
		close(answer)
		c.Destroy(nil)
	})
}

// A session that sends nothing early leaves the ticket of the program's cache as it is.
func TestResumptionLeavesTheCachedTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		config := clientConfig()
		cache := tls.NewLRUClientSessionCache(1)
		config.ClientSessionCache = cache
		m.pair(ConnectOptions{TLS: config, ServerName: "localhost"}).exchange(t)
		synctest.Wait() // the ticket comes
		ticket, ok := cache.Get("localhost")
		if !ok {
			t.Fatal("no ticket")
		}
		_, state, err := ticket.ResumptionState()
		if err != nil || !state.EarlyData {
			t.Fatalf("a ticket with early data %v, %v", state.EarlyData, err)
		}
		c := m.connect(ConnectOptions{TLS: config, ServerName: "localhost", DisableEarlyData: true})
		if err := c.Handshake(t.Context()); err != nil || !c.ConnectionState().DidResume {
			t.Errorf("resumed %v, %v", c.ConnectionState().DidResume, err)
		}
		if !state.EarlyData {
			t.Error("the ticket in the cache permits no early data any more")
		}
	})
}
