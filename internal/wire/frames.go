package wire

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// The frames here are a type and a few integers. Each has a parser, which reads
// what follows the type and fails the cursor on what a FRAME_ENCODING_ERROR is
// for, and the methods of Frame. Those whose form depends on the type get it.

// maxStreams is the largest count of streams that makes sense: stream IDs are
// below 1<<62, and two bits of them are the kind (RFC 9000 §19.11).
const maxStreams = 1 << 60 // no limit: of the format

// ParseType reads a frame's type. minimal tells whether it was written in its
// shortest form, as it must be (RFC 9000 §12.4).
func ParseType(c *varint.Cursor) (t FrameType, minimal bool) {
	n := c.Len()
	v := c.Varint()
	if c.Failed() {
		return 0, false
	}
	return FrameType(v), n-c.Len() == varint.Len(v)
}

// SkipPadding consumes the run of zero bytes, each a PADDING frame, at the front
// and returns how many they were.
func SkipPadding(c *varint.Cursor) int {
	b := c.Peek()
	n := 0
	for n < len(b) && b[n] == 0 {
		n++
	}
	c.Bytes(n)
	return n
}

// Padding is a run of N PADDING frames, a byte each (RFC 9000 §19.1).
type Padding struct{ N int }

// Append appends N zero bytes.
func (f Padding) Append(b []byte) []byte {
	for range f.N {
		b = append(b, 0)
	}
	return b
}

// Type returns FramePadding.
func (f Padding) Type() FrameType { return FramePadding }

// String returns the frame for a log.
func (f Padding) String() string { return fmt.Sprintf("PADDING len=%d", f.N) }

// Ping is a PING frame (RFC 9000 §19.2).
type Ping struct{}

// Append appends the frame.
func (f Ping) Append(b []byte) []byte { return append(b, byte(FramePing)) }

// Type returns FramePing.
func (f Ping) Type() FrameType { return FramePing }

// String returns the frame for a log.
func (f Ping) String() string { return "PING" }

// ResetStream is a RESET_STREAM frame (RFC 9000 §19.4); Code is the application's.
type ResetStream struct {
	ID        int64
	Code      uint64
	FinalSize int64
}

// ParseResetStream reads a RESET_STREAM frame after its type.
func ParseResetStream(c *varint.Cursor) ResetStream {
	return ResetStream{c.Int(), c.Varint(), c.Int()}
}

// Append appends the frame.
func (f ResetStream) Append(b []byte) []byte {
	b = appendInts(b, FrameResetStream, f.ID)
	b = varint.Append(b, f.Code)
	return varint.Append(b, uint64(f.FinalSize))
}

// Type returns FrameResetStream.
func (f ResetStream) Type() FrameType { return FrameResetStream }

// String returns the frame for a log.
func (f ResetStream) String() string {
	return fmt.Sprintf("RESET_STREAM id=%d code=%#x final=%d", f.ID, f.Code, f.FinalSize)
}

// StopSending is a STOP_SENDING frame (RFC 9000 §19.5); Code is the application's.
type StopSending struct {
	ID   int64
	Code uint64
}

// ParseStopSending reads a STOP_SENDING frame after its type.
func ParseStopSending(c *varint.Cursor) StopSending { return StopSending{c.Int(), c.Varint()} }

// Append appends the frame.
func (f StopSending) Append(b []byte) []byte {
	return varint.Append(appendInts(b, FrameStopSending, f.ID), f.Code)
}

// Type returns FrameStopSending.
func (f StopSending) Type() FrameType { return FrameStopSending }

// String returns the frame for a log.
func (f StopSending) String() string {
	return fmt.Sprintf("STOP_SENDING id=%d code=%#x", f.ID, f.Code)
}

// NewToken is a NEW_TOKEN frame (RFC 9000 §19.7). Token borrows from the packet.
type NewToken struct{ Token []byte }

// ParseNewToken reads a NEW_TOKEN frame after its type; an empty token fails the cursor.
func ParseNewToken(c *varint.Cursor) NewToken {
	f := NewToken{c.VarintBytes()}
	if len(f.Token) == 0 {
		c.Fail()
		return NewToken{}
	}
	return f
}

// Append appends the frame.
func (f NewToken) Append(b []byte) []byte {
	b = appendInts(b, FrameNewToken, int64(len(f.Token)))
	return append(b, f.Token...)
}

// Type returns FrameNewToken.
func (f NewToken) Type() FrameType { return FrameNewToken }

// String returns the frame for a log, with the token's length only.
func (f NewToken) String() string { return fmt.Sprintf("NEW_TOKEN len=%d", len(f.Token)) }

// MaxData is a MAX_DATA frame (RFC 9000 §19.9); Max is in bytes.
type MaxData struct{ Max int64 }

// ParseMaxData reads a MAX_DATA frame after its type.
func ParseMaxData(c *varint.Cursor) MaxData { return MaxData{c.Int()} }

// Append appends the frame.
func (f MaxData) Append(b []byte) []byte { return appendInts(b, FrameMaxData, f.Max) }

// Type returns FrameMaxData.
func (f MaxData) Type() FrameType { return FrameMaxData }

// String returns the frame for a log.
func (f MaxData) String() string { return fmt.Sprintf("MAX_DATA max=%d", f.Max) }

// MaxStreamData is a MAX_STREAM_DATA frame (RFC 9000 §19.10); Max is in bytes.
type MaxStreamData struct{ ID, Max int64 }

// ParseMaxStreamData reads a MAX_STREAM_DATA frame after its type.
func ParseMaxStreamData(c *varint.Cursor) MaxStreamData { return MaxStreamData{c.Int(), c.Int()} }

// Append appends the frame.
func (f MaxStreamData) Append(b []byte) []byte {
	return appendInts(b, FrameMaxStreamData, f.ID, f.Max)
}

// Type returns FrameMaxStreamData.
func (f MaxStreamData) Type() FrameType { return FrameMaxStreamData }

// String returns the frame for a log.
func (f MaxStreamData) String() string {
	return fmt.Sprintf("MAX_STREAM_DATA id=%d max=%d", f.ID, f.Max)
}

// MaxStreams is a MAX_STREAMS frame (RFC 9000 §19.11); Max is a count of streams,
// at most 1<<60.
type MaxStreams struct {
	Uni bool
	Max int64
}

// ParseMaxStreams reads a MAX_STREAMS frame after its type t; a count above
// 1<<60 fails the cursor.
func ParseMaxStreams(c *varint.Cursor, t FrameType) MaxStreams {
	return MaxStreams{t == FrameMaxStreamsUni, parseStreamCount(c)}
}

// Append appends the frame.
func (f MaxStreams) Append(b []byte) []byte { return appendInts(b, f.Type(), f.Max) }

// Type returns FrameMaxStreamsUni or FrameMaxStreamsBidi.
func (f MaxStreams) Type() FrameType {
	if f.Uni {
		return FrameMaxStreamsUni
	}
	return FrameMaxStreamsBidi
}

// String returns the frame for a log.
func (f MaxStreams) String() string { return fmt.Sprintf("%v max=%d", f.Type(), f.Max) }

// DataBlocked is a DATA_BLOCKED frame (RFC 9000 §19.12); Limit is in bytes.
type DataBlocked struct{ Limit int64 }

// ParseDataBlocked reads a DATA_BLOCKED frame after its type.
func ParseDataBlocked(c *varint.Cursor) DataBlocked { return DataBlocked{c.Int()} }

// Append appends the frame.
func (f DataBlocked) Append(b []byte) []byte { return appendInts(b, FrameDataBlocked, f.Limit) }

// Type returns FrameDataBlocked.
func (f DataBlocked) Type() FrameType { return FrameDataBlocked }

// String returns the frame for a log.
func (f DataBlocked) String() string { return fmt.Sprintf("DATA_BLOCKED limit=%d", f.Limit) }

// StreamDataBlocked is a STREAM_DATA_BLOCKED frame (RFC 9000 §19.13); Limit is in bytes.
type StreamDataBlocked struct{ ID, Limit int64 }

// ParseStreamDataBlocked reads a STREAM_DATA_BLOCKED frame after its type.
func ParseStreamDataBlocked(c *varint.Cursor) StreamDataBlocked {
	return StreamDataBlocked{c.Int(), c.Int()}
}

// Append appends the frame.
func (f StreamDataBlocked) Append(b []byte) []byte {
	return appendInts(b, FrameStreamDataBlocked, f.ID, f.Limit)
}

// Type returns FrameStreamDataBlocked.
func (f StreamDataBlocked) Type() FrameType { return FrameStreamDataBlocked }

// String returns the frame for a log.
func (f StreamDataBlocked) String() string {
	return fmt.Sprintf("STREAM_DATA_BLOCKED id=%d limit=%d", f.ID, f.Limit)
}

// StreamsBlocked is a STREAMS_BLOCKED frame (RFC 9000 §19.14); Limit is a count
// of streams, at most 1<<60.
type StreamsBlocked struct {
	Uni   bool
	Limit int64
}

// ParseStreamsBlocked reads a STREAMS_BLOCKED frame after its type t; a count
// above 1<<60 fails the cursor.
func ParseStreamsBlocked(c *varint.Cursor, t FrameType) StreamsBlocked {
	return StreamsBlocked{t == FrameStreamsBlockedUni, parseStreamCount(c)}
}

// Append appends the frame.
func (f StreamsBlocked) Append(b []byte) []byte { return appendInts(b, f.Type(), f.Limit) }

// Type returns FrameStreamsBlockedUni or FrameStreamsBlockedBidi.
func (f StreamsBlocked) Type() FrameType {
	if f.Uni {
		return FrameStreamsBlockedUni
	}
	return FrameStreamsBlockedBidi
}

// String returns the frame for a log.
func (f StreamsBlocked) String() string { return fmt.Sprintf("%v limit=%d", f.Type(), f.Limit) }

// HandshakeDone is a HANDSHAKE_DONE frame (RFC 9000 §19.20).
type HandshakeDone struct{}

// Append appends the frame.
func (f HandshakeDone) Append(b []byte) []byte { return append(b, byte(FrameHandshakeDone)) }

// Type returns FrameHandshakeDone.
func (f HandshakeDone) Type() FrameType { return FrameHandshakeDone }

// String returns the frame for a log.
func (f HandshakeDone) String() string { return "HANDSHAKE_DONE" }

// parseStreamCount reads a count of streams, failing the cursor above 1<<60 (RFC 9000 §4.6).
func parseStreamCount(c *varint.Cursor) int64 {
	n := c.Int()
	if n > maxStreams {
		c.Fail()
		return 0
	}
	return n
}

// appendInts appends a type and up to two fields.
func appendInts(b []byte, t FrameType, fields ...int64) []byte {
	b = append(b, byte(t))
	for _, v := range fields {
		b = varint.Append(b, uint64(v))
	}
	return b
}
