package transport

import (
	"slices"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// negotiation returns a Version Negotiation packet for the client under test.
func (tc *testConn) negotiation(versions ...uint32) []byte {
	dcid, scid := tc.conn.ID(), tc.conn.OriginalDCID()
	return wire.AppendVersionNegotiation(nil, 0x15, dcid.Bytes(), scid.Bytes(), versions...)
}

// A server that does not speak our version ends the attempt, and we learn what it
// does speak; nothing more is sent (RFC 9000 §6.2, RFC 9368 §2.1).
func TestVersionNegotiation(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.inject(tc.negotiation(0x709a50c4, 0xff00001d, 0x1a2a3a4a))
	tc.wantClosed("another version", CloseVersion)
	if got := tc.closed.Versions; !slices.Equal(got, []uint32{0x709a50c4, 0xff00001d, 0x1a2a3a4a}) {
		t.Errorf("offered %#x", got)
	}
	tc.wantIdle("the server would not understand")
}

// All others are dropped: one that offers our version, which a server that does
// could not have sent, one that comes too late, or that does not echo both IDs, or
// is malformed (RFC 9000 §6.2).
func TestVersionNegotiationDropped(t *testing.T) {
	other := wire.MakeConnectionID([]byte("another!"))
	for _, tt := range []struct {
		name string
		make func(tc *testConn) []byte
		step stage
		side side
	}{
		{"our own version", func(tc *testConn) []byte { return tc.negotiation(0x6b3343cf, wire.Version1) }, stageStart, clientSide},
		{"no version", func(tc *testConn) []byte { return tc.negotiation() }, stageStart, clientSide},
		{"half a version", func(tc *testConn) []byte { return append(tc.negotiation(2), 0, 0) }, stageStart, clientSide},
		{"after an answer", func(tc *testConn) []byte { return tc.negotiation(2) }, stageHello, clientSide},
		{"after the handshake", func(tc *testConn) []byte { return tc.negotiation(2) }, stageConfirmed, clientSide},
		{"another destination", func(tc *testConn) []byte {
			scid := tc.conn.OriginalDCID()
			return wire.AppendVersionNegotiation(nil, 0, other.Bytes(), scid.Bytes(), 2)
		}, stageStart, clientSide},
		{"another source", func(tc *testConn) []byte {
			dcid := tc.conn.ID()
			return wire.AppendVersionNegotiation(nil, 0, dcid.Bytes(), other.Bytes(), 2)
		}, stageStart, clientSide},
		{"to a server", func(tc *testConn) []byte {
			return wire.AppendVersionNegotiation(nil, 0, tc.peer.dcid.Bytes(), tc.peer.id.Bytes(), 2)
		}, stageHello, serverSide},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, tt.side, tt.step)
			tc.clear()
			tc.inject(tt.make(tc))
			tc.wantOpen("dropped")
			tc.wantIdle("dropped")
		})
	}
}

// After a Retry, which only a server of our version could send, there is nothing
// left to negotiate (RFC 9000 §6.2).
func TestVersionNegotiationAfterRetry(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	b := tc.negotiation(2)
	tc.retry(retryID, "token")
	tc.clear()
	tc.inject(b)
	tc.inject(tc.negotiation(2))
	tc.wantOpen("dropped")
}

// A packet of another version is not for us, at either end (RFC 9000 §5.2.1, §5.2.2).
func TestOtherVersion(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for to := stageStart; to <= stageConfirmed; to++ {
			tc := newTestConn(t, s, to)
			tc.clear()
			b := tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Close{}}, size: 1200})
			b[1] = 0x6b
			tc.inject(b)
			tc.wantOpen("another version")
			tc.wantIdle("another version")
		}
	})
}
