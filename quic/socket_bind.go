package quic

import (
	"context"
	"fmt"
	"net"
	"net/netip"
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

// systemLookup asks the system's resolver, hosts file included (LKP-004).
func systemLookup(ctx context.Context, host string, family int) (netip.Addr, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, fmt.Sprintf("ip%d", family), host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(ips) == 0 {
		return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips[0].Unmap(), nil
}
