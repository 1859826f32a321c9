package stream

import (
	"testing"
)

const packet = 1400 // bytes of a STREAM frame in a full packet

// send64K writes 64 KiB, packs it in packets and acknowledges them in order.
func send64K(s *Send, data, dst []byte) {
	s.Write(data)
	for {
		off, n, fin, _, ok := s.Next(packet, plenty)
		if !ok {
			return
		}
		s.Take(dst[:n], off, n, fin)
		s.Acked(off, n, fin)
	}
}

// sendWindow writes and packs like send64K, but acknowledges a window later,
// with one packet in eight lost at first.
func sendWindow(s *Send, data, dst []byte, flight []frame) []frame {
	s.Write(data)
	for i := 0; ; i++ {
		off, n, fin, _, ok := s.Next(packet, plenty)
		if !ok {
			break
		}
		s.Take(dst[:n], off, n, fin)
		flight = append(flight, frame{off, n, fin})
		if i%8 == 7 && i < 100 {
			s.Lost(off, n, fin)
			flight = flight[:len(flight)-1]
		}
	}
	for _, f := range flight {
		s.Acked(f.off, f.n, f.fin)
	}
	return flight[:0]
}

// receive64K receives 64 KiB in order, in packets.
func receive64K(r *Recv, data []byte) {
	for len(data) > 0 {
		n := min(packet, len(data))
		off := r.Highest()
		if _, err := r.Grow(off, n, false); err != 0 {
			panic(err.String())
		}
		r.Receive(off, data[:n], false)
		data = data[n:]
	}
}

// receiveHoles receives 64 KiB with the first packet last and pairs swapped.
func receiveHoles(r *Recv, data []byte) {
	base := r.Highest()
	for at := packet; at < len(data); at += 2 * packet {
		if second := min(at+packet, len(data)); second < len(data) {
			r.Receive(base+int64(second), data[second:min(second+packet, len(data))], false)
		}
		r.Receive(base+int64(at), data[at:min(at+packet, len(data))], false)
	}
	r.Receive(base, data[:packet], false)
}

// In steady state no operation of the bulk path allocates.
func TestNoAllocations(t *testing.T) {
	data, dst := make([]byte, 64<<10), make([]byte, packet)
	var list List
	var s, lossy, small Send
	var r, direct, holes Recv
	for _, h := range []*Send{&s, &lossy, &small} {
		h.Init(&list, plenty)
	}
	for _, h := range []*Recv{&r, &direct, &holes} {
		h.Init(&list, plenty)
	}
	flight := make([]frame, 0, 100)
	for name, f := range map[string]func(){
		"send":           func() { send64K(&s, data, dst) },
		"send with loss": func() { flight = sendWindow(&lossy, data, dst, flight) },
		"send small":     func() { send64K(&small, data[:64], dst) },
		"receive":        func() { receive64K(&r, data); r.Read(data) },
		"receive direct": func() { direct.SetReader(data); receive64K(&direct, data); direct.TakeReader() },
		"receive holes":  func() { receiveHoles(&holes, data); holes.Read(data) },
		"receive detach": func() {
			receive64K(&r, data)
			for r.Readable() > 0 {
				c, _ := r.Detach()
				list.Put(c)
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	wantChunks(t, "everything sent and read", &list, 0)
}

func BenchmarkSend(b *testing.B) {
	data, dst := make([]byte, 64<<10), make([]byte, packet)
	var list List
	var s Send
	s.Init(&list, 1<<62)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		send64K(&s, data, dst)
	}
}

func BenchmarkSendLossy(b *testing.B) {
	data, dst := make([]byte, 64<<10), make([]byte, packet)
	var list List
	var s Send
	s.Init(&list, 1<<62)
	var flight []frame
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		flight = sendWindow(&s, data, dst, flight)
	}
}

func BenchmarkReceive(b *testing.B) {
	data := make([]byte, 64<<10)
	var list List
	var r Recv
	r.Init(&list, 1<<62)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		receive64K(&r, data)
		r.Read(data)
	}
}

func BenchmarkReceiveDirect(b *testing.B) {
	data, to := make([]byte, 64<<10), make([]byte, 64<<10)
	var list List
	var r Recv
	r.Init(&list, 1<<62)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		r.SetReader(to)
		receive64K(&r, data)
		r.TakeReader()
	}
}

func BenchmarkReceiveHoles(b *testing.B) {
	data := make([]byte, 64<<10)
	var list List
	var r Recv
	r.Init(&list, 1<<62)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		receiveHoles(&r, data)
		r.Read(data)
	}
}

// BenchmarkReceiveTiny is the attack of many one-byte frames: the time is that of one frame.
func BenchmarkReceiveTiny(b *testing.B) {
	var list List
	var r Recv
	one := []byte{1}
	i := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if i%900 == 0 {
			r.Release()
			r.Init(&list, 1<<62)
		}
		r.Receive(1+(i*7919%900)*1000, one, false)
		i++
	}
}

// BenchmarkRequest is a short stream's whole life: 64 bytes each way.
func BenchmarkRequest(b *testing.B) {
	data, dst := make([]byte, 64), make([]byte, packet)
	var list List
	b.ReportAllocs()
	for b.Loop() {
		var s Send
		var r Recv
		s.Init(&list, 1<<20)
		r.Init(&list, 1<<20)
		s.Write(data)
		s.Finish()
		off, n, fin, _, _ := s.Next(packet, plenty)
		s.Take(dst[:n], off, n, fin)
		r.Receive(off, dst[:n], fin)
		s.Acked(off, n, fin)
		r.Read(dst)
		if !s.Done() || !r.Done() {
			b.Fatal("not done")
		}
	}
}

// BenchmarkCopy is the reference: what one copy of 64 KiB in packets costs.
func BenchmarkCopy(b *testing.B) {
	data, dst := make([]byte, 64<<10), make([]byte, packet)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for at := 0; at < len(data); at += packet {
			copy(dst, data[at:])
		}
	}
}
