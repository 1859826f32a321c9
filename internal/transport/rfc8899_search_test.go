package transport

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// jumbo makes discovery try whatever a batch can carry, and lets the transfer grow
// the congestion window that large probes need.
func jumbo(c *Config) { c.DisableMTUDiscovery, c.MaxDatagram = false, dgram.MaxBatchBytes }

func hungry(p *wire.Parameters) {
	p.MaxData, p.MaxStreamDataUni = 1<<40, 1<<40
}

// jumboPaths are the payloads that paths carry, and the least that must be found.
var jumboPaths = []struct{ path, least int }{
	{1200, 1200},
	{1280 - 48, 1200},
	{1280, 1200},
	{1400, 1380},
	{1452, 1452},
	{1472, 1472},
	{2000, 1472},
	{4000 - 48, 3500},
	{8952, 8952},
	{9000 - 28, 8952},
	{16_384 - 48, 16_336},
	{dgram.MaxBatchBytes, dgram.MaxBatchBytes},
	{65_507, dgram.MaxBatchBytes},
}

// transferOver sends n bytes over a path that loses what is larger than path bytes, and
// returns how large the datagrams were that it lost.
func (tc *testConn) transferOver(path, n int) (lost []int) {
	tc.Helper()
	known := len(tc.datagrams)
	st := tc.open(uni)
	for range n / (32 << 10) {
		tc.send(st, strings.Repeat("x", 32<<10))
		tc.carry(path, 10*time.Second)
	}
	for _, d := range tc.datagrams[known:] {
		if d.size > path {
			lost = append(lost, d.size)
		}
	}
	return lost
}

// With a ceiling far above what most paths carry the search still ends near what this one
// does, with no more lost probes than a search below 1452 may cost, and without harm to
// the congestion window (RFC 8899 §5.3, RFC 9000 §14.3, §14.4).
func TestJumboSearch(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, test := range jumboPaths {
			tc := undiscovered(t, s, jumbo, hungry)
			lost := tc.transferOver(test.path, 1<<20)
			got := tc.conn.Stats()
			if got.MTU > test.path || got.MTU < test.least {
				t.Errorf("path of %d: MTU %d, want %d at least", test.path, got.MTU, test.least)
			}
			if len(lost) > mtuLosses || got.CongestionEvents != 0 {
				t.Errorf("path of %d: %d probes lost, %d congestion events: %v", test.path, len(lost), got.CongestionEvents, lost)
			}
			if tc.conn.mtu.searching {
				t.Errorf("path of %d: the search has not ended", test.path)
			}
			tc.clear()
		}
	})
}

// Where the kernel knows that the interface carries no more, no probe is lost at all: each
// refusal leads to the next size at once, and takes nothing from the congestion window
// (RFC 9000 §14.2.1).
func TestJumboSearchRefused(t *testing.T) {
	for _, test := range jumboPaths {
		tc := undiscovered(t, clientSide, jumbo, hungry)
		refused := 0
		tc.refuse = func(n int) bool {
			if n > test.path {
				refused++
			}
			return n > test.path
		}
		lost := tc.transferOver(test.path, 1<<20)
		got := tc.conn.Stats()
		if got.MTU > test.path || got.MTU < test.least {
			t.Errorf("interface of %d: MTU %d, want %d at least", test.path, got.MTU, test.least)
		}
		if len(lost) > 0 || refused > 16 || got.PTOs != 0 || tc.conn.mtu.searching {
			t.Errorf("interface of %d: lost %v, %d refused, %d PTOs", test.path, lost, refused, got.PTOs)
		}
		if n := tc.conn.loss.InFlight(); n != 0 {
			t.Errorf("interface of %d: %d bytes in flight for ever", test.path, n)
		}
		tc.clear()
	}
}

// A path that loses single probes is still found for what it is: one loss of a size is
// followed by smaller ones, and then by more tries (RFC 8899 §5.1.2).
func TestJumboSearchUnlucky(t *testing.T) {
	for unlucky := 1; unlucky <= 2; unlucky++ {
		tc := undiscovered(t, serverSide, jumbo, hungry)
		seen := map[int]int{}
		tc.lose = func(n int) bool {
			if n <= 1472 || !slices.Contains(usualSizes[:], n) {
				return false
			}
			seen[n]++
			return seen[n] <= unlucky
		}
		tc.transferOver(8952, 1<<20)
		if got := tc.conn.Stats().MTU; got != 8952 {
			t.Errorf("%d probes lost: MTU %d, want 8952", unlucky, got)
		}
		tc.clear()
	}
}

// A path that stops carrying jumbo datagrams is found out, by loss or by timeouts; data goes
// on in small ones, and all of it arrives (RFC 8899 §4.3).
func TestJumboBlackHole(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, test := range []struct{ before, after, least int }{
			{8952, 1452, 1452}, {8952, 1200, 1200}, {dgram.MaxBatchBytes, 8952, 1472}, {dgram.MaxBatchBytes, 1300, 1200}, {16_336, 4000, 1472},
		} {
			t.Run(fmt.Sprint(test.before, "to", test.after), func(t *testing.T) {
				tc := undiscovered(t, s, jumbo, hungry)
				tc.transferOver(test.before, 1<<20)
				if got := tc.conn.Stats().MTU; got != test.before {
					t.Fatalf("MTU %d, want %d", got, test.before)
				}
				tc.clear()
				st := tc.open(uni)
				for range 16 {
					tc.send(st, strings.Repeat("x", 32<<10))
					tc.carry(test.after, 20*time.Second)
				}
				must(tc.conn.CloseWrite(st))
				tc.carry(test.after, time.Second)
				tc.wantEvent("all arrived", EventStreamDone)
				if got := tc.conn.Stats().MTU; got > test.after || got < test.least {
					t.Errorf("MTU %d, want %d to %d", got, test.least, test.after)
				}
				tc.clear()
			})
		}
	})
}

// The congestion window and the pacer's burst are counted in datagrams, and grow with them
// (RFC 9002 §7.2).
func TestJumboWindow(t *testing.T) {
	tc := undiscovered(t, serverSide, jumbo, hungry)
	tc.transferOver(dgram.MaxBatchBytes, 1<<20)
	if got := tc.conn.Stats(); got.Window < 2*dgram.MaxBatchBytes {
		t.Errorf("window %d, want room for two datagrams of %d", got.Window, got.MTU)
	}
	if got := tc.conn.loss.Pacer().Budget(tc.now.Add(time.Hour)); got < 2*dgram.MaxBatchBytes || got%dgram.MaxBatchBytes != 0 {
		t.Errorf("a burst of %d", got)
	}
	tc.clear()
}

// A transfer that always fills the congestion window leaves room for a probe all the same:
// data waits for the little while until the probe fits.
func TestJumboProbeInFullWindow(t *testing.T) {
	tc := undiscovered(t, serverSide, hungry, func(c *Config) {
		c.DisableMTUDiscovery, c.MaxDatagram, c.MTUDiscoveryAfter, c.DisablePacing = false, 8952, 200_000, true
	})
	st := tc.open(uni)
	data := make([]byte, 32<<10)
	var flight []int64
	acknowledged := 0
	for ; acknowledged < 400 && tc.conn.Stats().MTU == 1200; acknowledged += 2 {
		for n := -1; n != 0; tc.pump() { // whatever the window takes
			var err error
			if n, err = tc.conn.Write(st, data); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range tc.out {
			flight = append(flight, p.pn)
		}
		tc.out = nil
		tc.now = tc.now.Add(time.Millisecond)
		tc.write(wire.OneRTT, ackOf(flight[:2]...))
		flight = flight[2:]
	}
	if got := tc.conn.Stats(); got.MTU != 8952 {
		t.Errorf("MTU %d after %d packets, window %d", got.MTU, acknowledged, got.Window)
	}
	tc.clear()
}
