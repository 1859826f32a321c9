package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client whose local address is gone goes on from another one, and under another connection ID of the
// server's if there is one (RFC 9000 §9.5).
func TestLeaveChangesID(t *testing.T) {
	to := dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote}
	tc := newTestConn(t, clientSide)
	tc.write(wire.OneRTT, newID(1, 0))
	tc.conn.Leave(tc.now, to)
	tc.want("the old ID is given up", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
	if tc.last.datagram.path != to || tc.last.dcid != peerID(1) {
		t.Errorf("%v to %q", tc.last, tc.last.dcid.Bytes())
	}
	tc.ignore(wire.FramePing)
	tc.wantIdle("nothing else")

	tc = newTestConn(t, clientSide)
	tc.conn.Leave(tc.now, to)
	tc.want("the peer is to follow", wire.OneRTT, wire.Ping{})
	if tc.last.datagram.path != to || tc.last.dcid != peerID(0) {
		t.Errorf("without another ID: %v to %q", tc.last, tc.last.dcid.Bytes())
	}
}

// An ID that another path has too is not given up with the path that leaves it (RFC 9000 §5.1.1).
func TestLeaveSharedID(t *testing.T) {
	tc := newTestConn(t, clientSide)
	tc.ignore(wire.FramePing)
	tc.write(wire.OneRTT, newID(1, 0))
	second := dgram.Path{Local: addrPort("192.0.2.50:5"), Remote: testRemote}
	if err := tc.conn.Migrate(tc.now, second, false); err != nil {
		t.Fatal(err)
	}
	tc.pump()
	tc.wantType("the second path", wire.OneRTT, wire.FramePathChallenge)
	tc.write(wire.OneRTT, newID(2, 2))
	tc.want("the first path's", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
	tc.want("the second's: they share what is left", wire.OneRTT, wire.RetireConnectionID{Seq: 1})
	tc.ack(wire.OneRTT)
	tc.write(wire.OneRTT, newID(3, 0))
	tc.conn.Leave(tc.now, dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote})
	tc.pump()
	tc.wantIdle("the second path needs what the first has left")
	tc.ack(wire.OneRTT)
	tc.advance(1500 * time.Millisecond)
	tc.wantType("the second path again", wire.OneRTT, wire.FramePathChallenge)
	if tc.last.datagram.path != second || tc.last.dcid != peerID(2) {
		t.Errorf("%v to %q", tc.last, tc.last.dcid.Bytes())
	}
	tc.abandon()
}
