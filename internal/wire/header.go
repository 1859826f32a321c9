// Package wire is the shape of what QUIC puts in a datagram: the invariants of
// RFC 8999, and the packet headers, frames, transport parameters and error codes
// of version 1 (RFC 9000 §12, §17-§20) and version 2 (RFC 9369 §3).
//
// It knows form, not state. Parsers return values that borrow from their input,
// never allocate on the paths that every packet takes, and refuse whatever the
// RFC says can be judged from the bytes alone.
package wire

import (
	"encoding/binary"
	"strconv"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// MinInitialSize is the smallest datagram, in bytes, that may carry an
// ack-eliciting Initial packet or any Initial from a client (RFC 9000 §14.1).
const MinInitialSize = 1200

// retryTagLen is the length of the Retry Integrity Tag (RFC 9001 §5.8).
const retryTagLen = 16

// The bits of the first byte of a packet (RFC 9000 §17).
const (
	bitLong     = 0x80
	bitFixed    = 0x40
	bitSpin     = 0x20
	bitKeyPhase = 0x04
)

// PacketType is a kind of packet, under the name that all our versions have for it. The
// zero value is Initial.
type PacketType uint8

// The packet types of RFC 9000 §17. OneRTT is the one with a short header.
const (
	Initial PacketType = iota
	ZeroRTT
	Handshake
	OneRTT
	Retry
	VersionNegotiation
)

// String returns the RFC's name of the type, such as "0-RTT".
func (t PacketType) String() string {
	switch t {
	case Initial:
		return "Initial"
	case ZeroRTT:
		return "0-RTT"
	case Handshake:
		return "Handshake"
	case OneRTT:
		return "1-RTT"
	case Retry:
		return "Retry"
	case VersionNegotiation:
		return "Version Negotiation"
	}
	return "PacketType(" + strconv.Itoa(int(t)) + ")"
}

// Invariant is what RFC 8999 promises of the packets of every version. The
// connection IDs borrow from the packet; in a version that is not ours they may
// have up to 255 bytes.
type Invariant struct {
	Long       bool
	Version    uint32 // of a long header
	DCID, SCID []byte
}

// ParseInvariant reads the version-independent part of the packet at the front
// of b. A short header does not say how long its connection ID is: the caller
// gives the length, in bytes, of those it has issued. It returns false if b ends
// too early.
func ParseInvariant(b []byte, shortLen int) (Invariant, bool) {
	c := varint.NewCursor(b)
	if c.Byte()&bitLong == 0 {
		inv := Invariant{DCID: c.Bytes(shortLen)}
		return inv, !c.Failed()
	}
	inv := Invariant{Long: true, Version: c.Uint32()}
	inv.DCID = c.ByteBytes()
	inv.SCID = c.ByteBytes()
	return inv, !c.Failed()
}

// LongHeader is a long header of one of our versions (RFC 9000 §17.2, RFC 9369 §3) up
// to the packet number. All of it is outside header protection but the low bits of the
// first byte, which are not here.
type LongHeader struct {
	Version    uint32
	Type       PacketType // Initial, ZeroRTT, Handshake or Retry
	DCID, SCID ConnectionID
	Token      []byte // of Initial, where it may be empty, and of Retry, where it is not; borrowed
	PNOffset   int    // where the packet number starts; for Retry, where the integrity tag starts
	End        int    // where the packet ends and the next coalesced one starts; len(b) for Retry
}

// ParseLong reads the long header at the front of b. It returns false
// for whatever is to be dropped without a reply: a version that is none of ours, a fixed bit of
// zero, a connection ID over 20 bytes, a Length that runs past the end, a Retry
// without a token (RFC 9000 §17.2.5.2), or a header that is cut short.
func ParseLong(b []byte) (LongHeader, bool) {
	c := varint.NewCursor(b)
	first, version := c.Byte(), c.Uint32()
	if first&(bitLong|bitFixed) != bitLong|bitFixed || !KnownVersion(version) {
		return LongHeader{}, false
	}
	dcid, scid := c.ByteBytes(), c.ByteBytes()
	if c.Failed() || len(dcid) > MaxConnectionIDLen || len(scid) > MaxConnectionIDLen {
		return LongHeader{}, false
	}
	h := LongHeader{Version: version, Type: typeOf(version, first), DCID: MakeConnectionID(dcid), SCID: MakeConnectionID(scid)}
	switch h.Type {
	case Initial:
		h.Token = c.VarintBytes()
	case Retry:
		h.Token = c.Bytes(c.Len() - retryTagLen)
		h.PNOffset, h.End = len(b)-retryTagLen, len(b)
		return h, !c.Failed() && len(h.Token) > 0
	}
	length := c.Varint()
	if c.Failed() || length > uint64(c.Len()) {
		return LongHeader{}, false
	}
	h.PNOffset = len(b) - c.Len()
	h.End = h.PNOffset + int(length)
	return h, true
}

// AppendLong appends the long header, in a version of ours, of an Initial (the only type that has a
// token), ZeroRTT or Handshake packet, up to and including a two-byte Length of
// zero at index lengthAt. The packet number, of pnLen bytes, comes next, by
// AppendPacketNumber; the Length is set by varint.Put2 when it is known.
func AppendLong(b []byte, version uint32, t PacketType, dcid, scid *ConnectionID, token []byte, pnLen int) (out []byte, lengthAt int) {
	if t > Handshake || t != Initial && len(token) > 0 {
		panic("BUG: not a long header with this type and token")
	}
	b = append(b, bitLong|bitFixed|typeBits(version, t)|pnLenBits(pnLen))
	b = appendLongIDs(b, version, dcid.Bytes(), scid.Bytes())
	if t == Initial {
		b = varint.Append(b, uint64(len(token)))
		b = append(b, token...)
	}
	return append(b, 0x40, 0), len(b)
}

// AppendShort appends the header of a 1-RTT packet (RFC 9000 §17.3.1) up to the
// packet number, which has pnLen bytes. The reserved bits are zero.
func AppendShort(b []byte, dcid *ConnectionID, spin, keyPhase bool, pnLen int) []byte {
	first := bitFixed | pnLenBits(pnLen)
	if spin {
		first |= bitSpin
	}
	if keyPhase {
		first |= bitKeyPhase
	}
	b = append(b, first)
	return append(b, dcid.Bytes()...)
}

// AppendRetry appends a Retry packet (RFC 9000 §17.2.5) of a version without the 16-byte
// integrity tag at its end. Its unused bits are ones.
func AppendRetry(b []byte, version uint32, dcid, scid *ConnectionID, token []byte) []byte {
	b = append(b, bitLong|bitFixed|typeBits(version, Retry)|0xf)
	b = appendLongIDs(b, version, dcid.Bytes(), scid.Bytes())
	return append(b, token...)
}

// AppendVersionNegotiation appends a Version Negotiation packet (RFC 9000
// §17.2.1) that offers versions. The low six bits of first, which mean nothing,
// are the caller's random ones; the fixed bit is set for those who share the port
// with other protocols. The IDs have at most 255 bytes: they echo a packet of a
// version that we do not know.
func AppendVersionNegotiation(b []byte, first byte, dcid, scid []byte, versions ...uint32) []byte {
	if len(dcid) > 255 || len(scid) > 255 {
		panic("BUG: connection ID longer than 255 bytes")
	}
	b = append(b, bitLong|bitFixed|first)
	b = appendLongIDs(b, 0, dcid, scid)
	for _, v := range versions {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// ParseVersionNegotiation reads a Version Negotiation packet. versions holds the
// versions offered, four bytes each in network order, at least one, and borrows
// from b. It returns false for any other packet, and for one without versions or
// with a truncated one, which are to be ignored (RFC 8999 §6).
func ParseVersionNegotiation(b []byte) (versions []byte, inv Invariant, ok bool) {
	inv, ok = ParseInvariant(b, 0)
	if !ok || !inv.Long || inv.Version != 0 {
		return nil, Invariant{}, false
	}
	versions = b[1+4+1+len(inv.DCID)+1+len(inv.SCID):]
	if len(versions) == 0 || len(versions)%4 != 0 {
		return nil, Invariant{}, false
	}
	return versions, inv, true
}

func appendLongIDs(b []byte, version uint32, dcid, scid []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, byte(len(dcid)))
	b = append(b, dcid...)
	b = append(b, byte(len(scid)))
	return append(b, scid...)
}
