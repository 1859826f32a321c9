package transport

// What is retained of streams is kept because the peer could still lack it: of each, all that was sent from the
// first byte on that is not acknowledged. The congestion window is no bound for that. A peer that acknowledges all
// but one packet, and every copy of it, keeps packets leaving, and all that stands behind the hole stays here.
//
// So no new stream data leaves while that is retainedWindows congestion windows, and maxRetained. What was lost goes, ends
// without data, and all else. Honest peers hardly ever come there. One window of data leaves until the loss
// of a packet is noticed, and as long as its copies are lost, too, a window for each of them, which falls to 0.85 or 0.7 (CUBIC;
// 0.5 with Reno) with at least every second one: less than four of the first window after five copies if the loss ends
// the first slow start, after three later. It is therefore not the window of now that counts, which may be a small part of
// that, but the largest one since less than one was retained. maxRetained is for small windows, which a few holes at once in
// several streams are many of.

// retainable returns how much that may be.
func (s *streams) retainable() int64 { return max(maxRetained, retainedWindows*int64(s.widest)) }

// fresh returns how many bytes of new stream data may go, by the peer's limit and by our own.
func (c *Conn) fresh() int64 {
	s := &c.streams
	return max(0, min(c.flow.out.Left(), s.retainable()-s.retained))
}

// settle follows the window, when something was acknowledged or dropped, and lets streams go on that have waited: not
// for each packet, since there may be many of them. More room will come as long as the peer acknowledges
// anything at all, for what is retained is under way, or goes again, or stands behind what does.
func (s *streams) settle(c *Conn) {
	window := int32(c.loss.Window()) // congestion.MaxWindow at most
	if s.retained > int64(window) {
		window = max(window, s.widest)
	}
	s.widest = window
	if most := s.retainable(); s.keeps && most-s.retained >= most/8 {
		s.unblock(c)
	}
}
