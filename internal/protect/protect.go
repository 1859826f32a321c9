// Package protect is RFC 9001 §5 and §6, and RFC 9369 §3.3: packet protection, header protection,
// key phases, the limits on the use of an AEAD, and the Retry integrity tag.
//
// A packet is sealed and opened in place. Nothing here keeps state about a
// packet that failed to open but its count.
package protect

import "crypto/tls"

// Overhead is how many bytes sealing adds to a packet: the authentication tag.
const Overhead = 16

const (
	// sampleSize and sampleOffset place the ciphertext that header protection
	// samples: as if every packet number took four bytes (RFC 9001 §5.4.2).
	sampleSize   = 16
	sampleOffset = 4

	longBit     = 0x80
	keyPhaseBit = 0x04
)

// A Sealer protects the packets of one direction under one key: Initial, 0-RTT
// or Handshake. It is not safe for concurrent use.
type Sealer struct {
	levelKeys
	sealed int64
	limit  int64
}

// NewSealer returns a sealer, in a version of QUIC, for the traffic secret of a TLS 1.3
// cipher suite, whose number is crypto/tls's. The error names a suite QUIC cannot use.
func NewSealer(version uint32, suite uint16, secret []byte) (*Sealer, error) {
	info, err := suiteInfo(version, suite)
	if err != nil {
		return nil, err
	}
	s := &Sealer{limit: info.confidentiality}
	s.init(info, secret)
	return s, nil
}

// Seal protects pkt in place and returns it with its tag, for which cap(pkt)
// must have room. pkt is a header, whose packet number pn stands in clear in
// the pnLen bytes at pnOff, and a payload; the two make at least four bytes
// after pnOff. It returns nil once the key has sealed as many packets as its
// confidentiality limit allows (RFC 9001 §6.6); the payload is then erased, so
// that it cannot leave in clear.
func (s *Sealer) Seal(pkt []byte, pnOff, pnLen int, pn int64) []byte {
	if s.sealed >= s.limit {
		clear(pkt[pnOff:])
		return nil
	}
	s.sealed++
	s.wake()
	pkt = s.packet.seal(pkt[:pnOff+pnLen], pkt[pnOff+pnLen:], pn)
	s.header.apply(pkt, pnOff, pnLen)
	return pkt
}

// Opened is what became of a packet that was authentic.
type Opened struct {
	Payload []byte // the frames; borrows from the packet
	PN      int64  // the full packet number
	First   byte   // the first byte without protection; its reserved bits are not judged here
}

// An Opener removes the protection of one direction's packets under one key:
// Initial, 0-RTT or Handshake. It is not safe for concurrent use.
type Opener struct {
	levelKeys
	failures int64
}

// NewOpener returns an opener, in a version of QUIC, for the traffic secret of a TLS 1.3
// cipher suite, whose number is crypto/tls's. The error names a suite QUIC cannot use.
func NewOpener(version uint32, suite uint16, secret []byte) (*Opener, error) {
	info, err := suiteInfo(version, suite)
	if err != nil {
		return nil, err
	}
	o := &Opener{}
	o.init(info, secret)
	return o, nil
}

// Open removes the protection of pkt, exactly one packet whose packet number
// starts at pnOff, in place. largest is the largest packet number processed so
// far in the packet number space, -1 if none. It reports false for a packet that
// is too short or not authentic; pkt is then garbage, but for its last 16 bytes,
// where a stateless reset token may be.
func (o *Opener) Open(pkt []byte, pnOff int, largest int64) (Opened, bool) {
	o.wake()
	pn, pnLen, ok := o.header.remove(pkt, pnOff, largest)
	if !ok {
		return Opened{}, false
	}
	payload, ok := o.packet.open(pkt, pnOff+pnLen, pn)
	if !ok {
		o.failures++
		return Opened{}, false
	}
	return Opened{Payload: payload, PN: pn, First: pkt[0]}, true
}

// Failures returns how many packets were not authentic. They count against the
// integrity limit of the connection: see OneRTT.AddFailures.
func (o *Opener) Failures() int64 { return o.failures }

// InitialSecrets returns the secrets of a client's and a server's Initial packets
// in a version, for TLS_AES_128_GCM_SHA256. dcid is the Destination
// Connection ID of the client's first Initial, or of its first after a Retry
// (RFC 9001 §5.2).
func InitialSecrets(version uint32, dcid []byte) (client, server []byte) {
	info, _ := suiteInfo(version, tls.TLS_AES_128_GCM_SHA256)
	initial := info.extract(dcid, info.version.salt[:])
	defer clear(initial)
	return info.expand(initial, "client in", 32), info.expand(initial, "server in", 32)
}
