package quic

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// The program's clock is asked for the time of a certificate's verification, without
// the session's lock.
func TestVerifyWithoutLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{Delay: time.Millisecond}, SocketOptions{}, ListenOptions{})
		defer m.close()
		var session atomic.Pointer[ClientSession]
		asked := 0
		config := &tls.Config{NextProtos: []string{"test"}, Time: func() time.Time {
			if c := session.Load(); c != nil {
				c.Stats()
				asked++
			}
			return time.Now()
		}}
		c := m.connect(ConnectOptions{TLS: config, AllowUnauthenticated: true})
		session.Store(c)
		if err := c.Handshake(t.Context()); err != nil || c.AuthenticationError() == nil || asked == 0 {
			t.Errorf("%v, %v, asked %d times", err, c.AuthenticationError(), asked)
		}
	})
}

// callingBack is a PacketConn that calls back into its socket when it is closed.
type callingBack struct {
	net.PacketConn
	close func()
}

func (c callingBack) Close() error {
	c.close()
	return c.PacketConn.Close()
}

// A PacketConn that turns out not to be needed is closed without the socket's lock.
func TestLateCloseWithoutLock(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var s *Socket
	closed := false
	s, err = NewSocket(SocketOptions{PacketConn: lateConn{callingBack{pc, func() { closed = true; s.Stats() }}, func() { s.Destroy(nil) }}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(context.Background(), ListenOptions{TLS: serverConfig()}); err == nil || !closed {
		t.Errorf("%v, closed %v", err, closed)
	}
}

// lateConn ends its socket while that binds it.
type lateConn struct {
	callingBack
	destroy func()
}

func (c lateConn) LocalAddr() net.Addr {
	c.destroy()
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1"))
}

// nosyError looks at its session whenever it is asked what it is.
type nosyError struct{ s *Session }

func (nosyError) Error() string { return "nosy" }

func (e nosyError) As(any) bool {
	e.s.Stats()
	return false
}

// What errors.As makes of the program's error is found out without the session's lock.
func TestDestroyErrorWithoutLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemNet(t, udp.NetworkOptions{}, SocketOptions{}, ListenOptions{})
		defer m.close()
		p := m.pair(ConnectOptions{})
		st, _ := p.streams(t)
		st.Destroy(nosyError{&p.client.Session})
		p.client.Destroy(nosyError{&p.client.Session})
		if p.client.CloseCode().Family != CloseTransport {
			t.Errorf("%+v", p.client.CloseCode())
		}
	})
}
