package wire

import "strconv"

// FrameType is the type field of a frame (RFC 9000 §19, RFC 9221 §4,
// draft-ietf-quic-ack-frequency).
type FrameType uint64

// The frame types. A STREAM frame has eight: FrameStream with the bits of
// its flags.
const (
	FramePadding            FrameType = 0x00
	FramePing               FrameType = 0x01
	FrameAck                FrameType = 0x02
	FrameAckECN             FrameType = 0x03
	FrameResetStream        FrameType = 0x04
	FrameStopSending        FrameType = 0x05
	FrameCrypto             FrameType = 0x06
	FrameNewToken           FrameType = 0x07
	FrameStream             FrameType = 0x08 // to 0x0f
	FrameMaxData            FrameType = 0x10
	FrameMaxStreamData      FrameType = 0x11
	FrameMaxStreamsBidi     FrameType = 0x12
	FrameMaxStreamsUni      FrameType = 0x13
	FrameDataBlocked        FrameType = 0x14
	FrameStreamDataBlocked  FrameType = 0x15
	FrameStreamsBlockedBidi FrameType = 0x16
	FrameStreamsBlockedUni  FrameType = 0x17
	FrameNewConnectionID    FrameType = 0x18
	FrameRetireConnectionID FrameType = 0x19
	FramePathChallenge      FrameType = 0x1a
	FramePathResponse       FrameType = 0x1b
	FrameConnectionClose    FrameType = 0x1c
	FrameApplicationClose   FrameType = 0x1d
	FrameHandshakeDone      FrameType = 0x1e
	FrameImmediateAck       FrameType = 0x1f
	FrameDatagram           FrameType = 0x30
	FrameDatagramLen        FrameType = 0x31
	FrameAckFrequency       FrameType = 0xaf
)

// The flags of a STREAM frame's type (RFC 9000 §19.8).
const (
	streamFin = 0x01
	streamLen = 0x02
	streamOff = 0x04
)

// Packet types as a set: the letters of RFC 9000 table 3.
const (
	inI = 1 << Initial
	inH = 1 << Handshake
	in0 = 1 << ZeroRTT
	in1 = 1 << OneRTT

	inIH01 = inI | inH | in0 | in1
	inIH1  = inI | inH | in1
	in01   = in0 | in1
)

// What a frame does to the packet it is in: the letters N and P of table 3.
const (
	quiet = 1 << iota // does not elicit an acknowledgment
	probe             // may stand in a probing packet
)

// frameTypes is RFC 9000 §12.4, table 3, by frame type, with RFC 9221's
// DATAGRAM and the two of draft-ietf-quic-ack-frequency, which are not for 0-RTT
// because no client remembers that its server took them. That CRYPTO is not for 0-RTT
// is RFC 9001 §8.3, too. A row without packets is a type that does not exist. The table's one
// row for CONNECTION_CLOSE is two here, as the application's kind is for 0-RTT and
// 1-RTT packets only.
var frameTypes = [...]struct {
	name    string
	packets uint8
	traits  uint8
}{
	FramePadding:            {"PADDING", inIH01, quiet | probe},
	FramePing:               {"PING", inIH01, 0},
	FrameAck:                {"ACK", inIH1, quiet},
	FrameAckECN:             {"ACK_ECN", inIH1, quiet},
	FrameResetStream:        {"RESET_STREAM", in01, 0},
	FrameStopSending:        {"STOP_SENDING", in01, 0},
	FrameCrypto:             {"CRYPTO", inIH1, 0},
	FrameNewToken:           {"NEW_TOKEN", in1, 0},
	FrameStream:             {"STREAM", in01, 0},
	FrameStream | 1:         {"STREAM", in01, 0},
	FrameStream | 2:         {"STREAM", in01, 0},
	FrameStream | 3:         {"STREAM", in01, 0},
	FrameStream | 4:         {"STREAM", in01, 0},
	FrameStream | 5:         {"STREAM", in01, 0},
	FrameStream | 6:         {"STREAM", in01, 0},
	FrameStream | 7:         {"STREAM", in01, 0},
	FrameMaxData:            {"MAX_DATA", in01, 0},
	FrameMaxStreamData:      {"MAX_STREAM_DATA", in01, 0},
	FrameMaxStreamsBidi:     {"MAX_STREAMS_BIDI", in01, 0},
	FrameMaxStreamsUni:      {"MAX_STREAMS_UNI", in01, 0},
	FrameDataBlocked:        {"DATA_BLOCKED", in01, 0},
	FrameStreamDataBlocked:  {"STREAM_DATA_BLOCKED", in01, 0},
	FrameStreamsBlockedBidi: {"STREAMS_BLOCKED_BIDI", in01, 0},
	FrameStreamsBlockedUni:  {"STREAMS_BLOCKED_UNI", in01, 0},
	FrameNewConnectionID:    {"NEW_CONNECTION_ID", in01, probe},
	FrameRetireConnectionID: {"RETIRE_CONNECTION_ID", in01, 0},
	FramePathChallenge:      {"PATH_CHALLENGE", in01, probe},
	FramePathResponse:       {"PATH_RESPONSE", in1, probe},
	FrameConnectionClose:    {"CONNECTION_CLOSE", inIH01, quiet},
	FrameApplicationClose:   {"APPLICATION_CLOSE", in01, quiet},
	FrameHandshakeDone:      {"HANDSHAKE_DONE", in1, 0},
	FrameImmediateAck:       {"IMMEDIATE_ACK", in1, 0},
	FrameDatagram:           {"DATAGRAM", in01, 0},
	FrameDatagramLen:        {"DATAGRAM", in01, 0},
	FrameAckFrequency:       {"ACK_FREQUENCY", in1, 0},
}

// Known reports whether the type is one that this package can parse.
func (t FrameType) Known() bool {
	return t < FrameType(len(frameTypes)) && frameTypes[t].packets != 0
}

// Permitted reports whether a frame of this type may stand in a packet of type p
// (RFC 9000 §12.4, table 3). It is false for unknown types.
func (t FrameType) Permitted(p PacketType) bool {
	return t < FrameType(len(frameTypes)) && frameTypes[t].packets>>p&1 != 0
}

// AckEliciting reports whether a known frame makes its packet one that the peer
// must acknowledge: all but PADDING, ACK and CONNECTION_CLOSE (RFC 9002 §2).
func (t FrameType) AckEliciting() bool {
	return t.Known() && frameTypes[t].traits&quiet == 0
}

// Probing reports whether a packet that holds such frames only is a probing
// packet, which does not migrate the connection (RFC 9000 §9.1).
func (t FrameType) Probing() bool {
	return t.Known() && frameTypes[t].traits&probe != 0
}

// IsStream reports whether t is one of the eight types of STREAM frame.
func (t FrameType) IsStream() bool { return t&^7 == FrameStream }

// String returns the RFC's name, such as "MAX_DATA", or for an unknown type its
// number in hexadecimal.
func (t FrameType) String() string {
	if !t.Known() {
		return "0x" + strconv.FormatUint(uint64(t), 16)
	}
	return frameTypes[t].name
}
