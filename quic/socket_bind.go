package quic

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// lookup resolves what a session is to be connected to: as resolve, but "" is the loopback
// address.
func (s *Socket) lookup(ctx context.Context, own LookupFunc, host, network string) (netip.Addr, error) {
	ip, err := s.resolve(ctx, own, "ConnectOptions.Address", host, network)
	if err == nil && !ip.IsValid() {
		ip = loopback(network)
	}
	return ip, err
}

func loopback(network string) netip.Addr {
	if network == UDP4 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// systemLookup asks the system's resolver, hosts file included (LKP-004). Where that knows
// of no address of the family for "localhost", it is the loopback address (RFC 6761 §6.3).
func systemLookup(ctx context.Context, host, network string) (netip.Addr, error) {
	family := "ip4"
	if network != UDP4 {
		family = "ip6"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, family, host)
	switch {
	case len(ips) > 0:
		return ips[0].Unmap(), nil
	case ctx.Err() == nil && strings.EqualFold(strings.TrimSuffix(host, "."), "localhost"):
		return loopback(network), nil
	case err != nil:
		return netip.Addr{}, err
	}
	return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
