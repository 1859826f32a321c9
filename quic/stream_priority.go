package quic

import "github.com/cinnabar-quic/cinnabar/internal/transport"

// SetPriority says when what is written to the stream goes, relative to the session's
// other streams (RFC 9218 §10). A stream begins with urgency 3, and incremental.
//
// The urgency is 0 to 7. Streams with a lower one go first, and others wait as long as
// those have anything to send that flow control lets go; 7 is for what may wait for all
// else (RFC 9218 §4.1). Of one urgency, streams that are not incremental go one at a time, in
// the order of their numbers; incremental ones take turns, packet by packet (RFC 9218 §4.2). Where
// there are both, the one whose time it is takes turns with the incremental ones as one more of
// them. Data that was lost goes again with the urgency of its stream. Resets, limits and other
// control frames do not wait for data.
//
// It can be called at any time, and holds from the next packet on, also for what was
// written before. On a stream that is over it changes nothing. The error is an
// *OptionError for an urgency that there is not, or a *StateError if the stream is only
// read here.
func (st *Stream) SetPriority(urgency int, incremental bool) error {
	if urgency < 0 || urgency >= transport.Urgencies {
		return &OptionError{Option: "SetPriority.urgency", Value: urgency, Want: "0 to 7", code: CodeOutOfRange}
	}
	if !st.t.CanSend() {
		return &StateError{Op: "Stream.SetPriority", State: onlyRead, closed: true}
	}
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	if !st.over {
		st.s.conn.SetPriority(st.t, uint8(urgency), incremental)
	}
	return nil
}

// Priority returns what SetPriority has set last, or the urgency of 3 and true that a stream begins with.
func (st *Stream) Priority() (urgency int, incremental bool) {
	st.s.mu.Lock()
	defer st.s.unlock(flushNone)
	u, incremental := st.t.Priority()
	return int(u), incremental
}
