package udp

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// fuzzedReceiver returns a receiver of a conn without a socket, that datagrams can come to.
func fuzzedReceiver() *receiver {
	c := &udpConn{local: netip.MustParseAddrPort("192.0.2.1:443")}
	c.rx.init(c)
	c.rx.name.set(netip.MustParseAddrPort("203.0.113.7:5000"), false)
	return &c.rx
}

// FuzzArrival: whatever control messages stand behind a datagram, what is made of them are a size
// that datagrams can have, a mark, and an address that can be answered from.
func FuzzArrival(f *testing.F) {
	message := func(level, kind int32, data ...byte) []byte {
		var m control
		copy(appended(&m, level, kind, len(data)), data)
		return slices.Clone(m.bytes()[:m.used])
	}
	f.Add(slices.Concat(message(unix.IPPROTO_UDP, unix.UDP_GRO, 0xb0, 4, 0, 0), message(unix.IPPROTO_IP, unix.IP_TOS, 3)), uint16(5000))
	f.Add(message(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo)...), uint16(10))
	f.Add(message(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, unix.SizeofInet4Pktinfo)...), uint16(0))
	f.Add(message(unix.IPPROTO_UDP, unix.UDP_GRO, 0xff, 0xff, 0xff, 0xff), uint16(1))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(1))
	f.Fuzz(func(t *testing.T, messages []byte, size uint16) {
		r := fuzzedReceiver()
		r.msg.SetControllen(copy(r.control.bytes()[:], messages))
		a := r.arrival(int(size))
		if a.segment > int(size) || a.segment <= 0 && size > 0 {
			t.Fatalf("%x says that %d bytes are datagrams of %d", messages, size, a.segment)
		}
		if a.ecn > dgram.ECN(3) || !a.path.Local.IsValid() || a.path.Local.Port() != 443 || a.path.Remote.Port() != 5000 {
			t.Fatalf("%x is %+v", messages, a)
		}
	})
}

// appended appends a message to m and returns where its size bytes are.
func appended(m *control, level, kind int32, size int) []byte {
	m.add(level, kind, size)
	return m.bytes()[m.used-unix.CmsgSpace(size)+unix.CmsgLen(0):][:size]
}

// FuzzReads: however large what the kernel joins is and however little room there is, every datagram
// comes out once, whole and in order, and no slab is lost.
func FuzzReads(f *testing.F) {
	f.Add([]byte{3, 20, 5, 255, 255, 1, 200, 100, 40, 90, 2, 3, 0, 0, 0, 250, 4})
	f.Add([]byte{63, 255, 255, 60, 60, 9, 1, 128, 0, 255, 17, 7, 0, 250, 255, 250, 254})
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 90)]
		r, slabs := fuzzedReceiver(), newPool()
		var want [][]byte
		for len(ops) > 2 || r.kept.slab != nil {
			dst := make([]dgram.Datagram, 1)
			if len(ops) > 2 {
				dst = make([]dgram.Datagram, 1+ops[0]%64)
				ops = ops[1:]
			}
			r.slabs, r.dst = slabs, dst
			r.resume()
			for r.more() && len(ops) > 1 {
				want = append(want, r.comes(257*int(ops[0]), 1+6*int(ops[1]), byte(len(ops)))...)
				ops = ops[2:]
			}
			n, slab, err := r.finish()
			if err != nil || n > len(want) || n == 0 && len(want) > 0 {
				t.Fatalf("%d datagrams, %v; %d are to come", n, err, len(want))
			}
			for i := range n {
				if got := dst[i].Data; !bytes.Equal(got, want[i]) {
					t.Fatalf("datagram %d has %d bytes, want %d", i, len(got), len(want[i]))
				}
			}
			if want = want[n:]; slab != nil {
				slabs.Put(slab)
			}
		}
		if len(want) > 0 || slabs.lent() > 0 || r.conn.truncated.Load() > 0 {
			t.Fatalf("%d datagrams did not come, %d slabs are out, %d were cut", len(want), slabs.lent(), r.conn.truncated.Load())
		}
	})
}

// comes is a read of size bytes in datagrams of a segment each, as receiver.read makes it; it returns these.
func (r *receiver) comes(size, segment int, mark byte) (all [][]byte) {
	if r.slab == nil {
		r.slab = r.slabs.Get()
	}
	if r.used > 0 && r.spill == nil {
		r.spill = r.slabs.Get()
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = mark + byte(i>>5)
	}
	copy(r.spill, b[copy(r.slab[r.used:], b):])
	a := arrival{segment: min(segment, size)}
	r.take(size, a)
	if size == 0 {
		return [][]byte{nil}
	}
	return slices.Collect(slices.Chunk(b, a.segment))
}
