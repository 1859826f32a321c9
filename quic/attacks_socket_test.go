package quic

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
)

// deafConn is a socket whose system tells it of unreachable peers, as some do for all peers of a socket: before every
// datagram that it reads stands such an error, and nobody at one address can be written to.
type deafConn struct {
	net.PacketConn
	nobody netip.AddrPort
	owed   atomic.Bool
	told   atomic.Int64
}

func (r *deafConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if r.owed.CompareAndSwap(true, false) {
		r.told.Add(1)
		return 0, nil, &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}
	}
	n, from, err := r.PacketConn.ReadFrom(b)
	r.owed.Store(err == nil)
	return n, from, err
}

func (r *deafConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if a, ok := to.(*net.UDPAddr); ok && a.AddrPort() == r.nobody {
		r.told.Add(1)
		return 0, &net.OpError{Op: "write", Net: "udp", Err: syscall.ECONNREFUSED}
	}
	return r.PacketConn.WriteTo(b, to)
}

// S-43: a peer whose host says that nobody is there takes neither the listener nor anybody's session with it.
func TestS43Refused(t *testing.T) {
	besiege(t, 2<<20)
	ctx := testContext(t)
	listen := func() net.PacketConn {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	gone := listen() // a client that is there, and that nothing reaches
	r := &deafConn{PacketConn: listen(), nobody: gone.LocalAddr().(*net.UDPAddr).AddrPort()}
	socket, err := NewSocket(SocketOptions{PacketConn: r})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Destroy(nil)
	if err := socket.Listen(ctx, ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	dial := func() *pair {
		client, err := Dial(ctx, socket.Address().String(), ConnectOptions{TLS: clientConfig()})
		if err != nil {
			t.Fatal(err)
		}
		server, err := socket.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return &pair{socket, client, server}
	}
	honest := dial()
	defer honest.client.Destroy(nil)
	lost, err := NewSocket(SocketOptions{PacketConn: gone})
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Destroy(nil)
	o := ConnectOptions{TLS: clientConfig(), ServerName: "localhost", Address: "127.0.0.1", Port: int(socket.Address().Port())}
	c, err := lost.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	for r.told.Load() < 20 { // what it hears, and what it cannot say
		honest.exchange(t)
	}
	if c.HandshakeComplete() {
		t.Error("the client that nothing reaches is through")
	}
	c.Destroy(nil)
	honest.exchange(t)
	another, err := NewSocket(SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer another.Destroy(nil)
	sing(t, socket, another, o)
	if err := errors.Join(socket.Err(), honest.server.Err()); err != nil {
		t.Error(err)
	}
}
