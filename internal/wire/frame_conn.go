package wire

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// NewConnectionID is a NEW_CONNECTION_ID frame (RFC 9000 §19.15). ID has 1 to 20
// bytes, and RetirePriorTo is at most Seq.
type NewConnectionID struct {
	Seq, RetirePriorTo int64
	ID                 ConnectionID
	Token              ResetToken
}

// ParseNewConnectionID reads a NEW_CONNECTION_ID frame after its type. An ID that
// is empty or over 20 bytes, or a RetirePriorTo above Seq, fails the cursor.
func ParseNewConnectionID(c *varint.Cursor) NewConnectionID {
	f := NewConnectionID{Seq: c.Int(), RetirePriorTo: c.Int()}
	id := c.ByteBytes()
	copy(f.Token[:], c.Bytes(len(f.Token)))
	if c.Failed() || len(id) == 0 || len(id) > MaxConnectionIDLen || f.RetirePriorTo > f.Seq {
		c.Fail()
		return NewConnectionID{}
	}
	f.ID = MakeConnectionID(id)
	return f
}

// Append appends the frame.
func (f NewConnectionID) Append(b []byte) []byte {
	b = appendInts(b, FrameNewConnectionID, f.Seq, f.RetirePriorTo)
	b = append(b, f.ID.n)
	b = append(b, f.ID.Bytes()...)
	return append(b, f.Token[:]...)
}

// Type returns FrameNewConnectionID.
func (f NewConnectionID) Type() FrameType { return FrameNewConnectionID }

// String returns the frame for a log, without the token.
func (f NewConnectionID) String() string {
	return fmt.Sprintf("NEW_CONNECTION_ID seq=%d retire=%d id=%v", f.Seq, f.RetirePriorTo, f.ID)
}

// RetireConnectionID is a RETIRE_CONNECTION_ID frame (RFC 9000 §19.16).
type RetireConnectionID struct{ Seq int64 }

// ParseRetireConnectionID reads a RETIRE_CONNECTION_ID frame after its type.
func ParseRetireConnectionID(c *varint.Cursor) RetireConnectionID {
	return RetireConnectionID{c.Int()}
}

// Append appends the frame.
func (f RetireConnectionID) Append(b []byte) []byte {
	return appendInts(b, FrameRetireConnectionID, f.Seq)
}

// Type returns FrameRetireConnectionID.
func (f RetireConnectionID) Type() FrameType { return FrameRetireConnectionID }

// String returns the frame for a log.
func (f RetireConnectionID) String() string { return fmt.Sprintf("RETIRE_CONNECTION_ID seq=%d", f.Seq) }

// PathChallenge is a PATH_CHALLENGE frame (RFC 9000 §19.17).
type PathChallenge struct{ Data [8]byte }

// ParsePathChallenge reads a PATH_CHALLENGE frame after its type.
func ParsePathChallenge(c *varint.Cursor) PathChallenge {
	var f PathChallenge
	copy(f.Data[:], c.Bytes(len(f.Data)))
	return f
}

// Append appends the frame.
func (f PathChallenge) Append(b []byte) []byte {
	return append(append(b, byte(FramePathChallenge)), f.Data[:]...)
}

// Type returns FramePathChallenge.
func (f PathChallenge) Type() FrameType { return FramePathChallenge }

// String returns the frame for a log.
func (f PathChallenge) String() string { return fmt.Sprintf("PATH_CHALLENGE %x", f.Data) }

// PathResponse is a PATH_RESPONSE frame (RFC 9000 §19.18).
type PathResponse struct{ Data [8]byte }

// ParsePathResponse reads a PATH_RESPONSE frame after its type.
func ParsePathResponse(c *varint.Cursor) PathResponse {
	var f PathResponse
	copy(f.Data[:], c.Bytes(len(f.Data)))
	return f
}

// Append appends the frame.
func (f PathResponse) Append(b []byte) []byte {
	return append(append(b, byte(FramePathResponse)), f.Data[:]...)
}

// Type returns FramePathResponse.
func (f PathResponse) Type() FrameType { return FramePathResponse }

// String returns the frame for a log.
func (f PathResponse) String() string { return fmt.Sprintf("PATH_RESPONSE %x", f.Data) }

// Close is a CONNECTION_CLOSE frame (RFC 9000 §19.19). Code is an ErrorCode, or
// the application's if App. Reason borrows from the packet, and is whatever bytes
// the peer liked.
type Close struct {
	App    bool
	Code   uint64
	Frame  FrameType // the frame that was at fault, 0 if not known; not if App
	Reason []byte
}

// ParseClose reads a CONNECTION_CLOSE frame after its type t.
func ParseClose(c *varint.Cursor, t FrameType) Close {
	f := Close{App: t == FrameApplicationClose, Code: c.Varint()}
	if !f.App {
		f.Frame = FrameType(c.Varint())
	}
	f.Reason = c.VarintBytes()
	return f
}

// Append appends the frame.
func (f Close) Append(b []byte) []byte {
	b = varint.Append(append(b, byte(f.Type())), f.Code)
	if !f.App {
		b = varint.Append(b, uint64(f.Frame))
	}
	b = varint.Append(b, uint64(len(f.Reason)))
	return append(b, f.Reason...)
}

// Type returns FrameApplicationClose if App, else FrameConnectionClose.
func (f Close) Type() FrameType {
	if f.App {
		return FrameApplicationClose
	}
	return FrameConnectionClose
}

// String returns the frame for a log.
func (f Close) String() string {
	if f.App {
		return fmt.Sprintf("APPLICATION_CLOSE code=%#x reason=%q", f.Code, f.Reason)
	}
	return fmt.Sprintf("CONNECTION_CLOSE code=%v frame=%v reason=%q", ErrorCode(f.Code), f.Frame, f.Reason)
}
