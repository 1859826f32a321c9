package transport

// RFC 9221: unreliable datagrams, from both ends.

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// takes makes the Conn under test advertise max_datagram_frame_size.
func takes(n int64) func(*Config) { return func(c *Config) { c.Params.MaxDatagramFrame = n } }

// peerTakes makes the peer advertise it.
func peerTakes(n int64) func(*wire.Parameters) {
	return func(p *wire.Parameters) { p.MaxDatagramFrame = n }
}

func datagramFrame(data string) wire.Datagram { return wire.Datagram{Data: []byte(data), HasLen: true} }

// toEnd is the frame without a length, as it ends a packet.
func toEnd(data string) wire.Datagram { return wire.Datagram{Data: []byte(data)} }

// sendDatagram gives the Conn a datagram to send.
func (tc *testConn) sendDatagram(data string) uint64 {
	tc.Helper()
	id, ok := tc.conn.SendDatagram(tc.now, []byte(data))
	if !ok {
		tc.Fatalf("a datagram of %d bytes is refused", len(data))
	}
	return id
}

// wantDatagram takes the next datagram that has come.
func (tc *testConn) wantDatagram(reason, want string, early bool) {
	tc.Helper()
	p, e, ok := tc.conn.ReceiveDatagram(tc.now, nil)
	if !ok || string(p) != want || e != early {
		tc.Fatalf("%s: got %.20q of %d bytes, early %v, %v; want %.20q", reason, p, len(p), e, ok, want)
	}
}

func (tc *testConn) wantNoDatagram(reason string) {
	tc.Helper()
	if p, _, ok := tc.conn.ReceiveDatagram(tc.now, nil); ok {
		tc.Fatalf("%s: got %q", reason, p)
	}
}

// takeDatagrams takes all that have come.
func (tc *testConn) takeDatagrams() {
	for ok := true; ok; {
		_, _, ok = tc.conn.ReceiveDatagram(tc.now, nil)
	}
}

// wantFates says what is told of datagrams that were sent, in this order: of each run its
// first number, its length and whether it has arrived.
func (tc *testConn) wantFates(reason string, want ...Event) {
	tc.Helper()
	tc.pump()
	var got []Event
	tc.events = slices.DeleteFunc(tc.events, func(e Event) bool {
		if e.Kind == EventDatagramFate {
			got = append(got, e)
		}
		return e.Kind == EventDatagramFate
	})
	for i := range want {
		want[i].Kind = EventDatagramFate
	}
	if !slices.Equal(got, want) {
		tc.Fatalf("%s: %+v, want %+v", reason, got, want)
	}
}

func fateOf(first uint64, n uint32, arrived bool) Event { return Event{Code: first, N: n, OK: arrived} }

// RFC 9221 §3: nothing is sent to a peer that has not said how much it takes, and nothing
// that is larger (RFC 9000 §19.21).
func TestDatagramLimitOfPeer(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for limit, want := range map[int64]int{
			0: -1, 1: -1, 2: 0, 3: 1, 65: 63, 66: 63, 67: 64, 1000: 997, 65535: 1170, 1<<62 - 1: 1170,
		} {
			tc := newTestConn(t, s, peerTakes(limit))
			n, known, ok := tc.conn.MaxDatagramSize()
			if !known || ok != (want >= 0) || ok && n != want {
				t.Errorf("limit %d: %d, %v, %v, want %d", limit, n, known, ok, want)
			}
			if !ok {
				continue
			}
			tc.sendDatagram(strings.Repeat("x", n))
			f := tc.wantType("the largest", wire.OneRTT, tc.nextDatagramType())
			if size := int64(len(f.Append(nil))); size > limit {
				t.Errorf("limit %d: a frame of %d bytes", limit, size)
			}
		}
		tc := newTestConn(t, s, stageStart, peerTakes(1000))
		if n, known, ok := tc.conn.MaxDatagramSize(); n != 0 || known || ok {
			t.Errorf("before the peer's parameters: %d, %v, %v", n, known, ok)
		}
		tc.abandon()
	})
}

// nextDatagramType returns which of the two forms comes next.
func (tc *testConn) nextDatagramType() wire.FrameType {
	tc.Helper()
	f, _ := tc.peek()
	if f == nil {
		tc.Fatal("nothing is sent")
	}
	return f.Type()
}

// RFC 9221 §3: a frame that was not negotiated, and one that is larger than the limit, type
// and length included, close the connection. One of just that size is taken.
func TestDatagramLimitOfOurs(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, tt := range []struct {
			name  string
			limit int64
			frame wire.Frame
			ok    bool
		}{
			{"not negotiated", 0, datagramFrame("x"), false},
			{"not negotiated, without a length", 0, toEnd("xxxx"), false},
			{"not negotiated, empty", 0, rawFrame{0x31, 0}, false},
			{"not negotiated, and cut short", 0, rawFrame{0x31, 9}, false},
			{"just as large", 12, datagramFrame("0123456789"), true},
			{"larger by one", 11, datagramFrame("0123456789"), false},
			{"larger for its length in two bytes", 12, rawFrame("\x31\x40\x0a0123456789"), false},
			{"just as large, without a length", 11, toEnd("0123456789"), true},
			{"larger by one, without a length", 10, toEnd("0123456789"), false},
			{"any", 65535, toEnd(strings.Repeat("0123456789", 130)), true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tc := newTestConn(t, s, takes(tt.limit))
				tc.write(wire.OneRTT, tt.frame)
				if tt.ok {
					tc.wantEvent("it has come", EventDatagram)
					if p, _, ok := tc.conn.ReceiveDatagram(tc.now, nil); !ok || !bytes.HasSuffix(tt.frame.Append(nil), p) {
						t.Errorf("got %q, %v", p, ok)
					}
					return
				}
				if c := tc.wantClose(tt.name, wire.ProtocolViolation); c.Frame&^1 != wire.FrameDatagram {
					t.Errorf("the frame at fault is %v", c.Frame)
				}
				tc.wantNoEvent("no effect", EventDatagram)
			})
		}
	})
}

// RFC 9221 §4: a length past the end of the packet is malformed.
func TestDatagramTruncated(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, raw := range []string{"\x31", "\x31\x05data", "\x31\x40", "\x31\xff\xff\xff\xff\xff\xff\xff\xff"} {
			tc := newTestConn(t, s, takes(65535))
			tc.write(wire.OneRTT, rawFrame{1, 1, 1, 1}, rawFrame(raw))
			tc.wantClose("cut short", wire.FrameEncodingError)
			tc.wantNoEvent("no effect", EventDatagram)
		}
	})
}

// RFC 9221 §4: both forms are taken, also empty ones, in their order.
func TestDatagramForms(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, takes(65535))
		tc.write(wire.OneRTT, datagramFrame("one"), datagramFrame(""), wire.Ping{}, toEnd("three"))
		tc.wantEvent("they have come", EventDatagram)
		tc.wantNoEvent("one event for all", EventDatagram)
		for _, want := range []string{"one", "", "three"} {
			tc.wantDatagram("in order", want, false)
		}
		tc.wantNoDatagram("no more")
		tc.write(wire.OneRTT, rawFrame{1, 1, 1}, toEnd(""))
		tc.wantEvent("another", EventDatagram)
		tc.wantDatagram("empty, at the packet's end", "", false)
		if got := tc.conn.Stats().DatagramFramesReceived; got != 4 {
			t.Errorf("%d received, want 4", got)
		}
	})
}

// RFC 9221 §5, §6: datagrams go only under 0-RTT and 1-RTT keys.
func TestDatagramPackets(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
			tc := newTestConn(t, s, stageHello, takes(65535))
			tc.write(typ, datagramFrame("x"))
			tc.wantClose("not in such a packet", wire.ProtocolViolation)
		}
	})
}

// RFC 9221 §5: datagrams leave at once, share packets, and go without a length where the
// packet ends with them.
func TestDatagramsSharePackets(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, peerTakes(65535))
		for i, data := range []string{"one", "", "three"} {
			if id := tc.sendDatagram(data); id != uint64(i+1) {
				t.Errorf("number %d, want %d", id, i+1)
			}
		}
		tc.want("first", wire.OneRTT, datagramFrame("one"))
		pn := tc.last.pn
		tc.want("second", wire.OneRTT, datagramFrame(""))
		tc.want("third", wire.OneRTT, toEnd("three"))
		if tc.last.pn != pn {
			t.Error("not in one packet")
		}
		tc.sendDatagram("")
		tc.want("alone and empty, so that it must have a length", wire.OneRTT, datagramFrame(""))
		tc.sendDatagram("ab")
		tc.want("too short to end a packet that needs padding", wire.OneRTT, datagramFrame("ab"))
		tc.wantIdle("all sent")
		if got := tc.conn.Stats(); got.DatagramFramesSent != 5 {
			t.Errorf("%d sent, want 5", got.DatagramFramesSent)
		}
	})
}

// RFC 9221 §5: a datagram is not cut to pieces: it waits for a packet that holds it, and an
// ACK that can wait does not keep it from that.
func TestDatagramOfAFullPacket(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, peerTakes(65535))
		most, _, _ := tc.conn.MaxDatagramSize()
		small, large := strings.Repeat("s", 700), strings.Repeat("x", most)
		for range 3 {
			tc.write(wire.OneRTT, wire.Ping{}) // an ACK is wanted; every second one is due
			tc.sendDatagram(small)
			tc.sendDatagram(large)
			tc.sendDatagram(large)
			tc.want("first", wire.OneRTT, datagramFrame(small))
			tc.want("a packet of its own", wire.OneRTT, toEnd(large))
			pn := tc.last.pn
			tc.want("another one", wire.OneRTT, toEnd(large))
			if tc.last.pn == pn {
				t.Error("both in one packet")
			}
			tc.wantIdle("all sent")
			tc.ack(wire.OneRTT)
		}
		tc.write(wire.OneRTT, wire.Ping{})
		tc.sendDatagram(large)
		tc.want("although an ACK waits", wire.OneRTT, toEnd(large))
		tc.advance(100 * time.Millisecond)
		tc.see(wire.FrameAck)
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			p.seen++
		}
		if set := tc.conn.acks.Wanted(); set {
			t.Error("the ACK never went")
		}
		tc.ack(wire.OneRTT)
		tc.clear()
	})
}

// RFC 9221 §5.1: when there is stream data too, datagrams and streams take turns, packet by packet,
// and fill up each other's packets.
func TestDatagramsAndStreams(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, peerTakes(65535))
		most, _, _ := tc.conn.MaxDatagramSize()
		st := tc.open(bidi)
		for range 4 {
			tc.sendDatagram(strings.Repeat("d", most))
		}
		tc.send(st, strings.Repeat("s", 6000))
		var order strings.Builder
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			order.WriteByte("sd"[btoi(f.Type()&^1 == wire.FrameDatagram)])
			p.seen++
		}
		if got := order.String(); !strings.HasPrefix(got, "dsdsdsds") {
			t.Errorf("the order is %s", got)
		}
		tc.ack(wire.OneRTT)
		tc.sendDatagram(strings.Repeat("d", most/2))
		tc.sendDatagram(strings.Repeat("d", most*2/3))
		tc.send(st, strings.Repeat("s", 400))
		tc.wantType("the first", wire.OneRTT, wire.FrameDatagramLen)
		pn := tc.last.pn
		tc.wantType("what is left of the packet", wire.OneRTT, wire.FrameStream)
		if tc.last.pn != pn {
			t.Error("the packet was not filled")
		}
		tc.wantType("the second", wire.OneRTT, wire.FrameDatagram)
		tc.ack(wire.OneRTT)
		tc.clear()
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// RFC 9221 §5.2: a datagram elicits an ACK, which tells its fate; lost, it does not go again,
// and a late ACK does not tell another fate (RFC 9000 §19.21).
// RFC 9221 §5.
func TestDatagramFates(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, peerTakes(65535))
		for range 3 {
			tc.sendDatagram("acked")
		}
		tc.wantPacket("all in one", wire.OneRTT)
		tc.ack(wire.OneRTT)
		tc.wantFates("acknowledged", fateOf(1, 3, true))

		tc.sendDatagram("lost")
		late := tc.wantPacket("it leaves", wire.OneRTT).pn
		tc.triggerLossOrPTO(false)
		tc.wantFates("lost", fateOf(4, 1, false))
		tc.clear()
		tc.write(wire.OneRTT, ackOf(late))
		tc.wantFates("told once")
		tc.wantIdle("it is not sent again")
		if got := tc.conn.Stats(); got.DatagramFramesLost != 1 || got.SpuriousLosses != 1 {
			t.Errorf("%d lost, %d spuriously", got.DatagramFramesLost, got.SpuriousLosses)
		}
	})
}

// RFC 9221 §5.2: a probe asks for the acknowledgement, and repeats nothing (RFC 9002 §6.2.4).
func TestDatagramProbe(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, peerTakes(65535))
		tc.sendDatagram("probed")
		tc.want("it leaves", wire.OneRTT, toEnd("probed"))
		tc.advanceToPTO()
		tc.want("a probe", wire.OneRTT, wire.Ping{})
		tc.ignore(wire.FramePing)
		tc.wantIdle("nothing else")
		if n := tc.conn.Stats().LossRetransmits; n != 0 {
			t.Errorf("%d frames count as sent again", n)
		}
		tc.ack(wire.OneRTT)
		tc.wantFates("after all", fateOf(1, 1, true))
	})
}

// RFC 9221 §5.4: datagrams wait for the congestion window; as many as that is bounded (RFC 9000 §19.21).
func TestDatagramsAreCongestionControlled(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, peerTakes(65535))
		data := strings.Repeat("x", 1000)
		n := 0
		for ; ; n++ {
			if _, ok := tc.conn.SendDatagram(tc.now, []byte(data)); !ok {
				break
			}
			tc.pump()
		}
		if in := int(tc.conn.Stats().BytesInFlight); in > tc.conn.loss.Window() {
			t.Errorf("%d bytes in flight, the window is %d", in, tc.conn.loss.Window())
		}
		if count, size := tc.conn.DatagramsUnsent(); size+1000 <= maxQueuedBytes || count >= n {
			t.Errorf("%d datagrams of %d bytes wait, of %d", count, size, n)
		}
		for range 1000 {
			tc.advance(10 * time.Millisecond)
			tc.ack(wire.OneRTT)
		}
		next := uint64(1)
		for next <= uint64(n) {
			if e := tc.wantEvent("all have arrived", EventDatagramFate); e.Code != next || !e.OK {
				t.Fatalf("fate of %d datagrams from %d on, want from %d", e.N, e.Code, next)
			} else {
				next += uint64(e.N)
			}
		}
		tc.clear()
		for n = 0; n <= maxQueuedDatagrams; n++ { // of small ones the number is bounded
			if _, ok := tc.conn.SendDatagram(tc.now, nil); !ok {
				break
			}
		}
		if n != maxQueuedDatagrams {
			t.Errorf("%d empty datagrams wait, want %d", n, maxQueuedDatagrams)
		}
		tc.clear()
	})
}

// RFC 9221 §5.3: the receiver drops what it cannot hold: here the oldest. Neither the number
// nor the bytes, nor the events for them, grow with what the peer sends.
func TestS41DatagramFlood(t *testing.T) {
	besiege(t, 0)
	most, bytes := limits.Bound(t, "datagrams"), limits.Bound(t, "datagram-bytes")
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, takes(65535))
		empty := rawFrame(strings.Repeat("\x31\x00", 700))
		for range 10 {
			tc.write(wire.OneRTT, empty)
		}
		tc.wantEvent("they have come", EventDatagram)
		if n := tc.conn.DatagramsWaiting(); n != most {
			t.Errorf("%d wait, want %d", n, most)
		}
		sent := 7000
		for i := range 2000 {
			tc.write(wire.OneRTT, datagramFrame(fmt.Sprintf("%04d%s", i, strings.Repeat("x", 1000))))
			sent++
		}
		waiting := tc.conn.DatagramsWaiting()
		const each = 4 + 1000
		if n := tc.pool.Bytes(); n > 2*bytes || waiting*each > bytes || waiting*each < bytes/2 {
			t.Errorf("%d bytes are held, of %d datagrams of %d", n, waiting, each)
		}
		for i := 2000 - waiting; i < 2000; i++ {
			tc.wantDatagram("the newest are kept", fmt.Sprintf("%04d%s", i, strings.Repeat("x", 1000)), false)
		}
		if got := tc.conn.Stats(); got.DatagramFramesReceived != uint64(sent) || got.DatagramFramesDropped != uint64(sent-waiting) {
			t.Errorf("%d of %d dropped, %d waited", got.DatagramFramesDropped, got.DatagramFramesReceived, waiting)
		}
		events := 0
		for _, e := range tc.events {
			if e.Kind == EventDatagram {
				events++
			}
		}
		if events > 2010 { // the test takes them after every packet
			t.Errorf("%d events", events)
		}
		tc.clear()
	})
}

// One packet makes one event of any number of datagrams.
func TestDatagramEvents(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, takes(65535), peerTakes(65535))
		tc.write(wire.OneRTT, rawFrame(strings.Repeat("\x31\x00", 700)))
		tc.wantEvent("one", EventDatagram)
		tc.wantNoEvent("not 700", EventDatagram)
		for range 700 {
			tc.sendDatagram("")
		}
		tc.pump()
		if n := len(tc.out); n != 2 {
			t.Errorf("%d packets", n)
		}
		tc.clear()
		tc.ack(wire.OneRTT)
		tc.wantFates("one event", fateOf(1, 700, true))
		tc.conn.Destroy(tc.now)
		tc.wantClosed("over", CloseSilent)
	})
}

// RFC 9221 §5: the path can become too narrow for what waits, which is lost then.
func TestDatagramTooLargeForThePath(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, discover, peerTakes(65535))
		tc.ignore(wire.FramePing)
		tc.carry(1452, time.Second)
		most, _, _ := tc.conn.MaxDatagramSize()
		if most < 1400 {
			t.Fatalf("%d bytes after the search for the MTU", most)
		}
		tc.sendDatagram(strings.Repeat("x", most))
		tc.sendDatagram("small")
		tc.conn.TooBig(tc.now, 1452) // before they have left
		if now, _, _ := tc.conn.MaxDatagramSize(); now >= most {
			t.Errorf("still %d bytes", now)
		}
		for {
			f, p := tc.next("the small one", "DATAGRAM")
			if f.Type() == wire.FrameDatagram {
				if !sameFrame(f, toEnd("small")) {
					t.Errorf("%v in %v", f, p)
				}
				break
			}
		}
		tc.wantFates("the large one is lost", fateOf(1, 1, false))
		tc.clear()
		tc.ack(wire.OneRTT)
		tc.wantFates("the small one has arrived", fateOf(2, 1, true))
		tc.clear()
	})
}

// Datagrams count for what has to be sent before larger packets are tried (RFC 8899 §5.1).
func TestDatagramsStartDiscovery(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, discover, peerTakes(65535), func(c *Config) { c.MTUDiscoveryAfter = 5000 })
		tc.ignore(wire.FramePing)
		for range 10 {
			tc.sendDatagram(strings.Repeat("x", 1000))
			tc.carry(1452, 100*time.Millisecond)
		}
		if got := tc.conn.Stats().MTU; got != 1452 {
			t.Errorf("MTU %d", got)
		}
		tc.clear()
	})
}

// With the connection ends the wait for all fates; what came before an orderly end can still be had.
func TestDatagramsAtTheEnd(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, code := range []uint64{0, 7} {
			tc := newTestConn(t, s, takes(65535), peerTakes(65535))
			tc.sendDatagram("acknowledged")
			tc.sendDatagram("")
			tc.clear()
			tc.ack(wire.OneRTT)
			tc.wantFates("arrived", fateOf(1, 2, true))
			tc.sendDatagram("in flight")
			tc.clear()
			tc.conn.SendDatagram(tc.now, []byte("not sent"))
			tc.conn.Receive(tc.now, tc.datagramOf(testPacket{typ: wire.OneRTT, frames: []wire.Frame{
				datagramFrame("came before"), wire.Close{App: true, Code: code},
			}}))
			tc.wantClosed("the peer's", ClosePeer)
			tc.wantFates("never to be known", fateOf(3, 2, false))
			if i := slices.IndexFunc(tc.events, func(e Event) bool { return e.Kind == EventClosed }); i < 0 {
				t.Error("no end")
			}
			if code == 0 {
				tc.wantDatagram("an orderly end", "came before", false)
			}
			tc.wantNoDatagram("no more")
			if _, ok := tc.conn.SendDatagram(tc.now, nil); ok {
				t.Error("a datagram is taken after the end")
			}
			if n, _, ok := tc.conn.MaxDatagramSize(); ok || n != 0 {
				t.Errorf("%d bytes after the end", n)
			}
			if got := tc.conn.Stats().DatagramFramesLost; got != 2 {
				t.Errorf("%d lost, want 2", got)
			}
		}
	})
}

// In steady state neither end allocates anything for datagrams, or for their fates.
func TestAllocationsDatagrams(t *testing.T) {
	p := newPair(t, func(_ *node, c *Config, _ *MuxConfig) { c.Params.MaxDatagramFrame = 65535 })
	p.handshake()
	p.transfer(4 << 20)
	p.rest()
	l := &wireLink{pair: p}
	data, buf := bytes.Repeat([]byte("x"), 1200), make([]byte, 0, 2000)
	arrived := 0
	round := func() {
		for range 20 {
			if _, ok := l.client.conn.SendDatagram(l.now, data); !ok {
				t.Fatal("the queue is full")
			}
		}
		l.tick(50 * time.Microsecond)
		l.pass(l.client, l.server)
		for {
			p, _, ok := l.server.conn.ReceiveDatagram(l.now, buf)
			if !ok {
				break
			}
			arrived += len(p) / len(data)
		}
		l.pass(l.server, l.client)
	}
	for range 100 {
		round()
	}
	arrived = 0
	const rounds = 50
	allocs := testing.AllocsPerRun(rounds, round)
	if arrived < 20*rounds {
		t.Fatalf("only %d datagrams have arrived", arrived)
	}
	if allocs > 0 {
		t.Errorf("%v allocations a round, want 0", allocs)
	}
}
