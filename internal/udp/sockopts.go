package udp

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// What follows sets options of a bound socket. Errors are the system's, as
// *os.SyscallError; of a conn that is no UDP socket of the system's the error is EOPNOTSUPP.

func refused(errno syscall.Errno) error { return os.NewSyscallError("setsockopt", errno) }

// options gives access to the options of a socket.
type options struct {
	udp  *net.UDPConn
	v6   bool
	both bool // IPv4 too, if not told otherwise
}

func optionsOf(c Conn) (o options, err error) {
	u, ok := PacketConn(c).(*net.UDPConn)
	if !ok {
		return options{}, refused(syscall.EOPNOTSUPP)
	}
	ip := c.LocalAddr().Addr()
	return options{udp: u, v6: ip.Is6(), both: ip.Is6() && ip.IsUnspecified()}, nil
}

// set sets an option of the socket's family. A socket for both has the one of IPv4 besides,
// where the system lets it.
func set(c Conn, four func(*ipv4.PacketConn) error, six func(*ipv6.PacketConn) error) error {
	o, err := optionsOf(c)
	switch {
	case err != nil:
		return err
	case !o.v6:
		return closed(four(ipv4.NewPacketConn(o.udp)))
	case o.both:
		_ = four(ipv4.NewPacketConn(o.udp))
	}
	return closed(six(ipv6.NewPacketConn(o.udp)))
}

// SetTTL sets how many hops what is sent to one address may travel: 1 to 255.
func SetTTL(c Conn, hops int) error {
	if hops < 1 || hops > 255 {
		return refused(syscall.EINVAL)
	}
	return set(c,
		func(p *ipv4.PacketConn) error { return p.SetTTL(hops) },
		func(p *ipv6.PacketConn) error { return p.SetHopLimit(hops) })
}

// SetMulticastTTL sets how many hops what is sent to a group may travel: 0 to 255.
func SetMulticastTTL(c Conn, hops int) error {
	if hops < 0 || hops > 255 {
		return refused(syscall.EINVAL)
	}
	return set(c,
		func(p *ipv4.PacketConn) error { return p.SetMulticastTTL(hops) },
		func(p *ipv6.PacketConn) error { return p.SetMulticastHopLimit(hops) })
}

// SetMulticastLoopback sets whether members on this host get what is sent to a group.
func SetMulticastLoopback(c Conn, on bool) error {
	return set(c,
		func(p *ipv4.PacketConn) error { return p.SetMulticastLoopback(on) },
		func(p *ipv6.PacketConn) error { return p.SetMulticastLoopback(on) })
}

// SetMulticastInterface sets where what is sent to a group leaves: on the interface that
// an address stands for as in interfaceOf, or for an unspecified one where the system likes.
func SetMulticastInterface(c Conn, address string) error {
	o, err := optionsOf(c)
	if err != nil {
		return err
	}
	if o.v6 {
		i, err := o.interfaceOf(address)
		if err != nil {
			return err
		}
		return closed(ipv6.NewPacketConn(o.udp).SetMulticastInterface(i))
	}
	ip, err := o.parse(address)
	if err != nil {
		return err
	}
	return o.control(func(fd uintptr) error { return setMulticastAddr(fd, ip.As4()) }) // it becomes the source too
}

// parse returns an address of the socket's family.
func (o *options) parse(address string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(address)
	switch ip = ip.Unmap(); {
	case err != nil:
		return ip, refused(syscall.EINVAL)
	case ip.Is6() != o.v6:
		return ip, refused(syscall.EPROTONOSUPPORT)
	}
	return ip, nil
}

// control calls f with the socket's descriptor.
func (o *options) control(f func(fd uintptr) error) error {
	raw, err := o.udp.SyscallConn()
	if err != nil {
		return closed(err)
	}
	ctl := raw.Control(func(fd uintptr) { err = f(fd) })
	if ctl != nil {
		return closed(ctl)
	}
	return err
}

// interfaceOf returns the interface that an address of the socket's family stands for: by
// its zone, which is a name or a number, or else by being the interface's own. It is nil
// for an unspecified address without a zone.
func (o *options) interfaceOf(address string) (*net.Interface, error) {
	ip, err := o.parse(address)
	switch {
	case err != nil:
		return nil, err
	case ip.Zone() != "":
		return interfaceByZone(ip.Zone())
	case ip.IsUnspecified():
		return nil, nil
	}
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range list {
		addrs, _ := list[i].Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip.AsSlice()) {
				return &list[i], nil
			}
		}
	}
	return nil, refused(syscall.EADDRNOTAVAIL)
}

func interfaceByZone(zone string) (*net.Interface, error) {
	i, err := net.InterfaceByName(zone)
	if err != nil {
		var n int
		if n, err = strconv.Atoi(zone); err == nil {
			i, err = net.InterfaceByIndex(n)
		}
	}
	if err != nil {
		return nil, refused(syscall.ENODEV)
	}
	return i, nil
}

// Group is a multicast group, of the interface with an index or, if that is 0, of the
// one that the system chooses.
type Group struct {
	Addr      netip.Addr
	Interface int
}

// GroupOf returns the group of an IP address of c's family on the interface that another
// address stands for, as SetMulticastInterface takes it. With "" that is the zone of the
// group's address, or no interface.
func GroupOf(c Conn, group, address string) (Group, error) {
	o, err := optionsOf(c)
	if err != nil {
		return Group{}, err
	}
	ip, err := o.parse(group)
	switch {
	case err != nil:
		return Group{}, err
	case !ip.IsMulticast():
		return Group{}, refused(syscall.EINVAL)
	}
	g := Group{Addr: ip.WithZone("")}
	var i *net.Interface
	switch {
	case address != "":
		i, err = o.interfaceOf(address)
	case ip.Zone() != "":
		i, err = interfaceByZone(ip.Zone())
	}
	if i != nil {
		g.Interface = i.Index
	}
	return g, err
}

// Join makes c a member of the group, so that it gets what is sent there.
func Join(c Conn, g Group) error {
	return member(c, g, (*ipv4.PacketConn).JoinGroup, (*ipv6.PacketConn).JoinGroup)
}

// Leave ends the membership. Without an interface it ends the one that is oldest.
func Leave(c Conn, g Group) error {
	return member(c, g, (*ipv4.PacketConn).LeaveGroup, (*ipv6.PacketConn).LeaveGroup)
}

func member(c Conn, g Group, four func(*ipv4.PacketConn, *net.Interface, net.Addr) error, six func(*ipv6.PacketConn, *net.Interface, net.Addr) error) error {
	o, err := optionsOf(c)
	if err != nil {
		return err
	}
	var i *net.Interface
	if g.Interface != 0 {
		if i, err = net.InterfaceByIndex(g.Interface); err != nil {
			return refused(syscall.ENODEV)
		}
	}
	to := &net.UDPAddr{IP: g.Addr.AsSlice()}
	if o.v6 {
		return closed(six(ipv6.NewPacketConn(o.udp), i, to))
	}
	return closed(four(ipv4.NewPacketConn(o.udp), i, to))
}

// SetBroadcast sets whether c may send to broadcast addresses. It may not at first.
func SetBroadcast(c Conn, on bool) error {
	o, err := optionsOf(c)
	if err != nil {
		return err
	}
	return o.control(func(fd uintptr) error { return setBroadcast(fd, on) })
}
