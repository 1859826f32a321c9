package transport

import (
	"math"
	"strconv"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// recorder writes a connection's qlog. A connection without one has a nil pointer in its
// place, which is all that costs then. What changes little by little, as figures and
// timers, is compared with what was logged last whenever a verb is done.
type recorder struct {
	log *qlog.Log
	now mono.Time

	state  string // of the connection
	tuple  string // of the datagram at hand
	ownID  []byte // our connection ID that the peer sends to
	peerID []byte // the peer's that we send to
	suite  uint16 // of 1-RTT packets

	firstOneRTT int64 // packet number: those of the same space before it were 0-RTT; -1: none yet

	mtu     int
	mtuDone bool
	ecn     string
	metrics qlog.Metrics
	timers  [timers]mono.Time
	blocked [blockedReasons]bool

	congestion         string // state of the controller
	reductions, floors uint64 // of the window, as counted when the state was logged
	ecnOrLoss          uint64 // packets lost then
	reduced            int    // the window after the last reduction

	acked      []int64 // of ackedSpace, not logged yet
	ackedSpace recovery.Space
	frames     []qlog.Frame
}

// newRecorder begins a connection's log.
func newRecorder(now mono.Time, c *Conn) *recorder {
	r := &recorder{log: qlog.NewLog(now), now: now, firstOneRTT: -1}
	for i := range r.timers {
		r.timers[i] = mono.Never
	}
	p := c.Path()
	r.add(&qlog.ConnectionStarted{Local: qlog.Endpoint{Addr: p.Local}, Remote: qlog.Endpoint{Addr: p.Remote}})
	return r
}

// QLog returns the connection's log, nil if there is none. Its records are to be taken
// after every call of a verb or command that might have added some.
func (c *Conn) QLog() *qlog.Log {
	if c.qlog == nil {
		return nil
	}
	return c.qlog.log
}

// StopQLog ends the connection's log: nobody wants it.
func (c *Conn) StopQLog() { c.qlog = nil }

// QLogGroup returns what the connection's log is known by at both ends.
func (c *Conn) QLogGroup() string {
	id := c.FirstDCID()
	return id.String()
}

// FirstDCID returns the destination connection ID of the client's very first packet, also
// after a Retry. It never changes, and is the same at both ends.
func (c *Conn) FirstDCID() wire.ConnectionID {
	if c.server {
		return c.first
	}
	return c.ids.original
}

// QLogTime tells the log the time, before a command that is not told it otherwise.
func (c *Conn) QLogTime(now mono.Time) {
	if c.qlog != nil {
		c.qlog.at(now)
	}
}

// LogALPN logs what application protocols this end offers, and which one was chosen;
// "" for none yet.
func (c *Conn) LogALPN(now mono.Time, ours []string, chosen string) {
	r := c.qlog
	if r == nil {
		return
	}
	r.at(now)
	v := &qlog.ALPNInformation{Client: ours, Chosen: chosen}
	if c.server {
		v.Client, v.Server = nil, ours
	}
	r.add(v)
}

// at sets the time of what is logged next.
func (r *recorder) at(now mono.Time) { r.now = max(r.now, now) }

func (r *recorder) add(v qlog.Event) { r.log.Add(r.now, "", v) }

// addHere logs what concerns the path of the datagram at hand.
func (r *recorder) addHere(v qlog.Event) { r.log.Add(r.now, r.tuple, v) }

// begin logs what is known when the connection is made.
func (r *recorder) begin(c *Conn) {
	versions := c.cfg.versions()
	v := &qlog.VersionInformation{Client: versions, Chosen: c.version}
	if c.server {
		v.Client, v.Server = nil, versions
	}
	r.add(v)
	r.peerID = idBytes(&c.ids.peer)
	r.ownID = idBytes(&c.self)
	r.tupleAssigned(c, c.paths.active())
	r.setState("attempted")
	r.add(&qlog.ParametersSet{Initiator: qlog.Local, Parameters: parametersOf(c.params)})
	r.recoveryParameters(c)
	if !c.cfg.DisableECN {
		r.ecn = c.loss.ECNState()
		r.add(&qlog.ECNStateUpdated{New: r.ecn})
	}
	r.mtu = c.mtu.size
	r.add(&qlog.MTUUpdated{New: uint64(r.mtu)})
	r.catchUp(c)
}

func idBytes(id *wire.ConnectionID) []byte { return append([]byte{}, id.Bytes()...) }

func tupleName(n int) string {
	if n == 0 {
		return "" // the path of the handshake
	}
	return strconv.Itoa(n)
}

// recoveryParameters logs what a path is started with.
func (r *recorder) recoveryParameters(c *Conn) {
	rtt := c.cfg.InitialRTT
	if rtt <= 0 {
		rtt = recovery.DefaultInitialRTT
	}
	factor := 0.7 // 0.85 without a queue
	if c.loss.Controller().Name() == "reno" {
		factor = 0.5
	}
	r.add(&qlog.RecoveryParametersSet{
		ReorderingThreshold:  recovery.PacketThreshold,
		TimeThreshold:        recovery.TimeThreshold,
		TimerGranularity:     recovery.TimerGranularity,
		InitialRTT:           rtt,
		MaxDatagramSize:      uint64(c.mtu.size),
		InitialWindow:        uint64(congestion.InitialWindow(c.mtu.size)),
		MinimumWindow:        uint64(congestion.MinimumWindow(c.mtu.size)),
		LossReductionFactor:  factor,
		PersistentCongestion: recovery.PersistentCongestion,
		CongestionController: c.loss.Controller().Name(),
	})
}

// catchUp logs what has changed since the last time.
func (r *recorder) catchUp(c *Conn) {
	if size, done := c.mtu.size, !c.mtu.searching; size != r.mtu || done && !r.mtuDone && c.confirmed {
		r.add(&qlog.MTUUpdated{Old: uint64(r.mtu), New: uint64(size), Done: done})
		r.mtu, r.mtuDone = size, done
	} else if !done {
		r.mtuDone = false
	}
	if s := c.loss.ECNState(); s != r.ecn && !c.cfg.DisableECN {
		r.add(&qlog.ECNStateUpdated{Old: r.ecn, New: s})
		r.ecn = s
	}
	r.congestionState(c)
	rtt := c.loss.RTT()
	m := qlog.Metrics{
		MinRTT: rtt.Min, SmoothedRTT: rtt.Smoothed, LatestRTT: rtt.Latest, RTTVariance: rtt.Var,
		PTOCount:         uint64(c.loss.PTOCount()),
		CongestionWindow: uint64(c.loss.Window()),
		BytesInFlight:    uint64(max(c.loss.InFlight(), 0)),
		PacingRate:       8 * uint64(c.loss.PacingRate()),
	}
	if t := c.loss.Controller().Threshold(); t != math.MaxInt {
		m.Threshold = uint64(t)
	}
	if m != r.metrics {
		r.add(&qlog.RecoveryMetricsUpdated{Old: r.metrics, New: m})
		r.metrics = m
	}
}

// congestionState logs what the controller is about. It is in recovery from a reduction
// of its window until that grows again.
func (r *recorder) congestionState(c *Conn) {
	s := c.loss.Stats()
	state, trigger := "congestion_avoidance", ""
	if c.loss.Controller().SlowStart() {
		state = "slow_start"
	}
	switch {
	case s.PersistentCongestion > r.floors:
		trigger = "persistent_congestion"
	case s.CongestionEvents > r.reductions:
		state, trigger = "recovery", "ecn"
		if s.Lost > r.ecnOrLoss {
			trigger = "loss"
		}
		r.reduced = c.loss.Window()
	case r.congestion == "recovery" && c.loss.Window() <= r.reduced:
		state = "recovery"
	}
	again := s.CongestionEvents > r.reductions && state == "recovery"
	r.reductions, r.floors, r.ecnOrLoss = s.CongestionEvents, s.PersistentCongestion, s.Lost
	if state != r.congestion || again {
		r.add(&qlog.CongestionStateUpdated{Old: r.congestion, New: state, Trigger: trigger})
		r.congestion = state
	}
}

// timerNames are the words for the timers; the first few are the draft's.
var timerNames = [timers]string{
	timerLoss: "loss_timeout", timerPath: "path_validation", timerHandshake: "handshake_timeout", timerIdle: "idle_timeout",
	timerAck: "ack_delay", timerPace: "pacing", timerProgress: "progress_timeout", timerKeepAlive: "keep_alive",
	timerKeys: "key_discard", timerMTU: "mtu_raise", timerOriginal: "original_id", timerLate: "retired_id", timerGone: "close",
}

// timerMoves is how far the timers of silence, which every packet sets anew, have to move to
// be worth an event.
const timerMoves = time.Second

// timerChanges logs the timers that were set, moved or cancelled.
func (r *recorder) timerChanges(c *Conn) {
	for t := timer(0); t < timers; t++ {
		before, at := r.timers[t], c.when(t)
		switch {
		case at == before, t == timerRest: // nothing of the protocol's
			continue
		case at == mono.Never:
			r.add(&qlog.TimerUpdated{Type: timerNames[t], Event: "cancelled"})
		case (t == timerIdle || t == timerKeepAlive || t == timerProgress) && before != mono.Never && at.Sub(before).Abs() < timerMoves:
			continue
		default:
			r.add(&qlog.TimerUpdated{Type: timerNames[t], Event: "set", Delta: max(at.Sub(r.now), 0)})
		}
		r.timers[t] = at
	}
}

// expired logs a timer that has run out.
func (r *recorder) expired(t timer) {
	r.add(&qlog.TimerUpdated{Type: timerNames[t], Event: "expired"})
	r.timers[t] = mono.Never
}

// blockedReason is why data waits.
type blockedReason uint8

const (
	blockedNot blockedReason = iota
	blockedAmplification
	blockedCongestion
	blockedPacing
	blockedConnection
	blockedStream
	blockedStreamID
	blockedReasons
)

var blockedNames = [blockedReasons]string{
	"", "amplification_protection", "congestion_control", "pacing", "connection_flow_control", "stream_flow_control", "stream_id",
}

// block logs that a reason keeps the connection's data back, or no longer does.
func (r *recorder) block(why blockedReason, on bool) {
	if r.blocked[why] != on {
		r.blocked[why] = on
		r.add(&qlog.DataBlockedUpdated{Blocked: on, Reason: blockedNames[why]})
	}
}

// blockStream logs that a reason keeps a stream's data back, or with blockedNot that none does.
func (r *recorder) blockStream(st *Stream, why blockedReason) {
	before := st.blockedFor
	if before == why {
		return
	}
	st.blockedFor = why
	if before != blockedNot {
		r.add(&qlog.DataBlockedUpdated{Stream: true, StreamID: st.id, Reason: blockedNames[before]})
	}
	if why != blockedNot {
		r.add(&qlog.DataBlockedUpdated{Stream: true, StreamID: st.id, Blocked: true, Reason: blockedNames[why]})
	}
}

// paused logs what has ended a transmission: nothing if all was sent that there is.
func (r *recorder) paused(c *Conn, open, paced bool) {
	waits := !open && (c.streamsWait() || c.datagrams.waits())
	r.block(blockedPacing, waits && paced)
	r.block(blockedCongestion, waits && !paced)
}

// transmit is Conn.Transmit with a log of it.
func (r *recorder) transmit(c *Conn, now mono.Time, b *dgram.Batch) bool {
	r.at(now)
	r.tuple = tupleName(c.paths.active().tuple)
	some := c.transmit(now, b)
	if some {
		v := &qlog.UDPDatagrams{ECN: uint8(b.ECN)}
		for i := range b.Count() {
			v.Lengths = append(v.Lengths, len(b.Segment(i)))
		}
		r.addHere(v)
	}
	r.catchUp(c)
	if !some {
		r.timerChanges(c)
	}
	return some
}
