package recovery

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// oracle is RFC 9002 Appendix A with lists and no cleverness. It keeps every
// packet there ever was.
type oracle struct {
	spaces   [Spaces]oracleSpace
	latest   time.Duration
	smoothed time.Duration
	min      time.Duration
	sampled  bool
	epoch    uint32
	expected []oracleFate
}

type oracleSpace struct {
	packets  []*oraclePacket
	skipped  []int64
	largest  int64
	lossTime mono.Time
}

type oraclePacket struct {
	Packet
	status oracleStatus
	told   bool // the fate Lost has been pulled
}

type oracleStatus int

const (
	flying oracleStatus = iota
	arrived
	missing
	released // missing, then acknowledged
	gone
)

type oracleFate struct {
	space    Space
	number   int64
	fate     Fate
	optional bool // a late one, which may be forgotten
	packet   *oraclePacket
}

func newOracle() *oracle {
	o := &oracle{smoothed: DefaultInitialRTT}
	for i := range o.spaces {
		o.spaces[i].largest, o.spaces[i].lossTime = -1, mono.Never
	}
	return o
}

func (o *oracle) sent(space Space, p Packet) {
	s := &o.spaces[space]
	s.packets = append(s.packets, &oraclePacket{Packet: p})
	if p.InFlight {
		return
	}
	quiet := s.flying(func(p *oraclePacket) bool { return !p.InFlight })
	most := maxQuietHandshake
	if space == App {
		most = MaxQuietPackets
	}
	if len(quiet) > most {
		quiet[0].status = gone
	}
}

func (s *oracleSpace) flying(which func(*oraclePacket) bool) (list []*oraclePacket) {
	for _, p := range s.packets {
		if p.status == flying && which(p) {
			list = append(list, p)
		}
	}
	return list
}

func (o *oracle) inFlight() (bytes int) {
	for i := range o.spaces {
		for _, p := range o.spaces[i].flying(func(p *oraclePacket) bool { return p.InFlight && p.Epoch == o.epoch }) {
			bytes += int(p.Size)
		}
	}
	return bytes
}

// ack returns whether the frame is acceptable and how many bytes it takes out of flight.
func (o *oracle) ack(now mono.Time, space Space, set ranges.Set, delay time.Duration, next int64) (ok bool, bytes int) {
	s := &o.spaces[space]
	if set.Max() >= next {
		return false, 0
	}
	for _, n := range s.skipped {
		if set.Contains(n) {
			return false, 0
		}
	}
	var newly []*oraclePacket
	eliciting := false
	for _, p := range s.packets {
		if !set.Contains(p.Number) {
			continue
		}
		switch p.status {
		case flying:
			newly = append(newly, p)
			p.status = arrived
			eliciting = eliciting || p.AckEliciting
			if p.InFlight && p.Epoch == o.epoch {
				bytes += int(p.Size)
			}
		case missing:
			p.status = released
			o.expected = append(o.expected, oracleFate{space, p.Number, Acked, p.told, p})
		}
	}
	s.largest = max(s.largest, set.Max())
	if len(newly) == 0 {
		return true, 0
	}
	if last := newly[len(newly)-1]; last.Number == set.Max() && eliciting && last.Epoch == o.epoch {
		if space == Initial {
			delay = 0
		}
		o.sample(now.Sub(last.Sent), delay)
	}
	o.settle(now, space, newly)
	return true, bytes
}

func (o *oracle) sample(rtt, delay time.Duration) {
	rtt = min(rtt, maxSample)
	o.latest = rtt
	if !o.sampled {
		o.sampled, o.min, o.smoothed = true, rtt, rtt
		return
	}
	o.min = min(o.min, rtt)
	if rtt-delay >= o.min {
		rtt -= delay
	}
	o.smoothed = (7*o.smoothed + rtt) / 8
}

func (o *oracle) settle(now mono.Time, space Space, newly []*oraclePacket) {
	s := &o.spaces[space]
	s.lossTime = mono.Never
	delay := max(max(o.smoothed, o.latest)*9/8, ms)
	for _, p := range s.packets {
		if slices.Contains(newly, p) {
			o.expected = append(o.expected, oracleFate{space, p.Number, Acked, false, p})
		}
		if p.status != flying || p.Number > s.largest {
			continue
		}
		later := int64(0)
		for n := p.Number + 1; n <= s.largest && later < 3; n++ {
			if !slices.Contains(s.skipped, n) {
				later++
			}
		}
		if later >= 3 || p.Sent.Add(delay) <= now {
			p.status = missing
			o.expected = append(o.expected, oracleFate{space, p.Number, Lost, false, p})
		} else {
			s.lossTime = min(s.lossTime, p.Sent.Add(delay))
		}
	}
}

func (o *oracle) lossTime() mono.Time {
	return min(o.spaces[0].lossTime, o.spaces[1].lossTime, o.spaces[2].lossTime)
}

// forget is for keys that are gone.
func (o *oracle) forget(space Space) {
	s := &o.spaces[space]
	for _, p := range s.packets {
		p.status = gone
	}
	s.lossTime = mono.Never
	o.expected = slices.DeleteFunc(o.expected, func(f oracleFate) bool { return f.space == space })
}

// duel runs Loss and oracle side by side.
type duel struct {
	t   testing.TB
	l   Loss
	o   *oracle
	cc  *spy
	now mono.Time
	in  func(n int) int // a choice below n; what comes after the end of a fuzzer's input is 0

	flooded bool
}

func newDuel(t testing.TB, in func(int) int) *duel {
	d := &duel{t: t, o: newOracle(), cc: newSpy(), now: start, in: in}
	d.l.Init(d.now, Config{Controller: d.cc, MaxDatagram: size, Server: in(2) == 1})
	d.l.HasKeys(Handshake, true)
	d.l.HasKeys(App, true)
	return d
}

func (d *duel) step() {
	space := App
	if d.in(8) == 0 {
		space = Space(d.in(Spaces))
	}
	switch d.in(32) {
	default:
		for range 1 + d.in(5) {
			d.send(space)
		}
	case 0, 1, 2, 3, 4, 5, 6, 7:
		d.ack(space)
	case 8, 9, 10, 11, 12, 13:
		d.now = d.now.Add(time.Duration(d.in(1<<d.in(25))) * time.Microsecond / 8)
		d.advance()
	case 14, 15:
		if at := d.l.Deadline(); at < d.now.Add(time.Hour) {
			d.now = max(d.now, at)
		}
		d.advance()
	case 16:
		d.l.Skip(space)
		s := &d.o.spaces[space]
		s.skipped = append(s.skipped, d.l.Next(space)-1)
		s.skipped = s.skipped[max(0, len(s.skipped)-maxSkipped):]
	case 17:
		d.rare(space)
	}
	if d.cc.persistent > 0 { // which has tests of its own
		d.cc.persistent = 0
		d.o.min = d.o.latest
	}
	if d.in(4) > 0 {
		d.pull()
	}
	d.compare()
}

// rare does what happens once in the life of a connection, a little more often.
func (d *duel) rare(space Space) {
	switch d.in(8) {
	case 0:
		d.l.DropSpace(d.now, space)
		d.l.HasKeys(space, true)
		d.o.forget(space)
	case 1:
		d.l.EarlyRejected()
		d.o.forget(App)
	case 2:
		d.pull()
		d.l.Trim() // what it forgets is optional
	case 3:
		d.cc = newSpy()
		d.o.epoch++
		d.l.ResetPath(d.now, d.cc)
		d.o.sampled, d.o.smoothed, d.o.latest = false, DefaultInitialRTT, 0
	case 4:
		if d.flooded { // the oracle is slow
			return
		}
		d.flooded = true
		for range 1100 {
			d.sendPacket(space, Packet{Size: size})
		}
	case 5:
		d.l.Confirmed()
		d.l.SetPeerAckDelay(time.Hour) // the oracle does not cap delays
	}
}

func (d *duel) send(space Space) {
	p := Packet{Size: int32(1 + d.in(size)), Epoch: d.o.epoch, InFlight: d.in(3) > 0, Probe: d.in(20) == 0}
	p.AckEliciting = p.InFlight && d.in(9) > 0
	if d.in(30) == 0 {
		p.Epoch = OtherPath
	}
	if d.in(2) == 0 {
		p.ECN = d.l.ECN()
	}
	d.sendPacket(space, p)
}

func (d *duel) sendPacket(space Space, p Packet) {
	p.Number = d.l.Next(space)
	p.Sent = d.now
	frames := [3]Frame{{ID: p.Number}, {ID: p.Number}, {ID: p.Number}}
	d.l.Sent(d.now, space, p, frames[:p.Number%4%3])
	d.o.sent(space, p)
}

func (d *duel) ack(space Space) {
	next := d.l.Next(space)
	if next == 0 {
		return
	}
	s := &d.o.spaces[space]
	var set ranges.Set
	reach := min(next, int64(1+d.in(60)))
	for range 1 + d.in(4) {
		from := next - 1 - int64(d.in(int(reach)))
		set.Add(from, min(from+1+int64(d.in(20)), next))
	}
	if d.in(16) > 0 { // in good faith
		for _, n := range s.skipped {
			set.Remove(n, n+1)
		}
	}
	if d.in(64) == 0 {
		set.Add(next, next+1)
	}
	if len(set) == 0 {
		return
	}
	var count *wire.ECNCounts
	if d.in(2) == 0 {
		count = &wire.ECNCounts{ECT0: uint64(d.in(100)), ECT1: uint64(d.in(3) / 2), CE: uint64(d.in(20))}
	}
	delay := time.Duration(d.in(30)) * ms
	told := len(d.cc.acks)
	ok, bytes := d.o.ack(d.now, space, set, delay, next)
	if got := d.l.Ack(d.now, space, wire.MakeAck(set, 0, count), delay); got != ok {
		d.t.Fatalf("%v ACK of %v: %v, want %v", space, set, got, ok)
	}
	got := 0
	for _, a := range d.cc.acks[told:] {
		got += a.Bytes
	}
	if got != bytes {
		d.t.Fatalf("%v ACK of %v: controller is told of %d bytes, want %d", space, set, got, bytes)
	}
}

func (d *duel) advance() {
	at := d.o.lossTime()
	for i := range d.o.spaces {
		if d.o.spaces[i].lossTime <= d.now {
			d.o.settle(d.now, Space(i), nil)
		}
	}
	if d.l.Advance(d.now) && at != mono.Never {
		d.t.Fatalf("probe timeout beside the loss timer")
	}
}

// pull demands the expected fates, where optional ones may be missing.
func (d *duel) pull() {
	want := d.o.expected
	d.o.expected = nil
	for space, p, frames, fate, ok := d.l.NextFate(); ok; space, p, frames, fate, ok = d.l.NextFate() {
		for len(want) > 0 && want[0].optional && (want[0].number != p.Number || want[0].space != space) {
			want = want[1:]
		}
		if len(want) == 0 || want[0].space != space || want[0].number != p.Number || want[0].fate != fate {
			d.t.Fatalf("fate of %v %d is %v; expected are %v", space, p.Number, fate, want)
		}
		w := want[0].packet
		w.told = w.told || fate == Lost
		if p.Size != w.Size || p.Sent != w.Sent || p.Epoch != w.Epoch || p.AckEliciting != w.AckEliciting || len(frames) != int(p.Number%4%3) {
			d.t.Fatalf("%v packet %+v with %d frames, want %+v", space, *p, len(frames), w.Packet)
		}
		for _, f := range frames {
			if f.ID != p.Number {
				d.t.Fatalf("%v packet %d comes with frames %v", space, p.Number, frames)
			}
		}
		want = want[1:]
	}
	for _, f := range want {
		if !f.optional {
			d.t.Fatalf("fate of %v %d is missing", f.space, f.number)
		}
	}
}

// compare holds against the oracle what can be seen at any time.
func (d *duel) compare() {
	if got, want := d.l.InFlight(), d.o.inFlight(); got != want {
		d.t.Fatalf("%d bytes in flight, want %d", got, want)
	}
	if got, want := d.l.SmoothedRTT(), d.o.smoothed; got != want {
		d.t.Fatalf("smoothed RTT is %v, want %v", got, want)
	}
	if at := d.o.lossTime(); at != mono.Never && d.l.Deadline() != at {
		d.t.Fatalf("deadline is %v, want %v", d.l.Deadline(), at)
	}
	if d.l.ECN() != dgram.ECT0 && d.l.ECN() != dgram.NotECT {
		d.t.Fatalf("codepoint %v", d.l.ECN())
	}
	for space := Initial; space <= App; space++ {
		list := d.o.spaces[space].flying(func(p *oraclePacket) bool { return p.AckEliciting && !p.Probe })
		for _, i := range []int{0, 1, len(list) - 1, len(list)} {
			if i < 0 {
				continue
			}
			frames, ok := d.l.Unacked(space, i)
			if ok != (i < len(list)) || ok && (len(frames) != int(list[i].Number%4%3) || len(frames) > 0 && frames[0].ID != list[i].Number) {
				d.t.Fatalf("unacknowledged %v packet %d: %v %v", space, i, frames, ok)
			}
		}
		s := d.l.spaces[space]
		live := len(d.o.spaces[space].flying(func(*oraclePacket) bool { return true }))
		if n := cap(s.sent.packets); n > max(64, 8*(live+len(d.l.fates)+1100)) || cap(s.late.packets) > 4*(maxLate+len(d.l.fates)) {
			d.t.Fatalf("%v: room for %d packets, %d are outstanding, %d late", space, n, live, len(s.late.live()))
		}
		if got := d.l.LargestAcked(space); got != d.o.spaces[space].largest {
			d.t.Fatalf("largest acknowledged in %v is %d, want %d", space, got, d.o.spaces[space].largest)
		}
	}
}

func TestAgainstOracle(t *testing.T) {
	seeds := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 9455616678382263817}
	for range 20 {
		seeds = append(seeds, rand.Uint64())
	}
	for _, seed := range seeds {
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		d := newDuel(t, r.IntN)
		for range 400 {
			d.step()
		}
		d.pull()
	}
}

// FuzzLoss lets the fuzzer choose the story.
func FuzzLoss(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2000 {
			return
		}
		choose := func(n int) int {
			if len(b) == 0 || n <= 1 {
				return 0
			}
			v := int(b[0])
			b = b[1:]
			if n > 256 && len(b) > 0 {
				v |= int(b[0]) << 8
				b = b[1:]
			}
			return v % n
		}
		d := newDuel(t, choose)
		for len(b) > 0 {
			d.step()
		}
		d.pull()
	})
}
