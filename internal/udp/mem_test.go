package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// In a bubble virtual time passes only while all wait: a Mem's waiting must count.
func TestMemInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NetworkOptions{Delay: 15 * time.Millisecond})
		a, b := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2")
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, d := range receive(t, b, 3) {
				send(t, b, batch(t, d.Path.Remote, len(d.Data)))
			}
		}()
		synctest.Wait() // b waits, durably
		send(t, a, batch(t, b.LocalAddr(), 1200, 1200, 5))
		receive(t, a, 3)
		<-done
		if rtt := time.Since(start); rtt != 30*time.Millisecond {
			t.Errorf("there and back took %v, want 30ms", rtt)
		}
	})
}

func TestMemKeepsOrderUnderDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NetworkOptions{Delay: time.Second})
		a, b := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2")
		var sizes []int
		go func() {
			for i := range 100 {
				send(t, a, batch(t, b.LocalAddr(), 100+i))
				time.Sleep(time.Duration(i%7) * 100 * time.Millisecond)
			}
		}()
		for i := range 100 {
			sizes = append(sizes, 100+i)
		}
		for i, d := range receive(t, b, len(sizes)) {
			if len(d.Data) != sizes[i] {
				t.Fatalf("datagram %d has %d bytes, want %d", i, len(d.Data), sizes[i])
			}
		}
	})
}

func TestMemCloseInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NetworkOptions{Delay: time.Hour})
		a, b := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2")
		done := make(chan error)
		wait := func() {
			_, _, err := b.Receive(newPool(), make([]dgram.Datagram, 1))
			done <- err
		}
		go wait()
		synctest.Wait()
		send(t, a, batch(t, b.LocalAddr(), 1200)) // on its way for an hour
		go wait()
		synctest.Wait()
		b.Close()
		for range 2 {
			if err := <-done; err != net.ErrClosed {
				t.Errorf("receive: %v, want net.ErrClosed", err)
			}
		}
	})
}

func TestMemWakesAllReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(NetworkOptions{})
		a, b := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2")
		const readers = 4
		got := make(chan int, readers)
		for range readers {
			go func() {
				k, _, err := b.Receive(newPool(), make([]dgram.Datagram, 1))
				if err != nil {
					t.Errorf("receive: %v", err)
				}
				got <- k
			}()
		}
		synctest.Wait()
		send(t, a, batch(t, b.LocalAddr(), run(readers, 1200)...))
		for range readers {
			if k := <-got; k != 1 {
				t.Errorf("%d datagrams, want 1", k)
			}
		}
	})
}

func TestMemFilter(t *testing.T) {
	n := NewNetwork(NetworkOptions{})
	a, b, c := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2"), inMemory(t, n, "192.0.2.3:3")
	count := 0
	n.SetFilter(func(d *dgram.Datagram) bool {
		if want := (dgram.Path{Local: b.LocalAddr(), Remote: a.LocalAddr()}); d.Path != want {
			t.Errorf("path %v, want %v", d.Path, want)
		}
		count++
		return count == 2
	})
	send(t, a, batch(t, b.LocalAddr(), 1200, 1200, 5))
	got := receive(t, b, 2)
	if len(got[0].Data) != 1200 || len(got[1].Data) != 5 || count != 3 {
		t.Errorf("%d and %d bytes of %d datagrams", len(got[0].Data), len(got[1].Data), count)
	}

	rebound := netip.MustParseAddrPort("198.51.100.9:9")
	n.SetFilter(func(d *dgram.Datagram) bool {
		d.Path = dgram.Path{Local: c.LocalAddr(), Remote: rebound}
		d.ECN = dgram.CE
		d.Data[0] ^= 0xff
		return false
	})
	out := batch(t, b.LocalAddr(), 1200)
	send(t, a, out)
	d := receive(t, c, 1)[0]
	if d.Path.Remote != rebound || d.ECN != dgram.CE || d.Data[0] != out.Bytes()[0]^0xff || !bytes.Equal(d.Data[1:], out.Bytes()[1:]) {
		t.Errorf("the filter's changes did not arrive: %v %d", d.Path, d.ECN)
	}
	n.SetFilter(nil)
	out = batch(t, b.LocalAddr(), 1200)
	out.ECN = dgram.ECT0
	send(t, a, out)
	if d := receive(t, b, 1)[0]; d.ECN != dgram.ECT0 || d.Path.Remote != a.LocalAddr() {
		t.Errorf("without a filter: %v %d", d.Path, d.ECN)
	}
}

func TestMemLimits(t *testing.T) {
	n := NewNetwork(NetworkOptions{MTU: 1400, Queue: 5})
	a, b := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2")
	e := wantSendError(t, a.Send(batch(t, b.LocalAddr(), 1401)))
	if !e.TooBig || e.Sent != 0 || !errors.Is(e, syscall.EMSGSIZE) {
		t.Errorf("%+v, want it too big", e)
	}
	send(t, a, batch(t, b.LocalAddr(), run(8, 1400)...))
	wantSizes(t, receive(t, b, 5), run(5, 1400)...)
	if s := b.Stats(); s.Dropped != 3 || s.Received != 5 {
		t.Errorf("%+v, want 3 dropped", s)
	}
	// Half-full queues move along without growing.
	for range 100 {
		send(t, a, batch(t, b.LocalAddr(), 1, 1, 1))
		for range 3 {
			if k, _, err := b.Receive(newPool(), make([]dgram.Datagram, 1)); k != 1 || err != nil {
				t.Fatal(k, err)
			}
		}
	}
	if cap(b.queue) > 16 {
		t.Errorf("a queue for 5 datagrams has grown to %d", cap(b.queue))
	}
}

func TestMemAddresses(t *testing.T) {
	n := NewNetwork(NetworkOptions{})
	any4, any6 := inMemory(t, n, "0.0.0.0:443"), inMemory(t, n, "[::]:443")
	one := inMemory(t, n, "192.0.2.1:443")
	client := inMemory(t, n, "192.0.2.9:0")
	for _, c := range []struct {
		to   string
		want *Mem
	}{
		{"192.0.2.1:443", one}, {"192.0.2.2:443", any4}, {"[2001:db8::1]:443", any6}, {"[::ffff:192.0.2.1]:443", one},
	} {
		to := netip.MustParseAddrPort(c.to)
		send(t, client, batch(t, to, 1200))
		if d := receive(t, c.want, 1)[0]; d.Path.Local.Port() != 443 || d.Path.Remote != client.LocalAddr() {
			t.Errorf("%s: path %v", c.to, d.Path)
		}
	}
	any4.Close()
	asked := netip.MustParseAddrPort("192.0.2.2:443")
	send(t, client, batch(t, asked, 1200)) // :: takes IPv4, if nobody else does
	if d := receive(t, any6, 1)[0]; d.Path.Local != asked {
		t.Errorf("path %v, want it to end at %v", d.Path, asked)
	}
	reply := batch(t, client.LocalAddr(), 1200)
	for local, want := range map[netip.AddrPort]string{asked: "192.0.2.2:443", {}: "127.0.0.1:443"} {
		reply.Path.Local = local
		send(t, any6, reply)
		if d := receive(t, client, 1)[0]; d.Path.Remote.String() != want {
			t.Errorf("answer from %v, want %v", d.Path.Remote, want)
		}
	}
	send(t, client, batch(t, netip.MustParseAddrPort("192.0.2.77:1"), 1200)) // to nobody
	if _, err := n.Listen(one.LocalAddr()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("busy address: %v", err)
	}
	one.Close()
	inMemory(t, n, "192.0.2.1:443")
	if other := inMemory(t, n, "192.0.2.9:0"); other.LocalAddr() == client.LocalAddr() {
		t.Errorf("two sockets at %v", other.LocalAddr())
	}
}

// What a filter has taken can arrive later, with another source.
func TestMemInject(t *testing.T) {
	var taken []dgram.Datagram
	n := NewNetwork(NetworkOptions{Filter: func(d *dgram.Datagram) bool {
		kept := *d
		kept.Data = bytes.Clone(d.Data)
		taken = append(taken, kept)
		return true
	}})
	a, b := inMemory(t, n, "192.0.2.1:1"), inMemory(t, n, "192.0.2.2:2")
	send(t, a, batch(t, b.LocalAddr(), 30, 20))
	if len(taken) != 2 {
		t.Fatalf("the filter took %d datagrams, want 2", len(taken))
	}
	other := netip.MustParseAddrPort("192.0.2.9:9")
	taken[1].Path.Remote, taken[1].ECN = other, dgram.CE
	n.Inject(taken[1])
	taken[1].Data[0] ^= 0xff // it was copied
	got := receive(t, b, 1)[0]
	taken[1].Data[0] ^= 0xff
	if got.Path.Remote != other || got.ECN != dgram.CE || !bytes.Equal(got.Data, taken[1].Data) {
		t.Errorf("%v, %d bytes, ECN %v came", got.Path, len(got.Data), got.ECN)
	}
	n.Inject(dgram.Datagram{Path: dgram.Path{Local: other, Remote: other}}) // nobody is there
}
