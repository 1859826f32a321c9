package transport

import (
	"testing"

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
