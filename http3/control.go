package http3

// control reads the peer's control stream (RFC 9114 §6.2.1).
type control struct {
	s       *Session
	buf     []byte // the beginning of a frame
	skip    uint64 // bytes of an unknown frame that are still to come (RFC 9114 §9)
	settled bool   // SETTINGS has come
}

// Bounds on the payloads of frames of the control stream, which are kept until whole.
const (
	maxIDLen       = 8
	maxPriorityLen = 8 + maxPriority
)

// maxPriority is how many bytes a priority may have. A field with more says nothing, as one that cannot be read does
// (RFC 9218 §5).
const maxPriority = 256

func (c *control) init(s *Session) { c.s = s }

// take takes a piece of the stream.
func (c *control) take(p []byte) *fault {
	for {
		if c.skip > 0 {
			n := min(c.skip, uint64(len(p)))
			p, c.skip = p[n:], c.skip-n
		}
		if len(p) == 0 {
			return nil
		}
		whole := p
		if len(c.buf) > 0 {
			c.buf = append(c.buf, p...)
			whole = c.buf
		}
		rest, more, f := c.frame(whole)
		if f != nil {
			return f
		}
		p = rest
		if more { // rest is the beginning of a frame
			if c.buf = append(c.buf[:0], rest...); len(c.buf) == 0 {
				c.buf = nil
			}
			return nil
		}
		if len(c.buf) > 0 {
			p, c.buf = append([]byte(nil), rest...), nil
		}
	}
}

// frame takes one frame from the front of b and returns what follows. more says that
// there is not yet a whole one.
func (c *control) frame(b []byte) (rest []byte, more bool, f *fault) {
	t, length, n := parseFrameHead(b)
	if n == 0 {
		return b, true, nil
	}
	limit, f := c.limit(t)
	switch {
	case f != nil:
		return nil, false, f
	case limit == 0: // not known here
		c.skip = length
		return b[n:], false, c.s.useful.charge("unknown frames on the control stream")
	case length > uint64(limit):
		f := sessionFault(oversized(t), "%v frame of %d bytes", t, length)
		f.limit = true
		return nil, false, f
	case uint64(len(b)-n) < length:
		return b, true, nil
	}
	c.settled = true
	end := n + int(length)
	return b[end:], false, c.s.onControlFrame(t, b[n:end])
}

// oversized returns the error for a frame that is longer than what it can hold (RFC 9114 §10.8).
func oversized(t frameType) ErrorCode {
	if t == frameSettings || t == framePriorityStream || t == framePriorityPush {
		return ExcessiveLoad
	}
	return FrameError // one number is never that long
}

// limit returns how long a frame may be that comes now, 0 if its type means nothing.
func (c *control) limit(t frameType) (int, *fault) {
	first := !c.settled
	switch {
	case first && t != frameSettings:
		return 0, sessionFault(MissingSettings, "the control stream begins with %v", t)
	case !first && t == frameSettings:
		return 0, sessionFault(FrameUnexpected, "a second SETTINGS")
	case t.http2(), t.message():
		return 0, sessionFault(FrameUnexpected, "%v on the control stream", t)
	}
	switch t {
	case frameSettings:
		return maxSettingsLen, nil
	case frameCancelPush, frameGoAway:
		return maxIDLen, nil
	case frameMaxPushID:
		if !c.s.server {
			return 0, sessionFault(FrameUnexpected, "MAX_PUSH_ID from a server")
		}
		return maxIDLen, nil
	case framePriorityStream, framePriorityPush:
		if !c.s.server {
			return 0, sessionFault(FrameUnexpected, "PRIORITY_UPDATE from a server")
		}
		return maxPriorityLen, nil
	}
	return 0, nil
}

// onControlFrame lets a frame of the control stream act.
func (s *Session) onControlFrame(t frameType, payload []byte) *fault {
	switch t {
	case frameSettings:
		p := settingsUnsaid()
		if f := p.parse(payload); f != nil {
			return f
		}
		if f := s.keepsWord(&p, payload); f != nil {
			return f
		}
		s.onSettings(p)
		return nil
	case framePriorityStream, framePriorityPush:
		return s.onPriorityUpdate(t, payload)
	}
	id, ok := parseID(payload)
	if !ok {
		return sessionFault(FrameError, "%v is not one number", t)
	}
	switch t {
	case frameGoAway:
		return s.onGoAway(id)
	case frameMaxPushID:
		return s.onMaxPushID(id)
	}
	return s.onCancelPush(id)
}
