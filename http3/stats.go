package http3

import "sync/atomic"

// Stats are figures of a session, from its beginning.
type Stats struct {
	Useless           uint64 // frames, streams and datagrams that were legal and of no use; ExcessiveLoad ends a session with too many at once
	DatagramsReceived uint64 // HTTP datagrams that streams were given
	DatagramsDropped  uint64 // those for streams that were not there or had been ended by the peer, and those that had to go for newer ones
	DatagramsHeld     uint64 // bytes of those that wait to be received, now; the most is 512 KiB, in 1,024 of them
	QPACKInserted     uint64 // entries that the peer has put into this end's dynamic table
	HeadersHeld       uint64 // bytes of header blocks that are not whole or wait for an entry, now; the most is 1 MiB, or twice MaxHeaderLength
	HeadersKept       uint64 // bytes that decoded header blocks cost beyond 8 KiB for each request that is not over, or push that is promised, now; the most is 16 KiB for each stream that a client may have open, at least 1 MiB and twice MaxHeaderListSize, but one block alone may have more
	QPACKWaited       uint64 // header blocks that had to wait for such an entry
	QPACKBlocked      int    // streams that wait for one now
	LimitErrors       uint64 // header blocks that were refused, streams that were ended, and one for the session, because the peer went over a limit
	BodiesStopped     uint64 // requests whose handler was done before their bodies were, so that the client was asked to stop: of a Server
	ControlUnsent     uint64 // times that this end had something to say on its control stream, and the peer had not read what stood there before
}

// counters are what Stats is read from.
type counters struct {
	datagramsReceived, datagramsDropped, waited, pastLimit, bodiesStopped, unsent atomic.Uint64

	vain atomic.Uint64 // looks at header blocks that still had to wait, after the first: for tests
}

// Stats returns the session's figures.
func (s *Session) Stats() Stats {
	s.fields.dmu.Lock()
	inserted, blocked := s.fields.dec.InsertCount(), s.fields.dec.Blocked()
	s.fields.dmu.Unlock()
	return Stats{
		Useless:           s.useful.spentInAll(),
		DatagramsReceived: s.stats.datagramsReceived.Load(),
		DatagramsDropped:  s.stats.datagramsDropped.Load(),
		DatagramsHeld:     uint64(s.datagrams.held()),
		QPACKInserted:     inserted,
		HeadersHeld:       uint64(max(s.held.Load(), 0)),
		HeadersKept:       uint64(max(s.kept.Load(), 0)),
		QPACKWaited:       s.stats.waited.Load(),
		QPACKBlocked:      blocked,
		LimitErrors:       s.stats.pastLimit.Load(),
		BodiesStopped:     s.stats.bodiesStopped.Load(),
		ControlUnsent:     s.stats.unsent.Load(),
	}
}

// count notes a fault that is a limit's.
func (c *counters) count(f *fault) {
	if f.limit || f.code == ExcessiveLoad {
		c.pastLimit.Add(1)
	}
}
