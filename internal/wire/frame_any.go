package wire

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// Frame is any frame of this package, for tests, logs and simulators. What every
// packet passes through uses the concrete types and their parsers instead.
type Frame interface {
	Append([]byte) []byte // the frame in its shortest form, after what is there
	Type() FrameType
	String() string
}

// ParseFrame reads one frame, of any known type, whose data borrows from the
// input; a run of PADDING is one frame. The error is an *Error: a
// FRAME_ENCODING_ERROR, or a PROTOCOL_VIOLATION for a type that is not in its
// shortest form.
func ParseFrame(c *varint.Cursor) (Frame, error) {
	t, minimal := ParseType(c)
	if c.Failed() {
		return nil, &Error{FrameEncodingError, 0, "no frame type"}
	}
	if !minimal {
		return nil, &Error{ProtocolViolation, t, "frame type not in its shortest form"}
	}
	f := parseBody(c, t)
	if f == nil {
		return nil, &Error{FrameEncodingError, t, fmt.Sprintf("unknown frame type %v", t)}
	}
	if c.Failed() {
		return nil, &Error{FrameEncodingError, t, "malformed frame"}
	}
	return f, nil
}

// ParseFrames reads all the frames of a packet. Its payload may be empty, although
// a packet's may not. The error is as ParseFrame's; the frames before it come along.
func ParseFrames(payload []byte) ([]Frame, error) {
	var frames []Frame
	c := varint.NewCursor(payload)
	for c.Len() > 0 {
		f, err := ParseFrame(&c)
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// parseBody reads what follows a type; nil if the type is not known.
func parseBody(c *varint.Cursor, t FrameType) Frame {
	switch t {
	case FramePadding:
		return Padding{1 + SkipPadding(c)}
	case FramePing:
		return Ping{}
	case FrameAck, FrameAckECN:
		return ParseAck(c, t)
	case FrameResetStream:
		return ParseResetStream(c)
	case FrameStopSending:
		return ParseStopSending(c)
	case FrameCrypto:
		return ParseCrypto(c)
	case FrameNewToken:
		return ParseNewToken(c)
	case FrameMaxData:
		return ParseMaxData(c)
	case FrameMaxStreamData:
		return ParseMaxStreamData(c)
	case FrameMaxStreamsBidi, FrameMaxStreamsUni:
		return ParseMaxStreams(c, t)
	case FrameDataBlocked:
		return ParseDataBlocked(c)
	case FrameStreamDataBlocked:
		return ParseStreamDataBlocked(c)
	case FrameStreamsBlockedBidi, FrameStreamsBlockedUni:
		return ParseStreamsBlocked(c, t)
	case FrameNewConnectionID:
		return ParseNewConnectionID(c)
	case FrameRetireConnectionID:
		return ParseRetireConnectionID(c)
	case FramePathChallenge:
		return ParsePathChallenge(c)
	case FramePathResponse:
		return ParsePathResponse(c)
	case FrameConnectionClose, FrameApplicationClose:
		return ParseClose(c, t)
	case FrameHandshakeDone:
		return HandshakeDone{}
	case FrameDatagram, FrameDatagramLen:
		return ParseDatagram(c, t)
	case FrameImmediateAck:
		return ImmediateAck{}
	case FrameAckFrequency:
		return ParseAckFrequency(c)
	}
	if t.IsStream() {
		return ParseStream(c, t)
	}
	return nil
}

// HasClose reports whether a packet holds a CONNECTION_CLOSE, and nothing that ParseFrames refuses. It allocates nothing.
func HasClose(payload []byte) (has bool) {
	c := varint.NewCursor(payload)
	for c.Len() > 0 {
		t, minimal := ParseType(&c)
		if c.Failed() || !minimal {
			return false
		}
		if skipBody(&c, t); c.Failed() {
			return false
		}
		has = has || t == FrameConnectionClose || t == FrameApplicationClose
	}
	return has
}

// skipBody passes over what follows a type, and fails if the type is not known.
func skipBody(c *varint.Cursor, t FrameType) {
	switch t {
	case FramePadding:
		SkipPadding(c)
	case FramePing, FrameHandshakeDone, FrameImmediateAck:
	case FrameAck, FrameAckECN:
		ParseAck(c, t)
	case FrameResetStream:
		ParseResetStream(c)
	case FrameStopSending:
		ParseStopSending(c)
	case FrameCrypto:
		ParseCrypto(c)
	case FrameNewToken:
		ParseNewToken(c)
	case FrameMaxData:
		ParseMaxData(c)
	case FrameMaxStreamData:
		ParseMaxStreamData(c)
	case FrameMaxStreamsBidi, FrameMaxStreamsUni:
		ParseMaxStreams(c, t)
	case FrameDataBlocked:
		ParseDataBlocked(c)
	case FrameStreamDataBlocked:
		ParseStreamDataBlocked(c)
	case FrameStreamsBlockedBidi, FrameStreamsBlockedUni:
		ParseStreamsBlocked(c, t)
	case FrameNewConnectionID:
		ParseNewConnectionID(c)
	case FrameRetireConnectionID:
		ParseRetireConnectionID(c)
	case FramePathChallenge:
		ParsePathChallenge(c)
	case FramePathResponse:
		ParsePathResponse(c)
	case FrameConnectionClose, FrameApplicationClose:
		ParseClose(c, t)
	case FrameDatagram, FrameDatagramLen:
		ParseDatagram(c, t)
	case FrameAckFrequency:
		ParseAckFrequency(c)
	default:
		if !t.IsStream() {
			c.Fail()
			return
		}
		ParseStream(c, t)
	}
}
