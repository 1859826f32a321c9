package sim

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/transport"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// guard holds one connection to what must be true of it at every step.
type guard struct {
	at      mono.Time // of the latest calls to Advance
	idle    int       // how many of them came to nothing
	late    int       // how many in a row left a timer in the past
	stats   transport.Stats
	probes  int    // bytes that may go beyond the window, for an expired probe timeout or a path's validation
	ptos    uint64 // expired so far
	hurries uint64 // and times that handshakes did not wait for one
	mtu     int
}

// maxIdle is how often a connection may want to be called at one time without
// having anything to say or to send.
const maxIdle = 4

// probesPerPTO is how many datagrams one expired probe timeout is good for: two
// in the space whose timer it was, one in each other.
const probesPerPTO = 4

func (g *guard) advanced(s *Session) {
	now := s.End.world.now
	if now != g.at {
		g.at, g.idle = now, 0
	}
	if g.idle++; g.idle > maxIdle {
		s.End.world.Fail("%s: wants to be called at %d again and again, and does nothing", s.name(), s.deadline)
	}
}

// settled checks, after what was due has been done, that nothing should have been done
// before. What one timer does can make another due that was later until then: a loss that
// is found leaves a probe timeout that counts from an older packet.
func (g *guard) settled(s *Session) {
	now := s.End.world.now
	if s.deadline >= now {
		g.late = 0
		return
	}
	if g.late++; g.late > maxIdle {
		s.End.world.Fail("%s: a timer of %v is in the past and stays there", s.name(), time.Duration(s.deadline))
	}
}

func (g *guard) happened() { g.idle = 0 }

func (g *guard) before(s *Session) { g.stats = s.Conn.Stats() }

// sent checks what a batch has done to the congestion window: only probes may
// overdraw it (RFC 9002 §7), and before the handshake is confirmed one datagram
// that acknowledges or has lost handshake bytes, and is padded.
func (g *guard) sent(s *Session, b *dgram.Batch) {
	g.idle = 0
	was, is := &g.stats, s.Conn.Stats()
	g.size(s, is.MTU)
	if was.PTOs > g.ptos || was.Hurries > g.hurries {
		g.ptos, g.hurries = was.PTOs, was.Hurries
		g.probes = probesPerPTO * is.MTU
	}
	if s.scribe.mutate == nil && (s.Peer == nil || s.Peer.scribe.mutate == nil) {
		s.ear.hear(s, b)
	}
	over := int(is.BytesInFlight) - int(max(was.BytesInFlight, was.Window)) - g.probes
	if over <= 0 {
		g.probes = min(g.probes, -over)
		return
	}
	g.probes = 0
	if s.Confirmed || over > b.SegmentSize() {
		s.End.world.Fail("%s: %d bytes in flight after %d, with a window of %d", s.name(), is.BytesInFlight, was.BytesInFlight, was.Window)
	}
}

// size notes how large datagrams are.
func (g *guard) size(s *Session, n int) {
	switch {
	case g.mtu == 0 || n == g.mtu:
	case n > g.mtu:
		s.Grown++
	default:
		s.Shrunk++
	}
	g.mtu = n
}

// account is what has gone from and to one address.
type account struct {
	in, out   int
	validated bool
}

func (e *Endpoint) account(a netip.AddrPort) *account {
	acc := e.watch[a]
	if acc == nil {
		acc = new(account)
		e.watch[a] = acc
	}
	return acc
}

// watchIn counts a datagram that came. A Handshake packet that nobody has
// changed on the way shows that its sender got our answer (RFC 9000 §8.1).
func (e *Endpoint) watchIn(d *dgram.Datagram) {
	if e.watch == nil {
		return
	}
	acc := e.account(d.Path.Remote)
	acc.in += len(d.Data)
	if !acc.validated {
		handshakes(d.Data, func(pkt []byte) { acc.validated = acc.validated || e.world.genuine[fingerprint(pkt)] })
	}
	e.watchAnswer(d)
}

// watchToken looks at an Initial that makes a connection: a token which was
// asked for, and which the Mux has taken, shows who its sender is.
func (e *Endpoint) watchToken(d *dgram.Datagram) {
	if h, ok := wire.ParseLong(d.Data); ok && len(h.Token) > 0 {
		e.account(d.Path.Remote).validated = true
	}
}

// watchOut checks that no address gets more than three times what came from it
// before it has shown that it wants it (RFC 9000 §8).
func (e *Endpoint) watchOut(b *dgram.Batch) {
	if e.watch == nil {
		for i := range b.Count() {
			handshakes(b.Segment(i), func(pkt []byte) { e.world.genuine[fingerprint(pkt)] = true })
		}
		return
	}
	acc := e.account(b.Path.Remote)
	acc.out += len(b.Bytes())
	if !acc.validated && acc.out > 3*acc.in {
		e.world.Fail("%s: %d bytes to %v, which has sent %d and is not validated", e.Name, acc.out, b.Path.Remote, acc.in)
	}
}

// handshakes calls f with every Handshake packet of a datagram.
func handshakes(b []byte, f func(pkt []byte)) {
	for len(b) > 0 && b[0]&0x80 != 0 {
		h, ok := wire.ParseLong(b)
		if !ok {
			return
		}
		if h.Type == wire.Handshake {
			f(b[:h.End])
		}
		b = b[h.End:]
	}
}

var fingerprints = maphash.MakeSeed()

// fingerprint tells packets apart.
func fingerprint(b []byte) uint64 { return maphash.Bytes(fingerprints, b) }
