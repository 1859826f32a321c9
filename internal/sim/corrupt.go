package sim

import "bytes"

// corruptHead is how far into a datagram corruption reaches: to where headers
// and the samples of header protection are.
const corruptHead = 50

// Corrupt returns a node that replaces one of the first bytes of datagrams by
// another, at random, but never in more than burst in a row; 0 is no such limit.
// The UDP checksum is taken to be right, so the receiver sees them. Version
// Negotiation is spared: nothing protects it.
func Corrupt(percent float64, burst int) Node {
	return &corrupt{percent: percent, run: run{limit: burst}}
}

// CorruptDrop returns a node like Corrupt whose victims are dropped, as by a
// receiver that finds the UDP checksum wrong.
func CorruptDrop(percent float64, burst int) Node {
	return &corrupt{percent: percent, run: run{limit: burst}, drop: true}
}

type corrupt struct {
	percent float64
	run     run
	drop    bool
}

func (n *corrupt) pass(h *hop, p packet) {
	if len(p.data) == 0 || isVersionNegotiation(p.data) || !n.run.allow(h.chance(n.percent)) {
		h.forward(p, 0)
		return
	}
	if n.drop {
		h.drop(p, &h.counts().CorruptDropped)
		return
	}
	h.counts().Corrupted++
	p.data[h.net.rand.IntN(min(corruptHead, len(p.data)-1)+1)] ^= byte(1 + h.net.rand.IntN(255))
	h.forward(p, 0)
}

func isVersionNegotiation(b []byte) bool {
	return len(b) > 5 && bytes.Equal(b[1:5], []byte{0, 0, 0, 0})
}
