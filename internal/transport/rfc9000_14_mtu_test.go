package transport

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

func discover(c *Config) { c.DisableMTUDiscovery = false }

// carry makes the peer receive, and acknowledge, what a path of that MTU carries;
// the rest is lost. It goes on until nothing is left to be sent or time is up.
func (tc *testConn) carry(mtu int, d time.Duration) {
	tc.Helper()
	for end := tc.now.Add(d); ; {
		tc.pump()
		arrived := false
		for _, p := range tc.out {
			if n := p.datagram.size; n > mtu || tc.lose != nil && tc.lose(n) {
				tc.peer.got[spaceOf(p.typ)].Remove(p.pn, p.pn+1)
				continue
			}
			arrived = arrived || len(p.frames) > 1 || p.frames[0].Type() != wire.FrameAck
		}
		tc.out = nil
		if arrived {
			tc.now = tc.now.Add(time.Millisecond)
			tc.ack(wire.OneRTT)
			continue
		}
		if at := tc.conn.Deadline(); at > end || tc.conn.Closed() {
			tc.now = end
			return
		}
		tc.advanceToTimer()
	}
}

// Datagrams with an Initial that elicits an ACK, and all of a client's, are large
// enough to show that the path carries QUIC (RFC 9000 §14.1, RFC 9000 §8.1, §14, RFC 9001 §9.3).
func TestInitialsAreLarge(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageStart)
		check := func() {
			for _, p := range tc.out {
				eliciting := p.has(wire.FrameCrypto) != nil || p.has(wire.FramePing) != nil
				if p.typ == wire.Initial && (s == clientSide || eliciting) && p.datagram.size < wire.MinInitialSize {
					t.Errorf("%v", &p)
				}
			}
			tc.out = nil
		}
		tc.pump()
		check()
		if s == serverSide {
			tc.write(wire.Initial, wire.Crypto{Data: message('C', tc.tls.clientHello)})
		} else {
			tc.write(wire.Initial, wire.Ping{})
		}
		check()
		tc.advance(4 * time.Second)
		check()
		tc.abandon()
	})
}

// A server drops an Initial in a datagram that is too small; one byte more makes
// it welcome (RFC 9000 §14.1, RFC 9000 §14).
func TestSmallInitials(t *testing.T) {
	for _, size := range []int{100, 1199, 1200} {
		tc := newTestConn(t, serverSide, stageStart)
		tc.writePacket(testPacket{typ: wire.Initial, size: size, frames: []wire.Frame{wire.Ping{}}})
		if got := tc.conn.Stats().PacketsReceived; got != uint64(size/1200) {
			t.Errorf("%d bytes: %d packets taken", size, got)
		}
		tc.wantOpen("a small datagram is no reason to close")
		tc.abandon()
	}
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.writePacket(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	if got := tc.conn.Stats().PacketsReceived; got != 1 {
		t.Error("a client is not so strict")
	}
	tc.clear()
}

// Nothing we send is larger than the peer takes, whatever we would like to try
// (RFC 9000 §18.2, §14).
func TestPeerMaxPayload(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, limit := range []int64{1200, 1201, 1300, 1452, 9000} {
			tc := newTestConn(t, s, discover, func(c *Config) { c.InitialDatagram, c.MaxDatagram = 1350, 1452 },
				func(p *wire.Parameters) { p.MaxUDPPayload = limit })
			known := len(tc.datagrams)
			st := tc.open(bidi)
			tc.send(st, strings.Repeat("x", 16<<10))
			tc.carry(1452, time.Second)
			for _, d := range tc.datagrams[known:] {
				if int64(d.size) > limit {
					t.Errorf("limit %d: a datagram of %d bytes", limit, d.size)
				}
			}
			if got := tc.conn.Stats().MTU; limit > 1350 && got != 1452-max(0, 1452-int(limit)) {
				t.Errorf("limit %d: MTU %d", limit, got)
			}
		}
	})
}

// undiscovered returns a Conn that has just confirmed its handshake and knows
// nothing of the path yet: during the handshake no datagram was larger than 1200.
func undiscovered(t *testing.T, s side, options ...any) *testConn {
	t.Helper()
	to := stageSecure
	if s == serverSide {
		to = stageHello
	}
	tc := newTestConn(t, append(options, s, to, discover)...)
	for _, d := range tc.datagrams {
		if d.size > wire.MinInitialSize {
			t.Errorf("%d bytes in the handshake", d.size)
		}
	}
	tc.out = nil
	if s == serverSide {
		tc.ack(wire.Initial)
		tc.write(wire.Handshake, wire.Crypto{Data: message('F', tc.tls.finished)})
	} else {
		tc.ack(wire.Handshake)
		tc.write(wire.OneRTT, wire.HandshakeDone{})
	}
	return tc
}

// Discovery finds what the path carries, to a few bytes, and costs no congestion
// window for the probes that are lost (RFC 9000 §14.3, §14.4).
func TestMTUDiscovery(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, path := range []int{1200, 1210, 1280, 1330, 1400, 1440, 1452, 1500} {
			tc := undiscovered(t, s)
			window := tc.conn.Stats().Window
			tc.carry(path, 5*time.Second)
			want := min(path, 1452)
			if got := tc.conn.Stats(); got.MTU > want || got.MTU <= want-mtuStep && got.MTU != 1200 || got.Window < window || got.CongestionEvents != 0 {
				t.Errorf("path of %d: MTU %d, window %d (was %d), %d congestion events", path, got.MTU, got.Window, window, got.CongestionEvents)
			}
			tc.wantOpen("probes are lost without harm")
		}
	})
}

// Ten minutes after it has settled for less, discovery tries for more again
// (RFC 8899 §5.1.1), once there is something else to send: a probe asks for an
// answer, and by itself it would keep an idle connection alive.
func TestMTURaise(t *testing.T) {
	tc := undiscovered(t, serverSide, func(c *Config) { c.Params.MaxIdleTimeout = 0 },
		func(p *wire.Parameters) { p.MaxIdleTimeout = 0 })
	tc.carry(1300, 10*time.Second)
	if got := tc.conn.Stats().MTU; got > 1300 || got < 1280 {
		t.Fatalf("MTU %d", got)
	}
	tc.carry(1452, 9*time.Minute)
	if got := tc.conn.Stats().MTU; got > 1300 {
		t.Errorf("MTU %d already", got)
	}
	tc.carry(1452, 2*time.Minute)
	if got := tc.conn.Stats().MTU; got > 1300 {
		t.Errorf("MTU %d though there was nothing to send", got)
	}
	st := tc.open(bidi)
	for range 10 {
		tc.send(st, "x")
		tc.carry(1452, time.Second)
	}
	if got := tc.conn.Stats().MTU; got != 1452 {
		t.Errorf("MTU %d", got)
	}
}

// A path that stops carrying large datagrams is found out, data goes on in smaller
// ones, and nothing is lost to the application (RFC 8899 §4.3, RFC 9000 §14.3).
func TestBlackHole(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, path := range []int{1200, 1280, 1400} {
			t.Run(fmt.Sprint(path), func(t *testing.T) {
				tc := newTestConn(t, s, discover)
				tc.carry(1452, time.Second)
				if got := tc.conn.Stats().MTU; got != 1452 {
					t.Fatalf("MTU %d", got)
				}
				st := tc.open(uni)
				tc.send(st, strings.Repeat("x", 16<<10))
				must(tc.conn.CloseWrite(st))
				tc.carry(path, 20*time.Second)
				if got := tc.conn.Stats().MTU; got > path {
					t.Errorf("MTU %d", got)
				}
				tc.wantEvent("all arrived", EventStreamDone)
			})
		}
	})
}

// What the kernel refuses is not tried again, and no size below 1200 is believed
// (RFC 9000 §14.2.1).
func TestS43TooBig(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, discover)
	tc.carry(1452, time.Second)
	tc.conn.TooBig(tc.now, 1452)
	known := len(tc.datagrams)
	st := tc.open(uni)
	tc.send(st, strings.Repeat("x", 16<<10))
	tc.carry(1452, 5*time.Second)
	for _, d := range tc.datagrams[known:] {
		if d.size >= 1452 {
			t.Errorf("%d bytes again", d.size)
		}
	}
	if got := tc.conn.Stats().MTU; got <= 1452-2*mtuStep {
		t.Errorf("MTU %d though only 1452 is too much", got)
	}
	for n := 1500; n >= -1; n-- { // as a forger of ICMP messages would have it
		tc.conn.TooBig(tc.now, n)
		if got := tc.conn.Stats().MTU; got < 1200 {
			t.Fatalf("MTU %d, as %d is too much", got, n)
		}
	}
	tc.clear()
	tc = newTestConn(t, serverSide, discover)
	for n := range wire.MinInitialSize + 1 { // what cannot be is no reason to search less
		tc.conn.TooBig(tc.now, n)
	}
	tc.carry(1452, 5*time.Second)
	if got := tc.conn.Stats().MTU; got != 1452 {
		t.Errorf("MTU %d, after a path claimed that it does not carry QUIC", got)
	}
	tc.clear()
}
