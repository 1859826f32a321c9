package quic

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/cinnabar-quic/cinnabar/internal/udp"
)

// The calls below set options of the endpoint's UDP socket. Their error is a *StateError
// once the endpoint is destroyed, and otherwise a *SystemError: EBADF before the endpoint
// is bound, EINVAL for what is no address or out of range, EPROTONOSUPPORT for an address of
// the other family, EOPNOTSUPP for a PacketConn that is no *net.UDPConn, and what
// the kernel says.

// option calls f with each of the endpoint's conns, until one fails: with the first they
// all do.
func (e *Endpoint) option(op, what string, f func(c udp.Conn) error) error {
	s := e.socket
	s.mu.Lock()
	conns := e.conns
	switch {
	case e.gone.Load():
		defer s.mu.Unlock()
		return e.stateError(op)
	case conns == nil:
		s.mu.Unlock()
		return &SystemError{Op: op, Why: "endpoint is not bound: call it after Bind, Listen or Connect", Err: os.NewSyscallError("setsockopt", syscall.EBADF)}
	}
	s.mu.Unlock()
	var err error
	for i := 0; i < len(conns) && err == nil; i++ {
		err = f(conns[i])
	}
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.gone.Load() {
		return e.stateError(op)
	}
	return &SystemError{Op: op, Why: what, Err: err}
}

// SetTTL sets how many hops datagrams to one address may travel, 1 to 255: IP_TTL, and the
// unicast hop limit for IPv6 (EP-043). The system's default is mostly 64.
func (e *Endpoint) SetTTL(hops int) error {
	return e.option("Endpoint.SetTTL", fmt.Sprintf("%d, want 1 to 255", hops), func(c udp.Conn) error {
		return udp.SetTTL(c, hops)
	})
}

// SetMulticastTTL sets how many hops datagrams to a multicast group may travel, 0 to 255:
// IP_MULTICAST_TTL, and the multicast hop limit for IPv6 (EP-041). The system's default
// is mostly 1, the own network.
func (e *Endpoint) SetMulticastTTL(hops int) error {
	return e.option("Endpoint.SetMulticastTTL", fmt.Sprintf("%d, want 0 to 255", hops), func(c udp.Conn) error {
		return udp.SetMulticastTTL(c, hops)
	})
}

// SetMulticastLoopback sets whether this host's members of a group get what the endpoint
// sends there: IP_MULTICAST_LOOP (EP-039). At first they do.
func (e *Endpoint) SetMulticastLoopback(on bool) error {
	return e.option("Endpoint.SetMulticastLoopback", "", func(c udp.Conn) error {
		return udp.SetMulticastLoopback(c, on)
	})
}

// SetBroadcast sets whether the kernel lets the endpoint send to broadcast addresses:
// SO_BROADCAST (EP-029). At first it does not.
func (e *Endpoint) SetBroadcast(on bool) error {
	return e.option("Endpoint.SetBroadcast", "", func(c udp.Conn) error {
		return udp.SetBroadcast(c, on)
	})
}

// SetMulticastInterface chooses the interface that datagrams to multicast groups leave by,
// until the next call that succeeds (EP-031): for IPv4 by an IP address of the interface, as
// "10.0.0.2", for IPv6 by a zone, as "::%eth1" or "::%2", or by an address. "0.0.0.0" and
// "::" give the choice back to the system (EP-037). An address that no interface has is
// EADDRNOTAVAIL, and a zone that is none ENODEV. A destination with a zone of its own
// goes there all the same (EP-038).
func (e *Endpoint) SetMulticastInterface(iface string) error {
	return e.option("Endpoint.SetMulticastInterface", fmt.Sprintf("interface %q", iface), func(c udp.Conn) error {
		return udp.SetMulticastInterface(c, iface)
	})
}

// AddMembership joins a multicast group, given by its IP address, so that datagrams sent
// there reach the endpoint (EP-002). iface is an address of the interface to join it on,
// as SetMulticastInterface takes it; "" is one that the system chooses. A group can be joined
// on several interfaces, by a call for each (EP-004). Without a group the error is an
// *OptionError.
func (e *Endpoint) AddMembership(group, iface string) error {
	const op = "Endpoint.AddMembership"
	return e.membership(op, group, iface, func(c udp.Conn, g udp.Group) error {
		if err := udp.Join(c, g); err != nil {
			return err
		}
		e.member = append(e.member, g)
		return nil
	})
}

// DropMembership leaves a multicast group: on the interface that iface stands for, or if
// that is "" on all it was joined on (EP-022). Endpoints that end leave their groups by
// themselves. The error is as AddMembership's, and EADDRNOTAVAIL if the endpoint is
// no member.
func (e *Endpoint) DropMembership(group, iface string) error {
	const op = "Endpoint.DropMembership"
	return e.membership(op, group, iface, func(c udp.Conn, g udp.Group) error {
		if iface != "" || g.Interface != 0 {
			err := udp.Leave(c, g)
			if i := slices.Index(e.member, g); err == nil && i >= 0 {
				e.member = slices.Delete(e.member, i, i+1)
			}
			return err
		}
		return e.dropAll(c, g)
	})
}

// dropAll leaves a group on every interface. Those that were named come first: the system
// takes any if it is told none. It is called under memberMu.
func (e *Endpoint) dropAll(c udp.Conn, g udp.Group) error {
	var mine, others []udp.Group
	for _, m := range e.member {
		if m.Addr == g.Addr {
			mine = append(mine, m)
		} else {
			others = append(others, m)
		}
	}
	if mine == nil {
		return udp.Leave(c, g) // the system knows of those that were not joined here
	}
	slices.SortFunc(mine, func(a, b udp.Group) int { return b.Interface - a.Interface })
	e.member = others
	var first error
	left := false
	for _, m := range mine {
		err := udp.Leave(c, m)
		left = left || err == nil
		first = cmp.Or(first, err)
	}
	if left {
		return nil // what is gone besides had left already
	}
	return first
}

// membership calls f with the group that the addresses stand for. Only the first socket is
// a member, or each would get a copy of what is sent to the group.
func (e *Endpoint) membership(op, group, iface string, f func(c udp.Conn, g udp.Group) error) error {
	if group == "" && !e.gone.Load() {
		return &OptionError{Option: op + ".group", code: CodeMissingArgs}
	}
	what := fmt.Sprintf("group %q", group)
	if iface != "" {
		what += fmt.Sprintf(" on interface %q", iface)
	}
	return e.option(op, what, func(c udp.Conn) error {
		if c != e.conn {
			return nil
		}
		g, err := udp.GroupOf(c, group, iface)
		if err != nil {
			return err
		}
		e.memberMu.Lock()
		defer e.memberMu.Unlock()
		return f(c, g)
	})
}
