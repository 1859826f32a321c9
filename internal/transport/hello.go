package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// hello is a ClientHello that waits until it is whole: anybody can send half of one, which makes nothing else.
// Its pieces come in any order, and each lies at its place. Behind a hole a bit for every byte says whether
// it is here, so that a thousand holes cost no more than one.
type hello struct {
	bytes []byte   // as far as the last piece, and up to 63 more: it may drip
	end   int      // so many are here without a hole
	got   []uint64 // bit i%64 of word i/64: byte i, which is not before end, is here
	holes int
}

// has returns 1 if a byte is here, or is before the first, and 0 if not.
func (h *hello) has(i int) int {
	switch {
	case i < h.end:
		return 1
	case i/64 >= len(h.got):
		return 0
	}
	return int(h.got[i/64] >> (i % 64) & 1)
}

// add takes a piece, and reports whether anything of it is new.
func (h *hello) add(off int, piece []byte) (fresh bool) {
	to := off + len(piece)
	if len(piece) == 0 || to <= h.end {
		return false
	}
	words := (to + 63) / 64
	if 64*words > len(h.bytes) {
		h.bytes = append(make([]byte, 0, 64*words), h.bytes...)[:64*words]
	}
	if off <= h.end && h.holes == 0 {
		h.end += copy(h.bytes[h.end:], piece[h.end-off:])
		return true
	}
	if words > len(h.got) {
		h.got = append(make([]uint64, 0, words), h.got...)[:words]
	}
	left, here := h.has(off-1), h.has(off)
	for i, b := range piece {
		at := off + i
		right := h.has(at + 1)
		if here == 0 {
			fresh = true
			h.holes += 1 - left - right
			h.bytes[at] = b
			h.got[at/64] |= 1 << (at % 64)
		}
		left, here = 1, right
	}
	for h.has(h.end) == 1 {
		h.end++
	}
	return fresh
}

// whole reports whether TLS may have what is here: a ClientHello, or the beginning of something else,
// which is for TLS to refuse.
func (h *hello) whole() (bool, *wire.Error) {
	const clientHello = 1
	b := h.bytes[:h.end]
	if len(b) == 0 || b[0] == clientHello && len(b) < 4 {
		return false, nil
	}
	if b[0] != clientHello {
		return true, nil
	}
	size := 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
	if size > maxHello {
		return false, frameError(wire.CryptoBufferExceeded, wire.FrameCrypto, "a ClientHello that is too long")
	}
	return size <= len(b), nil
}

// pour hands all that is here to a stream.
func (h *hello) pour(s *stream.Recv) {
	for from, at := 0, 0; from < len(h.bytes); from = at + 1 {
		for at = from; h.has(at) == 1; at++ {
		}
		if at > from {
			s.Receive(int64(from), h.bytes[from:at], false)
		}
	}
}

// greet takes a piece of what a client begins with. While that waits, so much is kept in all as a ClientHello
// may be long (RFC 9000 §7.5).
func (c *Conn) greet(p *received, s *stream.Recv, f wire.Crypto) *wire.Error {
	h := c.hs.hello
	p.wasteUnless(h.add(int(f.Offset), f.Data), wire.FrameCrypto)
	if len(f.Data) > 0 {
		c.times.note(HandshakePieces, p.now, c.stats.datagramsReceived)
	}
	if h.holes > maxHelloGaps {
		return frameError(wire.CryptoBufferExceeded, wire.FrameCrypto, "too many holes in a ClientHello")
	}
	c.cutWaiting(maxHello - len(h.bytes))
	whole, err := h.whole()
	if whole {
		c.hs.hello = nil
		h.pour(s)
		c.feed(levelOf(recovery.Initial), s)
	}
	return err
}
