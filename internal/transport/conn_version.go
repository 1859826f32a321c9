package transport

import (
	"encoding/binary"
	"slices"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// versions is what negotiates the version during the handshake (RFC 9368).
type versions struct {
	other   *protect.Opener // for Initials of the one version, beside Conn.version, that they may be of
	otherOf uint32          // that version
	known   bool            // Conn.version is the Negotiated Version
	reacted bool            // client: this is the second attempt, after Version Negotiation
}

// First returns the version of a client's first flight.
func (c *Config) First() uint32 {
	list := c.versions()
	switch {
	case c.FirstVersion != 0:
		return c.FirstVersion
	case slices.Contains(list, wire.Version1):
		return wire.Version1 // most servers can read it (RFC 9368 §2.5)
	}
	return list[0]
}

// versions returns what an end speaks, most preferred first.
func (c *Config) versions() []uint32 {
	if len(c.Versions) == 0 {
		return wire.Versions()
	}
	return c.Versions
}

// prefer returns the version that a server answers in, of those that the client can go
// on with: the first of its own list, or of the client's if it has no preference.
func (c *Config) prefer(client *wire.VersionInformation, chosen uint32) uint32 {
	for _, v := range c.Versions {
		if client.Offers(v) {
			return v
		}
	}
	if len(c.Versions) == 0 {
		for _, v := range client.Available {
			if wire.KnownVersion(v) {
				return v
			}
		}
	}
	return chosen
}

// Version returns the version in use: when the handshake is complete, the one that was
// negotiated.
func (c *Conn) Version() uint32 { return c.version }

// FirstVersion returns the version of the client's first flight, which 0-RTT packets are of
// and Retry packets were.
func (c *Conn) FirstVersion() uint32 { return c.chosen }

// tellVersions puts the version in use and those that we speak into our parameters (RFC 9368 §8).
func (c *Conn) tellVersions() {
	c.params.Versions = &wire.VersionInformation{Chosen: c.version, Available: c.cfg.versions()}
}

// negotiate takes the peer's Version Information, nil if it has sent none. For a server
// that is when the Negotiated Version becomes known (RFC 9368 §2.3).
func (c *Conn) negotiate(info *wire.VersionInformation) *wire.Error {
	if !c.server {
		return c.checkVersion(info)
	}
	c.hs.versions.known = true
	switch {
	case info == nil: // RFC 9368 §4: that of the first flight
	case info.Chosen != c.chosen:
		return versionError("the client has chosen another version than its packets are of")
	default:
		if v := c.cfg.prefer(info, c.chosen); v != c.version {
			c.upgrade(v)
		}
	}
	if c.qlog != nil {
		c.qlog.versionKnown(c, info)
	}
	return nil
}

// checkVersion is how a client makes sure that nobody but the server had a say in what
// version is in use (RFC 9368 §4).
func (c *Conn) checkVersion(info *wire.VersionInformation) *wire.Error {
	if info == nil && c.hs.versions.reacted && c.version == wire.Version1 && c.chosen == wire.Version1 {
		// RFC 9368 §8: a server that knows of version 1 only cannot know of Version Information.
		info = &wire.VersionInformation{Chosen: wire.Version1, Available: []uint32{wire.Version1}}
	}
	switch {
	case info == nil && (c.hs.versions.reacted || c.version != c.chosen):
		return versionError("the server has changed the version, and does not say which ones it speaks")
	case info == nil: // a server of one version
	case !slices.Contains(c.cfg.versions(), info.Chosen):
		return versionError("the server has chosen a version that was not offered")
	case info.Chosen != c.version:
		return versionError("the server has chosen another version than its packets are of")
	case c.hs.versions.reacted && !c.wouldChoose(info.Available):
		return versionError("the server speaks a version that Version Negotiation has not named")
	}
	if c.qlog != nil {
		c.qlog.versionKnown(c, info)
	}
	return nil
}

// wouldChoose reports whether a client that knows what the server speaks takes the
// version in use from that, as it did from a Version Negotiation packet that may have been anybody's.
func (c *Conn) wouldChoose(available []uint32) bool {
	return len(available) > 0 && c.cfg.common(append([]uint32{c.version}, available...)) == c.version
}

// common returns the version we like best of those that a server offers, 0 if we speak none of them.
func (c *Config) common(offered []uint32) uint32 {
	for _, v := range c.versions() {
		if slices.Contains(offered, v) {
			return v
		}
	}
	return 0
}

func versionError(reason string) *wire.Error {
	return frameError(wire.VersionNegotiationError, wire.FrameCrypto, reason)
}

// upgrade makes a server go on in another version than that of the client's first flight. The
// client may send Initials of that until it has seen one of the new version (RFC 9369 §4.1).
func (c *Conn) upgrade(version uint32) {
	sp, v := &c.hs.initial, &c.hs.versions
	v.other, v.otherOf = sp.opener, c.version
	sp.opener = nil // not to be erased
	c.version = version
	c.tellVersions()
	c.setInitialKeys(c.ids.original)
}

// initialOpener returns what opens Initial packets of a version, nil if they are to be
// dropped. A client that has offered another version than that of its first flight has to
// look whether the server has taken it (RFC 9369 §4.1).
func (c *Conn) initialOpener(version uint32) *protect.Opener {
	sp, v := &c.hs.initial, &c.hs.versions
	if version == c.version {
		return sp.opener
	}
	if !c.server && v.other == nil && !v.known && !sp.gone && slices.Contains(c.cfg.versions(), version) {
		var unused *protect.Sealer
		v.other, unused = initialKeys(version, c.ids.initialDCID(), false)
		v.otherOf = version
		unused.Erase()
	}
	if v.otherOf == version {
		return v.other
	}
	return nil
}

// initialDCID returns the ID that a client's Initial keys are made of.
func (s *ids) initialDCID() wire.ConnectionID {
	if s.retried {
		return s.retry
	}
	return s.original
}

// follow makes a client go on in the version that the server has answered in. It was
// offered, and the packet that says so is an Initial with the right keys.
func (c *Conn) follow(version uint32) {
	sp, v := &c.hs.initial, &c.hs.versions
	tried := v.other
	v.other, v.otherOf, v.known = nil, 0, true
	c.oneRTT.AddFailures(sp.opener.Failures())
	c.version = version
	c.setInitialKeys(c.ids.initialDCID())
	c.oneRTT.AddFailures(tried.Failures())
	tried.Erase()
}

// dropOtherInitial forgets the Initial keys of the version that is not in use.
func (c *Conn) dropOtherInitial() {
	v := &c.hs.versions
	if v.other != nil {
		c.oneRTT.AddFailures(v.other.Failures())
		v.other.Erase()
	}
	v.other, v.otherOf = nil, 0
}

// receiveOtherVersion takes what is no packet of a version that we speak: for a client that
// has heard nothing yet it may be Version Negotiation (RFC 9000 §6.2, RFC 9368 §2.1), which
// it then reports to have taken. One that names the version of our first flight cannot be
// from the server, nor be of use in a second attempt.
func (c *Conn) receiveOtherVersion(now mono.Time, b []byte) bool {
	if c.server || c.hs == nil || c.hs.heard || c.ids.retried || c.hs.versions.reacted {
		return false
	}
	list, inv, ok := wire.ParseVersionNegotiation(b)
	id := c.ID()
	if !ok || string(inv.DCID) != string(id.Bytes()) || string(inv.SCID) != string(c.ids.original.Bytes()) {
		return false
	}
	offered := make([]uint32, 0, len(list)/4)
	for ; len(list) >= 4; list = list[4:] {
		offered = append(offered, binary.BigEndian.Uint32(list))
	}
	if slices.Contains(offered, c.chosen) {
		return false
	}
	if c.qlog != nil {
		c.qlog.versionsReceived(c, b, offered)
	}
	if v := c.cfg.common(offered); v != 0 {
		c.again(now, v)
	} else {
		c.enterDraining(now, &CloseReason{Kind: CloseVersion, Versions: offered, Ours: c.cfg.versions(), Version: c.chosen})
	}
	return true
}

// again begins a client's connection anew in another version (RFC 9368 §6). What there was of TLS is
// over, as are early data, which a ticket of the other version has allowed, and a token (RFC 9369 §5).
func (c *Conn) again(now mono.Time, version uint32) {
	c.dropOtherInitial()
	c.version, c.chosen = version, version
	c.hs.versions.reacted = true
	c.hs.token = nil
	c.loss.RetryRestart(now)
	c.settle(now) // while what was lost is still known
	early := c.early == earlyTried
	c.rejectEarly()
	c.peer = &unsaid
	crypto := &c.hs.initial.crypto
	crypto.release()
	*crypto = cryptoStream{}
	crypto.init(c.cfg.Pool, firstWindow)
	c.tellVersions()
	c.setInitialKeys(c.ids.original)
	c.idle.heard(now)
	c.events.push(Event{Kind: EventRestart, OK: early})
}
