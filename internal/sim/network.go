package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Network carries datagrams between addresses. The simulation begins at mono.Time 0.
type Network struct {
	seed   uint64
	rand   *rand.Rand
	routes map[dgram.Path]*way // by the path as the sender writes it
	links  []*Link
	used   map[Node]bool

	events queue
	stop   hop      // where the packet is that is on the move now
	order  uint64   // of the next event: those of the same time happen in it
	lent   []byte   // the data handed out by the last Deliver
	free   [][]byte // buffers for reuse
	other  Counters // what happened outside of all links
}

// New returns a network without links whose faults follow from seed. Callers
// print the seed, so that a failed run can be repeated.
func New(seed uint64) *Network {
	return &Network{
		seed:   seed,
		rand:   rand.New(rand.NewPCG(seed, 0)),
		routes: map[dgram.Path]*way{},
		used:   map[Node]bool{},
	}
}

// Seed returns the seed the network was made with.
func (n *Network) Seed() uint64 { return n.seed }

// Rand returns the source of all randomness in the network. A test that draws
// from it too needs no seed of its own.
func (n *Network) Rand() *rand.Rand { return n.rand }

// Link is the two ways between two addresses.
type Link struct{ up, down way }

// way is one direction of a link.
type way struct {
	nodes  []Node
	back   *way
	from   netip.AddrPort
	to     netip.AddrPort
	up     bool
	counts Counters
}

// Link joins the addresses a and b. Datagrams from a to b pass the nodes of up,
// those from b to a the nodes of down, each from first to last. A node belongs
// to one way; only a Rebind stands in both.
func (n *Network) Link(a, b netip.AddrPort, up, down []Node) *Link {
	l := &Link{
		up:   way{nodes: up, from: a, to: b, up: true},
		down: way{nodes: down, from: b, to: a},
	}
	l.up.back, l.down.back = &l.down, &l.up
	for _, node := range append(append([]Node(nil), up...), down...) {
		if _, shared := node.(*rebind); n.used[node] && !shared {
			panic("BUG: a node stands in two places")
		}
		n.used[node] = true
	}
	n.route(a, b, &l.up)
	n.route(b, a, &l.down)
	n.links = append(n.links, l)
	return l
}

func (n *Network) route(from, to netip.AddrPort, w *way) {
	n.routes[dgram.Path{Local: from, Remote: to}] = w
}

// Up returns what has happened to datagrams from a to b.
func (l *Link) Up() Counters { return l.up.counts }

// Down returns what has happened to datagrams from b to a.
func (l *Link) Down() Counters { return l.down.counts }

// Counters returns what has happened in the whole network.
func (n *Network) Counters() Counters {
	sum := n.other
	for _, l := range n.links {
		sum.add(&l.up.counts)
		sum.add(&l.down.counts)
	}
	return sum
}

// Send puts a datagram on its way at the time now. It copies data. A path that
// no link serves is counted as NoRoute, like an address nobody has.
func (n *Network) Send(now mono.Time, path dgram.Path, ecn dgram.ECN, data []byte) {
	w := n.routes[path]
	if w == nil {
		n.other.Sent++
		n.other.NoRoute++
		return
	}
	w.counts.Sent++
	n.push(now, w, 0, packet{src: path.Local, dst: path.Remote, ecn: ecn, data: n.copy(data)})
}

// SendBatch sends all datagrams of a batch at the time now.
func (n *Network) SendBatch(now mono.Time, b *dgram.Batch) {
	for i := range b.Count() {
		n.Send(now, b.Path, b.ECN, b.Segment(i))
	}
}

// Inject makes a datagram arrive at the time now, past all nodes: an attacker's,
// with whatever source address. The path is the receiver's.
func (n *Network) Inject(now mono.Time, path dgram.Path, ecn dgram.ECN, data []byte) {
	n.other.Sent++
	n.other.Injected++
	n.push(now, nil, 0, packet{src: path.Remote, dst: path.Local, ecn: ecn, data: n.copy(data)})
}

// Next returns when the network wants Deliver to be called, mono.Never if no
// datagram is on its way. Not every such time brings one.
func (n *Network) Next() mono.Time {
	if len(n.events) == 0 {
		return mono.Never
	}
	return n.events[0].at
}

// InFlight returns how many datagrams are on their way.
func (n *Network) InFlight() int { return len(n.events) }

// Deliver returns the next datagram that has arrived by the time now and the
// address, one of those given to Link, whose owner is to receive it; false when
// there is none. It is called until then. Data is borrowed until the next call,
// and may be overwritten.
func (n *Network) Deliver(now mono.Time) (to netip.AddrPort, d dgram.Datagram, ok bool) {
	if n.lent != nil {
		n.free = append(n.free, n.lent)
		n.lent = nil
	}
	for len(n.events) > 0 && n.events[0].at <= now {
		e := n.events.pop()
		if e.way != nil && e.stage < len(e.way.nodes) {
			n.stop = hop{net: n, event: e}
			e.way.nodes[e.stage].pass(&n.stop, e.packet)
			continue
		}
		counts := &n.other
		if e.way != nil {
			counts = &e.way.counts
			if e.dst != e.way.to { // a translated address, and nothing that translates it back
				n.drop(e.packet, &counts.NoRoute)
				continue
			}
		}
		counts.Delivered++
		n.lent = e.data
		return e.dst, dgram.Datagram{Data: e.data, Path: dgram.Path{Local: e.dst, Remote: e.src}, ECN: e.ecn}, true
	}
	return netip.AddrPort{}, dgram.Datagram{}, false
}

// String returns the seed and what has happened, to be printed with a failure.
func (n *Network) String() string {
	s := fmt.Sprintf("seed %d, all: %v", n.seed, n.Counters())
	for _, l := range n.links {
		s += fmt.Sprintf("\n  %v to %v: %v\n  %v to %v: %v", l.up.from, l.up.to, l.up.counts, l.down.from, l.down.to, l.down.counts)
	}
	return s
}

func (n *Network) drop(p packet, counter *uint64) {
	*counter++
	n.free = append(n.free, p.data)
}

func (n *Network) push(at mono.Time, w *way, stage int, p packet) {
	n.order++
	n.events.push(event{at: at, order: n.order, way: w, stage: stage, packet: p})
}

func (n *Network) copy(data []byte) []byte {
	var b []byte
	if last := len(n.free) - 1; last >= 0 {
		b, n.free = n.free[last][:0], n.free[:last]
	}
	if b = append(b, data...); b == nil {
		b = []byte{}
	}
	return b
}

// hop is a packet's stop at a node.
type hop struct {
	net *Network
	event
}

func (h *hop) counts() *Counters { return &h.way.counts }

// chance reports whether something happens that does so in percent of all cases.
func (h *hop) chance(percent float64) bool { return h.net.rand.Float64()*100 < percent }

// forward sends a packet to the next node.
func (h *hop) forward(p packet, delay time.Duration) {
	h.net.push(h.at.Add(delay), h.way, h.stage+1, p)
}

// drop ends a packet's way and counts why.
func (h *hop) drop(p packet, counter *uint64) { h.net.drop(p, counter) }
