package transport

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// A client's rebinding is found out and its new address validated although the
// window is full of what went to the old one.
func TestChallengeBesideFullWindow(t *testing.T) {
	p := newPair(t, func(_ *node, c *Config, _ *MuxConfig) {
		c.DisablePacing = true
		c.Params.MaxIdleTimeout = 5 * time.Minute
	})
	p.handshake()
	old := p.client.conn.Path()
	unmapped := func() {
		p.flight = slices.DeleteFunc(p.flight, func(f flight) bool { return f.path.Local == old.Local })
	}
	s := p.server.conn.OpenStream(p.now, true)
	for range 8 {
		if _, err := p.server.conn.Write(s, make([]byte, 16<<10)); err != nil {
			t.Fatal(err)
		}
		p.flush(p.server)
	}
	p.runUntil(20*time.Second, func() bool { unmapped(); return false }) // the probe timeout backs off
	if n := p.server.conn.loss.CanSend(); n >= 1200 {
		t.Fatalf("%d bytes of the window are free", n)
	}
	if err := p.client.conn.Migrate(p.now, dgram.Path{Local: netip.MustParseAddrPort("10.0.0.1:2000"), Remote: old.Remote}, true); err != nil {
		t.Fatal(err)
	}
	p.client.conn.Ping()
	p.flush(p.client)
	if !p.runUntil(time.Second, func() bool { unmapped(); return p.server.saw(EventMigrated) }) {
		t.Fatalf("not migrated, path %v", p.server.conn.Path())
	}
	sent := s.Stats().BytesSent
	if !p.runUntil(30*time.Second, func() bool { unmapped(); return s.Stats().BytesAcknowledged >= sent }) {
		t.Errorf("%d of %d bytes acknowledged", s.Stats().BytesAcknowledged, sent)
	}
}

// A client answers a challenge although its window is full of what the server
// acknowledges to an address from before a rebinding: with the probe that is due
// anyway, or else the two would wait for each other until they give up.
func TestResponseBesideFullWindow(t *testing.T) {
	tc := newTestConn(t, clientSide, wide, noIdle)
	tc.fill(tc.open(bidi))
	if n := tc.conn.loss.CanSend(); n >= wire.MinInitialSize {
		t.Fatalf("%d bytes of the window are free", n)
	}
	answer := wire.PathResponse{Data: [8]byte{1, 2, 3}}
	tc.write(wire.OneRTT, wire.PathChallenge(answer))
	tc.ignore(wire.FrameStream, wire.FrameAck)
	tc.wantIdle("the window is full")
	tc.advanceToPTO()
	tc.want("in a probe", wire.OneRTT, answer)
	if n := tc.last.datagram.size; n < wire.MinInitialSize {
		t.Errorf("%d bytes", n)
	}
	tc.advanceToPTO()
	tc.wantIdle("once")
	tc.quiet()
}
