package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// plain returns a socket on the path that systems without a fast one take.
func plain(t testing.TB, addr string) Conn {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	c := newPacketConn(u, Options{})
	t.Cleanup(func() { c.Close() })
	return c
}

// foreign is a net.PacketConn that is not package net's.
type foreign struct{ net.PacketConn }

func wrapped(t testing.TB, addr string) Conn {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	_ = u.SetReadBuffer(DefaultBuffer) // as much as there is: the tests let some datagrams pile up
	c, err := FromPacketConn(foreign{u})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func inMemory(t testing.TB, n *Network, addr string) *Mem {
	t.Helper()
	m, err := n.Listen(netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// eachConn runs test with two sockets of each kind and each family.
func eachConn(t *testing.T, test func(t *testing.T, a, b Conn)) {
	network := NewNetwork(NetworkOptions{})
	kinds := map[string]func(t testing.TB, addr string) Conn{
		"kernel":         func(t testing.TB, addr string) Conn { return listen(t, "udp", addr, Options{}) },
		"kernel, no GSO": func(t testing.TB, addr string) Conn { return listen(t, "udp", addr, Options{DisableGSO: true}) },
		"kernel, no GRO": func(t testing.TB, addr string) Conn { return listen(t, "udp", addr, Options{DisableGRO: true}) },
		"plain":          plain,
		"foreign":        wrapped,
		"memory":         func(t testing.TB, addr string) Conn { return inMemory(t, network, addr) },
	}
	for _, loopback := range loopbacks(t) {
		for name, open := range kinds {
			t.Run(name+" "+loopback, func(t *testing.T) { test(t, open(t, loopback), open(t, loopback)) })
		}
	}
}

var shapes = map[string][]int{
	"one":           {1200},
	"empty":         {0},
	"two":           {1200, 1200},
	"shorter last":  run(10, 1452, 33),
	"empty last":    {1200, 1200, 0},
	"full":          run(45, 1452),
	"most segments": run(64, 1000),
	"tiny segments": run(64, 1),
	"large":         {dgram.MaxBatchBytes},
	"large halves":  {30_000, 30_000, 5000},
}

func TestBatchArrives(t *testing.T) {
	eachConn(t, func(t *testing.T, a, b Conn) {
		var datagrams, bytes uint64
		for name, sizes := range shapes {
			out := batch(t, b.LocalAddr(), sizes...)
			send(t, a, out)
			got := receive(t, b, len(sizes))
			wantSizes(t, got, sizes...)
			for _, d := range got {
				if want := (dgram.Path{Local: b.LocalAddr(), Remote: a.LocalAddr()}); d.Path != want {
					t.Fatalf("%s: path %v, want %v", name, d.Path, want)
				}
			}
			datagrams += uint64(len(sizes))
			bytes += uint64(len(out.Bytes()))
		}
		if s := a.Stats(); s.Sent != datagrams || s.SentBytes != bytes || s.SendErrors != 0 || s.GSOFallbacks != 0 {
			t.Errorf("%d datagrams of %d bytes in all: sender says %+v", datagrams, bytes, s)
		}
		if s := b.Stats(); s.Received != datagrams || s.ReceivedBytes != bytes || s.Truncated != 0 || s.Dropped != 0 {
			t.Errorf("%d datagrams of %d bytes in all: receiver says %+v", datagrams, bytes, s)
		}
	})
}

// However little room a caller has, nothing is lost and order is kept.
func TestLittleRoom(t *testing.T) {
	batches := [][]int{
		run(45, 1452), run(20, 1300, 7), {0}, run(20, 1300), run(20, 1300), {60_000}, {9}, {1300, 1300, 1300},
	}
	eachConn(t, func(t *testing.T, a, b Conn) {
		for _, room := range []int{1, 2, 3, 7, 63, 64, 65, 127, 200} {
			total := 0
			for _, sizes := range batches {
				send(t, a, batch(t, b.LocalAddr(), sizes...))
				total += len(sizes)
			}
			got := receiveInto(t, b, total, room)
			for _, sizes := range batches {
				wantSizes(t, got[:len(sizes)], sizes...)
				got = got[len(sizes):]
			}
		}
		if _, _, err := b.Receive(newPool(), nil); err == nil {
			t.Error("no room at all is not an error")
		}
	})
}

func TestCloseWakesReceive(t *testing.T) {
	eachConn(t, func(t *testing.T, a, b Conn) {
		slabs := newPool()
		done := make(chan error)
		started := make(chan struct{}, 2)
		for range 2 {
			go func() {
				started <- struct{}{}
				_, slab, err := b.Receive(slabs, make([]dgram.Datagram, 1))
				if slab != nil {
					err = errors.New("a slab came with the error")
				}
				done <- err
			}()
		}
		<-started
		<-started
		if err := b.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		for range 2 {
			if err := <-done; err != net.ErrClosed {
				t.Fatalf("receive: %v, want net.ErrClosed", err)
			}
		}
		if n := slabs.lent(); n != 0 {
			t.Errorf("%d slabs did not come back", n)
		}
		if err := b.Send(batch(t, a.LocalAddr(), 1200, 1200)); err != net.ErrClosed {
			t.Errorf("send: %v, want net.ErrClosed", err)
		}
		if err := b.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v, want net.ErrClosed", err)
		}
	})
}

func TestSendersDoNotMix(t *testing.T) {
	eachConn(t, func(t *testing.T, a, b Conn) {
		const goroutines, batches, count = 8, 10, 5
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for range batches {
					out := batch(t, b.LocalAddr(), run(count, 100+g)...)
					if err := a.Send(out); err != nil {
						t.Errorf("send: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		seen := make(map[int]int)
		for _, d := range receive(t, b, goroutines*batches*count) {
			seen[len(d.Data)]++
		}
		for g := range goroutines {
			if seen[100+g] != batches*count {
				t.Errorf("%d datagrams from sender %d, want %d", seen[100+g], g, batches*count)
			}
		}
	})
}

func TestSendNowhere(t *testing.T) {
	eachConn(t, func(t *testing.T, a, b Conn) {
		if err := a.Send(batch(t, netip.AddrPort{})); err != nil {
			t.Errorf("an empty batch: %v", err)
		}
		e := wantSendError(t, a.Send(batch(t, netip.AddrPort{}, 1200, 1200)))
		if e.Sent != 0 || e.TooBig || e.Err == nil {
			t.Errorf("%+v", e)
		}
		if a.Stats().SendErrors != 1 {
			t.Errorf("%+v", a.Stats())
		}
		// A peer that is not there must not disturb those that are.
		gone := listen(t, "udp", netip.AddrPortFrom(b.LocalAddr().Addr(), 0).String(), Options{})
		gone.Close()
		for range 3 {
			if err := a.Send(batch(t, gone.LocalAddr(), 1200, 1200)); err != nil {
				wantSendError(t, err)
			}
		}
		send(t, b, batch(t, a.LocalAddr(), 1200, 1200))
		wantSizes(t, receive(t, a, 2), 1200, 1200)
	})
}

func TestListenRefusals(t *testing.T) {
	used := listen(t, "udp", "127.0.0.1:0", Options{})
	for _, c := range []struct{ network, addr string }{
		{"tcp", "127.0.0.1:0"},
		{"", "127.0.0.1:0"},
		{"udp4", "[::1]:0"},
		{"udp6", "127.0.0.1:0"},
		{"udp6", "[::ffff:127.0.0.1]:0"},
		{"udp", used.LocalAddr().String()},
		{"udp", "203.0.113.77:0"}, // not ours
	} {
		if got, err := Listen(c.network, netip.MustParseAddrPort(c.addr), Options{}); err == nil {
			got.Close()
			t.Errorf("%s %s: no error", c.network, c.addr)
		}
	}
	if _, err := Listen("udp", used.LocalAddr(), Options{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("busy port: %v, want EADDRINUSE", err)
	}
}

func TestListenFamilies(t *testing.T) {
	for _, c := range []struct {
		network string
		addr    netip.AddrPort
		o       Options
		want    string
		reach   []string // loopback addresses that reach it
		not     []string
	}{
		{"udp4", netip.AddrPort{}, Options{}, "0.0.0.0", []string{"127.0.0.1"}, []string{"::1"}},
		{"udp", netip.MustParseAddrPort("0.0.0.0:0"), Options{}, "0.0.0.0", []string{"127.0.0.1"}, []string{"::1"}},
		{"udp", netip.MustParseAddrPort("[::ffff:127.0.0.1]:0"), Options{}, "127.0.0.1", []string{"127.0.0.1"}, nil},
		{"udp", netip.AddrPort{}, Options{}, "::", []string{"127.0.0.1", "::1"}, nil},
		{"udp6", netip.AddrPort{}, Options{}, "::", []string{"127.0.0.1", "::1"}, nil},
		{"udp6", netip.AddrPort{}, Options{IPv6Only: true}, "::", []string{"::1"}, []string{"127.0.0.1"}},
	} {
		if c.want == "::" && loopback6(t) == nil {
			continue
		}
		conn, err := Listen(c.network, c.addr, c.o)
		if err != nil {
			t.Fatalf("%s %v: %v", c.network, c.addr, err)
		}
		defer conn.Close()
		if got := conn.LocalAddr().Addr().String(); got != c.want {
			t.Errorf("%s %v: bound to %s, want %s", c.network, c.addr, got, c.want)
		}
		for _, from := range c.reach {
			peer := listen(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(from), 0).String(), Options{})
			to := netip.AddrPortFrom(netip.MustParseAddr(from), conn.LocalAddr().Port())
			send(t, peer, batch(t, to, 1200, 1200))
			got := receive(t, conn, 2)
			if got[0].Path.Remote != peer.LocalAddr() {
				t.Errorf("%s %v: remote %v, want %v", c.network, c.addr, got[0].Path.Remote, peer.LocalAddr())
			}
		}
		for _, to := range c.not {
			err := conn.Send(batch(t, netip.AddrPortFrom(netip.MustParseAddr(to), 9), 1200))
			wantSendError(t, err)
		}
	}
}

func TestSharedPort(t *testing.T) {
	a := listen(t, "udp", "127.0.0.1:0", Options{ReuseAddr: true})
	listen(t, "udp", a.LocalAddr().String(), Options{ReuseAddr: true})
}

func TestPacketConnBeneath(t *testing.T) {
	if _, ok := PacketConn(listen(t, "udp", "127.0.0.1:0", Options{})).(*net.UDPConn); !ok {
		t.Error("a socket does not give its UDPConn")
	}
	if _, ok := PacketConn(wrapped(t, "127.0.0.1:0")).(foreign); !ok {
		t.Error("a wrapper does not give what it wraps")
	}
	if pc := PacketConn(inMemory(t, NewNetwork(NetworkOptions{}), "127.0.0.1:0")); pc != nil {
		t.Errorf("a Mem stands on %v", pc)
	}
}

// linked is a socket with one peer: its owner connected it before handing it over.
func linked(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func TestConnectedSocket(t *testing.T) {
	peer := listen(t, "udp", "127.0.0.1:0", Options{})
	fast, err := FromPacketConn(linked(t, peer.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Conn{fast, newPacketConn(linked(t, peer.LocalAddr()), Options{})} {
		send(t, c, batch(t, peer.LocalAddr(), 1200, 1200, 5))
		got := receive(t, peer, 3)
		wantSizes(t, got, 1200, 1200, 5)
		send(t, peer, batch(t, got[0].Path.Remote, 900, 900))
		wantSizes(t, receive(t, c, 2), 900, 900)
	}
}

// An ICMP message about one peer comes back as an error of whatever call is next.
// It must not end the socket.
func TestRefusedByPeer(t *testing.T) {
	peer := listen(t, "udp", "127.0.0.1:0", Options{})
	fast, err := FromPacketConn(linked(t, peer.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Conn{fast, newPacketConn(linked(t, peer.LocalAddr()), Options{})} {
		peer.Close()
		send(t, c, batch(t, peer.LocalAddr(), 1200))
		e := wantSendError(t, c.Send(batch(t, peer.LocalAddr(), 1200)))
		if !errors.Is(e, syscall.ECONNREFUSED) || e.TooBig || e.Sent != 0 {
			t.Errorf("%+v, want ECONNREFUSED", e)
		}
		send(t, c, batch(t, peer.LocalAddr(), 1200)) // leaves another error, for Receive this time
		peer, err = Listen("udp", peer.LocalAddr(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		send(t, peer, batch(t, c.LocalAddr(), 900))
		wantSizes(t, receive(t, c, 1), 900)
	}
	peer.Close()
}
