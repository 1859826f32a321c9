package http3

// maxIdle is how many sessions without a request a Transport keeps: a server that answers is met once and
// may never be asked again, and can keep its session alive.
const maxIdle = 100

// idleList has the sessions that have no request and take one, the one that has had none for the longest first. It is
// under the Transport's lock.
type idleList struct {
	first, last *clientConn
	n           int
}

// add puts a session at the end, and returns the one that is too many, nil if none is.
func (l *idleList) add(c *clientConn) (over *clientConn) {
	if c.rests {
		l.remove(c)
	}
	c.rests, c.before = true, l.last
	if l.last != nil {
		l.last.behind = c
	} else {
		l.first = c
	}
	l.last = c
	if l.n++; l.n > maxIdle {
		return l.first
	}
	return nil
}

// remove takes a session out, if it is there.
func (l *idleList) remove(c *clientConn) {
	if !c.rests {
		return
	}
	if c.before != nil {
		c.before.behind = c.behind
	} else {
		l.first = c.behind
	}
	if c.behind != nil {
		c.behind.before = c.before
	} else {
		l.last = c.before
	}
	c.rests, c.before, c.behind = false, nil, nil
	l.n--
}
