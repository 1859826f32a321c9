package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

const seed = 20

var (
	client = netip.MustParseAddrPort("10.0.0.1:50000")
	server = netip.MustParseAddrPort("10.0.1.1:443")
	there  = dgram.Path{Local: client, Remote: server}
	back   = dgram.Path{Local: server, Remote: client}
)

// arrival is a delivered datagram, kept.
type arrival struct {
	at   mono.Time
	to   netip.AddrPort
	path dgram.Path
	ecn  dgram.ECN
	data []byte
}

// number is the first four bytes, which number reads the ordinal of.
func (a arrival) number() int { return int(binary.BigEndian.Uint32(a.data)) }

// drain lets the network work until nothing is on its way or the time is over.
func drain(n *Network, until mono.Time) (list []arrival) {
	for now := n.Next(); now <= until && now != mono.Never; now = n.Next() {
		for {
			to, d, ok := n.Deliver(now)
			if !ok {
				break
			}
			list = append(list, arrival{now, to, d.Path, d.ECN, bytes.Clone(d.Data)})
		}
	}
	return list
}

// payload is a datagram of the given size that begins with its number.
func payload(number, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(number))
	return append(b, bytes.Repeat([]byte{0x40}, size-4)...)
}

// one returns a network whose way up has the given nodes and whose way down has none.
func one(t *testing.T, up ...Node) (*Network, *Link) {
	n := New(seed)
	l := n.Link(client, server, up, nil)
	t.Cleanup(func() {
		c := n.Counters()
		if c.Sent+c.Duplicated != c.Delivered+c.Dropped()+uint64(n.InFlight()) {
			t.Errorf("datagrams are missing: %v", n)
		}
		if t.Failed() {
			t.Log(n)
		}
	})
	return n, l
}

// flood sends count datagrams of the size from client to server, one every gap.
func flood(n *Network, count, size int, gap time.Duration) []arrival {
	for i := range count {
		n.Send(mono.Time(0).Add(time.Duration(i)*gap), there, dgram.ECT0, payload(i+1, size))
	}
	return drain(n, mono.Never)
}

func numbers(list []arrival) (s []int) {
	for _, a := range list {
		s = append(s, a.number())
	}
	return s
}

func TestDelivery(t *testing.T) {
	n, l := one(t)
	if n.Next() != mono.Never {
		t.Error("an empty network wants to be called")
	}
	data := []byte("hello")
	n.Send(7, there, dgram.ECT1, data)
	data[0] = 'x' // Send copies
	if n.Next() != 7 {
		t.Errorf("next at %d", n.Next())
	}
	if _, _, ok := n.Deliver(6); ok {
		t.Error("delivered before it was sent")
	}
	to, d, ok := n.Deliver(7)
	if !ok || to != server || d.Path != back || d.ECN != dgram.ECT1 || string(d.Data) != "hello" {
		t.Fatalf("delivered %v %v to %v", ok, d, to)
	}
	n.Send(8, back, dgram.NotECT, nil)
	to, d, ok = n.Deliver(8)
	if !ok || to != client || d.Path != there || d.Data == nil || len(d.Data) != 0 {
		t.Fatalf("delivered %v %v to %v", ok, d, to)
	}
	if l.Up().Delivered != 1 || l.Down().Delivered != 1 {
		t.Errorf("counters: %v", n)
	}
}

// Datagrams of one time keep their order on a way, through all nodes.
func TestSameTimeKeepsOrder(t *testing.T) {
	n, _ := one(t, Delay(time.Millisecond, 0), Loss(0, 0), Delay(time.Millisecond, 0), Mark(50))
	for i, number := range numbers(flood(n, 1000, 100, 0)) {
		if number != i+1 {
			t.Fatalf("datagram %d came as number %d", number, i+1)
		}
	}
}

func TestSendBatch(t *testing.T) {
	n, _ := one(t)
	b := dgram.NewBatch(make([]byte, 0, 8000))
	b.Path, b.ECN = there, dgram.ECT0
	for _, size := range []int{1200, 1200, 500} {
		room := b.Next(1200)
		b.Commit(copy(room[:size], payload(size, size)))
	}
	n.SendBatch(3, b)
	list := drain(n, mono.Never)
	if fmt.Sprint(numbers(list)) != "[1200 1200 500]" || len(list[2].data) != 500 {
		t.Errorf("got %v", numbers(list))
	}
}

func TestNoRoute(t *testing.T) {
	n, l := one(t)
	n.Send(0, dgram.Path{Local: client, Remote: netip.MustParseAddrPort("10.9.9.9:1")}, 0, []byte("x"))
	if n.InFlight() != 0 || n.Counters().NoRoute != 1 || l.Up().Sent != 0 {
		t.Errorf("counters: %v", n)
	}
}

func TestInject(t *testing.T) {
	n, _ := one(t, Loss(100, 0))
	spoofed := dgram.Path{Local: server, Remote: netip.MustParseAddrPort("192.0.2.1:53")}
	n.Inject(5, spoofed, dgram.CE, []byte("boo"))
	list := drain(n, mono.Never)
	if len(list) != 1 || list[0].to != server || list[0].path != spoofed || list[0].at != 5 {
		t.Errorf("got %v", list)
	}
}

// Two runs with one seed are the same to the last byte and nanosecond, and
// another seed gives another run.
func TestDeterminism(t *testing.T) {
	play := func(seed uint64) string {
		n := New(seed)
		nat := Rebind(5*time.Millisecond, 10*time.Millisecond, true)
		faults := func() []Node {
			return Interop(Loss(10, 3), Corrupt(10, 3), Reorder(10, time.Millisecond), Duplicate(10),
				Mark(10), Delay(0, time.Millisecond), nat)
		}
		n.Link(client, server, faults(), faults())
		var log strings.Builder
		for i := range 500 {
			n.Send(mono.Time(i)*20_000, there, dgram.ECT0, payload(i, 60))
		}
		for now := n.Next(); now != mono.Never; now = n.Next() {
			for {
				to, d, ok := n.Deliver(now)
				if !ok {
					break
				}
				fmt.Fprintln(&log, now, to, d)
				if to == server {
					n.Send(now, d.Path, d.ECN, d.Data) // an echo, to whatever address it came from
				}
			}
		}
		return log.String() + n.String()
	}
	first := play(1)
	if play(1) != first {
		t.Error("the same seed gave another run")
	}
	if play(2) == first {
		t.Error("another seed gave the same run")
	}
}

// The data handed out stays intact until the next Deliver, even if its receiver
// sends it on.
func TestBuffersAreNotMixedUp(t *testing.T) {
	n, _ := one(t, Loss(30, 0), Duplicate(30))
	sum := 0
	for round := range 200 {
		now := mono.Time(round)
		n.Send(now, there, 0, payload(round, 10+round))
		for {
			to, d, ok := n.Deliver(now)
			if !ok {
				break
			}
			number := int(binary.BigEndian.Uint32(d.Data))
			if len(d.Data) != 10+number || to == server && !bytes.Equal(d.Data, payload(number, 10+number)) {
				t.Fatalf("datagram %d is %x", number, d.Data)
			}
			if to == server {
				n.Send(now, d.Path, 0, d.Data)
				clear(d.Data[4:]) // as decryption in place would
				sum++
			}
		}
	}
	if sum == 0 {
		t.Error("nothing arrived")
	}
}

func TestNodeInTwoPlaces(t *testing.T) {
	node := Loss(1, 1)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(seed).Link(client, server, []Node{node}, []Node{node})
}

// Every counter is printed and summed, whatever fields are added later.
func TestCountersComplete(t *testing.T) {
	var c Counters
	for _, f := range c.fields() {
		*f.count = 1
	}
	for v, i := reflect.ValueOf(c), 0; i < v.NumField(); i++ {
		if v.Field(i).Uint() != 1 {
			t.Errorf("fields misses %s", v.Type().Field(i).Name)
		}
	}
	sum := c
	sum.add(&c)
	for _, f := range sum.fields() {
		if *f.count != 2 {
			t.Errorf("%s is not summed", f.name)
		}
	}
	if want := uint64(9); c.Dropped() != want {
		t.Errorf("%d ways to vanish, want %d", c.Dropped(), want)
	}
	if s := (Counters{}).String(); s != "nothing sent" {
		t.Error(s)
	}
}

func TestQueueOrder(t *testing.T) {
	n := New(seed)
	var q queue
	for i := range 2000 {
		q.push(event{at: mono.Time(n.rand.IntN(50)), order: uint64(i)})
		if n.rand.IntN(3) == 0 {
			q.pop()
		}
	}
	last := q.pop()
	for len(q) > 0 {
		e := q.pop()
		if e.before(&last) {
			t.Fatalf("%d/%d after %d/%d", e.at, e.order, last.at, last.order)
		}
		last = e
	}
}
