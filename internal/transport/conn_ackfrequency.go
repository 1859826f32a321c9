package transport

import (
	"time"

	"github.com/cinnabar-quic/cinnabar/internal/recovery"
	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// ackFrequency is what this end asks of the peer's ACKs (draft-ietf-quic-ack-frequency).
// While little is under way, nothing: the peer answers every second packet.
type ackFrequency struct {
	signal signal
	seq    int64              // of the next frame
	asked  recovery.Frequency // by the newest frame
}

const (
	// A window that opens in so many steps is half a step behind on average: with sixteen
	// a path that limits us by its losses would carry three percent less. And HyStart++
	// wants more than eight samples a round trip (RFC 9406 §4.2).
	acksPerWindow = 64 // no limit: a rate of ours
	// On a path so short that ACKs come with the batches of the system anyway, fewer do.
	acksPerShortWindow = 16  // no limit: a rate of ours
	fewestPackets      = 4   // below that it is not worth a frame
	mostPackets        = 256 // no limit: above that ACKs cost next to nothing

	// A delay below this many round trips delays nobody who waits for a window; it only
	// bounds how long the end of a flight goes unanswered, and the probe timeout with it.
	ackDelayShare = 4
	// A busy peer is late by more than its timers are.
	shortestAckDelay = 5 * time.Millisecond

	maxAckFrequencyLen = 2 + 4*8 // no limit: room for a frame
)

// takesAckFrequency reports whether the peer knows the frames of the extension. What it
// said in an earlier connection does not count, so 0-RTT packets have none.
func (c *Conn) takesAckFrequency() bool { return c.peerKnown && c.peer.HasMinAckDelay }

// frame returns the frame that asks for what is best as things are.
func (f *ackFrequency) frame(c *Conn) wire.AckFrequency {
	t := f.target(c)
	return wire.AckFrequency{
		Seq: f.seq, Threshold: t.Threshold, MaxDelay: uint64(t.MaxDelay / time.Microsecond), Reorder: t.Reorder,
	}
}

// target returns what is best to ask for as things are.
func (f *ackFrequency) target(c *Conn) recovery.Frequency {
	n := f.threshold(c)
	if n == 0 {
		return recovery.DefaultFrequency(c.peer.MaxAckDelay)
	}
	delay := max(c.loss.SmoothedRTT()/ackDelayShare, shortestAckDelay, c.peer.MinAckDelay)
	return recovery.Frequency{
		Threshold: n,
		MaxDelay:  min(delay.Truncate(time.Microsecond), c.peer.MaxAckDelay),
		Reorder:   recovery.PacketThreshold, // an ACK that says less cannot make a packet lost
	}
}

// threshold returns for how many packets one ACK is enough, 0 if for so few that it is not
// worth a frame.
func (f *ackFrequency) threshold(c *Conn) int64 {
	share := acksPerWindow
	if c.loss.SmoothedRTT() < shortestAckDelay {
		share = acksPerShortWindow
	}
	n, fewest := int64(c.loss.Window()/c.mtu.size/share), int64(fewestPackets)
	if f.asked.Threshold > 1 {
		fewest /= 2 // a window that swings does not make us swing
	}
	if n < fewest {
		return 0
	}
	return min(n, mostPackets)
}

// tune looks, after an ACK, whether what was asked for is still right: within a factor
// of two it is, and one frame has to arrive before the next one goes.
func (f *ackFrequency) tune(c *Conn) {
	if !c.confirmed || !c.takesAckFrequency() || f.signal.pending() {
		return
	}
	t := f.target(c)
	if far(t.Threshold, f.asked.Threshold) || t.Threshold > 1 && far(int64(t.MaxDelay), int64(f.asked.MaxDelay)) {
		f.signal.want()
	}
}

// far reports whether one of them is at least twice the other. A peer may have us ask for no
// delay at all: 0 is not far from 0.
func far(a, b int64) bool { return a != b && (a >= 2*b || b >= 2*a) }

// renew makes a peer that was asked for few ACKs hear of it that the path, with its
// window and its round-trip time, is a new one.
func (f *ackFrequency) renew() {
	if f.asked.Threshold > 1 {
		f.signal.want()
	}
}

// append writes an ACK_FREQUENCY frame. Until it is known to have arrived the longer one
// of two delays counts.
func (f *ackFrequency) append(c *Conn, d *datagram, pk *packet) {
	if !f.signal.wanted() || d.room() < maxAckFrequencyLen {
		return
	}
	frame := f.frame(c)
	d.b = frame.Append(d.b)
	f.asked = recovery.Frequency{
		Threshold: frame.Threshold, MaxDelay: time.Duration(frame.MaxDelay) * time.Microsecond, Reorder: frame.Reorder,
	}
	f.seq++
	c.mark(pk, &f.signal, recovery.Frame{Kind: sentAckFrequency})
	c.loss.SetPeerAckDelay(max(c.loss.PeerAckDelay(), f.asked.MaxDelay))
}

// settle takes the fate of packet n's frame.
func (f *ackFrequency) settle(c *Conn, n int64, arrived bool) {
	newest := f.signal == signal(n+1)
	f.signal.settle(n, arrived)
	if newest && arrived {
		c.loss.SetPeerAckDelay(f.asked.MaxDelay)
	}
}

// appendImmediateAck asks for an answer to this packet at once, if the peer can be asked.
func (c *Conn) appendImmediateAck(d *datagram, pk *packet) {
	if !c.takesAckFrequency() || d.room() < 1 {
		return
	}
	d.b = wire.ImmediateAck{}.Append(d.b)
	pk.eliciting = true
	c.record(recovery.Frame{Kind: sentPing, Off: pk.pn})
}

// onAckFrequency takes what the peer asks of our ACKs. Only an endpoint that has offered
// the extension knows the frame.
func (c *Conn) onAckFrequency(f wire.AckFrequency) *wire.Error {
	const invalid = 1 << 14 * 1000 // microseconds, as of RFC 9000 §18.2
	if f.MaxDelay >= invalid || time.Duration(f.MaxDelay)*time.Microsecond < c.params.MinAckDelay {
		return frameError(wire.ProtocolViolation, wire.FrameAckFrequency, "delay below min_ack_delay or above 2^14 ms")
	}
	if f.Seq <= c.ackFrequencySeen {
		return nil
	}
	c.ackFrequencySeen = f.Seq
	c.acks.SetFrequency(recovery.Frequency{
		Threshold: f.Threshold, MaxDelay: time.Duration(f.MaxDelay) * time.Microsecond, Reorder: f.Reorder,
	})
	return nil
}
