package protect

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// letter is a packet on its way. Its payload is its number and what its sender acknowledges.
type letter struct {
	from       *end
	pn         int64
	generation int
	pkt        []byte
}

const letterPTO = 50 * time.Millisecond

// FuzzUpdates: two ends that keep to RFC 9001 §6 update keys whenever they may, while the network
// between them delays, reorders, drops, repeats and changes packets. Nothing that either does is
// an offence, what opens is what was sealed, and once all is quiet they understand each other.
func FuzzUpdates(f *testing.F) {
	f.Add(byte(0), []byte{0, 0, 2, 0, 1, 0, 2, 0, 4, 0, 0, 0, 2, 0, 1, 0, 2, 0, 6, 100, 5, 0, 1, 0, 2, 0})
	f.Add(byte(2), []byte{0, 0, 0, 0, 0, 0, 2, 1, 1, 0, 2, 2, 4, 0, 0, 0, 2, 2, 2, 0, 3, 0, 7, 3, 2, 0, 6, 255, 4, 0, 0, 0, 2, 0})
	f.Fuzz(func(t *testing.T, which byte, ops []byte) {
		a, b := newPair(t, allSuites[int(which)%len(allSuites)])
		p := &post{t: t, ends: [2]*end{a, b}}
		for i := 0; i+1 < min(len(ops), 1000); i += 2 {
			p.op(ops[i]%8, int(ops[i+1]))
		}
		p.mail = nil
		for range 4 {
			for _, e := range p.ends {
				p.send(e)
				if !p.deliver(0, -1) {
					t.Fatalf("%s is not understood any more", e.name)
				}
			}
		}
	})
}

// post carries letters.
type post struct {
	t    *testing.T
	ends [2]*end
	now  mono.Time
	mail []letter
}

func (p *post) op(op byte, n int) {
	e := p.ends[op&1]
	switch op {
	case 0, 1:
		p.send(e)
	case 2, 3:
		if len(p.mail) > 0 {
			p.deliver(n%len(p.mail), -1)
		}
	case 4, 5:
		if e.keys.CanUpdate() {
			e.keys.Update()
		}
	case 6:
		p.now = p.now.Add(time.Duration(n) * time.Millisecond)
		for _, e := range p.ends {
			e.keys.Discard(p.now)
		}
	case 7: // one comes twice, changed the first time, or is lost
		if len(p.mail) == 0 {
			return
		}
		if i := n % len(p.mail); n < 200 {
			p.deliver(i, n)
		} else {
			p.mail = append(p.mail[:i], p.mail[i+1:]...)
		}
	}
}

// send seals a packet that acknowledges what came so far.
func (p *post) send(e *end) {
	pn := e.next
	e.next++
	first := byte(0x41)
	if e.keys.Phase() {
		first |= keyPhaseBit
	}
	pkt := append(make([]byte, 0, 100), first, 'd', 'c', 'i', 'd', byte(pn>>8), byte(pn))
	pkt = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(pkt, uint64(pn)), uint64(e.largest))
	pkt = e.keys.Seal(pkt, 5, 2, pn)
	p.mail = append(p.mail, letter{e, pn, e.keys.Updates(), pkt})
}

// deliver takes a letter to its end, and reports whether it could be read. damage is a byte to
// change first, and the letter is kept then; -1 is none.
func (p *post) deliver(i, damage int) bool {
	l := p.mail[i]
	to := p.ends[0]
	if l.from == to {
		to = p.ends[1]
	}
	pkt := bytes.Clone(l.pkt)
	if damage >= 0 {
		pkt[damage%len(pkt)] ^= 1 << (damage % 8)
	} else {
		p.mail = append(p.mail[:i], p.mail[i+1:]...)
	}
	before := to.keys.Updates()
	o, result := to.keys.Open(p.now, pkt, 5, to.largest)
	switch result {
	case OpenDropped:
		if damage < 0 && l.generation >= before && l.pn > to.largest-1<<15 {
			p.t.Fatalf("%s drops packet %d of key phase %d in its phase %d", to.name, l.pn, l.generation, before)
		}
		return false
	case OpenUpdated:
		to.keys.KeepPrevious(p.now.Add(3 * letterPTO))
		if to.keys.Updates() != l.generation {
			p.t.Fatalf("%s is in key phase %d after a packet of %d", to.name, to.keys.Updates(), l.generation)
		}
	case OpenOK:
	default:
		p.t.Fatalf("%s: %v for packet %d of key phase %d in its phase %d", to.name, result, l.pn, l.generation, before)
	}
	if damage >= 0 || o.PN != l.pn || binary.BigEndian.Uint64(o.Payload) != uint64(l.pn) {
		p.t.Fatalf("%s reads %x as packet %d, which was %d; damage %d", to.name, o.Payload, o.PN, l.pn, damage)
	}
	if acked := int64(binary.BigEndian.Uint64(o.Payload[8:])); acked >= 0 {
		if to.keys.StaleAck(o.First, acked) {
			p.t.Fatalf("%s takes the acknowledgement of %d for an offence", to.name, acked)
		}
		to.keys.Acked(acked)
	}
	to.largest = max(to.largest, o.PN)
	return true
}
