package cases

import (
	"net/netip"
	"os"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/trace"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// testcase is one of the runner's, as the runner has it but for what its comment says.
type testcase struct {
	name   string
	client string // what it is called at the endpoints
	server string // "" is the same
	sizes  []int
	long   bool // names of 250 characters
	chain  int  // intermediate certificates
	delay  time.Duration
	alone  bool // no other case is played meanwhile, for time counts
	faults func(p *proxy) (up, down []sim.Node)
	ipv6   bool
	moves  bool
	checks trace.Check

	// The versions of QUIC that the client offers, and the server speaks, most preferred first,
	// and the one that the client begins with. None is what they do by themselves.
	offers, speaks []uint32
	first          uint32
	unknown        bool // the client may begin with one that nobody knows, if it cannot begin with first
}

var single = trace.All(trace.Handshakes(1), trace.OnlyVersion1)

// in2 is one handshake, with version 2 and nothing else.
var in2 = trace.All(trace.Handshakes(1), trace.Only(trace.Version2))

// both1 and both2 are both versions.
var (
	both1 = []uint32{trace.Version1, trace.Version2}
	both2 = []uint32{trace.Version2, trace.Version1}
	only1 = []uint32{trace.Version1}
	only2 = []uint32{trace.Version2}
)

// reserved is a version that nobody speaks (RFC 9000 §15).
const reserved = 0x1a2a3a4a

func many(n, size int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = size
	}
	return list
}

// both puts a fault into both ways.
func both(node func() sim.Node) func(*proxy) (up, down []sim.Node) {
	return func(*proxy) (up, down []sim.Node) { return []sim.Node{node()}, []sim.Node{node()} }
}

// oneWay is how long a datagram is under way to a NAT, at least.
const oneWay = 15 * time.Millisecond

// full says that everything is as the runner has it, for a release, whose machine is quiet.
var full = os.Getenv("CINNABAR_INTEROP") == "full"

// scaled returns the runner's figure, or the usual one.
func scaled[T any](runner, usual T) T {
	if full {
		return runner
	}
	return usual
}

// connections is how many there are through losses and corruption, for which the slowest implementation
// needs half a minute as usual.
var connections = scaled(50, 10)

// farAway is how long a datagram takes where a client's requests must go before the server's answer
// comes: the runner's 15 ms are less than what a busy machine may need for 40 of them.
var farAway = scaled(oneWay, 200*time.Millisecond)

// nat is one node for both ways.
func nat(address bool) func(*proxy) (up, down []sim.Node) {
	return func(p *proxy) (up, down []sim.Node) {
		n := []sim.Node{sim.RebindIf(p.rebinds(time.Second, 5*time.Second), address)}
		return n, n
	}
}

// Everything is as the runner has it, but for connections and farAway where the full figures are not asked for.
var table = []testcase{
	{name: "handshake", client: "handshake", sizes: []int{kib}, checks: trace.All(single, trace.NoRetry)},
	{name: "transfer", client: "transfer", sizes: []int{2 * mib, 3 * mib, 5 * mib}, checks: single},
	{name: "longrtt", client: "handshake", sizes: []int{kib}, delay: 750 * time.Millisecond, checks: trace.All(single, trace.ClientHellos(2))},
	{name: "chacha20", client: "chacha20", sizes: []int{3 * mib}, checks: trace.All(single, trace.OnlySuite(0x1303))},
	{name: "multiplexing", client: "transfer", sizes: many(1999, 32), checks: trace.All(single, trace.StreamLimit(1000))},
	{name: "retry", client: "retry", sizes: []int{10 * kib}, checks: trace.All(single, trace.Retried)},
	{name: "resumption", client: "resumption", sizes: []int{5 * kib, 10 * kib}, checks: trace.All(trace.Handshakes(2), trace.OnlyVersion1, trace.Resumed)},
	{name: "zerortt", client: "zerortt", sizes: many(40, 32), long: true, delay: farAway, alone: true, checks: trace.All(trace.Handshakes(2), trace.OnlyVersion1, trace.Early(40*250/2))},
	{name: "http3", client: "http3", sizes: []int{5 * kib, 10 * kib, 500 * kib}, checks: single},
	{name: "blackhole", client: "transfer", sizes: []int{10 * mib}, faults: both(func() sim.Node { return sim.Blackhole(5*time.Second, 2*time.Second) }), checks: single},
	{name: "keyupdate", client: "keyupdate", server: "transfer", sizes: []int{3 * mib}, checks: trace.All(single, trace.KeysUpdated)},
	{name: "ecn", client: "ecn", sizes: []int{100 * kib}, checks: trace.All(single, trace.Marked)},
	{name: "amplificationlimit", client: "transfer", sizes: []int{5 * kib}, chain: 8,
		faults: func(*proxy) (up, down []sim.Node) { return []sim.Node{sim.DropList(2, 3, 4, 5, 6, 7)}, nil }, checks: trace.All(single, trace.LongChain(7500))},
	{name: "handshakeloss", client: "multiconnect", sizes: many(connections, kib), faults: both(func() sim.Node { return sim.Loss(30, 3) }), checks: trace.All(trace.Handshakes(connections), trace.OnlyVersion1)},
	{name: "transferloss", client: "transfer", sizes: []int{2 * mib}, faults: both(func() sim.Node { return sim.Loss(2, 3) }), checks: single},
	{name: "handshakecorruption", client: "multiconnect", sizes: many(connections, kib), faults: both(func() sim.Node { return sim.Corrupt(30, 3) }), checks: trace.All(trace.Handshakes(connections), trace.OnlyVersion1)},
	{name: "transfercorruption", client: "transfer", sizes: []int{2 * mib}, faults: both(func() sim.Node { return sim.Corrupt(2, 3) }), checks: single},
	{name: "ipv6", client: "transfer", sizes: []int{5 * kib, 10 * kib}, ipv6: true, checks: trace.All(single, trace.OnlyIPv6)},
	{name: "v2", client: "v2", sizes: []int{kib}, offers: both2, first: trace.Version1, speaks: both2, checks: trace.All(trace.Handshakes(1), trace.Upgraded)},
	{name: "rebind-port", client: "transfer", sizes: []int{10 * mib}, faults: nat(false), checks: trace.All(single, trace.Validated(2))},
	{name: "rebind-addr", client: "transfer", sizes: []int{10 * mib}, faults: nat(true), checks: trace.All(single, trace.Validated(2), trace.Addresses(2))},
	{name: "connectionmigration", client: "transfer", server: "connectionmigration", sizes: []int{2 * mib}, moves: true, checks: trace.All(single, trace.Validated(2), trace.FreshIDs)},

	// These are not the runner's: version 2 from the start, the way back to version 1, and Version
	// Negotiation both ways.
	{name: "v2-first", client: "transfer", sizes: []int{mib}, offers: both2, first: trace.Version2, speaks: both2, checks: trace.All(in2, trace.NoRetry)},
	{name: "v2-retry", client: "retry", sizes: []int{10 * kib}, offers: only2, first: trace.Version2, speaks: only2, checks: trace.All(in2, trace.Retried)},
	{name: "v2-zerortt", client: "zerortt", sizes: many(40, 32), long: true, delay: farAway, alone: true, offers: only2, first: trace.Version2, speaks: only2,
		checks: trace.All(trace.Handshakes(2), trace.Only(trace.Version2), trace.Early(40*250/2))},
	{name: "v2-keyupdate", client: "keyupdate", server: "transfer", sizes: []int{3 * mib}, offers: only2, first: trace.Version2, speaks: only2, checks: trace.All(in2, trace.KeysUpdated)},
	{name: "v2-to-v1", client: "transfer", sizes: []int{10 * kib}, offers: both1, first: trace.Version2, speaks: both1,
		checks: trace.All(trace.Handshakes(1), trace.Changed(trace.Version2, trace.Version1))},
	{name: "negotiation-v1", client: "transfer", sizes: []int{10 * kib}, offers: both2, first: trace.Version2, speaks: only1, unknown: true,
		checks: trace.All(trace.Handshakes(1), trace.Negotiated(trace.Version1))},
	{name: "negotiation-v2", client: "transfer", sizes: []int{10 * kib}, offers: both1, first: trace.Version1, speaks: only2,
		checks: trace.All(trace.Handshakes(1), trace.Negotiated(trace.Version2))},
}

// serverName is the case's name at servers.
func (c *testcase) serverName() string {
	if c.server != "" {
		return c.server
	}
	return c.client
}

func (c *testcase) ip() netip.Addr {
	if c.ipv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// ways returns what makes the nodes of either way. Faults that both have in common are made once.
func (c *testcase) ways(p *proxy) (up, down func() []sim.Node) {
	way := func(faults []sim.Node) []sim.Node {
		nodes := sim.Interop(faults...)
		if c.delay != 0 {
			nodes[1] = sim.Delay(c.delay, 0)
		}
		return nodes
	}
	var back []sim.Node
	up = func() []sim.Node {
		var forth []sim.Node
		if back = nil; c.faults != nil {
			forth, back = c.faults(p)
		}
		return way(forth)
	}
	return up, func() []sim.Node { return way(back) }
}
