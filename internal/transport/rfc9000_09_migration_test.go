package transport

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/limits"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/siege"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

var testElsewhere = addrPort("203.0.113.9:9")

// challenges takes all that is said, and returns the newest challenge to each address.
func (tc *testConn) challenges() map[netip.AddrPort]wire.PathChallenge {
	tc.Helper()
	m := map[netip.AddrPort]wire.PathChallenge{}
	for f, p := tc.peek(); f != nil; f, p = tc.peek() {
		p.seen++
		if c, ok := f.(wire.PathChallenge); ok {
			m[p.datagram.path.Remote] = c
		}
	}
	return m
}

// answer makes the peer answer a challenge from where tc.path says.
func (tc *testConn) answer(c wire.PathChallenge) {
	tc.Helper()
	tc.write(wire.OneRTT, wire.PathResponse(c))
}

// The newest packet with more than probes in it moves the connection to where it
// came from; both the new path and, since this may be an attacker's doing, the
// old one are challenged (RFC 9000 §9.3, §9.3.3, RFC 9000 §9, §9.5).
func TestPeerMigrates(t *testing.T) {
	tc := moved(t)
	got := tc.challenges()
	if len(got) != 2 || got[testElsewhere] == got[testRemote] {
		t.Errorf("challenges %v", got)
	}
	if p := tc.conn.Path(); p != tc.path {
		t.Errorf("path %v", p)
	}
	tc.wantNoEvent("not validated yet", EventMigrated)
	tc.answer(got[testElsewhere])
	if e := tc.wantEvent("validated", EventMigrated); e.Path != tc.path {
		t.Errorf("%+v", e)
	}
	tc.want("the old path's ID", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
	if tc.last.dcid != peerID(1) || tc.last.datagram.path != tc.path {
		t.Errorf("to %v, ID %q", tc.last.datagram.path, tc.last.dcid.Bytes())
	}
	tc.settle()
	tc.advance(10 * time.Second)
	tc.wantIdle("done")
	if n := len(tc.conn.paths.list); n != 1 {
		t.Errorf("%d paths kept", n)
	}
}

// Probing frames alone do not move it, nor does a packet that is not the newest
// (RFC 9000 §9.1, §9.3).
func TestProbesDoNotMigrate(t *testing.T) {
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0))
	tc.path.Remote = testElsewhere
	tc.write(wire.OneRTT, wire.PathResponse{}, newID(2, 0), wire.Padding{N: 10})
	if tc.conn.Path().Remote != testRemote {
		t.Error("probing frames moved the connection")
	}
	number := tc.peer.next[2]
	tc.path.Remote = testRemote
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: number + 1})
	tc.path.Remote = testElsewhere
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, explicit: true, number: number})
	if tc.conn.Path().Remote != testRemote {
		t.Error("a late packet moved the connection")
	}
	tc.wantNoEvent("no migration", EventMigrated)
	tc.wantIdle("nothing to be said")
}

// A new path that does not answer is given up, and the last validated one used
// again: an attacker who forwards a copy of a packet gains nothing (RFC 9000 §9.3.2).
func TestS26Revert(t *testing.T) {
	besiege(t, 0)
	tc := moved(t)
	tc.ignore(wire.FramePing)
	tc.clear()
	tc.advance(10 * time.Second)
	if tc.conn.Path().Remote != testRemote {
		t.Errorf("path %v", tc.conn.Path())
	}
	tc.wantEvent("failure", EventPathValidation)
	before := tc.sent(testElsewhere)
	tc.clear()
	tc.path.Remote = testRemote
	tc.settle()
	tc.conn.Ping()
	tc.advance(10 * time.Second)
	tc.clear()
	if tc.sent(testElsewhere) != before {
		t.Error("still sends to the path that failed")
	}
	tc.wantOpen("back on the old path")
}

// The client itself moves it back at once with its next packet (RFC 9000 §9.3.3).
func TestS26PeerMovesBack(t *testing.T) {
	besiege(t, 0)
	tc := moved(t)
	tc.clear()
	tc.path.Remote = testRemote
	tc.write(wire.OneRTT, wire.Ping{})
	if tc.conn.Path().Remote != testRemote {
		t.Errorf("path %v", tc.conn.Path())
	}
	tc.ignore(wire.FramePing, wire.FramePathChallenge, wire.FrameRetireConnectionID)
	tc.settle()
	tc.advance(10 * time.Second)
	tc.wantOpen("the old path was good")
	if n := len(tc.conn.paths.list); n != 1 {
		t.Errorf("%d paths kept", n)
	}
}

// Before the handshake is confirmed nobody moves (RFC 9000 §9).
func TestS26NoMigrationInHandshake(t *testing.T) {
	besiege(t, 0)
	bothSides(t, func(t *testing.T, s side) {
		tc := newTestConn(t, s, stageHello)
		tc.clear()
		tc.path.Remote = testElsewhere
		received := tc.conn.Stats().PacketsReceived
		tc.write(wire.Handshake, wire.Ping{})
		tc.wantIdle("not heard")
		if tc.conn.Stats().PacketsReceived != received {
			t.Error("a packet from elsewhere was taken")
		}
		tc.abandon()
	})
}

// A server does not move: what comes from an address that a client does not know
// is dropped (RFC 9000 §9).
func TestServerDoesNotMove(t *testing.T) {
	tc := newTestConn(t, clientSide)
	tc.path.Remote = testElsewhere
	tc.write(wire.OneRTT, wire.PathChallenge{})
	tc.write(wire.OneRTT, wire.Close{})
	tc.wantIdle("from elsewhere")
	tc.wantOpen("from elsewhere")
}

// Nothing learnt about one address counts for another, neither its round trip nor how wide the window has
// become; a change of port only is most likely a NAT's, on the same path (RFC 9000 §9.4).
func TestMigrationResetsPath(t *testing.T) {
	for _, tt := range []struct {
		to    string
		fresh bool
	}{{"203.0.113.9:9", true}, {testRemote.Addr().String() + ":9999", false}} {
		tc := newTestConn(t, serverSide, wide)
		initial := tc.conn.Stats()
		tc.fill(tc.open(bidi))
		tc.settle()
		before := tc.conn.Stats()
		if before.RTT.Samples == 0 || before.Window <= initial.Window {
			t.Fatalf("window %d of %d, RTT %+v: nothing was learnt", before.Window, initial.Window, before.RTT)
		}
		tc.path.Remote = addrPort(tt.to)
		tc.write(wire.OneRTT, wire.Ping{})
		after, want := tc.conn.Stats(), before
		if tt.fresh {
			want.Window, want.RTT = initial.Window, recovery.RTT{Smoothed: 333 * time.Millisecond}
		}
		if after.RTT.Samples != want.RTT.Samples || after.RTT.Smoothed != want.RTT.Smoothed || after.Window != want.Window {
			t.Errorf("to %v: window %d, RTT %+v; want %d, %+v", tt.to, after.Window, after.RTT, want.Window, want.RTT)
		}
		tc.abandon()
	}
}

// With no other ID to be had the server still follows: the peer gave it no choice
// (RFC 9000 §9.5).
func TestS26RebindingWithoutSpareID(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide)
	tc.path.Remote = addrPort(testRemote.Addr().String() + ":9999")
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
	got := tc.challenges()
	tc.answer(got[tc.path.Remote])
	tc.wantEvent("moved", EventMigrated)
	tc.wantIdle("the ID is still in use")
	tc.conn.Ping()
	if tc.want("to the same ID", wire.OneRTT, wire.Ping{}); tc.last.dcid != peerID(0) || tc.last.datagram.path != tc.path {
		t.Errorf("%v", tc.last)
	}
}

// Thousands of source addresses leave a handful of paths behind, and no more is
// sent to any than three times what came from it (RFC 9000 §9.3.1, §21.5.6, RFC 9000 §9.3).
func TestS26PortFlood(t *testing.T) {
	besiege(t, 0)
	most := limits.Bound(t, "paths")
	tc := newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0), newID(2, 0), newID(3, 0))
	before, ports := tc.held(), siege.Scaled(65_000)
	for i := range ports {
		tc.path.Remote = netip.AddrPortFrom(testElsewhere.Addr(), uint16(500+i))
		b := tc.build(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 40 + i%100})
		tc.inject(b) // which holds what is sent against it
		if i%10 == 0 {
			tc.advance(40 * time.Millisecond)
			tc.out, tc.datagrams, tc.events = nil, nil, nil
		}
		if n := len(tc.conn.paths.list); n > most {
			t.Fatalf("%d paths", n)
		}
	}
	tc.advance(20 * time.Second)
	tc.wantOpen("paths fail")
	if got := tc.conn.Stats().PathsDropped; got < uint64(ports*8/10) {
		t.Errorf("%d paths given up for others, of %d", got, ports)
	}
	tc.forget()
	if grown := tc.held() - before; grown > 128<<10 {
		t.Errorf("%d bytes more", grown)
	}
	if p := tc.conn.Path().Remote; p != testRemote {
		t.Errorf("path %v, want the one that was validated", p)
	}
	tc.abandon()
}

// Not one of several unvalidated paths can keep the connection from coming back
// to the validated one, in whatever order they fail (RFC 9000 §9.3.2).
func TestS26SeveralUnvalidatedPaths(t *testing.T) {
	besiege(t, 0)
	for hops := 1; hops <= 6; hops++ {
		for _, gap := range []time.Duration{0, time.Second, 4 * time.Second} {
			t.Run(fmt.Sprint(hops, gap), func(t *testing.T) {
				tc := newTestConn(t, serverSide)
				tc.write(wire.OneRTT, newID(1, 0), newID(2, 0), newID(3, 0))
				for i := range hops {
					tc.path.Remote = netip.AddrPortFrom(testElsewhere.Addr(), uint16(1+i%4))
					tc.write(wire.OneRTT, wire.Ping{})
					tc.advance(gap)
				}
				tc.advance(12 * time.Second)
				tc.wantOpen("paths fail")
				if p := tc.conn.Path().Remote; p != testRemote {
					t.Errorf("path %v", p)
				}
				tc.abandon()
			})
		}
	}
}

// A client moves by validating the new path first, from an ID that no other path
// has seen, and then gives the old one up (RFC 9000 §9.2, §9.5).
func TestClientMigrates(t *testing.T) {
	tc := newTestConn(t, clientSide)
	tc.write(wire.OneRTT, newID(1, 0))
	to := dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote}
	must(tc.conn.Migrate(tc.now, to, false))
	c := tc.wantType("a challenge", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
	if tc.last.datagram.path != to || tc.last.dcid != peerID(1) || tc.last.datagram.size < wire.MinInitialSize {
		t.Errorf("%v", tc.last)
	}
	tc.conn.Ping()
	if tc.want("on the old path meanwhile", wire.OneRTT, wire.Ping{}); tc.last.datagram.path != tc.path {
		t.Errorf("%v", tc.last)
	}
	tc.path = to
	tc.answer(c)
	tc.wantEvent("valid", EventPathValidation)
	tc.wantEvent("moved", EventMigrated)
	tc.want("on the new path", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
	if tc.last.datagram.path != to || tc.last.dcid != peerID(1) {
		t.Errorf("%v", tc.last)
	}
}

// A path that does not answer is forgotten, with its ID; the connection stays
// where it is (RFC 9000 §9.2, §8.2.4).
func TestClientMigrationFails(t *testing.T) {
	tc := newTestConn(t, clientSide)
	tc.write(wire.OneRTT, newID(1, 0))
	to := dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote}
	must(tc.conn.Migrate(tc.now, to, false))
	for i := range pathTries {
		if i > 0 {
			tc.wantIdle("one at a time")
			tc.advance(tc.conn.paths.list[1].patience(tc.conn))
		}
		tc.ignore(wire.FramePing)
		tc.wantType("a challenge", wire.OneRTT, wire.FramePathChallenge)
	}
	tc.advance(5 * time.Second)
	tc.want("given up", wire.OneRTT, wire.RetireConnectionID{Seq: 1})
	if e := tc.wantEvent("failed", EventPathValidation); e.OK || e.Path != to {
		t.Errorf("%+v", e)
	}
	if tc.conn.Path() != tc.path {
		t.Error("moved")
	}
}

// A client stays when it may not, cannot or should not move (RFC 9000 §9, §9.5, RFC 9000 §18.2).
func TestClientMayNotMigrate(t *testing.T) {
	to := dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote}
	tc := newTestConn(t, clientSide)
	if err := tc.conn.Migrate(tc.now, to, false); err != ErrNoPath {
		t.Errorf("without a spare ID: %v", err)
	}
	tc = newTestConn(t, clientSide, func(p *wire.Parameters) { p.DisableActiveMigration = true })
	tc.write(wire.OneRTT, newID(1, 0))
	if err := tc.conn.Migrate(tc.now, to, false); err != ErrNoPath {
		t.Errorf("though the server forbids it: %v", err)
	}
	tc = newTestConn(t, clientSide, stageSecure)
	tc.write(wire.OneRTT, newID(1, 0))
	if err := tc.conn.Migrate(tc.now, to, false); err != ErrNoPath {
		t.Errorf("before the handshake is confirmed: %v", err)
	}
	tc = newTestConn(t, serverSide)
	tc.write(wire.OneRTT, newID(1, 0))
	if err := tc.conn.Migrate(tc.now, to, false); err != ErrNoPath {
		t.Errorf("a server: %v", err)
	}
}

// offer makes the fake server offer a preferred address.
func offer(p *wire.Parameters) {
	p.PreferredAddress = &wire.PreferredAddress{
		IPv4: addrPort("192.0.2.200:444"), ID: peerID(1), Token: wire.ResetToken{'p'},
	}
}

func acceptPreferred(c *Config) { c.AcceptPreferred = true }

// A client that likes to goes to the server's preferred address once it has
// validated it, and stays if it does not answer (RFC 9000 §9.6.1, RFC 9000 §9.6.2, §9.6.3, §21.5.3).
func TestPreferredAddressClient(t *testing.T) {
	preferred := addrPort("192.0.2.200:444")
	for _, answers := range []bool{true, false} {
		tc := newTestConn(t, clientSide, stageSecure, offer, acceptPreferred)
		tc.clear()
		tc.write(wire.OneRTT, wire.HandshakeDone{})
		tc.wantEvent("offered", EventPreferredAddress)
		tc.ignore(wire.FrameNewConnectionID, wire.FramePing)
		c := tc.wantType("challenged", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
		if tc.last.datagram.path.Remote != preferred || tc.last.dcid != peerID(1) {
			t.Errorf("%v", tc.last)
		}
		tc.wantIdle("nothing else goes there")
		if answers {
			tc.path.Remote = preferred
			tc.answer(c)
			tc.wantEvent("moved", EventMigrated)
			tc.want("the old ID", wire.OneRTT, wire.RetireConnectionID{Seq: 0})
			if tc.last.datagram.path.Remote != preferred {
				t.Errorf("%v", tc.last)
			}
		} else {
			tc.settle()
			tc.advance(10 * time.Second)
			if tc.conn.Path().Remote != testRemote {
				t.Errorf("path %v", tc.conn.Path())
			}
		}
		tc.abandon()
	}
}

// S-50: the address that a server names may be somebody else's, who gets what a validation needs and nothing
// more: datagrams of probing frames, few of them, whatever the client has to say meanwhile. It then stays.
func TestS50VictimGetsProbesOnly(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, clientSide, stageSecure, offer, acceptPreferred)
	tc.clear()
	tc.write(wire.OneRTT, wire.HandshakeDone{})
	tc.wantEvent("offered", EventPreferredAddress)
	st, victims := tc.open(bidi), 0
	for range 20 {
		tc.send(st, "to the server that is there")
		tc.advance(time.Second)
		for _, p := range tc.out {
			if p.datagram.path.Remote == testRemote {
				continue
			}
			victims += p.datagram.size
			for _, f := range p.frames {
				switch f.(type) {
				case wire.PathChallenge, wire.Padding, wire.NewConnectionID:
				default:
					t.Fatalf("the victim gets %v", f)
				}
			}
		}
		tc.out = nil
		tc.ack(wire.OneRTT)
	}
	if victims == 0 || victims > 5*wire.MinInitialSize {
		t.Errorf("the victim gets %d bytes", victims)
	}
	if p := tc.conn.Path().Remote; p != testRemote {
		t.Errorf("path %v", p)
	}
	tc.abandon()
}

// S-26: a client that asks for data without end acknowledges nothing, and comes from another address with every
// packet. Each path has a congestion window of its own, but what waits for an acknowledgement on all of them
// together is bounded. It may go on for ever, and moving is not charged to the peer as other work for nothing is:
// where a packet comes from is not protected, so whoever sends packets of an honest peer on from other addresses (RFC 9000
// §9.3.2, §9.3.3) could use up its budget and end its connection.
func TestS26MovesWithoutAcks(t *testing.T) {
	besiege(t, 0)
	endless := func(p *wire.Parameters) { p.MaxData, p.MaxStreamDataBidiLocal = 1<<61, 1<<61 }
	tc := newTestConn(t, serverSide, endless)
	tc.write(wire.OneRTT, newID(1, 0), newID(2, 0), newID(3, 0))
	st := tc.accept(0, "everything, please")
	before, more := tc.held(), make([]byte, 4000)
	for n := range siege.Scaled(20_000) {
		tc.path.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 1, byte(n >> 8), byte(n)}), 5000)
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: wire.MinInitialSize})
		tc.advance(10 * time.Millisecond)
		if tc.closed != nil {
			break
		}
		if st.Unsent() < 16<<10 { // as an application that writes when it may
			_, _ = tc.conn.Write(st, more)
		}
		if n%100 == 0 {
			tc.out, tc.datagrams, tc.events = nil, nil, nil
		}
	}
	tc.forget()
	if grown := tc.held() - before; grown > 640<<10 { // half of it a thousand packets that only acknowledge
		t.Errorf("%d bytes more", grown)
	}
	tc.wantOpen("a nuisance")
	tc.path.Remote = testRemote
	tc.write(wire.OneRTT, wire.Ping{})
	tc.abandon()
}

// S-26: a client that gave itself no connection ID moves, as far as it may.
func TestS26MoveWithoutIDs(t *testing.T) {
	besiege(t, 0)
	tc := newTestConn(t, serverSide, func(o *Opening) { o.SCID = wire.ConnectionID{} }, emptyPeerID)
	tc.ignore(wire.FramePathChallenge, wire.FramePing)
	for port := range uint16(200) {
		tc.path.Remote = netip.AddrPortFrom(testElsewhere.Addr(), 1000+port)
		tc.write(wire.OneRTT, wire.Ping{})
		tc.advance(50 * time.Millisecond)
	}
	tc.advance(20 * time.Second)
	tc.wantOpen("paths fail")
	if p := tc.conn.Path().Remote; p != testRemote {
		t.Errorf("path %v", p)
	}
	tc.abandon()
}

// Others note the offer and stay; so does one whose family of addresses the offer
// lacks, or to whom the offer is nowhere (RFC 9000 §9.6.1, §18.2).
func TestS50PreferredAddressDeclined(t *testing.T) {
	besiege(t, 0)
	for name, options := range map[string][]any{
		"not wanted": {offer},
		"other family": {acceptPreferred, func(p *wire.Parameters) {
			p.PreferredAddress = &wire.PreferredAddress{IPv6: addrPort("[2001:db8::1]:444"), ID: peerID(1)}
		}},
		"zeros": {acceptPreferred, func(p *wire.Parameters) {
			p.PreferredAddress = &wire.PreferredAddress{ID: peerID(1)}
		}},
		"a multicast group": {acceptPreferred, func(p *wire.Parameters) {
			p.PreferredAddress = &wire.PreferredAddress{IPv4: addrPort("224.0.0.251:444"), ID: peerID(1)}
		}},
		"a port that reflects": {acceptPreferred, func(p *wire.Parameters) {
			p.PreferredAddress = &wire.PreferredAddress{IPv4: addrPort("192.0.2.200:123"), ID: peerID(1)}
		}},
		"a port of the client's own host": {acceptPreferred, func(p *wire.Parameters) {
			p.PreferredAddress = &wire.PreferredAddress{IPv4: addrPort("127.0.0.1:444"), ID: peerID(1)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tc := newTestConn(t, append(options, clientSide)...)
			tc.wantEvent("offered", EventPreferredAddress)
			for _, d := range tc.datagrams {
				if d.path.Remote != testRemote {
					t.Errorf("sent to %v", d.path.Remote)
				}
			}
			tc.wantIdle("stays")
		})
	}
}

// A server with a preferred address offers it with an ID and a token of their
// own, and follows the client there (RFC 9000 §9.6, §18.2, RFC 9000 §9.6.2).
func TestPreferredAddressServer(t *testing.T) {
	preferred := addrPort("192.0.2.200:444")
	tc := newTestConn(t, serverSide, func(c *Config) {
		c.Params.PreferredAddress = &wire.PreferredAddress{IPv4: preferred}
	})
	tc.write(wire.OneRTT, newID(1, 0))
	p, err := wire.ParseParameters(tc.params, true)
	if err != nil || p.PreferredAddress == nil || p.PreferredAddress.IPv4 != preferred {
		t.Fatalf("%+v, %v", p, err)
	}
	id := p.PreferredAddress.ID
	if seq, ok := tc.conn.ids.isLocal(id.Bytes()); !ok || seq != 1 || p.PreferredAddress.Token != tc.cfg.ResetToken(id) {
		t.Errorf("ID %v", id)
	}
	tc.path.Local = preferred
	tc.peer.dcid = id
	home := tc.conn.Path()
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.PathChallenge{Data: [8]byte{5}}}, size: 1200})
	c := tc.wantType("a challenge from there", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
	tc.want("with the answer", wire.OneRTT, wire.PathResponse{Data: [8]byte{5}})
	if tc.last.datagram.path != tc.path || tc.last.dcid != peerID(1) {
		t.Errorf("%v", tc.last)
	}
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
	if tc.conn.Path() != home {
		t.Errorf("path %v before the new one is validated", tc.conn.Path())
	}
	tc.answer(c)
	tc.wantEvent("valid", EventPathValidation)
	tc.wantEvent("moved", EventMigrated)
	if tc.conn.Path() != tc.path {
		t.Errorf("path %v", tc.conn.Path())
	}
	tc.abandon()
}

// A server stays where it is if nobody answers from its preferred address
// (RFC 9000 §9.6.2).
func TestPreferredAddressUnanswered(t *testing.T) {
	tc := newTestConn(t, serverSide, func(c *Config) {
		c.Params.PreferredAddress = &wire.PreferredAddress{IPv4: addrPort("192.0.2.200:444")}
	})
	tc.write(wire.OneRTT, newID(1, 0))
	home := tc.conn.Path()
	tc.path.Local = addrPort("192.0.2.200:444")
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
	tc.ignore(wire.FrameAck, wire.FramePathChallenge, wire.FrameRetireConnectionID)
	for range 10 {
		tc.advance(time.Second)
		if tc.conn.Path() != home {
			t.Fatalf("path %v", tc.conn.Path())
		}
	}
	tc.abandon()
}

// A client that comes to the preferred address from another one than before is one that migrates: little is
// sent there, and nothing but probes, until it has answered (RFC 9000 §9.6.3).
func TestPreferredAddressFromElsewhere(t *testing.T) {
	preferred := addrPort("192.0.2.200:444")
	for _, answers := range []bool{true, false} {
		tc := newTestConn(t, serverSide, func(c *Config) {
			c.Params.PreferredAddress = &wire.PreferredAddress{IPv4: preferred}
		})
		tc.write(wire.OneRTT, newID(1, 0), newID(2, 0))
		home := tc.conn.Path()
		tc.path = dgram.Path{Local: preferred, Remote: testElsewhere}
		tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
		if answers {
			tc.answer(tc.challenges()[testElsewhere])
			tc.wantEvent("moved", EventMigrated)
			if tc.conn.Path() != tc.path {
				t.Errorf("path %v", tc.conn.Path())
			}
			tc.abandon()
			continue
		}
		for range 10 {
			tc.advance(time.Second)
			for f, p := tc.peek(); f != nil; f, p = tc.peek() {
				if p.seen++; p.datagram.path.Remote == testElsewhere && f.Type() != wire.FramePathChallenge && f.Type() != wire.FramePadding {
					t.Errorf("%v to an address that is not validated", f)
				}
			}
		}
		if n := tc.sent(testElsewhere); n == 0 || n > 3*1200 {
			t.Errorf("%d bytes for 1200", n)
		}
		if tc.conn.Path() != home {
			t.Errorf("path %v", tc.conn.Path())
		}
		tc.abandon()
	}
}

// It waits for the answer for as long as the connection may be silent: a client whose window
// is full of what we acknowledge to an address that is gone answers with a probe, which may be late.
func TestPreferredAddressAnsweredLate(t *testing.T) {
	tc := newTestConn(t, serverSide, func(c *Config) {
		c.Params.PreferredAddress = &wire.PreferredAddress{IPv4: addrPort("192.0.2.200:444")}
		c.Params.MaxIdleTimeout = 5 * time.Minute
	})
	tc.write(wire.OneRTT, newID(1, 0))
	tc.path.Local = addrPort("192.0.2.200:444")
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.Ping{}}, size: 1200})
	challenge := tc.wantType("from there", wire.OneRTT, wire.FramePathChallenge).(wire.PathChallenge)
	tc.ignore(wire.FrameAck, wire.FramePathChallenge, wire.FrameRetireConnectionID)
	for range 20 {
		tc.advance(time.Second)
	}
	tc.writePacket(testPacket{typ: wire.OneRTT, frames: []wire.Frame{wire.PathResponse(challenge)}, size: 1200})
	if got := tc.conn.Path(); got != tc.path {
		t.Errorf("path %v, want %v", got, tc.path)
	}
	tc.abandon()
}

// After the address has changed beneath a client's socket it goes on as before,
// and the server finds out (RFC 9000 §9.3).
func TestClientRebinding(t *testing.T) {
	tc := newTestConn(t, clientSide)
	to := dgram.Path{Local: addrPort("192.0.2.77:1"), Remote: testRemote}
	must(tc.conn.Migrate(tc.now, to, true))
	tc.conn.Ping()
	tc.want("from there", wire.OneRTT, wire.Ping{})
	if tc.last.datagram.path != to {
		t.Errorf("%v", tc.last)
	}
	tc.path = to
	tc.write(wire.OneRTT, wire.PathChallenge{Data: [8]byte{8}})
	tc.want("the server checks", wire.OneRTT, wire.PathResponse{Data: [8]byte{8}})
}
