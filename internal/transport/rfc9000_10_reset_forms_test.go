package transport

import (
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Whatever ends in the token of an ID in use is a stateless reset, in the form of a long header too: of an
// Initial, a Handshake packet, another version or a Retry (RFC 9000 §10.3, §10.3.1).
func TestStatelessResetInLongHeaders(t *testing.T) {
	for _, to := range []stage{stageSecure, stageConfirmed} {
		for _, first := range []byte{0xc0, 0xd0, 0xe0, 0xf0, 0x80} {
			for _, version := range []uint32{wire.Version1, wire.Version2, 0x0a0a0a0a, 0} {
				tc := newTestConn(t, clientSide, to)
				tc.clear()
				id := tc.conn.ID()
				b := reset(100, testToken)
				copy(b, []byte{first, byte(version >> 24), byte(version >> 16), byte(version >> 8), byte(version), byte(id.Len())})
				copy(b[6:], id.Bytes())
				tc.inject(b)
				tc.wantClosed("a reset", CloseReset)
				tc.wantIdle("draining")
			}
		}
	}
}

// A reset that comes when the connection closes ends what it still has to say (RFC 9000 §10.3.1).
func TestStatelessResetWhileClosing(t *testing.T) {
	tc := newTestConn(t, clientSide)
	tc.conn.Close(tc.now, true, 7, "")
	tc.wantType("the close", wire.OneRTT, wire.FrameApplicationClose)
	tc.inject(reset(43, testToken))
	for range 20 {
		tc.write(wire.OneRTT, wire.Ping{})
	}
	tc.wantIdle("draining")
	tc.wantClosed("by us", CloseLocal)
}

// A Mux finds the token also at the end of what it can make no header of (RFC 9000 §10.3.1).
func TestMuxResetWithoutHeader(t *testing.T) {
	tc := newTestConn(t, clientSide)
	m := NewMux(tc.now, MuxConfig{Rand: tc.cfg.Rand})
	m.Adopt(tc.conn, tc.ids(), []wire.ResetToken{testToken})
	b := reset(43, testToken)
	b[0], b[5] = 0xc0, 0xff // the connection ID would be longer than the datagram
	reply := dgram.NewBatch(make([]byte, 0, dgram.MaxBatchBytes))
	if c, v := m.Route(tc.now, &dgram.Datagram{Data: b, Path: tc.path}, reply); c != tc.conn || v != Deliver {
		t.Errorf("%p, %v, want it delivered", c, v)
	}
}
