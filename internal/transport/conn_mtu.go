package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// mtu finds out how large a datagram the path carries, by sending padded ones
// that may be lost without harm (RFC 8899, RFC 9000 §14.3). It tries the
// largest first, because most paths carry it, and comes down by the sizes that
// networks have; between the largest that passes and the next it halves the range.
type mtu struct {
	size    int // what is known to pass, and used
	base    int // where discovery starts, and goes back to
	ceiling int // never tried above
	off     bool

	searching bool
	raising   bool  // a later search: it must not keep an idle connection alive
	failed    int   // the smallest size known not to pass
	below     int   // the smallest size of which a probe was lost; usual sizes below it come first
	probe     int   // in flight; 0 if none
	probePN   int64 // its packet number
	tries     int   // lost of the size tried last
	lost      int   // in this search
	suspects  int   // packets larger than base lost in a row (RFC 8899 §4.3)
	raiseAt   mono.Time

	suspectSize int       // of the smallest suspect
	suspectFrom mono.Time // the first one was sent
}

const (
	mtuTries     = 3                // RFC 8899 §5.1.2 MAX_PROBES
	mtuLosses    = 5 * mtuTries     // a search that has lost so many probes is over
	mtuRaise     = 10 * time.Minute // RFC 8899 §5.1.1 PMTU_RAISE_TIMER
	mtuStep      = 20               // ranges up to that are not worth a probe: IPv6's header has 20 bytes more than IPv4's
	mtuCoarse    = 8                // above an Ethernet frame, nor are ranges up to one in so many
	mtuBlackHole = 6                // full-size packets lost in a row
)

// usualSizes are the payloads that frames of common networks have room for, behind IPv6's
// header or behind either: loopback of some systems, jumbo frames, and Ethernet for each family.
var usualSizes = [...]int{32_720, 16_336, 8952, 1472, 1452}

func (m *mtu) init(cfg *Config) {
	m.base = cfg.initialDatagram()
	m.size, m.ceiling = m.base, cfg.maxDatagram()
	m.off = cfg.DisableMTUDiscovery
	m.raiseAt = mono.Never
}

// StopMTUDiscovery makes the connection stay at the size that it knows to pass: over a
// socket that may cut datagrams to pieces a probe says nothing (RFC 8899 §3).
func (c *Conn) StopMTUDiscovery() { c.mtu.off, c.mtu.searching = true, false }

// setPeerMax takes the peer's max_udp_payload_size.
func (m *mtu) setPeerMax(n int64) {
	m.ceiling = int(min(int64(m.ceiling), n))
	m.size = min(m.size, max(m.ceiling, wire.MinInitialSize))
	m.base = min(m.base, m.size)
}

// start begins the search.
func (m *mtu) start() {
	m.searching, m.raising = !m.off && m.ceiling > m.size, false
	m.failed, m.below = m.ceiling+1, m.ceiling+1
	m.probe, m.tries, m.lost = 0, 0, 0
}

// restart begins again from the base, on a path that is not known.
func (m *mtu) restart() {
	m.size, m.suspects = m.base, 0
	m.raiseAt = mono.Never
	m.start()
}

// raise tries larger sizes again, long after the search ended.
func (m *mtu) raise() {
	m.raiseAt = mono.Never
	m.start()
	m.raising = true
}

// next returns the size to probe, 0 if there is none now. Of the congestion window,
// free bytes are unused.
func (m *mtu) next(now mono.Time, free, window int) int {
	if !m.searching || m.probe != 0 {
		return 0
	}
	n, untried := m.usual(free, window)
	switch {
	case untried: // the window may have to grow first
	case n == 0 && (m.lost >= mtuLosses || m.failed-m.size <= m.step()):
		m.searching = false
		m.raiseAt = now.Add(mtuRaise)
	case n == 0:
		n = m.size + (m.failed-m.size)/2
	}
	if !affordable(n, free, window) {
		return 0
	}
	return n
}

// usual returns the size to try next of the ceiling and the usual ones, 0 if there is none
// in the range: the largest untried that can be afforded, or else the smallest.
func (m *mtu) usual(free, window int) (n int, untried bool) {
	if m.lost >= mtuLosses {
		return 0, false
	}
	for i := -1; i < len(usualSizes); i++ {
		size := m.ceiling
		if i >= 0 {
			size = usualSizes[i]
		}
		if size >= m.failed || size > m.ceiling || size <= m.size {
			continue
		}
		n = size
		if size < m.below {
			untried = true
			if affordable(size, free, window) {
				break
			}
		}
	}
	return n, untried
}

// affordable reports whether a probe of n bytes fits the congestion window, or is worth
// waiting for it to have room: half of it at most.
func affordable(n, free, window int) bool { return n <= free || 2*n <= window }

// step returns how large a range is not worth another probe.
func (m *mtu) step() int {
	if m.failed > 1500 {
		return m.size / mtuCoarse
	}
	return mtuStep
}

// settle takes the fate of a packet on the path in use.
func (m *mtu) settle(c *Conn, p *recovery.Packet, arrived bool) {
	switch {
	case p.Probe:
		m.settleProbe(c, int(p.Size), arrived)
	case arrived:
		m.onAck(p)
	default:
		m.onLoss(c, p)
	}
}

func (m *mtu) settleProbe(c *Conn, n int, arrived bool) {
	if n == m.probe {
		m.probe = 0
	}
	switch {
	case n <= m.size || n >= m.failed:
	case arrived:
		m.grow(c, n)
	case m.searching:
		m.miss(n)
	}
	if m.size >= m.ceiling {
		m.searching = false
	}
}

// miss takes the loss of a probe. A smaller usual size comes before another try.
func (m *mtu) miss(n int) {
	m.lost++
	if n < m.below {
		m.below, m.tries = n, 0
	}
	if m.tries++; m.tries >= mtuTries {
		m.failed, m.tries = n, 0
	}
}

func (m *mtu) grow(c *Conn, n int) {
	m.size, m.tries, m.suspects = n, 0, 0
	c.loss.SetMaxDatagram(n)
}

// onLoss watches for a path that stopped carrying large datagrams: several were
// lost, over longer than congestion takes to let one through, and none arrived.
// Small ones may arrive all the while.
func (m *mtu) onLoss(c *Conn, p *recovery.Packet) {
	if int(p.Size) <= m.base || m.size == m.base {
		return
	}
	if m.suspects++; m.suspects == 1 {
		m.suspectSize, m.suspectFrom = int(p.Size), p.Sent
	}
	m.suspectSize = min(m.suspectSize, int(p.Size))
	lasting := p.Sent.Sub(m.suspectFrom) > 3*c.loss.PTO(recovery.App)
	if m.suspects >= mtuBlackHole && (lasting || c.loss.PTOCount() >= 2) {
		m.blackHole(c)
	}
}

// onAck takes the suspicion back if so large a datagram has arrived.
func (m *mtu) onAck(p *recovery.Packet) {
	if m.suspects > 0 && int(p.Size) >= m.suspectSize {
		m.suspects = 0
	}
}

// onPTO looks whether only large datagrams get lost: two timeouts in a row with
// nothing acknowledged in between.
func (m *mtu) onPTO(c *Conn) {
	if c.loss.PTOCount() >= 2 && m.size > m.base {
		m.blackHole(c)
	}
}

func (m *mtu) blackHole(c *Conn) {
	m.restart()
	c.loss.SetMaxDatagram(m.size)
}

// TooBig says that the kernel refused to send a datagram of n bytes for its
// size (RFC 9000 §14.2.1): nothing that large is sent any more. A probe that was refused
// has cost nothing, so the search goes on at once.
func (c *Conn) TooBig(now mono.Time, n int) {
	m := &c.mtu
	if n <= m.base || c.life.state != active {
		return
	}
	if n == m.probe {
		c.loss.Unsent(now, recovery.App, m.probePN)
		m.probe, m.tries = 0, 0
	}
	if n <= m.size {
		m.blackHole(c)
	}
	m.failed = min(m.failed, n)
	m.below = min(m.below, n)
}

// transmitMTUProbe writes a datagram that is larger than any before, if it is
// time to try one. If the congestion window has no room for it, reserve is what
// other packets must leave free.
func (c *Conn) transmitMTUProbe(now mono.Time, b *dgram.Batch, p *path) (some bool, reserve int) {
	if !c.mtu.searching || c.stats.streamBytesSent+c.stats.datagramBytesSent < uint64(c.cfg.MTUDiscoveryAfter) {
		return false, 0
	}
	if c.mtu.raising && c.loss.InFlight() == 0 || !c.confirmed || !p.validated {
		return false, 0
	}
	free := c.loss.CanSend()
	n := c.mtu.next(now, free, c.loss.Window())
	if n == 0 {
		return false, 0
	}
	if free < n {
		return false, n
	}
	room := b.Next(n)
	if room == nil {
		return false, 0
	}
	d := &datagram{}
	d.reset(room)
	pk := c.openPacket(d, recovery.App)
	if pk == nil {
		return false, 0
	}
	d.b = wire.Ping{}.Append(d.b)
	c.appendImmediateAck(d, pk)
	pk.eliciting, pk.mtuProbe = true, true
	c.closePacket(d, pk)
	d.padTo = n
	c.mtu.probe, c.mtu.probePN = n, pk.pn
	c.commit(b, p, c.finish(now, d))
	b.Close()
	return true, 0
}
