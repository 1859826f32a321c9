package qlog

import (
	"time"
	"unicode/utf8"
)

// Frame is a frame of a packet.
type Frame interface {
	// EncodeFrame writes the members of the frame's object, frame_type first.
	EncodeFrame(e *Encoder)
}

func frameType(e *Encoder, t string) { e.String("frame_type", t) }

// PaddingFrame is a run of PADDING of so many bytes.
type PaddingFrame struct{ Length int }

// EncodeFrame writes the frame.
func (f PaddingFrame) EncodeFrame(e *Encoder) {
	frameType(e, "padding")
	e.Open("raw")
	e.Uint("length", uint64(f.Length))
	e.Uint("payload_length", uint64(f.Length))
	e.Close()
}

// BareFrame is a frame that is nothing but its type: ping, handshake_done or immediate_ack.
type BareFrame struct{ Type string }

// EncodeFrame writes the frame.
func (f BareFrame) EncodeFrame(e *Encoder) { frameType(e, f.Type) }

// AckFrame is an ACK frame.
type AckFrame struct {
	Delay          time.Duration
	Ranges         [][2]int64 // first and last packet number
	ECN            bool       // with counts
	ECT0, ECT1, CE uint64
}

// EncodeFrame writes the frame.
func (f AckFrame) EncodeFrame(e *Encoder) {
	frameType(e, "ack")
	e.Duration("ack_delay", f.Delay)
	e.OpenList("acked_ranges")
	for _, r := range f.Ranges {
		e.OpenList("")
		e.Uint("", uint64(r[0]))
		if r[1] != r[0] {
			e.Uint("", uint64(r[1]))
		}
		e.CloseList()
	}
	e.CloseList()
	if f.ECN {
		e.Uint("ect1", f.ECT1)
		e.Uint("ect0", f.ECT0)
		e.Uint("ce", f.CE)
	}
}

// AckFrequencyFrame is an ACK_FREQUENCY frame.
type AckFrequencyFrame struct {
	Seq       int64
	Threshold int64 // ack-eliciting packets
	MaxDelay  time.Duration
	Reorder   int64 // packets
}

// EncodeFrame writes the frame.
func (f AckFrequencyFrame) EncodeFrame(e *Encoder) {
	frameType(e, "ack_frequency")
	e.Uint("sequence_number", uint64(f.Seq))
	e.Uint("ack_eliciting_threshold", uint64(f.Threshold))
	e.Duration("requested_max_ack_delay", f.MaxDelay)
	e.Uint("reordering_threshold", uint64(f.Reorder))
}

// ResetStreamFrame is a RESET_STREAM frame.
type ResetStreamFrame struct {
	StreamID  int64
	Code      uint64
	FinalSize int64
}

// EncodeFrame writes the frame.
func (f ResetStreamFrame) EncodeFrame(e *Encoder) {
	frameType(e, "reset_stream")
	e.Uint("stream_id", uint64(f.StreamID))
	encodeError(e, "error", true, f.Code)
	e.Uint("final_size", uint64(f.FinalSize))
}

// StopSendingFrame is a STOP_SENDING frame.
type StopSendingFrame struct {
	StreamID int64
	Code     uint64
}

// EncodeFrame writes the frame.
func (f StopSendingFrame) EncodeFrame(e *Encoder) {
	frameType(e, "stop_sending")
	e.Uint("stream_id", uint64(f.StreamID))
	encodeError(e, "error", true, f.Code)
}

// CryptoFrame is a CRYPTO frame with so many bytes of data.
type CryptoFrame struct {
	Offset int64
	Length int
}

// EncodeFrame writes the frame.
func (f CryptoFrame) EncodeFrame(e *Encoder) {
	frameType(e, "crypto")
	e.Uint("offset", uint64(f.Offset))
	e.RawLength(uint64(f.Length))
}

// NewTokenFrame is a NEW_TOKEN frame with a token of so many bytes.
type NewTokenFrame struct{ Length int }

// EncodeFrame writes the frame.
func (f NewTokenFrame) EncodeFrame(e *Encoder) {
	frameType(e, "new_token")
	e.Open("token")
	e.String("type", "resumption")
	if f.Length > 0 {
		e.RawLength(uint64(f.Length))
	}
	e.Close()
}

// StreamFrame is a STREAM frame with so many bytes of data.
type StreamFrame struct {
	StreamID, Offset int64
	Length           int
	Fin              bool
}

// EncodeFrame writes the frame.
func (f StreamFrame) EncodeFrame(e *Encoder) {
	frameType(e, "stream")
	e.Uint("stream_id", uint64(f.StreamID))
	e.Uint("offset", uint64(f.Offset))
	e.OptBool("fin", f.Fin)
	e.RawLength(uint64(f.Length))
}

// LimitFrame is a frame that gives credit or asks for it: max_data, max_stream_data,
// max_streams, data_blocked, stream_data_blocked or streams_blocked.
type LimitFrame struct {
	Type     string
	StreamID int64 // of max_stream_data and stream_data_blocked
	Uni      bool  // of max_streams and streams_blocked
	Limit    int64
}

// EncodeFrame writes the frame.
func (f LimitFrame) EncodeFrame(e *Encoder) {
	frameType(e, f.Type)
	switch f.Type {
	case "max_stream_data", "stream_data_blocked":
		e.Uint("stream_id", uint64(f.StreamID))
	case "max_streams", "streams_blocked":
		e.String("stream_type", streamType(f.Uni))
	}
	switch f.Type {
	case "max_data", "max_stream_data", "max_streams":
		e.Uint("maximum", uint64(f.Limit))
	default:
		e.Uint("limit", uint64(f.Limit))
	}
}

// NewConnectionIDFrame is a NEW_CONNECTION_ID frame.
type NewConnectionIDFrame struct {
	Seq, RetirePriorTo int64
	ID, ResetToken     []byte
}

// EncodeFrame writes the frame.
func (f NewConnectionIDFrame) EncodeFrame(e *Encoder) {
	frameType(e, "new_connection_id")
	e.Uint("sequence_number", uint64(f.Seq))
	e.Uint("retire_prior_to", uint64(f.RetirePriorTo))
	e.Uint("connection_id_length", uint64(len(f.ID)))
	e.Hex("connection_id", f.ID)
	e.OptHex("stateless_reset_token", f.ResetToken)
}

// RetireConnectionIDFrame is a RETIRE_CONNECTION_ID frame.
type RetireConnectionIDFrame struct{ Seq int64 }

// EncodeFrame writes the frame.
func (f RetireConnectionIDFrame) EncodeFrame(e *Encoder) {
	frameType(e, "retire_connection_id")
	e.Uint("sequence_number", uint64(f.Seq))
}

// PathFrame is a PATH_CHALLENGE or PATH_RESPONSE frame.
type PathFrame struct {
	Type string // path_challenge or path_response
	Data [8]byte
}

// EncodeFrame writes the frame.
func (f PathFrame) EncodeFrame(e *Encoder) {
	frameType(e, f.Type)
	e.Hex("data", f.Data[:])
}

// ConnectionCloseFrame is a CONNECTION_CLOSE frame of either kind.
type ConnectionCloseFrame struct {
	App       bool
	Code      uint64
	FrameType uint64 // at fault; not if App
	Reason    []byte
}

// EncodeFrame writes the frame.
func (f ConnectionCloseFrame) EncodeFrame(e *Encoder) {
	frameType(e, "connection_close")
	space := "transport"
	if f.App {
		space = "application"
	}
	e.String("error_space", space)
	encodeError(e, "error", f.App, f.Code)
	if utf8.Valid(f.Reason) {
		e.String("reason", string(f.Reason))
	} else {
		e.Hex("reason_bytes", f.Reason)
	}
	if !f.App && f.FrameType != 0 {
		e.Uint("trigger_frame_type", f.FrameType)
	}
}

// UnknownFrame is a frame of a type that is not known; what follows it cannot be read.
type UnknownFrame struct{ Type uint64 }

// EncodeFrame writes the frame.
func (f UnknownFrame) EncodeFrame(e *Encoder) {
	frameType(e, "unknown")
	e.Uint("frame_type_bytes", f.Type)
}

// DatagramFrame is a DATAGRAM frame with so many bytes of data.
type DatagramFrame struct{ Length int }

// EncodeFrame writes the frame.
func (f DatagramFrame) EncodeFrame(e *Encoder) {
	frameType(e, "datagram")
	e.RawLength(uint64(f.Length))
}

// transportErrors are the draft's words for the error codes of RFC 9000 §20.1.
var transportErrors = [...]string{
	"no_error", "internal_error", "connection_refused", "flow_control_error", "stream_limit_error",
	"stream_state_error", "final_size_error", "frame_encoding_error", "transport_parameter_error",
	"connection_id_limit_error", "protocol_violation", "invalid_token", "application_error",
	"crypto_buffer_exceeded", "key_update_error", "aead_limit_reached", "no_viable_path",
}

// encodeError writes an error code as the draft's word for it, or as unknown and its
// number; an application's always so.
func encodeError(e *Encoder, key string, app bool, code uint64) {
	switch {
	case !app && code < uint64(len(transportErrors)):
		e.String(key, transportErrors[code])
	case !app && code>>8 == 1:
		e.String(key, "crypto_error_0x1"+string(digits[code>>4&15])+string(digits[code&15]))
	default:
		e.String(key, "unknown")
		e.Uint("error_code", code)
	}
}
