package transport

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// speaking returns an option: what the Conn under test speaks, most preferred first.
func speaking(versions ...uint32) func(*Config) { return func(c *Config) { c.Versions = versions } }

// saying returns an option: the Version Information in the peer's parameters.
func saying(chosen uint32, available ...uint32) func(*wire.Parameters) {
	return func(p *wire.Parameters) {
		p.Versions = &wire.VersionInformation{Chosen: chosen, Available: available}
	}
}

// beginning returns an option: the version of the client's first flight.
func beginning(version uint32) func(*Opening) { return func(o *Opening) { o.Version = version } }

// versionsOf counts the long-header packets that the Conn has sent, by version and type.
func (tc *testConn) versionsOf() map[uint32]map[wire.PacketType]int {
	tc.Helper()
	count := map[uint32]map[wire.PacketType]int{wire.Version1: {}, wire.Version2: {}}
	for _, d := range tc.datagrams {
		for b := d.data; len(b) > 0 && b[0]&0x80 != 0; {
			h, ok := wire.ParseLong(b)
			if !ok {
				tc.Fatalf("no packet: %x", b)
			}
			count[h.Version][h.Type]++
			b = b[h.End:]
		}
	}
	return count
}

// wantVersions checks which versions the Conn's packets of a type were of.
func (tc *testConn) wantVersions(typ wire.PacketType, v1, v2 bool) {
	tc.Helper()
	n := tc.versionsOf()
	if n[wire.Version1][typ] > 0 != v1 || n[wire.Version2][typ] > 0 != v2 {
		tc.Errorf("%v: %d packets of version 1 and %d of version 2", typ, n[wire.Version1][typ], n[wire.Version2][typ])
	}
}

// upgraded returns a server that has taken a first flight of version 1 and answered in
// version 2, and a peer that has seen that.
func upgraded(t *testing.T, options ...any) *testConn {
	tc := newTestConn(t, append([]any{serverSide, stageHello, speaking(wire.Version2, wire.Version1), saying(wire.Version1, wire.Version1, wire.Version2)}, options...)...)
	if tc.conn.Version() != wire.Version2 {
		t.Fatalf("version %#x", tc.conn.Version())
	}
	tc.peer.speak(wire.Version2, serverSide)
	return tc
}

// A connection of version 2 from the first packet to the last, at either end (RFC 9369 §3).
func TestVersion2Throughout(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, speaking(wire.Version2), saying(wire.Version2, wire.Version2), beginning(wire.Version2),
			func(p *fakePeer) { p.version = wire.Version2 })
		st := tc.open(bidi)
		tc.send(st, "hello")
		tc.wantType("data", wire.OneRTT, wire.FrameStream)
		for _, typ := range []wire.PacketType{wire.Initial, wire.Handshake} {
			tc.wantVersions(typ, false, true)
		}
		if !tc.conn.UpdateKey(tc.now) { // of a secret that has version 2's label
			t.Fatal("no key update")
		}
		tc.conn.Ping()
		tc.pump()
		tc.wantType("under the next keys", wire.OneRTT, wire.FramePing)
	})
}

// What a server checks in a first flight it checks in one that it has converted, too: the ID of the packets, which the
// parameters name (RFC 9368 §2.3).
func TestUpgradeChecksTheFirstFlight(t *testing.T) {
	for _, to := range []struct{ from, to uint32 }{{wire.Version1, wire.Version2}, {wire.Version2, wire.Version1}} {
		tc := newTestConn(t, serverSide, stageStart, beginning(to.from), speaking(to.to, to.from), saying(to.from, to.from, to.to),
			func(p *fakePeer) { p.version = to.from },
			func(p *wire.Parameters) { p.InitialSCID = wire.MakeConnectionID([]byte("another")) })
		tc.failHandshake()
		tc.wantClose("initial_source_connection_id is another", wire.TransportParameterError)
		tc.wantNoEvent("never secure", EventSecure)
	}
}

// RFC 9369 §4: whoever speaks version 2 says so, in its parameters, in either version and role (RFC 9368 §3).
func TestVersionInformationAlways(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		for _, v := range wire.Versions() {
			tc := newTestConn(t, s, stageStart, beginning(v), func(c *Config) { c.FirstVersion = v })
			tc.clear()
			p, err := wire.ParseParameters(tc.conn.LocalParameters(), s == serverSide)
			if err != nil || p.Versions == nil || p.Versions.Chosen != v || !p.Versions.Offers(wire.Version1) || !p.Versions.Offers(wire.Version2) {
				t.Errorf("version %#x: %+v, %v", v, p.Versions, err)
			}
		}
	})
}

// RFC 9369 §4.1: a server that has chosen another version sends its CRYPTO frames,
// Handshake and 1-RTT packets in that, in its first flight, and says so.
func TestUpgradeServer(t *testing.T) {
	for _, to := range []struct{ from, to uint32 }{{wire.Version1, wire.Version2}, {wire.Version2, wire.Version1}} {
		tc := newTestConn(t, serverSide, stageHello, beginning(to.from), speaking(to.to, to.from), saying(to.from, to.from, to.to),
			func(p *fakePeer) { p.version = to.from })
		tc.peer.speak(to.to, serverSide)
		n := tc.versionsOf()
		if len(n[to.from]) != 0 || n[to.to][wire.Initial] == 0 || n[to.to][wire.Handshake] == 0 {
			t.Errorf("from %#x to %#x: sent %v", to.from, to.to, n)
		}
		p, err := wire.ParseParameters(tc.conn.LocalParameters(), true)
		if err != nil || p.Versions.Chosen != to.to || tc.conn.Version() != to.to || tc.conn.FirstVersion() != to.from {
			t.Errorf("from %#x to %#x: %+v, %v", to.from, to.to, p.Versions, err)
		}
		tc.step(stageConfirmed)
		tc.conn.Ping()
		tc.pump()
		tc.wantType("opens with the new version's keys", wire.OneRTT, wire.FramePing)
	}
}

// Without a list of its own a server goes by its client's preference; with one, by that;
// and never to a version that the client has not offered (RFC 9368 §2.3, §3, RFC 9368 §2.2).
func TestServerPreference(t *testing.T) {
	const v1, v2 = wire.Version1, wire.Version2
	for _, tt := range []struct {
		name        string
		ours        []uint32
		first       uint32
		theirs      []uint32
		want        uint32
		nothingSaid bool
	}{
		{name: "client likes version 1", first: v1, theirs: []uint32{v1, v2}, want: v1},
		{name: "client likes version 2", first: v1, theirs: []uint32{v2, v1}, want: v2},
		{name: "client likes what nobody knows", first: v1, theirs: []uint32{0x1a2a3a4a, 77, v2, v1}, want: v2},
		{name: "client has begun with what it likes", first: v2, theirs: []uint32{v2, v1}, want: v2},
		{name: "client has no more than one", first: v1, theirs: []uint32{v1}, want: v1, ours: []uint32{v2, v1}},
		{name: "server likes version 2", first: v1, theirs: []uint32{v1, v2}, want: v2, ours: []uint32{v2, v1}},
		{name: "server likes version 1", first: v1, theirs: []uint32{v2, v1}, want: v1, ours: []uint32{v1, v2}},
		{name: "server has no more than one", first: v1, theirs: []uint32{v2, v1}, want: v1, ours: []uint32{v1}},
		{name: "client says nothing", first: v1, want: v1, ours: []uint32{v2, v1}, nothingSaid: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := []any{serverSide, stageHello, beginning(tt.first), speaking(tt.ours...), func(p *fakePeer) { p.version = tt.first }}
			if !tt.nothingSaid {
				options = append(options, saying(tt.first, tt.theirs...))
			}
			tc := newTestConn(t, options...)
			if v := tc.conn.Version(); v != tt.want {
				t.Errorf("version %#x, want %#x", v, tt.want)
			}
		})
	}
}

// RFC 9369 §4.1: until the server knows the client's parameters, it acknowledges in the version
// of the first flight; and keeps the keys for Initials of that until a Handshake packet of the
// new version, no longer.
func TestUpgradeOriginalInitialKeys(t *testing.T) {
	tc := newTestConn(t, serverSide, stageStart, speaking(wire.Version2, wire.Version1), saying(wire.Version1, wire.Version1, wire.Version2))
	hello := message('C', tc.tls.clientHello)
	tc.write(wire.Initial, wire.Crypto{Data: hello[:100]})
	tc.advance(30 * time.Millisecond)
	tc.wantVersions(wire.Initial, true, false)
	tc.clear()
	tc.write(wire.Initial, wire.Crypto{Offset: 100, Data: hello[100:]})
	tc.clear()
	tc.wantVersions(wire.Initial, true, true)
	tc.wantVersions(wire.Handshake, false, true)

	taken := func(want bool, version uint32, reason string) {
		t.Helper()
		before := tc.conn.Stats().PacketsReceived
		tc.writePacket(testPacket{version: version, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}, size: 1200})
		tc.clear()
		if got := tc.conn.Stats().PacketsReceived > before; got != want {
			t.Errorf("%s: taken %v", reason, got)
		}
	}
	taken(true, wire.Version1, "the original version, before a Handshake packet")
	taken(true, wire.Version2, "the negotiated version")
	tc.writePacket(testPacket{version: wire.Version1, typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
	tc.clear()
	taken(true, wire.Version1, "a Handshake packet of the original version changes nothing")
	tc.writePacket(testPacket{version: wire.Version2, typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
	tc.clear()
	taken(false, wire.Version1, "the original version, after a Handshake packet")
	taken(false, wire.Version2, "Initial keys are gone altogether")
}

// RFC 9369 §4.1: Handshake packets of the original version are dropped by both ends, though their
// keys could be derived; nor is anything of a third version taken.
func TestUpgradeDropsOtherVersions(t *testing.T) {
	drop := func(t *testing.T, tc *testConn, p testPacket) {
		t.Helper()
		tc.clear()
		before := tc.conn.Stats().PacketsReceived
		tc.writePacket(p)
		if got := tc.conn.Stats().PacketsReceived; got != before {
			t.Errorf("%v of version %#x is taken", p.typ, p.version)
		}
		tc.wantOpen("dropped")
		tc.wantIdle("dropped")
	}
	t.Run("server", func(t *testing.T) {
		tc := upgraded(t)
		drop(t, tc, testPacket{version: wire.Version1, typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		drop(t, tc, testPacket{version: wire.Version2, claim: wire.Version1, typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		tc.step(stageConfirmed)
		tc.peer.speak(wire.Version1, serverSide)
		drop(t, tc, testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}})
		tc.peer.speak(wire.Version2, serverSide)
		tc.write(wire.OneRTT, wire.Ping{})
		tc.advance(30 * time.Millisecond)
		tc.see(wire.FrameAck)
		tc.wantType("the negotiated version", wire.OneRTT, wire.FrameAck)
	})
	t.Run("client", func(t *testing.T) {
		tc := newTestConn(t, clientSide, stageHello, saying(wire.Version2, wire.Version1, wire.Version2), func(p *fakePeer) { p.version = wire.Version2 })
		drop(t, tc, testPacket{version: wire.Version1, typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		drop(t, tc, testPacket{version: wire.Version2, claim: wire.Version1, typ: wire.Handshake, frames: []wire.Frame{wire.Ping{}}})
		drop(t, tc, testPacket{version: wire.Version1, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	})
	t.Run("client that has not offered it", func(t *testing.T) {
		tc := newTestConn(t, clientSide, stageStart, speaking(wire.Version1))
		drop(t, tc, testPacket{version: wire.Version2, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	})
}

// RFC 9369 §4.1: a client goes on in the version of the first Initial that opens and differs from
// its own, in all that it sends from then on.
func TestUpgradeClient(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart, saying(wire.Version2, wire.Version1, wire.Version2))
	tc.wantVersions(wire.Initial, true, false)
	tc.clear()

	junk := tc.build(testPacket{version: wire.Version2, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	junk[len(junk)-1] ^= 1
	tc.inject(junk)
	tc.wantIdle("a packet that does not open says nothing")
	tc.write(wire.Initial, ackOf(0)) // of version 1, before the server knows enough
	if v := tc.conn.Version(); v != wire.Version1 {
		t.Fatalf("version %#x", v)
	}
	tc.peer.speak(wire.Version2, clientSide)
	tc.step(stageConfirmed)
	if v := tc.conn.Version(); v != wire.Version2 {
		t.Fatalf("version %#x", v)
	}
	tc.wantVersions(wire.Handshake, false, true)
	tc.conn.Ping()
	tc.pump()
	tc.wantType("1-RTT keys of version 2", wire.OneRTT, wire.FramePing)
}

// RFC 9369 §4.1: a CRYPTO frame in the original version says that there is no other one.
func TestNoUpgradeAfterCrypto(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart)
	tc.clear()
	tc.write(wire.Initial, wire.Crypto{Data: message('S', 40)})
	tc.clear()
	tc.writePacket(testPacket{version: wire.Version2, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	tc.wantIdle("dropped")
	tc.step(stageConfirmed)
	if v := tc.conn.Version(); v != wire.Version1 {
		t.Errorf("version %#x", v)
	}
}

// Handshake packets of the new version that overtake its first Initial wait for their keys.
func TestUpgradeReordered(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart, saying(wire.Version2, wire.Version1, wire.Version2), func(p *fakePeer) { p.version = wire.Version2 })
	tc.clear()
	first := tc.build(testPacket{typ: wire.Initial, frames: []wire.Frame{wire.Crypto{Data: message('S', tc.tls.serverHello)}}})
	tc.write(wire.Handshake, wire.Crypto{Data: message('E', tc.tls.serverFlight)})
	tc.inject(first)
	tc.clear()
	if !tc.conn.Secure() || tc.conn.Version() != wire.Version2 {
		t.Errorf("secure %v, version %#x", tc.conn.Secure(), tc.conn.Version())
	}
}

// RFC 9369 §4.1: a client's 0-RTT packets stay in the original version, also when it has heard
// of another one, and a server takes them in that version and no other.
func TestUpgradeEarlyData(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		tc := newTestConn(t, clientSide, stageStart, func(s *scriptedTLS) { s.early = true },
			func(c *Config) { p := testParams(); c.Resumed = &p }, saying(wire.Version2, wire.Version1, wire.Version2))
		tc.clear()
		tc.writePacket(testPacket{version: wire.Version2, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
		tc.clear()
		if tc.conn.Version() != wire.Version2 {
			t.Fatal("no upgrade")
		}
		s := tc.open(bidi)
		tc.send(s, "early")
		tc.wantType("0-RTT", wire.ZeroRTT, wire.FrameStream)
		tc.wantVersions(wire.ZeroRTT, true, false)
		tc.clear()
	})
	t.Run("server", func(t *testing.T) {
		tc := upgraded(t, func(s *scriptedTLS) { s.early = true })
		tc.clear()
		before := tc.conn.Stats().PacketsReceived
		tc.writePacket(testPacket{version: wire.Version2, typ: wire.ZeroRTT, frames: []wire.Frame{wire.Ping{}}})
		tc.writePacket(testPacket{version: wire.Version1, claim: wire.Version2, typ: wire.ZeroRTT, frames: []wire.Frame{wire.Ping{}}})
		if tc.conn.Stats().PacketsReceived != before {
			t.Error("0-RTT of the negotiated version is taken")
		}
		tc.writePacket(testPacket{version: wire.Version1, typ: wire.ZeroRTT, frames: []wire.Frame{streamFrame(0, 0, "early")}})
		if tc.conn.Stats().PacketsReceived == before {
			t.Error("0-RTT of the original version is not taken")
		}
		tc.clear()
	})
}

// Junk that claims to be the server's Initial in another version makes a client look for one, with keys of the
// ID that it has sent to. After a Retry these are of no use: the answer comes under keys of the Retry's ID.
func TestRetryBehindJunkInitial(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart, saying(wire.Version2, wire.Version1, wire.Version2),
		func(p *wire.Parameters) { p.HasRetrySCID, p.RetrySCID = true, retryID })
	tc.clear()
	junk := tc.build(testPacket{version: wire.Version2, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	junk[len(junk)-1] ^= 1
	tc.inject(junk)
	tc.wantIdle("junk")
	tc.retry(retryID, "token")
	tc.wantPacket("ClientHello with the token", wire.Initial)
	tc.clear()
	tc.writePacket(testPacket{version: wire.Version2, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}})
	if tc.conn.Version() != wire.Version2 {
		t.Error("the server's answer does not open")
	}
	tc.clear()
}

// RFC 9369 §4.1: Retry packets are of the original version, a client ignores others, and after
// one everything goes on as without: the keys come from the Retry's ID in either version.
func TestUpgradeAfterRetry(t *testing.T) {
	tc := newTestConn(t, clientSide, stageStart, saying(wire.Version2, wire.Version1, wire.Version2),
		func(p *wire.Parameters) { p.HasRetrySCID, p.RetrySCID = true, retryID })
	dcid, original := tc.conn.ID(), tc.conn.OriginalDCID()
	b := wire.AppendRetry(nil, wire.Version2, &dcid, &retryID, []byte("token"))
	tag := protect.RetryTag(wire.Version2, &original, b)
	tc.clear()
	tc.inject(append(b, tag[:]...))
	tc.wantIdle("a Retry of another version is ignored")
	tc.retry(retryID, "token")
	p := tc.wantPacket("ClientHello with the token", wire.Initial)
	if p.version != wire.Version1 || string(p.token) != "token" {
		t.Errorf("version %#x, token %q", p.version, p.token)
	}
	tc.clear()
	tc.peer.speak(wire.Version2, clientSide)
	tc.step(stageConfirmed)
	if v := tc.conn.Version(); v != wire.Version2 {
		t.Errorf("version %#x", v)
	}
}

// A Mux speaks both versions in its stateless answers, each in the version that it answers:
// RFC 9369 §3.3.3, §4.1.
func TestMuxVersion2(t *testing.T) {
	for _, v := range wire.Versions() {
		r := newMuxRig(t, validating)
		initial := func(version uint32, token []byte) *dgram.Datagram {
			b, lengthAt := wire.AppendLong(nil, version, wire.Initial, &r.dcid, &r.scid, token, 1)
			at := len(b)
			b = append(b, make([]byte, 1200-at)...)
			binary.BigEndian.PutUint16(b[lengthAt:], 0x4000|uint16(len(b)-at))
			return &dgram.Datagram{Data: b, Path: r.path}
		}
		r.want("first Initial", initial(v, nil), Reply)
		b := bytes.Clone(r.batch.Segment(0))
		h, ok := wire.ParseLong(b)
		tag := protect.RetryTag(v, &r.dcid, b[:len(b)-16])
		if !ok || h.Type != wire.Retry || h.Version != v || !bytes.Equal(tag[:], b[len(b)-16:]) {
			t.Fatalf("%#x: no good Retry: %+v", v, h)
		}
		r.dcid = h.SCID
		other := wire.Version1 ^ wire.Version2 ^ v
		r.want("with the token in another version", initial(other, h.Token), Reply)
		if in, _ := wire.ParseLong(r.batch.Segment(0)); in.Type != wire.Initial || in.Version != other {
			t.Errorf("answered by %+v, want a close", in)
		}
		r.want("with the token", initial(v, h.Token), Initial)
		d := initial(v, h.Token)
		r.batch.Reset()
		if !r.mux.Refuse(r.now, d, wire.ConnectionRefused, r.batch) {
			t.Fatal("no refusal")
		}
		b = bytes.Clone(r.batch.Segment(0))
		h, _ = wire.ParseLong(b)
		_, secret := protect.InitialSecrets(v, r.dcid.Bytes())
		if _, ok := mustOpener(protect.NewOpener(v, initialSuite, secret)).Open(b, h.PNOffset, -1); !ok || h.Version != v {
			t.Errorf("%#x: a refusal that does not open: %+v", v, h)
		}
	}
}

// RFC 9369 §5: a NEW_TOKEN token serves a connection that begins in the version of the one that
// it came from, and after an upgrade that is the negotiated one.
func TestTokenVersion(t *testing.T) {
	for _, v := range wire.Versions() {
		r := newMuxRig(t, nil)
		token := r.mux.Tokens().New(r.now, v, r.path.Remote.Addr())
		d := r.initial(token, 1200) // of version 1
		r.want("Initial", d, Initial)
		if got := r.mux.Proven(r.now, d); got != (v == wire.Version1) {
			t.Errorf("token of version %#x proves an address in version 1: %v", v, got)
		}
	}
	r := newMuxRig(t, nil)
	tc := upgraded(t, func(c *Config) { c.Tokens = r.mux.Tokens() })
	tc.clear()
	tc.write(wire.Handshake, wire.Crypto{Data: message('F', tc.tls.finished)})
	for _, p := range tc.out {
		if f, ok := p.has(wire.FrameNewToken).(wire.NewToken); ok {
			if tok, ok := r.mux.Tokens().open(tc.now, f.Token); !ok || tok.version != wire.Version2 {
				t.Errorf("a token of version %#x, %v", tok.version, ok)
			}
			tc.clear()
			return
		}
	}
	t.Errorf("no NEW_TOKEN in %v", tc.out)
}

// Packets that failed under the keys that an upgrade has put away count, as all do, against the
// limit of RFC 9001 §6.6.
func TestUpgradeCountsFailures(t *testing.T) {
	bothSides(t, func(t *testing.T, s side) {
		var tc *testConn
		if s == serverSide {
			tc = upgraded(t)
		} else {
			tc = newTestConn(t, stageStart, saying(wire.Version2, wire.Version1, wire.Version2))
		}
		for range 3 {
			b := tc.build(testPacket{version: wire.Version1, typ: wire.Initial, frames: []wire.Frame{wire.Ping{}}, size: 1200})
			b[len(b)-1] ^= 1
			tc.inject(b)
		}
		tc.clear()
		if s == clientSide {
			tc.peer.speak(wire.Version2, clientSide)
		}
		tc.step(stageConfirmed)
		tc.clear()
		if n := tc.conn.oneRTT.Failures(); n != 3 {
			t.Errorf("%d failures, want 3", n)
		}
	})
}
