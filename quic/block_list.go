package quic

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// BlockList is a set of IP addresses that a Socket has nothing to do with: what comes
// from them is dropped unread, what sessions have for them is lost, and Connect to them
// fails (SOC-022). Rules are single addresses, ranges and subnets of both families, and
// take effect at once. An IPv4 address and its form inside IPv6 (::ffff:10.0.0.1) are the
// same, zones do not matter. The zero BlockList is empty. All methods may be called
// concurrently.
type BlockList struct {
	rules atomic.Int64 // how many ranges there are: what is read before the lock is taken

	mu     sync.RWMutex
	ranges []addressRange // sorted, and apart from each other
}

type addressRange struct{ first, last netip.Addr }

// BlockList returns the socket's own list (SOC-022). It is the same one at every call, and
// works from the next datagram and the next Connect on.
func (s *Socket) BlockList() *BlockList { return &s.block }

// AddAddress blocks one address (BLK-001). The error is an *OptionError if the address
// is the zero Addr.
func (b *BlockList) AddAddress(a netip.Addr) error {
	if !a.IsValid() {
		return &OptionError{Option: "BlockList.AddAddress", Value: a, Want: "an IP address", code: CodeInvalidArgValue}
	}
	a = plain(a)
	b.add(a, a)
	return nil
}

// AddRange blocks all addresses from first to last, both included (BLK-002). The error is
// an *OptionError if they are not of the same family, or last comes before first.
func (b *BlockList) AddRange(first, last netip.Addr) error {
	from, to := plain(first), plain(last)
	switch {
	case !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4():
		return &OptionError{Option: "BlockList.AddRange", Value: first.String() + " to " + last.String(), Want: "two addresses of one family", code: CodeInvalidArgValue}
	case to.Less(from):
		return &OptionError{Option: "BlockList.AddRange", Value: first.String() + " to " + last.String(), Want: "the lower address first", code: CodeInvalidArgValue}
	}
	b.add(from, to)
	return nil
}

// AddSubnet blocks all addresses of a subnet, as 10.0.0.0/8 (BLK-003). The error is an
// *OptionError if the prefix is not valid.
func (b *BlockList) AddSubnet(p netip.Prefix) error {
	if !p.IsValid() {
		return &OptionError{Option: "BlockList.AddSubnet", Value: p, Want: "an address and a prefix length that fits it", code: CodeInvalidArgValue}
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	b.add(p.Addr(), lastOf(p))
	return nil
}

// Check reports whether a rule matches the address (BLK-004).
func (b *BlockList) Check(a netip.Addr) bool {
	if b.empty() {
		return false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	// What is written as IPv4 inside IPv6 may be in a range of IPv6 addresses too.
	return b.contains(plain(a)) || a.Is4In6() && b.contains(a.WithZone(""))
}

// empty reports whether there are no rules, for the price of looking.
func (b *BlockList) empty() bool { return b.rules.Load() == 0 }

// contains is called under the lock.
func (b *BlockList) contains(a netip.Addr) bool {
	i := b.from(a)
	return i < len(b.ranges) && !a.Less(b.ranges[i].first)
}

// from returns the first range that does not end before an address.
func (b *BlockList) from(a netip.Addr) int {
	i, _ := slices.BinarySearchFunc(b.ranges, a, func(r addressRange, a netip.Addr) int { return r.last.Compare(a) })
	return i
}

// add puts a range in its place, as one with those that it overlaps.
func (b *BlockList) add(first, last netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.from(first)
	j := i
	for ; j < len(b.ranges) && !last.Less(b.ranges[j].first); j++ {
		if b.ranges[j].first.Less(first) {
			first = b.ranges[j].first
		}
		if last.Less(b.ranges[j].last) {
			last = b.ranges[j].last
		}
	}
	b.ranges = slices.Replace(b.ranges, i, j, addressRange{first, last})
	b.rules.Store(int64(len(b.ranges)))
}

// plain returns an address in the one form that rules are kept in.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// lastOf returns the last address of a subnet.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
