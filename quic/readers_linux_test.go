package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// listenReaders returns a server that echoes what streams bring, with n readers.
func listenReaders(t *testing.T, n int, address string, port int) *Socket {
	t.Helper()
	s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: address, Port: port, Readers: n}})
	err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig(), Handler: func(v *ServerSession) error {
		go echoAll(v)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// echoes sends size bytes on a stream and wants them back.
func echoes(ctx context.Context, c *ClientSession, size int) error {
	st, err := c.OpenStream(ctx, StreamOptions{})
	if err != nil {
		return err
	}
	go st.End(make([]byte, size))
	if n, err := io.Copy(io.Discard, st); n != int64(size) || err != nil {
		return fmt.Errorf("%d bytes of %d came back, %w", n, size, err)
	}
	return nil
}

// used returns how many of an endpoint's UDP sockets have received, and how many have sent.
func used(e *Endpoint) (receivers, senders int) {
	for _, c := range e.conns {
		u := c.Stats()
		if u.Received > 0 {
			receivers++
		}
		if u.Sent > 0 {
			senders++
		}
	}
	return receivers, senders
}

// Many clients are spread over the readers, all are served, the socket's figures are those of
// all readers together, and the port is free at once when the endpoint is closed.
func TestReadersServe(t *testing.T) {
	for _, address := range []string{"127.0.0.1", ""} {
		const readers, clients = 3, 48
		s := listenReaders(t, readers, address, 0)
		e := s.Endpoints()[0]
		to := netip.AddrPortFrom(loopback4, e.Address().Port())
		var wg sync.WaitGroup
		for range clients {
			wg.Add(1)
			go func() {
				defer wg.Done()
				ctx := testContext(t)
				c, err := Dial(ctx, to.String(), ConnectOptions{TLS: clientConfig()})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Destroy(nil)
				if err := echoes(ctx, c, 50_000); err != nil {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		if in, out := used(e); len(e.conns) != readers || in != readers || out < 2 {
			t.Errorf("%d sockets: %d have received and %d have sent", len(e.conns), in, out)
		}
		if st := s.Stats(); st.ServerSessions != clients || st.BytesReceived < clients*50_000 || st.BytesSent < clients*50_000 {
			t.Errorf("%+v", st)
		}
		before := s.Stats().PacketsSent
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if after := s.Stats().PacketsSent; after < before {
			t.Errorf("%d packets sent, and after the end %d", before, after)
		}
		again := listenReaders(t, readers, address, int(to.Port()))
		again.Destroy(nil)
		listenReaders(t, 1, address, int(to.Port()))
	}
}

// A port that somebody has is in use, whether or not they or we would share it.
func TestReadersPortInUse(t *testing.T) {
	holders := map[string]func(port int) (int, io.Closer){
		"another with readers": func(port int) (int, io.Closer) {
			e := listenReaders(t, 2, "127.0.0.1", port).Endpoints()[0]
			return int(e.Address().Port()), closer(e.Close)
		},
		"one that would share": func(port int) (int, io.Closer) { return holdPort(t, port, true) },
		"one that would not":   func(port int) (int, io.Closer) { return holdPort(t, port, false) },
	}
	for name, hold := range holders {
		port, c := hold(0)
		for _, readers := range []int{1, 2} {
			s := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1", Port: port, Readers: readers}})
			if err := s.Listen(t.Context(), ListenOptions{TLS: serverConfig()}); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s, and then %d readers: %v", name, readers, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// holdPort binds a plain socket, with SO_REUSEPORT or without.
func holdPort(t *testing.T, port int, share bool) (int, io.Closer) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		if share {
			rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		}
		return err
	}}
	pc, err := lc.ListenPacket(t.Context(), "udp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return pc.LocalAddr().(*net.UDPAddr).Port, pc
}

// A client that moves comes in by other readers, and its session does not notice.
func TestReadersMigration(t *testing.T) {
	for _, rebinding := range []bool{false, true} {
		s := listenReaders(t, 16, "127.0.0.1", 0)
		ctx := testContext(t)
		c, err := Dial(ctx, s.Address().String(), ConnectOptions{TLS: clientConfig()})
		if err != nil {
			t.Fatal(err)
		}
		for moves := 0; moves < 8; {
			if err := echoes(ctx, c, 100_000); err != nil {
				t.Fatalf("after %d moves: %v", moves, err)
			}
			next := newSocket(t, SocketOptions{Endpoint: EndpointOptions{Address: "127.0.0.1"}})
			if c.SetSocket(ctx, next, rebinding) == nil { // or else the last move is not complete, and the next echo helps it along
				moves++
			}
		}
		if err := echoes(ctx, c, 100_000); err != nil {
			t.Fatal(err)
		}
		if in, _ := used(s.Endpoints()[0]); in < 2 { // all nine to one of sixteen: once in four billion runs
			t.Errorf("%d readers have received", in)
		}
		if n := s.Stats().ServerSessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
		c.Destroy(nil)
	}
}

// What is set on an endpoint is set on each of its UDP sockets; but a group has one member,
// so that what is sent there comes once.
func TestReadersSocketOptions(t *testing.T) {
	s := listenReaders(t, 3, "0.0.0.0", 0)
	e := s.Endpoints()[0]
	if err := errors.Join(e.SetTTL(9), e.SetMulticastTTL(7), e.SetMulticastLoopback(false), e.SetBroadcast(true)); err != nil {
		t.Fatal(err)
	}
	for i, c := range e.conns {
		fd, ok := udp.FD(c)
		if !ok {
			t.Fatal("no descriptor")
		}
		for _, o := range []struct{ level, name, want int }{
			{unix.IPPROTO_IP, unix.IP_TTL, 9},
			{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 7},
			{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
			{unix.SOL_SOCKET, unix.SO_BROADCAST, 1},
		} {
			if got, err := unix.GetsockoptInt(fd, o.level, o.name); got != o.want || err != nil {
				t.Errorf("socket %d: option %d is %d, want %d, %v", i, o.name, got, o.want, err)
			}
		}
	}
	if err := e.AddMembership(testGroup, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	p := newProberOn(t, "udp4")
	setOption(t, p.c, func(fd int) error {
		return unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, loopback4.As4())
	})
	if !p.reaches(netip.AddrPortFrom(netip.MustParseAddr(testGroup), e.Address().Port())) {
		t.Error("the group is not joined")
	}
	for i, c := range e.conns {
		if n := c.Stats().Received; (n > 0) != (i == 0) {
			t.Errorf("socket %d has received %d datagrams for the group", i, n)
		}
	}
	if err := e.DropMembership(testGroup, "127.0.0.1"); err != nil {
		t.Error(err)
	}
}

// Several readers are asked for by number, and of a port of our own.
func TestReadersOptions(t *testing.T) {
	for _, n := range []int{None, -7, 257} {
		_, err := NewSocket(SocketOptions{Endpoint: EndpointOptions{Readers: n}})
		wantCode(t, err, CodeOutOfRange)
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, err = NewSocket(SocketOptions{PacketConn: pc, Endpoint: EndpointOptions{Readers: 2}})
	wantCode(t, err, CodeInvalidArgValue)
}
