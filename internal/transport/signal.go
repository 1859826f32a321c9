package transport

// signal is the life of one retransmittable piece of control information in a
// word: unset, wanted (a frame should go), or sent in packet n and not known to
// have arrived. What the frame says is read when it is written, so that a
// retransmission carries the newest value (RFC 9000 §13.3).
type signal int64

const (
	signalUnset  signal = 0
	signalWanted signal = -1
)

// want makes a frame go, again if one is on its way.
func (s *signal) want() { *s = signalWanted }

// wanted reports whether a frame should go.
func (s signal) wanted() bool { return s == signalWanted }

// pending reports whether a frame should go or is not known to have arrived.
func (s signal) pending() bool { return s != signalUnset }

// sent notes that packet n carries the frame.
func (s *signal) sent(n int64) { *s = signal(n + 1) }

// settle tells the fate of packet n's frame; the frame of an older packet than
// the last says nothing.
func (s *signal) settle(n int64, arrived bool) {
	switch {
	case arrived && *s == signal(n+1):
		*s = signalUnset
	case !arrived && *s == signal(n+1):
		*s = signalWanted
	}
}

// resend makes a frame that is on its way go again.
func (s *signal) resend() {
	if *s != signalUnset {
		*s = signalWanted
	}
}

// clear forgets the frame.
func (s *signal) clear() { *s = signalUnset }
