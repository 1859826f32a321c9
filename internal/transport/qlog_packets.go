package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/protect"
	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
	"github.com/cinnabar-quic/cinnabar/qlog"
)

var packetNames = [...]string{
	wire.Initial: qlog.Initial, wire.ZeroRTT: qlog.ZeroRTT, wire.Handshake: qlog.Handshake, wire.OneRTT: qlog.OneRTT,
	wire.Retry: qlog.Retry, wire.VersionNegotiation: qlog.VersionNegotiation,
}

var spaceNames = [recovery.Spaces]string{"initial", "handshake", "application_data"}

// The reasons to drop a packet, as triggers of packet_dropped.
const (
	dropInvalid     = "invalid"
	dropRejected    = "rejected"
	dropUnsupported = "unsupported"
	dropDuplicate   = "duplicate"
	dropUnopened    = "decryption_failure"
	dropKeyless     = "key_unavailable"
	dropOther       = "general"
)

// packetSent logs a packet that is complete but not protected yet.
func (r *recorder) packetSent(c *Conn, d *datagram, pk *packet) {
	body := d.b[pk.body : pk.end-protect.Overhead]
	exponent := uint8(handshakeAckExponent)
	if pk.space == recovery.App {
		exponent = c.params.AckDelayExponent
	}
	v := &qlog.Packet{
		Kind: qlog.PacketSent,
		Header: qlog.PacketHeader{
			Type: packetNames[pk.typ], HasNumber: true, Number: pk.pn, NumberLength: pk.pnLen,
		},
		Frames: r.parse(body, exponent), HasFrames: true,
		Length: pk.end - pk.start, Payload: len(body), MTUProbe: pk.mtuProbe,
	}
	if c.loss.Probes(pk.space) > 0 && pk.eliciting {
		v.Trigger = "pto_probe"
	}
	first := d.b[pk.start]
	if pk.typ == wire.OneRTT {
		if r.firstOneRTT < 0 {
			r.firstOneRTT = pk.pn
		}
		v.Header.HasKeyPhase, v.Header.KeyPhase, v.Header.SpinBit = true, first&0x04 != 0, first&0x20 != 0
	} else {
		if h, ok := wire.ParseLong(d.b[pk.start:pk.end]); ok {
			r.longHeader(&v.Header, &h)
		}
		v.Header.Length = pk.end - pk.pnOff
		if pk.typ == wire.Initial {
			r.tokenType(c, &v.Header)
		}
	}
	r.addHere(v)
	if pk.typ == wire.Handshake {
		r.handshaking()
	}
}

// tokenType says where the token of a client's Initial came from.
func (r *recorder) tokenType(c *Conn, h *qlog.PacketHeader) {
	retried := c.ids.retried || c.server && c.hs != nil && c.params.HasRetrySCID
	switch {
	case h.TokenLength == 0:
	case retried:
		h.TokenType = "retry"
	default:
		h.TokenType = "resumption"
	}
}

func (r *recorder) longHeader(v *qlog.PacketHeader, h *wire.LongHeader) {
	v.Version = h.Version
	v.DCID, v.SCID = idBytes(&h.DCID), idBytes(&h.SCID)
	v.TokenLength = len(h.Token)
	v.Length = h.End - h.PNOffset
}

// packetReceived logs an authentic packet before its frames act.
func (r *recorder) packetReceived(c *Conn, p *received, o *protect.Opened) {
	exponent := uint8(handshakeAckExponent)
	if p.space == recovery.App && c.peerKnown {
		exponent = c.peer.AckDelayExponent
	}
	v := &qlog.Packet{Kind: qlog.PacketReceived, Header: r.receivedHeader(c, p, o), HasFrames: true, Length: len(p.pkt), Payload: len(o.Payload)}
	v.Frames = r.parse(o.Payload, exponent)
	if p.replayed {
		v.Trigger = "keys_available"
	}
	r.addHere(v)
	switch {
	case p.typ == wire.Handshake:
		r.handshaking()
	case p.dcid != nil && string(p.dcid) != string(r.ownID):
		id := append([]byte{}, p.dcid...)
		r.add(&qlog.ConnectionIDUpdated{Initiator: qlog.Local, Old: r.ownID, New: id})
		r.ownID = id
	}
}

func (r *recorder) receivedHeader(c *Conn, p *received, o *protect.Opened) qlog.PacketHeader {
	h := qlog.PacketHeader{Type: packetNames[p.typ], HasNumber: true, Number: o.PN, NumberLength: int(o.First&3) + 1}
	if p.typ == wire.OneRTT {
		h.HasKeyPhase, h.KeyPhase, h.SpinBit = true, o.First&0x04 != 0, o.First&0x20 != 0
		return h
	}
	if l, ok := wire.ParseLong(p.pkt); ok {
		r.longHeader(&h, &l)
		r.tokenType(c, &h)
	}
	return h
}

// packetRefused logs an authentic packet that is of no use.
func (r *recorder) packetRefused(c *Conn, p *received, o *protect.Opened, trigger, details string) {
	r.addHere(&qlog.Packet{
		Kind: qlog.PacketDropped, Header: r.receivedHeader(c, p, o), Length: len(p.pkt), Trigger: trigger, Details: details,
	})
}

// packetKept logs a packet that waits for its keys.
func (r *recorder) packetKept(pkt []byte) {
	r.addHere(&qlog.Packet{Kind: qlog.PacketBuffered, Header: r.guess(pkt), Length: len(pkt), Trigger: "keys_unavailable"})
}

// packetDropped logs a packet that nobody could open.
func (r *recorder) packetDropped(pkt []byte, trigger, details string) {
	r.addHere(&qlog.Packet{Kind: qlog.PacketDropped, Header: r.guess(pkt), Length: len(pkt), Trigger: trigger, Details: details})
}

// guess returns what shows of the header of a protected packet.
func (r *recorder) guess(pkt []byte) (v qlog.PacketHeader) {
	if len(pkt) > 0 && pkt[0]&0x80 == 0 {
		v.Type = qlog.OneRTT
		return v
	}
	h, ok := wire.ParseLong(pkt)
	if !ok {
		v.Type = qlog.Unknown
		return v
	}
	v.Type = packetNames[h.Type]
	r.longHeader(&v, &h)
	return v
}

// retryReceived logs a Retry packet that is taken.
func (r *recorder) retryReceived(pkt []byte, h *wire.LongHeader) {
	v := &qlog.Packet{Kind: qlog.PacketReceived, Header: r.guess(pkt), Length: len(pkt)}
	v.Header.TokenType, v.Header.Length = "retry", 0
	r.addHere(v)
	r.peerIDChanged(idBytes(&h.SCID))
}

// versionsReceived logs a Version Negotiation packet that is taken.
func (r *recorder) versionsReceived(c *Conn, b []byte, offered []uint32) {
	r.addHere(&qlog.Packet{
		Kind: qlog.PacketReceived, Header: qlog.PacketHeader{Type: qlog.VersionNegotiation}, Length: len(b), Versions: offered,
	})
	r.add(&qlog.VersionInformation{Client: c.cfg.versions(), Server: offered, Chosen: c.cfg.common(offered)})
}

// versionKnown logs the Negotiated Version, with what the peer has said of those it speaks.
func (r *recorder) versionKnown(c *Conn, info *wire.VersionInformation) {
	if info == nil {
		return
	}
	v := &qlog.VersionInformation{Client: c.cfg.versions(), Server: info.Available, Chosen: c.version}
	if c.server {
		v.Client, v.Server = v.Server, v.Client
	}
	r.add(v)
}

// resetReceived logs a stateless reset.
func (r *recorder) resetReceived(b []byte) {
	r.addHere(&qlog.Packet{
		Kind: qlog.PacketReceived, Header: qlog.PacketHeader{Type: qlog.StatelessReset}, Length: len(b), ResetToken: append([]byte{}, b[len(b)-16:]...),
	})
}

// datagramReceived logs a datagram before anything is known of it.
func (r *recorder) datagramReceived(now mono.Time, d *dgram.Datagram) {
	r.at(now)
	r.add(&qlog.UDPDatagrams{Received: true, Lengths: []int{len(d.Data)}, ECN: uint8(d.ECN)})
}

// onPath notes which path the datagram at hand came by.
func (r *recorder) onPath(c *Conn, addr dgram.Path) {
	r.tuple = ""
	if i := c.paths.find(addr); i >= 0 {
		r.tuple = tupleName(c.paths.list[i].tuple)
	}
}

// fate logs what has become of a sent packet. Those acknowledged together share an event.
func (r *recorder) fate(c *Conn, sp recovery.Space, p *recovery.Packet, frames []recovery.Frame, f recovery.Fate) {
	if f == recovery.Acked {
		if sp != r.ackedSpace {
			r.flushAcked()
		}
		r.acked, r.ackedSpace = append(r.acked, p.Number), sp
		return
	}
	r.flushAcked()
	v := &qlog.PacketLost{Header: qlog.PacketHeader{Type: r.typeOf(sp, p.Number), HasNumber: true, Number: p.Number}, MTUProbe: p.Probe}
	switch {
	case p.Number > c.loss.LargestAcked(sp): // a Retry, which makes all go again
	case c.loss.LostByOrder(sp, p.Number):
		v.Trigger = "reordering_threshold"
	default:
		v.Trigger = "time_threshold"
	}
	r.add(v)
	r.retransmit(c, frames)
}

func (r *recorder) flushAcked() {
	if len(r.acked) > 0 {
		r.add(&qlog.PacketsAcked{Space: spaceNames[r.ackedSpace], Numbers: r.acked})
		r.acked = r.acked[:0]
	}
}

// typeOf returns the type of a packet that was sent.
func (r *recorder) typeOf(sp recovery.Space, n int64) string {
	switch {
	case sp == recovery.Initial:
		return qlog.Initial
	case sp == recovery.Handshake:
		return qlog.Handshake
	case r.firstOneRTT < 0 || n < r.firstOneRTT:
		return qlog.ZeroRTT
	}
	return qlog.OneRTT
}

// retransmit logs which contents of a packet that is lost, or may be, go again.
func (r *recorder) retransmit(c *Conn, frames []recovery.Frame) {
	list := r.frames[:0]
	for i := range frames {
		if f := r.frameOf(c, &frames[i]); f != nil {
			list = append(list, f)
		}
	}
	if len(list) > 0 {
		r.add(&qlog.MarkedForRetransmit{Frames: list})
	}
	r.release(list)
}

// release keeps a list's memory, without what is in it.
func (r *recorder) release(list []qlog.Frame) {
	clear(list)
	r.frames = list[:0]
}

// frameOf returns what a recorded frame stands for, as it would be sent now; nil for what
// is not sent again.
func (r *recorder) frameOf(c *Conn, f *recovery.Frame) qlog.Frame {
	uni := f.Flag != 0
	switch f.Kind {
	case sentCrypto:
		return qlog.CryptoFrame{Offset: f.Off, Length: int(f.Len)}
	case sentMaxData:
		return qlog.LimitFrame{Type: "max_data", Limit: c.flow.in.Limit()}
	case sentMaxStreams:
		return qlog.LimitFrame{Type: "max_streams", Uni: uni, Limit: c.streams.granted[f.Flag]}
	case sentDataBlocked:
		return qlog.LimitFrame{Type: "data_blocked", Limit: c.flow.blockedAt}
	case sentStreamsBlocked:
		return qlog.LimitFrame{Type: "streams_blocked", Uni: uni, Limit: c.streams.max[f.Flag]}
	case sentNewConnectionID:
		for i := range c.ids.local {
			if l := &c.ids.local[i]; l.seq == f.Off {
				return qlog.NewConnectionIDFrame{Seq: l.seq, ID: idBytes(&l.id)}
			}
		}
	case sentRetireConnectionID:
		return qlog.RetireConnectionIDFrame{Seq: f.Off}
	case sentHandshakeDone:
		return qlog.BareFrame{Type: "handshake_done"}
	case sentNewToken:
		return qlog.NewTokenFrame{}
	case sentAckFrequency:
		return loggedAckFrequency(c.asking.frame(c))
	case sentStream, sentReset, sentStop, sentMaxStreamData, sentStreamBlocked:
		if st := c.streams.find(f.ID); st != nil {
			return streamFrameOf(st, f)
		}
	}
	return nil
}

func streamFrameOf(st *Stream, f *recovery.Frame) qlog.Frame {
	switch f.Kind {
	case sentReset:
		return qlog.ResetStreamFrame{StreamID: st.id, Code: st.stats.code, FinalSize: st.send.Offset()}
	case sentStop:
		return qlog.StopSendingFrame{StreamID: st.id, Code: st.stopCode}
	case sentMaxStreamData:
		return qlog.LimitFrame{Type: "max_stream_data", StreamID: st.id, Limit: st.window.Limit()}
	case sentStreamBlocked:
		return qlog.LimitFrame{Type: "stream_data_blocked", StreamID: st.id, Limit: st.send.Max()}
	}
	return qlog.StreamFrame{StreamID: st.id, Offset: f.Off, Length: int(f.Len), Fin: f.Flag != 0}
}

// parse reads the frames of a packet's payload. It stops at one that is malformed.
func (r *recorder) parse(payload []byte, exponent uint8) []qlog.Frame {
	var list []qlog.Frame
	cur := varint.NewCursor(payload)
	for cur.Len() > 0 {
		f, err := wire.ParseFrame(&cur)
		if err != nil {
			if e, ok := err.(*wire.Error); ok && !e.Frame.Known() {
				list = append(list, qlog.UnknownFrame{Type: uint64(e.Frame)})
			}
			break
		}
		list = append(list, logged(f, exponent))
	}
	return list
}

// logged turns a frame of the wire into one of the log.
func logged(f wire.Frame, exponent uint8) qlog.Frame {
	switch f := f.(type) {
	case wire.Padding:
		return qlog.PaddingFrame{Length: f.N}
	case wire.Ping:
		return qlog.BareFrame{Type: "ping"}
	case wire.HandshakeDone:
		return qlog.BareFrame{Type: "handshake_done"}
	case wire.Ack:
		return loggedAck(f, ackDelay(f.Delay, exponent))
	case wire.Crypto:
		return qlog.CryptoFrame{Offset: f.Offset, Length: len(f.Data)}
	case wire.NewToken:
		return qlog.NewTokenFrame{Length: len(f.Token)}
	case wire.Stream:
		return qlog.StreamFrame{StreamID: f.ID, Offset: f.Offset, Length: len(f.Data), Fin: f.Fin}
	case wire.ResetStream:
		return qlog.ResetStreamFrame{StreamID: f.ID, Code: f.Code, FinalSize: f.FinalSize}
	case wire.StopSending:
		return qlog.StopSendingFrame{StreamID: f.ID, Code: f.Code}
	case wire.NewConnectionID:
		return qlog.NewConnectionIDFrame{Seq: f.Seq, RetirePriorTo: f.RetirePriorTo, ID: idBytes(&f.ID), ResetToken: f.Token[:]}
	case wire.RetireConnectionID:
		return qlog.RetireConnectionIDFrame{Seq: f.Seq}
	case wire.PathChallenge:
		return qlog.PathFrame{Type: "path_challenge", Data: f.Data}
	case wire.PathResponse:
		return qlog.PathFrame{Type: "path_response", Data: f.Data}
	case wire.Close:
		return qlog.ConnectionCloseFrame{App: f.App, Code: f.Code, FrameType: uint64(f.Frame), Reason: f.Reason}
	case wire.Datagram:
		return qlog.DatagramFrame{Length: len(f.Data)}
	case wire.AckFrequency:
		return loggedAckFrequency(f)
	case wire.ImmediateAck:
		return qlog.BareFrame{Type: "immediate_ack"}
	}
	return loggedLimit(f)
}

func loggedAck(f wire.Ack, delay time.Duration) qlog.Frame {
	v := qlog.AckFrame{Delay: delay, ECN: f.ECN, ECT0: f.ECT0, ECT1: f.ECT1, CE: f.CE}
	for start, end, ok := f.Next(); ok; start, end, ok = f.Next() {
		v.Ranges = append(v.Ranges, [2]int64{start, end - 1})
	}
	return v
}

func loggedAckFrequency(f wire.AckFrequency) qlog.Frame {
	return qlog.AckFrequencyFrame{Seq: f.Seq, Threshold: f.Threshold, MaxDelay: ackDelay(f.MaxDelay, 0), Reorder: f.Reorder}
}

func loggedLimit(f wire.Frame) qlog.Frame {
	switch f := f.(type) {
	case wire.MaxData:
		return qlog.LimitFrame{Type: "max_data", Limit: f.Max}
	case wire.MaxStreamData:
		return qlog.LimitFrame{Type: "max_stream_data", StreamID: f.ID, Limit: f.Max}
	case wire.MaxStreams:
		return qlog.LimitFrame{Type: "max_streams", Uni: f.Uni, Limit: f.Max}
	case wire.DataBlocked:
		return qlog.LimitFrame{Type: "data_blocked", Limit: f.Limit}
	case wire.StreamDataBlocked:
		return qlog.LimitFrame{Type: "stream_data_blocked", StreamID: f.ID, Limit: f.Limit}
	case wire.StreamsBlocked:
		return qlog.LimitFrame{Type: "streams_blocked", Uni: f.Uni, Limit: f.Limit}
	}
	return qlog.UnknownFrame{Type: uint64(f.Type())}
}
