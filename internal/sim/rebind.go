package sim

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Rebind returns a NAT that stands in both ways of a link, or of several: on
// the way up it translates the source, on the way down the destination. Until
// the time first it leaves addresses alone. Then, and every so often, all
// mappings are removed and each inner address gets a new random port, high as a NAT's, with
// alsoAddress a new host address in its network too (/24, for IPv6 the last 16
// bits). What is sent to an old mapping is dropped. Every is 0 for one time only.
func Rebind(first, every time.Duration, alsoAddress bool) Node {
	return &rebind{
		next:    mono.Time(0).Add(first),
		every:   every,
		address: alsoAddress,
		outer:   map[netip.AddrPort]netip.AddrPort{},
		inner:   map[netip.AddrPort]netip.AddrPort{},
	}
}

// RebindIf returns a NAT like that of Rebind which removes its mappings when due
// says so, which is asked for every datagram in either direction.
func RebindIf(due func(now mono.Time) bool, alsoAddress bool) Node {
	n := Rebind(0, 0, alsoAddress).(*rebind)
	n.next, n.due = mono.Never, due
	return n
}

type rebind struct {
	due     func(now mono.Time) bool // nil for one that follows the times
	next    mono.Time
	every   time.Duration
	address bool
	active  bool                              // the first time has come
	outer   map[netip.AddrPort]netip.AddrPort // by inner address; the last one, removed or not
	inner   map[netip.AddrPort]netip.AddrPort // by outer address; those in use
}

func (n *rebind) pass(h *hop, p packet) {
	n.advance(h.at)
	if !n.active {
		h.forward(p, 0)
		return
	}
	if h.way.up {
		p.src = n.translate(h, p)
		h.forward(p, 0)
		return
	}
	inner, ok := n.inner[p.dst]
	if !ok {
		h.drop(p, &h.counts().Unmapped)
		return
	}
	p.dst = inner
	h.forward(p, 0)
}

// advance removes the mappings if it is time to.
func (n *rebind) advance(now mono.Time) {
	if n.due != nil && n.due(now) {
		n.active = true
		clear(n.inner)
	}
	for n.next <= now {
		n.active = true
		clear(n.inner)
		if n.every <= 0 {
			n.next = mono.Never
			return
		}
		n.next = n.next.Add(n.every)
	}
}

// translate returns the outer address of a packet's source, and makes sure that
// answers to it find the way back to this node.
func (n *rebind) translate(h *hop, p packet) netip.AddrPort {
	last, ok := n.outer[p.src]
	if !ok {
		last = p.src
	}
	if n.inner[last] == p.src {
		return last
	}
	outer := last
	for !n.fresh(outer, last, p.dst) {
		addr := p.src.Addr()
		if n.address {
			addr = neighbour(last.Addr(), h.net.rand.Uint32())
		}
		outer = netip.AddrPortFrom(addr, uint16(16_384+h.net.rand.IntN(49_152)))
	}
	n.outer[p.src], n.inner[outer] = outer, p.src
	h.net.route(p.dst, outer, h.way.back)
	h.counts().Rebound++
	return outer
}

// fresh reports whether an outer address is free, new and not the peer's.
func (n *rebind) fresh(outer, last, peer netip.AddrPort) bool {
	_, taken := n.inner[outer]
	return !taken && outer != last && outer != peer && !(n.address && outer.Addr() == peer.Addr())
}

// neighbour returns another host address in the network of a.
func neighbour(a netip.Addr, random uint32) netip.Addr {
	if a.Is4() {
		b := a.As4()
		b[3] = other(b[3], random)
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	host := binary.BigEndian.Uint16(b[14:])
	binary.BigEndian.PutUint16(b[14:], host^uint16(1+random%0xffff))
	return netip.AddrFrom16(b)
}

// other returns a host number from 1 to 254 that is not the given one.
func other(host byte, random uint32) byte {
	h := byte(1 + random%254)
	if h == host {
		h = h%254 + 1
	}
	return h
}
