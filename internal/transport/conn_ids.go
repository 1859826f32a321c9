package transport

import (
	"crypto/subtle"

	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// ids is the connection IDs of both ends (RFC 9000 §5.1).
type ids struct {
	original  wire.ConnectionID // DCID of the client's first packet; on a server after a Retry, of the second attempt
	retry     wire.ConnectionID // client: the SCID of the Retry
	retried   bool
	peerFixed bool // the peer's handshake ID is the one it chose itself

	local     []localID // ours, that the peer may use
	localNext int64
	localSent int64 // highest sequence number that the peer can know

	late *lateIDs // nil if there are none

	originalUntil mono.Time // server: late copies of the client's first packets are ours until then

	peer          wire.ConnectionID // the peer's in the handshake
	remote        []remoteID        // the peer's, that we may use; the first belongs to the active path
	retirePriorTo int64
	retire        []retirement
	retired       ranges.Set // sequence numbers of the peer's IDs that we gave up: they do not come back
}

// maxPeerIDs returns how many of the peer's IDs we are ready to know: our
// active_connection_id_limit.
func (c *Conn) maxPeerIDs() int64 { return min(max(c.cfg.Params.ActiveCIDLimit, 2), maxRemoteIDs) }

// lateIDs are connection IDs of ours that the peer has retired a moment ago.
type lateIDs struct {
	ids   []wire.ConnectionID
	until mono.Time // packets to them that were overtaken are ours until then
}

type localID struct {
	seq  int64
	id   wire.ConnectionID
	sent signal // NEW_CONNECTION_ID
}

type remoteID struct {
	seq      int64
	id       wire.ConnectionID
	token    wire.ResetToken
	hasToken bool
	used     bool // on some path
}

// retirement is a RETIRE_CONNECTION_ID frame that is not known to have arrived.
type retirement struct {
	seq  int64
	sent signal
}

// issueFirst makes our connection ID for the handshake, sequence number 0.
func (s *ids) issueFirst(c *Conn) wire.ConnectionID {
	l := s.issue(c)
	l.sent.clear()
	return l.id
}

// issuePreferred makes the connection ID of our preferred address, sequence number 1.
func (s *ids) issuePreferred(c *Conn) (wire.ConnectionID, wire.ResetToken) {
	l := s.issue(c)
	l.sent.clear()
	s.localSent = l.seq
	return l.id, c.cfg.ResetToken(l.id)
}

func (s *ids) issue(c *Conn) *localID {
	s.local = append(s.local, localID{seq: s.localNext, id: c.randomID(connIDLen), sent: signalWanted})
	s.localNext++
	l := &s.local[len(s.local)-1]
	c.events.push(Event{Kind: EventIssued, Detail: &Detail{CID: l.id}})
	return l
}

// issueMore keeps as many connection IDs with the peer as it allows and we care for.
func (s *ids) issueMore(c *Conn) {
	for int64(len(s.local)) < min(maxLocalIDs, c.peer.ActiveCIDLimit) {
		s.issue(c)
	}
}

// isLocal reports whether id is one of ours now, and its sequence number.
func (s *ids) isLocal(id []byte) (seq int64, ok bool) {
	for i := range s.local {
		if string(s.local[i].id.Bytes()) == string(id) {
			return s.local[i].seq, true
		}
	}
	return 0, false
}

// onRetire takes RETIRE_CONNECTION_ID (RFC 9000 §19.16); own is the sequence
// number that the packet was addressed to, -1 if none. Packets to the retired ID that were sent
// before may come after, above all where the peer moves to another address: a stateless reset
// is no answer to them.
func (s *ids) onRetire(c *Conn, now mono.Time, seq, own int64) *wire.Error {
	if seq > s.localSent {
		return frameError(wire.ProtocolViolation, wire.FrameRetireConnectionID, "retires a connection ID that was never sent")
	}
	if seq == own {
		return frameError(wire.ProtocolViolation, wire.FrameRetireConnectionID, "retires the connection ID it was sent to")
	}
	for i := range s.local {
		if s.local[i].seq == seq {
			if s.late == nil {
				s.late = new(lateIDs)
			}
			s.late.ids = append(s.late.ids, s.local[i].id)
			s.late.until = now.Add(3 * c.loss.PTO(recovery.App))
			s.dropLate(c, maxLateIDs)
			s.local = append(s.local[:i], s.local[i+1:]...)
			s.issueMore(c)
			break
		}
	}
	return nil
}

// lateUntil returns when no more is taken for retired IDs.
func (s *ids) lateUntil() mono.Time {
	if s.late == nil {
		return mono.Never
	}
	return s.late.until
}

// dropLate lets only so many of the retired IDs lead here on, the newest ones.
func (s *ids) dropLate(c *Conn, most int) {
	if s.late == nil {
		return
	}
	for ; len(s.late.ids) > most; s.late.ids = s.late.ids[1:] {
		c.events.push(Event{Kind: EventRetired, Detail: &Detail{CID: s.late.ids[0]}})
	}
	if most == 0 {
		s.late = nil
	}
}

// peerInitial sets where handshake packets go: for a client its own random
// choice until the server has answered.
func (s *ids) peerInitial(id wire.ConnectionID) {
	s.peer = id
	s.remote = append(s.remote[:0], remoteID{id: id, used: true})
}

// peerChose fixes the peer's handshake connection ID from its first packet.
func (s *ids) peerChose(c *Conn, id wire.ConnectionID) {
	if c.qlog != nil {
		c.qlog.peerIDChanged(idBytes(&id))
	}
	s.peer, s.remote[0].id = id, id
	s.peerFixed = true
}

// authenticate checks that the IDs of the handshake are the ones the peer says
// it saw and used (RFC 9000 §7.3).
func (s *ids) authenticate(c *Conn, p *wire.Parameters) *wire.Error {
	bad := func(reason string) *wire.Error {
		return &wire.Error{Code: wire.TransportParameterError, Frame: wire.FrameCrypto, Reason: reason}
	}
	switch {
	case !p.HasInitialSCID:
		return bad("initial_source_connection_id is missing")
	case p.InitialSCID != s.peer:
		return bad("initial_source_connection_id is not the one in use")
	case c.server:
		return nil
	case !p.HasOriginalDCID:
		return bad("original_destination_connection_id is missing")
	case p.OriginalDCID != s.original:
		return bad("original_destination_connection_id is not the one of our first packet")
	case s.retried && !p.HasRetrySCID:
		return bad("retry_source_connection_id is missing after a Retry")
	case s.retried && p.RetrySCID != s.retry:
		return bad("retry_source_connection_id is not the one of the Retry")
	case !s.retried && p.HasRetrySCID:
		return bad("retry_source_connection_id without a Retry")
	case p.PreferredAddress != nil && s.peer.Len() == 0:
		return bad("preferred_address with a zero-length connection ID")
	}
	return nil
}

func (s *ids) setFirstToken(c *Conn, token wire.ResetToken) {
	s.remote[0].token, s.remote[0].hasToken = token, true
	c.events.push(Event{Kind: EventTokenKnown, Detail: &Detail{Token: token}})
}

func (s *ids) addPreferred(c *Conn, p *wire.PreferredAddress) {
	s.remote = append(s.remote, remoteID{seq: 1, id: p.ID, token: p.Token, hasToken: true})
	c.events.push(Event{Kind: EventTokenKnown, Detail: &Detail{Token: p.Token}})
}

// onNew takes NEW_CONNECTION_ID (RFC 9000 §5.1.1, §5.1.2, §19.15).
func (s *ids) onNew(c *Conn, p *received, f wire.NewConnectionID) *wire.Error {
	const t = wire.FrameNewConnectionID
	if s.peer.Len() == 0 {
		return frameError(wire.ProtocolViolation, t, "new connection ID from a peer whose IDs are empty")
	}
	if f.Seq < s.retirePriorTo {
		p.waste(t, 1)
		s.retireSeq(f.Seq)
		return s.checkRetirements(c)
	}
	known := s.retired.Contains(f.Seq)
	for i := range s.remote {
		r := &s.remote[i]
		switch sameSeq, sameID := r.seq == f.Seq, r.id == f.ID; {
		case sameSeq && sameID && (!r.hasToken || r.token.Equal(f.Token)):
			known = true
		case sameSeq || sameID:
			return frameError(wire.ProtocolViolation, t, "connection ID, sequence number and token do not belong together")
		}
	}
	switch {
	case f.RetirePriorTo > s.retirePriorTo:
		p.waste(t, uselessWork)
	case known:
		p.waste(t, 1)
	}
	if !known {
		s.remote = append(s.remote, remoteID{seq: f.Seq, id: f.ID, token: f.Token, hasToken: true})
		c.events.push(Event{Kind: EventTokenKnown, Detail: &Detail{Token: f.Token}})
	}
	if f.RetirePriorTo > s.retirePriorTo {
		// The frame's own ID is left, unless it comes again after we gave it up.
		if !s.anyFrom(f.RetirePriorTo) {
			return frameError(wire.ProtocolViolation, t, "retires every connection ID that there is")
		}
		s.retirePriorTo = f.RetirePriorTo
		c.retireRemoteBelow(f.RetirePriorTo)
	}
	if int64(len(s.remote)) > c.maxPeerIDs() {
		return frameError(wire.ConnectionIDLimitError, t, "more connection IDs than active_connection_id_limit")
	}
	return s.checkRetirements(c)
}

// anyFrom reports whether there is an ID of the peer's with that sequence number
// or a later one.
func (s *ids) anyFrom(seq int64) bool {
	for i := range s.remote {
		if s.remote[i].seq >= seq {
			return true
		}
	}
	return false
}

// checkRetirements bounds the retirements that the peer has not acknowledged by
// three times what it may have active.
func (s *ids) checkRetirements(c *Conn) *wire.Error {
	if int64(len(s.retire)) > retirementsPerID*c.maxPeerIDs() {
		return frameError(wire.ConnectionIDLimitError, wire.FrameNewConnectionID, "retires connection IDs faster than it acknowledges")
	}
	return nil
}

// retireRemoteBelow gives up every ID of the peer with a lower sequence number,
// and puts paths that used one on another.
func (c *Conn) retireRemoteBelow(seq int64) {
	s := &c.ids
	kept := s.remote[:0]
	var gone []remoteID
	for _, r := range s.remote {
		if r.seq < seq {
			gone = append(gone, r)
			continue
		}
		kept = append(kept, r)
	}
	s.remote = kept
	for _, r := range gone {
		s.forget(c, r)
	}
	c.paths.replaceIDs(c)
}

// retireOne gives up the peer's ID with that sequence number.
func (s *ids) retireOne(c *Conn, seq int64) {
	for i, r := range s.remote {
		if r.seq == seq {
			s.remote = append(s.remote[:i], s.remote[i+1:]...)
			s.forget(c, r)
			return
		}
	}
}

func (s *ids) forget(c *Conn, r remoteID) {
	if r.hasToken {
		c.events.push(Event{Kind: EventTokenForgotten, Detail: &Detail{Token: r.token}})
	}
	s.retireSeq(r.seq)
}

func (s *ids) retireSeq(seq int64) {
	if s.retired.Contains(seq) {
		return
	}
	s.retired.Add(seq, seq+1)
	s.retired.DropFirst(maxRetired)
	s.retire = append(s.retire, retirement{seq: seq, sent: signalWanted})
}

// take reserves an ID of the peer's that no path uses.
func (s *ids) take() (seq int64, ok bool) {
	for i := range s.remote {
		if !s.remote[i].used {
			s.remote[i].used = true
			return s.remote[i].seq, true
		}
	}
	return 0, false
}

// spare reports whether there is an ID of the peer's that no path uses.
func (s *ids) spare() bool {
	for i := range s.remote {
		if !s.remote[i].used {
			return true
		}
	}
	return false
}

// wanted reports whether a frame about IDs is to be sent.
func (s *ids) wanted() bool {
	for i := range s.retire {
		if s.retire[i].sent.wanted() {
			return true
		}
	}
	for i := range s.local {
		if s.local[i].sent.wanted() {
			return true
		}
	}
	return false
}

// bySeq returns the peer's ID with that sequence number.
func (s *ids) bySeq(seq int64) *remoteID {
	for i := range s.remote {
		if s.remote[i].seq == seq {
			return &s.remote[i]
		}
	}
	return nil
}

// isResetToken reports whether b is the reset token of an ID that we send to,
// in time that does not depend on b (RFC 9000 §10.3.1).
func (s *ids) isResetToken(b []byte) bool {
	found := 0
	for i := range s.remote {
		if r := &s.remote[i]; r.hasToken && r.used {
			found |= subtle.ConstantTimeCompare(r.token[:], b)
		}
	}
	return found == 1
}

func (s *ids) settleNew(seq, pn int64, arrived bool) {
	for i := range s.local {
		if s.local[i].seq == seq {
			s.local[i].sent.settle(pn, arrived)
			return
		}
	}
}

func (s *ids) settleRetire(seq, pn int64, arrived bool) {
	for i := range s.retire {
		r := &s.retire[i]
		if r.seq != seq {
			continue
		}
		if r.sent.settle(pn, arrived); !r.sent.pending() {
			s.retire = append(s.retire[:i], s.retire[i+1:]...)
		}
		return
	}
}
