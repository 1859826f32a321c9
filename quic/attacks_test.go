package quic

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// Sessions that are cut off in every state of their lives leave nothing behind: no session in
// the sockets, no goroutine, no memory.
func TestS51LeakAfterClose(t *testing.T) {
	besiege(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		ends := []func(){
			func() { m.connect(ConnectOptions{}).Destroy(nil) },
			func() { // in the middle of the handshake
				c := m.connect(ConnectOptions{})
				time.Sleep(2 * time.Millisecond)
				c.Destroy(nil)
			},
			func() { m.pair(ConnectOptions{}).client.Destroy(nil) },
			func() { m.pair(ConnectOptions{}).server.Destroy(nil) },
			func() { m.pair(ConnectOptions{}).client.CloseWithError(7, "enough") },
			func() { // in the middle of a transfer
				p := m.pair(ConnectOptions{})
				st, err := p.client.OpenStream(t.Context(), StreamOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.TryWrite(make([]byte, 100_000)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Millisecond)
				p.client.Destroy(nil)
			},
			func() {
				p := m.pair(ConnectOptions{})
				if _, err := p.server.OpenStream(t.Context(), StreamOptions{HalfOpen: true}); err != nil {
					t.Fatal(err)
				}
				if err := p.client.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
		}
		honest := m.pair(ConnectOptions{KeepAlive: 10 * time.Second})
		rounds := func(n int) (heap int64, goroutines int) {
			for range n {
				for _, end := range ends {
					end()
				}
			}
			time.Sleep(5 * time.Minute) // whatever still lingers ends
			synctest.Wait()
			if n, handshakes := m.linked(); n != 1 || handshakes != 0 {
				t.Errorf("%d sessions, of which one is honest, and %d handshakes left", n, handshakes)
			}
			return siege.Heap(), runtime.NumGoroutine()
		}
		before, few := rounds(siege.Costly(160, 20))     // of the full count so many that as many linger as may
		after, many := rounds(siege.Costly(14_300, 140)) // seven sessions each
		if many > few {
			t.Errorf("%d goroutines, %d before", many, few)
		}
		tables := int64(siege.Costly(64*limits.Bound(t, "used-tokens"), 0)) // of the full count: 64 bytes a token that may be kept
		if grown := after - before; grown > 256<<10+tables && !siege.Logs { // one session that stays would be 16 KiB
			t.Errorf("%d bytes more", grown)
		}
		m.canaries(honest)
	})
}

// A client opens as many streams as it may, each handler blocks, and there is one goroutine a
// stream and no more: neither frames nor streams beyond the limit start any.
func TestS52GoroutineCap(t *testing.T) {
	besiege(t, 8<<20) // of which the runtime keeps half a KiB for each goroutine that there ever was at a time
	synctest.Test(t, func(t *testing.T) {
		most := siege.Scaled(10_000)
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{MaxStreamsBidi: int64(most)})
		defer m.close()
		p := m.pair(ConnectOptions{})
		m.attacked.Grant(int64(most) * 3 << 10) // for a hundred times as many streams as usual, at both ends, and their goroutines
		gate, running := make(chan bool), make(chan bool, 2*most)
		p.server.HandleStreams(func(st *Stream) {
			running <- true
			<-gate
			_ = st.Close()
		})
		synctest.Wait()
		before := runtime.NumGoroutine()
		var streams []*Stream
		for range most {
			st, err := p.client.OpenStream(t.Context(), StreamOptions{})
			if err != nil {
				t.Fatal(err)
			}
			m.look()
			for range 3 {
				if _, err := st.TryWrite([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			streams = append(streams, st)
		}
		if _, err := p.client.TryOpenStream(StreamOptions{}); !errors.Is(err, ErrOperationFailed) {
			t.Errorf("one stream more: %v", err)
		}
		for _, st := range streams[:most/20] { // cut off, but their handlers still run
			st.Reset(1)
			st.Stop(1)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for range most { // in the place of those that were cut off
			if st, err := p.client.TryOpenStream(StreamOptions{}); err == nil {
				_, _ = st.TryWrite([]byte("x"))
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(running); n != most {
			t.Errorf("%d handlers run", n)
		}
		if n := runtime.NumGoroutine() - before; n > most+10 {
			t.Errorf("%d goroutines for %d streams", n, most)
		}
		close(gate)
		synctest.Wait()
		m.canaries()
	})
}
