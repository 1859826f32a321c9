package quic

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// foreign is a program's PacketConn over the in-memory network.
type foreign struct {
	net.PacketConn // nil
	mem            *udp.Mem
	before         func(to netip.AddrPort) // WriteTo; may wait
}

type heapSlabs struct{}

func (heapSlabs) Get() []byte { return make([]byte, udp.SlabSize) }
func (heapSlabs) Put([]byte)  {}

func (f *foreign) ReadFrom(p []byte) (int, net.Addr, error) {
	var d [1]dgram.Datagram
	if _, _, err := f.mem.Receive(heapSlabs{}, d[:]); err != nil {
		return 0, nil, err
	}
	return copy(p, d[0].Data), net.UDPAddrFromAddrPort(d[0].Path.Remote), nil
}

func (f *foreign) WriteTo(p []byte, to net.Addr) (int, error) {
	remote := to.(*net.UDPAddr).AddrPort()
	f.before(remote)
	b := dgram.NewBatch(make([]byte, 0, len(p)))
	copy(b.Next(len(p))[:len(p)], p)
	b.Commit(len(p))
	b.Path = dgram.Path{Local: f.mem.LocalAddr(), Remote: remote}
	return len(p), f.mem.Send(b)
}

func (f *foreign) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(f.mem.LocalAddr()) }
func (f *foreign) Close() error        { return f.mem.Close() }

// foreignNet is a memNet whose server is on a foreign PacketConn.
func foreignNet(t *testing.T, before func(netip.AddrPort)) *memNet {
	m := &memNet{t: t, net: udp.NewNetwork(udp.NetworkOptions{Delay: time.Millisecond})}
	mem, err := m.net.Listen(memServer)
	if err != nil {
		t.Fatal(err)
	}
	if m.server, err = NewSocket(SocketOptions{PacketConn: &foreign{mem: mem, before: before}}); err != nil {
		t.Fatal(err)
	}
	if err := m.server.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); err != nil {
		t.Fatal(err)
	}
	m.client = m.socket(SocketOptions{})
	return m
}

// Over a PacketConn that cannot forbid fragments no larger datagrams are tried.
func TestForeignKeepsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := foreignNet(t, func(netip.AddrPort) {})
		defer m.close()
		p := m.pair(ConnectOptions{})
		client, server := p.streams(t)
		const size = 200 << 10
		for _, st := range []*Stream{client, server} {
			go st.End(make([]byte, size))
		}
		for _, st := range []*Stream{client, server} {
			if n, err := io.Copy(io.Discard, st); n != size || err != nil {
				t.Fatal(n, err)
			}
		}
		if mtu := p.server.Stats().MTU; mtu != 1200 {
			t.Errorf("the server sends datagrams of %d bytes over a foreign PacketConn", mtu)
		}
		if mtu := p.client.Stats().MTU; mtu <= 1200 {
			t.Errorf("the client sends datagrams of %d bytes: discovery did not run", mtu)
		}
	})
}

// A WriteTo may call back into the package.
func TestForeignCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var session *ServerSession
		m := foreignNet(t, func(netip.AddrPort) {
			mu.Lock()
			v := session
			mu.Unlock()
			if v != nil {
				v.Stats()
				v.Socket().Stats()
			}
		})
		defer m.close()
		p := m.pair(ConnectOptions{})
		mu.Lock()
		session = p.server
		mu.Unlock()
		c, s := p.streams(t)
		go func() {
			io.Copy(s, s)
			s.CloseWrite()
		}()
		go c.End(make([]byte, 3<<20))
		if b, err := io.ReadAll(c); len(b) != 3<<20 || err != nil {
			t.Errorf("%d bytes came back, %v", len(b), err)
		}
	})
}

// A WriteTo that waits for ever stalls no reader, holds no lock, and does not keep the
// socket from its end; what does not fit the queue is dropped.
func TestForeignBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		var mu sync.Mutex
		blocked := false
		m := foreignNet(t, func(netip.AddrPort) {
			mu.Lock()
			wait := blocked
			mu.Unlock()
			if wait {
				<-block
			}
		})
		defer m.close()
		a, b := m.pair(ConnectOptions{}), m.pair(ConnectOptions{})
		as, av := a.streams(t)
		bs, bv := b.streams(t)
		mu.Lock()
		blocked = true
		mu.Unlock()
		if _, err := av.Write(make([]byte, 10<<10)); err != nil { // blocks the WriteTo
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		as.Write([]byte("hello"))
		bs.Write([]byte("hello"))
		for _, v := range []*Stream{av, bv} {
			v.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := io.ReadFull(v, make([]byte, 5)); err != nil {
				t.Errorf("the reader is stalled: %v", err)
			}
		}
		e := m.server.Endpoints()[0]
		big := dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))
		for range 40 {
			big.Commit(len(big.Next(1200)[:1200]))
		}
		big.Path.Remote = memServer
		for range 2 * outboxBytes / len(big.Bytes()) {
			e.send(big)
		}
		if n := m.server.Stats().SendErrors; n == 0 {
			t.Error("nothing was dropped")
		}
		start := time.Now()
		m.server.Destroy(nil)
		if d := time.Since(start); d > time.Second {
			t.Errorf("Destroy took %v", d)
		}
		close(block)
	})
}

// The last words of a socket's sessions leave by a foreign PacketConn too.
func TestForeignLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := foreignNet(t, func(netip.AddrPort) { time.Sleep(time.Millisecond) })
		defer m.close()
		p := m.pair(ConnectOptions{IdleTimeout: time.Hour})
		m.server.Destroy(&ApplicationError{ErrorCode: 7})
		select {
		case <-p.client.Closed():
		case <-time.After(time.Second):
			t.Fatal("the client has heard nothing")
		}
		if c := p.client.CloseCode(); c.Code != 7 {
			t.Errorf("%+v", c)
		}
	})
}
