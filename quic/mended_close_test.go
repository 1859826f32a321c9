package quic

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func refused(err error) bool {
	return errors.Is(err, &TransportError{ErrorCode: uint64(wire.ConnectionRefused), Remote: true})
}

// A socket that closes tells those whom nobody has accepted, and does not wait for them.
func TestCloseRefusesQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{IdleTimeout: None})
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: None})
		mine, _ := p.streams(t)
		c := m.connect(ConnectOptions{KeepAlive: time.Second, IdleTimeout: None})
		if err := c.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := m.server.Close(); err != nil {
			t.Fatal(err)
		}
		<-c.Closed()
		if err := c.Err(); !refused(err) {
			t.Errorf("the client that was not accepted hears %v", err)
		}
		time.Sleep(time.Minute)
		if p.client.Destroyed() || p.server.Destroyed() || m.server.Destroyed() {
			t.Error("the session that was accepted is gone")
		}
		if !p.server.Closing() {
			t.Error("the session that was accepted is not asked to close")
		}
		p.client.CloseWithError(0, "")
		<-m.server.Closed()
		if _, err := mine.Write([]byte("x")); err == nil {
			t.Error("the stream outlives its session")
		}
	})
}

// So it does with those whose handshake is under way, with a Handler or without.
func TestCloseRefusesHandshakes(t *testing.T) {
	handler := func(*ServerSession) error { return errors.New("called") }
	for _, o := range []ListenOptions{{}, {Handler: handler}} {
		synctest.Test(t, func(t *testing.T) {
			var clients atomic.Int32
			m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, o)
			defer m.close()
			m.net.SetFilter(func(d *dgram.Datagram) bool { // half of a client's first message gets through
				return d.Path.Remote.Addr() != memServer.Addr() && clients.Add(1) > 1
			})
			c := m.connect(ConnectOptions{})
			synctest.Wait()
			if n := m.server.mux.Handshakes(); n != 1 {
				t.Fatalf("%d handshakes", n)
			}
			if err := m.server.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-m.server.Closed():
			case <-time.After(time.Second):
				t.Error("the socket waits for a handshake")
			}
			<-c.Closed()
			if err := c.Err(); !refused(err) {
				t.Errorf("the client hears %v", err)
			}
		})
	}
}

// A session that ends before it is accepted holds no place in the queue.
func TestEndedLeaveQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for range 3 {
			c := m.connect(ConnectOptions{})
			if err := c.Handshake(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			c.Destroy(nil)
		}
		synctest.Wait()
		m.server.mu.Lock()
		n := m.server.accepted.len()
		m.server.mu.Unlock()
		if n != 0 {
			t.Errorf("%d sessions that are over wait for Accept", n)
		}
	})
}

// A code that no frame can carry is told as the largest that one can, by a session as by a stream.
func TestDestroyWithHugeCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		for _, code := range []uint64{1 << 62, 1<<64 - 1} {
			p := m.pair(ConnectOptions{})
			p.client.Destroy(&ApplicationError{ErrorCode: code})
			<-p.server.Closed()
			var told *ApplicationError
			if err := p.server.Err(); !errors.As(err, &told) || told.ErrorCode != 1<<62-1 {
				t.Errorf("the peer of a session that is destroyed with code %#x is told %v", code, err)
			}
		}
	})
}
