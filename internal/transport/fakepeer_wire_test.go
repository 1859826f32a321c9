package transport

import (
	"bytes"
	"fmt"
	"math"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// fakePeer is the peer's keys and numbers. It knows no rules.
type fakePeer struct {
	original wire.ConnectionID // DCID of the client's first packet
	id       wire.ConnectionID // the peer's own
	dcid     wire.ConnectionID // where it sends to
	token    []byte            // a fake client's Initials carry it

	version uint32 // that it speaks at the moment; it reads them all
	openers map[uint32]*[wire.OneRTT]*protect.Opener
	sealers map[uint32]*[wire.OneRTT]*protect.Sealer
	oneRTT  protect.OneRTT
	next    [recovery.Spaces]int64
	got     [recovery.Spaces]ranges.Set
}

func (p *fakePeer) init() {
	p.original = wire.MakeConnectionID([]byte("original"))
	p.id = wire.MakeConnectionID([]byte("peer-000"))
	p.version = wire.Version1
	p.openers = make(map[uint32]*[wire.OneRTT]*protect.Opener)
	p.sealers = make(map[uint32]*[wire.OneRTT]*protect.Sealer)
	for _, v := range wire.Versions() {
		p.openers[v], p.sealers[v] = new([wire.OneRTT]*protect.Opener), new([wire.OneRTT]*protect.Sealer)
	}
}

// setInitialKeys derives the Initial keys, and all others the first time.
func (p *fakePeer) setInitialKeys(dcid wire.ConnectionID, conn side) {
	connIsClient := conn == clientSide
	for _, v := range wire.Versions() {
		read, write := protect.InitialSecrets(v, dcid.Bytes())
		if conn == serverSide {
			read, write = write, read
		}
		p.setKeys(v, wire.Initial, read, write)
		if !p.oneRTT.CanRead() {
			for typ, l := range map[wire.PacketType]Level{wire.Handshake: LevelHandshake, wire.ZeroRTT: LevelEarly} {
				p.setKeys(v, typ, secret(l, connIsClient), secret(l, !connIsClient))
			}
		}
	}
	if !p.oneRTT.CanRead() {
		p.speak(p.version, conn)
	}
}

// speak makes the peer write in a version from now on, and read 1-RTT packets of it.
func (p *fakePeer) speak(version uint32, conn side) {
	p.version, p.oneRTT = version, protect.OneRTT{}
	must(p.oneRTT.SetRead(version, initialSuite, secret(LevelApp, conn == clientSide)))
	must(p.oneRTT.SetWrite(version, initialSuite, secret(LevelApp, conn != clientSide)))
}

func (p *fakePeer) setKeys(version uint32, typ wire.PacketType, read, write []byte) {
	var err error
	p.openers[version][typ], err = protect.NewOpener(version, initialSuite, read)
	must(err)
	p.sealers[version][typ], err = protect.NewSealer(version, initialSuite, write)
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// testPacket is a packet for the peer to send. Zero fields get what is usual.
type testPacket struct {
	version    uint32 // the peer's
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
	pnLen := 4
	if p.numberLen != 0 {
		pnLen = p.numberLen
	}
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
	if p.version == 0 {
		p.version = tc.peer.version
	}
	var b []byte
	lengthAt := 0
	if p.typ == wire.OneRTT {
		b = wire.AppendShort(nil, dcid, false, tc.peer.oneRTT.Phase(), pnLen)
	} else {
		b, lengthAt = wire.AppendLong(nil, p.version, p.typ, dcid, scid, p.token, pnLen)
	}
	b[0] ^= p.flip
	pnOff := len(b)
	b = wire.AppendPacketNumber(b, pn, pnLen)
	for _, f := range p.frames {
		b = f.Append(b)
	}
	for !p.bare && len(b) < max(pnOff+4, p.size-protect.Overhead) {
		b = append(b, 0)
	}
	if p.typ != wire.OneRTT {
		varint.Put2(b[lengthAt:], uint64(len(b)-pnOff+protect.Overhead))
	}
	b = append(b, make([]byte, protect.Overhead)...)
	b = b[:len(b)-protect.Overhead]
	if p.typ == wire.OneRTT {
		return tc.peer.oneRTT.Seal(b, pnOff, pnLen, pn)
	}
	return tc.peer.sealers[p.version][p.typ].Seal(b, pnOff, pnLen, pn)
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
	tc.conn.Receive(tc.now, &dgram.Datagram{Data: bytes.Clone(b), Path: tc.path, ECN: tc.ecn})
	tc.pump()
}

// ack makes the peer acknowledge all it got in the space of a packet type.
func (tc *testConn) ack(typ wire.PacketType) {
	tc.Helper()
	if set := tc.peer.got[spaceOf(typ)]; len(set) > 0 {
		tc.write(typ, wire.MakeAck(set, 0, nil))
	}
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
	first := len(tc.out)
	for len(b) > 0 {
		p, n := tc.openSent(b)
		d.packets++
		p.datagram = d
		tc.out = append(tc.out, p)
		b = b[n:]
	}
	for i := first; i < len(tc.out); i++ {
		tc.out[i].datagram.packets = d.packets
	}
	tc.datagrams = append(tc.datagrams, d)
	tc.checkAmplification(path)
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
	if in, out := tc.heard[path.Remote], tc.sent(path.Remote); out > 3*in {
		tc.Errorf("%d bytes sent to the unvalidated %v, which sent %d", out, path.Remote, in)
	}
}

// openSent opens the packet at the front of b. Everything a Conn sends must be
// in order: what does not open or parse, a frame in a packet where it may not
// be, or a packet number used twice ends the test.
func (tc *testConn) openSent(b []byte) (p sentPacket, n int) {
	tc.Helper()
	var o protect.Opened
	if b[0]&0x80 == 0 {
		p.typ, n = wire.OneRTT, len(b)
		idLen := tc.peer.id.Len()
		for i := range tc.conn.ids.remote { // IDs that a test made the peer issue may have another length
			if id := &tc.conn.ids.remote[i].id; bytes.HasPrefix(b[1:], id.Bytes()) {
				idLen = id.Len()
			}
		}
		p.dcid = wire.MakeConnectionID(b[1 : 1+idLen])
		var r protect.OpenResult
		o, r = tc.peer.oneRTT.Open(tc.now, b, 1+idLen, tc.peer.got[recovery.App].Max())
		if r != protect.OpenOK && r != protect.OpenUpdated {
			tc.Fatalf("a 1-RTT packet that does not open: %v", r)
		}
	} else {
		h, ok := wire.ParseLong(b)
		if !ok {
			tc.Fatalf("a datagram with %d bytes that are no packet: %x", len(b), b)
		}
		p.version, p.typ, p.dcid, p.scid, p.token, n = h.Version, h.Type, h.DCID, h.SCID, h.Token, h.End
		if o, ok = tc.peer.openers[h.Version][h.Type].Open(b[:n], h.PNOffset, tc.peer.got[spaceOf(h.Type)].Max()); !ok {
			tc.Fatalf("a packet that does not open: %v", h.Type)
		}
	}
	frames, err := wire.ParseFrames(o.Payload)
	if err != nil || len(frames) == 0 {
		tc.Fatalf("a packet with frames %v, %v", frames, err)
	}
	for _, f := range frames {
		if !f.Type().Permitted(p.typ) {
			tc.Fatalf("%v in a packet of type %v", f, p.typ)
		}
	}
	p.pn, p.first, p.frames, p.pnLen = o.PN, o.First, frames, int(o.First&3)+1
	got := &tc.peer.got[spaceOf(p.typ)]
	if got.Contains(p.pn) {
		tc.Fatalf("packet number %d of %v used twice", p.pn, p.typ)
	}
	got.Add(p.pn, p.pn+1)
	return p, n
}

// datagramOf returns a datagram of the peer's with one packet, to be received by hand.
func (tc *testConn) datagramOf(p testPacket) *dgram.Datagram {
	b := tc.build(p)
	tc.heard[tc.path.Remote] += len(b)
	return &dgram.Datagram{Data: b, Path: tc.path, ECN: tc.ecn}
}
