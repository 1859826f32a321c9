package udp

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is room for an address of either family. Both have family and port
// in the same place; the port is in network order.
type sockaddr struct{ raw unix.RawSockaddrInet6 }

func (s *sockaddr) pointer() *byte { return (*byte)(unsafe.Pointer(&s.raw)) }

func (s *sockaddr) port() *[2]byte { return (*[2]byte)(unsafe.Pointer(&s.raw.Port)) }

// set writes a for a socket of the given family and returns the length, or 0 if
// such a socket cannot reach such an address.
func (s *sockaddr) set(a netip.AddrPort, v6 bool) uint32 {
	p := s.port()
	p[0], p[1] = byte(a.Port()>>8), byte(a.Port())
	ip := a.Addr()
	switch {
	case !ip.IsValid():
		return 0
	case v6:
		s.raw.Family = unix.AF_INET6
		s.raw.Flowinfo = 0
		s.raw.Addr = ip.As16() // IPv4 becomes IPv4-in-IPv6, which dual-stack sockets take
		s.raw.Scope_id = zones.index(ip.Zone())
		return unix.SizeofSockaddrInet6
	case ip.Is4() || ip.Is4In6():
		r4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		r4.Family = unix.AF_INET
		r4.Addr = ip.As4()
		r4.Zero = [8]uint8{}
		return unix.SizeofSockaddrInet4
	}
	return 0
}

// addrPort returns the address, unmapped, or the zero one if it is of neither family.
func (s *sockaddr) addrPort() netip.AddrPort {
	p := s.port()
	port := uint16(p[0])<<8 | uint16(p[1])
	switch s.raw.Family {
	case unix.AF_INET:
		r4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(r4.Addr), port)
	case unix.AF_INET6:
		ip := netip.AddrFrom16(s.raw.Addr).Unmap()
		if s.raw.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(zones.name(s.raw.Scope_id))
		}
		return netip.AddrPortFrom(ip, port)
	}
	return netip.AddrPort{}
}

// zones translates between the names and the numbers of interfaces. The system
// is asked once for each: there are few and their names rarely change.
var zones zoneTable

type zoneTable struct {
	names   sync.Map // uint32 -> string
	indices sync.Map // string -> uint32
}

func (t *zoneTable) name(index uint32) string {
	if index == 0 {
		return ""
	}
	if n, ok := t.names.Load(index); ok {
		return n.(string)
	}
	n := strconv.FormatUint(uint64(index), 10)
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		n = i.Name
		t.names.Store(index, n)
	}
	return n
}

// index returns 0, which is no interface, for a name that is none.
func (t *zoneTable) index(name string) uint32 {
	if name == "" {
		return 0
	}
	if i, ok := t.indices.Load(name); ok {
		return i.(uint32)
	}
	if i, err := net.InterfaceByName(name); err == nil {
		t.indices.Store(name, uint32(i.Index))
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(name, 10, 32)
	return uint32(n)
}
