package transport

import (
	"bytes"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/congestion"
	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// Conn is one QUIC connection, client or server. Its state is made of named
// parts, each in the file of its name; the six verbs of the package's doc
// (Receive, Handshake, Advance, Deadline, Transmit, Next) and the commands
// work on them.
type Conn struct {
	// Value is the owner's: the connection does not look at it.
	Value any

	cfg        *Config
	server     bool
	keepUni    bool   // KeepUnidirectional was called
	settles    uint16 // calls of settle: each is for one datagram at most
	version    uint32 // of packets that we send; in the end the Negotiated Version
	chosen     uint32 // of the client's first flight
	ackOnlyRun int32  // packets sent in a row that ask for no ACK

	life    life
	codes   *errorCodes // of the application; nil if it has said nothing
	hs      *handshake  // nil once the handshake is confirmed
	waiting waiting
	oneRTT  protect.OneRTT
	acks    recovery.Acks // 1-RTT and 0-RTT packets
	loss    recovery.Loss
	ids     ids
	paths   paths
	mtu     mtu
	flow    flow
	streams streams
	postOut *stream.Send // 1-RTT CRYPTO, most often one way only; nil until there is any
	postIn  *stream.Recv
	control control
	asking  ackFrequency
	skip    skip
	idle    idle
	budget  budget
	events  eventQueue
	stats   counters
	times   connTimes

	datagrams *datagrams // nil until there is one

	self             wire.ConnectionID // ours in the handshake
	first            wire.ConnectionID // server: DCID of the client's very first packet
	params           *wire.Parameters  // ours: as sent, and once the handshake is confirmed as configured
	peer             *wire.Parameters  // the peer's; resumed ones until the real ones are here. Not to be changed
	peerKnown        bool              // peer are the real ones
	early            earlyState
	earlySent        bool // client: there was a 0-RTT packet
	secure           bool // handshake complete
	confirmed        bool // handshake confirmed
	spin             bool
	marking          dgram.ECN // of the datagram being written
	ackFrequencySeen int64     // sequence number of the latest ACK_FREQUENCY; -1: none
	paceUntil        mono.Time // the pacer holds data back until then

	qlog *recorder // nil unless there is a log

	frames []recovery.Frame // of the datagram being written; empty between calls
}

// NewClient returns a client's connection on the given path. Its first flight
// leaves once TLS has been fed to Handshake.
func NewClient(now mono.Time, path dgram.Path, cfg *Config) *Conn {
	c := newConn(now, path, cfg, cfg.First(), false)
	original := cfg.DCID
	if original.Len() == 0 {
		original = c.randomID(connIDLen)
	}
	c.ids.original = original
	c.ids.peerInitial(original)
	c.hs.token = cfg.Token
	c.params.HasInitialSCID = true
	c.self = c.ids.issueFirst(c)
	c.params.InitialSCID = c.self
	c.tellVersions()
	c.setInitialKeys(original)
	if cfg.Resumed != nil {
		c.peer = cfg.Resumed
	}
	if cfg.Delayed {
		c.hs.held, c.stats.begun = true, mono.Never
	}
	if c.qlog != nil {
		c.qlog.begin(c)
	}
	return c
}

// Begin ends the wait of a connection made with Config.Delayed: its timers start.
func (c *Conn) Begin(now mono.Time) {
	if !c.held() || c.life.state != active {
		return
	}
	c.hs.held, c.hs.deadline, c.stats.begun = false, now.Add(c.cfg.handshakeTimeout()), now
	c.idle.init(now, c.cfg.KeepAlive)
}

// held reports whether nobody has called Begin yet where that is needed.
func (c *Conn) held() bool { return c.hs != nil && c.hs.held }

// Opening is what a server knows of a client from its first packet.
type Opening struct {
	Path         dgram.Path
	Version      uint32            // as in the packet
	DCID         wire.ConnectionID // as in the packet
	SCID         wire.ConnectionID // as in the packet, which may yet turn out not to be authentic
	OriginalDCID wire.ConnectionID // before a Retry; DCID if there was none
	Retried      bool              // the client came back with a Retry token
	Validated    bool              // the client's address is known to be its own
}

// NewServer returns a server's connection for a client's first packet, which is
// to be handed to Receive next.
func NewServer(now mono.Time, o Opening, cfg *Config) *Conn {
	c := newConn(now, o.Path, cfg, o.Version, true)
	c.ids.original = o.DCID
	c.ids.peerInitial(o.SCID)
	c.events.push(Event{Kind: EventIssued, Detail: &Detail{CID: o.DCID}})
	c.self, c.first = c.ids.issueFirst(c), o.OriginalDCID
	p := c.params
	p.HasInitialSCID, p.InitialSCID = true, c.self
	p.HasOriginalDCID, p.OriginalDCID = true, o.OriginalDCID
	if o.Retried {
		p.HasRetrySCID, p.RetrySCID = true, o.DCID
	}
	p.HasResetToken, p.ResetToken = true, cfg.ResetToken(p.InitialSCID)
	if pref := cfg.Params.PreferredAddress; pref != nil {
		offer := *pref
		offer.ID, offer.Token = c.ids.issuePreferred(c)
		p.PreferredAddress = &offer
	}
	c.paths.active().validated = o.Validated
	c.tellVersions()
	c.setInitialKeys(o.DCID)
	if c.qlog != nil {
		c.qlog.begin(c)
	}
	return c
}

func newConn(now mono.Time, path dgram.Path, cfg *Config, version uint32, server bool) *Conn {
	c := &Conn{cfg: cfg, server: server, peer: &unsaid}
	c.version, c.chosen = version, version
	c.hs = newHandshake(now.Add(cfg.handshakeTimeout()), cfg, server)
	c.params = &c.hs.params
	c.params.ActiveCIDLimit = c.maxPeerIDs()
	c.life.until, c.paceUntil, c.ids.originalUntil = mono.Never, mono.Never, mono.Never
	c.stats.init(now)
	c.acks.Init(recovery.App, c.params.MaxAckDelay)
	c.ackFrequencySeen = -1
	c.mtu.init(cfg)
	c.loss.Init(now, recovery.Config{
		Server:      server,
		InitialRTT:  cfg.InitialRTT,
		MaxDatagram: cfg.initialDatagram(),
		Controller:  c.newController(),
	})
	c.paths.init(path, !server)
	c.flow.init(c)
	c.streams.init(c)
	c.idle.init(now, cfg.KeepAlive)
	c.skip.init(c)
	c.spin = c.random64()&1 == 1
	if cfg.QLog {
		c.qlog = newRecorder(now, c)
	}
	return c
}

// unsaid is what holds for a peer before its parameters are known.
var unsaid = wire.DefaultParameters()

func (c *Conn) newController() congestion.Controller {
	if c.cfg.CongestionControl == "reno" {
		return congestion.NewReno(c.mtu.size)
	}
	return congestion.NewCubic(c.mtu.size)
}

// Next returns the next thing that happened, false when there is none.
func (c *Conn) Next() (Event, bool) {
	e, ok := c.events.pop()
	switch e.Kind { // the zero Kind, of no event, is none of these
	case EventReadable:
		e.Stream.noticed = false
	case EventBlocked:
		e.Stream.halted = false
	case EventDatagram:
		c.datagrams.told = false
	case EventStreamAcked:
		e.Stream.progress = false
	}
	return e, ok
}

// Server reports whether this is the server's end.
func (c *Conn) Server() bool { return c.server }

// Path returns the path in use.
func (c *Conn) Path() dgram.Path { return c.paths.active().addr }

// ValidatedPath returns the path in use, or while that is not validated the one
// validated last: an address that is known to be the peer's. In a server's handshake, when
// none is validated, it is the path that the client began on.
func (c *Conn) ValidatedPath() dgram.Path {
	s := &c.paths
	if last := s.lastValidated(s.cur); last >= 0 && !s.active().validated {
		return s.list[last].addr
	}
	return s.active().addr
}

// AddressValidated reports whether ValidatedPath leads to an address that is known to be the peer's.
func (c *Conn) AddressValidated() bool {
	s := &c.paths
	return s.active().validated || s.lastValidated(s.cur) >= 0
}

// ID returns our first connection ID, the one used in the handshake.
func (c *Conn) ID() wire.ConnectionID { return c.self }

// OriginalDCID returns the destination connection ID of the client's first
// packet as this end knows it; after a Retry, the one of the second attempt.
func (c *Conn) OriginalDCID() wire.ConnectionID { return c.ids.original }

// Secure reports whether the handshake is complete.
func (c *Conn) Secure() bool { return c.secure }

// Heard reports whether any packet of the peer's was authentic.
func (c *Conn) Heard() bool { return c.hs == nil || c.hs.heard }

// Confirmed reports whether the handshake is confirmed.
func (c *Conn) Confirmed() bool { return c.confirmed }

// Closed reports whether EventClosed has been or is about to be delivered.
func (c *Conn) Closed() bool { return c.life.state != active }

// UsingEarlyData reports whether 0-RTT was tried and, as far as is known,
// accepted: on a client until the server refuses it, on a server from the
// moment TLS has accepted it.
func (c *Conn) UsingEarlyData() bool { return c.early == earlyTried || c.early == earlyAccepted }

// SentEarly reports whether a client has sent anything in 0-RTT packets.
func (c *Conn) SentEarly() bool { return c.earlySent }

// LocalParameters returns our transport parameters as TLS is to carry them: a server's
// are complete when it knows the client's, because they tell the version.
func (c *Conn) LocalParameters() []byte {
	var room [256]byte
	return bytes.Clone(wire.AppendGrease(c.params.Append(room[:0]), c.random64(), nil)) // TLS keeps it
}

// PeerParameters returns the peer's transport parameters, nil before they are known.
func (c *Conn) PeerParameters() *wire.Parameters {
	if !c.peerKnown {
		return nil
	}
	return c.peer
}

// setPeerParameters takes the peer's parameters from TLS (RFC 9000 §7.3, §7.4).
func (c *Conn) setPeerParameters(now mono.Time, b []byte) *wire.Error {
	p, err := wire.ParseParameters(b, !c.server)
	if err != nil {
		return err
	}
	if err := c.ids.authenticate(c, &p); err != nil {
		return err
	}
	if err := c.negotiate(p.Versions); err != nil {
		return err
	}
	if c.early == earlyTried && !c.server && c.cfg.Resumed != nil && lowered(c.cfg.Resumed, &p) {
		// Whether 0-RTT was accepted is not known yet; TLS says so before the
		// handshake completes, and only then do lower limits matter.
		c.early = earlyLowered
	}
	c.peer, c.peerKnown = &p, true
	if c.qlog != nil {
		c.qlog.add(&qlog.ParametersSet{Initiator: qlog.Remote, Parameters: parametersOf(&p)})
	}
	c.loss.SetPeerAckDelay(p.MaxAckDelay)
	c.asking.asked = recovery.DefaultFrequency(p.MaxAckDelay)
	c.mtu.setPeerMax(p.MaxUDPPayload)
	c.applyPeerLimits()
	if !c.server {
		if p.HasResetToken {
			c.ids.setFirstToken(c, p.ResetToken)
		}
		if p.PreferredAddress != nil {
			c.ids.addPreferred(c, p.PreferredAddress)
		}
	}
	c.events.push(Event{Kind: EventParameters})
	return nil
}

// lowered reports whether a limit that 0-RTT relied on is now smaller (RFC 9000 §7.4.1).
func lowered(old, p *wire.Parameters) bool {
	return p.MaxData < old.MaxData ||
		p.MaxStreamDataBidiLocal < old.MaxStreamDataBidiLocal ||
		p.MaxStreamDataBidiRemote < old.MaxStreamDataBidiRemote ||
		p.MaxStreamDataUni < old.MaxStreamDataUni ||
		p.MaxStreamsBidi < old.MaxStreamsBidi ||
		p.MaxStreamsUni < old.MaxStreamsUni ||
		p.ActiveCIDLimit < old.ActiveCIDLimit ||
		p.MaxDatagramFrame < old.MaxDatagramFrame
}

// Ping sends a PING, so that the peer answers.
func (c *Conn) Ping() { c.control.ping.want() }

// UpdateKey starts a key update (RFC 9001 §6), and reports whether it may at this time.
func (c *Conn) UpdateKey(now mono.Time) bool {
	if c.life.state != active || !c.confirmed || !c.oneRTT.CanUpdate() {
		return false
	}
	c.oneRTT.Update()
	if c.qlog != nil {
		c.qlog.at(now)
		c.qlog.phaseEnds(c, true, "local_update")
	}
	c.events.push(Event{Kind: EventKeyUpdate})
	return true
}

// keyUpdated takes the peer's first packet of a key phase. before is how many
// updates there were: as many as now if the packet answers an update of ours.
func (c *Conn) keyUpdated(now mono.Time, before int) {
	c.oneRTT.KeepPrevious(now.Add(3 * c.loss.PTO(recovery.App))) // RFC 9001 §6.5
	trigger := "local_update"
	if c.oneRTT.Updates() > before {
		trigger = "remote_update"
		c.events.push(Event{Kind: EventKeyUpdate})
	}
	if c.qlog != nil {
		c.qlog.phaseEnds(c, false, trigger)
		if c.oneRTT.Updates() > before {
			c.qlog.phaseEnds(c, true, trigger)
		}
	}
}

// SetKeepAlive makes a PING go after d of silence; 0 stops that.
func (c *Conn) SetKeepAlive(d time.Duration) { c.idle.keepAlive = d }

func (c *Conn) random64() uint64 {
	var b [8]byte
	c.cfg.Rand(b[:])
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

func (c *Conn) randomID(n int) wire.ConnectionID {
	var b [wire.MaxConnectionIDLen]byte
	c.cfg.Rand(b[:n])
	return wire.MakeConnectionID(b[:n])
}
