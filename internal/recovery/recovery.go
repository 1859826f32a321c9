// Package recovery is loss recovery: RFC 9002 §2-§6 and the acknowledgments of
// RFC 9000 §13. Loss is the sender's half, for all packet number spaces of one
// connection; Acks is the receiver's half, one for each space.
//
// Nothing here knows what a frame means. The sender hands over a few plain
// numbers for each frame it sent, and gets them back with the fate of the packet.
package recovery

import (
	"math"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// Space is a packet number space (RFC 9000 §12.3).
type Space uint8

// The packet number spaces. 0-RTT and 1-RTT share App.
const (
	Initial Space = iota
	Handshake
	App
)

// Spaces is how many packet number spaces there are.
const Spaces = 3

// String returns the name of the space.
func (s Space) String() string {
	if s < Spaces {
		return [...]string{"Initial", "Handshake", "App"}[s]
	}
	return "Space?"
}

// Frame is what a sent packet carried, as far as its fate matters. All fields
// belong to the transport, which gets them back as they were.
type Frame struct {
	Kind, Flag uint8
	Len        uint32
	ID, Off    int64
}

// Packet is one sent packet. It has no pointers, so that a long history costs
// the garbage collector nothing.
type Packet struct {
	Number int64
	Sent   mono.Time // set by Loss.Sent
	Size   int32     // bytes of QUIC packet, protected
	Epoch  uint32    // the path it left by: Loss.Epoch, or OtherPath

	AckEliciting bool
	InFlight     bool // counts against the congestion window; an ack-eliciting packet always does
	Probe        bool // probes the path MTU: its loss says nothing about congestion
	ECN          dgram.ECN

	state  state
	cut    bool   // a packet between the one before and this one was acknowledged (Loss.persists)
	frames uint16 // how many
	at     uint32 // where the first one is in store.frames
	order  uint32 // low half of the count of packets sent before, over all spaces
}

// Memory that a record of a packet, and of a frame, takes.
const (
	packetRecord = 40
	frameRecord  = 24
)

// record returns the bytes of memory that the records of p and its frames take.
func (p *Packet) record() int32 { return packetRecord + frameRecord*int32(p.frames) }

// OtherPath is the epoch of packets that probe a path which is not in use: they count for none, even if that path
// is used later.
const OtherPath = math.MaxUint32

// active reports whether the packet was in flight on the path that was in use.
func (p *Packet) active() bool { return p.InFlight && p.Epoch != OtherPath }

// state is where a packet record stands.
type state uint8

const (
	outstanding state = iota // neither acknowledged nor lost
	nowAcked                 // found in the ACK that is being processed
	tellAcked                // acknowledged, the fate has not been pulled
	tellLost                 // declared lost, the fate has not been pulled
	tellBoth                 // declared lost, then acknowledged, before either was pulled
	settled                  // of no further use
)

// Fate is what became of a sent packet.
type Fate uint8

// The fates. A packet has one, but for a spurious loss: a packet that was
// reported as Lost and is acknowledged after all is reported as Acked too.
const (
	Acked Fate = iota
	Lost
)

// String returns "acked" or "lost".
func (f Fate) String() string {
	if f == Acked {
		return "acked"
	}
	return "lost"
}

// Constants of RFC 9002 Appendix A.2 and our own limits.
const (
	// DefaultInitialRTT is the round-trip time assumed before the first sample (RFC 9002 §6.2.2).
	DefaultInitialRTT = 333 * time.Millisecond
	// DefaultMaxAckDelay is the peer's max_ack_delay until it tells (RFC 9000 §18.2).
	DefaultMaxAckDelay = 25 * time.Millisecond
	// MaxAckRanges is how many ranges of received packet numbers are remembered.
	MaxAckRanges = 32
	// MaxQuietPackets is how many packets that are not in flight (ACK only) are
	// tracked in a space: the peer need never acknowledge these.
	MaxQuietPackets = 1000

	packetThreshold   = 3
	granularity       = time.Millisecond
	persistence       = 3                // kPersistentCongestionThreshold
	maxLate           = 512              // lost packets remembered for a late acknowledgment, per space
	latePTOs          = 3                // and for how many PTOs after they were sent
	maxLateFrames     = 2048             // frames of these packets, per space
	maxSample         = 60 * time.Second // the longest round trip that counts
	minRecords        = 65536            // bytes of records of packets in flight that any window allows (Loss.CanSend)
	maxSkipped        = 16               // skipped packet numbers remembered, per space
	maxQuietHandshake = 4                // as MaxQuietPackets, in Initial and Handshake: the peer may be nobody yet
	maxPTOCount       = 62               // no limit: the backoff saturates long before

	// longest is where durations that come from outside are cut: sums of a few
	// of them, times four and times three, still fit.
	longest time.Duration = 1 << 55
)

// Stats counts what happened to sent packets, over all spaces and paths.
type Stats struct {
	Sent, SentBytes      uint64
	Acked, AckedBytes    uint64
	Lost, LostBytes      uint64 // without MTU probes
	ProbesLost           uint64 // MTU probes
	PTOs                 uint64 // probe timeouts that expired
	Spurious             uint64 // packets acknowledged after they were declared lost
	CongestionEvents     uint64 // reductions of the window, whether for loss or for a CE mark
	PersistentCongestion uint64
	ECNFailures          uint64 // paths on which ECN validation failed
	MaxInFlight          int    // bytes
}
