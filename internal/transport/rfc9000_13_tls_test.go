package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Handshake packets are acknowledged at once (RFC 9000 §13.2.1), but while TLS is at work on
// what they brought that waits for its answer: for that long, and no longer than a while.
func TestAckWaitsForTLS(t *testing.T) {
	t.Run("answered", func(t *testing.T) {
		tc := waitingForTLS(t)
		tc.advance(tlsPatience / 2)
		tc.wantIdle("TLS is at work")
		tc.conn.AwaitTLS(tc.now, false)
		tc.wantType("TLS is done", wire.Handshake, wire.FrameAck)
	})
	t.Run("too late", func(t *testing.T) {
		tc := waitingForTLS(t)
		start := tc.now
		tc.advanceToTimer()
		if d := tc.now.Sub(start); d != tlsPatience {
			t.Errorf("the acknowledgement waited for %v", d)
		}
		tc.wantType("patience is over", wire.Handshake, wire.FrameAck)
		tc.write(wire.Handshake, wire.Ping{})
		tc.wantType("and stays so", wire.Handshake, wire.FrameAck)
	})
	t.Run("other words", func(t *testing.T) {
		tc := waitingForTLS(t)
		tc.conn.writeCrypto(LevelHandshake, []byte("more"))
		tc.wantType("it goes with what leaves anyway", wire.Handshake, wire.FrameAck)
		tc.wantType("these bytes", wire.Handshake, wire.FrameCrypto)
		tc.advance(2 * time.Millisecond)
		tc.wantIdle("once")
	})
}

// waitingForTLS returns a server that has a Handshake packet to acknowledge while TLS is at work.
func waitingForTLS(t *testing.T) *testConn {
	tc := connFor(t, serverSide, wire.Handshake)
	tc.wantIdle("what came before is acknowledged")
	tc.see(wire.FrameAck)
	tc.conn.AwaitTLS(tc.now, true)
	tc.write(wire.Handshake, wire.Ping{})
	tc.wantIdle("the acknowledgement waits for TLS")
	return tc
}
