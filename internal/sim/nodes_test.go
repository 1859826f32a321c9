package sim

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// about fails unless a count lies within five standard deviations of what so
// many draws with the chance of percent give.
func about(t *testing.T, what string, got uint64, draws int, percent float64) {
	t.Helper()
	p := percent / 100
	want := float64(draws) * p
	if math.Abs(float64(got)-want) > 5*math.Sqrt(want*(1-p))+0.5 {
		t.Errorf("%s: %d of %d, want about %.0f", what, got, draws, want)
	}
}

func TestDelay(t *testing.T) {
	n, _ := one(t, Delay(15*time.Millisecond, 0))
	for i, a := range flood(n, 10, 100, time.Millisecond) {
		if want := mono.Time(0).Add(time.Duration(15+i) * time.Millisecond); a.at != want {
			t.Errorf("datagram %d at %v, want %v", i, a.at, want)
		}
	}
}

// Jitter delays by up to its size, and keeps the order.
func TestDelayJitter(t *testing.T) {
	n, _ := one(t, Delay(10*time.Millisecond, 4*time.Millisecond))
	list := flood(n, 2000, 100, time.Millisecond)
	low, high := time.Hour, time.Duration(0)
	for i, a := range list {
		if a.number() != i+1 {
			t.Fatalf("datagram %d came as number %d", a.number(), i+1)
		}
		late := a.at.Sub(mono.Time(i) * mono.Time(time.Millisecond))
		low, high = min(low, late), max(high, late)
	}
	if low < 10*time.Millisecond || low > 10100*time.Microsecond || high >= 14*time.Millisecond || high < 13900*time.Microsecond {
		t.Errorf("delays from %v to %v", low, high)
	}
}

// 10 Mbit/s, with 28 bytes of IPv4 and UDP headers and 2 of PPP: a datagram of
// 1220 bytes takes a millisecond. One is on the line and 25 wait.
func TestRate(t *testing.T) {
	n, l := one(t, Rate(10_000_000, 25))
	list := flood(n, 40, 1220, 0)
	if len(list) != 26 || l.Up().TailDropped != 14 {
		t.Fatalf("%d arrived: %v", len(list), l.Up())
	}
	for i, a := range list {
		if want := mono.Time(i+1) * mono.Time(time.Millisecond); a.at != want || a.number() != i+1 {
			t.Errorf("datagram %d at %d, want %d", a.number(), a.at, want)
		}
	}
	// A place gets free when the next one goes on the line.
	start := mono.Time(time.Second)
	for i := range 26 {
		n.Send(start, there, 0, payload(i, 1220))
	}
	n.Send(start.Add(999*time.Microsecond), there, 0, payload(100, 1220))
	n.Send(start.Add(time.Millisecond), there, 0, payload(101, 1220))
	if got := numbers(drain(n, mono.Never)); len(got) != 27 || got[26] != 101 {
		t.Errorf("arrived: %v", got)
	}
}

func TestRateHeaders(t *testing.T) {
	a, b := netip.MustParseAddrPort("[fd00::1]:1"), netip.MustParseAddrPort("[fd00::2]:2")
	n := New(seed)
	n.Link(a, b, []Node{Rate(1_000_000_000, 0)}, nil)
	n.Send(0, dgram.Path{Local: a, Remote: b}, 0, payload(0, 1000))
	if list := drain(n, mono.Never); list[0].at != 1050*8 {
		t.Errorf("1000 bytes over IPv6 took %d ns", list[0].at)
	}
}

func TestRateWithoutQueueLimit(t *testing.T) {
	n, _ := one(t, Rate(10_000_000, 0))
	if list := flood(n, 5000, 1220, 0); len(list) != 5000 || list[4999].at != mono.Time(5*time.Second) {
		t.Errorf("%d arrived", len(list))
	}
}

func TestLoss(t *testing.T) {
	n, l := one(t, Loss(30, 0))
	list := flood(n, 10_000, 50, 0)
	about(t, "lost", l.Up().Lost, 10_000, 30)
	if longest(list, 10_000) < 4 {
		t.Error("no long burst without a limit")
	}
}

// longest returns the length of the longest gap in the numbers from 1 to last.
func longest(list []arrival, last int) (most int) {
	before := 0
	for _, number := range append(numbers(list), last+1) {
		most = max(most, number-before-1)
		before = number
	}
	return most
}

func TestLossBurst(t *testing.T) {
	n, _ := one(t, Loss(60, 3))
	if got := longest(flood(n, 10_000, 50, 0), 10_000); got != 3 {
		t.Errorf("longest burst %d", got)
	}
	n, _ = one(t, Loss(100, 3))
	if got := numbers(flood(n, 12, 50, 0)); fmt.Sprint(got) != "[4 8 12]" {
		t.Errorf("of 12, all to be dropped, %v passed", got)
	}
}

func TestDropList(t *testing.T) {
	n, l := one(t, DropList(2, 3, 4, 5, 6, 7))
	if got := numbers(flood(n, 9, 50, 0)); fmt.Sprint(got) != "[1 8 9]" || l.Up().Listed != 6 {
		t.Errorf("passed: %v", got)
	}
}

func TestDropIfAndTap(t *testing.T) {
	var seen []mono.Time
	n, l := one(t, Delay(3, 0), DropIf(func(now mono.Time, d dgram.Datagram) bool { return d.Data[3]%2 == 0 }),
		Tap(func(now mono.Time, d dgram.Datagram) {
			if d.Path != there || d.ECN != dgram.ECT0 {
				t.Errorf("saw %v", d)
			}
			seen = append(seen, now)
		}))
	got := numbers(flood(n, 5, 50, 10))
	if fmt.Sprint(got, seen) != "[1 3 5] [3 23 43]" || l.Up().Filtered != 2 {
		t.Errorf("passed %v, saw %v: %v", got, seen, n)
	}
}

func TestReorder(t *testing.T) {
	n, l := one(t, Reorder(10, 5*time.Millisecond))
	list := flood(n, 5000, 50, time.Millisecond)
	about(t, "reordered", l.Up().Reordered, 5000, 10)
	late := uint64(0)
	for _, a := range list {
		switch a.at.Sub(mono.Time(a.number()-1) * mono.Time(time.Millisecond)) {
		case 0:
		case 5 * time.Millisecond:
			late++
		default:
			t.Fatalf("datagram %d at %d", a.number(), a.at)
		}
	}
	if late != l.Up().Reordered || slices.IsSorted(numbers(list)) {
		t.Errorf("%d late", late)
	}
}

func TestDuplicate(t *testing.T) {
	n, l := one(t, Duplicate(20))
	list := flood(n, 5000, 50, time.Millisecond)
	about(t, "duplicated", l.Up().Duplicated, 5000, 20)
	if len(list) != 5000+int(l.Up().Duplicated) {
		t.Errorf("%d arrived", len(list))
	}
	for _, a := range list {
		if !bytes.Equal(a.data, payload(a.number(), 50)) {
			t.Fatalf("datagram %d is %x", a.number(), a.data)
		}
	}
}

// One byte of the first 51 is another, never the same, and all others are as
// they were.
func TestCorrupt(t *testing.T) {
	n, l := one(t, Corrupt(30, 3))
	for range 10_000 {
		n.Send(0, there, 0, bytes.Repeat([]byte{0x55}, 100))
	}
	places, row, longest := map[int]int{}, 0, 0
	for _, a := range drain(n, mono.Never) {
		changed := 0
		for i, b := range a.data {
			if b != 0x55 {
				changed++
				places[i]++
			}
		}
		if changed > 1 {
			t.Fatalf("%d bytes changed", changed)
		}
		row = (row + 1) * changed
		longest = max(longest, row)
	}
	// The limit lets through a little: 0.3^4 of the draws.
	if c := l.Up().Corrupted; c < 2800 || c > 3100 {
		t.Errorf("corrupted %d of 10000", c)
	}
	if len(places) != 51 || places[0] == 0 || places[50] == 0 {
		t.Errorf("changed places: %v", places)
	}
	if longest != 3 {
		t.Errorf("%d in a row", longest)
	}
}

func TestCorruptSmallAndSpared(t *testing.T) {
	negotiation := []byte{0x80, 0, 0, 0, 0, 1, 2, 3}
	n, l := one(t, Corrupt(100, 0))
	n.Send(0, there, 0, nil)
	n.Send(1, there, 0, []byte{7})
	n.Send(2, there, 0, negotiation)
	n.Send(3, there, 0, negotiation[:5])
	list := drain(n, mono.Never)
	if list[1].data[0] == 7 || !bytes.Equal(list[2].data, negotiation) || bytes.Equal(list[3].data, negotiation[:5]) || l.Up().Corrupted != 2 {
		t.Errorf("got %v", list)
	}
}

func TestCorruptDrop(t *testing.T) {
	n, l := one(t, CorruptDrop(30, 3))
	list := flood(n, 10_000, 60, 0)
	if c := l.Up(); c.CorruptDropped < 2800 || c.CorruptDropped > 3100 || c.Corrupted != 0 || longest(list, 10_000) != 3 {
		t.Errorf("counters: %v", c)
	}
	for _, a := range list {
		if !bytes.Equal(a.data, payload(a.number(), 60)) {
			t.Fatal("a corrupt datagram was delivered")
		}
	}
}

func TestMTU(t *testing.T) {
	n, l := one(t, MTU(1400, MTUChange{At: 10, MTU: 1200}, MTUChange{At: 20, MTU: 1500}))
	for i, at := range []mono.Time{0, 9, 10, 19, 20} {
		for _, size := range []int{1200, 1201, 1400, 1401, 1500, 1501} {
			n.Send(at, there, 0, payload(10_000*i+size, size))
		}
	}
	want := "[1200 1201 1400 11200 11201 11400 21200 31200 41200 41201 41400 41401 41500]"
	if got := numbers(drain(n, mono.Never)); fmt.Sprint(got) != want || l.Up().TooBig != 30-13 {
		t.Errorf("passed: %v", got)
	}
}

func TestBlackhole(t *testing.T) {
	n, l := one(t, Blackhole(5*time.Second, 2*time.Second))
	if got := numbers(flood(n, 10, 50, time.Second)); fmt.Sprint(got) != "[1 2 3 4 5 8 9 10]" || l.Up().Blackholed != 2 {
		t.Errorf("passed: %v", got)
	}
}

func TestMark(t *testing.T) {
	n, l := one(t, Mark(25))
	list := flood(n, 4000, 50, 0)
	about(t, "marked", l.Up().Marked, 4000, 25)
	ce := uint64(0)
	for _, a := range list {
		switch a.ecn {
		case dgram.CE:
			ce++
		case dgram.ECT0:
		default:
			t.Fatalf("codepoint %d", a.ecn)
		}
	}
	if ce != l.Up().Marked {
		t.Errorf("%d marked", ce)
	}
	n, l = one(t, Mark(100))
	n.Send(0, there, dgram.NotECT, nil)
	n.Send(0, there, dgram.ECT1, nil)
	if list := drain(n, mono.Never); list[0].ecn != dgram.NotECT || list[1].ecn != dgram.CE || l.Up().Marked != 1 {
		t.Errorf("got %v", list)
	}
}

func TestBleach(t *testing.T) {
	n, l := one(t, Bleach())
	for _, ecn := range []dgram.ECN{dgram.NotECT, dgram.ECT1, dgram.ECT0, dgram.CE} {
		n.Send(0, there, ecn, nil)
	}
	for _, a := range drain(n, mono.Never) {
		if a.ecn != dgram.NotECT {
			t.Errorf("codepoint %d", a.ecn)
		}
	}
	if l.Up().Bleached != 3 {
		t.Errorf("counters: %v", l.Up())
	}
}

// natted returns a network whose client is behind a NAT.
func natted(nat Node) (*Network, *Link) {
	n := New(seed)
	down := []Node{Delay(time.Millisecond, 0), nat}
	return n, n.Link(client, server, []Node{Delay(time.Millisecond, 0), nat}, down)
}

// speak sends a datagram up at the given second and returns the address it
// seems to come from.
func speak(t *testing.T, n *Network, second int) netip.AddrPort {
	t.Helper()
	n.Send(mono.Time(second)*mono.Time(time.Second), there, 0, []byte("up"))
	list := drain(n, mono.Never)
	if len(list) != 1 || list[0].to != server {
		t.Fatalf("got %v", list)
	}
	return list[0].path.Remote
}

// answer sends a datagram down and reports whether it arrives.
func answer(t *testing.T, n *Network, second int, to netip.AddrPort) bool {
	t.Helper()
	n.Send(mono.Time(second)*mono.Time(time.Second)+500, dgram.Path{Local: server, Remote: to}, 0, []byte("down"))
	list := drain(n, mono.Never)
	if len(list) == 1 && (list[0].to != client || list[0].path != there) {
		t.Fatalf("arrived at %v from %v", list[0].to, list[0].path)
	}
	return len(list) == 1
}

// A NAT at the link: the port changes at 1 s and every 5 s, and the old one is
// gone, even for what was on its way.
func TestRebindPort(t *testing.T) {
	n, l := natted(Rebind(time.Second, 5*time.Second, false))
	if got := speak(t, n, 0); got != client || !answer(t, n, 0, got) {
		t.Fatalf("at first the client is %v", got)
	}
	if answer(t, n, 2, client) {
		t.Error("the first address still works")
	}
	one := speak(t, n, 3)
	if one.Addr() != client.Addr() || one.Port() == client.Port() || one.Port() == 0 {
		t.Errorf("rebound to %v", one)
	}
	if speak(t, n, 5) != one || !answer(t, n, 5, one) || answer(t, n, 5, client) {
		t.Error("the mapping does not last")
	}
	n.Send(mono.Time(6*time.Second)-500, dgram.Path{Local: server, Remote: one}, 0, []byte("on its way"))
	if list := drain(n, mono.Never); len(list) != 0 {
		t.Error("a datagram passed a mapping that was removed meanwhile")
	}
	if two := speak(t, n, 6); two == one || two == client || answer(t, n, 7, one) || !answer(t, n, 7, two) {
		t.Errorf("rebound to %v", two)
	}
	if c := n.Counters(); c.Rebound != 2 || c.Unmapped != 4 || l.Up().Rebound != 2 {
		t.Errorf("counters: %v", n)
	}
}

func TestRebindAddress(t *testing.T) {
	n, _ := natted(Rebind(time.Second, time.Second, true))
	before := client
	for second := 1; second < 200; second++ {
		now := speak(t, n, second)
		if now.Addr() == before.Addr() || now.Port() == 0 {
			t.Fatalf("rebound from %v to %v", before, now)
		}
		if host := now.Addr().As4(); host[0] != 10 || host[2] != 0 || host[3] == 0 || host[3] == 255 {
			t.Fatalf("rebound to %v, outside of the network", now)
		}
		if !answer(t, n, second, now) {
			t.Fatalf("no way back to %v", now)
		}
		before = now
	}
}

func TestRebindOnce(t *testing.T) {
	n, _ := natted(Rebind(time.Second, 0, false))
	first := speak(t, n, 1)
	if first == client || speak(t, n, 1000) != first {
		t.Errorf("rebound to %v", first)
	}
}

// Two clients behind one NAT are kept apart.
func TestRebindSharedByLinks(t *testing.T) {
	n := New(seed)
	nat := Rebind(0, 0, false)
	clients := []netip.AddrPort{client, netip.MustParseAddrPort("10.0.0.1:50001"), netip.MustParseAddrPort("[fd00::1]:7")}
	outer := map[netip.AddrPort]bool{}
	for _, c := range clients {
		n.Link(c, server, []Node{nat}, []Node{nat})
		n.Send(0, dgram.Path{Local: c, Remote: server}, 0, nil)
		seen := drain(n, mono.Never)[0].path
		outer[seen.Remote] = true
		n.Send(0, seen, 0, nil)
		if list := drain(n, mono.Never); len(list) != 1 || list[0].to != c {
			t.Errorf("the answer to %v came to %v", c, list)
		}
	}
	if len(outer) != 3 {
		t.Errorf("outer addresses: %v", outer)
	}
}

// A NAT in one way only: answers find nobody.
func TestRebindForgottenOnTheWayDown(t *testing.T) {
	n := New(seed)
	n.Link(client, server, []Node{Rebind(0, 0, false)}, nil)
	n.Send(0, there, 0, nil)
	n.Send(0, drain(n, mono.Never)[0].path, 0, nil)
	if list := drain(n, mono.Never); len(list) != 0 || n.Counters().NoRoute != 1 {
		t.Errorf("delivered %v: %v", list, n)
	}
}

func TestNeighbour(t *testing.T) {
	for _, addr := range []string{"10.0.0.1", "10.0.0.254", "10.0.0.255", "fd00::", "fd00::ffff"} {
		a := netip.MustParseAddr(addr)
		for random := range uint32(100_000) {
			b := neighbour(a, random)
			if b == a || a.Is4() && (b.As4()[3] == 0 || b.As4()[3] == 255) {
				t.Fatalf("%v next to %v", b, a)
			}
		}
	}
}

// The goodput of the interoperability runner's link is a little less than its rate.
func TestInterop(t *testing.T) {
	n, _ := one(t, Interop(Loss(0, 3))...)
	const count, size = 1000, 1200
	list := flood(n, count, size, time.Millisecond)
	if len(list) != count || list[0].at != mono.Time(15*time.Millisecond+(size+30)*800) {
		t.Errorf("%d arrived, the first at %v", len(list), list[0].at)
	}
}
