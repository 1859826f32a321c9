package udp

import (
	"errors"
	"net/netip"
	"reflect"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// Sockets that share a port have all that comes there between them, each sender's with one
// of them, and send from the same address.
func TestShare(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		const senders = 64
		first := listen(t, "udp", address, Options{})
		more, err := Share(first, 2, Options{})
		if err != nil {
			t.Fatal(err)
		}
		all := append(more, first)
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), first.LocalAddr().Port())
		var total atomic.Int32
		done := make(chan struct{})
		for _, c := range all {
			if c.LocalAddr() != first.LocalAddr() {
				t.Errorf("a socket is bound to %v, want %v", c.LocalAddr(), first.LocalAddr())
			}
			defer c.Close()
			go func() {
				slabs, dst := newPool(), make([]dgram.Datagram, 128)
				for {
					n, slab, err := c.Receive(slabs, dst)
					if err != nil {
						return
					}
					slabs.Put(slab)
					if total.Add(int32(n)) == senders {
						close(done)
					}
				}
			}()
		}
		for range senders {
			from := listen(t, "udp", "127.0.0.1:0", Options{})
			send(t, from, batch(t, to, 100))
		}
		<-done
		for i, c := range all {
			if c.Stats().Received == 0 {
				t.Errorf("socket %d has received nothing", i)
			}
			from := listen(t, "udp", "127.0.0.1:0", Options{})
			send(t, c, batch(t, from.LocalAddr(), 100))
			slabs, dst := newPool(), make([]dgram.Datagram, 128)
			if _, slab, err := from.Receive(slabs, dst); err != nil || dst[0].Path.Remote != to {
				t.Errorf("from %v, want %v: %v", dst[0].Path.Remote, to, err)
			} else {
				slabs.Put(slab)
			}
		}
	}
}

// Only sockets of the system's can share, and none is left open when one cannot be had.
func TestShareRefused(t *testing.T) {
	m := inMemory(t, NewNetwork(NetworkOptions{}), "127.0.0.1:0")
	if _, err := Share(m, 1, Options{}); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("in memory: %v", err)
	}
	c := listen(t, "udp", "127.0.0.1:0", Options{})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Share(c, 1, Options{}); err == nil {
		t.Error("a closed socket shares its port")
	}
}

// Add leaves no figure out.
func TestStatsAdd(t *testing.T) {
	var one, sum Stats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i) + 1)
	}
	sum.Add(one)
	sum.Add(one)
	for i := range v.NumField() {
		if got := reflect.ValueOf(sum).Field(i).Uint(); got != 2*(uint64(i)+1) {
			t.Errorf("%s: %d", v.Type().Field(i).Name, got)
		}
	}
}
