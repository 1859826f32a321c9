package transport

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// paths is the address pairs that the connection uses or tries (RFC 9000 §8.2, §9).
type paths struct {
	list      []path
	cur       int // index of the one in use
	responses int // PATH_RESPONSE frames waiting, over all paths
	serial    int // of the last validation
	tuples    int // paths there have been besides the first
	probes    int // challenges, and packets on paths not in use, whose fate is not known

	home netip.AddrPort // client: where the server was in the handshake
}

// path is one pair of addresses.
type path struct {
	addr      dgram.Path
	tuple     int   // serial number, for the log; 0 is the path of the handshake
	cid       int64 // sequence number of the peer's connection ID used here
	validated bool
	serial    int   // of the validation
	received  int64 // bytes, counted until validated (RFC 9000 §8)
	sent      int64

	challenges [pathTries]challenge // sent last
	challenged bool                 // a challenge is out, or about to be
	wanted     bool                 // PATH_CHALLENGE is to be sent
	tries      int                  // challenges sent
	narrow     bool                 // answered one of these, and now has to answer a large one
	again      mono.Time            // the next one
	expires    mono.Time            // validation fails
	patient    bool                 // until then it goes on asking, ever less often
	migrate    bool                 // use the path once it is validated

	responses [][8]byte // PATH_RESPONSE to send, oldest first
}

const pathTries = 3

// challenge is a PATH_CHALLENGE frame that was sent. No two have the same bytes (RFC 9000 §13.3).
type challenge struct {
	data  [8]byte
	small bool // in a datagram that proves nothing about the path's MTU
}

func (s *paths) init(addr dgram.Path, validated bool) {
	s.home = addr.Remote
	s.list = make([]path, 1)
	s.list[0] = path{addr: addr, validated: validated, again: mono.Never, expires: mono.Never}
}

func (s *paths) active() *path { return &s.list[s.cur] }

// allowance returns how many bytes may be sent on the path: three times what
// came in until the address is validated (RFC 9000 §8.1).
func (p *path) allowance() int {
	if p.validated {
		return math.MaxInt
	}
	return int(max(0, 3*p.received-p.sent))
}

// find returns the index of the path between the addresses, -1 if unknown. A
// path whose local address was left to the kernel learns it here.
func (s *paths) find(a dgram.Path) int {
	for i := range s.list {
		p := &s.list[i]
		if p.addr == a {
			return i
		}
		if p.addr.Remote == a.Remote && p.addr.Local.Port() == a.Local.Port() && isUnspecified(p.addr.Local.Addr()) {
			p.addr.Local = a.Local
			return i
		}
	}
	return -1
}

func isUnspecified(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

// arrive counts a datagram on its path. It reports false if nothing can come
// from there (RFC 9000 §9).
func (s *paths) arrive(c *Conn, d *dgram.Datagram) bool {
	i := s.find(d.Path)
	if i < 0 && isUnspecified(d.Path.Local.Addr()) {
		i = s.findRemote(d.Path.Remote)
	}
	if i >= 0 {
		d.Path = s.list[i].addr
		s.list[i].received += int64(len(d.Data))
		return true
	}
	if c.server {
		return c.confirmed // a new path begins with an authentic packet
	}
	if i = s.findRemote(d.Path.Remote); i < 0 {
		// A server that could not validate the path to its preferred address goes
		// on from where it was.
		if i = s.cur; d.Path.Remote != s.home {
			return false
		}
	}
	d.Path = s.list[i].addr
	return true
}

func (s *paths) findRemote(remote netip.AddrPort) int {
	for i := range s.list {
		if s.list[i].addr.Remote == remote {
			return i
		}
	}
	return -1
}

// ensure returns the index of the path, which is added if it is new; -1 if
// there are too many. d is the datagram that came over it.
func (s *paths) ensure(c *Conn, d *dgram.Datagram) int {
	if i := s.find(d.Path); i >= 0 {
		return i
	}
	if len(s.list) == maxPaths {
		c.stats.pathsDropped++
		if !s.evict(c) {
			return -1
		}
	}
	return s.add(c, d.Path, int64(len(d.Data)))
}

func (s *paths) add(c *Conn, addr dgram.Path, received int64) int {
	cid, ok := c.ids.take()
	if !ok {
		cid = s.active().cid // RFC 9000 §9.5: no other ID to be had
	}
	s.tuples++
	s.list = append(s.list, path{addr: addr, tuple: s.tuples, cid: cid, received: received, again: mono.Never, expires: mono.Never})
	if c.qlog != nil {
		c.qlog.tupleAssigned(c, &s.list[len(s.list)-1])
	}
	return len(s.list) - 1
}

// evict forgets the oldest path that is neither in use nor validated, else the
// one validated longest ago. The one validated last stays: it is the way back.
func (s *paths) evict(c *Conn) bool {
	for i := range s.list {
		if i != s.cur && !s.list[i].validated {
			s.remove(c, i)
			return true
		}
	}
	last := s.lastValidated(s.cur)
	for i := range s.list {
		if i != s.cur && i != last {
			s.remove(c, i)
			return true
		}
	}
	return false
}

// lastValidated returns the index of the path validated last, but for one; -1 if
// there is none.
func (s *paths) lastValidated(but int) int {
	last := -1
	for i := range s.list {
		if p := &s.list[i]; i != but && p.validated && (last < 0 || p.serial > s.list[last].serial) {
			last = i
		}
	}
	return last
}

// remove forgets a path, and gives up its connection ID if no other uses it.
func (s *paths) remove(c *Conn, i int) {
	gone := s.list[i]
	s.responses -= len(gone.responses)
	if c.qlog != nil {
		c.qlog.tupleGone(&gone)
	}
	s.list = append(s.list[:i], s.list[i+1:]...)
	if s.cur > i {
		s.cur--
	}
	s.retireUnused(c, gone.cid)
}

// retireUnused retires a connection ID of the peer's that a path has left, unless another has it too.
func (s *paths) retireUnused(c *Conn, seq int64) {
	for j := range s.list {
		if s.list[j].cid == seq {
			return
		}
	}
	c.ids.retireOne(c, seq)
}

// replaceIDs puts paths whose connection ID was retired on another.
func (s *paths) replaceIDs(c *Conn) {
	for i := range s.list {
		p := &s.list[i]
		if c.ids.bySeq(p.cid) != nil {
			continue
		}
		if seq, ok := c.ids.take(); ok {
			p.cid = seq
		} else {
			p.cid = c.ids.remote[0].seq
		}
	}
	if c.qlog != nil {
		c.qlog.pathIDs(c)
	}
}

// onChallenge owes the peer an answer on the path the challenge came by. If that is our
// preferred address, we ask from there, too (RFC 9000 §9.6.2).
func (s *paths) onChallenge(c *Conn, now mono.Time, d *dgram.Datagram, data [8]byte) {
	i := s.ensure(c, d)
	if i < 0 {
		return
	}
	if s.preferred(c, i) {
		s.list[i].probePreferred(c, now)
	}
	if s.responses >= maxResponses {
		s.dropOldestResponse()
	}
	s.list[i].responses = append(s.list[i].responses, data)
	s.responses++
}

// preferred reports whether a client has come to another address of ours than the one in use,
// which is the one that we prefer, and has yet to show that it gets what goes from there.
func (s *paths) preferred(c *Conn, i int) bool {
	p := &s.list[i]
	return c.server && !p.validated && p.addr.Local != s.active().addr.Local
}

func (s *paths) dropOldestResponse() {
	for i := range s.list {
		if r := s.list[i].responses; len(r) > 0 {
			s.list[i].responses = append(r[:0], r[1:]...)
			s.responses--
			return
		}
	}
}

// onResponse takes the answer to a challenge, on whatever path it comes (RFC 9000 §8.2.3).
func (s *paths) onResponse(c *Conn, now mono.Time, data [8]byte) (expected bool) {
	for i := range s.list {
		p := &s.list[i]
		j := slices.IndexFunc(p.challenges[:min(p.tries, pathTries)], func(ch challenge) bool { return ch.data == data })
		if !p.challenged || j < 0 {
			continue
		}
		small := p.challenges[j].small
		p.settled()
		p.validated = true
		s.serial++
		p.serial = s.serial
		if p.narrow = small; small {
			p.validate(c, now) // once more, with the size that QUIC needs (RFC 9000 §8.2.1)
			return true
		}
		c.events.push(Event{Kind: EventPathValidation, Detail: &Detail{Path: p.addr}, OK: true})
		if c.qlog != nil {
			c.qlog.migration(c, p, "probing_successful")
			if i == s.cur {
				c.qlog.migration(c, p, "migration_complete")
			}
		}
		switch {
		case i == s.cur:
			c.events.push(Event{Kind: EventMigrated, Detail: &Detail{Path: p.addr}})
			s.dropOthers(c)
		case p.migrate:
			s.use(c, now, i)
			s.dropOthers(c)
		}
		return true
	}
	return false
}

// dropOthers forgets every path but the one in use.
func (s *paths) dropOthers(c *Conn) {
	for i := len(s.list) - 1; i >= 0; i-- {
		if i != s.cur {
			s.remove(c, i)
		}
	}
}

func (p *path) settled() {
	p.challenged, p.wanted, p.tries, p.patient = false, false, 0, false
	p.again, p.expires = mono.Never, mono.Never
}

// validate begins to challenge the path, for three times the larger of the
// present PTO and that of a path never measured (RFC 9000 §8.2.4).
func (p *path) validate(c *Conn, now mono.Time) {
	p.challenged, p.wanted, p.tries, p.patient = true, true, 0, false
	p.again = mono.Never
	p.expires = now.Add(3 * p.patience(c))
	if c.qlog != nil {
		c.qlog.migration(c, p, "probing_started")
	}
}

// probe begins to challenge the path unless it is validated or being challenged.
func (p *path) probe(c *Conn, now mono.Time) {
	if !p.validated && !p.challenged {
		p.validate(c, now)
	}
}

// probePreferred is probe for a path from our preferred address, and as patient as the
// connection. The client may already send there alone, and if the address that we still
// acknowledge to is gone, its window is full and its answer waits for a probe timeout. It may
// also get lost as often as we ask, and nothing else would ever bring us there.
func (p *path) probePreferred(c *Conn, now mono.Time) {
	if p.probe(c, now); p.challenged {
		p.patient = true
		p.expires = max(p.expires, now.Add(c.idle.timeout(c)))
	}
}

// nextTry returns when a challenge that was just sent is to be repeated, unless it is answered.
func (p *path) nextTry(c *Conn, now mono.Time) mono.Time {
	if p.tries < pathTries {
		return now.Add(p.patience(c))
	}
	if !p.patient {
		return mono.Never
	}
	return now.Add(p.patience(c) << min(p.tries-pathTries+1, 5))
}

func (p *path) patience(c *Conn) time.Duration {
	const unmeasured = time.Second // PTO at an RTT of 333 ms (RFC 9002 §6.2.2)
	return max(c.loss.PTO(recovery.App), unmeasured)
}

// confirmPeer looks whether an authentic packet shows that the peer has moved
// (RFC 9000 §9.3): it has if its newest packet is not a mere probe.
func (s *paths) confirmPeer(c *Conn, p *received, newest bool) {
	if p.d.Path == s.active().addr || !c.server || !newest || !p.nonProbing {
		return
	}
	i := s.ensure(c, p.d)
	if i < 0 || i == s.cur {
		return
	}
	if s.preferred(c, i) {
		s.list[i].migrate = true // and not before it is validated (RFC 9000 §9.6.2)
		s.list[i].probePreferred(c, p.now)
		return
	}
	old := s.cur
	s.use(c, p.now, i)
	s.list[i].probe(c, p.now)
	if s.list[old].validated {
		s.list[old].validate(c, p.now) // it may be an attacker's doing (RFC 9000 §9.3.3)
	}
}

// use sends on another path from now on. What was learnt about the old one
// does not count if the address is another host's (RFC 9000 §9.4).
func (s *paths) use(c *Conn, now mono.Time, i int) {
	from, to := s.active().addr, s.list[i].addr
	s.cur = i
	if c.qlog != nil {
		c.qlog.used(c, &s.list[i])
	}
	if from.Remote.Addr() != to.Remote.Addr() || from.Local.Addr() != to.Local.Addr() {
		c.mtu.restart()
		c.loss.SetMaxDatagram(c.mtu.size)
		c.loss.ResetPath(now, c.newController())
		c.asking.renew()
		if c.qlog != nil {
			c.qlog.freshPath(c)
		}
	}
	if s.list[i].validated {
		c.events.push(Event{Kind: EventMigrated, Detail: &Detail{Path: to}})
	}
}

func (s *paths) deadline() mono.Time {
	first := mono.Never
	for i := range s.list {
		first = min(first, s.list[i].again, s.list[i].expires)
	}
	return first
}

// expire repeats challenges that were not answered, and gives up on paths.
func (s *paths) expire(c *Conn, now mono.Time) {
	for i := len(s.list) - 1; i >= 0; i-- {
		p := &s.list[i]
		if p.expires <= now {
			s.fail(c, now, i)
			continue
		}
		if p.again <= now {
			p.again, p.wanted = mono.Never, true
		}
	}
}

// fail gives up on a path that did not answer. If it was in use, the last
// validated one is used again (RFC 9000 §9.3.2).
func (s *paths) fail(c *Conn, now mono.Time, i int) {
	p := &s.list[i]
	p.settled()
	c.events.push(Event{Kind: EventPathValidation, Detail: &Detail{Path: p.addr}})
	if c.qlog != nil {
		c.qlog.migration(c, p, "probing_abandoned")
	}
	if i != s.cur {
		// An attacker may make us try one path after another while the peer is
		// silent for a moment: the way back stays.
		if used := s.active(); !p.validated || used.validated && !used.narrow {
			s.remove(c, i)
		}
		return
	}
	narrow := p.narrow
	if p.narrow = false; p.validated && !narrow {
		return // an old path in use again: silence on it is the idle timer's matter
	}
	if c.qlog != nil {
		c.qlog.migration(c, p, "migration_abandoned")
	}
	if j := s.lastValidated(i); j >= 0 {
		s.use(c, now, j)
		s.remove(c, i)
		return
	}
	c.fail(now, frameError(wire.NoViablePath, 0, "no path could be validated"))
}

// transmitProbe writes one datagram that answers or asks a challenge, on any
// path. It reports whether it did.
func (c *Conn) transmitProbe(now mono.Time, b *dgram.Batch) bool {
	if !c.oneRTT.CanWrite() || !c.secure {
		return false
	}
	for i := range c.paths.list {
		p := &c.paths.list[i]
		if !p.wanted && len(p.responses) == 0 {
			continue
		}
		if c.writeProbe(now, b, p) {
			return true
		}
	}
	return false
}

// mayProbe reports whether a packet may go out that is about a path alone. On the
// path in use the congestion window counts. After a rebinding it may be full of
// what went to the old address, or of what the peer acknowledges to there, and
// empties only once the new one is validated: so it does not count for
// challenges, which are few, as on other paths, and answers take the place of an owed probe
// (RFC 9002 §7.5). On other paths, where it says nothing, counts how many
// packets the peer has left without an answer.
func (s *paths) mayProbe(c *Conn, p *path) bool {
	if p == s.active() {
		return p.wanted && s.probes < maxPathProbes || c.loss.CanSend() >= wire.MinInitialSize || c.loss.Probes(recovery.App) > 0
	}
	return s.probes < maxPathProbes
}

func (c *Conn) writeProbe(now mono.Time, b *dgram.Batch, p *path) bool {
	// A client validates its own new address, and knows it wants the answer there.
	allowance := p.allowance()
	if !c.server {
		allowance = wire.MinInitialSize
	}
	room := b.Next(min(allowance, wire.MinInitialSize))
	const smallest = 1 + 20 + 4 + 9 + 16
	if cap(room) < smallest || !c.paths.mayProbe(c, p) {
		return false
	}
	c.marking = c.codepoint(p)
	d := &datagram{}
	d.reset(room)
	r := c.ids.bySeq(p.cid)
	if r == nil {
		return false
	}
	pk := c.openPacketTo(d, recovery.App, &r.id)
	if pk == nil {
		return false
	}
	pk.offPath = p != c.paths.active()
	// What the congestion window has let out beyond the number is the window's alone.
	counts := (pk.offPath || p.wanted) && c.paths.probes < maxPathProbes
	if counts {
		c.record(recovery.Frame{Kind: sentPathProbe})
	}
	ch := challenge{small: cap(room) < wire.MinInitialSize}
	if p.wanted {
		c.cfg.Rand(ch.data[:])
		d.b = wire.PathChallenge{Data: ch.data}.Append(d.b)
		pk.eliciting = true
	}
	sent := 0
	for sent < len(p.responses) && d.room() >= 9 {
		d.b = wire.PathResponse{Data: p.responses[sent]}.Append(d.b)
		pk.eliciting = true
		sent++
	}
	c.closePacket(d, pk)
	d.padTo = cap(room)
	if c.qlog != nil {
		c.qlog.tuple = tupleName(p.tuple)
	}
	n := c.finish(now, d)
	if n == 0 {
		return false
	}
	if counts {
		c.paths.probes++
	}
	if p.wanted {
		p.wanted = false
		p.challenges[p.tries%pathTries] = ch
		p.tries++
		p.again = p.nextTry(c, now)
	}
	c.paths.responses -= sent
	p.responses = append(p.responses[:0], p.responses[sent:]...)
	c.commit(b, p, n)
	b.Close()
	return true
}
