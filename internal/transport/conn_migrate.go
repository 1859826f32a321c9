package transport

import (
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/internal/dgram"
	"github.com/cinnabar-quic/cinnabar/internal/mono"
)

// MayMigrate reports whether Migrate would succeed now: nil, ErrPathLater if it is worth
// waiting for, or the error that it would return.
func (c *Conn) MayMigrate(rebinding bool) error {
	switch {
	case c.life.state != active:
		return ErrClosed
	case c.server:
		return ErrNoPath
	case !c.confirmed:
		return ErrPathLater
	case rebinding:
		return nil
	case c.peer.DisableActiveMigration || len(c.paths.list) == maxPaths:
		return ErrNoPath
	case !c.ids.spare():
		if c.ids.young(c) || c.paths.preferring() {
			return ErrPathLater
		}
		return ErrNoPath
	}
	return nil
}

// young reports whether the peer has not yet sent the connection IDs that it is sure to
// send after the handshake.
func (s *ids) young(c *Conn) bool {
	return s.peer.Len() > 0 && len(s.retired) == 0 && int64(len(s.remote)) < c.maxPeerIDs()
}

// preferring reports whether the server's preferred address is being tried, which
// ends with a connection ID that is free again.
func (s *paths) preferring() bool {
	for i := range s.list {
		if p := &s.list[i]; p.migrate && p.challenged && p.addr.Remote != s.active().addr.Remote {
			return true
		}
	}
	return false
}

// Migrate moves the connection to another local address (RFC 9000 §9.2). With
// rebinding the peer is left to find out, as after a change in a NAT; else the
// path is validated first, and EventPathValidation tells. Clients only.
func (c *Conn) Migrate(now mono.Time, to dgram.Path, rebinding bool) error {
	switch err := c.MayMigrate(rebinding); {
	case err == ErrPathLater:
		return ErrNoPath
	case err != nil:
		return err
	case rebinding:
		c.paths.active().addr = to
		if c.qlog != nil {
			c.qlog.at(now)
			c.qlog.tupleAssigned(c, c.paths.active())
		}
		c.Ping() // a peer that only sends would not find out
		return nil
	}
	for i := range c.paths.list {
		c.paths.list[i].migrate = false // the last word counts
	}
	if c.qlog != nil {
		c.qlog.at(now)
	}
	c.tryPath(now, to)
	return nil
}

// Leave gives up the path in use because nothing leaves from its local address any
// more, and goes on from another one, validated or not: it cannot be worse. Clients only.
func (c *Conn) Leave(now mono.Time, to dgram.Path) {
	s := &c.paths
	old, i := s.cur, -1
	for j := range s.list {
		if a := s.list[j].addr; a.Remote == to.Remote && sameLocal(a.Local, to.Local) {
			i = j
		}
	}
	switch {
	case c.server || i == old || c.life.state != active:
		return
	case i < 0:
		s.active().addr = to
		if seq, ok := c.ids.take(); ok { // RFC 9000 §9.5
			seq, s.active().cid = s.active().cid, seq
			s.retireUnused(c, seq)
		}
		if c.qlog != nil {
			c.qlog.at(now)
			c.qlog.tupleAssigned(c, s.active())
		}
	default:
		if c.qlog != nil {
			c.qlog.at(now)
		}
		s.list[i].validated = true // as the path of the handshake: the server's address is its own
		s.use(c, now, i)
		s.remove(c, old)
	}
	c.Ping() // so that the peer follows
}

// sameLocal reports whether a and b are one address, of which the kernel may have told
// only one of them all.
func sameLocal(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || isUnspecified(a.Addr()) || isUnspecified(b.Addr()))
}

func (c *Conn) tryPath(now mono.Time, to dgram.Path) {
	i := c.paths.find(to)
	if i < 0 {
		i = c.paths.add(c, to, 0)
	}
	p := &c.paths.list[i]
	p.migrate = true
	p.validate(c, now)
}

// goPreferred tries the server's preferred address of the family in use (RFC 9000 §9.6).
func (c *Conn) goPreferred(now mono.Time) {
	from := c.Path()
	to := c.peer.PreferredAddress.IPv4
	if from.Remote.Addr().Is6() {
		to = c.peer.PreferredAddress.IPv6
	}
	switch ip := to.Addr(); {
	case !to.IsValid() || reflects(to.Port()) || ip.IsUnspecified() || to == from.Remote || !c.ids.spare():
		return
	case ip.IsMulticast() || ip.IsLoopback() && !from.Remote.Addr().IsLoopback():
		return // a server must not make us speak to our own host or network (RFC 9000 §21.5.3)
	}
	c.tryPath(now, dgram.Path{Local: from.Local, Remote: to})
}
