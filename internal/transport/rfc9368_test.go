package transport

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// again makes the client under test take a Version Negotiation packet, and TLS of the
// fake peer's begin again with it.
func (tc *testConn) again(versions ...uint32) {
	tc.Helper()
	tc.clear()
	tc.inject(tc.negotiation(versions...))
	tc.wantEvent("TLS begins anew", EventRestart)
	tc.peer.version = versions[0]
	for _, v := range versions {
		if wire.KnownVersion(v) {
			tc.peer.speak(v, clientSide)
		}
	}
	tc.peer.original = tc.conn.OriginalDCID()
	tc.tls.start(tc)
	tc.pump()
}

// RFC 9368 §2.1: a client that shares a version with the server tries again in that, from
// the ClientHello on.
func TestIncompatibleNegotiation(t *testing.T) {
	tc := newTestConn(t, stageStart, saying(wire.Version2, wire.Version2))
	tc.wantVersions(wire.Initial, true, false)
	tc.again(0x1a2a3a4a, wire.Version2)
	p := tc.wantPacket("a first flight in version 2", wire.Initial)
	if f, ok := p.has(wire.FrameCrypto).(wire.Crypto); !ok || f.Offset != 0 || p.version != wire.Version2 || p.datagram.size < 1200 {
		t.Errorf("%v of version %#x", &p, p.version)
	}
	local, err := wire.ParseParameters(tc.conn.LocalParameters(), false)
	if err != nil || local.Versions.Chosen != wire.Version2 || !slices.Equal(local.Versions.Available, wire.Versions()) {
		t.Errorf("%+v, %v", local.Versions, err)
	}
	tc.clear()
	tc.step(stageConfirmed)
	if tc.conn.Version() != wire.Version2 || tc.conn.FirstVersion() != wire.Version2 {
		t.Errorf("version %#x, first %#x", tc.conn.Version(), tc.conn.FirstVersion())
	}
	tc.wantVersions(wire.Handshake, false, true)
}

// The second attempt can be upgraded as the first could (RFC 9368 §2.3); here that is from
// version 1, after a server that knew of no version 2 on the way.
func TestIncompatibleThenCompatible(t *testing.T) {
	tc := newTestConn(t, stageStart, func(c *Config) { c.FirstVersion = wire.Version2 }, saying(wire.Version2, wire.Version1, wire.Version2), speaking(wire.Version2, wire.Version1))
	tc.again(wire.Version1)
	tc.clear()
	tc.peer.speak(wire.Version2, clientSide)
	tc.step(stageConfirmed)
	if tc.conn.Version() != wire.Version2 || tc.conn.FirstVersion() != wire.Version1 {
		t.Errorf("version %#x, first %#x", tc.conn.Version(), tc.conn.FirstVersion())
	}
}

// 0-RTT does not survive the change: the streams start over when the handshake is done, and
// what the ticket promised is forgotten (RFC 9369 §5).
func TestIncompatibleEarlyData(t *testing.T) {
	tc := newTestConn(t, stageStart, func(s *scriptedTLS) { s.early = true }, func(c *Config) { p := testParams(); c.Resumed, c.Token = &p, []byte("token") },
		saying(wire.Version2, wire.Version2))
	s := tc.open(bidi)
	tc.send(s, "request")
	tc.clear()
	tc.inject(tc.negotiation(wire.Version2))
	tc.tls.early = false
	if e := tc.wantEvent("TLS begins anew", EventRestart); !e.OK {
		t.Error("early data is said not to be lost")
	}
	tc.wantEvent("streams start over", EventEarlyRejected)
	tc.peer.speak(wire.Version2, clientSide)
	tc.tls.start(tc)
	tc.pump()
	p := tc.wantPacket("ClientHello", wire.Initial)
	if len(p.token) != 0 {
		t.Errorf("with the token %q of another version", p.token)
	}
	tc.wantIdle("no 0-RTT")
	tc.wantVersions(wire.ZeroRTT, true, false)
	tc.step(stageSecure)
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	tc.pump()
	if tc.conn.UsingEarlyData() {
		t.Error("early data is said to be in use")
	}
	tc.clear()
	tc.settle()
	if s.send.Acked(0, 0, false); s.send.AckedPrefix() != int64(len("request")) {
		t.Errorf("%d bytes of the request have arrived", s.send.AckedPrefix())
	}
}

// S-19: Version Negotiation that is to be ignored, at any time and by either end; RFC 9368
// §2.1, §4, RFC 9000 §6.2.
func TestS19VersionNegotiation(t *testing.T) {
	besiege(t, 0)
	for _, tt := range []struct {
		name string
		make func(tc *testConn) []byte
		side side
		step stage
	}{
		{"names the original version", func(tc *testConn) []byte { return tc.negotiation(wire.Version2, wire.Version1) }, clientSide, stageStart},
		{"after a packet of the server's", func(tc *testConn) []byte { return tc.negotiation(wire.Version2) }, clientSide, stageHello},
		{"after the handshake", func(tc *testConn) []byte { return tc.negotiation(wire.Version2) }, clientSide, stageConfirmed},
		{"empty", func(tc *testConn) []byte { return tc.negotiation() }, clientSide, stageStart},
		{"to a server", func(tc *testConn) []byte {
			return wire.AppendVersionNegotiation(nil, 0, tc.peer.dcid.Bytes(), tc.peer.id.Bytes(), wire.Version2)
		}, serverSide, stageHello},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, tt.side, tt.step)
			tc.clear()
			tc.inject(tt.make(tc))
			tc.wantOpen("dropped")
			tc.wantNoEvent("dropped", EventRestart)
			tc.wantIdle("dropped")
		})
	}
	t.Run("second", func(t *testing.T) {
		tc := newTestConn(t, stageStart, saying(wire.Version2, wire.Version2))
		tc.again(wire.Version2)
		tc.clear()
		for _, list := range [][]uint32{{wire.Version2}, {wire.Version1}, {77}, {wire.Version1, wire.Version2}} {
			tc.inject(tc.negotiation(list...))
			tc.wantOpen("a second one")
			tc.wantNoEvent("a second one", EventRestart)
			tc.wantIdle("a second one")
		}
		tc.step(stageConfirmed)
	})
	t.Run("no version in common", func(t *testing.T) {
		tc := newTestConn(t, stageStart, speaking(wire.Version1))
		tc.clear()
		tc.inject(tc.negotiation(wire.Version2, 77))
		tc.wantClosed("the server speaks others", CloseVersion)
	})
}

// S-19 at a Mux: one answer to a datagram, never to Version Negotiation, never to what is too
// short, with the versions that this server has and one that it has not.
func TestS19MuxVersions(t *testing.T) {
	besiege(t, 0)
	r := newMuxRig(t, nil)
	r.mux.SetVersions([]uint32{wire.Version1})
	id := []byte("12345678")
	d := r.foreign(wire.Version2, id, id, 1200)
	r.want("a version that is switched off", d, Reply)
	versions, _, ok := wire.ParseVersionNegotiation(r.batch.Segment(0))
	if !ok || len(versions) != 8 {
		t.Fatalf("offers %x", versions)
	}
	r.mux.SetVersions(nil)
	d = r.foreign(wire.Version2, id, id, 1200)
	if _, v := r.route(d); v == Reply {
		t.Error("answered though the version is known")
	}
}

// S-20: what a server refuses: RFC 9368 §4.
func TestS20VersionInformationServer(t *testing.T) {
	besiege(t, 0)
	raw := func(value string) func([]byte) []byte {
		return func(b []byte) []byte { return append(append(b, 0x11, byte(len(value))), value...) }
	}
	const one, two = "\x00\x00\x00\x01", "\x6b\x33\x43\xcf"
	for _, tt := range []struct {
		name string
		how  any
		code wire.ErrorCode
	}{
		{"too short", raw(one[:3]), wire.TransportParameterError},
		{"no multiple of four", raw(one + one + "x"), wire.TransportParameterError},
		{"chosen zero", raw("\x00\x00\x00\x00" + one), wire.TransportParameterError},
		{"available zero", raw(one + one + "\x00\x00\x00\x00"), wire.TransportParameterError},
		{"chosen not available", raw(one + two), wire.TransportParameterError},
		{"chosen is not the version in use", saying(wire.Version2, wire.Version2, wire.Version1), wire.VersionNegotiationError},
		{"chosen is unknown", saying(77, 77, wire.Version1), wire.VersionNegotiationError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, serverSide, stageStart, tt.how)
			tc.write(wire.Initial, wire.Crypto{Data: message('C', tc.tls.clientHello)})
			tc.wantClose("refused", tt.code)
			tc.clear()
		})
	}
}

// strangers returns n versions that we do not speak, and behind them others.
func strangers(n int, others ...uint32) (list []uint32) {
	for i := range n {
		list = append(list, 0x0a1a2a3a+uint32(i)<<8)
	}
	return append(list, others...)
}

// S-20: what a client refuses: RFC 9368 §4. Its own preference is version 1 before version 2
// where nothing else is said (RFC 9000 §21.12).
func TestS20VersionInformationClient(t *testing.T) {
	besiege(t, 0)
	raw := func(value string) func([]byte) []byte {
		return func(b []byte) []byte { return append(append(b, 0x11, byte(len(value))), value...) }
	}
	const v1, v2 = wire.Version1, wire.Version2
	for _, tt := range []struct {
		name    string
		options []any
		vn      uint32 // Version Negotiation says so first
		packets uint32 // that the server's are of
		code    wire.ErrorCode
	}{
		{"too short", []any{raw("\x00")}, 0, v1, wire.TransportParameterError},
		{"chosen zero", []any{raw("\x00\x00\x00\x00")}, 0, v1, wire.TransportParameterError},
		{"chosen was not offered", []any{speaking(v1), saying(v2, v1, v2)}, 0, v1, wire.VersionNegotiationError},
		{"chosen is unknown", []any{saying(77, v1)}, 0, v1, wire.VersionNegotiationError},
		{"chosen is another than the packets'", []any{saying(v2, v1, v2)}, 0, v1, wire.VersionNegotiationError},
		{"packets are of another version than chosen", []any{saying(v1, v1, v2)}, 0, v2, wire.VersionNegotiationError},
		{"upgrade without a word", nil, 0, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: nothing", nil, v2, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: nothing, and another version", []any{func(c *Config) { c.Versions = []uint32{v2, v1}; c.FirstVersion = v2 }}, v1, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: empty", []any{saying(v2)}, v2, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: what we like better", []any{saying(v2, v2, v1)}, v2, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: what we like better, among many", []any{saying(v2, strangers(15, v1, v2)...)}, v2, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: what we like better, behind many", []any{saying(v2, strangers(100, v2, v1)...)}, v2, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: only what we like better", []any{saying(v2, v1)}, v2, v2, wire.VersionNegotiationError},
		{"after Version Negotiation: the original version", []any{func(c *Config) { c.Versions = []uint32{v2, v1}; c.FirstVersion = v2 }, saying(v1, v1, v2)}, v1, v1, wire.VersionNegotiationError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, append([]any{clientSide, stageStart}, tt.options...)...)
			if tt.vn != 0 {
				tc.again(tt.vn)
			}
			tc.peer.speak(tt.packets, clientSide)
			tc.step(stageHello)
			tc.advance(10 * time.Millisecond)
			tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
			f := tc.wantClose("refused", tt.code)
			if tt.code == wire.VersionNegotiationError && !strings.Contains(string(f.Reason), "version") {
				t.Errorf("reason %q", f.Reason)
			}
			tc.clear()
		})
	}
}

// A server without a preference takes the client's (RFC 9368 §2.3), however many versions stand before it.
func TestPreferenceBehindMany(t *testing.T) {
	for _, n := range []int{0, 15, 16, 100} {
		tc := newTestConn(t, serverSide, stageHello, saying(wire.Version1, strangers(n, wire.Version2, wire.Version1)...))
		if tc.conn.Version() != wire.Version2 {
			t.Errorf("behind %d others: version %#x", n, tc.conn.Version())
		}
		tc.abandon()
	}
}

// And what it does not: a server that says nothing where nothing was changed or that knows nothing
// but version 1, one that offers less than it has chosen, and reserved versions (RFC 9368 §3, §4, §8).
func TestVersionInformationAccepted(t *testing.T) {
	const v1, v2 = wire.Version1, wire.Version2
	for _, tt := range []struct {
		name    string
		options []any
		vn      uint32
		packets uint32
	}{
		{"nothing", nil, 0, v1},
		{"nothing, in version 2", []any{func(c *Config) { c.FirstVersion = v2 }}, 0, v2},
		{"chosen is not available", []any{saying(v1, v2)}, 0, v1},
		{"empty", []any{saying(v1)}, 0, v1},
		{"reserved versions", []any{saying(v1, 0x0a0a0a0a, v1)}, 0, v1},
		{"after Version Negotiation: the same", []any{saying(v2, v2)}, v2, v2},
		{"after Version Negotiation: others too", []any{saying(v2, 77, 0x1a2a3a4a)}, v2, v2},
		{"after Version Negotiation: the same, behind many", []any{saying(v2, strangers(100, v2)...)}, v2, v2},
		{"after Version Negotiation: what we like less, behind many", []any{func(c *Config) { c.Versions = []uint32{v2, v1}; c.FirstVersion = v1 }, saying(v2, strangers(16, v1, v2)...)}, v2, v2},
		{"after Version Negotiation: nothing, of version 1", []any{func(c *Config) { c.Versions = []uint32{v2, v1}; c.FirstVersion = v2 }}, v1, v1},
		{"after Version Negotiation: what we like less", []any{func(c *Config) { c.Versions = []uint32{v2, v1}; c.FirstVersion = v1 }, saying(v2, v1, v2)}, v2, v2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tc := newTestConn(t, append([]any{clientSide, stageStart}, tt.options...)...)
			if tt.vn != 0 {
				tc.again(tt.vn)
			}
			tc.peer.speak(tt.packets, clientSide)
			tc.step(stageConfirmed)
			tc.wantOpen(tt.name)
			if !tc.conn.Confirmed() || tc.conn.Version() != tt.packets {
				t.Errorf("confirmed %v, version %#x", tc.conn.Confirmed(), tc.conn.Version())
			}
		})
	}
}
