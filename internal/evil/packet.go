package evil

import (
	"encoding/binary"
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Raw is bytes that stand for a frame, or for several, or for none.
type Raw []byte

// Append appends the bytes.
func (f Raw) Append(b []byte) []byte { return append(b, f...) }

// Type returns the first byte.
func (f Raw) Type() wire.FrameType { return wire.FrameType(f[0]) }

func (f Raw) String() string { return fmt.Sprintf("raw %x", []byte(f)) }

// Encode returns a frame of a type and integers, each in its shortest form.
func Encode(t wire.FrameType, fields ...uint64) Raw {
	b := varint.Append(nil, uint64(t))
	for _, v := range fields {
		b = varint.Append(b, v)
	}
	return b
}

// Packet is a packet to be sealed. Its fields are taken as they are: nothing is
// refused, and nothing set right. Of Peer.Build's packets the zero fields get what
// is usual.
type Packet struct {
	Type       wire.PacketType
	Frames     []wire.Frame
	Number     int64  // Build uses it if Explicit
	Explicit   bool   // take Number, also where it is not the next
	NumberLen  int    // bytes of it on the wire; 0 is 4
	DCID, SCID []byte // of any length up to 255; of Build nil is the peer's usual one
	Version    uint32 // 0 is that of the keys
	Claim      uint32 // the version that the header names, if not Version
	Token      []byte // of Initial; of Build nil is the peer's usual one
	Flip       byte   // bits of the first byte to flip before sealing: reserved, fixed, key phase, type
	Length     int    // what the Length field claims, if not 0
	Size       int    // of the whole packet, reached with PADDING
	Bare       bool   // no PADDING for the header protection's sake either
	BadTag     bool   // the authentication tag does not fit
}

// Seal returns the protected packet. Its Number, IDs and token are as given.
func (k *Keys) Seal(p Packet) []byte {
	if p.Version == 0 {
		p.Version = k.version()
	}
	pnLen := p.NumberLen
	if pnLen == 0 {
		pnLen = 4
	}
	keys := k.of(p.Version)
	if p.Claim != 0 {
		p.Version = p.Claim
	}
	b, lengthAt := p.header(pnLen, k.OneRTT != nil && k.OneRTT.Phase())
	b[0] ^= p.Flip
	pnOff := len(b)
	b = wire.AppendPacketNumber(b, p.Number, pnLen)
	for _, f := range p.Frames {
		b = f.Append(b)
	}
	for !p.Bare && len(b) < max(pnOff+4, p.Size-protect.Overhead) {
		b = append(b, 0)
	}
	if p.Type != wire.OneRTT {
		length := len(b) - pnOff + protect.Overhead
		if p.Length != 0 {
			length = p.Length
		}
		varint.Put2(b[lengthAt:], uint64(length))
	}
	b = append(b, make([]byte, protect.Overhead)...)
	b = b[:len(b)-protect.Overhead]
	if p.Type == wire.OneRTT {
		b = k.OneRTT.Seal(b, pnOff, pnLen, p.Number)
	} else {
		b = keys.sealers[p.Type].Seal(b, pnOff, pnLen, p.Number)
	}
	if p.BadTag {
		b[len(b)-1] ^= 1
	}
	return b
}

// header returns all in front of the packet number, and where the Length is.
func (p *Packet) header(pnLen int, phase bool) (b []byte, lengthAt int) {
	if p.Type == wire.OneRTT {
		first := 0x40 | byte(pnLen-1)
		if phase {
			first |= 0x04
		}
		return append([]byte{first}, p.DCID...), 0
	}
	b = append(b, 0xc0|longType(p.Version, p.Type)<<4|byte(pnLen-1))
	b = binary.BigEndian.AppendUint32(b, p.Version)
	b = append(append(b, byte(len(p.DCID))), p.DCID...)
	b = append(append(b, byte(len(p.SCID))), p.SCID...)
	if p.Type == wire.Initial {
		b = append(varint.Append(b, uint64(len(p.Token))), p.Token...)
	}
	return append(b, 0, 0), len(b)
}

// longType returns the type bits of a long header (RFC 9000 §17.2, RFC 9369 §3.2).
func longType(version uint32, t wire.PacketType) byte {
	bits := [wire.OneRTT]byte{wire.Initial: 0, wire.ZeroRTT: 1, wire.Handshake: 2}[t]
	if version == wire.Version2 {
		bits = (bits + 1) & 3
	}
	return bits
}
