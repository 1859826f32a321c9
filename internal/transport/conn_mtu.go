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
// largest first, because most paths carry it, and halves the range after that.
type mtu struct {
	size    int // what is known to pass, and used
	base    int // where discovery starts, and goes back to
	ceiling int // never tried above
	off     bool

	searching bool
	failed    int // the smallest size known not to pass
	probe     int // in flight; 0 if none
	tries     int // of the present size
	suspects  int // packets larger than base lost in a row (RFC 8899 §4.3)
	raiseAt   mono.Time
	raising   bool // a later search: it must not keep an idle connection alive

	suspectSize int       // of the smallest suspect
	suspectFrom mono.Time // the first one was sent
}

const (
	mtuTries     = 3                // RFC 8899 §5.1.2 MAX_PROBES
	mtuRaise     = 10 * time.Minute // RFC 8899 §5.1.1 PMTU_RAISE_TIMER
	mtuStep      = 16               // ranges below that are not worth a probe
	mtuBlackHole = 6                // full-size packets lost in a row
)

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
func (m *mtu) start(mono.Time) {
	m.searching, m.raising = !m.off && m.ceiling > m.size, false
	m.failed, m.probe, m.tries = m.ceiling+1, 0, 0
}

// restart begins again from the base, on a path that is not known.
func (m *mtu) restart(now mono.Time) {
	m.size, m.suspects = m.base, 0
	m.raiseAt = mono.Never
	m.start(now)
}

// raise tries larger sizes again, long after the search ended.
func (m *mtu) raise(now mono.Time) {
	m.raiseAt = mono.Never
	m.start(now)
	m.raising = true
}

// next returns the size to probe, 0 if the search is over.
func (m *mtu) next(now mono.Time) int {
	if !m.searching || m.probe != 0 {
		return 0
	}
	if m.failed > m.ceiling {
		return m.ceiling
	}
	if m.failed-m.size <= mtuStep {
		m.searching = false
		m.raiseAt = now.Add(mtuRaise)
		return 0
	}
	return m.size + (m.failed-m.size)/2
}

// settle takes the fate of a packet on the path in use.
func (m *mtu) settle(c *Conn, now mono.Time, p *recovery.Packet, arrived bool) {
	switch {
	case p.Probe:
		m.settleProbe(c, int(p.Size), arrived)
	case arrived:
		m.onAck(p)
	default:
		m.onLoss(c, now, p)
	}
}

func (m *mtu) settleProbe(c *Conn, n int, arrived bool) {
	if n == m.probe {
		m.probe = 0
	}
	switch {
	case arrived && n > m.size && n < m.failed:
		m.grow(c, n)
	case !arrived && m.searching && n < m.failed && n > m.size:
		if m.tries++; m.tries >= mtuTries {
			m.failed, m.tries = n, 0
		}
	}
	if m.size >= m.ceiling && m.searching {
		m.searching = false
	}
}

func (m *mtu) grow(c *Conn, n int) {
	m.size, m.tries, m.suspects = n, 0, 0
	c.loss.SetMaxDatagram(n)
}

// onLoss watches for a path that stopped carrying large datagrams: several were
// lost, over longer than congestion takes to let one through, and none arrived.
// Small ones may arrive all the while.
func (m *mtu) onLoss(c *Conn, now mono.Time, p *recovery.Packet) {
	if int(p.Size) <= m.base || m.size == m.base {
		return
	}
	if m.suspects++; m.suspects == 1 {
		m.suspectSize, m.suspectFrom = int(p.Size), p.Sent
	}
	m.suspectSize = min(m.suspectSize, int(p.Size))
	lasting := p.Sent.Sub(m.suspectFrom) > 3*c.loss.PTO(recovery.App)
	if m.suspects >= mtuBlackHole && (lasting || c.loss.PTOCount() >= 2) {
		m.blackHole(c, now)
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
func (m *mtu) onPTO(c *Conn, now mono.Time) {
	if c.loss.PTOCount() >= 2 && m.size > m.base {
		m.blackHole(c, now)
	}
}

func (m *mtu) blackHole(c *Conn, now mono.Time) {
	m.failed = m.ceiling + 1
	m.size, m.suspects, m.probe, m.tries = m.base, 0, 0, 0
	m.searching = !m.off
	c.loss.SetMaxDatagram(m.size)
}

// TooBig says that the kernel refused to send a datagram of n bytes for its
// size (RFC 9000 §14.2.1): nothing that large is sent any more.
func (c *Conn) TooBig(now mono.Time, n int) {
	m := &c.mtu
	if n <= m.base || c.life.state != active {
		return
	}
	m.failed = min(m.failed, n)
	if n == m.probe {
		m.probe, m.tries = 0, 0
	}
	if n <= m.size {
		m.blackHole(c, now)
		m.failed = n
	}
}

// transmitMTUProbe writes a datagram that is larger than any before, if it is
// time to try one.
func (c *Conn) transmitMTUProbe(now mono.Time, b *dgram.Batch, p *path) bool {
	if c.stats.streamBytesSent+c.stats.datagramBytesSent < uint64(c.cfg.MTUDiscoveryAfter) {
		return false
	}
	n := c.mtu.next(now)
	if n == 0 || c.mtu.raising && c.loss.InFlight() == 0 || !c.confirmed || !p.validated || c.loss.CanSend() < n {
		return false
	}
	room := b.Next(n)
	if room == nil {
		return false
	}
	d := &c.build
	d.reset(room)
	pk := c.openPacket(d, recovery.App)
	if pk == nil {
		return false
	}
	d.b = wire.Ping{}.Append(d.b)
	c.appendImmediateAck(d, pk)
	pk.eliciting, pk.mtuProbe = true, true
	c.closePacket(d, pk)
	d.padTo = n
	c.commit(b, p, c.finish(now, d))
	b.Close()
	c.mtu.probe = n
	return true
}
