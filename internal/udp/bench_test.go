package udp

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// BenchmarkLoopback sends batches of 45 datagrams of 1452 bytes and receives
// them, in turns: what a byte costs both ends together.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"one_by_one", Options{DisableGSO: true, DisableGRO: true}},
		{"GSO", Options{DisableGRO: true}},
		{"GRO", Options{DisableGSO: true}},
		{"GSO+GRO", Options{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			from, to := listen(b, "udp", "127.0.0.1:0", c.o), listen(b, "udp", "127.0.0.1:0", c.o)
			benchmark(b, from, to, run(45, 1452))
		})
	}
	b.Run("plain", func(b *testing.B) {
		benchmark(b, plain(b, "127.0.0.1:0"), plain(b, "127.0.0.1:0"), run(45, 1452))
	})
	b.Run("memory", func(b *testing.B) {
		n := NewNetwork(NetworkOptions{})
		benchmark(b, inMemory(b, n, "127.0.0.1:0"), inMemory(b, n, "127.0.0.1:0"), run(45, 1452))
	})
}

func benchmark(b *testing.B, from, to Conn, sizes []int) {
	out := batch(b, to.LocalAddr(), sizes...)
	slabs, dst := newPool(), make([]dgram.Datagram, 128)
	b.SetBytes(int64(len(out.Bytes())))
	b.ReportAllocs()
	for b.Loop() {
		send(b, from, out)
		for n := 0; n < len(sizes); {
			k, slab, err := to.Receive(slabs, dst)
			if err != nil {
				b.Fatal(err)
			}
			slabs.Put(slab)
			n += k
		}
	}
	b.ReportMetric(float64(from.Stats().SendCalls+to.Stats().ReceiveCalls)/float64(b.N), "calls/op")
}

// BenchmarkEcho is one small datagram there and back between two goroutines:
// what waiting costs.
func BenchmarkEcho(b *testing.B) {
	for _, kind := range []string{"kernel", "plain"} {
		b.Run(kind, func(b *testing.B) {
			open := plain
			if kind == "kernel" {
				open = func(t testing.TB, addr string) Conn { return listen(t, "udp", addr, Options{}) }
			}
			client, server := open(b, "127.0.0.1:0"), open(b, "127.0.0.1:0")
			go echo(server)
			out := batch(b, server.LocalAddr(), 100)
			slabs, dst := newPool(), make([]dgram.Datagram, 128)
			for b.Loop() {
				send(b, client, out)
				_, slab, err := client.Receive(slabs, dst)
				if err != nil {
					b.Fatal(err)
				}
				slabs.Put(slab)
			}
			b.ReportMetric(float64(server.Stats().ReceiveCalls)/float64(b.N), "reads/op")
		})
	}
}

func echo(c Conn) {
	slabs, dst := newPool(), make([]dgram.Datagram, 128)
	out := dgram.NewBatch(make([]byte, 0, 2048))
	for {
		n, slab, err := c.Receive(slabs, dst)
		if err != nil {
			return
		}
		for _, d := range dst[:n] {
			out.Reset()
			out.Path = d.Path
			out.Commit(copy(out.Next(len(d.Data))[:len(d.Data)], d.Data))
			if c.Send(out) != nil {
				return
			}
		}
		slabs.Put(slab)
	}
}
