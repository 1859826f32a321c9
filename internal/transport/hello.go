package transport

import (
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// hello is a ClientHello that waits until it is whole: anybody can send half of one, which makes nothing else.
// Its pieces come in any order and each lies at its place. A bit says whether a byte is here, so that any
// number of holes costs an eighth of the bytes.
type hello struct {
	bytes []byte   // as far as the last piece, and up to 63 more
	got   []uint64 // bit i%64 of word i/64: byte i is here
	end   int      // so many are here without a hole
	runs  int      // pieces between holes, the first included
}

// has returns 1 if a byte is here, 0 if not.
func (h *hello) has(i int) int {
	if i < 0 || i >= len(h.bytes) {
		return 0
	}
	return int(h.got[i/64] >> (i % 64) & 1)
}

// add takes a piece, and reports whether anything of it is new.
func (h *hello) add(off int, piece []byte) (fresh bool) {
	if words := (off + len(piece) + 63) / 64; len(piece) > 0 && words > len(h.got) {
		h.bytes = append(make([]byte, 0, 64*words), h.bytes...)[:64*words]
		h.got = append(make([]uint64, 0, words), h.got...)[:words]
	}
	for i, b := range piece {
		at := off + i
		if h.has(at) == 1 {
			continue
		}
		fresh = true
		h.runs += 1 - h.has(at-1) - h.has(at+1)
		h.bytes[at] = b
		h.got[at/64] |= 1 << (at % 64)
	}
	for h.has(h.end) == 1 {
		h.end++
	}
	return fresh
}

// holes returns how many holes there are before the last byte.
func (h *hello) holes() int { return h.runs - h.has(0) }

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
	if h.holes() > maxHelloGaps {
		return frameError(wire.CryptoBufferExceeded, wire.FrameCrypto, "too many holes in a ClientHello")
	}
	c.waiting.cut(maxHello - len(h.bytes))
	whole, err := h.whole()
	if whole {
		c.hs.hello = nil
		h.pour(s)
		c.feed(levelOf(recovery.Initial), s)
	}
	return err
}
