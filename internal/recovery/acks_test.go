package recovery

import (
	"math"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// receiver drives one Acks through a story.
type receiver struct {
	t   *testing.T
	a   Acks
	now mono.Time
}

func newReceiver(t *testing.T, space Space) *receiver {
	r := &receiver{t: t, now: start}
	r.a.Init(space, 25*ms)
	return r
}

// got receives ack-eliciting packets.
func (r *receiver) got(numbers ...int64) {
	for _, n := range numbers {
		r.a.Received(r.now, n, true, dgram.NotECT)
	}
}

// quiet receives packets that are not ack-eliciting.
func (r *receiver) quiet(numbers ...int64) {
	for _, n := range numbers {
		r.a.Received(r.now, n, false, dgram.NotECT)
	}
}

func (r *receiver) want(due bool) {
	r.t.Helper()
	if got := r.a.Due(r.now); got != due {
		r.t.Errorf("at %v: due is %v", r.now.Sub(start), got)
	}
}

// frame sends an ACK of at most room bytes and returns what is in it.
func (r *receiver) frame(room int) wire.Ack {
	r.t.Helper()
	b, ok := r.a.Append([]byte("x"), room, r.now, 3)
	if !ok {
		r.t.Fatalf("at %v: no ACK frame", r.now.Sub(start))
	}
	if len(b)-1 > room {
		r.t.Errorf("frame of %d bytes in room for %d", len(b)-1, room)
	}
	c := varint.NewCursor(b[1:])
	typ, _ := wire.ParseType(&c)
	f := wire.ParseAck(&c, typ)
	if c.Failed() || c.Len() != 0 {
		r.t.Fatalf("frame is malformed: %x", b)
	}
	return f
}

// sends sends an ACK and demands that it reads like this.
func (r *receiver) sends(want string) {
	r.t.Helper()
	if got := r.frame(1000).String(); got != want {
		r.t.Errorf("at %v: frame is %q, want %q", r.now.Sub(start), got, want)
	}
	r.a.Sent()
	r.want(false)
	equal(r.t, "wanted", r.a.Wanted(), false)
	equal(r.t, "deadline", r.a.Deadline(), mono.Never)
}

// RFC 9000 §13.2.2: every second ack-eliciting packet; §13.2.1: the first one
// within max_ack_delay.
func TestAckEverySecondPacket(t *testing.T) {
	r := newReceiver(t, App)
	r.want(false)
	r.got(0)
	r.want(false)
	equal(t, "wanted", r.a.Wanted(), true)
	equal(t, "deadline", r.a.Deadline(), start.Add(25*ms))
	r.now = start.Add(8 * ms)
	r.got(1)
	r.want(true)
	r.sends("ACK delay=0 0-1")

	r.got(2)
	r.now = start.Add(33*ms - 1)
	r.want(false)
	r.now++
	r.want(true)
	r.sends("ACK delay=3125 0-2") // 25 ms in units of 8 us

	r.a.SetFrequency(Frequency{Threshold: 9, MaxDelay: 26 * ms, Reorder: 1})
	for n := int64(3); n < 12; n++ {
		r.got(n)
		r.want(false)
	}
	r.got(12)
	r.want(true)
	r.a.SetFrequency(Frequency{Threshold: 0, MaxDelay: 26 * ms, Reorder: 1})
	r.sends("ACK delay=0 0-12")
	r.got(13)
	r.want(true)
}

// The delay counts from the first packet that waits, not from the last.
func TestAckDelayTimer(t *testing.T) {
	r := newReceiver(t, App)
	r.a.SetFrequency(Frequency{Threshold: 2, MaxDelay: 26 * ms, Reorder: 1})
	r.got(0)
	r.now = start.Add(20 * ms)
	r.got(1)
	equal(t, "deadline", r.a.Deadline(), start.Add(25*ms))
	r.now = start.Add(30 * ms)
	r.sends("ACK delay=1250 0-1") // but the delay told is that of the largest
}

// RFC 9000 §13.2.1: Initial and Handshake packets are acknowledged at once.
func TestAckHandshakeAtOnce(t *testing.T) {
	for _, space := range []Space{Initial, Handshake} {
		r := newReceiver(t, space)
		r.got(0)
		r.want(true)
	}
}

// RFC 9000 §13.2.1: a packet out of order is acknowledged at once, be it that
// it leaves a gap or that it fills one.
func TestAckOutOfOrder(t *testing.T) {
	r := newReceiver(t, App)
	r.got(0, 1)
	r.sends("ACK delay=0 0-1")
	r.got(3)
	r.want(true)
	r.sends("ACK delay=0 3 0-1")
	r.got(2)
	r.want(true)
	r.sends("ACK delay=0 0-3")
	r.got(4) // in order again
	r.want(false)

	r = newReceiver(t, App)
	r.got(5) // the first one ever, with a gap before it
	r.want(true)
}

// A gap that a quiet packet fills is none. A quiet packet itself leaves one for
// the next ack-eliciting packet to report, but is never answered.
func TestAckQuietPackets(t *testing.T) {
	r := newReceiver(t, App)
	r.got(0, 1)
	r.a.Sent()
	r.quiet(2)
	r.got(3)
	r.want(false)
	r.a.Sent()
	for n := int64(10); n < 100; n += 7 {
		r.quiet(n)
		r.want(false)
		equal(t, "wanted", r.a.Wanted(), false)
		equal(t, "deadline", r.a.Deadline(), mono.Never)
	}
	r.got(95)
	r.want(true)
	r.sends("ACK delay=0 94-95 87 80 73 66 59 52 45 38 31 24 17 10 0-3")
}

// RFC 9000 §13.2.1: a CE mark is reported at once; RFC 9000 §13.4.1: marks are counted
// for all packets, but once.
func TestAckECN(t *testing.T) {
	r := newReceiver(t, App)
	r.a.Received(r.now, 0, true, dgram.ECT0)
	r.want(false)
	r.a.Received(r.now, 0, true, dgram.ECT0) // a duplicate
	r.want(false)
	r.a.Received(r.now, 1, false, dgram.ECT1)
	r.a.Received(r.now, 2, false, dgram.CE) // nothing to answer
	r.want(false)
	r.a.Sent()
	r.a.Received(r.now, 3, true, dgram.CE)
	r.want(true)
	r.sends("ACK_ECN delay=0 0-3 ect0=1 ect1=1 ce=2")
	r.got(4)
	r.want(false)
	r.sends("ACK_ECN delay=0 0-4 ect0=1 ect1=1 ce=2")
}

// RFC 9000 §13.2.4: what an acknowledged ACK frame covered is not said again, but for what
// came after all.
func TestAckRangePruning(t *testing.T) {
	r := newReceiver(t, App)
	r.got(0, 1, 3, 5)
	b, _ := r.a.Append(nil, 100, r.now, 3)
	equal(t, "length", len(b) > 0, true)
	largest := r.a.Sent()
	equal(t, "largest", largest, 5)
	r.got(6, 8)
	r.a.Sent()
	r.a.Acked(largest)
	equal(t, "ranges", r.a.Ranges(), 2)
	equal(t, "seen", r.a.Seen(3), true)
	equal(t, "seen", r.a.Seen(4), false)
	equal(t, "seen", r.a.Seen(7), false)
	r.got(9)
	r.sends("ACK delay=0 8-9 5-6")
	r.got(2) // late, not lost
	r.want(true)
	r.sends("ACK delay=0 8-9 5-6 0-3")

	r.a.Acked(3) // an older one, which came late
	equal(t, "ranges", r.a.Ranges(), 2)
	r.a.Acked(9)
	equal(t, "ranges", r.a.Ranges(), 0)
	equal(t, "largest", r.a.Largest(), 9)
	if _, ok := r.a.Append(nil, 100, r.now, 3); ok {
		t.Error("an ACK frame for nothing")
	}
	r.got(10) // the gap below what is not said any more is none
	r.want(false)
	r.got(12)
	r.want(true)
	r.sends("ACK delay=0 12 8-10")

	r.quiet(13, 15)
	r.a.Acked(15)
	r.got(16) // nor is what is missing below a quiet packet
	r.want(false)
}

// RFC 9000 §13.2.3: what is far below what the peer knows was received is forgotten, and
// not accepted.
func TestAckMemory(t *testing.T) {
	r := newReceiver(t, App)
	r.got(0, 2, 4, 1000)
	r.a.Acked(r.a.Sent())
	equal(t, "seen", r.a.Seen(1000-ackMemory), true)
	equal(t, "seen", r.a.Seen(1001-ackMemory), false)
	equal(t, "remembered", len(r.a.set), 1)
	r.got(3)
	r.want(false)
}

// RFC 9000 §13.2.3: 32 ranges are remembered; what is older is neither
// acknowledged nor accepted.
func TestAckRangesAreBounded(t *testing.T) {
	most := limits.Bound(t, "ack-ranges")
	r := newReceiver(t, App)
	for n := int64(0); n < 2000; n += 2 {
		r.got(n)
	}
	equal(t, "ranges", r.a.Ranges(), most)
	first := int64(2000 - 2*most)
	equal(t, "lowest", r.frame(1000).Set().Min(), first)
	equal(t, "seen", r.a.Seen(first-2), true)
	equal(t, "seen", r.a.Seen(first-1), false)
	equal(t, "seen", r.a.Seen(first+1), false)
	r.got(first - 1)
	equal(t, "lowest", r.frame(1000).Set().Min(), first-1)
	if cap(r.a.set) > 4*most {
		t.Errorf("room for %d ranges", cap(r.a.set))
	}
	r.got(1 << 61)
	equal(t, "ranges", r.a.Ranges(), most)
}

// What does not fit is left out, the oldest first; what does not fit at all is
// not written.
func TestAckRoom(t *testing.T) {
	r := newReceiver(t, App)
	for n := int64(0); n < 60; n += 2 {
		r.got(n)
	}
	f := r.frame(15)
	equal(t, "largest", f.Largest, 58)
	equal(t, "ranges", len(f.Set()), 6)
	if b, ok := r.a.Append([]byte("x"), 4, r.now, 3); ok || string(b) != "x" {
		t.Errorf("an ACK frame of %d bytes", len(b))
	}
	r.want(true)
}

func TestAckDelayEnds(t *testing.T) {
	r := newReceiver(t, App)
	if _, ok := r.a.Append(nil, 100, r.now, 3); ok {
		t.Error("an ACK frame before the first packet")
	}
	equal(t, "largest", r.a.Sent(), -1)
	r.got(0)
	r.now -= mono.Time(time.Minute) // a clock that jumps back
	equal(t, "delay", r.frame(100).Delay, 0)
	r.now = mono.Never - 1
	equal(t, "delay", r.frame(100).Delay <= varint.Max, true)
	r.a.Init(App, math.MaxInt64)
	r.got(0)
	equal(t, "deadline", r.a.Deadline() >= r.now, true)
}
