package quic

import (
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
)

// endpointTo returns the endpoint for a session that is to reach an address and names none:
// among those whose family fits the first Preferred one, or else the first (CQS-004, X-008); if
// there are none, among those for both families. It is nil if no endpoint reaches the
// address. It is called under the socket's lock.
func (s *Socket) endpointTo(ip netip.Addr) *Endpoint {
	var best *Endpoint
	rank := 0
	for _, e := range s.endpoints {
		r := 2 * int(e.reaches(ip))
		if r > 0 && e.opts.Preferred {
			r++
		}
		if r > rank {
			best, rank = e, r
		}
	}
	return best
}

// endpointReaching is endpointTo without the socket's lock.
func (s *Socket) endpointReaching(ip netip.Addr) *Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpointTo(ip)
}

// reach says how an endpoint can reach an address.
type reach int

const (
	reachNot    reach = iota
	reachMapped       // IPv4 by an IPv6 socket for both
	reachFamily
)

// reaches compares families. A bound endpoint of one address reaches no other family; of a
// PacketConn that does not tell its address nobody knows.
func (e *Endpoint) reaches(ip netip.Addr) reach {
	local := e.local.Addr()
	switch {
	case !local.IsValid() || local.Is4() == ip.Is4():
		return reachFamily
	case local.IsUnspecified() && ip.Is4() && e.opts.Type != UDP6Only:
		return reachMapped
	}
	return reachNot
}

// endpointFor returns the endpoint that datagrams for the path leave from. Where there is
// only one that is no question.
func (s *Session) endpointFor(p *dgram.Path) *Endpoint {
	if s.former == nil && len(s.socket.all) <= 1 {
		return s.endpoint
	}
	return s.endpointAt(p.Local)
}

// endpointAt returns the endpoint that a local address belongs to, with those that
// are gone: what is sent there is lost, and must not leave from elsewhere. The session's own
// is the one for an address that is nobody's.
func (s *Session) endpointAt(local netip.AddrPort) *Endpoint {
	best, most := s.endpoint, s.endpoint.owns(local)
	for _, list := range [2][]*Endpoint{s.socket.all, s.former} {
		for _, e := range list {
			if o := e.owns(local); o > most {
				best, most = e, o
			}
		}
	}
	return best
}

// ownership says how surely a local address is an endpoint's.
type ownership int

const (
	ownsNot    ownership = iota
	ownsMapped           // it is bound to ::, and takes IPv4 too
	ownsFamily           // it is bound to every address of the family
	ownsExact
)

// owns compares port and address: endpoints of different addresses may share a port.
func (e *Endpoint) owns(local netip.AddrPort) ownership {
	mine := e.local.Addr()
	switch {
	case e.local == local:
		return ownsExact
	case e.local.Port() != local.Port() || !mine.IsUnspecified():
		return ownsNot
	case mine.Is4() == local.Addr().Is4():
		return ownsFamily
	case mine.Is6() && e.opts.Type != UDP6Only:
		return ownsMapped
	}
	return ownsNot
}
