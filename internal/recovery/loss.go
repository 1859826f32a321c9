package recovery

import (
	"math"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Loss follows every packet sent on a connection to its fate, and keeps the
// round-trip estimate, the probe timer, ECN validation and the congestion
// controller of the path. Init makes it ready.
//
// After Ack, Advance and RetryRestart the caller pulls what was decided with
// NextFate until that returns false.
type Loss struct {
	initialRTT time.Duration
	spaces     [Spaces]*space // Handshake is nil before Open, all but App are after AppOnly
	app        space          // the one that stays
	rtt        RTT
	controller congestion.Controller
	pacer      congestion.Pacer
	ecn        ecn
	stats      Stats

	fates    []fate // decided, not yet pulled: from fateAt on
	fateAt   int
	lateRefs int32 // how many of these point into a late store
	datagram int32 // bytes of the largest

	epoch      uint32
	records    int32 // bytes of memory that the records of unacked take
	ptoCount   int8
	server     bool
	confirmed  bool // handshake confirmed (RFC 9001 §4.1.2)
	validated  bool // client: the server has validated our address
	blocked    bool // server: at the anti-amplification limit
	appLimited bool

	inFlight int   // bytes, of this epoch
	unacked  int   // bytes in flight, of all paths that were in use
	widest   int   // the largest window of a path that was left
	order    int64 // packets sent so far, over all spaces
	owed     int   // bytes that left and that the pacer has not been charged for
	owedAt   mono.Time

	peerAckDelay time.Duration
	idleFrom     mono.Time // what the client's anti-deadlock timer counts from
	restarted    mono.Time // when keys were discarded: no probe timer counts from before
	firstSent    mono.Time // when the first packet left; Never before
	latestSent   mono.Time
}

// space is the state of one packet number space.
type space struct {
	sent store // outstanding packets
	late store // packets declared lost, for a while

	next         int64
	largestAcked int64 // -1: none
	lossTime     mono.Time
	lastSent     mono.Time // when the last ack-eliciting packet left
	ackedSent    mono.Time // the latest send time among acknowledged packets; -1: none
	lostFrom     mono.Time // send time of the first of a run of lost packets (RFC 9002 §7.6); Never: no run

	cut       bool // the next packet sent is preceded by an acknowledged one
	keys      bool
	eliciting int // outstanding ack-eliciting packets
	quiet     int // outstanding packets that are not in flight
	probes    int

	skipped  []int64 // the latest numbers never used: a ring once there are maxSkipped
	skips    int     // how many there ever were
	ecnCount counts  // what the peer last reported
	ecnSent  counts  // what we marked
}

// fate refers to a packet whose fate is to be pulled.
type fate struct {
	index int32 // in space.sent or space.late
	space Space
	fate  Fate
	late  bool
}

// Config is what a Loss starts with. Zero durations mean the defaults.
type Config struct {
	Server      bool
	InitialRTT  time.Duration         // DefaultInitialRTT
	MaxDatagram int                   // bytes, 1200 at least
	MaxAckDelay time.Duration         // the peer's, DefaultMaxAckDelay until SetPeerAckDelay
	Controller  congestion.Controller // CUBIC if nil
}

// Init makes l ready for a new connection.
func (l *Loss) Init(now mono.Time, c Config) {
	if c.InitialRTT <= 0 {
		c.InitialRTT = DefaultInitialRTT
	}
	if c.MaxAckDelay <= 0 {
		c.MaxAckDelay = DefaultMaxAckDelay
	}
	c.MaxDatagram = max(c.MaxDatagram, 1200)
	if c.Controller == nil {
		c.Controller = congestion.NewCubic(c.MaxDatagram)
	}
	*l = Loss{server: c.Server, initialRTT: c.InitialRTT, datagram: int32(c.MaxDatagram), controller: c.Controller, idleFrom: now, restarted: now, firstSent: mono.Never, latestSent: now}
	l.SetPeerAckDelay(c.MaxAckDelay)
	l.rtt.init(c.InitialRTT)
	l.pacer.Init(now, c.MaxDatagram)
	l.updatePacer()
	l.spaces[App] = &l.app
	l.app.init()
	l.Open(Initial)
	l.spaces[Initial].keys = true
}

// Open makes a space that nothing was said about so far. Initial and App are open from the
// start; Handshake has to be before it is named, but to Probes.
func (l *Loss) Open(space Space) {
	if l.spaces[space] == nil {
		l.spaces[space] = newSpace()
	}
}

func newSpace() *space {
	s := new(space)
	s.init()
	return s
}

func (s *space) init() {
	s.largestAcked, s.lossTime, s.ackedSent, s.lostFrom = -1, mono.Never, -1, mono.Never
}

// Next returns the number that the next packet of the space takes.
func (l *Loss) Next(space Space) int64 { return l.spaces[space].next }

// Skip leaves the next packet number of the space unused. A peer that
// acknowledges it is guessing (RFC 9000 §21.4). The latest 16 are remembered.
func (l *Loss) Skip(space Space) {
	s := l.spaces[space]
	if len(s.skipped) < maxSkipped {
		s.skipped = append(s.skipped, s.next)
	} else {
		s.skipped[s.skips%maxSkipped] = s.next
	}
	s.skips++
	s.next++
}

// Sent records a packet that leaves now, whose number is Next(space), with what
// it carries; both are copied. It also charges the pacer for a packet in flight.
func (l *Loss) Sent(now mono.Time, space Space, p Packet, frames []Frame) {
	if len(frames) > math.MaxUint16 {
		panic("BUG: too many frames in a packet")
	}
	p.frames = uint16(len(frames))
	l.count(now, space, &p, 1)
	s := l.spaces[space]
	s.sent.push(&p, frames, l.fateAt < len(l.fates))
	if !p.InFlight {
		s.boundQuiet(l.quietest(s))
	}
}

// SentRun is Sent for as many packets as there are frames, each with one of them. They are all
// like p, and have numbers from p's on.
func (l *Loss) SentRun(now mono.Time, space Space, p Packet, frames []Frame) {
	p.frames = 1
	l.count(now, space, &p, len(frames))
	s := l.spaces[space]
	for i := range frames {
		s.sent.push(&p, frames[i:i+1], l.fateAt < len(l.fates))
		p.Number++
		p.order++
		p.cut = false
		if !p.InFlight {
			s.boundQuiet(l.quietest(s))
		}
	}
}

// count counts n packets like p that leave now, and completes p's record.
func (l *Loss) count(now mono.Time, space Space, p *Packet, n int) {
	s := l.spaces[space]
	if p.Number != s.next {
		panic("BUG: packet numbers out of order")
	}
	s.next += int64(n)
	now = max(now, l.latestSent) // send times never fall, whatever the clock does
	l.latestSent = now
	p.Sent, p.state, p.order = now, outstanding, uint32(l.order)
	p.cut, s.cut = s.cut, false
	p.InFlight = p.InFlight || p.AckEliciting
	l.order += int64(n)
	l.firstSent = min(l.firstSent, now)
	l.stats.Sent += uint64(n)
	l.stats.SentBytes += uint64(n) * uint64(p.Size)
	if p.AckEliciting {
		s.eliciting += n
		s.lastSent, l.idleFrom = now, now
	}
	if p.active() {
		l.unacked += n * int(p.Size)
		l.records += int32(n) * p.record()
		l.inFlight += n * int(p.Size)
		l.stats.MaxInFlight = max(l.stats.MaxInFlight, l.inFlight)
		l.charge(now, n*int(p.Size))
	}
	if p.ECN != dgram.NotECT {
		l.marked(s, p, n)
	}
}

// Unsent takes back a packet that was said to leave now and has not left after all:
// nothing will be heard of it, and no fate told.
func (l *Loss) Unsent(now mono.Time, space Space, number int64) {
	s := l.spaces[space]
	i := s.sent.after(number)
	if i == len(s.sent.packets) || s.sent.packets[i].Number != number || s.sent.packets[i].state != outstanding {
		return
	}
	p := &s.sent.packets[i]
	p.state = settled
	l.leave(s, p)
	if p.cut {
		s.cutAt(i)
	}
	if p.Epoch != l.epoch {
		return
	}
	if p.InFlight {
		l.inFlight -= int(p.Size)
		if now == l.owedAt {
			l.owed = max(l.owed-int(p.Size), 0)
		}
	}
	if p.ECN != dgram.NotECT {
		l.ecn.marked-- // neither arrived nor lost: not tested
	}
}

// quietest returns how many packets of a space that are not in flight are remembered.
func (l *Loss) quietest(s *space) int {
	if s == &l.app {
		return MaxQuietPackets
	}
	return maxQuietHandshake
}

// boundQuiet forgets the oldest packet that is not in flight when there are too
// many. A peer that only sends never acknowledges those that only acknowledge.
func (s *space) boundQuiet(most int) {
	s.quiet++
	if s.quiet <= most {
		return
	}
	for i := max(s.sent.quietAt, s.sent.head); i < len(s.sent.packets); i++ {
		if p := &s.sent.packets[i]; p.state == outstanding && !p.InFlight {
			p.state = settled
			s.quiet--
			s.sent.quietAt = i + 1
			return
		}
	}
}

// NextFate returns one packet whose fate was decided, with the frames it
// carried: packets of one call to Ack or Advance come in packet number order,
// acknowledged and lost ones together. p and frames are borrowed until the
// next call of any method. It returns false when there are no more.
//
// A lost packet that is acknowledged later, as far as it is remembered, comes
// again as Acked, so that its data can be released. No other packet comes twice.
func (l *Loss) NextFate() (space Space, p *Packet, frames []Frame, f Fate, ok bool) {
	if l.fateAt == len(l.fates) {
		l.drained()
		return 0, nil, nil, 0, false
	}
	r := l.fates[l.fateAt]
	l.fateAt++
	s := l.spaces[r.space]
	if r.late {
		l.lateRefs--
		p = &s.late.packets[r.index]
		return r.space, p, s.late.framesOf(p), Acked, true
	}
	p = &s.sent.packets[r.index]
	frames = s.sent.framesOf(p)
	switch {
	case p.state == tellBoth && r.fate == Lost:
		p.state = tellAcked // it is in the list once more
		return r.space, p, frames, r.fate, true
	case p.state == tellLost && p.AckEliciting:
		s.remember(p, frames, l.lateRefs > 0)
	}
	p.state = settled
	return r.space, p, frames, r.fate, true
}

// remember keeps a lost packet for a late acknowledgment (RFC 9000 §13.3).
func (s *space) remember(p *Packet, frames []Frame, pinned bool) {
	if len(frames) > maxLateFrames {
		return
	}
	for live := s.late.live(); len(live) >= maxLate || len(live) > 0 && len(s.late.frames)-int(live[0].at)+len(frames) > maxLateFrames; live = s.late.live() {
		live[0].state = settled
		s.late.head++
	}
	q := *p
	q.state = outstanding
	s.late.push(&q, frames, pinned)
}

// drained tidies up after the last fate was pulled.
func (l *Loss) drained() {
	l.fates, l.fateAt = l.fates[:0], 0
	for _, s := range l.spaces {
		if s == nil {
			continue
		}
		s.sent.trim()
		s.late.trim()
	}
}

// Unacked returns what the i-th oldest outstanding ack-eliciting packet of the
// space carried, from 0, so that a probe can carry it again. MTU probes are
// passed over. frames is borrowed until the next call of any method.
func (l *Loss) Unacked(space Space, i int) (frames []Frame, ok bool) {
	s := l.spaces[space]
	live := s.sent.live()
	for k := range live {
		p := &live[k]
		if p.state != outstanding || !p.AckEliciting || p.Probe {
			continue
		}
		if i == 0 {
			return s.sent.framesOf(p), true
		}
		i--
	}
	return nil, false
}

// Trim gives back memory that a busier time has left, for a connection that
// goes idle with nothing outstanding.
func (l *Loss) Trim() {
	if l.fateAt < len(l.fates) {
		return
	}
	l.fates, l.fateAt = nil, 0
	for _, s := range l.spaces {
		if s != nil {
			s.late.drop()
			s.sent.trim()
			s.sent.shrink()
		}
	}
}
