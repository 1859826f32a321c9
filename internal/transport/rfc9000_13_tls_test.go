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

// How long it has waited is in the acknowledgement, and reads the same at the other end, whatever exponents the
// two announce: there is one for packets of the handshake, since parameters come with those (RFC 9000 §13.2.5, §19.3).
func TestHandshakeAckDelay(t *testing.T) {
	const wait = 5 * time.Millisecond
	for _, exponent := range []uint8{0, 3, 10} {
		tc := waitingForTLS(t, func(c *Config) { c.Params.AckDelayExponent = exponent })
		tc.now = tc.now.Add(wait)
		tc.conn.AwaitTLS(tc.now, false)
		ack := tc.wantType("TLS is done", wire.Handshake, wire.FrameAck).(wire.Ack)
		if d := time.Duration(ack.Delay<<3) * time.Microsecond; d != wait {
			t.Errorf("exponent %d: a delay of %d in units of 8 µs, which is %v", exponent, ack.Delay, d)
		}
		tc.clear()

		reader := newTestConn(t, serverSide, stageHello, func(p *wire.Parameters) { p.AckDelayExponent = exponent })
		sample := func(rtt time.Duration, delay uint64) {
			reader.clear()
			reader.conn.writeCrypto(LevelHandshake, []byte("more"))
			reader.wantType("handshake bytes", wire.Handshake, wire.FrameCrypto)
			pn := reader.last.pn
			reader.now = reader.now.Add(rtt)
			reader.write(wire.Handshake, wire.MakeAck(numbers(pn), delay, nil))
		}
		for range 60 {
			sample(10*time.Millisecond, 0)
		}
		for range 60 {
			sample(10*time.Millisecond+wait, ack.Delay)
		}
		if d := reader.conn.Stats().RTT.Smoothed - 10*time.Millisecond; d.Abs() > 100*time.Microsecond {
			t.Errorf("exponent %d: a round trip of 10 ms and %v of waiting read as %v", exponent, wait, reader.conn.Stats().RTT.Smoothed)
		}
		reader.abandon()
	}
}

// waitingForTLS returns a server that has a Handshake packet to acknowledge while TLS is at work.
func waitingForTLS(t *testing.T, options ...any) *testConn {
	tc := newTestConn(t, append([]any{serverSide, stageHello}, options...)...)
	tc.write(wire.Handshake, wire.Ping{})
	tc.wantIdle("what came before is acknowledged")
	tc.see(wire.FrameAck)
	tc.conn.AwaitTLS(tc.now, true)
	tc.write(wire.Handshake, wire.Ping{})
	tc.wantIdle("the acknowledgement waits for TLS")
	return tc
}

// S-04: handshake bytes that come one by one, in any number of frames of a datagram, go to TLS at once.
func TestS04CryptoByTheByte(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide, stageHello)
	tc.clear()
	before := tc.tls.turns
	var frames []wire.Frame
	for i, b := range message('E', tc.tls.serverFlight)[:200] {
		frames = append(frames, wire.Crypto{Offset: int64(i), Data: []byte{b}})
	}
	tc.write(wire.Handshake, frames...)
	if n := tc.tls.turns - before; n != 1 {
		t.Errorf("TLS was fed %d times", n)
	}
	tc.wantOpen("an odd way to say it")
}
