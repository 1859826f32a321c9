package recovery

import (
	"testing"
	"time"
	"unsafe"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// bulk is a sender in the middle of a transfer: batches of 45 packets leave, and
// each batch is acknowledged, by one frame, when some more have left.
type bulk struct {
	l      Loss
	now    mono.Time
	frames [2]Frame
	set    ranges.Set
	buf    []byte
	acked  int64
}

const batch = 45

func newBulk() *bulk {
	b := &bulk{now: start, set: make(ranges.Set, 0, 4)}
	b.l.Init(b.now, Config{MaxDatagram: 1452})
	b.l.DropSpace(b.now, Initial)
	b.l.HasKeys(App, true)
	b.l.Confirmed()
	for range 10 {
		b.send()
	}
	return b
}

func (b *bulk) send() {
	for range batch {
		p := Packet{Number: b.l.Next(App), Size: 1452, AckEliciting: true, ECN: b.l.ECN()}
		b.l.Sent(b.now, App, p, b.frames[:])
	}
}

// turn sends a batch and takes in an ACK of the oldest; a lossy one leaves out
// two packets, and names an older one.
func (b *bulk) turn(lossy bool) (fates int) {
	b.now = b.now.Add(500 * time.Microsecond)
	b.send()
	b.set = b.set[:0]
	if lossy {
		b.set.Add(b.acked-batch+7, b.acked-batch+8)
		b.set.Add(b.acked, b.acked+7)
		b.set.Add(b.acked+9, b.acked+batch)
	} else {
		b.set.Add(b.acked, b.acked+batch)
	}
	b.acked += batch
	count := wire.ECNCounts{ECT0: uint64(b.acked)}
	b.buf, _ = wire.AppendAck(b.buf[:0], 100, b.set, 12, &count)
	c := varint.NewCursor(b.buf)
	t, _ := wire.ParseType(&c)
	if !b.l.Ack(b.now, App, wire.ParseAck(&c, t), 100*time.Microsecond) {
		panic("refused")
	}
	for _, _, _, _, ok := b.l.NextFate(); ok; _, _, _, _, ok = b.l.NextFate() {
		fates++
	}
	if b.l.Deadline() <= b.now {
		panic("no deadline")
	}
	return fates
}

func TestBulkDoesNotAllocate(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		b := newBulk()
		for range 200 {
			b.turn(lossy)
		}
		if n := testing.AllocsPerRun(1000, func() { b.turn(lossy) }); n != 0 {
			t.Errorf("lossy %v: %v allocations a turn", lossy, n)
		}
		want := batch
		if lossy {
			want++ // the late one
		}
		equal(t, "fates in a turn", b.turn(lossy), want)
		if n := cap(b.l.spaces[App].late.packets); n > 2*maxLate {
			t.Errorf("lossy %v: room for %d lost packets", lossy, n)
		}
	}
}

func TestAcksDoNotAllocate(t *testing.T) {
	var a Acks
	a.Init(App, 25*ms)
	now, pn, buf := start, int64(0), make([]byte, 0, 200)
	turn := func() {
		for range batch {
			pn += 1 + pn%3%2
			if !a.Seen(pn) {
				a.Received(now, pn, true, dgram.ECT0)
			}
		}
		if !a.Due(now) {
			panic("not due")
		}
		buf, _ = a.Append(buf[:0], 200, now, 3)
		a.Acked(a.Sent() - 100)
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

// The records are what a fast sender has most of.
func TestRecordSizes(t *testing.T) {
	equal(t, "size of a packet record", unsafe.Sizeof(Packet{}), 40)
	equal(t, "size of a frame record", unsafe.Sizeof(Frame{}), 24)
	if n := unsafe.Sizeof(Loss{}); n > 2200 {
		t.Errorf("Loss has %d bytes", n)
	}
}

// One turn is 45 packets sent, acknowledged in one frame, and their fates pulled.
func BenchmarkBulk(b *testing.B) {
	for _, bb := range []struct {
		name  string
		lossy bool
	}{{"clean", false}, {"lossy", true}} {
		b.Run(bb.name, func(b *testing.B) {
			s := newBulk()
			b.ReportAllocs()
			for b.Loop() {
				s.turn(bb.lossy)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/packet")
		})
	}
}
