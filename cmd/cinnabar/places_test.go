package main

import (
	"net/netip"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/limits"
)

// One host has some of the places, all hosts together have all, and what is given
// back can be had again.
func TestPlaces(t *testing.T) {
	all, each := limits.Bound(t, "senders"), limits.Bound(t, "senders-per-host")
	var p places
	host := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
	taken := 0
	for n := range all/each + 1 {
		for i := range each + 1 {
			want := i < each && taken < all
			if got := p.take(host(n)); got != want {
				t.Fatalf("host %d, place %d: %v, want %v", n, i, got, want)
			} else if got {
				taken++
			}
		}
	}
	six := places{}
	for i := range each + 1 {
		of := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i)}) // all addresses of a network are one host's
		if got := six.take(of); got != (i < each) {
			t.Errorf("address %d of a network: %v", i, got)
		}
	}
	if other := netip.MustParseAddr("2001:db8:0:1::"); !six.take(other) {
		t.Error("another network has no place")
	} else if six.release(other); len(six.hosts) != 1 {
		t.Errorf("%d hosts are left", len(six.hosts))
	}
	p.release(host(0))
	if !p.take(host(100)) {
		t.Error("the place that was given back is not to be had")
	}
	for n := range all / each {
		for range each {
			if n > 0 || p.hosts[host(0)] > 0 {
				p.release(host(n))
			}
		}
	}
	p.release(host(100))
	if p.all != 0 || len(p.hosts) != 0 {
		t.Errorf("%d places of %d hosts are left", p.all, len(p.hosts))
	}
}
