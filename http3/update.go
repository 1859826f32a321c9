package http3

import (
	"github.com/cinnabar-quic/cinnabar/internal/varint"
	"github.com/cinnabar-quic/cinnabar/quic"
)

// maxEarlyUpdates is how many priorities are kept of requests that have not come.
const maxEarlyUpdates = 100

// onPriorityUpdate takes PRIORITY_UPDATE (RFC 9218 §7.1, §7.2).
func (s *Session) onPriorityUpdate(t frameType, payload []byte) *fault {
	if f := s.chargeUpdate(); f != nil {
		return f
	}
	v, n := varint.Parse(payload)
	if n == 0 {
		return sessionFault(FrameError, "PRIORITY_UPDATE without an ID")
	}
	id := int64(v)
	p, ok := ParsePriority(string(payload[n:]))
	if t == framePriorityPush {
		return s.updatePush(id, p, ok)
	}
	if id&3 != 0 || id>>2 >= s.q.PeerStreams(false) {
		return sessionFault(IDError, "PRIORITY_UPDATE for stream %d, which cannot be a request", id)
	}
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, coming := s.request(id)
	if st != nil {
		st.update(p)
	}
	if _, again := s.updates[id]; coming && (again || len(s.updates) < maxEarlyUpdates) {
		if s.updates == nil {
			s.updates = make(map[int64]Priority)
		}
		s.updates[id] = p
	}
	return nil
}

// chargeUpdate takes a token for a PRIORITY_UPDATE, if there were more than go with the requests that
// have come: browsers send one for each image that scrolls into view.
func (s *Session) chargeUpdate() *fault {
	s.mu.Lock()
	s.updated++
	free := s.updated <= freeUpdates*s.next/4
	s.mu.Unlock()
	if free {
		return nil
	}
	return s.useful.charge("PRIORITY_UPDATE frames")
}

// update gives a stream the priority of a PRIORITY_UPDATE. It is set under the lock, so that the latest one stays.
func (st *Stream) update(p Priority) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.updated = true
	_ = st.SetPriority(p)
}

func (s *Session) updatePush(id int64, p Priority, ok bool) *fault {
	s.mu.Lock()
	unknown := id >= s.pushes.next
	st := s.pushes.streams[id]
	s.mu.Unlock()
	if unknown {
		return sessionFault(IDError, "PRIORITY_UPDATE for push %d, which was not promised", id)
	}
	if st != nil && ok {
		st.update(p)
	}
	return nil
}

// UpdatePriority tells the server, with a PRIORITY_UPDATE frame, how much the response here
// matters now (RFC 9218 §7). The error is a *quic.OptionError for an urgency that is not 0 to
// 7, a *quic.StateError at a server or when the session is over, or a *quic.OperationError if
// the server does not read what it is told.
func (st *Stream) UpdatePriority(p Priority) error {
	const op = "http3.Stream.UpdatePriority"
	if st.s.server {
		return &quic.StateError{Op: op, State: "only clients update priorities"}
	}
	if p.Urgency < 0 || p.Urgency > 7 {
		return &quic.OptionError{Option: "Priority.Urgency", Value: p.Urgency, Want: "0 to 7"}
	}
	t, id := framePriorityStream, st.ID()
	if st.push >= 0 {
		t, id = framePriorityPush, st.push
	}
	b := varint.Append(make([]byte, maxFrameHead, 64), uint64(id))
	b = append(b, p.String()...)
	return st.s.control(op, closeFrame(b, 0, t))
}

// prioritize takes what the request's priority field says, unless an update has come first.
func (st *Stream) prioritize(h Headers) {
	p, _ := ParsePriority(h.joined("priority", maxPriority))
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.updated {
		_ = st.SetPriority(p)
	}
}
