package evil

import (
	"bytes"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Space is a packet number space (RFC 9000 §12.3).
type Space int

// The three spaces.
const (
	InitialSpace Space = iota
	HandshakeSpace
	AppSpace
	Spaces
)

// SpaceOf returns the space that the packets of a type are numbered in.
func SpaceOf(typ wire.PacketType) Space {
	switch typ {
	case wire.Initial:
		return InitialSpace
	case wire.Handshake:
		return HandshakeSpace
	}
	return AppSpace
}

// Peer is one end of a connection: keys, IDs and numbers. Every field may be set at
// any time.
type Peer struct {
	Keys
	Role     Role
	Original wire.ConnectionID // DCID of the client's first packet
	ID       wire.ConnectionID // the peer's own
	DCID     wire.ConnectionID // where it sends to
	Token    []byte            // a client's Initials carry it

	Next [Spaces]int64      // the packet number that Build takes by itself
	Got  [Spaces]ranges.Set // of the other end's packets
}

// NewPeer returns a peer that has its Initial keys. original is the DCID of the
// client's first packet: a client's own choice, and what a server has received.
func NewPeer(role Role, original, id wire.ConnectionID) *Peer {
	p := &Peer{Role: role, Original: original, ID: id, DCID: original}
	p.Initial(original.Bytes(), role)
	return p
}

// Build seals a packet. What it does not say is as usual: the next number, the
// peer's IDs, its token.
func (p *Peer) Build(k Packet) []byte {
	sp := SpaceOf(k.Type)
	if !k.Explicit {
		k.Number = p.Next[sp]
	}
	p.Next[sp] = max(p.Next[sp], k.Number+1)
	if k.DCID == nil {
		k.DCID = p.DCID.Bytes()
	}
	if k.SCID == nil {
		k.SCID = p.ID.Bytes()
	}
	if k.Type == wire.Initial && k.Token == nil {
		k.Token = p.Token
	}
	return p.Seal(k)
}

// Datagram builds packets one behind the other, in any order. With an Initial the
// last one is padded to what servers ask for (RFC 9000 §14.1), unless it has a Size
// of its own.
func (p *Peer) Datagram(packets ...Packet) (b []byte) {
	padded := false
	for i, k := range packets {
		padded = padded || k.Type == wire.Initial && p.Role == Client
		if i == len(packets)-1 && padded && k.Size == 0 {
			k.Size = wire.MinInitialSize - len(b)
		}
		b = append(b, p.Build(k)...)
	}
	return b
}

// Say builds a datagram with one packet of a type and these frames.
func (p *Peer) Say(typ wire.PacketType, frames ...wire.Frame) []byte {
	return p.Datagram(Packet{Type: typ, Frames: frames})
}

// Receive opens a datagram of the other end, and notes its packet numbers and, of
// a server's first, its ID. The packets before the one at fault come with the error.
func (p *Peer) Receive(now mono.Time, datagram []byte) (packets []Received, err error) {
	err = p.ReceiveEach(now, datagram, func(r Received) { packets = append(packets, r) })
	return packets, err
}

// ReceiveEach is Receive for those who get the keys of one packet from another in
// the same datagram: each calls take before the next is opened.
func (p *Peer) ReceiveEach(now mono.Time, datagram []byte, take func(Received)) error {
	for b := bytes.Clone(datagram); len(b) > 0; {
		r, n, err := p.Open(now, b, p.ID.Len(), func(typ wire.PacketType) int64 { return p.Got[SpaceOf(typ)].Max() })
		if err != nil {
			return err
		}
		got := &p.Got[SpaceOf(r.Type)]
		if got.Contains(r.PN) {
			return fmt.Errorf("packet number %d of %v used twice", r.PN, r.Type)
		}
		got.Add(r.PN, r.PN+1)
		if r.Type != wire.OneRTT && p.DCID == p.Original {
			p.DCID = r.SCID
		}
		take(r)
		b = b[n:]
	}
	return nil
}

// Ack returns an ACK of all that arrived in the space of a packet type; ok is false
// if nothing has.
func (p *Peer) Ack(typ wire.PacketType) (f wire.Ack, ok bool) {
	set := p.Got[SpaceOf(typ)]
	if len(set) == 0 {
		return f, false
	}
	return wire.MakeAck(set, 0, nil), true
}
