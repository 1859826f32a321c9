package recovery

import (
	"math"
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
	"github.com/cinnabar-quic/cinnabar/internal/ranges"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// Acks is the receiver's side of one packet number space: which packets came,
// and when to say so (RFC 9000 §13.2). Init makes it ready.
type Acks struct {
	space    Space
	promised time.Duration // our max_ack_delay
	when     Frequency

	set       ranges.Set // received, from floor on
	floor     int64      // numbers below are not accepted any more
	said      int64      // numbers below need no acknowledgment any more, but for those that come late
	unsaid    int64      // lowest ack-eliciting number since the last ACK; none: past all others
	taking    int64      // the packet between Taking and Received; none: past all others
	largest   int64
	largestAt mono.Time // when it came

	eliciting int64     // largest ack-eliciting number
	told      int64     // largest number in an ACK that was sent
	pending   int       // ack-eliciting packets since then
	opened    int       // ranges begun since then
	urgent    bool      // the packet being taken asks for its ACK at once
	marked    bool      // the last ack-eliciting packet had a CE mark
	deadline  mono.Time // when one must go; Never: nothing to answer
	delayed   bool      // the deadline is that of a delay, not of a packet that is answered at once
	count     wire.ECNCounts
}

// Init makes a ready for a space. maxDelay is the max_ack_delay that we
// promise, which only App makes use of.
func (a *Acks) Init(space Space, maxDelay time.Duration) {
	*a = Acks{
		space: space, promised: bound(maxDelay), deadline: mono.Never,
		largest: -1, eliciting: -1, told: -1, unsaid: math.MaxInt64, taking: math.MaxInt64,
	}
	a.when = DefaultFrequency(a.promised)
}

// Seen reports whether a packet is to be dropped unread: it came before, or it
// is so old that nobody remembers.
func (a *Acks) Seen(pn int64) bool { return pn < a.floor || a.set.Contains(pn) }

// Taking says that a packet which was not Seen is being processed: what its own
// frames acknowledge does not make it too old for Received, which follows.
func (a *Acks) Taking(pn int64) { a.taking = pn }

// Received records a packet that was processed as a whole. ecn is the
// codepoint that its datagram came with.
func (a *Acks) Received(now mono.Time, pn int64, eliciting bool, ecn dgram.ECN) {
	a.taking = math.MaxInt64
	if !a.Seen(pn) {
		a.add(now, pn, 1, eliciting, ecn)
	}
}

// ReceivedRun is Received for n ack-eliciting packets with numbers from first on, above all
// that came before.
func (a *Acks) ReceivedRun(now mono.Time, first, n int64, ecn dgram.ECN) {
	if first <= a.largest {
		panic("BUG: run of packets below one that came before")
	}
	a.add(now, first, n, true, ecn)
}

// add records n packets with numbers from pn on.
func (a *Acks) add(now mono.Time, pn, n int64, eliciting bool, ecn dgram.ECN) {
	switch ecn {
	case dgram.ECT0:
		a.count.ECT0 += uint64(n)
	case dgram.ECT1:
		a.count.ECT1 += uint64(n)
	case dgram.CE:
		a.count.CE += uint64(n)
	}
	before, resumed := len(a.set), now.Sub(a.largestAt) > a.when.MaxDelay
	a.set.Add(pn, pn+n)
	a.opened += max(len(a.set)-before, 0)
	a.said = min(a.said, pn)
	if last := pn + n - 1; last > a.largest {
		a.largest, a.largestAt = last, now
	}
	if eliciting {
		a.schedule(now, pn, n, ecn, resumed)
	}
	a.urgent = false
	if extra := len(a.set) - MaxAckRanges; extra > 0 {
		a.floor = max(a.floor, a.set[extra-1].End)
		a.set.DropFirst(MaxAckRanges)
	}
}

// schedule sets when the ACK for n ack-eliciting packets from pn on must go. Initial and
// Handshake packets, every second packet, packets out of order and CE marks are
// answered at once (RFC 9000 §13.2.1, §13.2.2), unless the peer has asked for less.
// A packet that ends a silence does not wait longer than we promised by ourselves.
func (a *Acks) schedule(now mono.Time, pn, n int64, ecn dgram.ECN, resumed bool) {
	a.pending += int(n)
	a.unsaid = min(a.unsaid, pn)
	last := pn + n - 1
	congested, disordered := a.congested(ecn), a.disordered(last)
	a.eliciting = max(a.eliciting, last)
	delay := a.when.MaxDelay
	switch {
	case a.space != App, int64(a.pending) > a.when.Threshold, a.urgent, congested, disordered, a.opened >= MaxAckRanges/2:
		delay = 0
	case resumed:
		delay = min(delay, a.promised)
	}
	if at := now.Add(delay); at < a.deadline {
		a.deadline, a.delayed = at, delay > 0
	}
}

// congested reports whether a packet's mark is to be told at once. While the peer
// wants few ACKs that is so when marks begin, and not while they go on
// (draft-ietf-quic-ack-frequency §6.4).
func (a *Acks) congested(ecn dgram.ECN) bool {
	before := a.marked
	a.marked = ecn == dgram.CE
	return a.marked && (a.when.Threshold <= 1 || !before)
}

// disordered reports whether with packet pn, which is in the set by now, the order
// is so far from right that the peer is to know at once: by default, if anything is
// missing or came late. With a threshold, if it can tell from an ACK that a packet
// counts as lost, and could not from the last one, or if pn itself counted as lost by
// that (draft-ietf-quic-ack-frequency §6.2).
func (a *Acks) disordered(pn int64) bool {
	switch a.when.Reorder {
	case 0:
		return false
	case 1:
		return pn < a.eliciting || !a.set.Covers(max(a.eliciting+1, a.said), pn)
	}
	reported := a.told - a.when.Reorder
	if pn <= reported {
		return true
	}
	missing := a.set.FirstMissing(max(reported+1, a.floor))
	return max(a.eliciting, pn)-missing >= a.when.Reorder
}

// Largest returns the largest packet number received, -1 if none.
func (a *Acks) Largest() int64 { return a.largest }

// Due reports whether an ACK must go now, even in a packet of its own.
func (a *Acks) Due(now mono.Time) bool { return a.deadline <= now }

// Expired reports whether an ACK must go now because one was held back for as long as
// we promise to, and nothing came that it could have gone with.
func (a *Acks) Expired(now mono.Time) bool { return a.delayed && a.deadline <= now }

// Wanted reports whether an ack-eliciting packet waits for its ACK: one is
// worth its bytes in any packet that goes.
func (a *Acks) Wanted() bool { return a.pending > 0 }

// Deadline returns when Due becomes true, Never if nothing waits.
func (a *Acks) Deadline() mono.Time { return a.deadline }

// Ranges returns how many ranges the next ACK frame would have. Many of
// them tell that the peer does not acknowledge our ACKs.
func (a *Acks) Ranges() int { return len(a.unacknowledged()) }

// unacknowledged returns the ranges that the peer may not know of yet.
func (a *Acks) unacknowledged() ranges.Set {
	i := 0
	for i < len(a.set) && a.set[i].End <= a.said {
		i++
	}
	return a.set[i:]
}

// Append appends an ACK frame of at most room bytes to b: the newest ranges
// that fit, with ECN counts if any mark was seen. It returns false, and b
// unchanged, if there is nothing to acknowledge or no room.
func (a *Acks) Append(b []byte, room int, now mono.Time, exponent uint8) ([]byte, bool) {
	set := a.unacknowledged()
	if len(set) == 0 {
		return b, false
	}
	delay := uint64(bound(now.Sub(a.largestAt))/time.Microsecond) >> exponent
	var ecn *wire.ECNCounts
	if a.count != (wire.ECNCounts{}) {
		ecn = &a.count
	}
	return wire.AppendAck(b, room, set, delay, ecn)
}

// Sent says that the ACK frame which Append wrote goes out. It returns the
// largest number in it, to be given to Acked if that packet arrives.
func (a *Acks) Sent() (largest int64) {
	a.pending, a.opened, a.deadline, a.unsaid = 0, 0, mono.Never, math.MaxInt64
	a.told = a.largest
	return a.largest
}

// ackMemory is how many numbers below those that the peer may still have to hear of are
// remembered, so that what was long on its way can be told from what came before: a
// packet may come a round trip after its successors, by another path.
const ackMemory = 512

// Acked says that the peer has an ACK frame with this largest number. What it
// covers needs no acknowledgment any more (RFC 9000 §13.2.4). What came late, after that
// frame, is not covered.
func (a *Acks) Acked(largest int64) {
	largest = min(largest, a.unsaid-1, a.taking-1)
	if largest < a.said {
		return
	}
	a.said = largest + 1
	if forget := a.said - ackMemory; forget > a.floor {
		a.floor = forget
		a.set.Remove(0, forget)
	}
}
