package transport

import (
	"bytes"
	"fmt"
	"math"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/evil"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// fakePeer is the peer's keys and numbers. It knows no rules: an evil.Peer with the
// rig's own words.
type fakePeer struct {
	keys     evil.Keys
	original wire.ConnectionID // DCID of the client's first packet
	id       wire.ConnectionID // the peer's own
	dcid     wire.ConnectionID // where it sends to
	token    []byte            // a fake client's Initials carry it

	version uint32 // that it speaks at the moment; it reads them all
	oneRTT  protect.OneRTT
	next    [recovery.Spaces]int64
	got     [recovery.Spaces]ranges.Set
	marks   [recovery.Spaces]wire.ECNCounts // of the packets that came

	reports func(came wire.ECNCounts) *wire.ECNCounts // what ACKs say of marks; nil for nothing
}

func (p *fakePeer) init() {
	p.original = wire.MakeConnectionID([]byte("original"))
	p.id = wire.MakeConnectionID([]byte("peer-000"))
	p.version = wire.Version1
}

// setInitialKeys derives the Initial keys, and all others the first time.
func (p *fakePeer) setInitialKeys(dcid wire.ConnectionID, conn side) {
	role, first := evil.Role(!conn), !p.oneRTT.CanRead()
	for _, v := range wire.Versions() {
		p.keys.Version = v
		p.keys.Initial(dcid.Bytes(), role)
		if first {
			p.keys.Scripted(role, wire.ZeroRTT, wire.Handshake)
		}
	}
	p.keys.Version = p.version
	if first {
		p.speak(p.version, conn)
	}
}

// speak makes the peer write in a version from now on, and read 1-RTT packets of it.
func (p *fakePeer) speak(version uint32, conn side) {
	p.version, p.oneRTT = version, protect.OneRTT{}
	p.keys.Version, p.keys.OneRTT = version, &p.oneRTT
	p.keys.Scripted(evil.Role(!conn), wire.OneRTT)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// testPacket is a packet for the peer to send. Zero fields get what is usual.
type testPacket struct {
	version    uint32 // the peer's
	claim      uint32 // the version that the header names, if not that of the keys
	typ        wire.PacketType
	frames     []wire.Frame
	number     int64 // used if explicit
	explicit   bool
	numberLen  int                // 4
	dcid, scid *wire.ConnectionID // the peer's dcid and id
	token      []byte             // of Initial
	flip       byte               // bits of the first byte to flip before sealing
	size       int                // of the packet, reached with PADDING
	bare       bool               // no PADDING for the header protection's sake either
}

// build seals a packet.
func (tc *testConn) build(p testPacket) []byte {
	tc.Helper()
	sp := spaceOf(p.typ)
	pn := tc.peer.next[sp]
	if p.explicit {
		pn = p.number
	}
	tc.peer.next[sp] = max(tc.peer.next[sp], pn+1)
	dcid, scid := &tc.peer.dcid, &tc.peer.id
	if p.dcid != nil {
		dcid = p.dcid
	}
	if p.scid != nil {
		scid = p.scid
	}
	if p.typ == wire.Initial && p.token == nil {
		p.token = tc.peer.token
	}
	return tc.peer.keys.Seal(evil.Packet{
		Type: p.typ, Version: p.version, Claim: p.claim, Frames: p.frames, Number: pn, NumberLen: p.numberLen, DCID: dcid.Bytes(), SCID: scid.Bytes(),
		Token: p.token, Flip: p.flip, Size: p.size, Bare: p.bare,
	})
}

// write makes the peer send one packet in one datagram.
func (tc *testConn) write(typ wire.PacketType, frames ...wire.Frame) {
	tc.Helper()
	tc.writeDatagram(testPacket{typ: typ, frames: frames})
}

// writePacket makes the peer send one packet with a say in its header.
func (tc *testConn) writePacket(p testPacket) {
	tc.Helper()
	tc.writeDatagram(p)
}

// writeDatagram makes the peer send coalesced packets. A client's datagram with
// an Initial is padded, in the last packet.
func (tc *testConn) writeDatagram(packets ...testPacket) {
	tc.Helper()
	var b []byte
	padded := false
	for i, p := range packets {
		padded = padded || p.typ == wire.Initial && tc.side == serverSide
		if i == len(packets)-1 && padded && p.size == 0 {
			p.size = wire.MinInitialSize - len(b)
		}
		b = append(b, tc.build(p)...)
	}
	tc.inject(b)
}

// inject delivers a datagram as it is.
func (tc *testConn) inject(b []byte) {
	tc.Helper()
	tc.heard[tc.path.Remote] += len(b)
	tc.provoked(len(b), func() {
		tc.take(&dgram.Datagram{Data: bytes.Clone(b), Path: tc.path, ECN: tc.ecn})
		tc.pump()
	})
}

// take gives the Conn a datagram.
func (tc *testConn) take(d *dgram.Datagram) {
	tc.attacked.Spend(func() { tc.conn.Receive(tc.now, d) })
}

// ack makes the peer acknowledge all it got in the space of a packet type.
func (tc *testConn) ack(typ wire.PacketType) {
	tc.Helper()
	if set := tc.peer.got[spaceOf(typ)]; len(set) > 0 {
		tc.write(typ, wire.MakeAck(set, 0, tc.peer.counts(spaceOf(typ))))
	}
}

// counts returns what an ACK of a space says of marks.
func (p *fakePeer) counts(sp recovery.Space) *wire.ECNCounts {
	if p.reports == nil {
		return nil
	}
	return p.reports(p.marks[sp])
}

// numbers returns the set of the given packet numbers.
func numbers(pns ...int64) (s ranges.Set) {
	for _, pn := range pns {
		s.Add(pn, pn+1)
	}
	return s
}

// ackOf returns an ACK frame for the given packet numbers.
func ackOf(pns ...int64) wire.Ack { return wire.MakeAck(numbers(pns...), 0, nil) }

// sentDatagram is a datagram that the Conn sent.
type sentDatagram struct {
	size    int
	path    dgram.Path
	ecn     dgram.ECN
	at      mono.Time
	packets int
	data    []byte // as sent, protected
}

// sentPacket is a packet that the Conn sent.
type sentPacket struct {
	version    uint32 // of a long header
	typ        wire.PacketType
	dcid, scid wire.ConnectionID
	token      []byte
	pn         int64
	first      byte // without protection
	pnLen      int
	frames     []wire.Frame
	seen       int // frames looked at
	datagram   sentDatagram
}

// String returns the packet for a message.
func (p *sentPacket) String() string {
	return fmt.Sprintf("%v %d (%d bytes to %v) %v", p.typ, p.pn, p.datagram.size, p.datagram.path.Remote, p.frames)
}

// has returns the packet's first frame of a type, nil if there is none.
func (p *sentPacket) has(t wire.FrameType) wire.Frame {
	for _, f := range p.frames {
		if kindOf(f.Type()) == t {
			return f
		}
	}
	return nil
}

// receive is the peer opening a datagram that the Conn sent.
func (tc *testConn) receive(b []byte, path dgram.Path, ecn dgram.ECN) {
	tc.Helper()
	d := sentDatagram{size: len(b), path: path, ecn: ecn, at: tc.now, data: bytes.Clone(b)}
	first, own := len(tc.out), 0
	for len(b) > 0 {
		p, n := tc.openSent(b)
		own += p.asked()
		d.packets++
		p.datagram = d
		if ecn == dgram.ECT0 {
			tc.peer.marks[spaceOf(p.typ)].ECT0++
		}
		tc.out = append(tc.out, p)
		b = b[n:]
	}
	for i := first; i < len(tc.out); i++ {
		tc.out[i].datagram.packets = d.packets
	}
	tc.datagrams = append(tc.datagrams, d)
	tc.told[path.Remote] += d.size
	tc.attacked.Sent(d.size, own)
	tc.checkAmplification(path)
}

// asked returns how many bytes of the packet the application has asked for.
func (p *sentPacket) asked() (n int) {
	for _, f := range p.frames {
		switch f := f.(type) {
		case wire.Stream:
			n += len(f.Data)
		case wire.Datagram:
			n += len(f.Data)
		}
	}
	return n
}

// checkAmplification holds what a server has sent to an address against what came
// from there, until the address is validated (RFC 9000 §8).
func (tc *testConn) checkAmplification(path dgram.Path) {
	tc.Helper()
	if tc.side == clientSide {
		return
	}
	for _, p := range tc.conn.paths.list {
		if p.addr == path && p.validated {
			tc.heard[path.Remote] = math.MaxInt / 4
		}
	}
	in, out := tc.heard[path.Remote], tc.sent(path.Remote)
	tc.attacked.Unproven(in, out)
	if out > 3*in {
		tc.Errorf("%d bytes sent to the unvalidated %v, which sent %d", out, path.Remote, in)
	}
}

// openSent opens the packet at the front of b. Everything a Conn sends must be
// in order: what does not open or parse, a frame in a packet where it may not
// be, or a packet number used twice ends the test.
func (tc *testConn) openSent(b []byte) (p sentPacket, n int) {
	tc.Helper()
	idLen := tc.peer.id.Len()
	for i := range tc.conn.ids.remote { // IDs that a test made the peer issue may have another length
		if id := &tc.conn.ids.remote[i].id; bytes.HasPrefix(b[1:], id.Bytes()) {
			idLen = id.Len()
		}
	}
	r, n, err := tc.peer.keys.Open(tc.now, b, idLen, func(typ wire.PacketType) int64 { return tc.peer.got[spaceOf(typ)].Max() })
	if err != nil {
		tc.Fatal(err)
	}
	got := &tc.peer.got[spaceOf(r.Type)]
	if got.Contains(r.PN) {
		tc.Fatalf("packet number %d of %v used twice", r.PN, r.Type)
	}
	got.Add(r.PN, r.PN+1)
	return sentPacket{
		version: r.Version, typ: r.Type, dcid: r.DCID, scid: r.SCID, token: r.Token, pn: r.PN,
		first: r.First, pnLen: int(r.First&3) + 1, frames: r.Frames,
	}, n
}

// datagramOf returns a datagram of the peer's with one packet, to be received by hand.
func (tc *testConn) datagramOf(p testPacket) *dgram.Datagram {
	b := tc.build(p)
	tc.heard[tc.path.Remote] += len(b)
	return &dgram.Datagram{Data: b, Path: tc.path, ECN: tc.ecn}
}
