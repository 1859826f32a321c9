package transport

// RFC 9221 §3: unreliable datagrams in 0-RTT, from both ends.

import (
	"strings"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// RFC 9221 §3: a client that remembers the server's limit sends datagrams in 0-RTT.
func TestDatagramsEarly(t *testing.T) {
	remembered := resumed(func(p *wire.Parameters) { p.MaxDatagramFrame = 500 })
	tc := earlyClient(t, remembered, peerTakes(600))
	if n, known, ok := tc.conn.MaxDatagramSize(); n != 497 || !known || !ok {
		t.Errorf("%d, %v, %v", n, known, ok)
	}
	tc.sendDatagram("early")
	tc.want("at once", wire.ZeroRTT, datagramFrame("early"))
	tc.earlyFlight(false, true)
	tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
	if n, _, _ := tc.conn.MaxDatagramSize(); n != 597 {
		t.Errorf("%d, want the real limit's 597", n)
	}
	tc.sendDatagram("later")
	tc.want("before the handshake is confirmed nothing ends a packet", wire.OneRTT, datagramFrame("later"))
	tc.ack(wire.OneRTT)
	tc.wantFates("both have arrived", fateOf(1, 2, true))
	tc.clear()
}

// RFC 9221 §3: without a remembered limit there are no datagrams in 0-RTT.
func TestDatagramsEarlyNotRemembered(t *testing.T) {
	tc := earlyClient(t, peerTakes(600))
	if n, known, ok := tc.conn.MaxDatagramSize(); n != 0 || !known || ok {
		t.Errorf("%d, %v, %v", n, known, ok)
	}
	tc.earlyFlight(false, true)
	if n, _, ok := tc.conn.MaxDatagramSize(); n != 597 || !ok {
		t.Errorf("%d, %v after the handshake", n, ok)
	}
	tc.clear()
}

// A full 0-RTT packet holds as large a datagram as we say.
func TestDatagramOfAFullEarlyPacket(t *testing.T) {
	tc := earlyClient(t, resumed(func(p *wire.Parameters) { p.MaxDatagramFrame = 65535 }), peerTakes(65535))
	n, _, _ := tc.conn.MaxDatagramSize()
	data := strings.Repeat("x", n)
	tc.sendDatagram(data)
	tc.want("whole", wire.ZeroRTT, datagramFrame(data))
	if size := tc.last.datagram.size; size < 1190 || size > 1200 {
		t.Errorf("%d bytes of a datagram of %d", n, size)
	}
	tc.earlyFlight(true, true)
	tc.clear()
}

// Datagrams of refused 0-RTT are lost, sent or not: they are not said again
// (RFC 9221 §5, RFC 9001 §4.6.2).
func TestDatagramsEarlyRejected(t *testing.T) {
	tc := earlyClient(t, resumed(func(p *wire.Parameters) { p.MaxDatagramFrame = 500 }), peerTakes(400))
	tc.sendDatagram("early")
	tc.want("at once", wire.ZeroRTT, datagramFrame("early"))
	tc.conn.SendDatagram(tc.now, []byte("not sent yet"))
	tc.conn.Handshake(tc.now, TLSEvent{Kind: TLSEarlyRejected})
	tc.wantFates("refused", fateOf(1, 2, false))
	tc.earlyFlight(false, true)
	tc.wantType("Finished", wire.Handshake, wire.FrameCrypto)
	tc.wantIdle("not again")
	tc.sendDatagram("a new one")
	tc.want("under the new limit", wire.OneRTT, datagramFrame("a new one"))
	tc.ack(wire.OneRTT)
	tc.wantFates("as ever", fateOf(3, 1, true))
	tc.clear()
}

// RFC 9221 §3: a server that accepts 0-RTT must not lower its limit.
func TestDatagramsEarlyLowered(t *testing.T) {
	remembered := resumed(func(p *wire.Parameters) { p.MaxDatagramFrame = 500 })
	for _, limit := range []int64{0, 499} {
		tc := earlyClient(t, remembered, peerTakes(limit))
		tc.earlyFlight(false, true)
		tc.clearTo(wire.FrameConnectionClose)
		tc.wantClose("accepted", wire.ProtocolViolation)

		tc = earlyClient(t, remembered, peerTakes(limit))
		tc.earlyFlight(true, true)
		tc.wantOpen("rejected")
		tc.clear()
	}
}

// After a Retry the datagrams of 0-RTT packets are lost: the server has not kept those
// (RFC 9000 §17.2.5.3).
func TestDatagramsEarlyRetry(t *testing.T) {
	tc := earlyClient(t, resumed(func(p *wire.Parameters) { p.MaxDatagramFrame = 500 }))
	tc.sendDatagram("early")
	tc.want("0-RTT", wire.ZeroRTT, datagramFrame("early"))
	r := newMuxRig(t, validating)
	r.dcid, r.scid = tc.conn.OriginalDCID(), tc.conn.ID()
	_, chosen := r.retried()
	tc.peer.setInitialKeys(chosen, tc.side)
	tc.inject(r.batch.Segment(0))
	tc.wantType("the ClientHello again", wire.Initial, wire.FrameCrypto)
	tc.conn.settle(tc.now)
	tc.wantIdle("the datagram not")
	tc.wantFates("lost", fateOf(1, 1, false))
	tc.conn.Destroy(tc.now)
	tc.wantClosed("over", CloseSilent)
}

// A server tells datagrams that came in 0-RTT from others.
func TestDatagramsEarlyAtServer(t *testing.T) {
	for _, limit := range []int64{0, 500} {
		tc := newTestConn(t, serverSide, stageStart, withEarly, takes(limit))
		tc.write(wire.Initial, wire.Crypto{Data: message('C', 300)})
		tc.write(wire.ZeroRTT, datagramFrame("early"))
		if limit == 0 {
			tc.clearTo(wire.FrameConnectionClose)
			tc.wantClose("not negotiated", wire.ProtocolViolation)
			continue
		}
		tc.wantEvent("it has come", EventDatagram)
		tc.wantDatagram("0-RTT", "early", true)
		tc.step(stageConfirmed)
		tc.clear()
		tc.write(wire.OneRTT, datagramFrame("later"))
		tc.wantDatagram("1-RTT", "later", false)
		tc.clear()
	}
}
