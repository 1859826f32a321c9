package quic

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cinnabar-quic/cinnabar/internal/wire"
)

// PreferredAddress is an address that a server would rather be spoken to at
// (ListenOptions.PreferredAddress).
type PreferredAddress struct {
	// Address is an IP address, or a host name for ListenOptions.Lookup. It is needed, and
	// must be one that packets can be sent to: not unspecified, multicast or with a zone (LIS-035).
	Address string
	// Port is 1 to 65535, or 0 for that of the socket's endpoint of the family, else of its
	// first one (LIS-036).
	Port int
	// Type is the family, UDP4, the default, or UDP6: clients that have reached the server
	// by the other one stay where they are (LIS-037).
	Type string
}

// checkPreferred looks at what can be told without asking a resolver.
func checkPreferred(c *checker, list []PreferredAddress) {
	var types [2]bool
	for i, p := range list {
		option := func(name string) string { return fmt.Sprintf("PreferredAddress[%d].%s", i, name) }
		if p.Address == "" {
			c.fail(option("Address"), nil, CodeInvalidArgType, "")
		}
		c.port(option("Port"), p.Port, 0)
		family := c.name(option("Type"), p.Type, UDP4, UDP6)
		if k := kindOf(family); types[k] {
			c.fail(option("Type"), family, CodeInvalidArgValue, "one address a family")
		} else {
			types[k] = true
		}
		if ip, err := netip.ParseAddr(p.Address); err == nil && !serves(ip, family) {
			c.fail(option("Address"), p.Address, CodeInvalidArgValue, "an address of the type "+family+" to send to")
		}
	}
}

func kindOf(family string) int {
	if family == UDP6 {
		return 1
	}
	return 0
}

// serves reports whether clients can be sent to an address of a family.
func serves(ip netip.Addr, family string) bool {
	ip = ip.Unmap()
	return ip.Is4() == (family == UDP4) && !ip.IsUnspecified() && !ip.IsMulticast() && ip.Zone() == ""
}

// preferredAddress returns what clients are told of the server's preferred addresses, nil
// if it has none. It may ask a resolver. A port that is still 0 is filled in when the
// socket is bound.
func (s *Socket) preferredAddress(ctx context.Context, o *ListenOptions) (*wire.PreferredAddress, error) {
	if len(o.PreferredAddress) == 0 {
		return nil, nil
	}
	offer := new(wire.PreferredAddress)
	for i, p := range o.PreferredAddress {
		to, family := &offer.IPv4, UDP4
		if p.Type == UDP6 {
			to, family = &offer.IPv6, UDP6
		}
		ip, err := s.lookup(ctx, o.Lookup, p.Address, family)
		if err != nil {
			return nil, err
		}
		if !serves(ip, family) {
			return nil, &OptionError{
				Option: fmt.Sprintf("ListenOptions.PreferredAddress[%d].Address", i), Value: p.Address,
				Want: fmt.Sprintf("a name of an address of the type %s to send to, not of %v", family, ip),
				code: CodeInvalidArgValue,
			}
		}
		*to = netip.AddrPortFrom(ip, uint16(p.Port))
	}
	return offer, nil
}

// withPort puts the port of an endpoint of the family where the options leave it open. It
// is called under the socket's lock.
func (s *Socket) withPort(offer *wire.PreferredAddress) {
	if offer == nil {
		return
	}
	for _, a := range []*netip.AddrPort{&offer.IPv4, &offer.IPv6} {
		if !a.Addr().IsValid() || a.Port() != 0 {
			continue
		}
		e := s.endpointTo(a.Addr())
		if e == nil {
			e = s.endpoints[0]
		}
		*a = netip.AddrPortFrom(a.Addr(), e.local.Port())
	}
}
