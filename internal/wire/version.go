package wire

import (
	"encoding/binary"
	"slices"
)

// The versions of QUIC that we speak.
const (
	Version1 uint32 = 0x00000001 // RFC 9000 §15
	Version2 uint32 = 0x6b3343cf // RFC 9369 §3.1
)

// Versions returns the versions that we speak, the one first that most peers do. Each of
// them is compatible with each other (RFC 9368 §2.2, RFC 9369 §4): a first flight of one can be answered
// in another.
func Versions() []uint32 { return []uint32{Version1, Version2} }

// KnownVersion reports whether we speak a version.
func KnownVersion(v uint32) bool { return v == Version1 || v == Version2 }

// typeBits returns the two bits that tell a version's long headers apart, where they
// stand in the first byte. Version 2 has those of version 1, and one more (RFC 9369 §3.2).
func typeBits(version uint32, t PacketType) byte {
	n := byte(t)
	if t == Retry {
		n = 3
	}
	switch version {
	case Version1:
	case Version2:
		n++
	default:
		panic("BUG: a version that has no long headers of ours")
	}
	return n & 3 << 4
}

// typeOf returns what a long header of a version is, by its first byte.
func typeOf(version uint32, first byte) PacketType {
	n := first >> 4 & 3
	if version == Version2 {
		n = (n - 1) & 3
	}
	return [...]PacketType{Initial, ZeroRTT, Handshake, Retry}[n]
}

// VersionInformation is what an end says of the versions it speaks (RFC 9368 §3).
type VersionInformation struct {
	Chosen    uint32   // what it has chosen for the connection
	Available []uint32 // a client's in the order of its preference; of parsed ones the first maxVersions, and what decides
}

// maxVersions is how many of a peer's Available Versions are kept, whatever they are. Of those beyond
// only the versions that we speak and the one that the peer has chosen are, each once: a version
// is chosen and checked by these (RFC 9368 §2.3, §4), and of the others nobody could tell that they are missing.
const maxVersions = 16

// Offers reports whether the version is among those available.
func (v *VersionInformation) Offers(version uint32) bool {
	return slices.Contains(v.Available, version)
}

func (v *VersionInformation) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, v.Chosen)
	for _, n := range v.Available {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// versionInformation reads the parameter (RFC 9368 §4).
func (r *paramReader) versionInformation(b []byte) {
	if len(b) < 4 || len(b)%4 != 0 {
		r.fail("version_information has %d bytes, not a multiple of 4", len(b))
		return
	}
	v := &VersionInformation{Chosen: binary.BigEndian.Uint32(b)}
	zero := v.Chosen == 0
	for b = b[4:]; len(b) > 0; b = b[4:] {
		n := binary.BigEndian.Uint32(b)
		zero = zero || n == 0
		if len(v.Available) < maxVersions || (KnownVersion(n) || n == v.Chosen) && !v.Offers(n) {
			v.Available = append(v.Available, n)
		}
	}
	switch {
	case zero:
		r.fail("version_information with version 0")
	case !v.Offers(v.Chosen) && !r.fromServer:
		r.fail("version_information of a client that has chosen %#x, which it does not offer", v.Chosen)
	}
	r.p.Versions = v
}
