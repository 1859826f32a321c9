package wire

import (
	"fmt"

	"github.com/cinnabar-quic/cinnabar/internal/varint"
)

// AckFrequency is an ACK_FREQUENCY frame of draft-ietf-quic-ack-frequency: what the
// sender of data asks of those who acknowledge it.
type AckFrequency struct {
	Seq       int64
	Threshold int64  // ack-eliciting packets that may come without an ACK; 1 is every second one
	MaxDelay  uint64 // microseconds
	Reorder   int64  // how far out of order a packet is answered at once; 1 is any, 0 never
}

// ParseAckFrequency reads an ACK_FREQUENCY frame after its type.
func ParseAckFrequency(c *varint.Cursor) AckFrequency {
	return AckFrequency{Seq: c.Int(), Threshold: c.Int(), MaxDelay: c.Varint(), Reorder: c.Int()}
}

// Append appends the frame.
func (f AckFrequency) Append(b []byte) []byte {
	b = varint.Append(b, uint64(FrameAckFrequency))
	b = varint.Append(b, uint64(f.Seq))
	b = varint.Append(b, uint64(f.Threshold))
	b = varint.Append(b, f.MaxDelay)
	return varint.Append(b, uint64(f.Reorder))
}

// Type returns FrameAckFrequency.
func (f AckFrequency) Type() FrameType { return FrameAckFrequency }

// String returns the frame for a log.
func (f AckFrequency) String() string {
	return fmt.Sprintf("ACK_FREQUENCY seq=%d threshold=%d delay=%d reorder=%d", f.Seq, f.Threshold, f.MaxDelay, f.Reorder)
}

// ImmediateAck is an IMMEDIATE_ACK frame of draft-ietf-quic-ack-frequency.
type ImmediateAck struct{}

// Append appends the frame.
func (f ImmediateAck) Append(b []byte) []byte { return append(b, byte(FrameImmediateAck)) }

// Type returns FrameImmediateAck.
func (f ImmediateAck) Type() FrameType { return FrameImmediateAck }

// String returns the frame for a log.
func (f ImmediateAck) String() string { return "IMMEDIATE_ACK" }
