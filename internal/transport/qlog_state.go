package transport

import (
	"crypto/tls"
	"strings"

	"github.com/cinnabar-quic/cinnabar/internal/stream"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

// setState logs a step of the connection's life.
func (r *recorder) setState(s string) {
	if s != r.state {
		r.add(&qlog.ConnectionStateUpdated{Old: r.state, New: s})
		r.state = s
	}
}

// handshaking notes the first Handshake packet.
func (r *recorder) handshaking() {
	if r.state == "attempted" {
		r.setState("handshake_started")
	}
}

// closed logs the end of a connection, and who brought it about.
func (r *recorder) closed(reason *CloseReason) {
	v := &qlog.ConnectionClosed{HasCode: true, App: reason.App, Code: reason.Code, Reason: reason.Reason}
	state := ""
	switch reason.Kind {
	case CloseLocal, ClosePeer:
		v.Initiator, state = qlog.Local, "closing"
		if reason.Kind == ClosePeer {
			v.Initiator, state = qlog.Remote, "draining"
		}
		v.Trigger = "error"
		if reason.App {
			v.Trigger = "application"
		} else if reason.Code == uint64(wire.NoError) {
			v.Trigger = "unspecified"
		}
	case CloseIdle, CloseHandshakeTimeout:
		v.HasCode, v.Trigger = false, "idle_timeout"
		if reason.Kind == CloseHandshakeTimeout {
			v.Reason = "handshake timeout"
		}
	case CloseReset:
		v.HasCode, v.Initiator, v.Trigger, state = false, qlog.Remote, "stateless_reset", "draining"
	case CloseVersion:
		v.HasCode, v.Initiator, v.Trigger, state = false, qlog.Local, "version_mismatch", "draining"
	case CloseSilent:
		v.HasCode, v.Initiator, v.Trigger = false, qlog.Local, "aborted"
	}
	r.add(v)
	if state != "" {
		r.setState(state)
	}
}

// peerIDChanged logs that packets carry another connection ID of the peer's.
func (r *recorder) peerIDChanged(id []byte) {
	if string(id) != string(r.peerID) {
		r.add(&qlog.ConnectionIDUpdated{Initiator: qlog.Remote, Old: r.peerID, New: id})
		r.peerID = id
	}
}

// pathIDs looks whether the path in use has another connection ID now.
func (r *recorder) pathIDs(c *Conn) {
	if id := c.ids.bySeq(c.paths.active().cid); id != nil {
		r.peerIDChanged(idBytes(&id.id))
	}
}

func (r *recorder) endpoints(c *Conn, p *path) (local, remote qlog.Endpoint) {
	local.Addr, remote.Addr = p.addr.Local, p.addr.Remote
	local.ConnectionIDs = [][]byte{r.ownID}
	if id := c.ids.bySeq(p.cid); id != nil {
		remote.ConnectionIDs = [][]byte{idBytes(&id.id)}
	}
	return local, remote
}

// tupleAssigned logs what a path's name stands for.
func (r *recorder) tupleAssigned(c *Conn, p *path) {
	v := &qlog.TupleAssigned{ID: tupleName(p.tuple), Known: true}
	v.Local, v.Remote = r.endpoints(c, p)
	r.add(v)
}

// tupleGone logs that a path is given up.
func (r *recorder) tupleGone(p *path) { r.add(&qlog.TupleAssigned{ID: tupleName(p.tuple)}) }

// migration logs a step on the way to another path.
func (r *recorder) migration(c *Conn, p *path, state string) {
	v := &qlog.MigrationStateUpdated{New: state, TupleID: tupleName(p.tuple)}
	v.Local, v.Remote = r.endpoints(c, p)
	r.add(v)
}

// used logs that a path is the one in use now, which begins or completes a migration.
func (r *recorder) used(c *Conn, p *path) {
	state := "migration_started"
	if p.validated {
		state = "migration_complete"
	}
	r.migration(c, p, state)
	r.pathIDs(c)
}

// freshPath logs that recovery begins anew on a path that nothing is known of.
func (r *recorder) freshPath(c *Conn) {
	r.congestion = ""
	r.recoveryParameters(c)
}

// Levels as they appear in the names of keys.
var levelNames = [...]string{LevelInitial: "initial", LevelEarly: "0rtt", LevelHandshake: "handshake", LevelApp: "1rtt"}

// key logs that a key came into use, or is gone. write says that it is one of ours to
// send with.
func (r *recorder) key(c *Conn, level Level, write, gone bool, phase int, trigger string) {
	side := "client_"
	if write == c.server {
		side = "server_"
	}
	v := &qlog.Key{Discarded: gone, Type: side + levelNames[level] + "_secret", Trigger: trigger}
	if level == LevelApp {
		v.HasPhase, v.Phase = true, uint64(phase)
	}
	r.add(v)
}

// keysGone logs that the keys of a level are gone.
func (r *recorder) keysGone(c *Conn, level Level, read, write bool) {
	if read {
		r.key(c, level, false, true, 0, "tls")
	}
	if write {
		r.key(c, level, true, true, 0, "tls")
	}
}

// phaseEnds logs a key update of ours, or one that the peer began.
func (r *recorder) phaseEnds(c *Conn, write bool, trigger string) {
	phase := c.oneRTT.Updates()
	r.key(c, LevelApp, write, false, phase, trigger)
	if write { // the old key is forgotten at once
		r.key(c, LevelApp, true, true, phase-1, trigger)
	}
}

// previousGone logs that the key of the phase before is thrown away, for its time is over.
func (r *recorder) previousGone(c *Conn) {
	r.key(c, LevelApp, false, true, c.oneRTT.Updates()-1, "")
}

// tlsResult logs what came of the TLS handshake.
func (r *recorder) tlsResult(c *Conn) {
	cipher := strings.TrimPrefix(tls.CipherSuiteName(r.suite), "TLS_")
	initiator := qlog.Remote
	if c.server {
		initiator = qlog.Local // it is the server that chooses
	}
	r.add(&qlog.ParametersSet{Initiator: initiator, TLS: &qlog.TLSResult{Cipher: cipher, EarlyData: c.UsingEarlyData()}})
}

// parametersOf returns transport parameters as the log has them.
func parametersOf(p *wire.Parameters) *qlog.Parameters {
	v := &qlog.Parameters{
		DisableActiveMigration:  p.DisableActiveMigration,
		MaxIdleTimeout:          p.MaxIdleTimeout,
		MaxUDPPayload:           uint64(p.MaxUDPPayload),
		AckDelayExponent:        uint64(p.AckDelayExponent),
		MaxAckDelay:             p.MaxAckDelay,
		ActiveConnectionIDLimit: uint64(p.ActiveCIDLimit),
		MaxData:                 uint64(p.MaxData),
		MaxStreamDataBidiLocal:  uint64(p.MaxStreamDataBidiLocal),
		MaxStreamDataBidiRemote: uint64(p.MaxStreamDataBidiRemote),
		MaxStreamDataUni:        uint64(p.MaxStreamDataUni),
		MaxStreamsBidi:          uint64(p.MaxStreamsBidi),
		MaxStreamsUni:           uint64(p.MaxStreamsUni),
		MaxDatagramFrame:        uint64(p.MaxDatagramFrame),
		HasMinAckDelay:          p.HasMinAckDelay,
		MinAckDelay:             p.MinAckDelay,
	}
	if p.HasOriginalDCID {
		v.OriginalDCID = idBytes(&p.OriginalDCID)
	}
	if p.HasInitialSCID {
		v.InitialSCID = idBytes(&p.InitialSCID)
	}
	if p.HasRetrySCID {
		v.RetrySCID = idBytes(&p.RetrySCID)
	}
	if p.HasResetToken {
		v.ResetToken = append([]byte{}, p.ResetToken[:]...)
	}
	if a := p.PreferredAddress; a != nil {
		v.PreferredAddress = &qlog.PreferredAddress{
			IPv4: a.IPv4, IPv6: a.IPv6, ConnectionID: idBytes(&a.ID), ResetToken: append([]byte{}, a.Token[:]...),
		}
	}
	return v
}

// The draft's words for the states of a stream's halves.
var (
	sendStates = [...]string{
		stream.SendReady: "ready", stream.SendSend: "send", stream.SendDataSent: "data_sent",
		stream.SendDataRecvd: "data_received", stream.SendResetSent: "reset_sent", stream.SendResetRecvd: "reset_received",
	}
	recvStates = [...]string{
		stream.RecvRecv: "receive", stream.RecvSizeKnown: "size_known", stream.RecvDataRecvd: "data_received",
		stream.RecvDataRead: "data_read", stream.RecvResetRecvd: "reset_received", stream.RecvResetRead: "reset_read",
	}
)

// streamStates logs where the halves of a stream have got to. trigger is qlog.Local or
// qlog.Remote: who made them.
func (r *recorder) streamStates(st *Stream, trigger string) {
	if s := st.send.State(); st.canSend && s != st.loggedSend {
		r.add(&qlog.StreamStateUpdated{StreamID: st.id, Old: sendStates[st.loggedSend], New: sendStates[s], Sending: true, Trigger: trigger})
		st.loggedSend = s
	}
	if s := st.recv.State(); st.canRecv && s != st.loggedRecv {
		r.add(&qlog.StreamStateUpdated{StreamID: st.id, Old: recvStates[st.loggedRecv], New: recvStates[s], Trigger: trigger})
		st.loggedRecv = s
	}
}

func initiator(local bool) string {
	if local {
		return qlog.Local
	}
	return qlog.Remote
}

// streamGone logs that a stream is forgotten.
func (r *recorder) streamGone(st *Stream) {
	if st.canSend {
		r.add(&qlog.StreamStateUpdated{StreamID: st.id, Old: sendStates[st.loggedSend], New: "destroyed", Sending: true})
	}
	if st.canRecv {
		r.add(&qlog.StreamStateUpdated{StreamID: st.id, Old: recvStates[st.loggedRecv], New: "destroyed"})
	}
}

// written logs n bytes that the application gave to a stream, whose end is then at the
// offset that the stream says; info tells of its end or a reset.
func (r *recorder) written(st *Stream, n int, info string) {
	end := st.send.Offset() + st.send.Unsent()
	r.add(&qlog.StreamDataMoved{StreamID: st.id, Offset: end - int64(n), Length: int64(n), Out: true, Info: info})
}

// read logs n bytes that the application took from a stream, up to where that is read.
func (r *recorder) read(st *Stream, n int, info string) {
	r.add(&qlog.StreamDataMoved{StreamID: st.id, Offset: st.recv.Consumed() - int64(n), Length: int64(n), Info: info})
}
