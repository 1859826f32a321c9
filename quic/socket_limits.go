package quic

import "net/netip"

// tally counts server sessions. Anybody can send a first packet with somebody
// else's address, so only those of clients that have shown that theirs is their own,
// by a token or a complete handshake, count against the limits that refuse. The others
// may be half as many; then a Retry asks for the proof first (RFC 9000 §8.1.2).
type tally struct{ proven, unproven int }

func (t *tally) add(proven bool, n int) {
	if proven {
		t.proven += n
	} else {
		t.unproven += n
	}
}

// full reports whether a client at host is one too many. This and what follows is
// called under the socket's lock.
func (s *Socket) full(host netip.Addr) bool {
	return s.servers.proven >= s.opts.MaxConnections || s.hosts[host].proven >= s.opts.MaxConnectionsPerHost
}

// crowded reports whether a client at host has to prove its address.
func (s *Socket) crowded(host netip.Addr) bool {
	half := func(limit int) int { return limit - limit/2 }
	return s.servers.unproven >= half(s.opts.MaxConnections) || s.hosts[host].unproven >= half(s.opts.MaxConnectionsPerHost)
}

// tally counts a server session, or with n = -1 takes the count back.
func (s *Socket) tally(v *ServerSession, n int) {
	s.servers.add(v.proven, n)
	h := s.hosts[v.host]
	h.add(v.proven, n)
	if h == (tally{}) {
		delete(s.hosts, v.host)
	} else {
		s.hosts[v.host] = h
	}
}

// prove counts a server session whose handshake is complete as one of a client that
// owns its address. It reports false if others were faster to fill the limit. It is
// called under the session's lock.
func (s *Socket) prove(v *ServerSession) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.proven || !v.held {
		return true
	}
	if s.full(v.host) {
		s.counts.busy++
		return false
	}
	s.tally(v, -1)
	v.proven = true
	s.tally(v, 1)
	return true
}

// maxLingering is how many server sessions that are over a socket keeps, for the
// packets that may still come for them (RFC 9000 §10.2). The limits above do not count
// them, so that clients which come and go in peace are not refused.
const maxLingering = 1024

// trim forgets the oldest sessions that are over, if there are too many. It is called
// without locks.
func (s *Socket) trim() {
	for {
		s.mu.Lock()
		if s.lingering.len() <= s.maxOver {
			s.mu.Unlock()
			return
		}
		v := s.lingering.pop()
		s.mu.Unlock()
		v.abandon()
	}
}
