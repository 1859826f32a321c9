package sim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/sim"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

var (
	clientAddr    = netip.MustParseAddrPort("10.0.0.1:50000")
	movedAddr     = netip.MustParseAddrPort("10.0.7.1:50001")
	serverAddr    = netip.MustParseAddrPort("10.0.1.1:443")
	preferredAddr = netip.MustParseAddrPort("10.0.9.1:4433")
)

// run is one seed's world: what is drawn, and how it goes.
type run struct {
	seed    uint64
	rand    *rand.Rand
	w       *sim.World
	server  *sim.Endpoint
	client  *sim.Endpoint
	pairs   []*pair
	script  sim.Script
	said    []string         // what was drawn
	resumed *wire.Parameters // what the client remembers for 0-RTT
	todo    []action
	babbles bool // the ends send datagrams
	rebinds bool // there is a NAT: behind it only who speaks is heard
	stats   totals
}

// pair is a connection with its two ends.
type pair struct {
	traffic
	client, server *sim.Session
	ending         bool
	code           uint64 // what it is closed with
}

// action is something to do when so much of the first connection's traffic has moved.
type action struct {
	at float64
	do func(p *pair)
}

func (r *run) say(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// chance reports whether something happens that does so in percent of all cases.
func (r *run) chance(percent int) bool { return r.rand.IntN(100) < percent }

// between returns a number from low to high, the small ones as often as the large.
func (r *run) between(low, high float64) float64 {
	return low * math.Exp(r.rand.Float64()*math.Log(high/low))
}

func (r *run) duration(low, high time.Duration) time.Duration {
	return time.Duration(r.between(float64(low), float64(high)))
}

func (r *run) bytes(low, high int) int64 { return int64(r.between(float64(low), float64(high))) }

// newRun draws everything.
func newRun(seed uint64) *run {
	r := &run{seed: seed, rand: rand.New(rand.NewPCG(seed, 99)), w: sim.NewWorld(seed), stats: totals{}}
	if r.chance(30) {
		r.w.Tick = r.duration(50*time.Microsecond, 2*time.Millisecond)
		r.say("tick %v", r.w.Tick)
	}
	r.drawScript()
	server, client := r.drawSetup(), r.drawSetup()
	r.drawDatagrams(&server, &client)
	r.drawEarly(&server, &client)
	r.drawVersions(&server, &client)
	if r.chance(10) {
		r.say("preferred address")
		server.Config.Params.PreferredAddress = &wire.PreferredAddress{IPv4: preferredAddr}
		client.Config.AcceptPreferred = true
	}
	r.server = r.w.Listen("server", serverAddr, server)
	r.client = r.w.Endpoint("client", clientAddr, client)
	r.server.OnSession = r.accepted
	r.drawLink(clientAddr, serverAddr)
	if client.Config.AcceptPreferred {
		r.server.Moved(preferredAddr)
		r.drawLink(clientAddr, preferredAddr)
	}
	count := 1
	if r.chance(15) {
		count = 2
	}
	for range count {
		p := &pair{}
		if r.babbles {
			p.babbles = [2]*babble{newBabble(seed, false), newBabble(seed, true)}
		}
		r.drawTraffic(p, 1<<20/count+1)
		r.pairs = append(r.pairs, p)
	}
	r.drawActions()
	r.w.Step = r.step
	return r
}

// drawScript draws what TLS says and how long it takes.
func (r *run) drawScript() {
	r.script = sim.Script{Seed: r.seed, Suite: uint16(0x1301 + r.rand.IntN(3))}
	if r.chance(50) {
		r.script.ClientHello = int(r.bytes(300, 6000))
		r.script.Certificate = int(r.bytes(500, 12_000))
		r.script.Ticket = int(r.bytes(40, 4000))
		r.say("hello %d, certificate %d, ticket %d", r.script.ClientHello, r.script.Certificate, r.script.Ticket)
	}
}

// drawEarly draws whether the client knows the server from before, and whether
// the server still remembers.
func (r *run) drawEarly(server, client *sim.Setup) {
	if !r.chance(20) {
		return
	}
	p := server.Config.Params
	p.ActiveCIDLimit = 2
	r.resumed = &p
	script := r.script
	script.Early = true
	client.Engine = script.New
	if r.chance(70) {
		server.Engine = script.New
		r.say("0-RTT")
		return
	}
	r.say("0-RTT that is refused")
	p.MaxData, p.MaxStreamsBidi = r.bytes(10, 2<<20), 1+r.rand.Int64N(100) // less or more than now
	p.MaxStreamDataBidiRemote, p.MaxStreamDataUni = r.bytes(10, 1<<20), r.bytes(10, 1<<20)
}

// drawVersions draws what versions the ends speak, and like.
func (r *run) drawVersions(server, client *sim.Setup) {
	const v1, v2 = wire.Version1, wire.Version2
	chances := rand.New(rand.NewPCG(r.seed, 9368)) // so that the rest of a seed's run is what it was
	switch n := chances.IntN(100); {
	case n < 15:
		r.say("server likes version 2")
		server.Config.Versions = []uint32{v2, v1}
	case n < 20:
		r.say("client likes version 2")
		client.Config.Versions = []uint32{v2, v1}
	case n < 25:
		r.say("version 2")
		client.Config.FirstVersion = v2
		server.Config.Versions = []uint32{v2}
	case n < 30:
		r.say("from version 2 to 1")
		client.Config.FirstVersion = v2
	case n < 40:
		r.say("server without the version of the first flight")
		client.Config.FirstVersion, server.Config.Versions = v2, []uint32{v1}
		if n%2 == 1 {
			client.Config.FirstVersion, server.Config.Versions = v1, []uint32{v2}
		}
	}
}

func (r *run) drawSetup() sim.Setup {
	s := sim.Setup{Engine: r.script.New}
	if r.chance(20) {
		s.ThinkTime = r.duration(10*time.Microsecond, 50*time.Millisecond)
		r.say("TLS takes %v", s.ThinkTime)
	}
	if r.chance(30) {
		s.Mux.ValidateAddress = true
		r.say("retry")
	}
	c := &s.Config
	// No fault here lasts: nothing but a fault of ours makes a connection time out.
	c.HandshakeTimeout = 10 * time.Minute
	p := sim.DefaultParameters()
	p.MaxIdleTimeout = 5 * time.Minute
	if r.chance(60) {
		p.MaxData = r.bytes(5_000, 2<<20)
		p.MaxStreamDataBidiLocal = r.bytes(2_000, 1<<20)
		p.MaxStreamDataBidiRemote = r.bytes(2_000, 1<<20)
		p.MaxStreamDataUni = r.bytes(2_000, 1<<20)
		c.MaxStreamWindow, c.MaxConnWindow = r.bytes(1<<20, 6<<20), r.bytes(1<<20, 15<<20)
		if r.chance(30) {
			c.MaxStreamWindow, c.MaxConnWindow = 1, 1 // no auto-tuning
		}
		r.say("windows %d %d %d %d", p.MaxData, p.MaxStreamDataBidiLocal, p.MaxStreamDataBidiRemote, p.MaxStreamDataUni)
	}
	if r.chance(30) {
		p.MaxStreamsBidi, p.MaxStreamsUni = 1+r.rand.Int64N(4), 1+r.rand.Int64N(2)
		r.say("streams %d %d", p.MaxStreamsBidi, p.MaxStreamsUni)
	}
	if r.chance(30) {
		p.MaxAckDelay = time.Duration(r.rand.IntN(200)) * time.Millisecond
		p.AckDelayExponent = uint8(r.rand.IntN(11))
		p.ActiveCIDLimit = 2 + r.rand.Int64N(7)
		r.say("ack delay %v << %d", p.MaxAckDelay, p.AckDelayExponent)
	}
	if r.chance(30) || p.MaxAckDelay < p.MinAckDelay {
		p.HasMinAckDelay, p.MinAckDelay = false, 0
		r.say("no ACK frequency")
	}
	c.Params = p
	r.drawConfig(c)
	return s
}

func (r *run) drawConfig(c *transport.Config) {
	if r.chance(30) {
		c.CongestionControl = "reno"
		r.say("reno")
	}
	if r.chance(15) {
		c.DisablePacing = true
		r.say("no pacing")
	}
	if r.chance(15) {
		c.DisableECN = true
		r.say("no ECN")
	}
	if r.chance(25) {
		c.KeyUpdateAfter = r.bytes(20, 2000)
		r.say("key update after %d packets", c.KeyUpdateAfter)
	}
	if r.chance(30) {
		c.MaxDatagram = int(r.bytes(1200, dgram.MaxBatchBytes))
		r.say("datagrams to %d", c.MaxDatagram)
	}
	if r.chance(20) {
		c.KeepAlive = r.duration(20*time.Millisecond, 10*time.Second)
		r.say("keep-alive %v", c.KeepAlive)
	}
	if r.chance(10) {
		c.InitialRTT = r.duration(time.Millisecond, time.Second)
		r.say("initial RTT %v", c.InitialRTT)
	}
}

// drawTraffic draws streams of which some move size bytes each way in all, and
// others are cut off.
func (r *run) drawTraffic(p *pair, size int) {
	var legs [2][]*leg // complete ones, by the end that sends
	add := func(server, uni bool) *streamPlan {
		s := &streamPlan{server: server, uni: uni}
		s.legs[0] = r.drawLeg()
		if !uni {
			s.legs[1] = r.drawLeg()
		}
		at := r.rand.IntN(len(p.streams) + 1)
		p.streams = append(p.streams[:at], append([]*streamPlan{s}, p.streams[at:]...)...)
		return s
	}
	for _, server := range []bool{false, true} {
		for _, uni := range []bool{false, true} {
			n := r.rand.IntN(4)
			if !uni && !server {
				n += 4
			} else if !uni {
				n++
			}
			for range n {
				s := add(server, uni)
				legs[side(server)] = append(legs[side(server)], s.legs[0])
				if !uni {
					legs[side(!server)] = append(legs[side(!server)], s.legs[1])
				}
			}
		}
	}
	for _, list := range legs {
		r.share(list, int64(size))
	}
	for range r.rand.IntN(5) * r.rand.IntN(2) {
		r.cutOff(add(r.chance(50), r.chance(30)))
	}
	for i, s := range p.streams {
		for j, l := range s.legs {
			if l != nil {
				l.key = 2*i + j + int(r.seed)
				p.total += l.size
			}
		}
	}
}

func (r *run) drawLeg() *leg {
	l := &leg{
		stop: -1, code: r.rand.Uint64N(1 << 20),
		write: int(r.bytes(1, 100_000)), read: int(r.bytes(100, 60_000)), how: reading(r.rand.IntN(int(readings))),
	}
	if r.chance(5) {
		l.rest = r.duration(time.Microsecond, time.Millisecond)
	}
	l.write = max(l.write, 50) // a write of one byte each would only cost time
	return l
}

// share gives legs sizes, very different ones, that make up size in all.
func (r *run) share(legs []*leg, size int64) {
	var sum float64
	weights := make([]float64, len(legs))
	for i := range legs {
		weights[i] = r.between(1, 100)
		sum += weights[i]
	}
	for i, l := range legs {
		l.size = int64(float64(size)*weights[i]/sum) + 1
	}
}

// cutOff makes the legs of a stream end before their time, in a reset, for a
// STOP_SENDING, or both.
func (r *run) cutOff(s *streamPlan) {
	for _, l := range s.legs {
		if l == nil {
			continue
		}
		l.size = r.bytes(1, 200_000)
		if r.chance(60) {
			l.cut = true
		}
		if r.chance(60) {
			l.stop = r.rand.Int64N(l.size + 1)
		}
	}
}

// after is a condition for sim.When: so much has moved, and it lasts for d.
func (r *run) after(part float64, d time.Duration) func(mono.Time) bool {
	var since mono.Time = -1
	return func(now mono.Time) bool {
		if since < 0 && r.progress() >= part && r.confirmed() {
			since = now
		}
		return since >= 0 && now < since.Add(d)
	}
}

const forever = time.Duration(math.MaxInt64)

func (r *run) progress() float64 {
	if len(r.pairs) == 0 {
		return 0
	}
	return r.pairs[0].progress()
}

// confirmed reports whether all handshakes are over: until then an address must
// not change (RFC 9000 §9).
func (r *run) confirmed() bool {
	for _, p := range r.pairs {
		if !p.confirmed() {
			return false
		}
	}
	return true
}

func (p *pair) confirmed() bool {
	return p.client != nil && p.client.Confirmed && p.server != nil && p.server.Confirmed
}

// plan describes what was drawn.
func (r *run) String() string {
	s := fmt.Sprintf("seed %d: %s", r.seed, strings.Join(r.said, "; "))
	for i, p := range r.pairs {
		s += fmt.Sprintf("\nconnection %d: %d of %d bytes", i, p.moved, p.total)
		for _, x := range p.streams {
			for j, l := range x.legs {
				if l != nil && !l.done() {
					s += fmt.Sprintf("\n  opened by server %v, uni %v, leg %d: %+v", x.server, x.uni, j, *l)
				}
			}
		}
	}
	return s
}
