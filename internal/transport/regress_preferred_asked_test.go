package transport

import (
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client that has gone to the preferred address is asked as long as it sends from there,
// however many of its answers get lost: what goes to where it was may reach nobody any more
// (seed 9840 of the simulator: three answers in a black hole, then a NAT that forgot the old address).
func TestPreferredAddressAskedAgain(t *testing.T) {
	tc := newTestConn(t, serverSide, func(c *Config) {
		c.Params.PreferredAddress = &wire.PreferredAddress{IPv4: addrPort("192.0.2.200:444")}
		c.Params.MaxIdleTimeout = 5 * time.Minute
	})
	tc.write(wire.OneRTT, newID(1, 0))
	tc.path.Local = addrPort("192.0.2.200:444")
	speak := func() {
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
	}
	speak()
	tc.ignore(wire.FramePing, wire.FrameRetireConnectionID)
	begun := tc.now
	challenge := tc.wantType("first", wire.OneRTT, wire.FramePathChallenge)
	asked := 1
	for i := range 100 {
		if tc.advance(time.Second); i%10 == 0 {
			speak()
			tc.ack(wire.OneRTT)
		}
		for f, p := tc.peek(); f != nil; f, p = tc.peek() {
			if _, ok := f.(wire.PathChallenge); !ok || f == challenge || p.datagram.path != tc.path {
				t.Fatalf("%v in %v, want another challenge from the preferred address", f, p)
			}
			challenge = f
			p.seen++
			asked++
			speak() // and its answer is lost
		}
	}
	if asked < 7 || asked > 9 {
		t.Errorf("asked %d times in %v, want less and less often", asked, tc.now.Sub(begun))
	}
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.PathResponse(challenge.(wire.PathChallenge))}, size: 1200})
	if got := tc.conn.Path(); got != tc.path {
		t.Errorf("path %v, want %v", got, tc.path)
	}
	tc.abandon()
}
