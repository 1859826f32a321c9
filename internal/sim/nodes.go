package sim

import (
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Node is one thing that happens to datagrams on a way. A node is made for one
// place: most have a state.
type Node interface {
	// pass takes a packet that has come to the node at h.at and forwards it,
	// once or more often, or drops it.
	pass(h *hop, p packet)
}

// Interop returns the way that the public interoperability runner puts between
// client and server: 10 Mbit/s behind a queue of 25 datagrams, then 15 ms of
// delay, then the given faults.
func Interop(faults ...Node) []Node {
	return append([]Node{Rate(10_000_000, 25), Delay(15*time.Millisecond, 0)}, faults...)
}

// Delay returns a node that delays every datagram by d and, at random, by less
// than jitter in addition. It keeps the order: a late datagram holds up those
// behind it.
func Delay(d, jitter time.Duration) Node { return &delay{fixed: d, jitter: jitter} }

type delay struct {
	fixed, jitter time.Duration
	last          mono.Time // when the last one leaves
}

func (n *delay) pass(h *hop, p packet) {
	leave := h.at.Add(n.fixed)
	if n.jitter > 0 {
		leave = leave.Add(time.Duration(h.net.rand.Int64N(int64(n.jitter))))
	}
	n.last = max(n.last, leave)
	h.forward(p, n.last.Sub(h.at))
}

// Rate returns a node that sends datagrams one after the other at the given
// rate, with IP and UDP headers and two bytes of link framing. At most queued
// datagrams wait, besides the one being sent; more are dropped. 0 is a queue
// without end.
func Rate(bitsPerSecond int64, queued int) Node {
	return &rate{bits: bitsPerSecond, limit: queued}
}

type rate struct {
	bits   int64
	limit  int
	starts []mono.Time // when each one that waits will be sent
	idle   mono.Time   // when all have been sent
}

func (n *rate) pass(h *hop, p packet) {
	for len(n.starts) > 0 && n.starts[0] <= h.at {
		n.starts = n.starts[1:]
	}
	if n.limit > 0 && len(n.starts) >= n.limit {
		h.drop(p, &h.counts().TailDropped)
		return
	}
	start := max(h.at, n.idle)
	if start > h.at {
		n.starts = append(n.starts, start)
	}
	bits := int64(len(p.data)+headers(p)+2) * 8
	n.idle = start.Add(time.Duration((bits*int64(time.Second) + n.bits - 1) / n.bits))
	h.forward(p, n.idle.Sub(h.at))
}

// headers returns how long the IP and UDP headers of a packet are.
func headers(p packet) int {
	if p.src.Addr().Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// Loss returns a node that drops datagrams at random, but never more than burst
// in a row. 0 is no such limit.
func Loss(percent float64, burst int) Node { return &loss{percent: percent, run: run{limit: burst}} }

type loss struct {
	percent float64
	run     run
}

func (n *loss) pass(h *hop, p packet) {
	if n.run.allow(h.chance(n.percent)) {
		h.drop(p, &h.counts().Lost)
		return
	}
	h.forward(p, 0)
}

// run limits how often in a row something may happen.
type run struct{ limit, length int }

func (r *run) allow(happens bool) bool {
	if !happens || r.limit > 0 && r.length >= r.limit {
		r.length = 0
		return false
	}
	r.length++
	return true
}

// DropList returns a node that drops the datagrams with the given ordinals,
// counted from 1.
func DropList(ordinals ...uint64) Node { return &dropList{drop: slices.Clone(ordinals)} }

type dropList struct {
	drop  []uint64
	count uint64
}

func (n *dropList) pass(h *hop, p packet) {
	n.count++
	if slices.Contains(n.drop, n.count) {
		h.drop(p, &h.counts().Listed)
		return
	}
	h.forward(p, 0)
}

// DropIf returns a node that drops the datagrams for which drop says so. The
// datagram is the node's: drop may look at it, no more. Its path is the sender's.
func DropIf(drop func(now mono.Time, d dgram.Datagram) bool) Node { return &dropIf{drop} }

type dropIf struct {
	drop func(now mono.Time, d dgram.Datagram) bool
}

func (n *dropIf) pass(h *hop, p packet) {
	if n.drop(h.at, p.datagram()) {
		h.drop(p, &h.counts().Filtered)
		return
	}
	h.forward(p, 0)
}

// Tap returns a node that shows every datagram that comes by to see, which may
// not keep it. Its path is the sender's.
func Tap(see func(now mono.Time, d dgram.Datagram)) Node { return &tap{see} }

type tap struct {
	see func(now mono.Time, d dgram.Datagram)
}

func (n *tap) pass(h *hop, p packet) {
	n.see(h.at, p.datagram())
	h.forward(p, 0)
}

func (p *packet) datagram() dgram.Datagram {
	return dgram.Datagram{Data: p.data, Path: dgram.Path{Local: p.src, Remote: p.dst}, ECN: p.ecn}
}

// Reorder returns a node that holds datagrams back at random for the time
// extra, in which others overtake them.
func Reorder(percent float64, extra time.Duration) Node {
	return &reorder{percent: percent, extra: extra}
}

type reorder struct {
	percent float64
	extra   time.Duration
}

func (n *reorder) pass(h *hop, p packet) {
	if !h.chance(n.percent) {
		h.forward(p, 0)
		return
	}
	h.counts().Reordered++
	h.forward(p, n.extra)
}

// Duplicate returns a node that sends datagrams twice at random.
func Duplicate(percent float64) Node { return &duplicate{percent} }

type duplicate struct{ percent float64 }

func (n *duplicate) pass(h *hop, p packet) {
	h.forward(p, 0)
	if h.chance(n.percent) {
		h.counts().Duplicated++
		p.data = h.net.copy(p.data)
		h.forward(p, 0)
	}
}

// MTUChange is a change of what a way carries.
type MTUChange struct {
	At  mono.Time
	MTU int // as for MTU
}

// MTU returns a node that drops datagrams of more than size bytes of UDP
// payload. From the times of the changes on, which are in order, their size is
// the limit.
func MTU(size int, changes ...MTUChange) Node { return &mtu{size: size, changes: changes} }

type mtu struct {
	size    int
	changes []MTUChange
}

func (n *mtu) pass(h *hop, p packet) {
	for len(n.changes) > 0 && n.changes[0].At <= h.at {
		n.size, n.changes = n.changes[0].MTU, n.changes[1:]
	}
	if len(p.data) > n.size {
		h.drop(p, &h.counts().TooBig)
		return
	}
	h.forward(p, 0)
}

// Blackhole returns a node that lets everything pass for the time on from the
// start of the simulation, then nothing for the time off, then everything.
func Blackhole(on, off time.Duration) Node {
	from := mono.Time(0).Add(on)
	return &blackhole{from: from, until: from.Add(off)}
}

type blackhole struct{ from, until mono.Time }

func (n *blackhole) pass(h *hop, p packet) {
	if n.from <= h.at && h.at < n.until {
		h.drop(p, &h.counts().Blackholed)
		return
	}
	h.forward(p, 0)
}

// Mark returns a node that gives datagrams the codepoint CE at random, as a
// congested router does to those that are ECN-capable (RFC 3168 §5).
func Mark(percent float64) Node { return &mark{percent} }

type mark struct{ percent float64 }

func (n *mark) pass(h *hop, p packet) {
	if (p.ecn == dgram.ECT0 || p.ecn == dgram.ECT1) && h.chance(n.percent) {
		h.counts().Marked++
		p.ecn = dgram.CE
	}
	h.forward(p, 0)
}

// Bleach returns a node that erases the ECN codepoint.
func Bleach() Node { return &bleach{} }

type bleach struct{ _ byte } // not of size zero, or all would be one and the same

func (n *bleach) pass(h *hop, p packet) {
	if p.ecn != dgram.NotECT {
		h.counts().Bleached++
		p.ecn = dgram.NotECT
	}
	h.forward(p, 0)
}
