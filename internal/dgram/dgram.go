// Package dgram holds the two values that the transport and the sockets
// exchange: a datagram that came in and a batch of datagrams to go out.
package dgram

import "net/netip"

// ECN is the codepoint in the two low bits of the IP traffic class (RFC 3168 §5).
type ECN uint8

const (
	NotECT ECN = 0
	ECT1   ECN = 1
	ECT0   ECN = 2
	CE     ECN = 3
)

// Path is the pair of addresses that datagrams travel between. An address of
// Local may be unspecified, which leaves the choice of source to the kernel.
// Addresses are unmapped: IPv4 is never written as IPv4-in-IPv6.
type Path struct{ Local, Remote netip.AddrPort }

// nat64 is where IPv6 networks have IPv4 hosts (RFC 6052 §2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Plain returns an address without its zone, and as an IPv4 address where it stands for one.
func Plain(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// Host returns what limits by host count an address as: all of an IPv4 address, or of one of a local network, and of
// other IPv6 addresses the network of 64 bits: one host may have all that are in it.
func Host(a netip.Addr) netip.Addr {
	a = Plain(a)
	if a.Is6() && !a.IsLinkLocalUnicast() && !a.IsPrivate() {
		p, _ := a.Prefix(64)
		a = p.Addr()
	}
	return a
}

// Datagram is one received UDP payload.
type Datagram struct {
	Data []byte // borrowed for the call it is handed to, which may overwrite it
	Path Path
	ECN  ECN
}

const (
	// MaxSegments is how many datagrams one batch may carry (Linux UDP_MAX_SEGMENTS).
	MaxSegments = 64
	// MaxBatchBytes is how many bytes of payload one batch may carry: with
	// headers it must fit one IP packet until the kernel cuts it up.
	MaxBatchBytes = 65_487
	// FullBatch is how many bytes count as a batch that is worth its system call.
	FullBatch = 48 << 10
)

// Batch is a run of datagrams for one path, shaped for segmentation offload:
// all have the size of the first, but the last, which may be shorter.
// The zero Batch has no buffer; make one with NewBatch.
type Batch struct {
	Path Path
	ECN  ECN

	buf     []byte
	segment int
	count   int
	full    bool
}

// NewBatch returns an empty batch that writes into buf, which it owns from now on.
func NewBatch(buf []byte) *Batch { return &Batch{buf: buf[:0:min(cap(buf), MaxBatchBytes)]} }

// Reset empties the batch for another use of its buffer.
func (b *Batch) Reset() { *b = Batch{buf: b.buf[:0]} }

// Empty reports whether the batch has no datagram.
func (b *Batch) Empty() bool { return b.count == 0 }

// Count returns how many datagrams the batch has.
func (b *Batch) Count() int { return b.count }

// SegmentSize returns the size of every datagram but the last.
func (b *Batch) SegmentSize() int { return b.segment }

// Bytes returns the payloads of all datagrams, one behind the other.
func (b *Batch) Bytes() []byte { return b.buf }

// Segment returns the payload of datagram i, from 0.
func (b *Batch) Segment(i int) []byte {
	return b.buf[i*b.segment : min((i+1)*b.segment, len(b.buf))]
}

// Next returns room for one more datagram: an empty slice whose capacity, at
// most size, is what fits. It is nil when the batch can take no other datagram.
func (b *Batch) Next(size int) []byte {
	if b.count > 0 {
		size = min(size, b.segment)
	}
	n := len(b.buf)
	if b.full || b.count == MaxSegments || n+size > cap(b.buf) {
		return nil
	}
	return b.buf[n : n : n+size]
}

// Commit adds the n bytes that were written into the room Next returned.
func (b *Batch) Commit(n int) {
	switch {
	case b.count == 0:
		b.segment = n
	case n > b.segment:
		panic("BUG: datagram larger than the batch's segments")
	case n < b.segment:
		b.full = true
	}
	b.count++
	b.buf = b.buf[:len(b.buf)+n]
}

// Close makes the batch accept no other datagram.
func (b *Batch) Close() { b.full = true }

// Filter leaves the datagrams for which keep, asked in order, is true.
func (b *Batch) Filter(keep func() bool) {
	n, count := 0, 0
	for i := range b.count {
		if keep() {
			n += copy(b.buf[n:], b.Segment(i))
			count++
		}
	}
	b.buf, b.count = b.buf[:n], count
	if count == 1 {
		b.segment = n // it may be the short one
	}
}
