package recovery

// What a log wants to know, and nobody else.

// ECNState returns how far the validation of ECN on the path is, in the words of qlog:
// "testing" while packets are marked to find out, "unknown" until they are answered,
// then "capable" or "failed".
func (l *Loss) ECNState() string {
	switch {
	case l.ecn.state == ecnCapable:
		return "capable"
	case l.ecn.state == ecnFailed:
		return "failed"
	case l.ecn.marked >= ecnTests:
		return "unknown"
	}
	return "testing"
}

// LostByOrder reports whether a packet of the number n counts as lost because of those
// sent after it (RFC 9002 §6.1.1), and not only for its age.
func (l *Loss) LostByOrder(space Space, n int64) bool { return n < l.spaces[space].lostBelow() }

// PacingRate returns the rate in bytes a second that data leaves at, at most.
func (l *Loss) PacingRate() int64 { return l.pacer.Rate() }

// PacketThreshold and PersistentCongestion are kPacketThreshold and
// kPersistentCongestionThreshold of RFC 9002; TimeThreshold and TimerGranularity are
// kTimeThreshold and kGranularity.
const (
	PacketThreshold      = packetThreshold
	PersistentCongestion = persistence
	TimeThreshold        = 9.0 / 8
	TimerGranularity     = granularity
)
